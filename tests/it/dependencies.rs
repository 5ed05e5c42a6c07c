//! The rules for what is built in, of `deny.toml` and of our own, held without a network: `cargo deny check` asks for known
//! vulnerabilities beside them.

use std::collections::BTreeSet;
use std::process::Command;

use figment::Figment;
use figment::providers::{Format, Toml};
use serde_json::Value;

/// Below these versions are faults that we depend on being mended.
const FLOORS: [(&str, [u64; 3], &str); 4] = [
    ("h2", [0, 4, 4], "floods of CONTINUATION frames"),
    ("tonic", [0, 14, 3], "the size of a message after inflating is bounded"),
    ("libsqlite3-sys", [0, 37, 0], "SQLite 3.51.3: a checkpoint beside a commit could damage the file"),
    ("rustls", [0, 23, 18], "a panic by a client's first message"),
];

/// What cargo says of every package that is built in, on any platform.
fn packages() -> Vec<Value> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let asked = Command::new(cargo)
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
    let all: Value = serde_json::from_slice(&asked.stdout).unwrap();
    // A package may be in the lock file and not be built here.
    let nodes = all["resolve"]["nodes"].as_array().unwrap();
    let built: BTreeSet<&str> = nodes.iter().map(|node| node["id"].as_str().unwrap()).collect();
    let packages = all["packages"].as_array().unwrap().iter();
    packages.filter(|package| built.contains(package["id"].as_str().unwrap())).cloned().collect()
}

fn name(package: &Value) -> &str {
    package["name"].as_str().unwrap()
}

/// Whether an SPDX expression can be met with the licences that are `allowed`. `/` is the old way to write OR.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let text = expression.replace('/', " OR ").replace(['(', ')'], " ");
    // Only ANDs of ORs and ORs of ANDs without nesting are met; anything else is refused and looked at by a person.
    if expression.contains('(') && text.contains(" AND ") {
        return text.split(" AND ").all(|part| part.split(" OR ").any(|one| allowed.contains(one.trim())));
    }
    text.split(" OR ").any(|part| part.split(" AND ").all(|one| allowed.contains(one.trim())))
}

#[test]
fn licences_and_sources_are_those_that_deny_toml_allows() {
    let deny = Figment::from(Toml::file_exact(concat!(env!("CARGO_MANIFEST_DIR"), "/deny.toml")));
    let allowed: BTreeSet<String> = deny.extract_inner("licenses.allow").unwrap();
    let packages = packages();
    assert!(packages.len() > 200, "only {} packages", packages.len());
    for package in packages.iter().filter(|package| name(package) != "vectoros") {
        let licence = package["license"].as_str().unwrap_or_default();
        assert!(is_allowed(licence, &allowed), "{}: {licence:?} is not allowed by deny.toml", name(package));
        let source = package["source"].as_str().unwrap_or("a folder");
        assert!(source.starts_with("registry+"), "{} comes from {source}", name(package));
    }
}

#[test]
fn no_other_tls_and_no_version_with_a_fault_we_know() {
    let packages = packages();
    for banned in ["openssl-sys", "openssl", "native-tls"] {
        assert!(packages.iter().all(|package| name(package) != banned), "{banned}: TLS is rustls");
    }
    for (floor_of, floor, why) in FLOORS {
        let mut versions = packages.iter().filter(|package| name(package) == floor_of).peekable();
        assert!(versions.peek().is_some(), "{floor_of} is not built in any more: delete its floor");
        for package in versions {
            let text = package["version"].as_str().unwrap();
            let numbers: Vec<u64> = text.split(['.', '-', '+']).filter_map(|part| part.parse().ok()).take(3).collect();
            assert!(numbers.as_slice() >= floor.as_slice(), "{floor_of} {text} is older than {floor:?}: {why}");
        }
    }
}

#[test]
fn an_expression_is_met_by_one_of_its_ways() {
    let allowed: BTreeSet<String> = ["MIT", "Zlib", "Apache-2.0"].map(str::to_owned).into();
    for met in ["MIT", "MIT/Apache-2.0", "GPL-3.0 OR MIT", "(MIT OR GPL-3.0) AND Zlib", "MIT AND Zlib"] {
        assert!(is_allowed(met, &allowed), "{met}");
    }
    for unmet in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Zlib) AND GPL-3.0", "MITx"] {
        assert!(!is_allowed(unmet, &allowed), "{unmet}");
    }
}
