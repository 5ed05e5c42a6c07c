//! Questions to the store.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::model::run::Run;
use crate::model::step::Status;

/// Which runs to list, newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RunFilter {
    /// 1 to 100.
    pub limit: u32,
    pub after: Option<Cursor>,
    pub status: Option<Status>,
    pub model: Option<String>,
}

/// A place in the list: the last row of the page before. Stable while runs arrive, because it names a row, not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    pub started_at: DateTime<Utc>,
    pub run_id: Uuid,
}

#[derive(Clone, Debug)]
pub struct Page {
    pub runs: Vec<Run>,
    pub next: Option<Cursor>,
}
