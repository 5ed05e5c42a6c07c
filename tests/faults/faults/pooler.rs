//! PgBouncer between the collector and Postgres.

use crate::pooler::PgBouncer;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};

pub async fn f37(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup { has_pooler: true, ..Setup::default() }).await?;
    let restarts = context.pick(3, 10);
    for round in 0..restarts {
        rig.pause(500..1_500).await;
        if round % 2 == 0 {
            rig.pooler()?.kill().await?;
            rig.pooler()?.begin().await?;
        } else {
            // Its clients keep their connections, and lose the sessions behind them.
            rig.cluster()?.stop("fast").await?;
            rig.cluster()?.begin().await?;
        }
        rig.flow(20).await?;
    }
    let log = rig.collector.log();
    let unknown = log.lines().filter(|line| line.contains("26000") || line.contains("prepared statement")).count();
    rig.expect(unknown == 0, || format!("{unknown} lines of the log tell of unknown statements"));
    let mode = PgBouncer::mode().await?;
    rig.notes.push(format!("{mode}, {restarts} restarts of it or of the server"));
    rig.finish().await
}
