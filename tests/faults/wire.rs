//! A wire with faults: between the collector and Postgres, or between the senders and the collector.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// How many COMMITs were seen is told to whoever listens; more of them at once than this are not told.
const COMMITS_TOLD_MAX: usize = 64;
/// As a simple query of Postgres's protocol ends.
const COMMIT: &[u8] = b"COMMIT\0";

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Pass,
    /// Every connection is ended, new ones too.
    Cut,
    /// Nothing moves, nothing is lost.
    Stall,
    /// Each piece comes later by `base` and up to `jitter` more, and no faster than so many bytes in a second.
    Slow {
        base: Duration,
        jitter: Duration,
        bytes_per_second: u64,
    },
    /// One piece in so many waits as a lost packet does that is sent again: 0.2 s, 0.4 s, 0.8 s.
    Lossy {
        one_in: u32,
    },
    /// One COMMIT in so many is forwarded, and the connection is cut before its reply comes back.
    CutCommit {
        one_in: u32,
    },
    /// The first COMMIT of a connection is forwarded, and nothing comes back over it any more.
    HoldReply,
    /// A connection is cut after so many bytes at most, by chance.
    CutAfter {
        bytes_max: u64,
    },
}

pub struct Wire {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Connections below this number are dead: what comes over them is swallowed.
    dead_below: Arc<AtomicU64>,
    next: Arc<AtomicU64>,
    /// COMMITs that were cut off from their reply.
    pub commits_cut: Arc<AtomicU64>,
    commits: watch::Receiver<u64>,
    accepting: JoinHandle<()>,
}

impl Wire {
    pub async fn to(server: String, seed: u64) -> anyhow::Result<Wire> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (mode, modes) = watch::channel(Mode::Pass);
        let (dead_below, next) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let commits_cut = Arc::new(AtomicU64::new(0));
        let (told, mut telling) = mpsc::channel::<()>(COMMITS_TOLD_MAX);
        let (count, commits) = watch::channel(0);
        let shared = Shared { modes, dead_below: dead_below.clone(), commits_cut: commits_cut.clone(), told };
        let numbers = next.clone();
        let accepting = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((near, _)) = accepted else { continue };
                        let number = numbers.fetch_add(1, Ordering::SeqCst);
                        let random = StdRng::seed_from_u64(seed ^ number.rotate_left(32));
                        let connection = Connection { number, random, shared: shared.clone() };
                        connections.spawn(connection.run(near, server.clone()));
                    }
                    Some(()) = telling.recv() => count.send_modify(|count| *count += 1),
                    Some(_) = connections.join_next() => {}
                }
            }
        });
        Ok(Wire { address, mode, dead_below, next, commits_cut, commits, accepting })
    }

    /// The same address for a URL of Postgres.
    pub fn instead_of(&self, url: &str) -> anyhow::Result<String> {
        let (before, after) = url.split_once('@').ok_or_else(|| anyhow::anyhow!("no user in the URL"))?;
        let (_, database) = after.split_once('/').ok_or_else(|| anyhow::anyhow!("no database in the URL"))?;
        Ok(format!("{before}@{}/{database}", self.address))
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The connections of now hear nothing more and are not heard; new ones work.
    pub fn swallow(&self) {
        self.dead_below.store(self.next.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    /// Waits for the next COMMIT that the collector sends.
    pub async fn next_commit(&self) -> anyhow::Result<()> {
        let mut commits = self.commits.clone();
        commits.mark_unchanged();
        tokio::time::timeout(Duration::from_secs(20), commits.changed()).await??;
        Ok(())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Clone)]
struct Shared {
    modes: watch::Receiver<Mode>,
    dead_below: Arc<AtomicU64>,
    commits_cut: Arc<AtomicU64>,
    told: mpsc::Sender<()>,
}

struct Connection {
    number: u64,
    random: StdRng,
    shared: Shared,
}

/// What a piece does to its connection.
enum Next {
    Go,
    /// Forwarded, and the reply shall not come back: ended when it comes, or at once.
    CutReply {
        at_once: bool,
    },
    HoldReply,
    End,
}

impl Connection {
    async fn run(mut self, near: TcpStream, server: String) {
        let mode = *self.shared.modes.borrow();
        if mode == Mode::Cut {
            return;
        }
        let Ok(far) = TcpStream::connect(server).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
        let mut left = match mode {
            Mode::CutAfter { bytes_max } => self.random.random_range(1..=bytes_max),
            _ => u64::MAX,
        };
        let (mut up, mut down) = (vec![0; 16 << 10], vec![0; 16 << 10]);
        let (mut is_reply_cut, mut is_held) = (false, false);
        let mut modes = self.shared.modes.clone();
        loop {
            tokio::select! {
                read = near_in.read(&mut up) => {
                    let Ok(length @ 1..) = read else { return };
                    match self.carry(&up[..length], &mut far_out, &mut left, true).await {
                        Next::Go => {}
                        Next::End => return reset(near_in, near_out),
                        Next::CutReply { at_once: true } => return,
                        Next::CutReply { at_once: false } => is_reply_cut = true,
                        Next::HoldReply => is_held = true,
                    }
                }
                read = far_in.read(&mut down) => {
                    let Ok(length @ 1..) = read else { return };
                    if is_reply_cut {
                        return;
                    }
                    if is_held {
                        continue;
                    }
                    if let Next::End = self.carry(&down[..length], &mut near_out, &mut left, false).await {
                        return reset(near_in, near_out);
                    }
                }
                changed = modes.changed() => {
                    if changed.is_err() || *modes.borrow_and_update() == Mode::Cut {
                        return;
                    }
                }
            }
        }
    }

    async fn carry(&mut self, piece: &[u8], out: &mut OwnedWriteHalf, left: &mut u64, is_up: bool) -> Next {
        if self.number < self.shared.dead_below.load(Ordering::SeqCst) {
            return Next::Go;
        }
        let mut mode = *self.shared.modes.borrow();
        if mode == Mode::Stall {
            let mut modes = self.shared.modes.clone();
            match modes.wait_for(|mode| *mode != Mode::Stall).await {
                Ok(now) => mode = *now,
                Err(_) => return Next::End,
            }
        }
        let is_commit = is_up && piece.windows(COMMIT.len()).any(|bytes| bytes == COMMIT);
        match mode {
            Mode::Cut => return Next::End,
            Mode::Slow { base, jitter, bytes_per_second } => {
                let by_rate = Duration::from_secs_f64(piece.len() as f64 / bytes_per_second.max(1) as f64);
                let by_chance = jitter.mul_f64(self.random.random());
                tokio::time::sleep(base + by_chance + by_rate).await;
            }
            Mode::Lossy { one_in } => {
                let mut wait = Duration::from_millis(200);
                while self.random.random_ratio(1, one_in) && wait < Duration::from_secs(2) {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
            }
            _ => {}
        }
        let length = (piece.len() as u64).min(*left) as usize;
        if out.write_all(&piece[..length]).await.is_err() {
            return Next::End;
        }
        *left -= length as u64;
        if *left == 0 {
            return Next::End;
        }
        if is_commit {
            // Told only while somebody has time for it.
            let _ = self.shared.told.try_send(());
            if mode == Mode::HoldReply {
                return Next::HoldReply;
            }
            if let Mode::CutCommit { one_in } = mode
                && self.random.random_ratio(1, one_in)
            {
                self.shared.commits_cut.fetch_add(1, Ordering::SeqCst);
                return Next::CutReply { at_once: self.random.random() };
            }
        }
        Next::Go
    }
}

/// Ends a connection by RST and not by FIN, as a peer that crashed does.
fn reset(near_in: OwnedReadHalf, near_out: OwnedWriteHalf) {
    if let Ok(near) = near_in.reunite(near_out) {
        let _ = near.set_zero_linger();
    }
}
