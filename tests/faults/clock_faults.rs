//! A wall clock that jumps for one process alone (`clock_faults.c`).

use std::os::unix::fs::FileExt;

use crate::collector::Launch;
use crate::preload::Preload;

const CODE: &str = include_str!("clock_faults.c");

pub struct ClockFaults(Preload);

impl ClockFaults {
    pub async fn make() -> anyhow::Result<ClockFaults> {
        Ok(ClockFaults(Preload::make(CODE, "offset").await?))
    }

    /// What a program is started with to be hit.
    pub fn launch(&self) -> Launch {
        Launch { environment: self.0.environment(&[("CLOCK_OFFSET", "offset")]), ..Launch::default() }
    }

    /// From now on the clock goes wrong by so much.
    pub fn set(&self, offset_seconds: i64) -> anyhow::Result<()> {
        let file = std::fs::File::options().write(true).open(self.0.folder().join("offset"))?;
        Ok(file.write_all_at(&(offset_seconds * 1_000_000_000).to_ne_bytes(), 0)?)
    }
}
