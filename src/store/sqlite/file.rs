//! The file of a store and those beside it: who may read them, who serves from them, and how large the log grows.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Creates the file if it is missing, for its owner alone: it holds what people said. SQLite gives the files beside it the
/// same mode.
pub(super) fn own(path: &Path) -> io::Result<()> {
    let created = File::options().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        created => created.map(drop),
    }
}

/// Says that this process serves from the file, as long as it lives: the lock of a file beside it, which the system takes
/// back when a process ends in whatever way. SQLite's own file is not locked, since closing it would drop SQLite's locks.
#[derive(Debug)]
pub(super) struct Claim {
    _lock: File,
}

impl Claim {
    pub fn take(path: &Path) -> anyhow::Result<Claim> {
        let beside = beside(path, "-serving");
        let open = File::options().write(true).create(true).truncate(false).mode(0o600).open(&beside);
        let lock = open.with_context(|| format!("cannot create {beside:?}"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Claim { _lock: lock }),
            Err(TryLockError::WouldBlock) => anyhow::bail!(
                "another collector serves from the SQLite file {path:?}: stop it, name another file, or use Postgres, \
                 which any number of collectors share"
            ),
            Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("cannot lock {beside:?}")),
        }
    }
}

/// Bytes of the write-ahead log.
pub(super) fn log_bytes(path: &Path) -> u64 {
    // Without connections there is none.
    std::fs::metadata(beside(path, "-wal")).map_or(0, |log| log.len())
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_serves_from_a_file_and_the_next_one_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vectoros.db");
        let claim = Claim::take(&path).unwrap();
        let refused = Claim::take(&path).unwrap_err().to_string();
        assert!(refused.contains("vectoros.db") && refused.contains("another collector"), "{refused}");
        drop(claim);
        Claim::take(&path).unwrap();
    }

    #[test]
    fn who_may_not_write_beside_the_file_is_told() {
        let refused = Claim::take(Path::new("/nowhere/vectoros.db")).unwrap_err().to_string();
        assert!(refused.contains("/nowhere/vectoros.db-serving"), "{refused}");
    }
}
