//! Runs as they are read: loaded, assembled again with the time of asking, and shown as JSON.

pub mod filter;
pub mod render;

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use uuid::Uuid;

use crate::assembly::{LifeCycle, Receipt, assemble, tree};
use crate::model::id::ProjectId;
use crate::model::run::{Assembled, Run};
use crate::model::step::Step;
use crate::store::{Store, StoreError};

/// Reads runs of one project; another project's run does not exist.
pub struct Reader {
    store: Arc<dyn Store>,
    life: LifeCycle,
}

/// A run with its steps as they are shown now.
pub struct ShownRun {
    pub assembled: Assembled,
    /// Bodies of the origins that the steps refer to.
    pub origins: HashMap<Uuid, String>,
    /// When it was asked for.
    pub now: DateTime<Utc>,
}

impl Reader {
    pub fn new(store: Arc<dyn Store>, life: LifeCycle) -> Reader {
        Reader { store, life }
    }

    pub async fn run(
        &self,
        project: ProjectId,
        run_id: Uuid,
        now: DateTime<Utc>,
    ) -> Result<Option<ShownRun>, StoreError> {
        let Some(stored) = self.store.run(project, run_id).await? else { return Ok(None) };
        let row = stored.run;
        let receipt = Receipt { created_at: row.created_at, updated_at: row.updated_at, received_at: row.received_at };
        if stored.is_truncated {
            return Ok(Some(self.truncated(row, stored.steps, stored.origins, receipt, now)));
        }
        let mut assembled = assemble(row.key, stored.steps, row.declared, receipt, &self.life, now);
        stored.logs.note(&mut assembled, &self.life);
        assembled.run.set_original(row.duplicate_of);
        assembled.run.set_revision(row.revision);
        Ok(Some(ShownRun { assembled, origins: stored.origins.into_iter().collect(), now }))
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
        ShownRun { assembled: Assembled { run, steps: shown }, origins: origins.into_iter().collect(), now }
    }
}

impl ShownRun {
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
