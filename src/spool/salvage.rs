//! Opening the file whatever state it is in: a damaged one is renamed, and what can be read of it goes into a new one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use chrono::Utc;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use super::file::{OpenError, Read, SpoolFile, beside, read_row};
use super::kept::Kept;

/// Only its owner reads what strangers sent.
const MODE: u32 = 0o600;
/// Rows that are copied in one transaction.
const ROWS_MAX: usize = 100;
const BYTES_MAX: u64 = 8 << 20;
/// Rows that are looked for one by one between two readable ones.
const GAP_MAX: i64 = 1_000_000;

/// The file at `path`, made if it is missing, and made anew when it is damaged.
pub(super) async fn open(path: &Path, is_checked: bool) -> anyhow::Result<SpoolFile> {
    create(path)?;
    match SpoolFile::open(path, is_checked).await {
        Ok(file) => Ok(file),
        Err(OpenError::Other(error)) => Err(error),
        Err(OpenError::Damaged(why)) => {
            let aside = set_aside(path).context("a damaged spool cannot be renamed")?;
            create(path)?;
            let mut file = SpoolFile::open(path, false).await?;
            let saved = salvage(&aside, &mut file).await;
            tracing::error!(
                why,
                aside = %aside.display(),
                salvaged = saved.requests,
                damaged = saved.damaged,
                not_read = saved.error,
                "THE SPOOL IS DAMAGED: it was renamed, and a new one holds the requests that could be read"
            );
            Ok(file)
        }
    }
}

/// An empty file if there is none; SQLite gives those that it makes beside it the same mode.
fn create(path: &Path) -> anyhow::Result<()> {
    let is_new = !path.exists();
    let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(MODE).open(path);
    let file = file.with_context(|| format!("{} cannot be opened", path.display()))?;
    file.set_permissions(Permissions::from_mode(MODE))
        .with_context(|| format!("{} cannot be closed to others", path.display()))?;
    if is_new {
        // So that the name is there after a loss of power as the rows are.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).context("the folder of the spool cannot be synced")?;
    }
    Ok(())
}

/// Renames it with its log, which may hold what it does not.
fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let time = Utc::now().format("%Y%m%dT%H%M%S%.6fZ");
    let aside = beside(path, &format!(".corrupt-{time}"));
    fs::rename(path, &aside)?;
    for suffix in ["-wal", "-shm"] {
        match fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

#[derive(Debug, Default)]
struct Saved {
    requests: u64,
    /// Rows that could be read and were not what was written.
    damaged: u64,
    /// Why some were not read.
    error: Option<String>,
}

async fn salvage(aside: &Path, into: &mut SpoolFile) -> Saved {
    let mut saved = Saved::default();
    if let Err(error) = copy_readable(aside, into, &mut saved).await {
        saved.error = Some(error.to_string());
    }
    saved
}

/// Up from the first row as far as it goes, then down from the last, then what lies between, one by one.
async fn copy_readable(aside: &Path, into: &mut SpoolFile, saved: &mut Saved) -> sqlx::Result<()> {
    let mut from = SqliteConnectOptions::new().filename(aside).connect().await?;
    let (mut low, mut high) = (0, i64::MAX);
    let error = loop {
        match ids(&mut from, "SELECT seq FROM spool WHERE seq > ? ORDER BY seq LIMIT 100", low).await {
            Ok(seqs) if seqs.is_empty() => return from.close().await,
            Ok(seqs) => {
                low = seqs.last().copied().unwrap_or(low);
                copy(&mut from, seqs, into, saved).await?;
            }
            Err(error) => break error,
        }
    };
    saved.error = Some(error.to_string());
    while let Ok(seqs) = ids(&mut from, "SELECT seq FROM spool WHERE seq < ? ORDER BY seq DESC LIMIT 100", high).await {
        let seqs: Vec<i64> = seqs.into_iter().filter(|seq| *seq > low).collect();
        let Some(last) = seqs.last() else { return Ok(()) };
        high = *last;
        copy(&mut from, seqs, into, saved).await?;
    }
    if high != i64::MAX {
        let between: Vec<i64> = (low + 1..high.min(low.saturating_add(GAP_MAX))).collect();
        copy(&mut from, between, into, saved).await?;
    }
    Ok(())
}

async fn ids(from: &mut SqliteConnection, statement: &'static str, border: i64) -> sqlx::Result<Vec<i64>> {
    sqlx::query_scalar(statement).bind(border).fetch_all(from).await
}

/// Copies those of the rows that are what was written. An error is one of the new file.
async fn copy(
    from: &mut SqliteConnection,
    seqs: Vec<i64>,
    into: &mut SpoolFile,
    saved: &mut Saved,
) -> sqlx::Result<()> {
    let (mut good, mut bytes) = (Vec::new(), 0);
    for seq in seqs {
        match read_row(from, seq).await {
            Ok(Some(Read::Good(kept))) => {
                bytes += kept.room_bytes();
                good.push(kept);
            }
            Ok(Some(Read::Damaged)) => saved.damaged += 1,
            Ok(None) => {}
            Err(error) => saved.error = Some(error.to_string()),
        }
        if good.len() >= ROWS_MAX || bytes >= BYTES_MAX {
            saved.requests += append(into, std::mem::take(&mut good)).await?;
            bytes = 0;
        }
    }
    saved.requests += append(into, good).await?;
    Ok(())
}

async fn append(into: &mut SpoolFile, requests: Vec<Kept>) -> sqlx::Result<u64> {
    let count = requests.len() as u64;
    into.append(requests).await?;
    Ok(count)
}
