//! Other sessions and programs in the way: locks, isolation, slow triggers.

use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use crate::collector::{Collector, Launch};
use crate::content::STEPS_OF_TRACE_MAX;
use crate::join::Database;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::sender::{Answer, Body, Client, Load, Target, Way};

pub async fn f22(context: Context) -> anyhow::Result<Row> {
    // Long traces in pieces: the same runs are written again and again, and the other session meets their rows.
    let load = Load { steps_of_trace: 14, is_piecemeal: true, ..Load::default() };
    let setup = Setup { load, postgres: vec!["deadlock_timeout=100ms"], ..Setup::default() };
    let mut rig = Rig::start(&context, setup).await?;
    let other = "DO $$ DECLARE one record; BEGIN \
        FOR one IN SELECT run_id FROM (SELECT run_id, updated_at FROM runs ORDER BY updated_at DESC LIMIT 12) AS hot \
            ORDER BY run_id DESC LOOP \
            PERFORM 1 FROM runs WHERE run_id = one.run_id FOR UPDATE; PERFORM pg_sleep(0.03); \
        END LOOP; END $$";
    for _ in 0..context.pick(10, 40) {
        // It may be the one that the server ends.
        let _ = rig.database.execute(other).await;
    }
    let deadlocks = rig.database.number("SELECT CAST(SUM(deadlocks) AS BIGINT) FROM pg_stat_database").await?;
    rig.notes.push(format!("{deadlocks} deadlocks"));
    rig.finish().await
}

pub async fn f23(context: Context) -> anyhow::Result<Row> {
    let load = Load { steps_of_trace: 14, is_piecemeal: true, ..Load::default() };
    let setup = Setup { load, postgres: vec!["default_transaction_isolation=serializable"], ..Setup::default() };
    let mut rig = Rig::start(&context, setup).await?;
    let before = rig.ledger.trouble();
    for _ in 0..context.pick(20, 100) {
        let other = "UPDATE runs SET updated_at = updated_at WHERE run_id IN \
            (SELECT run_id FROM runs ORDER BY updated_at DESC LIMIT 8)";
        // It may be the one that fails.
        let _ = rig.database.execute(other).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.expect_nobody_gave_up_since(before);
    rig.finish().await
}

pub async fn f24(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let mut other = PgConnection::connect(&rig.cluster()?.url()).await?;
    sqlx::raw_sql("BEGIN; LOCK TABLE steps IN ACCESS EXCLUSIVE MODE").execute(&mut other).await?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let refused = rig.ledger.trouble().since(before).refused;
    rig.expect(refused > 0, || "nobody was told to come again in 10 s".to_owned());
    sqlx::raw_sql("ROLLBACK").execute(&mut other).await?;
    other.close().await?;
    rig.finish().await
}

pub async fn f25(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let key = rig.collector.make_key("slow").await?;
    let slow = "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
            'BEGIN PERFORM pg_sleep(20); RETURN NEW; END'; \
        CREATE TRIGGER slow BEFORE INSERT ON steps FOR EACH ROW WHEN (NEW.project_id = \
            {}) EXECUTE FUNCTION slow()";
    let project = rig.database.number("SELECT project_id FROM projects WHERE name = 'slow'").await?;
    rig.database.execute(&slow.replace("{}", &project.to_string())).await?;
    let (before, acknowledged) = (rig.ledger.trouble(), rig.ledger.acknowledged_requests());
    rig.ledger.take_slowest();
    let target = Target { key, ..rig.collector.target() };
    let mut slow_ones = tokio::task::JoinSet::new();
    for number in 0..4_u64 {
        let client = Client::new(Way::Protobuf, &target, Duration::from_secs(10));
        let step = ((1 << 30) + number) * STEPS_OF_TRACE_MAX;
        rig.ledger.sent(&[step], false);
        let request = client.encode(Body::Spans(rig.ledger.content.export(&[step])));
        slow_ones.spawn(async move { matches!(client.attempt(&request).await, Answer::Yes { .. }) });
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    let slowest = rig.ledger.take_slowest();
    let flowed = rig.ledger.acknowledged_requests() - acknowledged;
    rig.notes.push(format!(
        "in 10 s others had {flowed} requests acknowledged, the slowest after {:.2} s",
        slowest.as_secs_f64()
    ));
    rig.expect(flowed > 100, || format!("other projects had only {flowed} requests acknowledged in 10 s"));
    let seen = rig.ledger.trouble().since(before);
    rig.expect(seen.given_up == 0, || format!("senders of other projects gave up: {seen:?}"));
    slow_ones.join_all().await;
    rig.database.execute("DROP TRIGGER slow ON steps").await?;
    rig.finish().await
}

pub async fn f32(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let before = rig.ledger.trouble();
    let mut other = SqliteConnection::connect(&rig.database.url()).await?;
    lock(&mut other, 2).await?;
    rig.flow(20).await?;
    rig.expect_no_trouble_since(before).await;
    lock(&mut other, 10).await?;
    other.close().await?;
    let refused = rig.ledger.trouble().since(before).refused;
    rig.expect(refused > 0, || "nobody was told to come again in 10 s".to_owned());

    let mut second = Collector::new(&rig.database.url(), Launch::default())?;
    second.spawn()?;
    let ended = second.end(Duration::from_secs(5)).await;
    let is_refused = ended.is_ok_and(|status| !status.success());
    rig.expect(is_refused, || "a second collector on the file did not refuse to start".to_owned());
    second.kill().await?;
    rig.finish().await
}

async fn lock(connection: &mut SqliteConnection, seconds: u64) -> anyhow::Result<()> {
    sqlx::raw_sql("PRAGMA busy_timeout = 10000; BEGIN EXCLUSIVE").execute(&mut *connection).await?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut *connection).await?;
    Ok(())
}

pub async fn f33(context: Context) -> anyhow::Result<Row> {
    const LOG_MIB: u64 = 64;
    let launch = Launch::default().with("VECTOROS_DATABASE__SQLITE_LOG_BYTES", &format!("{LOG_MIB}MiB"));
    let mut rig = Rig::start(&context, Setup { launch, ..Setup::default() }).await?;
    let Database::Sqlite(path) = rig.database.clone() else { anyhow::bail!("a fault of SQLite") };
    let mut reader = SqliteConnection::connect(&rig.database.url()).await?;
    sqlx::raw_sql(AssertSqlSafe("BEGIN; SELECT COUNT(*) FROM steps".to_owned())).execute(&mut reader).await?;
    let begin = Instant::now();
    while rig.collector.is_ready().await && begin.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let until_refused = begin.elapsed().as_secs();
    tokio::time::sleep(Duration::from_secs(context.pick(5, 20))).await;
    let log_mib = || std::fs::metadata(path.with_extension("db-wal")).map_or(0, |log| log.len() >> 20);
    let grown = log_mib();
    rig.expect((LOG_MIB..LOG_MIB + 32).contains(&grown), || format!("the log has {grown} MiB, its bound is {LOG_MIB}"));
    sqlx::raw_sql("ROLLBACK").execute(&mut reader).await?;
    reader.close().await?;
    rig.flow(20).await?;
    let left = log_mib();
    rig.expect(left < LOG_MIB / 2, || format!("the log still has {left} MiB without the reader"));
    rig.notes.push(format!("refused from {grown} MiB on, after {until_refused} s; {left} MiB afterwards"));
    rig.finish().await
}
