//! Log records beside the steps of a run: those that belong to no step, and runs that are nothing but records.

use serde_json::{Map, Value};

use crate::assembly::LifeCycle;
use crate::assembly::status::after;
use crate::model::log::LogRow;
use crate::model::run::{Assembled, Run};

/// Records that a run shows itself, and the longest of them; the others are only counted.
const SHOWN_MAX: usize = 20;
const SHOWN_BYTES_MAX: usize = 4 << 10;

const COUNT: &str = "log_count";

/// The records of one run, after its steps took theirs.
#[derive(Clone, Debug, Default)]
pub struct RunLogs {
    /// All of them, those of the steps included.
    pub count: usize,
    /// Those that no step took, in the order of their times.
    pub loose: Vec<LogRow>,
}

impl RunLogs {
    /// Writes into the run what its records say of it. A run without steps waits for spans as long as `life` allows, in
    /// no list.
    pub fn note(&self, assembled: &mut Assembled, life: &LifeCycle) {
        if self.count == 0 {
            return;
        }
        let run = &mut assembled.run;
        run.metadata.insert(COUNT.to_owned(), Value::from(self.count));
        if run.step_count == 0 && run.declared.is_none() {
            run.due_at = Some(after(run.received_at, life.unmatched_logs));
            return;
        }
        let shown = self.loose.iter().filter(|row| row.body.len() <= SHOWN_BYTES_MAX).take(SHOWN_MAX);
        let shown: Vec<Value> = shown.filter_map(|row| serde_json::from_str(&row.body).ok()).collect();
        if !shown.is_empty() {
            run.metadata.insert("logs".to_owned(), Value::Array(shown));
        }
    }
}

/// Steps and log records of a run as its row knows them: what reading it again costs.
pub fn weight(run: &Run) -> i64 {
    run.step_count.saturating_add(counted(&run.metadata))
}

fn counted(metadata: &Map<String, Value>) -> i64 {
    metadata.get(COUNT).and_then(Value::as_i64).unwrap_or(0)
}
