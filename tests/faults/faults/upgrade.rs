//! Two releases on one database.

use std::time::Duration;

use crate::collector::{Collector, signal};
use crate::report::Row;
use crate::rig::{Context, Kind, Rig, Setup};
use crate::sender::{Load, Senders};

/// What a later release may do to the schema.
const LATER: [&str; 3] = [
    "ALTER TABLE steps ADD COLUMN of_later TEXT",
    "ALTER TABLE runs ADD COLUMN of_later INTEGER NOT NULL DEFAULT 7",
    "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
     VALUES (9999, 'later', TRUE, '', 0)",
];

pub async fn f55(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    for statement in LATER {
        rig.database.execute(statement).await?;
        rig.flow(10).await?;
    }
    rig.flow(40).await?;
    // A replica beside it, which is started only now. A SQLite file is served by one.
    let mut beside = None;
    if context.store == Kind::Postgres {
        let other = Collector::start(&rig.collector.database_url, Default::default()).await?;
        let load = Load { senders: 4, round: 1, ..Load::default() };
        let senders = Senders::start(&load, &other.target(), &rig.ledger);
        beside = Some((other, senders));
    }
    // Put back, or ended and started again before its turn.
    rig.collector.kill().await?;
    rig.restart_collector().await?;
    rig.flow(40).await?;
    if let Some((mut other, senders)) = beside {
        senders.stop().await?;
        signal("TERM", &[other.pid()]).await?;
        other.end(Duration::from_secs(25)).await?;
    }
    rig.expect_nobody_gave_up_since(before);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let is_told = rig.collector.log().contains("that of a later release");
    rig.expect(is_told, || "the log does not say that the schema is a later one".to_owned());
    rig.finish().await
}
