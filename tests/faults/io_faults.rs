//! The library that stands between SQLite and the system (`io_faults.c`), and the replay of what it recorded.

use std::collections::HashMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use rand::Rng;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::collector::Launch;
use crate::preload::Preload;

const CODE: &str = include_str!("io_faults.c");
const HEAD_BYTES: usize = 26;

pub struct IoFaults(Preload);

impl IoFaults {
    pub async fn make() -> anyhow::Result<IoFaults> {
        Ok(IoFaults(Preload::make(CODE, "control").await?))
    }

    /// What a program is started with to be hit.
    pub fn environment(&self) -> Vec<(String, String)> {
        self.0.environment(&[("IO_CONTROL", "control"), ("IO_RECORD", "record")])
    }

    /// The same without a record.
    pub fn launch(&self) -> Launch {
        let environment = self.environment().into_iter().filter(|(name, _)| name != "IO_RECORD").collect();
        Launch { environment, ..Launch::default() }
    }

    /// From now on every so-manieth sync, and write, fails; 0: none.
    pub fn fail(&self, syncs: u32, writes: u32) -> anyhow::Result<()> {
        let file = std::fs::File::options().write(true).open(self.0.folder().join("control"))?;
        file.write_all_at(&[syncs.to_ne_bytes(), writes.to_ne_bytes()].concat(), 0)?;
        Ok(())
    }

    pub fn record(&self) -> anyhow::Result<Record> {
        Ok(Record { bytes: std::fs::read(self.0.folder().join("record"))? })
    }
}

/// Everything that was written, in order.
pub struct Record {
    bytes: Vec<u8>,
}

struct Operation<'a> {
    /// Nanoseconds since 1970.
    at: u64,
    what: u8,
    file: u8,
    offset: u64,
    bytes: &'a [u8],
}

#[derive(Default)]
struct Kept {
    synced: Vec<u8>,
    /// Written and not synced: bytes at an offset, or a new length.
    pending: Vec<(u64, Option<Vec<u8>>)>,
}

impl Record {
    fn operations(&self) -> impl Iterator<Item = Operation<'_>> {
        let mut left = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let head = left.get(..HEAD_BYTES)?;
            let number = |at: usize| u64::from_ne_bytes(head[at..at + 8].try_into().unwrap_or_default());
            let (at, offset, length) = (number(0), number(10), number(18) as usize);
            let bytes = left.get(HEAD_BYTES..HEAD_BYTES + length)?;
            let operation = Operation { at, what: head[8], file: head[9], offset, bytes };
            left = &left[HEAD_BYTES + length..];
            Some(operation)
        })
    }

    pub fn syncs(&self) -> usize {
        self.operations().filter(|operation| operation.what == b'b').count()
    }

    /// The files as a loss of power leaves them at some `count` moments, each just before a sync: what was synced, and of
    /// the rest nothing, or whatever chance kept. `look` gets the path of the database and the time in ns since 1970.
    pub async fn cut(
        &self,
        count: usize,
        random: &mut StdRng,
        mut look: impl AsyncFnMut(PathBuf, u64) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let syncs = self.syncs();
        ensure!(syncs > count, "only {syncs} syncs were recorded");
        let mut chosen: Vec<usize> = rand::seq::index::sample(random, syncs, count).into_vec();
        chosen.sort_unstable();
        let mut chosen = chosen.into_iter().peekable();
        let mut files: HashMap<u8, Kept> = HashMap::new();
        let mut seen = 0;
        for operation in self.operations() {
            let kept = files.entry(operation.file).or_default();
            match operation.what {
                b'w' => kept.pending.push((operation.offset, Some(operation.bytes.to_vec()))),
                b't' => kept.pending.push((operation.offset, None)),
                b's' => {
                    let pending = std::mem::take(&mut kept.pending);
                    pending.iter().for_each(|piece| apply(&mut kept.synced, piece));
                }
                b'u' => *kept = Kept::default(),
                _ => {
                    if chosen.next_if_eq(&seen).is_some() {
                        for is_torn in [false, true] {
                            let folder = TempDir::new()?;
                            leave(&files, folder.path(), is_torn.then_some(&mut *random))?;
                            look(folder.path().join("cut.db"), operation.at).await?;
                        }
                    }
                    seen += 1;
                }
            }
        }
        Ok(())
    }
}

fn apply(bytes: &mut Vec<u8>, (offset, piece): &(u64, Option<Vec<u8>>)) {
    let offset = *offset as usize;
    match piece {
        None => bytes.resize(offset, 0),
        Some(piece) => {
            if bytes.len() < offset + piece.len() {
                bytes.resize(offset + piece.len(), 0);
            }
            bytes[offset..offset + piece.len()].copy_from_slice(piece);
        }
    }
}

fn leave(files: &HashMap<u8, Kept>, folder: &Path, mut chance: Option<&mut StdRng>) -> anyhow::Result<()> {
    for (file, kept) in files {
        let mut bytes = kept.synced.clone();
        if let Some(random) = chance.as_deref_mut() {
            let survivors = kept.pending.iter().filter(|_| random.random());
            survivors.for_each(|piece| apply(&mut bytes, piece));
        }
        std::fs::write(folder.join(if *file == b'd' { "cut.db" } else { "cut.db-wal" }), bytes)?;
    }
    Ok(())
}

/// Nanoseconds since 1970 of a moment, for comparisons with a record.
pub fn since_1970(moment: Instant) -> u64 {
    let (now, wall) = (Instant::now(), SystemTime::now());
    let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
    (wall.saturating_sub(now.saturating_duration_since(moment))).as_nanos() as u64
}
