//! Requests that real instrumentations sent, with the truth about them: `tests/fixtures/otlp/<dialect>__<scenario>/`
//! holds the bodies as received and `expected.json`, written from the scenario's script, never from the spans.
//!
//! Every fixture goes through decoding, mapping, a store and assembly; what the API shows is compared with the truth,
//! and with the rows that the last accepted version made of it (`insta`).

mod dialects;
mod fixture;
mod ingest;
mod rows;
mod transports;
mod truth;

use std::path::PathBuf;

use rstest::rstest;
use serde_json::Value;

use self::fixture::Fixture;
use self::truth::Fact;

/// Fixtures that are not wholly right, how many of their facts are not, and why. One that gets better must be taken
/// off the list.
const WRONG: &[(&str, usize, &str)] = &[];

#[rstest]
#[tokio::test]
async fn a_fixture_becomes_its_run(#[files("tests/fixtures/otlp/*/expected.json")] truth: PathBuf) {
    let fixture = Fixture::read(truth.parent().unwrap());
    let runs = ingest::shown(&fixture).await;
    let facts = truth::facts(&fixture.expected, &runs);
    assert!(!facts.is_empty(), "{} asks nothing", fixture.name);
    let wrong: Vec<String> = facts.iter().filter(|fact| !fact.right).map(told).collect();
    let known = known_wrong(&fixture.name);
    assert!(
        wrong.len() == known,
        "{}: {known} wrong facts are known, these are wrong:\n{}",
        fixture.name,
        wrong.join("\n")
    );
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "../../fixtures/rows", omit_expression => true}, {
        insta::assert_json_snapshot!(fixture.name.as_str(), runs.iter().map(rows::of).collect::<Vec<Value>>());
    });
}

fn known_wrong(name: &str) -> usize {
    WRONG.iter().find(|(fixture, ..)| *fixture == name).map_or(0, |(_, count, _)| *count)
}

fn told(fact: &Fact) -> String {
    format!("{}: wanted {}, got {}", fact.name, fact.wanted, fact.got)
}
