//! A wall clock that jumps for one process alone (`clock_faults.c`).

use std::os::unix::fs::FileExt;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::run;
use crate::collector::Launch;

const CODE: &str = include_str!("clock_faults.c");

pub struct ClockFaults {
    folder: TempDir,
}

impl ClockFaults {
    /// Compiled for this machine.
    pub async fn make() -> anyhow::Result<ClockFaults> {
        let folder = TempDir::new()?;
        let code = folder.path().join("clock_faults.c");
        std::fs::write(&code, CODE)?;
        std::fs::write(folder.path().join("offset"), [0; 4096])?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-fPIC", "-shared", "-o"]).arg(folder.path().join("clock_faults.so")).arg(&code);
        run(compiler.arg("-ldl")).await.context("a C compiler is needed for this fault")?;
        Ok(ClockFaults { folder })
    }

    /// What a program is started with to be hit.
    pub fn launch(&self) -> Launch {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let environment = [("LD_PRELOAD", "clock_faults.so"), ("CLOCK_OFFSET", "offset")]
            .map(|(name, file)| (name.to_owned(), path(file)))
            .into();
        Launch { environment, ..Launch::default() }
    }

    /// From now on the clock goes wrong by so much.
    pub fn set(&self, offset_seconds: i64) -> anyhow::Result<()> {
        let file = std::fs::File::options().write(true).open(self.folder.path().join("offset"))?;
        Ok(file.write_all_at(&(offset_seconds * 1_000_000_000).to_ne_bytes(), 0)?)
    }
}
