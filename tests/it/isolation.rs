//! Nothing of one project is seen or touched with a key of another: every endpoint, walked by two tenants who use the same
//! ids. The list of endpoints is read from the sources, so that a new one is walked or fails here.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use chrono::Utc;
use http::HeaderMap;
use serde_json::{Value, json};
use uuid::Uuid;
use vectoros::model::batch::{Batch, Rejections};
use vectoros::model::receipt::{DeadLetter, Receipt};
use vectoros::store::Tuning;

use crate::collector::{Collector, PATIENCE};
use crate::conformance::client::{
    Answer, JSON, LOGS_SERVICE, METRICS_SERVICE, PROTOBUF, TRACE_SERVICE, ask, call, framed,
};
use crate::database::{Database, on_both_stores};
use crate::logs;
use crate::sources;
use crate::spans::{agent_trace, encoded, run_id, text};
use crate::store::samples::LIFE;

/// A run that both tenants send, and one that only the first has.
const SHARED: &str = "0193a0e4-0000-7000-8000-000000000001";
const OWN: &str = "0193a0e4-0000-7000-8000-000000000002";
/// Nobody has it.
const UNKNOWN: &str = "0193a0e4-0000-7000-8000-00000000000f";

/// Endpoints that know no tenants: they ask for no key, and what they say must not depend on anybody's data.
const PUBLIC: [&str; 4] = ["GET /", "GET /healthz", "GET /readyz", "GET /metrics"];

async fn two_tenants_with_the_same_ids_see_their_own(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let walk = Walk::new(&collector, url);
    let (ann, ben) = (walk.tenant("ann"), walk.tenant("ben"));
    walk.spans_and_records(&ann, &ben).await;
    walk.native_runs(&ann, &ben).await;
    walk.lists(&ann, &ben).await;
    walk.keys(&ann, &ben).await;
    walk.receipts(&ann, &ben).await;
    walk.public(&[&ann, &ben]).await;
    let walked = walk.walked.into_inner().unwrap();
    let there = endpoints();
    let missing: Vec<_> = there.difference(&walked).collect();
    assert!(missing.is_empty(), "endpoints that nobody walks here: {missing:?}");
    let gone: Vec<_> = walked.difference(&there).collect();
    assert!(gone.is_empty(), "not found in the sources: {gone:?}");
}
on_both_stores!(two_tenants_with_the_same_ids_see_their_own);

struct Tenant {
    name: &'static str,
    bearer: String,
    key_id: String,
}

struct Walk<'a> {
    collector: &'a Collector,
    /// Of its database.
    url: &'a str,
    walked: Mutex<BTreeSet<String>>,
}

impl<'a> Walk<'a> {
    fn new(collector: &'a Collector, url: &'a str) -> Walk<'a> {
        Walk { collector, url, walked: Mutex::default() }
    }

    fn tenant(&self, name: &'static str) -> Tenant {
        let key = self.collector.make_key(name, &["--name", name, "--scope", "ingest,read,admin"]);
        Tenant { name, bearer: format!("Bearer {key}"), key_id: key[4..12].to_owned() }
    }

    /// A request to an endpoint; `ids` take the places of what stands in braces in its path.
    async fn ask(&self, who: &Tenant, endpoint: &str, ids: &[&str], content_type: &str, body: &[u8]) -> Answer {
        self.walked.lock().unwrap().insert(endpoint.to_owned());
        let (method, path) = endpoint.split_once(' ').unwrap();
        let mut path = path.to_owned();
        for id in ids {
            let (begin, end) = (path.find('{').unwrap(), path.find('}').unwrap());
            path.replace_range(begin..=end, id);
        }
        let headers = [("authorization", who.bearer.as_str()), ("content-type", content_type)];
        ask(self.collector.http, method, &path, &headers, body).await
    }

    async fn json(&self, who: &Tenant, endpoint: &str, ids: &[&str], body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = self.ask(who, endpoint, ids, JSON, &body).await;
        let read = serde_json::from_slice(&answer.body);
        (answer.status, read.unwrap_or_else(|_| panic!("{endpoint}: no JSON: {:?}", answer.text())))
    }

    async fn grpc(&self, who: &Tenant, method: &str, message: &[u8]) {
        self.walked.lock().unwrap().insert(format!("POST {method}"));
        let answer = call(self.collector.grpc, method, &[("authorization", &who.bearer)], framed(0, message)).await;
        assert_eq!(answer.code(), 0, "{method}");
    }

    /// With a foreign id and with an id that nobody has: the same answer, byte for byte.
    async fn assert_foreign_is_unknown(
        &self,
        who: &Tenant,
        endpoint: &str,
        foreign: &str,
        unknown: &str,
        body: &Value,
    ) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let foreign = self.ask(who, endpoint, &[foreign], JSON, &body).await;
        let unknown = self.ask(who, endpoint, &[unknown], JSON, &body).await;
        assert_eq!(unknown.status, 404, "{endpoint}");
        let seen = |answer: &Answer| (answer.status, lasting(&answer.headers), answer.text().to_owned());
        assert_eq!(seen(&foreign), seen(&unknown), "{endpoint}");
    }

    async fn run(&self, who: &Tenant, id: &str) -> Value {
        let (status, run) = self.json(who, "GET /runs/{run_id}", &[id], &Value::Null).await;
        assert_eq!(status, 200, "{}: {id}: {run:#}", who.name);
        run
    }

    /// The same trace and span ids of both, then a trace that only the first has.
    async fn spans_and_records(&self, ann: &Tenant, ben: &Tenant) {
        let spans = |who: &Tenant, number| {
            let mut spans = agent_trace(number);
            spans.iter_mut().for_each(|span| span.attributes.push(text("tenant", who.name)));
            encoded(spans)
        };
        let records = || logs::request(logs::messages(0));
        let post = async |who: &Tenant, endpoint: &str, body: Vec<u8>| {
            let answer = self.ask(who, endpoint, &[], PROTOBUF, &body).await;
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{endpoint}");
        };
        post(ann, "POST /v1/traces", spans(ann, 0)).await;
        post(ann, "POST /v1/logs", encoded_records(&records())).await;
        let alone = self.run(ann, &run_id(0)).await;
        assert!(alone.to_string().contains("And in Paris?"), "the records joined their span");
        // All of the other's data under the same ids, by every transport.
        self.grpc(ben, TRACE_SERVICE, &spans(ben, 0)).await;
        post(ben, "POST /v1/traces", spans(ben, 0)).await;
        assert!(
            !self.run(ben, &run_id(0)).await.to_string().contains("And in Paris?"),
            "records of another join nothing"
        );
        self.grpc(ben, LOGS_SERVICE, &encoded_records(&records())).await;
        self.grpc(ben, METRICS_SERVICE, b"").await;
        post(ben, "POST /v1/metrics", vec![]).await;
        let (mine, theirs) = (self.run(ann, &run_id(0)).await, self.run(ben, &run_id(0)).await);
        assert_eq!(mine, alone, "nothing of it changed");
        assert!(theirs.to_string().contains("\"ben\"") && !theirs.to_string().contains("\"ann\""), "{theirs:#}");
        assert!(!mine.to_string().contains("\"ben\""), "{mine:#}");
        self.grpc(ann, TRACE_SERVICE, &spans(ann, 1)).await;
        self.assert_foreign_is_unknown(ben, "GET /runs/{run_id}", &run_id(1), UNKNOWN, &Value::Null).await;
    }

    async fn native_runs(&self, ann: &Tenant, ben: &Tenant) {
        let run = |who: &Tenant, id: &str, status: &str| json!({"run_id": id, "model": "m", "input": who.name, "status": status, "steps": [{"id": "s1", "name": who.name}]});
        let none = Value::Null;
        assert_eq!(self.json(ann, "POST /runs", &[], &run(ann, OWN, "running")).await.0, 200);
        let steps = json!({"steps": [{"name": "intruder"}]});
        self.assert_foreign_is_unknown(ben, "GET /runs/{run_id}", OWN, UNKNOWN, &none).await;
        self.assert_foreign_is_unknown(ben, "POST /runs/{run_id}/steps", OWN, UNKNOWN, &steps).await;
        assert_eq!(self.json(ann, "POST /runs/{run_id}/steps", &[OWN], &steps).await.0, 200, "its owner may");
        // The same id is another run in another project, whatever its state there.
        for (who, status) in [(ann, "success"), (ben, "running"), (ben, "success")] {
            let (status, stored) = self.json(who, "POST /runs", &[], &run(who, SHARED, status)).await;
            assert_eq!(
                (status, &stored["input"], &stored["steps"][0]["name"]),
                (200, &json!(who.name), &json!(who.name))
            );
        }
        let (_, results) = self.json(ben, "POST /runs/batch", &[], &json!({"runs": [run(ben, OWN, "success")]})).await;
        assert_eq!(
            (&results["results"][0]["status"], &results["results"][0]["run"]["input"]),
            (&json!(200), &json!("ben"))
        );
        for id in [SHARED, OWN] {
            for who in [ann, ben] {
                assert_eq!(self.run(who, id).await["run"]["input"], who.name, "{id}");
            }
        }
        assert_eq!(self.run(ann, OWN).await["run"]["status"], "running");
        assert!(!self.run(ben, OWN).await.to_string().contains("intruder"));
    }

    async fn lists(&self, ann: &Tenant, ben: &Tenant) {
        let (_, mine) = self.json(ann, "GET /runs", &[], &Value::Null).await;
        let (_, theirs) = self.json(ben, "GET /runs", &[], &Value::Null).await;
        let ids = |page: &Value| -> BTreeSet<String> {
            page["items"].as_array().unwrap().iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect()
        };
        let (first, second) = (run_id(0), run_id(1));
        assert_eq!(ids(&mine), [SHARED, OWN, &first, &second].map(str::to_owned).into());
        assert_eq!(ids(&theirs), [SHARED, OWN, &first].map(str::to_owned).into());
        let native = |page: &Value, name: &str| {
            let runs = page["items"].as_array().unwrap().iter().filter(|run| run["source"] == "native");
            runs.clone().count() == 2 && runs.clone().all(|run| run["input"] == name)
        };
        assert!(native(&mine, "ann") && native(&theirs, "ben"), "{mine:#} {theirs:#}");
    }

    async fn keys(&self, ann: &Tenant, ben: &Tenant) {
        let none = Value::Null;
        let (_, before) = self.json(ann, "GET /keys/{id}", &[&ann.key_id], &none).await;
        let unknown = "abcdefgh";
        for (endpoint, body) in [
            ("GET /keys/{id}", none.clone()),
            ("PATCH /keys/{id}", json!({"name": "stolen"})),
            ("DELETE /keys/{id}", none.clone()),
            ("POST /keys/{id}/rotate", json!({})),
        ] {
            self.assert_foreign_is_unknown(ben, endpoint, &ann.key_id, unknown, &body).await;
        }
        let (_, after) = self.json(ann, "GET /keys/{id}", &[&ann.key_id], &none).await;
        assert_eq!(after, before);
        // A project is nobody's to choose.
        let (status, _) = self.json(ben, "POST /keys", &[], &json!({"project": "ann"})).await;
        assert_eq!(status, 422);
        let (_, made) = self.json(ben, "POST /keys", &[], &json!({})).await;
        assert_eq!(made["project"], "ben");
        for who in [ann, ben] {
            let (_, listed) = self.json(who, "GET /keys", &[], &none).await;
            let items = listed["items"].as_array().unwrap();
            assert!(!items.is_empty() && items.iter().all(|key| key["project"] == who.name), "{listed:#}");
        }
    }

    /// What both sent by now is told to each of them alone, and so is what was refused of it.
    async fn receipts(&self, ann: &Tenant, ben: &Tenant) {
        let none = Value::Null;
        // With the right key and a body that nobody can read.
        self.ask(ann, "POST /v1/traces", &[], PROTOBUF, &[0xff]).await;
        let of = async |who: &Tenant| self.json(who, "GET /receipts", &[], &none).await;
        let end = Instant::now() + PATIENCE;
        while !of(ann).await.1["refused"].to_string().contains("malformed") {
            assert!(Instant::now() < end, "the refusal is not told to its owner: {:#}", of(ann).await.1);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for (who, other) in [(ann, ben), (ben, ann)] {
            let (status, told) = of(who).await;
            let items = told["items"].as_array().unwrap();
            assert_eq!((status, items.is_empty()), (200, false), "{told:#}");
            assert!(items.iter().all(|item| item["key_id"] == who.key_id.as_str()), "{told:#}");
            assert!(!told.to_string().contains(&other.key_id), "{told:#}");
        }
        assert!(!of(ben).await.1["refused"].to_string().contains("malformed"));
        // Asked for by name: the same as of a key that is nobody's.
        for id in [&ann.key_id, "abcdefgh"] {
            let path = format!("/receipts?key_id={id}");
            let answer = ask(self.collector.http, "GET", &path, &[("authorization", &ben.bearer)], b"").await;
            let told: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&told["items"], &told["refused"]), (&json!([]), &json!([])), "{told:#}");
        }
        let letter = dead_letter(self.url, ann).await;
        let (_, mine) = self.json(ann, "GET /receipts/dead-letters", &[], &none).await;
        assert_eq!(mine["items"].as_array().unwrap().len(), 1, "{mine:#}");
        assert_eq!(self.json(ann, "GET /receipts/dead-letters/{id}", &[&letter], &none).await.0, 200);
        let (status, theirs) = self.json(ben, "GET /receipts/dead-letters", &[], &none).await;
        assert_eq!((status, &theirs["items"]), (200, &json!([])), "{theirs:#}");
        self.assert_foreign_is_unknown(ben, "GET /receipts/dead-letters/{id}", &letter, UNKNOWN, &none).await;
    }

    async fn public(&self, tenants: &[&Tenant]) {
        for endpoint in PUBLIC {
            let answer = self.ask(tenants[0], endpoint, &[], JSON, b"").await;
            let said = answer.text();
            for who in tenants {
                assert!(!said.contains(who.name) && !said.contains(&who.key_id), "{endpoint}: {said}");
            }
            assert!(!said.contains(SHARED) && !said.contains(OWN), "{endpoint}: {said}");
        }
    }
}

/// Writes what a database that refuses data would leave behind; its id.
async fn dead_letter(url: &str, owner: &Tenant) -> String {
    let store = Database::at(url).store(Tuning::default()).await;
    let project = store.project_named(owner.name).await.unwrap().unwrap();
    let (id, now) = (Uuid::now_v7(), Utc::now());
    let letter = DeadLetter {
        id,
        received_at: now,
        signal: "traces",
        place: "step 0a".into(),
        reason: "refused".into(),
        code: "23514".into(),
        run_id: None,
        step_id: None,
        content: b"{}".to_vec(),
    };
    let mut rejections = Rejections::default();
    rejections.add("database", || ("step 0a".into(), "refused".into()));
    let receipt =
        Receipt { key_id: owner.key_id.clone(), rejections, dead_letters: vec![letter], ..Receipt::default() };
    let batch =
        Batch { project, received_at: now, origins: vec![], steps: vec![], logs: vec![], native: None, receipt };
    store.writer().await.unwrap().write(&[&batch], &LIFE, now).await.unwrap();
    id.to_string()
}

/// The headers that two equal answers have in common: not those that count requests and time.
fn lasting(headers: &HeaderMap) -> Vec<(String, String)> {
    let lasts = |name: &str| !["x-request-id", "date", "ratelimit"].contains(&name);
    let mut kept: Vec<_> = headers
        .iter()
        .filter(|(name, _)| lasts(name.as_str()))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    kept.sort();
    kept
}

fn encoded_records(request: &impl prost::Message) -> Vec<u8> {
    request.encode_to_vec()
}

/// `METHOD /path` of every route in the sources. Services of gRPC itself (health, reflection) know no tenants and take no
/// route of this kind.
fn endpoints() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in sources::below("src") {
        let code = fs::read_to_string(&path).unwrap();
        assert!(!code.contains(".nest(") && !code.contains(".nest_service("), "{}: not read here", path.display());
        let services = code.matches(".route_service(").count();
        assert!(services == 0 || path.ends_with("receiver/grpc_services.rs"), "{}: not read here", path.display());
        for (at, _) in code.match_indices(".route(") {
            let (place, rest) = argument(&code[at + ".route(".len()..]);
            let methods = argument(rest).0;
            for place in places(place) {
                found.extend(methods_in(methods).into_iter().map(|method| format!("{method} {place}")));
            }
        }
    }
    found
}

/// The first argument of a call, and what follows its comma.
fn argument(code: &str) -> (&str, &str) {
    let mut depth = 0;
    for (at, c) in code.char_indices() {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return (&code[..at], ""),
            ')' => depth -= 1,
            ',' if depth == 0 => return (&code[..at], &code[at + 1..]),
            _ => {}
        }
    }
    panic!("a call without an end: {code}");
}

/// The paths that a first argument of `route` means.
fn places(argument: &str) -> Vec<String> {
    let argument = argument.trim();
    if let Some(literal) = argument.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        return vec![literal.to_owned()];
    }
    // The loop over the signals of OTLP.
    match argument {
        "method" => [TRACE_SERVICE, LOGS_SERVICE, METRICS_SERVICE].map(str::to_owned).into(),
        "&format!(\"/v1/{name}\")" => ["traces", "logs", "metrics"].map(|name| format!("/v1/{name}")).into(),
        other => panic!("a path that is not read here: {other}"),
    }
}

/// The methods that a router of methods answers, without what it says to others.
fn methods_in(code: &str) -> Vec<&'static str> {
    let is_called = |name: &str| {
        let call = format!("{name}(");
        let mut calls = code.match_indices(&call);
        calls.any(|(at, _)| !code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':'))
    };
    let all = ["get", "post", "put", "patch", "delete", "any"];
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "ANY"];
    let found: Vec<_> = all.iter().zip(methods).filter(|(name, _)| is_called(name)).map(|(_, method)| method).collect();
    assert!(!found.is_empty(), "no method is read from {code}");
    found
}
