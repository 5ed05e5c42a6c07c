//! `docs/dialects.md`: what is read of every instrumentation, counted by the same tests that hold it, so that the page
//! cannot say more than is true. It is written anew with `VECTOROS_WRITE_DOCS=1 tests/run dialects`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use serde_json::Value;

use super::fixture::Fixture;
use super::{WRONG, ingest, truth};

const PAGE: &str = "docs/dialects.md";

/// Columns of the first table, in the words of `truth`.
const FIELDS: [&str; 13] = [
    "runs",
    "tokens",
    "each call",
    "model",
    "tools",
    "arguments",
    "results",
    "tool status",
    "input",
    "output",
    "status",
    "error text",
    "session, user",
];
const AGENTS: &str = "agents";

/// Rows of the second table: fields of steps, in the words of `metadata.sources`.
const KEYS_MAX: usize = 12;

#[derive(Default)]
struct Row {
    fixtures: usize,
    /// Field → how many facts are right, and asked.
    facts: BTreeMap<&'static str, (usize, usize)>,
    /// Field → the keys that supplied it.
    sources: BTreeMap<String, BTreeSet<String>>,
}

#[tokio::test]
async fn the_page_about_dialects_says_what_the_tests_show() {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for fixture in Fixture::all() {
        let runs = ingest::shown(&fixture).await;
        let row = rows.entry(fixture.dialect().to_owned()).or_default();
        row.fixtures += 1;
        for fact in truth::facts(&fixture.expected, &runs) {
            let (right, asked) = row.facts.entry(fact.field).or_default();
            *right += usize::from(fact.right);
            *asked += 1;
        }
        for run in &runs {
            note_sources(&run["tree"], &mut row.sources);
        }
    }
    let page = page(&rows);
    if std::env::var_os("VECTOROS_WRITE_DOCS").is_some() {
        std::fs::write(PAGE, &page).unwrap();
    }
    let written = std::fs::read_to_string(PAGE).unwrap_or_default();
    assert!(
        written == page,
        "{PAGE} is not what the tests show: write it anew with VECTOROS_WRITE_DOCS=1 tests/run dialects"
    );
}

fn note_sources(nodes: &Value, into: &mut BTreeMap<String, BTreeSet<String>>) {
    for node in nodes.as_array().into_iter().flatten() {
        for (field, key) in node["metadata"]["sources"].as_object().into_iter().flatten() {
            if let Some(key) = key.as_str() {
                into.entry(field.clone()).or_default().insert(key.to_owned());
            }
        }
        note_sources(&node["children"], into);
    }
}

fn page(rows: &BTreeMap<String, Row>) -> String {
    let mut page = String::from(INTRODUCTION);
    let _ = write!(page, "| instrumentation | payloads |");
    let fields: Vec<&str> = FIELDS.into_iter().chain([AGENTS]).collect();
    fields.iter().for_each(|field| page.push_str(&format!(" {field} |")));
    page.push_str("\n| --- | --- |");
    fields.iter().for_each(|_| page.push_str(" --- |"));
    page.push('\n');
    let mut sums: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut fixtures = 0;
    for (name, row) in rows {
        let _ = write!(page, "| {name} | {} |", row.fixtures);
        fixtures += row.fixtures;
        for field in &fields {
            let counts = row.facts.get(field).copied();
            let sum = sums.entry(field).or_default();
            let (right, asked) = counts.unwrap_or_default();
            *sum = (sum.0 + right, sum.1 + asked);
            page.push_str(&cell(counts));
        }
        page.push('\n');
    }
    let _ = write!(page, "| **all** | {fixtures} |");
    fields.iter().for_each(|field| page.push_str(&cell(sums.get(field).copied())));
    let (right, asked) = sums.values().fold((0, 0), |sum, part| (sum.0 + part.0, sum.1 + part.1));
    let _ = write!(
        page,
        "\n\n{right} of {asked} facts are right, in {} of {fixtures} payloads all of them.\n",
        fixtures - WRONG.len()
    );
    page.push_str("\n## What is wrong, and why\n\n");
    if WRONG.is_empty() {
        page.push_str("Nothing that these payloads hold.\n");
    }
    for (name, count, why) in WRONG {
        let _ = writeln!(page, "- `{name}`, {count} facts: {why}.");
    }
    page.push_str(SOURCES);
    for (name, row) in rows.iter().filter(|(_, row)| !row.sources.is_empty()) {
        let _ = write!(page, "\n### {name}\n\n| field | keys |\n| --- | --- |\n");
        for (field, keys) in &row.sources {
            let mut shown: Vec<String> = keys.iter().take(KEYS_MAX).map(|key| format!("`{key}`")).collect();
            if keys.len() > KEYS_MAX {
                shown.push(format!("{} more", keys.len() - KEYS_MAX));
            }
            let _ = writeln!(page, "| {field} | {} |", shown.join(", "));
        }
    }
    page
}

fn cell(counts: Option<(usize, usize)>) -> String {
    match counts {
        None | Some((_, 0)) => " – |".to_owned(),
        Some((right, asked)) if right == asked => format!(" {right} |"),
        Some((right, asked)) => format!(" **{right} of {asked}** |"),
    }
}

const INTRODUCTION: &str = "# What is read of which instrumentation

This page is written by a test from the payloads in `tests/fixtures/otlp`, which real frameworks sent under real
instrumentations; the same test fails when it is not true. The folder's name is the pair of instrumentation and
framework. A number counts facts of the payloads that come out right: what the scenario's script and the provider's
answers say, as far as the payload holds it. `–`: no payload asks it, or the telemetry does not record it.

";

const SOURCES: &str = "
## Which key supplies which field

As `metadata.sources` of the steps tells it, over all payloads of a pair. `*` stands for a numbered family or for events
of that name, `+` for a text that was put together.
";
