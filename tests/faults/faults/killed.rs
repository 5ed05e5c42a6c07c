//! The collector is killed, stopped or ended.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use rand::Rng;

use crate::collector::{Collector, signal};
use crate::content::STEPS_OF_TRACE_MAX;
use crate::join::Database;
use crate::report::Row;
use crate::rig::{Context, Kind, Rig, Setup};
use crate::sender::{Answer, Body, Load, Way};
use crate::wire::Mode;

/// A restart after a kill, at the median. A machine that builds something beside it makes single ones longer.
const RESTART_MAX: Duration = Duration::from_secs(1);

pub async fn f01(context: Context) -> anyhow::Result<Row> {
    let cycles = context.kill_cycles;
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let mut restarts = Vec::new();
    for _ in 0..cycles {
        rig.pause(100..600).await;
        rig.collector.kill().await?;
        restarts.push(rig.restart_collector().await?);
    }
    restarts.sort();
    let (middle, last) = (restarts[restarts.len() / 2], restarts[restarts.len() - 1]);
    rig.notes.push(format!(
        "{cycles} kills, ready again after {:.2} s (median) to {:.2} s",
        middle.as_secs_f64(),
        last.as_secs_f64()
    ));
    rig.expect(middle < RESTART_MAX, || format!("restarts take {middle:?}"));
    rig.finish().await
}

pub async fn f02(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup { has_wire: true, ..Setup::default() }).await?;
    let cycles = context.pick(3, 10);
    for _ in 0..cycles {
        rig.flow(10).await?;
        rig.wire()?.set(Mode::HoldReply);
        rig.wire()?.next_commit().await?;
        // The server has committed by now, and nobody was told.
        tokio::time::sleep(Duration::from_millis(100)).await;
        rig.collector.kill().await?;
        rig.wire()?.set(Mode::Pass);
        rig.restart_collector().await?;
    }
    rig.notes.push(format!("{cycles} kills"));
    rig.finish().await
}

pub async fn f03(context: Context) -> anyhow::Result<Row> {
    let load = Load { senders: 0, ..Load::default() };
    let mut rig = Rig::start(&context, Setup { load, ..Setup::default() }).await?;
    let numbers: Vec<u64> =
        (1..=1_500).flat_map(|trace| (0..6).map(move |at| trace * STEPS_OF_TRACE_MAX + at)).collect();
    let client = rig.client(Way::Protobuf);
    let request = client.encode(Body::Spans(rig.ledger.content.export(&numbers)));
    rig.ledger.sent(&numbers, false);

    let sending = async {
        let first = client.attempt(&request).await;
        anyhow::ensure!(!matches!(first, Answer::Yes { .. }), "the request was answered before the kill");
        anyhow::Ok(())
    };
    let killing = async {
        while rig.database.number("SELECT COUNT(*) FROM steps").await? == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        rig.collector.kill().await
    };
    let (sent, killed) = tokio::join!(sending, killing);
    sent.and(killed)?;
    rig.restart_collector().await?;
    let left = rig.database.number("SELECT COUNT(*) FROM steps").await?;
    rig.notes.push(format!("{left} of {} spans were stored at the kill", numbers.len()));
    rig.expect(left < numbers.len() as i64, || "it was no kill in the middle".to_owned());

    let begin = Instant::now();
    loop {
        if let Answer::Yes { rejected: 0 } = client.attempt(&request).await {
            rig.ledger.acknowledged(&numbers, begin.elapsed());
            break;
        }
        anyhow::ensure!(begin.elapsed() < Duration::from_secs(60), "the second try is not taken");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    rig.finish().await
}

pub async fn f04(context: Context) -> anyhow::Result<Row> {
    let mut rig =
        Rig::start(&context, Setup { load: Load { senders: 0, ..Load::default() }, ..Setup::default() }).await?;
    let folder = tempfile::TempDir::new()?;
    let delays: Vec<u64> = (0..500).step_by(context.pick(100, 20)).collect();
    let mut unready = 0;
    for delay in &delays {
        let database = match context.store {
            Kind::Sqlite => Database::Sqlite(folder.path().join(format!("{delay}.db"))),
            Kind::Postgres => {
                rig.database.execute(&format!("CREATE DATABASE start_{delay}")).await?;
                let url = rig.database.url();
                let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
                Database::Postgres(format!("{server}/start_{delay}"))
            }
        };
        let mut collector = Collector::new(&database.url(), Default::default())?;
        collector.spawn()?;
        tokio::time::sleep(Duration::from_millis(*delay)).await;
        unready += u32::from(!collector.is_ready().await);
        collector.kill().await?;
        collector.spawn()?;
        collector.wait_until_ready(Duration::from_secs(30)).await?;
        let keys = database.number("SELECT COUNT(*) FROM api_keys").await?;
        rig.expect(keys == 1, || format!("killed after {delay} ms, it has {keys} first keys"));
        collector.kill().await?;
    }
    rig.notes.push(format!("{} kills after 0 to 500 ms, {unready} of them before it was ready", delays.len()));
    rig.finish().await
}

pub async fn f05(context: Context) -> anyhow::Result<Row> {
    const EXIT_MAX: Duration = Duration::from_secs(25);
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let mut took = Vec::new();
    for way in ["TERM", "TERM twice", "TERM, KILL"] {
        rig.flow(20).await?;
        let begin = Instant::now();
        signal("TERM", &[rig.collector.pid()]).await?;
        match way {
            "TERM twice" => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                // It may be gone already.
                let _ = signal("TERM", &[rig.collector.pid()]).await;
            }
            "TERM, KILL" => {
                tokio::time::sleep(Duration::from_millis(rig.random.random_range(0..1_000))).await;
                rig.collector.kill().await?;
            }
            _ => {}
        }
        let status = rig.collector.end(EXIT_MAX).await?;
        took.push(format!("{way}: {:.2} s", begin.elapsed().as_secs_f64()));
        rig.expect(status.success() || way == "TERM, KILL", || format!("{way}: it ended with {status}"));
        rig.restart_collector().await?;
    }
    let given_up = rig.ledger.trouble().given_up;
    rig.expect(given_up == 0, || format!("{given_up} requests of clients that try again were given up"));
    rig.notes.push(took.join(", "));
    rig.finish().await
}

pub async fn f06(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup::default()).await?;
    let pause = context.pick(3, 30);
    signal("STOP", &[rig.collector.pid()]).await?;
    tokio::time::sleep(Duration::from_secs(pause)).await;
    signal("CONT", &[rig.collector.pid()]).await?;
    rig.notes.push(format!("for {pause} s"));
    rig.finish().await
}
