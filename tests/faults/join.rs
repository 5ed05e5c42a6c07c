//! Ledger and store side by side, by straight SQL on what the store holds.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Context;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::content::Content;
use crate::ledger::{Entry, Fate};

/// Where the collector keeps its data, reached past everything that a fault does to its own way there.
#[derive(Clone)]
pub enum Database {
    Sqlite(PathBuf),
    Postgres(String),
}

/// One step as it is stored.
pub struct Row {
    pub run_id: Uuid,
    pub step_id: String,
    pub output: Option<String>,
    pub tokens: Option<i64>,
    pub is_model_call: bool,
}

/// A run's own totals, and those of its steps.
struct Totals {
    run_id: Uuid,
    own: (i64, Option<i64>, Option<f64>),
    recount: (Option<i64>, Option<i64>, Option<f64>),
}

/// Sums of the receipts, and of what they account for.
struct Receipts {
    received: i64,
    stored: i64,
    duplicate: i64,
    rejected: i64,
    really_stored: i64,
}

#[derive(Debug, Default)]
pub struct Joined {
    pub sent: u64,
    pub acknowledged: u64,
    pub rejected: u64,
    pub failed: u64,
    pub stored: u64,
    pub lost: u64,
    pub duplicates: u64,
    pub problems: Vec<String>,
}

const STEPS: &str = "SELECT run_id, step_id, output, tokens, type = 'model_call' FROM steps";
const TOTALS: &str = "SELECT r.run_id, CAST(r.step_count AS BIGINT), r.tokens, r.cost, s.steps, s.tokens, s.cost \
    FROM runs r LEFT JOIN (SELECT project_id, run_id, COUNT(*) AS steps, \
        CAST(SUM(CASE WHEN type = 'model_call' THEN tokens END) AS BIGINT) AS tokens, SUM(cost) AS cost \
        FROM steps GROUP BY project_id, run_id) s ON s.run_id = r.run_id AND s.project_id = r.project_id";
const RECEIPTS: &str = "SELECT CAST(COALESCE(SUM(received), 0) AS BIGINT), CAST(COALESCE(SUM(stored), 0) AS BIGINT), \
    CAST(COALESCE(SUM(duplicate), 0) AS BIGINT), CAST(COALESCE(SUM(rejected), 0) AS BIGINT), \
    (SELECT COUNT(*) FROM steps) + (SELECT COUNT(*) FROM runs WHERE declared IS NOT NULL) FROM receipts";

type StepTuple = (Uuid, String, Option<String>, Option<i64>, bool);
type TotalsTuple = (Uuid, i64, Option<i64>, Option<f64>, Option<i64>, Option<i64>, Option<f64>);
type ReceiptsTuple = (i64, i64, i64, i64, i64);

/// All rows of a query on either database.
macro_rules! rows {
    ($database:expr, $query:expr, $row:ty) => {
        match $database {
            Database::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                let rows = sqlx::query_as::<_, $row>($query).fetch_all(&mut connection).await?;
                connection.close().await?;
                rows
            }
            Database::Sqlite(path) => {
                let mut connection = sqlite(path).await?;
                let rows = sqlx::query_as::<_, $row>($query).fetch_all(&mut connection).await?;
                connection.close().await?;
                rows
            }
        }
    };
}

async fn sqlite(path: &std::path::Path) -> sqlx::Result<SqliteConnection> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
    options.busy_timeout(std::time::Duration::from_secs(10)).connect().await
}

impl Database {
    pub fn url(&self) -> String {
        match self {
            Database::Sqlite(path) => format!("sqlite://{}", path.display()),
            Database::Postgres(url) => url.clone(),
        }
    }

    /// Statements without parameters.
    pub async fn execute(&self, statements: &str) -> anyhow::Result<()> {
        let statements = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()));
        match self {
            Database::Postgres(url) => {
                let mut connection = PgConnection::connect(url).await?;
                statements.execute(&mut connection).await?;
                connection.close().await?;
            }
            Database::Sqlite(path) => {
                let mut connection = sqlite(path).await?;
                statements.execute(&mut connection).await?;
                connection.close().await?;
            }
        }
        Ok(())
    }

    /// The one number of a query.
    pub async fn number(&self, query: &str) -> anyhow::Result<i64> {
        let rows = rows!(self, AssertSqlSafe(query.to_owned()), (i64,));
        Ok(rows.first().context("no row")?.0)
    }

    pub async fn steps(&self) -> anyhow::Result<Vec<Row>> {
        let rows = rows!(self, STEPS, StepTuple);
        let row =
            |(run_id, step_id, output, tokens, is_model_call)| Row { run_id, step_id, output, tokens, is_model_call };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn totals(&self) -> anyhow::Result<Vec<Totals>> {
        let rows = rows!(self, TOTALS, TotalsTuple);
        let row = |(run_id, steps, tokens, cost, steps_again, tokens_again, cost_again)| Totals {
            run_id,
            own: (steps, tokens, cost),
            recount: (steps_again, tokens_again, cost_again),
        };
        Ok(rows.into_iter().map(row).collect())
    }

    async fn receipts(&self) -> anyhow::Result<Receipts> {
        let rows = rows!(self, RECEIPTS, ReceiptsTuple);
        let (received, stored, duplicate, rejected, really_stored) = *rows.first().context("a sum has a row")?;
        Ok(Receipts { received, stored, duplicate, rejected, really_stored })
    }
}

/// What every fault must leave behind. `foreign`: step ids that a fault sent beside the ledger.
pub async fn join(
    database: &Database,
    entries: &HashMap<u64, Entry>,
    content: Content,
    foreign: &[String],
) -> anyhow::Result<Joined> {
    let mut joined = Joined { sent: entries.len() as u64, ..Joined::default() };
    for entry in entries.values() {
        match entry.fate {
            Fate::Sent => {}
            Fate::Acknowledged => joined.acknowledged += 1,
            Fate::Rejected => joined.rejected += 1,
            Fate::Failed => joined.failed += 1,
        }
    }
    let mut stored: HashMap<u64, u64> = HashMap::new();
    let mut problems = Problems::default();
    // Of which nothing is known beforehand.
    let mut foreign_runs: HashSet<Uuid> = HashSet::new();
    for row in database.steps().await? {
        if foreign.contains(&row.step_id) {
            foreign_runs.insert(row.run_id);
            continue;
        }
        joined.stored += 1;
        let number = u64::from_str_radix(&row.step_id, 16).ok().filter(|number| entries.contains_key(number));
        let Some(number) = number else {
            problems.add("stored and never sent", row.step_id);
            continue;
        };
        *stored.entry(number).or_default() += 1;
        let entry = entries[&number];
        if entry.fate == Fate::Rejected {
            problems.add("rejected and stored", row.step_id);
            continue;
        }
        let said = content.said(number, entry.is_native);
        let tokens = row.tokens.filter(|_| row.is_model_call);
        let output = row.output.as_deref().map(text_of);
        if row.run_id != said.run_id || output.as_ref() != Some(&said.output) || tokens != said.tokens {
            let got =
                format!("{} in {} says {:?}, {:?}, sent was {said:?}", row.step_id, row.run_id, row.output, tokens);
            problems.add("stored with other content", got);
        }
    }
    for (number, entry) in entries {
        if entry.fate == Fate::Acknowledged && !stored.contains_key(number) {
            joined.lost += 1;
            problems.add("acknowledged and lost", format!("{number:016x}"));
        }
    }
    for (number, copies) in stored.into_iter().filter(|(_, copies)| *copies > 1) {
        joined.duplicates += copies - 1;
        problems.add("stored twice", format!("{number:016x}"));
    }
    for totals in database.totals().await? {
        let ((steps, tokens, cost), (steps_again, tokens_again, cost_again)) = (totals.own, totals.recount);
        let same_cost = (cost.unwrap_or_default() - cost_again.unwrap_or_default()).abs() < 1e-9;
        let is_foreign = foreign_runs.contains(&totals.run_id);
        if !is_foreign && (Some(steps) != steps_again || tokens != tokens_again || !same_cost) {
            let text = format!("{}: {:?}, its steps {:?}", totals.run_id, totals.own, totals.recount);
            problems.add("run with wrong totals", text);
        }
    }
    let receipts = database.receipts().await?;
    let Receipts { received, stored, duplicate, rejected, really_stored } = receipts;
    if received != stored + duplicate + rejected {
        let text = format!("received {received}, stored {stored}, duplicate {duplicate}, rejected {rejected}");
        problems.add("receipts do not balance", text);
    }
    if stored != really_stored {
        problems.add("receipts tell another number", format!("stored {stored} of them, {really_stored} are there"));
    }
    joined.problems = problems.told();
    Ok(joined)
}

/// What a step says: the text itself, or that of the one message which it is the text of.
fn text_of(output: &str) -> String {
    let message: Option<serde_json::Value> = serde_json::from_str(output).ok();
    let content = message.as_ref().and_then(|message| message[0]["parts"][0]["content"].as_str());
    content.unwrap_or(output).to_owned()
}

/// Counted by kind, with the first few.
#[derive(Default)]
struct Problems {
    kinds: Vec<(&'static str, u64, Vec<String>)>,
}

impl Problems {
    fn add(&mut self, kind: &'static str, what: String) {
        const SHOWN_MAX: usize = 3;
        let found = self.kinds.iter().position(|(known, ..)| *known == kind);
        let at = found.unwrap_or_else(|| {
            self.kinds.push((kind, 0, Vec::new()));
            self.kinds.len() - 1
        });
        let (_, count, examples) = &mut self.kinds[at];
        *count += 1;
        if examples.len() < SHOWN_MAX {
            examples.push(what);
        }
    }

    fn told(self) -> Vec<String> {
        let line =
            |(kind, count, examples): (&str, u64, Vec<String>)| format!("{count} {kind}: {}", examples.join("; "));
        self.kinds.into_iter().map(line).collect()
    }
}
