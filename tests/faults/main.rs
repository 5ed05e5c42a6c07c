//! The proof that nothing acknowledged is ever lost: faults made against the real program under load, with a ledger
//! outside of it. `tests/faults/run` is the command for people; `cargo test` runs the short tier.
//!
//! Each fault starts a collector, a database and senders of its own (`rig`), does its harm, waits until the collector is
//! ready again, and joins what the senders were told with what the database holds (`join`).

mod clock_faults;
mod cluster;
mod collector;
mod content;
mod faults;
mod io_faults;
mod join;
mod ledger;
mod plan;
mod pooler;
#[path = "../it/ports.rs"]
mod ports;
mod preload;
mod report;
mod rig;
mod sender;
mod wire;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::cluster::Template;
use crate::faults::torn;
use crate::plan::{FAULTS, Fault, Tier};
use crate::pooler::PgBouncer;
use crate::report::Row;
use crate::rig::{Context, Kind};

/// No fault of the matrix takes longer, the loops of many cycles and the soak apart.
const FAULT_MAX: Duration = Duration::from_secs(300);

/// What was asked for.
struct Wanted {
    is_all: bool,
    /// Ids, or what `cargo test NAME` passes on to every test program.
    names: Vec<String>,
    kill_cycles: Option<u32>,
    postgres_kills: Option<u32>,
    soak: Option<Duration>,
    /// On this one alone.
    store: Option<Kind>,
    seed: u64,
    ledger_file: Option<PathBuf>,
    is_listing: bool,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [torn::WRITER, path, level] = words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        return write_for_power_loss(Path::new(path), level);
    }
    let wanted = match read_arguments(words.into_iter()) {
        Ok(wanted) => wanted,
        Err(error) => {
            eprintln!("faults: {error:#}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads and sockets");
    let outcome = runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            done = run(&wanted) => done,
            // What was started ends with the values that hold it.
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("terminated"),
        }
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(101),
        Err(error) => {
            eprintln!("faults: {error:#}");
            ExitCode::from(101)
        }
    }
}

/// The small program of F30.
fn write_for_power_loss(path: &Path, level: &str) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("threads and sockets");
    match runtime.block_on(torn::write_for_power_loss(path, level)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn read_arguments(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted {
        is_all: false,
        names: Vec::new(),
        kill_cycles: None,
        postgres_kills: None,
        soak: None,
        store: None,
        seed: 1,
        ledger_file: None,
        is_listing: false,
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{argument} wants a value"));
        match argument.as_str() {
            "--all" => wanted.is_all = true,
            "--list" => wanted.is_listing = true,
            "--kill-cycles" => wanted.kill_cycles = Some(value()?.parse()?),
            "--postgres-kills" => wanted.postgres_kills = Some(value()?.parse()?),
            "--soak" => wanted.soak = Some(humantime::parse_duration(&value()?)?),
            "--store" => {
                let name = value()?;
                let named = [Kind::Sqlite, Kind::Postgres].into_iter().find(|kind| report::store(*kind) == name);
                wanted.store = Some(named.with_context(|| format!("no store is called {name}"))?);
            }
            "--seed" => wanted.seed = value()?.parse()?,
            "--ledger" => wanted.ledger_file = Some(PathBuf::from(value()?)),
            // Of cargo's own harness, for which `cargo test -- …` means them.
            "--skip" | "--format" | "--color" | "--report-time" => drop(value()?),
            "--nocapture" | "--no-capture" | "--include-ignored" | "--ignored" | "--exact" | "--quiet" | "-q"
            | "--show-output" => {}
            other if other.starts_with("--test-threads") => {
                if !other.contains('=') {
                    value()?;
                }
            }
            other if other.starts_with('-') => bail!("{other} is no option; see tests/faults/run"),
            name => wanted.names.push(name.to_owned()),
        }
    }
    Ok(wanted)
}

impl Wanted {
    fn has(&self, fault: &Fault) -> bool {
        let is_long_loop = fault.id == "F01" && self.kill_cycles.is_some()
            || matches!(fault.id, "F12" | "F13") && self.postgres_kills.is_some()
            || fault.tier == Tier::Soak && self.soak.is_some();
        if !self.names.is_empty() {
            return is_long_loop || self.names.iter().any(|name| name == fault.id);
        }
        if self.is_all {
            return is_long_loop || fault.tier != Tier::Soak;
        }
        let is_loop_wanted = self.kill_cycles.is_some() || self.postgres_kills.is_some() || self.soak.is_some();
        is_long_loop || !is_loop_wanted && fault.tier == Tier::Short
    }

    fn stores(&self, fault: &Fault) -> Vec<Kind> {
        fault.stores.iter().copied().filter(|kind| self.store.is_none_or(|store| store == *kind)).collect()
    }

    /// The longer forms are for those who named them.
    fn is_long(&self) -> bool {
        self.is_all || !self.names.is_empty()
    }
}

/// Whether everything passed.
async fn run(wanted: &Wanted) -> anyhow::Result<bool> {
    let mut chosen: Vec<&Fault> = FAULTS.iter().filter(|fault| wanted.has(fault)).collect();
    if let (true, Some(why)) = (wanted.names.is_empty(), PgBouncer::is_missing()) {
        chosen.retain(|fault| {
            let is_possible = fault.id != "F37";
            if !is_possible {
                println!("{} is left out: {why}", fault.id);
            }
            is_possible
        });
    }
    if wanted.is_listing {
        for fault in chosen {
            println!("{}: test  {}", fault.id, fault.what);
        }
        return Ok(true);
    }
    let begin = Instant::now();
    let needs_postgres = chosen.iter().any(|fault| wanted.stores(fault).contains(&Kind::Postgres));
    let template = if needs_postgres { Some(Arc::new(Template::make().await?)) } else { None };
    let count: usize = chosen.iter().map(|fault| wanted.stores(fault).len()).sum();
    println!("\nrunning {count} faults with {}", collector::binary().display());

    let (mut rows, mut failed) = (Vec::new(), 0);
    for fault in chosen {
        for store in wanted.stores(fault) {
            let context = Context {
                id: fault.id,
                store,
                seed: wanted.seed,
                is_long: wanted.is_long(),
                kill_cycles: wanted.kill_cycles.unwrap_or(if wanted.is_all { 100 } else { 20 }),
                postgres_kills: wanted.postgres_kills.unwrap_or(if wanted.is_all { 20 } else { 3 }),
                soak: wanted.soak.unwrap_or_default(),
                ledger_file: wanted.ledger_file.clone(),
                template: template.clone(),
            };
            let name = format!("{} {}", fault.id, report::store(store));
            // Seconds a cycle, with much to spare.
            let loops = context.kill_cycles.max(context.postgres_kills * 3);
            let limit = FAULT_MAX + Duration::from_secs(5) * loops + context.soak * 2;
            let ended = tokio::time::timeout(limit, (fault.make)(context)).await;
            match ended.unwrap_or_else(|_| bail!("not over after {limit:?}")) {
                Ok(row) => {
                    let is_good = row.problems.is_empty();
                    println!("test {name} ... {}\n    {}\n    {}", word(is_good), fault.what, row.line());
                    for problem in &row.problems {
                        println!("    PROBLEM: {problem}");
                    }
                    failed += usize::from(!is_good);
                    rows.push(row);
                }
                Err(error) => {
                    failed += 1;
                    println!("test {name} ... FAILED\n    {}\n    PROBLEM: {error:#}", fault.what);
                }
            }
        }
    }
    if std::env::var_os("VECTOROS_WRITE_DOCS").is_some_and(|value| value == "1") {
        write_docs(&rows)?;
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; 0 filtered out; finished in {:.2}s\n",
        word(failed == 0),
        count - failed,
        begin.elapsed().as_secs_f64()
    );
    Ok(failed == 0)
}

fn word(is_good: bool) -> &'static str {
    if is_good { "ok" } else { "FAILED" }
}

fn write_docs(rows: &[Row]) -> anyhow::Result<()> {
    let build = if collector::binary().components().any(|part| part.as_os_str().to_string_lossy().contains("release")) {
        "release"
    } else {
        "debug"
    };
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reliability.md");
    report::write_docs(&page, rows, build)
}
