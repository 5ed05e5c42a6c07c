//! Every statement on a table of tenants stays in a project: the statements are taken from the driver's own log, while the
//! contract of the store runs, and each text of SQL in `src/store` must be among them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::{Layer, registry};
use vectoros::model::quota::{Limit, Measure, Window};
use vectoros::quota::Ask;
use vectoros::store::Store;

use super::samples::*;
use super::{copies, huge, keys, life_cycle, logs, native, parts, reads, receipts, remap, steps};
use crate::database::Database;
use crate::sources;

/// Whose rows belong to a project.
const TENANT_TABLES: [&str; 10] = [
    "runs",
    "steps",
    "logs",
    "origins",
    "api_keys",
    "receipts",
    "receipt_rejections",
    "refusals",
    "dead_letters",
    "quota_leases",
];

/// Statements that may look into all projects, by a part of their text. Each must be there, and says why it may.
const EXCEPTIONS: [(&str, &str); 10] = [
    ("FROM api_keys JOIN projects USING (project_id) WHERE key_id = $1", "which project a key has is what is asked"),
    ("FROM api_keys JOIN projects USING (project_id) WHERE project_id = COALESCE($1", "the list of who operates it"),
    ("UPDATE api_keys SET last_used_at =", "keys that authentication looked up, each by its own id"),
    ("FROM runs WHERE due_at <= $1 ORDER BY due_at", "the sweeper: time passes in all projects"),
    (
        "DELETE FROM logs WHERE (project_id, run_id, day, span_id, log_id) IN (SELECT",
        "age ends records in all projects",
    ),
    ("FROM receipts WHERE hour >=", "the operator's list; an endpoint gives its project"),
    ("FROM receipt_rejections WHERE hour >=", "the same"),
    ("FROM refusals WHERE hour >=", "the same"),
    ("JOIN projects ON projects.project_id = dead_letters.project_id WHERE letter_id", "the same"),
    ("AND project_id = COALESCE($4, project_id) ORDER BY project_id, run_id LIMIT $6", "remap, of one project or all"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_statement_stays_in_its_project() {
    let literals = literals_of_the_store();
    assert!(literals.len() > 30, "the texts of the store were not found");
    record();
    contract(true).await;
    contract(false).await;
    let recorded: Vec<String> = RECORDED.lock().unwrap().iter().cloned().collect();
    // Other tests say things to the database, too, behind the store's back.
    let own: Vec<&String> =
        recorded.iter().filter(|said| literals.iter().any(|(_, literal)| said.contains(literal.as_str()))).collect();
    println!("{} statements of the store, of {} recorded", own.len(), recorded.len());

    let unseen: Vec<String> = literals
        .iter()
        .filter(|(_, literal)| !recorded.iter().any(|said| said.contains(literal.as_str())))
        .map(|(file, literal)| format!("{}: {literal}", file.display()))
        .collect();
    assert!(unseen.is_empty(), "never run here, so nobody looked at them:\n{}", unseen.join("\n"));

    let is_excepted = |said: &str| EXCEPTIONS.iter().any(|(part, _)| said.contains(part));
    let crossing: Vec<&str> =
        own.iter().map(|said| said.as_str()).filter(|s| !is_bound(s) && !is_excepted(s)).collect();
    assert!(crossing.is_empty(), "not bound to a project:\n{}", crossing.join("\n"));
    for (part, why) in EXCEPTIONS {
        assert!(own.iter().any(|said| said.contains(part)), "no such statement any more ({why}): {part}");
    }
}

/// Every method of the store, and every way through the writing of a batch.
async fn contract(on_postgres: bool) {
    let fresh = async || if on_postgres { Database::postgres().await } else { Database::sqlite().await };
    macro_rules! run {
        ($($behaviour:path),* $(,)?) => {
            $({
                let database = fresh().await;
                $behaviour(database.store(TUNING).await.as_ref()).await;
            })*
        };
    }
    run!(
        keys::a_key_lives_and_is_revoked,
        keys::a_key_is_rotated_under_its_id,
        keys::a_key_is_changed,
        keys::a_key_of_another_project_does_not_exist,
        logs::records_alone_wait_in_no_list_and_age_out,
        logs::records_of_no_trace_are_stored_once_and_age_out,
        logs::a_record_that_came_first_is_kept_by_its_span,
        copies::a_copy_that_comes_after_its_original_leaves_the_list,
        copies::a_failed_call_without_an_id_is_found_by_its_process_and_time,
        parts::a_trace_is_listed_by_its_parts,
        parts::a_late_ancestor_takes_earlier_runs_in,
        native::a_running_run_is_updated_and_finished,
        native::appending_needs_a_running_run,
        steps::a_better_version_replaces_in_either_order,
        life_cycle::a_large_run_is_left_to_the_sweeper,
        reads::pages_joined_are_the_whole_list_while_runs_arrive,
        reads::filters_narrow_the_list,
        receipts::every_item_is_accounted_for_by_key_and_hour,
        receipts::the_newest_examples_of_a_reason_stay,
        receipts::pages_of_receipts_tell_each_once,
        receipts::a_key_tells_what_it_used,
        receipts::refusals_are_added_up,
        receipts::dead_letters_are_read_one_by_one_inside_their_project,
        rates,
    );
    remap::only_what_is_asked_for_is_mapped_again(&fresh().await.url).await;
    huge::the_rest_of_a_run_is_added_up(&fresh().await.url).await;
}

async fn rates(store: &dyn Store) {
    let project = project(store, "p").await;
    let limit = Limit { amount: 5, window: Window::Hour };
    let ask = Ask { measure: Measure::Steps, limit, least: 1, most: 1, returned: 0 };
    assert_eq!(store.lease(project, "abcdefgh", &[ask]).await.unwrap().len(), 1);
}

/// Whether each table of tenants in a statement is bound to a project that is given.
fn is_bound(statement: &str) -> bool {
    // Rows that go in carry their project.
    if let Some((_, rest)) = tables_after(statement, "INTO ").next() {
        let columns = rest.split_once('(').and_then(|(_, columns)| columns.split_once(')'));
        let is_carried = columns.is_some_and(|(columns, _)| columns.split(',').any(|c| c.trim() == "project_id"));
        if !is_carried {
            return false;
        }
    }
    let read = ["FROM ", "JOIN ", "UPDATE "].iter().map(|word| tables_after(statement, word).count()).sum::<usize>();
    bindings(statement) >= read
}

/// The tables of tenants that stand behind a word, each with what follows it.
fn tables_after<'a>(statement: &'a str, word: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    statement.match_indices(word).filter_map(move |(at, _)| {
        let rest = &statement[at + word.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        TENANT_TABLES.contains(&&rest[..end]).then(|| rest.split_at(end))
    })
}

/// Places where a project is given: a parameter, a column of given rows, or a row that was bound before.
fn bindings(statement: &str) -> usize {
    let is_given =
        |end: &str| ["$", "?", "asked.", "page.", "found.", "summed."].iter().any(|given| end.starts_with(given));
    // The table of projects itself binds nothing.
    let equal = statement
        .match_indices("project_id = ")
        .filter(|(at, text)| is_given(&statement[at + text.len()..]) && !statement[..*at].ends_with("projects."));
    let listed = statement.match_indices("(project_id, ").filter(|(at, _)| {
        let rest = &statement[*at..];
        rest.split_once(')')
            .is_some_and(|(_, end)| end.starts_with(" IN (") || rest.starts_with("(project_id, origin_id)"))
    });
    equal.count() + listed.count()
}

#[test]
fn a_statement_without_its_project_is_found() {
    for bound in [
        "SELECT a FROM runs WHERE project_id = $1 AND run_id = $2",
        "SELECT a FROM runs WHERE (project_id, run_id) IN ((?, ?))",
        "INSERT INTO steps (project_id, run_id) VALUES ($1, $2)",
        "UPDATE api_keys SET name = $3 WHERE project_id = $1 AND key_id = $2",
        "SELECT name FROM projects WHERE project_id = 5",
        "SELECT f.* FROM (SELECT a FROM steps WHERE project_id = $1) AS found JOIN runs ON runs.project_id = found.project_id",
    ] {
        assert!(is_bound(bound), "{bound}");
    }
    for crossing in [
        "SELECT a FROM runs WHERE run_id = $1",
        "SELECT project_id, a FROM runs WHERE run_id = $1",
        "DELETE FROM logs WHERE received_at < $1",
        "INSERT INTO steps (run_id) VALUES ($1)",
        "UPDATE api_keys SET name = $2 WHERE key_id = $1",
        "SELECT a FROM runs WHERE project_id = COALESCE($1, project_id)",
        "SELECT a FROM steps JOIN runs USING (run_id) WHERE project_id = $1",
        "SELECT a FROM api_keys JOIN projects USING (project_id) WHERE key_id = $1",
        "SELECT a FROM (SELECT a FROM refusals) AS found JOIN projects ON projects.project_id = found.project_id",
    ] {
        assert!(!is_bound(crossing), "{crossing}");
    }
}

static RECORDED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// From now on whatever this process says to a database is kept.
fn record() {
    static ONCE: Once = Once::new();
    let only_statements = Targets::new().with_target("sqlx::query", Level::DEBUG);
    ONCE.call_once(|| {
        let recorder = registry().with(Recorder.with_filter(only_statements));
        tracing::subscriber::set_global_default(recorder).expect("nobody else listens");
    });
}

struct Recorder;

impl<S: Subscriber> Layer<S> for Recorder {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        // A short statement is its own summary.
        let whole = if said.statement.trim().is_empty() { said.summary } else { said.statement };
        RECORDED.lock().unwrap().insert(one_line(&whole));
    }
}

#[derive(Default)]
struct Said {
    summary: String,
    statement: String,
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "summary" => self.summary = value.to_owned(),
            "db.statement" => self.statement = value.to_owned(),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every string in the code of the store that names a table of tenants as SQL does, on one line, with its file.
fn literals_of_the_store() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    for path in sources::below("src/store") {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let names_a_table = |literal: &String| {
            ["FROM ", "JOIN ", "INTO ", "UPDATE "].iter().any(|word| tables_after(literal, word).next().is_some())
        };
        found.extend(strings_in(code).into_iter().filter(names_a_table).map(|literal| (relative(&path), literal)));
    }
    found
}

fn relative(path: &Path) -> PathBuf {
    path.strip_prefix("src/store").unwrap().to_owned()
}

/// The strings of Rust code, as the compiler reads them but for white space.
fn strings_in(code: &str) -> Vec<String> {
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .map(|line| line.replace("'\"'", "' '") + "\n")
        .collect();
    let mut strings = Vec::new();
    for (number, piece) in code.replace("\\\"", "'").split('"').enumerate() {
        if number % 2 == 1 {
            // Behind a backslash at the end of a line the compiler leaves out what the next begins with.
            let mut lines = piece.split("\\\n");
            let first = lines.next().unwrap().to_owned();
            strings.push(one_line(&lines.fold(first, |text, line| text + line.trim_start())));
        }
    }
    strings
}
