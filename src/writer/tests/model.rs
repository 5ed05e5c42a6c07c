//! A store in memory that keeps what it is told, once, and fails as databases do: by what an item says, or by chance.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, Utc};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;
use uuid::Uuid;

use crate::assembly::LifeCycle;
use crate::model::batch::{Batch, Written};
use crate::model::id::{ProjectId, RunKey};
use crate::model::receipt::{Counts, Receipt, account};
use crate::model::step::{Source, Step};
use crate::store::{StoreError, StoreWriter, Writable};

/// Items of such numbers are refused as data, as a statement that is wrong, or by a panic of the writer.
pub const POISON: u64 = 1 << 32;
pub const UNFIT: u64 = 1 << 33;
pub const DEADLY: u64 = 1 << 34;

/// How long a transaction may take: longer than anybody waits.
pub const TRANSACTION_MAX: Duration = Duration::from_secs(6);

/// What goes wrong by chance, each so often in a hundred tries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub before_commit: u32,
    pub lost_reply: u32,
    /// A batch of several items is refused as data although each of them is good.
    pub refused: u32,
    pub unfit: u32,
    pub hang: u32,
    pub panic: u32,
    pub panic_after_commit: u32,
    pub no_connection: u32,
    /// Longest time that a try takes.
    pub delay_max: Duration,
}

impl Faults {
    /// Some of them, in such a mixture.
    pub fn some(random: &mut StdRng) -> Faults {
        let mut often = |max| if random.random_bool(0.5) { random.random_range(0..=max) } else { 0 };
        Faults {
            before_commit: often(40),
            lost_reply: often(30),
            refused: often(20),
            unfit: often(30),
            hang: often(4),
            panic: often(10),
            panic_after_commit: often(10),
            no_connection: often(20),
            delay_max: Duration::from_millis([1, 20, 300, 3_000][random.random_range(0..4)]),
        }
    }
}

pub struct Model(Mutex<State>);

#[derive(Default)]
pub struct State {
    pub faults: Faults,
    random: Option<StdRng>,
    /// Content by project and id.
    pub steps: BTreeMap<(ProjectId, String), String>,
    pub counts: Counts,
    pub letters: u64,
    pub panics: u64,
    pub tries: Vec<Try>,
    /// The jobs in the order in which something of them was committed, with all repeats.
    pub commits: Vec<(ProjectId, u64)>,
}

/// A transaction that was begun.
pub struct Try {
    pub began: Instant,
    /// Its jobs by their numbers. What is left of a job that was taken apart has none.
    pub jobs: Vec<(ProjectId, u64)>,
}

enum Fate {
    Done,
    BeforeCommit,
    LostReply,
    Refused,
    Unfit,
    Hang,
    Panic,
    PanicAfterCommit,
}

impl Model {
    pub fn new(seed: u64, faults: Faults) -> Arc<Model> {
        let random = Some(StdRng::seed_from_u64(seed));
        Arc::new(Model(Mutex::new(State { faults, random, ..State::default() })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn chance(&mut self, range: std::ops::Range<u32>) -> u32 {
        self.random.as_mut().map_or(range.start, |random| random.random_range(range))
    }

    fn delay(&mut self) -> Duration {
        let max = u32::try_from(self.faults.delay_max.as_millis()).unwrap();
        Duration::from_millis(u64::from(self.chance(0..max + 1)))
    }

    fn fate(&mut self, batches: &[&Batch]) -> Fate {
        let faults = self.faults;
        let drawn = self.chance(0..100);
        let mut sum = 0;
        let mut falls = |share| {
            sum += share;
            drawn < sum
        };
        let fates = [
            (faults.before_commit, Fate::BeforeCommit),
            (faults.lost_reply, Fate::LostReply),
            (faults.unfit, Fate::Unfit),
            (faults.hang, Fate::Hang),
            (faults.panic, Fate::Panic),
            (faults.panic_after_commit, Fate::PanicAfterCommit),
            (faults.refused, Fate::Refused),
        ];
        let fate = fates.into_iter().find(|(share, _)| falls(*share)).map_or(Fate::Done, |(_, fate)| fate);
        let items: usize = batches.iter().map(|batch| batch.items()).sum();
        let has = |kind| batches.iter().flat_map(|batch| &batch.steps).any(|step| number(&step.id) & kind != 0);
        let commits = matches!(fate, Fate::Done | Fate::Refused | Fate::LostReply | Fate::PanicAfterCommit);
        match fate {
            _ if commits && has(DEADLY) => Fate::Panic,
            _ if commits && has(UNFIT) => Fate::Unfit,
            _ if commits && has(POISON) => Fate::Refused,
            // Of one alone it would be true.
            Fate::Refused if items < 2 => Fate::Done,
            fate => fate,
        }
    }

    fn commit(&mut self, batches: &[&Batch]) -> Vec<Written> {
        let mut all = Vec::new();
        for batch in batches {
            let mut written = Written::default();
            for step in &batch.steps {
                let key = (step.run.project, step.id.clone());
                assert_eq!(key.0, batch.project);
                match self.steps.insert(key, step.detail.clone()) {
                    Some(other) => {
                        assert_eq!(other, step.detail);
                        written.duplicates += 1;
                    }
                    None => written.inserted += 1,
                }
            }
            let (counts, _) = account(batch, &written);
            assert!(counts.is_balanced(), "{counts:?}");
            self.counts += counts;
            self.letters += batch.receipt.dead_letters.len() as u64;
            self.commits.extend([(batch.project, batch.receipt.bytes)].iter().filter(|(_, job)| *job > 0));
            all.push(written);
        }
        all
    }
}

#[async_trait]
impl Writable for Arc<Model> {
    async fn ping(&self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn writer(&self) -> Result<Box<dyn StoreWriter>, StoreError> {
        let is_away = {
            let mut state = self.state();
            let often = state.faults.no_connection;
            state.chance(0..100) < often
        };
        if is_away { Err(away()) } else { Ok(Box::new(Writer(self.clone()))) }
    }
}

struct Writer(Arc<Model>);

#[async_trait]
impl StoreWriter for Writer {
    async fn write(
        &mut self,
        batches: &[&Batch],
        _life: &LifeCycle,
        _now: DateTime<Utc>,
    ) -> Result<Vec<Written>, StoreError> {
        let (fate, before, after) = {
            let mut state = self.0.state();
            let jobs = batches.iter().map(|batch| (batch.project, batch.receipt.bytes)).filter(|(_, job)| *job > 0);
            state.tries.push(Try { began: Instant::now(), jobs: jobs.collect() });
            (state.fate(batches), state.delay(), state.delay() / 4)
        };
        tokio::time::sleep(before).await;
        match fate {
            Fate::BeforeCommit => return Err(away()),
            Fate::Refused => return Err(StoreError::Data(sqlx::Error::Encode("no such value".into()))),
            Fate::Unfit => return Err(StoreError::Broken(sqlx::Error::ColumnNotFound("provider".into()))),
            Fate::Hang => {
                tokio::time::sleep(TRANSACTION_MAX).await;
                return Err(away());
            }
            Fate::Panic => self.panic(),
            Fate::Done | Fate::LostReply | Fate::PanicAfterCommit => {}
        }
        let written = self.0.state().commit(batches);
        tokio::time::sleep(after).await;
        match fate {
            Fate::LostReply => Err(away()),
            Fate::PanicAfterCommit => self.panic(),
            _ => Ok(written),
        }
    }
}

impl Writer {
    /// Without a word on standard error.
    fn panic(&self) -> ! {
        self.0.state().panics += 1;
        std::panic::resume_unwind(Box::new("as the test wants it"))
    }
}

fn away() -> StoreError {
    StoreError::Unavailable(sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into()))
}

pub fn id(number: u64) -> String {
    format!("{number:016x}")
}

fn number(id: &str) -> u64 {
    u64::from_str_radix(id, 16).unwrap()
}

/// What the step of this number holds.
pub fn content(number: u64) -> String {
    format!("content of {number}")
}

/// A request, as job `job`.
pub fn batch(project: ProjectId, job: u64, numbers: &[u64]) -> Batch {
    let receipt = Receipt { key_id: "key".into(), requests: 1, bytes: job, ..Receipt::default() };
    let steps = numbers.iter().map(|number| step(project, *number)).collect();
    let (origins, logs, received_at) = (vec![], vec![], DateTime::UNIX_EPOCH);
    Batch { project, received_at, origins, steps, logs, native: None, receipt }
}

fn step(project: ProjectId, number: u64) -> Step {
    Step {
        run: RunKey { project, run_id: Uuid::from_u128(5) },
        id: id(number),
        parent_id: None,
        source: Source::Otlp,
        position: 0,
        kind: Default::default(),
        name: String::new(),
        status: Default::default(),
        error: None,
        start_ns: None,
        end_ns: None,
        latency_ms: None,
        usage: Default::default(),
        cost: None,
        model: None,
        provider: None,
        agent: None,
        input: None,
        output: None,
        facts: Default::default(),
        detail: content(number),
        origin: None,
        content_hash: Uuid::nil(),
        day: NaiveDate::default(),
    }
}
