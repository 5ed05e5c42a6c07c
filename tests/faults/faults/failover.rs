//! The primary ends and its standby takes its place. The collector knows both by one URL.

use std::time::{Duration, Instant};

use anyhow::ensure;

use crate::join::join;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::wire::Mode;

/// Of the standby in `synchronous_standby_names`.
const STANDBY: &str = "standby";

fn with_standby() -> Setup {
    Setup { has_standby: true, ..Setup::default() }
}

pub async fn f35(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, with_standby()).await?;
    wait_for_standby(&rig).await?;
    rig.flow(40).await?;
    let took = fail_over(&mut rig).await?;
    rig.notes.push(format!("synchronous: acknowledged again {:.1} s after the stop", took.as_secs_f64()));
    for (name, behind) in [("as it comes", Duration::ZERO), ("0.3 s behind", Duration::from_millis(300))] {
        let (lost, acknowledged) = lost_without_waiting(&context, behind).await?;
        rig.notes.push(format!("asynchronous, {name}: {lost} of {acknowledged} acknowledged steps gone"));
    }
    rig.finish().await
}

/// COMMITs wait for the standby from now on.
async fn wait_for_standby(rig: &Rig) -> anyhow::Result<()> {
    rig.database.execute(&format!("ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")).await?;
    rig.database.execute("SELECT pg_reload_conf()").await?;
    for _ in 0..200 {
        let waited_for = "SELECT COUNT(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        if rig.database.number(waited_for).await? == 1 {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    anyhow::bail!("the standby is not synchronous after 10 s")
}

/// The primary stops at once, and the standby is promoted. How long until requests are acknowledged again.
async fn fail_over(rig: &mut Rig) -> anyhow::Result<Duration> {
    let begin = Instant::now();
    rig.cluster()?.stop("immediate").await?;
    rig.promote_standby().await?;
    rig.flow(20).await?;
    Ok(begin.elapsed())
}

/// What a standby for which no COMMIT waits costs: steps that were acknowledged and are gone, and all of them. It is
/// behind by so much.
async fn lost_without_waiting(context: &Context, behind: Duration) -> anyhow::Result<(u64, u64)> {
    let mut rig = Rig::start(context, with_standby()).await?;
    if !behind.is_zero() {
        let slow = Mode::Slow { base: behind, jitter: Duration::ZERO, bytes_per_second: 1 << 30 };
        rig.replication()?.set(slow);
    }
    rig.flow(100).await?;
    fail_over(&mut rig).await?;
    rig.stop_load().await?;
    let joined = join(&rig.database, &rig.ledger.entries(), rig.ledger.content, &[]).await?;
    ensure!(joined.duplicates == 0, "{} steps are stored twice", joined.duplicates);
    Ok((joined.lost, joined.acknowledged))
}

/// What hangs in COMMIT is there for those who try it again, once its session is gone: they find copies, write nothing
/// but the receipt, and must not be told yes before that is on the standby too.
pub async fn f35b(context: Context) -> anyhow::Result<Row> {
    const SETTLED: Duration = Duration::from_secs(1);
    let mut rig = Rig::start(&context, with_standby()).await?;
    wait_for_standby(&rig).await?;
    rig.flow(40).await?;
    rig.replication()?.set(Mode::Stall);
    tokio::time::sleep(SETTLED).await;
    let acknowledged = rig.ledger.acknowledged_requests();
    let count_copies = "SELECT CAST(COALESCE(SUM(duplicate), 0) AS BIGINT) FROM receipts";
    let copies = rig.database.number(count_copies).await?;
    for _ in 0..context.pick(10, 25) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Committed where it is, and told to nobody.
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
        rig.database.execute(end).await?;
    }
    let copies = rig.database.number(count_copies).await? - copies;
    let told = rig.ledger.acknowledged_requests() - acknowledged;
    rig.expect(told == 0, || format!("{told} requests were acknowledged that no standby has"));
    rig.expect(copies > 0, || "nobody who tried again met a copy".to_owned());
    rig.notes.push(format!("{copies} copies met while no COMMIT ended"));
    rig.replication()?.set(Mode::Cut);
    let took = fail_over(&mut rig).await?;
    rig.notes.push(format!("acknowledged again {:.1} s after the stop", took.as_secs_f64()));
    rig.finish().await
}
