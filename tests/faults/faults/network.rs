//! The ways between clients, collector and Postgres.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rand::seq::IndexedRandom;
use tempfile::TempDir;

use crate::collector::{Launch, last_lines};
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::sender::Load;
use crate::wire::Mode;

/// A server that is gone without a word is given up by then.
const DETECTED_MAX: Duration = Duration::from_secs(15);
const SLOW: Mode =
    Mode::Slow { base: Duration::from_millis(200), jitter: Duration::from_millis(600), bytes_per_second: 32 << 10 };

fn by_wire() -> Setup {
    Setup { has_wire: true, ..Setup::default() }
}

pub async fn f16(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, by_wire()).await?;
    rig.wire()?.set(Mode::CutCommit { one_in: 4 });
    tokio::time::sleep(Duration::from_secs(context.pick(4, 20))).await;
    rig.wire()?.set(Mode::Pass);
    let cut = rig.wire()?.commits_cut.load(Ordering::SeqCst);
    rig.expect(cut > 2, || format!("only {cut} commits were cut from their reply"));
    rig.notes.push(format!("{cut} commits without a reply"));
    rig.finish().await
}

pub async fn f17(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, by_wire()).await?;
    let begin = Instant::now();
    rig.wire()?.swallow();
    // What was on its way is over by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    rig.flow(8).await?;
    let took = begin.elapsed();
    rig.notes.push(format!("new connections after {:.1} s", took.as_secs_f64()));
    let (examples, log) = (rig.ledger.examples(), last_lines(&rig.collector.log(), 8));
    rig.expect(took < DETECTED_MAX, || {
        let told = format!("silence was noticed only after {:.1} s", took.as_secs_f64());
        eprintln!("{told}: {examples:?}\n{log}");
        told
    });
    rig.finish().await
}

pub async fn f18(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, by_wire()).await?;
    let before = rig.ledger.trouble();
    rig.wire()?.set(Mode::Stall);
    tokio::time::sleep(Duration::from_secs(1)).await;
    rig.wire()?.set(Mode::Pass);
    rig.flow(20).await?;
    rig.expect_no_trouble_since(before).await;
    for _ in 0..context.pick(5, 20) {
        rig.wire()?.set(Mode::Cut);
        tokio::time::sleep(Duration::from_millis(250)).await;
        rig.wire()?.set(Mode::Pass);
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    if context.is_long {
        let early = rig.collector.resident_mib();
        rig.wire()?.set(Mode::Stall);
        tokio::time::sleep(Duration::from_secs(60)).await;
        rig.wire()?.set(Mode::Pass);
        let late = rig.collector.resident_mib();
        rig.notes.push(format!("60 s: resident {early:.0} MiB before, {late:.0} after"));
    }
    rig.finish().await
}

pub async fn f19(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, by_wire()).await?;
    let early = rig.collector.resident_mib();
    rig.wire()?.set(SLOW);
    tokio::time::sleep(Duration::from_secs(context.pick(10, 30))).await;
    let late = rig.collector.resident_mib();
    rig.wire()?.set(Mode::Pass);
    rig.notes.push(format!("resident {early:.0} MiB before, {late:.0} after"));
    rig.finish().await
}

pub async fn f20(context: Context) -> anyhow::Result<Row> {
    let mut rig = Rig::start(&context, by_wire()).await?;
    for one_in in [20, 7, 3] {
        rig.wire()?.set(Mode::Lossy { one_in });
        tokio::time::sleep(Duration::from_secs(context.pick(2, 8))).await;
    }
    rig.wire()?.set(Mode::Pass);
    rig.notes.push("5, 14 and 33 % of pieces late".to_owned());
    rig.finish().await
}

pub async fn f21(context: Context) -> anyhow::Result<Row> {
    let load = Load { give_up: Duration::from_secs(30), ..Load::default() };
    let mut rig = Rig::start(&context, Setup { has_client_wires: true, load, ..Setup::default() }).await?;
    for wire in &rig.client_wires {
        // Those of now end, the next ones are cut by chance.
        wire.set(Mode::Cut);
        tokio::time::sleep(Duration::from_millis(50)).await;
        wire.set(Mode::CutAfter { bytes_max: 20_000 });
    }
    tokio::time::sleep(Duration::from_secs(context.pick(5, 20))).await;
    for wire in &rig.client_wires {
        wire.set(Mode::Pass);
    }
    let (broken, lines) = (rig.ledger.trouble().broken, rig.collector.log().lines().count());
    rig.expect(broken > 20, || format!("only {broken} connections broke"));
    rig.expect(lines < 200, || format!("{lines} lines in the log"));
    rig.finish().await
}

/// For faults at random: one of these, and its end.
pub async fn any(rig: &mut Rig) -> anyhow::Result<&'static str> {
    let modes = [
        ("wire cut", Mode::Cut),
        ("wire stalled", Mode::Stall),
        ("wire slow", SLOW),
        ("wire lossy", Mode::Lossy { one_in: 5 }),
        ("commits cut off", Mode::CutCommit { one_in: 3 }),
    ];
    let (name, mode) = *modes.choose(&mut rig.random).unwrap_or(&modes[0]);
    rig.wire()?.set(mode);
    rig.pause(500..3_000).await;
    rig.wire()?.set(Mode::Pass);
    Ok(name)
}

/// The names of servers, as the collector alone sees them.
struct Names {
    folder: TempDir,
}

impl Names {
    const SERVER: &str = "database.test";

    fn make() -> anyhow::Result<Names> {
        let names = Names { folder: TempDir::new()? };
        names.set(true)?;
        Ok(names)
    }

    /// The file stays the same one: it is mounted.
    fn set(&self, is_known: bool) -> anyhow::Result<()> {
        let server = if is_known { format!("127.0.0.1 {}\n", Names::SERVER) } else { String::new() };
        Ok(std::fs::write(self.folder.path().join("hosts"), format!("127.0.0.1 localhost\n{server}"))?)
    }

    fn launch(&self) -> Launch {
        let hosts = self.folder.path().join("hosts");
        let mount = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.display());
        let through = ["unshare", "--mount", "sh", "-c", &mount].map(str::to_owned).into();
        Launch { through, ..Launch::default() }
    }
}

pub async fn f51(context: Context) -> anyhow::Result<Row> {
    let names = Names::make()?;
    let setup = Setup { launch: names.launch(), server_name: Some(Names::SERVER), ..Setup::default() };
    let mut rig = Rig::start(&context, setup).await?;
    names.set(false)?;
    // Sessions that are there need no name.
    rig.flow(20).await?;
    rig.cluster()?.stop("fast").await?;
    rig.cluster()?.begin().await?;
    let was_noticed = rig.until(Duration::from_secs(20), |trouble| trouble.refused > 0).await;
    rig.expect(was_noticed, || "nothing was refused although nobody knows the server".to_owned());
    let (_, why) = rig.collector.get("", "/readyz").await?;
    rig.expect(why.contains("lookup address"), || format!("/readyz says: {why}"));
    names.set(true)?;
    rig.notes.push(format!("without the name: {}", why.trim()));
    rig.finish().await
}
