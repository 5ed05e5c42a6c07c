//! The files of the program itself, for tests that hold rules of its text.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file of Rust below `folder`.
pub fn below(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    gather(Path::new(folder), &mut found);
    assert!(!found.is_empty(), "the sources were not found");
    found
}

fn gather(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => gather(&path, found),
            false if path.extension().is_some_and(|e| e == "rs") => found.push(path),
            false => {}
        }
    }
}
