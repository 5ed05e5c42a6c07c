//! The machine around the collector: descriptors, processors, pipes, time; and everything at once.

use std::time::{Duration, Instant};

use rand::Rng;
use tokio::process::Command;

use super::{network, postgres};
use crate::clock_faults::ClockFaults;
use crate::collector::Launch;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::sender::Load;

pub async fn f10(context: Context) -> anyhow::Result<Row> {
    let launch = Launch { through: ["prlimit", "--nofile=64:64"].map(str::to_owned).into(), ..Launch::default() };
    let mut rig = Rig::start(&context, Setup { launch, ..Setup::default() }).await?;
    let mut held = Vec::new();
    for _ in 0..200 {
        let limit = Duration::from_millis(200);
        if let Ok(Ok(stream)) = tokio::time::timeout(limit, tokio::net::TcpStream::connect(rig.collector.http)).await {
            held.push(stream);
        }
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    rig.notes.push(format!("{} connections held for 2 s", held.len()));
    drop(held);
    rig.finish().await
}

pub async fn f34(context: Context) -> anyhow::Result<Row> {
    const HOUR: i64 = 3600;
    const TEN_YEARS: i64 = 10 * 365 * 24 * HOUR;
    let clock = ClockFaults::make().await?;
    let mut rig = Rig::start(&context, Setup { launch: clock.launch(), ..Setup::default() }).await?;
    let before = rig.ledger.trouble();
    let newest = "SELECT CAST(SUBSTR(CAST(MAX(received_at) AS TEXT), 1, 4) AS BIGINT) FROM runs";
    let year = rig.database.number(newest).await?;
    for offset in [-HOUR, TEN_YEARS, -TEN_YEARS, 0] {
        clock.set(offset)?;
        tokio::time::sleep(Duration::from_secs(context.pick(1, 10))).await;
        rig.flow(40).await?;
    }
    for second in 0..context.pick(3, 30) {
        clock.set(-2 * second as i64)?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    rig.flow(40).await?;
    let seen = rig.database.number(newest).await?;
    rig.expect(seen >= year + 9, || format!("the clock did not jump for the collector: {year}, then {seen}"));
    let backwards = rig.database.number("SELECT COUNT(*) FROM runs WHERE latency_s < 0").await?;
    rig.expect(backwards == 0, || format!("{backwards} runs end before they begin"));
    rig.expect_nobody_gave_up_since(before);
    clock.set(0)?;
    rig.finish().await
}

pub async fn f53(context: Context) -> anyhow::Result<Row> {
    let launch = Launch { is_deaf: true, ..Launch::default() }.with("VECTOROS_LOG__LEVEL", "trace");
    let mut rig = Rig::start(&context, Setup { launch, ..Setup::default() }).await?;
    let before = rig.ledger.trouble();
    tokio::time::sleep(Duration::from_secs(3)).await;
    rig.flow(20).await?;
    rig.expect_nobody_gave_up_since(before);
    rig.finish().await
}

pub async fn f57(context: Context) -> anyhow::Result<Row> {
    let launch = Launch { through: ["nice", "-n", "19"].map(str::to_owned).into(), ..Launch::default() };
    let rig = Rig::start(&context, Setup { launch, ..Setup::default() }).await?;
    let burner = || Command::new("sh").args(["-c", "while :; do :; done"]).kill_on_drop(true).spawn();
    let burners = [burner()?, burner()?, burner()?, burner()?];
    tokio::time::sleep(Duration::from_secs(context.pick(5, 20))).await;
    drop(burners);
    rig.finish().await
}

pub async fn f58(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, Setup { has_wire: true, ..Setup::default() }).await?;
    let end = Instant::now() + Duration::from_secs(context.pick(10, 60));
    let mut made = Vec::new();
    while Instant::now() < end {
        for _ in 0..3 {
            let name = match rig.random.random_range(0..3) {
                0 => {
                    rig.collector.kill().await?;
                    rig.pause(0..500).await;
                    rig.collector.spawn()?;
                    "kill -9"
                }
                1 => postgres::any(&mut rig).await?,
                _ => network::any(&mut rig).await?,
            };
            made.push(name);
        }
        rig.pause(0..2_000).await;
    }
    let mut kinds: Vec<&str> = made.clone();
    kinds.sort_unstable();
    kinds.dedup();
    let counted = kinds.iter().map(|kind| format!("{} {kind}", made.iter().filter(|name| *name == kind).count()));
    rig.notes.push(counted.collect::<Vec<_>>().join(", "));
    rig.finish().await
}

pub async fn soak(context: Context) -> anyhow::Result<Row> {
    const SLOPE_MAX_MIB: f64 = 1.0;
    let full = Load { pause: Duration::ZERO, ..Load::default() };
    let mut rig = Rig::start(&context, Setup { load: full.clone(), ..Setup::default() }).await?;
    let (begin, before) = (Instant::now(), rig.ledger.acknowledged_requests());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let capacity = (rig.ledger.acknowledged_requests() - before) as f64 / begin.elapsed().as_secs_f64();
    rig.stop_load().await?;
    // Of a closed loop: what a request takes now, and what it may take for 70 % of the rate.
    let pause = Duration::from_secs_f64(full.senders as f64 / capacity * (1.0 / 0.7 - 1.0));
    rig.load(Load { pause, round: 1, ..full });

    let begin = Instant::now();
    let (mut samples, before) = (Vec::new(), rig.ledger.acknowledged_requests());
    rig.ledger.take_slowest();
    while begin.elapsed() < context.soak {
        tokio::time::sleep((context.soak / 200).max(Duration::from_secs(1))).await;
        samples.push((begin.elapsed().as_secs_f64(), rig.collector.resident_mib(), rig.ledger.take_slowest()));
    }
    let rate = (rig.ledger.acknowledged_requests() - before) as f64 / begin.elapsed().as_secs_f64();
    // The first quarter warms up.
    let settled = &samples[samples.len() / 4..];
    let slope = slope(settled) * 3_600.0;
    let middle = |part: &[(f64, f64, Duration)]| {
        let mut slowest: Vec<Duration> = part.iter().map(|sample| sample.2).collect();
        slowest.sort();
        slowest[slowest.len() / 2]
    };
    let (early, late) = settled.split_at(settled.len() / 2);
    let (early, late) = (middle(early), middle(late));
    let resident: Vec<f64> = settled.iter().map(|sample| sample.1).collect();
    rig.notes.push(format!(
        "{:.0} min at {rate:.0} of {capacity:.0} requests/s; resident {:.1} to {:.1} MiB after the warm-up, {slope:+.2} MiB an \
         hour; slowest of a window, median of the first and the second half: {:.0} and {:.0} ms",
        context.soak.as_secs_f64() / 60.0,
        resident.first().copied().unwrap_or_default(),
        resident.last().copied().unwrap_or_default(),
        early.as_secs_f64() * 1e3,
        late.as_secs_f64() * 1e3,
    ));
    // Over minutes the noise of the allocator is larger than that.
    if context.soak >= Duration::from_secs(1_800) {
        rig.expect(slope < SLOPE_MAX_MIB, || format!("memory grows by {slope:.2} MiB an hour"));
        rig.expect(late < early * 2, || format!("requests became slower: {early:?}, then {late:?}"));
    }
    rig.finish().await
}

/// Of the least squares, MiB in a second.
fn slope(samples: &[(f64, f64, Duration)]) -> f64 {
    let count = samples.len() as f64;
    let (x, y) = samples.iter().fold((0.0, 0.0), |(x, y), sample| (x + sample.0 / count, y + sample.1 / count));
    let (over, under) = samples.iter().fold((0.0, 0.0), |(over, under), sample| {
        (over + (sample.0 - x) * (sample.1 - y), under + (sample.0 - x).powi(2))
    });
    if under > 0.0 { over / under } else { 0.0 }
}
