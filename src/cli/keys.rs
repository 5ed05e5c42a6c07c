//! `vectoros keys …`: works while a server runs on the same database.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use clap::Subcommand;
use serde_json::Value;

use crate::app::open_store;
use crate::auth::{hash, secret};
use crate::config::Config;
use crate::model::key::{ApiKey, KeyChanges, KeyState, Scopes};
use crate::model::quota::Quota;
use crate::prices::Prices;
use crate::store::{NewKey, Store};
use crate::view::keys::{key_json, new_key_json};

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Create a key and print it, once
    Create {
        /// The project it belongs to; created if absent
        #[arg(long)]
        project: String,
        #[arg(long)]
        name: Option<String>,
        /// Some of ingest,read,admin
        #[arg(long, default_value = "ingest,read", value_parser = str::parse::<Scopes>)]
        scope: Scopes,
        /// Such as requests=600/min,steps=100000/min,steps=5000000/day,bytes=512MiB/min
        #[arg(long, value_parser = str::parse::<Quota>)]
        quota: Option<Quota>,
        /// Such as 90d or 12h
        #[arg(long, value_parser = humantime::parse_duration)]
        expires: Option<Duration>,
        #[arg(long)]
        json: bool,
    },
    /// List keys: never the secrets
    List {
        #[arg(long)]
        json: bool,
    },
    /// End a key; every replica refuses it within 5 s
    Revoke { id: String },
    /// Give a key another secret and print it, once; id, quota and receipts stay
    Rotate {
        id: String,
        /// How long the secret it has works beside the new one, such as 24h; 0s ends it at once
        #[arg(long, default_value = "24h", value_parser = humantime::parse_duration)]
        overlap: Duration,
        #[arg(long)]
        json: bool,
    },
    /// Change when a key expires
    #[command(group = clap::ArgGroup::new("when").required(true))]
    Expire {
        id: String,
        /// From now, such as 90d or 1h; or never
        #[arg(long, value_name = "DURATION", group = "when")]
        r#in: Option<String>,
        /// Such as 2027-01-31T00:00:00Z; or never
        #[arg(long, value_name = "TIME", group = "when")]
        at: Option<String>,
    },
    /// Change what a key may send; what is not named stays as it is
    Quota {
        id: String,
        /// Such as requests=600/min,steps=unlimited
        #[arg(value_parser = str::parse::<Quota>)]
        quota: Quota,
    },
}

pub async fn run(config: &Config, command: KeysCommand) -> anyhow::Result<()> {
    let store = open_store(config, Arc::new(Prices::none())).await?;
    store.migrate().await?;
    match command {
        KeysCommand::Create { project, name, scope, quota, expires, json } => {
            let now = Utc::now();
            let expires_at = expires.map(|after| end_of(now, after).context("--expires")).transpose()?;
            let (key, id) = secret::generate();
            let new = NewKey {
                id,
                name,
                project: store.project(&project, now).await?,
                scopes: scope,
                quota: quota.unwrap_or_default(),
                secret_hash: hash(&key),
                expires_at,
            };
            let made = store.add_key(new, now).await?;
            if json {
                println!("{}", new_key_json(&made, &key, now));
            } else {
                println!("{key}");
                eprintln!("key {} of project {}: it is shown only now", made.id, made.project_name);
            }
        }
        KeysCommand::List { json } => {
            let keys = store.keys(None).await?;
            if json {
                let now = Utc::now();
                println!("{}", Value::from_iter(keys.iter().map(|key| key_json(key, now))));
            } else {
                print_table(&keys);
            }
        }
        KeysCommand::Revoke { id } => {
            let key = find(&*store, &id).await?;
            store.revoke_key(key.project, &id, Utc::now()).await?;
            println!("revoked {id}");
        }
        KeysCommand::Rotate { id, overlap, json } => {
            let now = Utc::now();
            let key = find(&*store, &id).await?;
            let until = end_of(now, overlap).context("--overlap")?;
            let text = secret::generate_for(&id);
            if !store.rotate_key(key.project, &id, hash(&text), until, now).await? {
                let state = find(&*store, &id).await?.state(now).word();
                bail!("the key {id} is {state}: only a live key can be rotated, create another");
            }
            if json {
                println!("{}", new_key_json(&find(&*store, &id).await?, &text, now));
            } else {
                println!("{text}");
                eprintln!("key {id}: it is shown only now; the secret before it works until {}", second(until));
            }
        }
        KeysCommand::Expire { id, r#in, at } => {
            let expires_at = end_or_never(Utc::now(), r#in.as_deref(), at.as_deref())?;
            let key = find(&*store, &id).await?;
            let changes = KeyChanges { expires_at: Some(expires_at), ..KeyChanges::default() };
            store.change_key(key.project, &id, &changes).await?;
            match expires_at {
                Some(end) => println!("{id} expires {}", second(end)),
                None => println!("{id} never expires"),
            }
        }
        KeysCommand::Quota { id, quota } => {
            let key = find(&*store, &id).await?;
            let quota = key.quota.changed_by(quota);
            let changes = KeyChanges { quota: Some(quota), ..KeyChanges::default() };
            store.change_key(key.project, &id, &changes).await?;
            println!("changed {id}");
        }
    }
    Ok(())
}

async fn find(store: &dyn Store, id: &str) -> anyhow::Result<ApiKey> {
    let key = store.key(id).await?;
    key.with_context(|| format!("there is no key {id:?}: `vectoros keys list` shows the ids"))
}

fn end_of(now: DateTime<Utc>, after: Duration) -> anyhow::Result<DateTime<Utc>> {
    let end = TimeDelta::from_std(after).ok().and_then(|after| now.checked_add_signed(after));
    end.context("that is too far away")
}

/// What one of `--in` and `--at` says.
fn end_or_never(now: DateTime<Utc>, after: Option<&str>, at: Option<&str>) -> anyhow::Result<Option<DateTime<Utc>>> {
    match (after, at) {
        (Some("never"), _) | (_, Some("never")) => Ok(None),
        (Some(after), _) => {
            let after = humantime::parse_duration(after).context("--in takes a duration such as 90d, or never")?;
            end_of(now, after).context("--in").map(Some)
        }
        (None, Some(at)) => {
            let at =
                DateTime::parse_from_rfc3339(at).context("--at takes a time such as 2027-01-31T00:00:00Z, or never")?;
            Ok(Some(at.to_utc()))
        }
        (None, None) => bail!("say when: --in 90d, --at 2027-01-31T00:00:00Z, or never"),
    }
}

fn second(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn print_table(keys: &[ApiKey]) {
    println!(
        "{:<10} {:<20} {:<18} {:<32} {:<20} {:<16} USED BY",
        "ID", "PROJECT", "SCOPES", "STATE", "LAST USE", "NAME"
    );
    let now = Utc::now();
    for key in keys {
        let state = match (key.state(now), key.expires_at) {
            (KeyState::Rotating(until), _) => format!("rotating until {}", until.format("%Y-%m-%d %H:%M")),
            (KeyState::Live, Some(end)) => format!("until {}", end.format("%Y-%m-%d")),
            (state, _) => state.word().to_owned(),
        };
        let used = key.last_used_at.map_or("never".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%S").to_string());
        let name = key.name.as_deref().unwrap_or_default();
        let agent = key.last_user_agent.as_deref().unwrap_or_default();
        println!(
            "{:<10} {:<20} {:<18} {state:<32} {used:<20} {name:<16} {agent}",
            key.id,
            key.project_name,
            key.scopes.words().join(",")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_duration_a_time_or_never() {
        let now = DateTime::from_timestamp(1_780_000_000, 0).unwrap();
        let end = |after, at| end_or_never(now, after, at).map_err(|error| format!("{error:#}"));
        assert_eq!(end(Some("1h"), None), Ok(Some(now + TimeDelta::hours(1))));
        assert_eq!(end(None, Some("2026-05-28T20:26:40+00:00")), Ok(Some(now)));
        assert_eq!(end(Some("never"), None), Ok(None));
        assert_eq!(end(None, Some("never")), Ok(None));
        for (after, at, named) in
            [(Some("soon"), None, "--in"), (None, Some("tomorrow"), "--at"), (Some("99999999999d"), None, "--in")]
        {
            assert!(end(after, at).unwrap_err().contains(named), "{after:?} {at:?}");
        }
    }
}
