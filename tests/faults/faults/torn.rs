//! Errors of the disk below SQLite, and loss of power. A killed process leaves what it wrote in the memory of the
//! system: only here full sync and none are told apart.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use tokio::process::Command;

use crate::collector::Launch;
use crate::content::step_id;
use crate::io_faults::{IoFaults, since_1970};
use crate::join::Database;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};

/// How the small writer is called: by its own program with this, a path and FULL or NORMAL.
pub const WRITER: &str = "--power-loss-writer";
const WRITER_ROWS: i64 = 3_000;

pub async fn f29(context: Context) -> anyhow::Result<Row> {
    let faults = IoFaults::make().await?;
    let mut rig = Rig::start(&context, Setup { launch: faults.launch(), ..Setup::default() }).await?;
    for (name, syncs, writes) in
        [("every sync", 1, 0), ("every write", 0, 1), ("each 5th sync", 5, 0), ("each 50th write", 0, 50)]
    {
        let before = rig.ledger.trouble();
        faults.fail(syncs, writes)?;
        // Answers to what was synced before are on their way.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let acknowledged = rig.ledger.acknowledged_requests();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let more = rig.ledger.acknowledged_requests() - acknowledged;
        let is_total = syncs == 1 || writes == 1;
        rig.expect(!is_total || more == 0, || format!("{name} fails, and {more} requests were acknowledged"));
        faults.fail(0, 0)?;
        if rig.collector.has_ended() {
            rig.notes.push(format!("{name}: it ended and was started again"));
            rig.restart_collector().await?;
        }
        let refused = rig.ledger.trouble().since(before).refused;
        rig.expect(!is_total || refused > 0, || format!("{name} fails, and nobody was told to come again"));
        rig.recover().await?;
    }
    let broken =
        rig.database.number("SELECT COUNT(*) FROM pragma_integrity_check WHERE integrity_check <> 'ok'").await?;
    rig.expect(broken == 0, || "the file is damaged".to_owned());
    rig.finish().await
}

pub async fn f30(context: Context) -> anyhow::Result<Row> {
    let cuts = context.pick(20, 100);
    let faults = IoFaults::make().await?;
    let launch = Launch { environment: faults.environment(), ..Launch::default() };
    let mut rig = Rig::start(&context, Setup { launch, ..Setup::default() }).await?;
    tokio::time::sleep(Duration::from_secs(context.pick(2, 6))).await;
    rig.stop_load().await?;
    let record = faults.record()?;
    let acknowledged: Vec<(u64, String)> = rig
        .ledger
        .entries()
        .into_iter()
        .filter_map(|(number, entry)| Some((since_1970(entry.acknowledged_at?), step_id(number))))
        .collect();
    let (mut looked, mut lost) = (0, 0);
    let mut random = rig.random.clone();
    record
        .cut(cuts, &mut random, async |path, at| {
            let due: Vec<&String> = acknowledged.iter().filter(|(when, _)| *when <= at).map(|(_, id)| id).collect();
            looked += 1;
            if due.is_empty() {
                return Ok(());
            }
            let stored: HashSet<String> =
                Database::Sqlite(path).steps().await?.into_iter().map(|row| row.step_id).collect();
            lost += due.into_iter().filter(|id| !stored.contains(*id)).count();
            Ok(())
        })
        .await?;
    rig.expect(lost == 0, || format!("{lost} acknowledged steps were gone"));
    rig.notes.push(format!("{looked} states at {cuts} of {} syncs, {lost} acknowledged steps gone", record.syncs()));
    for (level, is_safe) in [("FULL", true), ("NORMAL", false)] {
        let (lost, of) = writer_losses(level, cuts, &mut random).await?;
        rig.notes.push(format!("a small writer with synchronous={level}: {lost} of {of} rows gone"));
        rig.expect((lost == 0) == is_safe, || format!("synchronous={level}: {lost} rows were gone"));
    }
    rig.finish().await
}

/// The same with a writer of one's own: rows that were told and were gone, summed over all cuts, and rows told in them.
async fn writer_losses(level: &str, cuts: usize, random: &mut rand::rngs::StdRng) -> anyhow::Result<(usize, usize)> {
    let faults = IoFaults::make().await?;
    let folder = tempfile::TempDir::new()?;
    let mut writer = Command::new(std::env::current_exe()?);
    writer.arg(WRITER).arg(folder.path().join("small.db")).arg(level).envs(faults.environment());
    let output = writer.output().await?;
    ensure!(output.status.success(), "the small writer: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut told = Vec::new();
    for line in text.lines() {
        let (number, at) = line.split_once(' ').context("a number and a time")?;
        told.push((number.parse::<i64>()?, at.parse::<u64>()?));
    }
    let (mut lost, mut of) = (0, 0);
    // NORMAL syncs at checkpoints alone: there are few of them.
    let record = faults.record()?;
    let cuts = cuts.min(record.syncs().saturating_sub(1));
    record
        .cut(cuts, random, async |path: PathBuf, at| {
            let due = told.iter().filter(|(_, when)| *when <= at).count();
            of += due;
            if due > 0 {
                let has_table = Database::Sqlite(path.clone()).number("SELECT COUNT(*) FROM sqlite_schema").await? > 0;
                let query = "SELECT COUNT(*) FROM told";
                let stored = if has_table { Database::Sqlite(path).number(query).await? } else { 0 };
                lost += due.saturating_sub(stored as usize);
            }
            Ok(())
        })
        .await?;
    Ok((lost, of))
}

/// One row a transaction, told on standard output after its COMMIT with the time.
pub async fn write_for_power_loss(path: &Path, level: &str) -> anyhow::Result<()> {
    let level = if level == "FULL" { SqliteSynchronous::Full } else { SqliteSynchronous::Normal };
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.journal_mode(SqliteJournalMode::Wal).synchronous(level).connect().await?;
    sqlx::raw_sql("CREATE TABLE told (number INTEGER PRIMARY KEY, text TEXT NOT NULL)")
        .execute(&mut connection)
        .await?;
    for number in 0..WRITER_ROWS {
        let insert = sqlx::query("INSERT INTO told VALUES (?, ?)").bind(number).bind("x".repeat(400));
        insert.execute(&mut connection).await?;
        println!("{number} {}", SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos());
    }
    Ok(connection.close().await?)
}
