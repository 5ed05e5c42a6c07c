//! A library that stands between a program and the system (LD_PRELOAD), compiled for this machine.

use std::path::Path;

use anyhow::Context;
use tempfile::TempDir;
use tokio::process::Command;

use crate::cluster::run;

pub struct Preload {
    folder: TempDir,
}

impl Preload {
    /// `control` is a file of 4096 bytes, all 0, which the library maps and a fault writes to.
    pub async fn make(code: &str, control: &str) -> anyhow::Result<Preload> {
        let folder = TempDir::new()?;
        let source = folder.path().join("preload.c");
        std::fs::write(&source, code)?;
        std::fs::write(folder.path().join(control), [0; 4096])?;
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-fPIC", "-shared", "-o"]).arg(folder.path().join("preload.so")).arg(&source);
        run(compiler.args(["-ldl", "-lpthread"])).await.context("a C compiler is needed for this fault")?;
        Ok(Preload { folder })
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a program is started with to be hit: the library, and files of its folder by the names that it reads.
    pub fn environment(&self, files: &[(&str, &str)]) -> Vec<(String, String)> {
        let library = [("LD_PRELOAD", "preload.so")];
        let all = library.iter().chain(files);
        all.map(|(name, file)| ((*name).to_owned(), self.folder().join(file).display().to_string())).collect()
    }
}
