//! What the server must be, and what its operator should know.

use anyhow::ensure;
use sqlx::{FromRow, PgConnection};

use crate::store::StoreError;

const SETTINGS: &str = "SELECT current_setting('server_version_num')::int AS version, \
    current_setting('server_version') AS version_text, current_setting('server_encoding') AS encoding, \
    current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes";

const OLDEST_VERSION: i32 = 14_00_00;

#[derive(FromRow)]
struct Settings {
    version: i32,
    version_text: String,
    encoding: String,
    fsync: String,
    full_page_writes: String,
}

/// Refuses a server that cannot hold what is sent, and warns of one that may lose what it committed.
pub(super) async fn check(connection: &mut PgConnection) -> anyhow::Result<()> {
    let settings: Settings = sqlx::query_as(SETTINGS).fetch_one(connection).await.map_err(StoreError::from)?;
    fit(&settings)?;
    for (name, value) in [("fsync", &settings.fsync), ("full_page_writes", &settings.full_page_writes)] {
        if value == "off" {
            tracing::warn!("the server runs with {name} = off: what it committed is lost when its machine stops");
        }
    }
    Ok(())
}

fn fit(settings: &Settings) -> anyhow::Result<()> {
    let Settings { version, version_text, encoding, .. } = settings;
    ensure!(*version >= OLDEST_VERSION, "Postgres {version_text} is too old: 14 or newer is needed");
    ensure!(encoding == "UTF8", "the database is encoded in {encoding}: make it with ENCODING 'UTF8'");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_cannot_hold_the_data_is_refused() {
        let settings = |version, encoding: &str| Settings {
            version,
            version_text: "13.9".into(),
            encoding: encoding.into(),
            fsync: "off".into(),
            full_page_writes: "on".into(),
        };
        assert!(fit(&settings(OLDEST_VERSION, "UTF8")).is_ok());
        assert!(fit(&settings(OLDEST_VERSION - 1, "UTF8")).unwrap_err().to_string().contains("13.9"));
        assert!(fit(&settings(OLDEST_VERSION, "SQL_ASCII")).unwrap_err().to_string().contains("SQL_ASCII"));
    }
}
