//! Keys, and runs as they are read: loaded, assembled again with the time of asking, and shown as JSON.

pub mod filter;
pub mod mend;
pub mod receipts;
pub mod keys;
pub mod render;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use uuid::Uuid;

use crate::assembly::{LifeCycle, Receipt, assemble, parts, tree};
use crate::model::id::{ProjectId, RunKey};
use crate::model::run::{Assembled, Run};
use crate::model::step::Step;
use crate::native::Submission;
use crate::store::{SHOWN_BYTES_MAX, Store, StoreError, StoredRun};

/// Reads runs of one project; another project's run does not exist.
pub struct Reader {
    store: Arc<dyn Store>,
    life: LifeCycle,
    short_turns: Arc<Semaphore>,
    long_turns: Arc<Semaphore>,
}

/// A run up to this is read in one of many turns; a larger one waits for one of few.
const SHORT_BYTES_MAX: usize = 1 << 20;
/// Runs that are read, written as JSON and sent at once; each takes several times its bytes.
const SHORT_READS_MAX: usize = 32;
const LONG_READS_MAX: usize = 2;
/// How long a read waits for its turn.
const TURN_WAIT: Duration = Duration::from_secs(4);

/// The right to hold a run in memory, until it is dropped.
pub type Turn = OwnedSemaphorePermit;

/// A run with its steps as they are shown now.
pub struct ShownRun {
    pub assembled: Assembled,
    /// Bodies of the origins that the steps refer to.
    pub origins: HashMap<Uuid, String>,
    /// When it was asked for.
    pub now: DateTime<Utc>,
    turn: Option<Turn>,
}

impl Reader {
    pub fn new(store: Arc<dyn Store>, life: LifeCycle) -> Reader {
        let turns = |at_once| Arc::new(Semaphore::new(at_once));
        Reader { store, life, short_turns: turns(SHORT_READS_MAX), long_turns: turns(LONG_READS_MAX) }
    }

    /// However many ask: no more is held in memory than the turns allow, and who gets none in time is told to come again.
    pub async fn run(
        &self,
        project: ProjectId,
        run_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<ShownRun>, StoreError> {
        let mut turn = turn_of(&self.short_turns).await?;
        let mut stored = self.store.run_within(project, run_id, SHORT_BYTES_MAX).await?;
        if stored.as_ref().is_some_and(|stored| stored.is_cut) {
            // Nothing is held while it waits.
            drop((stored, turn));
            turn = turn_of(&self.long_turns).await?;
            stored = self.store.run_within(project, run_id, SHOWN_BYTES_MAX).await?;
        }
        Ok(stored.map(|stored| ShownRun { turn: Some(turn), ..self.shown(stored, now) }))
    }

    fn shown(&self, stored: StoredRun, now: DateTime<Utc>) -> ShownRun {
        let row = &stored.run;
        let receipt = Receipt { created_at: row.created_at, updated_at: row.updated_at, received_at: row.received_at };
        if let Some(trace) = row.kinship.part_of {
            let trace = RunKey { run_id: trace, ..row.key };
            return self.part(trace, stored, receipt, now);
        }
        let row = stored.run;
        if stored.is_truncated {
            return self.truncated(row, stored.steps, stored.origins, receipt, now);
        }
        let mut assembled = assemble(row.key, stored.steps, row.declared, receipt, &self.life, now);
        stored.logs.note(&mut assembled, &self.life);
        assembled.run.set_original(row.duplicate_of);
        assembled.run.set_revision(row.revision);
        ShownRun { assembled, origins: stored.origins.into_iter().collect(), now, turn: None }
    }

    /// A run that was checked and is not in the store yet, as it will be shown when nothing else comes for it.
    pub fn unstored(&self, project: ProjectId, submission: Submission, now: DateTime<Utc>) -> ShownRun {
        let key = RunKey { project, run_id: submission.run_id };
        let receipt = Receipt { created_at: now, updated_at: now, received_at: now };
        let assembled = assemble(key, submission.steps, Some(submission.declared), receipt, &self.life, now);
        ShownRun { assembled, origins: HashMap::new(), now, turn: None }
    }

    /// A run whose steps lie with those of its trace. One that was merged has none of its own: it tells where they are.
    fn part(&self, trace: RunKey, stored: StoredRun, receipt: Receipt, now: DateTime<Utc>) -> ShownRun {
        let row = stored.run;
        let kept = row.kinship.merged_into.is_none();
        let part = if kept { parts(trace, stored.steps).take(row.key.run_id) } else { None };
        let mut assembled = match part {
            Some(part) => part.assembled(receipt, &self.life, now),
            None => Assembled { run: row.clone(), steps: Vec::new() },
        };
        if stored.is_truncated || !kept {
            assembled.run = row;
        } else {
            assembled.run.set_revision(row.revision);
        }
        ShownRun { assembled, origins: stored.origins.into_iter().collect(), now, turn: None }
    }

    /// Of a run with more steps than are read the row tells what it is, as it was assembled from all of them.
    fn truncated(
        &self,
        row: Run,
        steps: Vec<Step>,
        origins: Vec<(Uuid, String)>,
        receipt: Receipt,
        now: DateTime<Utc>,
    ) -> ShownRun {
        let left_out = row.step_count.saturating_sub(i64::try_from(steps.len()).unwrap_or(i64::MAX));
        let shown = assemble(row.key, steps, row.declared.clone(), receipt, &self.life, now).steps;
        let mut run = row;
        run.metadata.insert("truncated_steps".to_owned(), Value::from(left_out));
        let assembled = Assembled { run, steps: shown };
        ShownRun { assembled, origins: origins.into_iter().collect(), now, turn: None }
    }
}

async fn turn_of(turns: &Arc<Semaphore>) -> Result<Turn, StoreError> {
    let turn = tokio::time::timeout(TURN_WAIT, turns.clone().acquire_owned()).await;
    turn.ok().and_then(Result::ok).ok_or_else(StoreError::busy)
}

impl ShownRun {
    /// To be held for as long as its JSON is; otherwise it ends when that is written.
    pub fn take_turn(&mut self) -> Option<Turn> {
        self.turn.take()
    }

    /// The run that holds its steps now, when that is another.
    pub fn moved_to(&self) -> Option<Uuid> {
        self.assembled.run.kinship.merged_into
    }

    /// The body of `GET /runs/{run_id}`.
    pub fn detail_json(self) -> serde_json::Result<Box<RawValue>> {
        let Assembled { run, steps } = self.assembled;
        to_raw_value(&render::run_detail(&run, tree(steps), &self.origins, self.now))
    }

    /// The answer of `POST /runs`: the stored run with its nested steps.
    pub fn native_json(self) -> serde_json::Result<Box<RawValue>> {
        let Assembled { run, steps } = self.assembled;
        to_raw_value(&render::posted_run(&run, tree(steps), &self.origins))
    }
}
