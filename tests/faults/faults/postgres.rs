//! The server of the database ends, crashes, stands still, or takes nothing.

use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::IndexedRandom;
use sqlx::{Connection, PgConnection};

use crate::cluster::Cluster;
use crate::collector::{Launch, signal};
use crate::join::join;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};

/// An outage that clients never see.
const HIDDEN_MAX: Duration = Duration::from_secs(3);
/// Growth of the collector while it can store nothing.
const FLAT_MIB: f64 = 16.0;
const OURS: &str = "FROM pg_stat_activity WHERE application_name = 'vectoros'";

pub async fn f11(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let mut longest = Duration::ZERO;
    for _ in 0..context.pick(2, 10) {
        rig.pause(500..1_500).await;
        let begin = Instant::now();
        rig.cluster()?.stop("fast").await?;
        rig.cluster()?.begin().await?;
        longest = longest.max(begin.elapsed());
    }
    rig.flow(20).await?;
    rig.notes.push(format!("away for {:.2} s at most", longest.as_secs_f64()));
    if longest <= HIDDEN_MAX {
        rig.expect_no_trouble_since(before).await;
    }
    rig.finish().await
}

pub async fn f12(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let crashes = context.postgres_kills;
    for _ in 0..crashes {
        rig.pause(100..800).await;
        rig.cluster()?.stop("immediate").await?;
        rig.cluster()?.begin().await?;
    }
    rig.notes.push(format!("{crashes} stops"));
    rig.finish().await
}

pub async fn f13(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let (wanted, mut killed) = (context.postgres_kills, 0);
    for _ in 0..wanted {
        rig.pause(100..800).await;
        if let Some(pid) = busy_backend(rig.cluster()?).await? {
            killed += u32::from(signal("KILL", &[pid]).await.is_ok());
        }
        rig.cluster()?.wait().await?;
    }
    rig.notes.push(format!("{killed} backends"));
    rig.expect(killed > 0, || "no backend was there to be killed".to_owned());
    rig.finish().await
}

/// The process of a connection of the collector, one inside a transaction if there is any.
pub async fn busy_backend(cluster: &Cluster) -> anyhow::Result<Option<u32>> {
    let mut connection = PgConnection::connect(&cluster.url()).await?;
    let query = sqlx::AssertSqlSafe(format!("SELECT pid {OURS} ORDER BY state = 'idle', random() LIMIT 1"));
    let pid: Option<i32> = sqlx::query_scalar(query).fetch_optional(&mut connection).await?;
    connection.close().await?;
    Ok(pid.and_then(|pid| u32::try_from(pid).ok()))
}

pub async fn f14(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let rounds = context.pick(60, 400);
    storm(rig.cluster()?, rounds).await?;
    rig.notes.push(format!("{rounds} in {} s", rounds / 20));
    rig.finish().await
}

/// In turns a connection is ended and a statement cancelled, 20 times a second.
pub async fn storm(cluster: &Cluster, rounds: u32) -> anyhow::Result<()> {
    let mut connection = PgConnection::connect(&cluster.url()).await?;
    for round in 0..rounds {
        let what = if round % 2 == 0 { "pg_terminate_backend" } else { "pg_cancel_backend" };
        let one = format!("SELECT {what}(pid) FROM (SELECT pid {OURS} ORDER BY random() LIMIT 1) AS one");
        sqlx::raw_sql(sqlx::AssertSqlSafe(one)).execute(&mut connection).await?;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(connection.close().await?)
}

pub async fn f15(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let frozen = rig.cluster()?.freeze().await?;
    tokio::time::sleep(HIDDEN_MAX).await;
    rig.cluster()?.thaw(&frozen).await?;
    rig.flow(20).await?;
    rig.expect_no_trouble_since(before).await;
    rig.notes.push("3 s".to_owned());
    if context.is_long {
        let frozen = rig.cluster()?.freeze().await?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let early = rig.collector.resident_mib();
        tokio::time::sleep(Duration::from_secs(50)).await;
        let late = rig.collector.resident_mib();
        rig.cluster()?.thaw(&frozen).await?;
        let refused = rig.ledger.trouble().since(before).refused;
        rig.notes.push(format!("60 s: resident {early:.0} MiB after 10 s, {late:.0} after 60 s"));
        rig.expect(refused > 0, || "nobody was told to come again in 60 s".to_owned());
        rig.expect(late - early < FLAT_MIB, || format!("memory grew from {early:.0} to {late:.0} MiB"));
    }
    rig.finish().await
}

pub async fn f26(context: Context) -> anyhow::Result<Row> {
    let setup = Setup { postgres: vec!["max_connections=30"], ..Setup::default() };
    let mut rig = Rig::start(&context, setup).await?;
    rig.collector.kill().await?;
    let mut all = Vec::new();
    // Its connections end a moment after it.
    for _ in 0..200 {
        match PgConnection::connect(&rig.cluster()?.url()).await {
            Ok(connection) => all.push(connection),
            Err(_) if all.len() >= 25 => break,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
    rig.collector.spawn()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (is_ready, has_ended) = (rig.collector.is_ready().await, rig.collector.has_ended());
    rig.expect(!is_ready, || "it says that it is ready without a connection".to_owned());
    rig.expect(!has_ended, || "it ended instead of waiting".to_owned());
    rig.notes.push(format!("{} connections taken for 3 s", all.len()));
    drop(all);
    rig.finish().await
}

pub async fn f36(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let set = "ALTER SYSTEM SET default_transaction_read_only = on";
    rig.database.execute(set).await?;
    rig.database.execute("SELECT pg_reload_conf()").await?;
    let is_told = rig.until(Duration::from_secs(20), |trouble| trouble.since(before).refused > 0).await;
    let is_ready = rig.collector.is_ready().await;
    rig.expect(is_told, || "nobody was told to come again".to_owned());
    rig.expect(!is_ready, || "it says that it is ready and cannot write".to_owned());
    rig.database.execute("ALTER SYSTEM RESET default_transaction_read_only").await?;
    rig.database.execute("SELECT pg_reload_conf()").await?;
    rig.finish().await
}

pub async fn f56(context: Context) -> anyhow::Result<Row> {
    const REPLAYED_MAX: Duration = Duration::from_secs(120);
    let folder = tempfile::TempDir::new()?;
    let path = folder.path().join("spool.db").display().to_string();
    let launch = Launch::default().with("VECTOROS_SPOOL__PATH", &path);
    let mut rig = Rig::start(&context, Setup { launch, ..Setup::default() }).await?;
    let before = rig.ledger.acknowledged_requests();
    rig.cluster()?.stop("fast").await?;
    let begin = Instant::now();
    rig.flow(40).await?;
    let kills = context.pick(2, 5);
    for _ in 0..kills {
        rig.pause(1_000..3_000).await;
        rig.collector.kill().await?;
        rig.collector.spawn()?;
    }
    tokio::time::sleep(Duration::from_secs(context.pick(5, 60)).saturating_sub(begin.elapsed())).await;
    let kept = rig.ledger.acknowledged_requests() - before;
    let away = begin.elapsed();
    rig.cluster()?.begin().await?;
    rig.recover().await?;
    rig.flow(40).await?;
    rig.stop_load().await?;
    let back = Instant::now();
    // What is acknowledged is on the disk of the collector until it is in the database.
    while join(&rig.database, &rig.ledger.entries(), rig.ledger.content, &[]).await?.lost > 0 {
        if back.elapsed() > REPLAYED_MAX {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    rig.notes.push(format!(
        "{kept} requests acknowledged in {:.0} s without a database, {kills} kills meanwhile, all there {:.1} s after the load",
        away.as_secs_f64(),
        back.elapsed().as_secs_f64()
    ));
    rig.finish().await
}

/// For faults at random: one of these, and its end.
pub async fn any(rig: &mut Rig) -> anyhow::Result<&'static str> {
    let names = ["fast restart", "immediate stop", "backend killed", "storm", "standing still for 2 s"];
    let name = *names.choose(&mut rig.random).unwrap_or(&names[0]);
    match name {
        "fast restart" | "immediate stop" => {
            rig.cluster()?.stop(if name == "fast restart" { "fast" } else { "immediate" }).await?;
            let ms = rig.random.random_range(0..2_000);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            rig.cluster()?.begin().await?;
        }
        "backend killed" => {
            if let Some(pid) = busy_backend(rig.cluster()?).await? {
                signal("KILL", &[pid]).await?;
            }
            rig.cluster()?.wait().await?;
        }
        // A server that was just restarted by another fault may end its connection.
        "storm" => storm(rig.cluster()?, 40).await?,
        _ => {
            let frozen = rig.cluster()?.freeze().await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            rig.cluster()?.thaw(&frozen).await?;
        }
    }
    Ok(name)
}
