//! While Postgres is away: every request that a collector with a spool acknowledged is stored once it is there again, once,
//! and accounted for.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prost::Message;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use uuid::Uuid;

use crate::collector::{Collector, OWN_FILE, PATIENCE, program};
use crate::conformance::client::{Answer, JSON, LOGS_SERVICE, PROTOBUF, TRACE_SERVICE, TRACES, ask, export, post};
use crate::conformance::trouble::{Stall, Wire};
use crate::database::Database;
use crate::logs;
use crate::spans::{agent_trace, encoded, request, run_id};

const SPOOL: (&str, &str) = ("VECTOROS_SPOOL__PATH", "spool.db");
const UNLIMITED: [&str; 2] = ["--quota", "requests=unlimited,steps=unlimited,bytes=unlimited"];
/// No trace of a test has this number.
const WARM_UP: u64 = 900_000;

/// A collector with a spool on a Postgres behind a wire, and the way around it.
struct Site {
    collector: Collector,
    wire: Wire,
    database: Database,
}

impl Site {
    async fn start(settings: &[(&str, &str)]) -> Site {
        let database = Database::postgres().await;
        let (wire, url) = Wire::around(&database.url).await;
        let settings: Vec<_> = [SPOOL].into_iter().chain(settings.iter().copied()).collect();
        let collector = Collector::start(&url, &settings).await;
        let site = Site { collector, wire, database };
        site.warm_up().await;
        site
    }

    /// The key is known from now on.
    async fn warm_up(&self) {
        assert_eq!(self.traces(WARM_UP).await.status, 200);
    }

    async fn traces(&self, number: u64) -> Answer {
        post(&self.collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await
    }

    /// Three steps each.
    async fn send(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let answer = self.traces(number).await;
            assert_eq!(answer.status, 200, "{number}: {}\n{}", answer.rpc_status().message, self.collector.log());
        }
    }

    fn path(&self) -> PathBuf {
        self.collector.folder().join("spool.db")
    }

    async fn metric(&self, name: &str) -> f64 {
        let text = ask(self.collector.http, "GET", "/metrics", &[], b"").await.text().to_owned();
        let line = text.lines().find(|line| line.split(' ').next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    async fn readiness(&self) -> (u16, String) {
        let answer = ask(self.collector.http, "GET", "/readyz", &[], b"").await;
        (answer.status, answer.text().to_owned())
    }

    /// Until everything in the spool is in the database.
    async fn wait_until_replayed(&self) {
        let end = Instant::now() + PATIENCE;
        while self.metric("vectoros_spool_requests").await > 0.0 {
            assert!(Instant::now() < end, "the spool is not empty:\n{}", self.collector.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn number(&self, statement: &str) -> i64 {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        sqlx::query_scalar(AssertSqlSafe(statement.to_owned())).fetch_one(&mut connection).await.unwrap()
    }

    /// Runs in the database, without the warm-up.
    async fn stored(&self) -> BTreeSet<String> {
        let mut connection = PgConnection::connect(&self.database.url).await.unwrap();
        let ids: Vec<Uuid> = sqlx::query_scalar("SELECT run_id FROM runs").fetch_all(&mut connection).await.unwrap();
        ids.iter().map(Uuid::to_string).filter(|id| *id != run_id(WARM_UP)).collect()
    }

    /// Sums over all keys; balanced.
    async fn receipts(&self) -> (i64, i64, i64) {
        let of =
            async |column: &str| self.number(&format!("SELECT COALESCE(SUM({column}), 0)::bigint FROM receipts")).await;
        let (received, stored) = (of("received").await, of("stored").await);
        let (duplicate, rejected) = (of("duplicate").await, of("rejected").await);
        assert_eq!(received, stored + duplicate + rejected);
        (stored, duplicate, rejected)
    }

    async fn assert_stored(&self, numbers: impl IntoIterator<Item = u64>) {
        let expected: BTreeSet<String> = numbers.into_iter().map(run_id).collect();
        assert_eq!(self.stored().await, expected);
        let runs = expected.len() as i64 + 1;
        assert_eq!(self.number("SELECT COUNT(*) FROM steps").await, 3 * runs, "each step once");
        let totals = self.number("SELECT SUM(tokens)::bigint FROM runs").await;
        assert_eq!(totals, 15 * runs, "totals");
        assert_eq!(self.receipts().await.0, 3 * runs, "receipts");
    }
}

fn run(number: u64, status: &str, output: &str) -> Value {
    json!({
        "run_id": Uuid::from_u128(u128::from(number)), "model": "gpt-4o-mini", "input": "Weather?", "output": output,
        "tokens": 15, "cost": 0.25, "latency": 1.5, "status": status,
        "steps": [{"name": "think", "type": "llm"}, {"name": "look", "type": "tool"}],
    })
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Http,
    Json,
    Grpc,
    Logs,
    Native,
}

/// Sends until told to stop; every answer must be OK. How many there were.
async fn keep_sending(collector: &Collector, way: Way, first: u64, stop: &AtomicBool, sent: &AtomicU64) -> u64 {
    let mut number = first;
    while !stop.load(Ordering::Relaxed) {
        let begin = Instant::now();
        let status = match way {
            Way::Http => post(collector, TRACES, PROTOBUF, &encoded(agent_trace(number))).await.status,
            Way::Json => {
                let body = serde_json::to_vec(&request(agent_trace(number))).unwrap();
                post(collector, TRACES, JSON, &body).await.status
            }
            Way::Grpc => match export(collector, TRACE_SERVICE, &encoded(agent_trace(number))).await.code() {
                0 => 200,
                code => panic!("{way:?} {number}: code {code}\n{}", collector.log()),
            },
            Way::Logs => {
                let body = logs::request(logs::messages(number)).encode_to_vec();
                assert_eq!(export(collector, LOGS_SERVICE, &body).await.code(), 0);
                200
            }
            Way::Native => {
                let answer =
                    post(collector, "/runs", JSON, run(number, "success", "18 C").to_string().as_bytes()).await;
                let shown: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(shown["run_id"], json!(Uuid::from_u128(u128::from(number))), "{shown}");
                if answer.status == 202 { 200 } else { answer.status }
            }
        };
        assert_eq!(status, 200, "{way:?} {number} after {:?}\n{}", begin.elapsed(), collector.log());
        number += 1;
        sent.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    number - first
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_not_noticed_and_everything_is_stored_once() {
    let mut site = Site::start(&[("VECTOROS_INGEST__HOLD", "2s")]).await;
    site.collector.key = site.collector.make_key("default", &UNLIMITED);
    site.warm_up().await;
    let (stop, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let ways = [Way::Http, Way::Json, Way::Grpc, Way::Logs, Way::Native];
    let first = |place: usize| (place as u64 + 1) * 10_000;
    let senders = ways.iter().enumerate().map(|(place, way)| {
        // Records of logs belong to spans that another sender brings.
        let first = if matches!(way, Way::Logs) { first(0) } else { first(place) };
        keep_sending(&site.collector, *way, first, &stop, &sent)
    });
    let outage = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        site.wire.cut();
        tokio::time::sleep(Duration::from_millis(1200)).await;
        assert_eq!(
            site.readiness().await,
            (200, "degraded: the database is away, requests are kept in the spool\n".to_owned())
        );
        let in_outage = sent.load(Ordering::Relaxed);
        // Each of the five would wait for two seconds each time if the outage were to be noticed.
        let begin = Instant::now();
        while sent.load(Ordering::Relaxed) <= in_outage + 20 || begin.elapsed() < Duration::from_secs(1) {
            assert!(begin.elapsed() < Duration::from_secs(6), "requests are answered at once in an outage");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(site.metric("vectoros_spool_requests").await > 20.0);
        assert!(site.metric("vectoros_spool_bytes").await > 20_000.0);
        assert!(site.metric("vectoros_spool_oldest_seconds").await >= 1.0);
        // One span of three is told to be wrong, although nobody stores the others yet.
        let mut spans = agent_trace(70_000);
        spans[2].trace_id = vec![0; 16];
        let answer = post(&site.collector, TRACES, JSON, &serde_json::to_vec(&request(spans)).unwrap()).await;
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((answer.status, &body["partialSuccess"]["rejectedSpans"]), (200, &json!("1")), "{body}");
        // What cannot be told without the database is not kept.
        let path = format!("/runs/{}/steps", Uuid::from_u128(40_000));
        assert_eq!(post(&site.collector, &path, JSON, b"[{\"name\":\"late\",\"type\":\"llm\"}]").await.status, 503);
        site.wire.mend();
        site.wait_until_replayed().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (counts, ()) = tokio::join!(futures_util::future::join_all(senders), outage);
    site.wait_until_replayed().await;
    assert_eq!(site.readiness().await, (200, "ready\n".to_owned()));
    assert!(site.metric("vectoros_spool_replayed_total").await > 20.0);
    assert_eq!(site.metric("vectoros_spool_bytes").await, 0.0);

    let mut expected: BTreeSet<String> = [run_id(70_000)].into();
    for (place, (way, count)) in ways.iter().zip(&counts).enumerate() {
        for number in first(place)..first(place) + count {
            match way {
                Way::Native => drop(expected.insert(Uuid::from_u128(u128::from(number)).to_string())),
                Way::Logs => {}
                _ => drop(expected.insert(run_id(number))),
            }
        }
    }
    let log_traces = counts[0].max(counts[3]);
    expected.extend((first(0)..first(0) + log_traces).map(run_id));
    assert_eq!(site.stored().await, expected);
    let traces = (counts[0] + counts[1] + counts[2] + 1) as i64;
    let (records, runs) = (2 * counts[3] as i64, counts[4] as i64);
    assert_eq!(site.number("SELECT COUNT(*) FROM steps").await, 3 * traces + 2 + 2 * runs, "each step once");
    assert_eq!(site.number("SELECT COUNT(*) FROM logs").await, records, "each record once");
    let totals = site.number("SELECT SUM(tokens)::bigint FROM runs").await;
    assert_eq!(totals, 15 * (traces + 1 + runs), "totals");
    let (stored, _, rejected) = site.receipts().await;
    assert_eq!((stored, rejected), (3 * traces + 2 + records + 3 * runs, 1));
    let letters = site.number("SELECT COUNT(*) FROM dead_letters").await;
    assert_eq!(letters, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stands_still_counts_as_away() {
    let site = Site::start(&[("VECTOROS_INGEST__HOLD", "1s")]).await;
    let stall = Stall::begin(&site.database.url).await;
    let begin = Instant::now();
    let first = futures_util::future::join_all((0..4).map(|number| site.traces(number))).await;
    assert!(first.iter().all(|answer| answer.status == 200), "{}", site.collector.log());
    assert!(begin.elapsed() > Duration::from_millis(400), "they waited for the database first");
    site.send(4..12).await;
    assert!(site.stored().await.is_empty());
    stall.end().await;
    site.wait_until_replayed().await;
    site.assert_stored(0..12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_in_an_outage_lose_nothing() {
    let mut site = Site::start(&[]).await;
    site.wire.cut();
    site.send(0..20).await;
    site.collector.kill();
    site.collector.relaunch();
    // Nobody is known yet, so nobody is told OK.
    let end = Instant::now() + PATIENCE;
    while tokio::net::TcpStream::connect(site.collector.http).await.is_err() {
        assert!(Instant::now() < end, "{}", site.collector.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(site.traces(500).await.status, 503);
    site.collector.kill();
    site.wire.mend();
    site.collector.restart().await;
    site.warm_up().await;
    site.wire.cut();
    site.send(20..60).await;
    site.collector.kill();
    site.wire.mend();
    // The third time while it is replaying, perhaps.
    site.collector.restart().await;
    tokio::time::sleep(Duration::from_millis(130)).await;
    site.collector.kill();
    site.collector.restart().await;
    site.wait_until_replayed().await;
    site.assert_stored(0..60).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_replayed_twice_is_stored_once() {
    let mut site = Site::start(&[]).await;
    site.wire.cut();
    site.send(0..5).await;
    let native = post(&site.collector, "/runs", JSON, run(7, "success", "18 C").to_string().as_bytes()).await;
    assert_eq!(native.status, 202);
    assert!(site.collector.stop().success(), "{}", site.collector.log());
    let (path, copy) = (site.path(), site.collector.folder().join("copy.db"));
    fs::copy(&path, &copy).unwrap();
    site.wire.mend();
    site.collector.restart().await;
    site.wait_until_replayed().await;
    let (stored, duplicate, _) = site.receipts().await;
    assert_eq!((stored, duplicate), (3 * 6 + 3, 0));
    // As if it had been killed between the commit and forgetting.
    assert!(site.collector.stop().success());
    fs::copy(&copy, &path).unwrap();
    site.collector.restart().await;
    site.wait_until_replayed().await;
    assert_eq!(site.metric("vectoros_spool_replayed_total").await, 6.0);
    assert_eq!(site.receipts().await, (stored, 3 * 5 + 3, 0));
    assert_eq!(site.number("SELECT COUNT(*) FROM steps").await, 3 * 6 + 2);
    assert_eq!(site.number("SELECT SUM(tokens)::bigint FROM runs").await, 15 * 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_says_later_and_loses_nothing() {
    let settings = [("VECTOROS_SPOOL__MAX_BYTES", "20KB"), ("VECTOROS_INGEST__HOLD", "400ms")];
    let site = Site::start(&settings).await;
    site.wire.cut();
    let mut acknowledged = Vec::new();
    let mut refused = 0;
    for number in 0..40 {
        let answer = site.traces(number).await;
        match answer.status {
            200 => acknowledged.push(number),
            _ => {
                refused += 1;
                assert_eq!(answer.status, 503);
                let hint: u64 = answer.header("retry-after").parse().unwrap();
                assert!((1..=4).contains(&hint));
                if refused == 3 {
                    break;
                }
            }
        }
    }
    assert_eq!(refused, 3);
    assert!(acknowledged.len() > 3, "{acknowledged:?}");
    assert!(site.metric("vectoros_spool_bytes").await <= 20_000.0);
    assert_eq!(site.readiness().await.0, 503);
    site.wire.mend();
    site.wait_until_replayed().await;
    site.assert_stored(acknowledged).await;
    site.send(100..101).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_costs_its_request_alone() {
    let mut site = Site::start(&[]).await;
    site.wire.cut();
    site.send(0..5).await;
    let mode = fs::metadata(site.path()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    // Without the database too it stops in order, and what is kept is in the file.
    let begin = Instant::now();
    assert!(site.collector.stop().success(), "{}", site.collector.log());
    assert!(begin.elapsed() < Duration::from_secs(25));
    let mut bytes = fs::read(site.path()).unwrap();
    let id = &agent_trace(2)[0].trace_id;
    // Everywhere: pages hold remains of rows that were moved.
    let places: Vec<_> = (0..bytes.len()).filter(|place| bytes[*place..].starts_with(id)).collect();
    assert!(!places.is_empty());
    places.iter().for_each(|place| bytes[*place] ^= 0x10);
    fs::write(site.path(), bytes).unwrap();
    site.wire.mend();
    site.collector.restart().await;
    site.wait_until_replayed().await;
    site.assert_stored([0, 1, 3, 4]).await;
    assert_eq!(site.metric("vectoros_spool_damaged_total").await, 1.0);
    assert!(site.collector.log().contains("REQUESTS IN THE SPOOL ARE DAMAGED"));
    assert_eq!(files_set_aside(site.collector.folder()).len(), 0);
}

fn files_set_aside(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_string_lossy().contains("spool.db.corrupt-")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_no_spool_is_renamed_and_the_program_starts() {
    let mut site = Site::start(&[]).await;
    assert!(site.collector.stop().success());
    let garbage = b"not a database at all".repeat(500);
    fs::write(site.path(), &garbage).unwrap();
    site.collector.restart().await;
    let aside = files_set_aside(site.collector.folder());
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), garbage);
    assert!(site.collector.log().contains("THE SPOOL IS DAMAGED"));
    site.warm_up().await;
    site.wire.cut();
    site.send(0..3).await;
    site.wire.mend();
    site.wait_until_replayed().await;
    site.assert_stored(0..3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_same_spool_is_refused() {
    let site = Site::start(&[]).await;
    let mut second = program();
    second.arg("serve").env("DATABASE_URL", &site.database.url).env("VECTOROS_SPOOL__PATH", site.path());
    second.env("VECTOROS_SERVER__HTTP", "127.0.0.1:0").env("VECTOROS_SERVER__GRPC", "127.0.0.1:0");
    let done = second.current_dir(site.collector.folder()).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("is used by another collector"), "{said}");
    site.warm_up().await;
}

#[test]
fn a_spool_beside_sqlite_is_a_wrong_setting() {
    let folder = tempfile::tempdir().unwrap();
    let mut serve = program();
    serve.arg("serve").env("DATABASE_URL", OWN_FILE).env("VECTOROS_SPOOL__PATH", "spool.db");
    let done = serve.current_dir(folder.path()).output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(2), "{said}");
    assert!(said.contains("spool.path") && said.contains("Postgres"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_native_run_is_shown_as_it_will_be_and_finished_in_order() {
    let site = Site::start(&[]).await;
    site.wire.cut();
    let send = async |body: Value| {
        let answer = post(&site.collector, "/runs", JSON, body.to_string().as_bytes()).await;
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let (status, begun) = send(run(1, "running", "")).await;
    assert_eq!((status, &begun["status"]), (202, &json!("running")), "{begun:#}");
    let (status, mut shown) = send(run(1, "success", "18 C")).await;
    assert_eq!((status, &shown["status"], &shown["tokens"]), (202, &json!("success"), &json!(15)), "{shown:#}");
    // The id that it was given is the one that it will have.
    let mut nameless = run(0, "success", "5 C");
    nameless.as_object_mut().unwrap().remove("run_id");
    let (_, named) = send(nameless).await;
    // Checked as always.
    assert_eq!(send(json!({"model": 5})).await.0, 422);
    // Nobody can tell now that this one contradicts the first; it must not vanish.
    assert_eq!(send(run(1, "success", "19 C")).await.0, 202);
    site.wire.mend();
    site.wait_until_replayed().await;
    let (status, mut stored) = send(run(1, "success", "18 C")).await;
    assert_eq!(status, 200);
    // It began with its first submission.
    for run in [&mut shown, &mut stored] {
        for time in ["created_at", "started_at"] {
            assert!(run.as_object_mut().unwrap().remove(time).is_some());
        }
    }
    assert_eq!(shown, stored);
    let named = named["run_id"].as_str().unwrap();
    let (status, detail) = site.collector.get(&format!("/runs/{named}")).await;
    assert_eq!((status, &detail["run"]["output"]), (200, &json!("5 C")), "{detail:#}");
    let (_, letters) = site.collector.get("/receipts/dead-letters").await;
    let letters = letters["items"].as_array().unwrap();
    assert_eq!(letters.len(), 1, "{letters:#?}");
    assert_eq!(letters[0]["run_id"], json!(Uuid::from_u128(1)));
    let path = format!("/receipts/dead-letters/{}", letters[0]["id"].as_str().unwrap());
    let (_, letter) = site.collector.get(&path).await;
    assert_eq!(letter["content"]["output"], "19 C", "{letter:#}");
    assert_eq!(site.receipts().await.2, 3, "the run and its two steps");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_database_refuses_on_replay_becomes_a_dead_letter() {
    let site = Site::start(&[]).await;
    let mut connection = PgConnection::connect(&site.database.url).await.unwrap();
    let constraint = "ALTER TABLE steps ADD CONSTRAINT no_poison CHECK (name <> 'poison')";
    sqlx::raw_sql(constraint).execute(&mut connection).await.unwrap();
    site.wire.cut();
    let mut spans = agent_trace(1);
    spans[1].name = "poison".into();
    assert_eq!(post(&site.collector, TRACES, PROTOBUF, &encoded(spans)).await.status, 200);
    site.send(2..4).await;
    site.wire.mend();
    site.wait_until_replayed().await;
    assert_eq!(site.stored().await, [1, 2, 3].map(run_id).into());
    assert_eq!(site.number("SELECT COUNT(*) FROM dead_letters").await, 1);
    let (stored, _, rejected) = site.receipts().await;
    assert_eq!((stored, rejected), (3 * 4 - 1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_in_an_outage_leaves_requests_in_the_file_or_refuses_them() {
    let mut site = Site::start(&[]).await;
    site.wire.cut();
    let (stop, told) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (http, key) = (site.collector.http, format!("Bearer {}", site.collector.key));
    let senders: Vec<_> = (0..4u64)
        .map(|sender| {
            let (stop, told, key) = (stop.clone(), told.clone(), key.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut acknowledged = Vec::new();
                for number in sender * 1000.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let post = client.post(format!("http://{http}{TRACES}")).header("content-type", PROTOBUF);
                    let post = post.header("authorization", &key).body(encoded(agent_trace(number)));
                    match post.send().await {
                        Ok(answer) if answer.status() == 200 => {
                            acknowledged.push(number);
                            told.fetch_add(1, Ordering::Relaxed);
                        }
                        Ok(answer) => assert_eq!(answer.status(), 503),
                        Err(_) => {}
                    }
                }
                acknowledged
            })
        })
        .collect();
    while told.load(Ordering::Relaxed) < 40 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = tokio::task::block_in_place(|| site.collector.stop());
    assert!(status.success(), "{}", site.collector.log());
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = Vec::new();
    for sender in senders {
        acknowledged.extend(sender.await.unwrap());
    }
    let mut spool = SqliteConnection::connect(site.path().to_str().unwrap()).await.unwrap();
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM spool").fetch_one(&mut spool).await.unwrap();
    spool.close().await.unwrap();
    assert!(kept >= acknowledged.len() as i64, "{kept} kept of {}", acknowledged.len());
    site.wire.mend();
    site.collector.restart().await;
    site.wait_until_replayed().await;
    let stored = site.stored().await;
    let lost: Vec<_> = acknowledged.into_iter().map(run_id).filter(|id| !stored.contains(id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    assert_eq!(site.number("SELECT COUNT(*) FROM steps").await, 3 * (stored.len() as i64 + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_schema_that_is_not_ours_refuses_is_kept_and_never_given_up() {
    let site = Site::start(&[]).await;
    let mut connection = PgConnection::connect(&site.database.url).await.unwrap();
    let alter = "ALTER TABLE steps RENAME COLUMN provider TO provider_of_before";
    sqlx::raw_sql(alter).execute(&mut connection).await.unwrap();
    // The first ones are refused, until it is seen that nothing commits any more.
    let (mut kept, end) = (Vec::new(), Instant::now() + PATIENCE);
    for number in 0.. {
        match site.traces(number).await.status {
            200 => kept.push(number),
            status => assert_eq!(status, 503),
        }
        if kept.len() == 20 {
            break;
        }
        assert!(Instant::now() < end, "{}", site.collector.log());
    }
    let (status, text) = site.readiness().await;
    assert!(status == 200 && text.starts_with("degraded: ") && text.contains("(code 42703)"), "{status} {text}");
    // Some of it is tried again meanwhile.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(site.metric("vectoros_spool_requests").await, 20.0);
    assert_eq!(site.metric("vectoros_dead_letters_total").await, 0.0);
    let alter = "ALTER TABLE steps RENAME COLUMN provider_of_before TO provider";
    sqlx::raw_sql(alter).execute(&mut connection).await.unwrap();
    site.wait_until_replayed().await;
    site.assert_stored(kept).await;
    assert_eq!(site.readiness().await, (200, "ready\n".to_owned()));
    let errors = site.collector.log().lines().filter(|line| line.contains("ERROR")).count();
    assert!((1..=4).contains(&errors), "{errors} lines:\n{}", site.collector.log());
}
