//! The order of `src/lib.rs` is the law: a module imports only from those above it, and foreign crates have homes.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use crate::sources;

/// Crates that only these modules may name.
const HOMES: &[(&str, &[&str])] = &[
    ("sqlx::", &["store", "spool"]),
    ("prost::", &["receiver"]),
    ("tonic::", &["receiver"]),
    ("axum::", &["receiver", "api", "app"]),
    ("anyhow::", &["store", "spool", "receiver", "app", "cli", "telemetry"]),
];

fn modules_in_order() -> Vec<String> {
    let lib = fs::read_to_string("src/lib.rs").unwrap();
    lib.lines().filter_map(|line| Some(line.strip_prefix("pub mod ")?.trim_end_matches(';').to_owned())).collect()
}

/// `(module, file, the part of the file before its tests)` of every source below `src/`.
fn code() -> Vec<(String, PathBuf, String)> {
    let mut files = sources::below("src");
    let not_code = |file: &PathBuf| {
        file.ends_with("lib.rs")
            || file.ends_with("main.rs")
            || file.ends_with("tests.rs")
            || file.components().any(|part| part.as_os_str() == "tests")
    };
    files.retain(|file| !not_code(file));
    assert!(files.len() > 30, "the sources were not found");
    files
        .into_iter()
        .map(|file| {
            let module =
                file.components().nth(1).unwrap().as_os_str().to_string_lossy().trim_end_matches(".rs").to_owned();
            let text = fs::read_to_string(&file).unwrap();
            let code = text.split("#[cfg(test)]").next().unwrap().to_owned();
            (module, file, code)
        })
        .collect()
}

#[test]
fn imports_go_one_way() {
    let order: HashMap<String, usize> = modules_in_order().into_iter().enumerate().map(|(i, name)| (name, i)).collect();
    assert!(order.len() > 10);
    let mut broken = Vec::new();
    for (module, file, code) in code() {
        let own = order[&module];
        for (number, line) in code.lines().enumerate() {
            for path in line.split("crate::").skip(1) {
                let target: String = path.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if order.get(&target).is_some_and(|place| *place > own) {
                    broken.push(format!(
                        "{}:{}: {module} imports {target}, which stands below it",
                        file.display(),
                        number + 1
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn foreign_crates_stay_in_their_homes() {
    let mut broken = Vec::new();
    for (module, file, code) in code() {
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            for (foreign, homes) in HOMES {
                if line.contains(foreign) && !homes.contains(&module.as_str()) {
                    broken.push(format!("{}:{}: {foreign} belongs to {homes:?}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
