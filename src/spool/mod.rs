//! What is taken while the database is away: requests in a file, each on the disk before its sender is told OK, until they
//! can go the rest of their way. `kept` is a request and its hash, `room` the bound in bytes, `file` SQLite, `salvage` what
//! happens when the file is damaged, `place` where it lies. One task owns the file: it takes whatever waits, and one
//! transaction syncs it all.

mod file;
mod kept;
mod place;
mod room;
mod salvage;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use crate::telemetry::Counters;

use file::{SpoolFile, beside, is_damage};
use room::Room;

pub use file::{Portion, Row};
pub use kept::{Content, Kept};

/// Requests that one transaction keeps.
const GROUP_MAX: usize = 256;
/// Commands on their way to the task.
const COMMANDS_MAX: usize = 1024;
/// Rows that are read at a time, and their bytes unless one alone has more.
const PORTION_ROWS: i64 = 256;
const PORTION_BYTES: u64 = 4 << 20;

/// The way to the task that owns the file.
#[derive(Clone)]
pub struct Spool {
    commands: mpsc::Sender<Command>,
    shared: Arc<Shared>,
}

/// Why a request is not kept; its sender must try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotKept {
    #[error("the spool is full")]
    Full,
    #[error("the spool cannot be written")]
    Failed,
}

impl Spool {
    /// Opens the file at `path`, which is made if it is missing and set aside if it is damaged. Fails when it cannot be used
    /// at all, or is used by another process.
    pub async fn open(path: &Path, bytes_max: u64, counters: Arc<Counters>) -> anyhow::Result<Spool> {
        let lock = locked(path)?;
        if let Some(kind) = place::fleeting(path) {
            tracing::warn!(
                path = %path.display(),
                kind,
                "the spool lies on a file system that may be lost with this machine or container, and with it what was \
                 acknowledged: put it on a disk that stays"
            );
        }
        let file = salvage::open(path, true).await.with_context(|| format!("the spool {}", path.display()))?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared {
            room: Mutex::new(Room::new(bytes_max)),
            standing: Mutex::default(),
            is_broken: AtomicBool::new(false),
            counters,
        });
        let path = path.to_owned();
        let mut keeper = Keeper { path, _lock: lock, file: None, is_suspect: false, shared };
        keeper.adopt(file).await.context("the spool cannot be counted")?;
        let shared = keeper.shared.clone();
        if shared.standing().requests > 0 {
            let requests = shared.standing().requests;
            tracing::info!(requests, "the spool holds requests from before, they are sent to the database");
        }
        tokio::spawn(keeper.run(receiver));
        Ok(Spool { commands, shared })
    }

    /// Keeps a request: on the disk when it returns.
    pub async fn keep(&self, kept: Kept) -> Result<(), NotKept> {
        let kept = Kept { received_at: kept::to_micros(kept.received_at), ..kept };
        let place = Place::take(&self.shared, kept.room_bytes()).ok_or(NotKept::Full)?;
        self.ask(|reply| Command::Keep(Coming { kept, place, reply })).await.unwrap_or(Err(NotKept::Failed))
    }

    /// The rows behind `after`. `None` when they cannot be read now.
    pub async fn read(&self, after: i64) -> Option<Portion> {
        self.ask(|reply| Command::Read { after, reply }).await?
    }

    /// Forgets requests that are committed elsewhere. False when that failed: then they are read again.
    pub async fn delete(&self, rows: &[Row]) -> bool {
        let rows = rows.iter().map(|row| (row.seq, row.kept.room_bytes())).collect();
        self.ask(|reply| Command::Delete { rows, reply }).await.unwrap_or(false)
    }

    /// Writes everything into the file and gives it free. What is asked for later fails.
    pub async fn close(&self) {
        let _ = self.ask(Command::Close).await;
    }

    pub fn is_empty(&self) -> bool {
        self.shared.standing().requests == 0
    }

    /// There is room, and the file can be written as far as anybody knows.
    pub fn is_taking(&self) -> bool {
        !self.shared.is_broken.load(Ordering::Acquire) && !self.shared.room().is_full()
    }

    /// Brings the age of the oldest request into the counters.
    pub fn note_age(&self) {
        let age = self.shared.standing().oldest.map_or(0, |oldest| (Utc::now() - oldest).num_seconds().max(0));
        self.shared.counters.spool_oldest_seconds.set(age);
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// Nobody else uses the spool while it is held. A file of its own: SQLite's locks on its file would go with any other
/// descriptor of it that is closed.
fn locked(path: &Path) -> anyhow::Result<File> {
    let name = beside(path, ".lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&name);
    let file = opened.with_context(|| format!("spool.path: {} cannot be opened", name.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => bail!(
            "spool.path: {} is used by another collector: give each a file of its own, or stop the other one",
            path.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("{} cannot be locked", name.display())),
    }
}

/// What the task and those who use it both know.
struct Shared {
    room: Mutex<Room>,
    standing: Mutex<Standing>,
    is_broken: AtomicBool,
    counters: Arc<Counters>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    requests: u64,
    oldest: Option<DateTime<Utc>>,
}

impl Shared {
    fn room(&self) -> MutexGuard<'_, Room> {
        // Both values are whole after every statement.
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room for a request that is on its way to the file; dropped, it is given back.
struct Place {
    bytes: u64,
    shared: Arc<Shared>,
}

impl Place {
    fn take(shared: &Arc<Shared>, bytes: u64) -> Option<Place> {
        shared.room().take(bytes).then(|| Place { bytes, shared: shared.clone() })
    }

    fn arrived(mut self) {
        self.shared.room().arrived(std::mem::take(&mut self.bytes));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.room().give_back(self.bytes);
        }
    }
}

struct Coming {
    kept: Kept,
    place: Place,
    reply: oneshot::Sender<Result<(), NotKept>>,
}

enum Command {
    Keep(Coming),
    Read {
        after: i64,
        reply: oneshot::Sender<Option<Portion>>,
    },
    /// Each with the room it took.
    Delete {
        rows: Vec<(i64, u64)>,
        reply: oneshot::Sender<bool>,
    },
    Close(oneshot::Sender<()>),
}

/// The task that owns the file.
struct Keeper {
    path: PathBuf,
    _lock: File,
    /// `None` after an error, until it is opened again: what a failed sync left in memory is not trusted.
    file: Option<SpoolFile>,
    /// The file may be damaged: all of it is looked at before it is used again.
    is_suspect: bool,
    shared: Arc<Shared>,
}

impl Keeper {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut closing = Vec::new();
        while closing.is_empty() {
            let Some(first) = commands.recv().await else { break };
            let (mut coming, mut next) = (Vec::new(), Some(first));
            while let Some(command) = next {
                match command {
                    Command::Keep(request) => coming.push(request),
                    Command::Read { after, reply } => drop(reply.send(self.read(after).await)),
                    Command::Delete { rows, reply } => drop(reply.send(self.delete(rows).await)),
                    Command::Close(reply) => closing.push(reply),
                }
                next = if coming.len() < GROUP_MAX { commands.try_recv().ok() } else { None };
            }
            self.keep(coming).await;
            self.note_standing().await;
        }
        if let Some(file) = self.file.take()
            && let Err(error) = file.close().await
        {
            tracing::warn!(%error, "the spool could not be closed, what it holds stays");
        }
        // Free before anybody is told that it is closed.
        drop(self);
        for reply in closing {
            let _ = reply.send(());
        }
    }

    async fn keep(&mut self, coming: Vec<Coming>) {
        if coming.is_empty() {
            return;
        }
        let count = coming.len() as u64;
        let (requests, waiting): (Vec<Kept>, Vec<_>) =
            coming.into_iter().map(|Coming { kept, place, reply }| (kept, (place, reply))).unzip();
        let is_done = match self.file().await {
            Some(file) => {
                let done = file.append(requests).await;
                self.judge(done).is_some()
            }
            None => false,
        };
        for (place, reply) in waiting {
            let answer = match is_done {
                true => {
                    place.arrived();
                    Ok(())
                }
                false => Err(NotKept::Failed),
            };
            // Who asked may be gone; it is kept all the same, and copies change nothing.
            let _ = reply.send(answer);
        }
        if is_done {
            self.shared.standing().requests += count;
        }
    }

    async fn read(&mut self, after: i64) -> Option<Portion> {
        let portion = self.file().await?.read(after, PORTION_ROWS, PORTION_BYTES).await;
        let portion = self.judge(portion)?;
        if portion.damaged > 0 {
            tracing::error!(
                rows = portion.damaged,
                path = %self.path.display(),
                "REQUESTS IN THE SPOOL ARE DAMAGED: they were put into its table `damaged` and are not stored"
            );
            self.shared.counters.spool_damaged.inc_by(portion.damaged);
            let mut standing = self.shared.standing();
            standing.requests = standing.requests.saturating_sub(portion.damaged);
        }
        Some(portion)
    }

    async fn delete(&mut self, rows: Vec<(i64, u64)>) -> bool {
        let seqs = rows.iter().map(|(seq, _)| *seq).collect();
        let Some(file) = self.file().await else { return false };
        let done = file.delete(seqs).await;
        if self.judge(done).is_none() {
            return false;
        }
        self.shared.room().left(rows.iter().map(|(_, bytes)| bytes).sum());
        let is_empty = {
            let mut standing = self.shared.standing();
            standing.requests = standing.requests.saturating_sub(rows.len() as u64);
            standing.requests == 0
        };
        if is_empty && let Some(file) = self.file().await {
            let done = file.shrink().await;
            self.judge(done);
        }
        true
    }

    /// The open file; opened again after an error.
    async fn file(&mut self) -> Option<&mut SpoolFile> {
        if self.file.is_none() {
            let adopted = match salvage::open(&self.path, self.is_suspect).await {
                Ok(file) => self.adopt(file).await.map_err(anyhow::Error::from),
                Err(error) => Err(error),
            };
            if let Err(error) = adopted {
                self.file = None;
                self.complain(&format_args!("{error:#}"));
            }
        }
        self.file.as_mut()
    }

    /// Uses this file from now on, after counting what is in it.
    async fn adopt(&mut self, mut file: SpoolFile) -> sqlx::Result<()> {
        let holding = file.holding().await?;
        self.shared.room().set_stored(holding.bytes);
        self.shared.standing().requests = holding.requests;
        self.shared.is_broken.store(false, Ordering::Release);
        (self.file, self.is_suspect) = (Some(file), false);
        self.note_standing().await;
        Ok(())
    }

    /// What was done, or nothing: after an error the file is closed, which rolls back what was under way.
    fn judge<T>(&mut self, done: sqlx::Result<T>) -> Option<T> {
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.file = None;
                self.is_suspect |= is_damage(&error);
                self.complain(&error);
                None
            }
        }
    }

    fn complain(&self, error: &dyn std::fmt::Display) {
        self.shared.is_broken.store(true, Ordering::Release);
        if let Some(left_out) = self.shared.counters.lines.due("spool", Instant::now()) {
            tracing::error!(path = %self.path.display(), left_out, "the spool cannot be used: {error}");
        }
    }

    async fn note_standing(&mut self) {
        let mut oldest = None;
        if self.shared.standing().requests > 0
            && let Some(file) = &mut self.file
        {
            let found = file.oldest().await;
            oldest = self.judge(found).flatten();
        }
        let requests = {
            let mut standing = self.shared.standing();
            standing.oldest = oldest;
            standing.requests
        };
        let counters = &self.shared.counters;
        counters.spool_requests.set(i64::try_from(requests).unwrap_or(i64::MAX));
        counters.spool_bytes.set(i64::try_from(self.shared.room().stored()).unwrap_or(i64::MAX));
    }
}
