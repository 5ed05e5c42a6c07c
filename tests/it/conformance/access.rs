//! Keys and headers, health and what a request may hold besides: OTLP-64 to OTLP-72, 74 and 78 to 80.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use tonic::Code;

use super::client::{
    Http1, JSON, LOGS_SERVICE, METRICS_SERVICE, PROTOBUF, TRACE_SERVICE, TRACES, UNKNOWN_KEY, ask, call, export,
    framed, gzip, head_bytes, post, post_with, request_bytes, runs_stored,
};
use super::http2::{END_HEADERS, END_STREAM, HEADERS, Http2, grpc_block};
use super::trouble::Wire;
use crate::collector::{Collector, OWN_FILE, PATIENCE};
use crate::database::{Database, on_both_stores};
use crate::spans::{agent_trace, encoded, run_id};

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

#[tokio::test]
async fn otlp_64_every_path_asks_for_a_key_before_the_body() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let paths = [
        "/v1/traces",
        "/v1/logs",
        "/v1/metrics",
        "/otlp/v1/traces",
        "/otel/v1/logs",
        "/api/public/otel/v1/traces",
        "/v1/private/otel/v1/metrics",
        "/v1/traces/",
        "/runs",
        "/runs/",
        "/runs/batch",
        "/runs/00000000-0000-4000-8000-000000000000/steps",
    ];
    for port in [collector.http, collector.grpc] {
        for path in paths {
            let head = head_bytes("POST", path, &[("content-type", JSON)], Some(1000));
            let answer = Http1::connect(port).await.ask(&head).await;
            assert_eq!(answer.status, 401, "{path}, with its body withheld");
        }
        for method in [TRACE_SERVICE, LOGS_SERVICE, METRICS_SERVICE] {
            let mut http2 = Http2::connect(port).await;
            http2.send(HEADERS, END_HEADERS, 1, &grpc_block(method, &[])).await.unwrap();
            http2.read_until(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0).await;
            let answer = call(port, method, &[], framed(0, b"")).await;
            assert_eq!(answer.code(), Code::Unauthenticated as i32, "{method}");
        }
    }
}

async fn otlp_65_wrong_keys_look_the_same_and_missing_rights_do_not(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let revoked = collector.make_key("gone", &[]);
    collector.command(&["keys", "revoke", &revoked[4..12]]);
    let mut altered = collector.key.clone();
    altered.replace_range(20..21, if &altered[20..21] == "x" { "y" } else { "x" });
    let reads = format!("Bearer {}", collector.make_key("reads", &["--scope", "read"]));
    let wrong = [UNKNOWN_KEY, &revoked, &altered, "nonsense"];
    let (mut said, mut said_by_grpc) = (BTreeSet::new(), BTreeSet::new());
    for key in wrong {
        let bearer = format!("Bearer {key}");
        let headers = [("content-type", JSON), ("authorization", bearer.as_str())];
        let metadata = [("authorization", bearer.as_str())];
        let answer = ask(collector.http, "POST", TRACES, &headers, b"{}").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
        said.insert(answer.body);
        let answer = call(collector.grpc, TRACE_SERVICE, &metadata, framed(0, b"")).await;
        assert_eq!(answer.code(), Code::Unauthenticated as i32);
        said_by_grpc.insert(answer.message());
    }
    assert_eq!((said.len(), said_by_grpc.len()), (1, 1), "{said:?} {said_by_grpc:?}");
    // No key at all has the same codes; its text tells how to send one.
    let answer = ask(collector.http, "POST", TRACES, &[("content-type", JSON)], b"{}").await;
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"));
    assert!(answer.rpc_status().message.contains("Authorization: Bearer"), "{answer:?}");
    let answer = call(collector.grpc, TRACE_SERVICE, &[], framed(0, b"")).await;
    assert_eq!(answer.code(), Code::Unauthenticated as i32);
    let headers = [("content-type", JSON), ("authorization", reads.as_str())];
    let answer = ask(collector.http, "POST", TRACES, &headers, b"{}").await;
    assert_eq!((answer.status, answer.has("www-authenticate")), (403, false));
    let answer = call(collector.grpc, TRACE_SERVICE, &headers[1..], framed(0, b"")).await;
    assert_eq!(answer.code(), Code::PermissionDenied as i32);
}
on_both_stores!(otlp_65_wrong_keys_look_the_same_and_missing_rights_do_not);

#[tokio::test(flavor = "multi_thread")]
async fn otlp_66_a_key_store_that_is_away_is_503() {
    let database = Database::postgres().await;
    let (wire, url) = Wire::around(&database.url).await;
    let collector = Collector::start(&url, &[("VECTOROS_INGEST__HOLD", "500ms")]).await;
    let new = format!("Bearer {}", collector.make_key("default", &[]));
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    wire.cut();
    let headers = [("authorization", new.as_str()), ("content-type", PROTOBUF)];
    let answer = ask(collector.http, "POST", TRACES, &headers, &encoded(agent_trace(1))).await;
    assert_eq!((answer.status, answer.rpc_status().code), (503, Code::Unavailable as i32));
    assert!(answer.has("retry-after"));
    let answer = call(collector.grpc, TRACE_SERVICE, &headers[..1], framed(0, &encoded(agent_trace(1)))).await;
    assert_eq!(answer.code(), Code::Unavailable as i32);
    // A key that is known goes on, up to the database.
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(2))).await.status, 503);
    // What is no key needs no store to be told.
    let answer = ask(collector.http, "POST", TRACES, &[("authorization", "Bearer nonsense")], b"").await;
    assert_eq!(answer.status, 401);
    wire.mend();
    let end = Instant::now() + PATIENCE;
    while ask(collector.http, "POST", TRACES, &headers, &encoded(agent_trace(1))).await.status != 200 {
        assert!(Instant::now() < end, "{}", collector.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// `name: value` pairs over both protocols; true when the request was let in, which both must say alike.
async fn is_let_in(collector: &Collector, pairs: &[(&str, &str)]) -> bool {
    let headers: Vec<_> = pairs.iter().copied().chain([("content-type", JSON)]).collect();
    let http = ask(collector.http, "POST", TRACES, &headers, b"{}").await.status;
    let grpc = call(collector.grpc, TRACE_SERVICE, pairs, framed(0, b"")).await.code();
    match (http, grpc) {
        (200, 0) => true,
        (401, 16) => false,
        other => panic!("{pairs:?}: {other:?}"),
    }
}

#[tokio::test]
async fn otlp_67_keys_are_taken_where_tools_put_them_and_must_agree() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let key = collector.key.as_str();
    let other = collector.make_key("other", &[]);
    let basic = |text: String| format!("Basic {}", BASE64_STANDARD.encode(text));
    let carriers = [
        ("authorization", format!("Bearer {key}")),
        ("authorization", basic(format!("anything:{key}"))),
        ("authorization", basic(format!("{key}:"))),
        ("authorization", key.to_owned()),
        ("authorization", format!("ApiKey {key}")),
        ("x-api-key", key.to_owned()),
        ("api-key", key.to_owned()),
        ("api_key", key.to_owned()),
    ];
    for (name, value) in &carriers {
        assert!(is_let_in(&collector, &[(name, value)]).await, "{name}: {value}");
        for second in ["x-api-key", "api-key"].into_iter().filter(|second| second != name) {
            assert!(is_let_in(&collector, &[(name, value), (second, key)]).await, "{name} and {second} agree");
            for foreign in [other.as_str(), "nonsense"] {
                let is_in = is_let_in(&collector, &[(name, value), (second, foreign)]).await;
                assert!(!is_in, "{name} and {second} disagree");
            }
        }
    }
    let twice = [("authorization", format!("Bearer {key}")), ("authorization", format!("Bearer {other}"))];
    assert!(!is_let_in(&collector, &[(twice[0].0, &twice[0].1), (twice[1].0, &twice[1].1)]).await);
}

#[tokio::test]
async fn otlp_68_schemes_in_any_case_and_still_encoded_values_are_read() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let key = collector.key.as_str();
    let basic = BASE64_STANDARD.encode(format!("a:{key}"));
    for value in [
        format!("bearer   {key}"),
        format!("BEARER {key}"),
        format!("Bearer%20{key}"),
        format!("Bearer%20%20{key}"),
        format!("bearer\t{key}"),
        format!("basic {basic}"),
        format!("Basic%20{}", basic.replace('=', "%3D")),
        format!("apikey {key}"),
    ] {
        assert!(is_let_in(&collector, &[("authorization", &value)]).await, "{value}");
    }
    assert!(!is_let_in(&collector, &[("authorization", &format!("Digest {key}"))]).await);
}

/// Every place in our texts where a header or a metadata key is set for an exporter.
#[test]
fn otlp_69_documentation_shows_metadata_keys_in_lower_case() {
    let mut shown = 0;
    let mut folders = vec![std::path::PathBuf::from("docs"), "examples".into(), "config".into()];
    let mut texts = vec![std::path::PathBuf::from("README.md"), "src/auth/mod.rs".into(), "src/cli/serve.rs".into()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_text =
                path.extension().is_some_and(|end| ["md", "toml", "yaml", "py", "sh"].iter().any(|e| end == *e));
            match path.is_dir() {
                true => folders.push(path),
                false if is_text => texts.push(path),
                false => {}
            }
        }
    }
    for path in texts {
        let text = std::fs::read_to_string(&path).unwrap();
        for after in text.split("OTLP_HEADERS=").skip(1) {
            let name = after.trim_start_matches(['"', '\'']).split(['=', ':', ' ', '\n']).next().unwrap();
            assert_eq!(name, name.to_ascii_lowercase(), "{}", path.display());
            shown += usize::from(name == "authorization");
        }
        for line in text.lines().filter(|line| line.contains("insert_metadata") || line.contains("with_metadata")) {
            assert!(!line.contains("\"Authorization"), "{}: {line}", path.display());
        }
    }
    assert!(shown >= 2, "the README and the program show how");
}

#[tokio::test]
async fn otlp_70_keys_survive_the_parsers_of_every_sdk() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    for _ in 0..20 {
        let key = collector.make_key("default", &[]);
        assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{key}");
        for (sdk, read) in SDK_PARSERS {
            // As it is printed at the first start, and as it is typed by people.
            for variable in
                [format!("authorization=Bearer%20{key}"), format!("x-api-key={key}"), format!("a=b,api-key={key}")]
            {
                let (_, value) = read(&variable).pop().unwrap_or_else(|| panic!("{sdk} reads nothing"));
                let value = value.trim_start_matches("Bearer%20").trim_start_matches("Bearer ");
                assert_eq!(value, key, "{sdk}: {variable}");
            }
        }
    }
    // The parsers do damage what is not of the alphabet, or this test would show nothing.
    let damaged =
        |key: &str| SDK_PARSERS.iter().any(|(_, read)| read(&format!("k={key}")) != [("k".into(), key.into())]);
    for key in ["a+b", "a;b", "a,b", "a%41b", "a=b"] {
        assert!(damaged(key), "{key}");
    }
}

type Parser = fn(&str) -> Vec<(String, String)>;

/// What the SDKs make of `OTEL_EXPORTER_OTLP_HEADERS`, as far as it can change a key.
const SDK_PARSERS: [(&str, Parser); 5] = [
    ("Python", |text| pairs(text, Some(';'), true, percent)),
    ("JavaScript", |text| pairs(text, Some(';'), false, percent)),
    ("Go", |text| pairs(text, None, true, percent)),
    ("Java", |text| pairs(text, None, false, |value| percent(&value.replace('+', " ")))),
    (".NET", |text| pairs(text, None, false, percent)),
];

/// Splits at commas, then at the first or, where `is_strict`, at the only equals sign; `property` ends a value.
fn pairs(text: &str, property: Option<char>, is_strict: bool, read: fn(&str) -> String) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (name, value) = part.split_once('=')?;
        if is_strict && value.contains('=') {
            return None;
        }
        let value = property.and_then(|end| value.split(end).next()).unwrap_or(value);
        Some((name.trim().to_ascii_lowercase(), read(value.trim())))
    };
    text.split(',').filter_map(pair).collect()
}

fn percent(value: &str) -> String {
    percent_encoding::percent_decode_str(value).decode_utf8_lossy().into_owned()
}

async fn otlp_71_headers_that_name_a_project_neither_route_nor_reveal(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let foreign = collector.make_key("foreign", &[]);
    let names = ["x-project", "langsmith-project", "x-bt-parent", "x-phoenix-project-name"];
    let mut answers = BTreeSet::new();
    for (number, name) in names.iter().enumerate() {
        for (half, project) in ["foreign", "nobody-has-this"].iter().enumerate() {
            let number = (number * 2 + half) as u64;
            let answer =
                post_with(&collector, TRACES, PROTOBUF, &[(name, project)], &encoded(agent_trace(number))).await;
            answers.insert((answer.status, answer.body));
        }
    }
    assert_eq!(answers, BTreeSet::from([(200, vec![])]), "one answer, whether there is such a project or not");
    assert_eq!(runs_stored(&collector).await, 2 * names.len(), "all in the key's own project");
    assert_eq!(collector.get_with(&foreign, "/runs").await.1["items"], json!([]));
}
on_both_stores!(otlp_71_headers_that_name_a_project_neither_route_nor_reveal);

#[tokio::test]
async fn otlp_72_a_key_in_the_url_is_refused_with_a_hint_and_not_logged() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_LOG__LEVEL", "trace")]).await;
    let key = collector.key.clone();
    for name in ["api_key", "API_KEY", "api-key", "apikey", "key", "token", "access_token"] {
        let path = format!("/v1/traces?{name}={key}");
        let answer = ask(collector.http, "POST", &path, &[("content-type", JSON)], b"{}").await;
        assert_eq!(answer.status, 401, "{name}");
        let message = answer.rpc_status().message;
        assert!(message.contains("header") && !message.contains(&key), "{name}: {message}");
    }
    assert_eq!(post(&collector, "/v1/traces?tenant=1", JSON, b"{}").await.status, 200, "other words are no keys");
    assert!(!collector.log().contains(&key[13..45]), "no secret in the log");
}

async fn otlp_74_a_key_that_only_writes_cannot_read(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let writes = collector.make_key("default", &["--scope", "ingest"]);
    let bearer = format!("Bearer {writes}");
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    assert_eq!(ask(collector.http, "POST", TRACES, &headers, &encoded(agent_trace(0))).await.status, 200);
    for path in ["/runs".to_owned(), format!("/runs/{}", run_id(0)), format!("/runs/{}", run_id(9))] {
        assert_eq!(collector.get_with(&writes, &path).await.0, 403, "{path}");
    }
    assert_eq!(runs_stored(&collector).await, 1);
}
on_both_stores!(otlp_74_a_key_that_only_writes_cannot_read);

#[tokio::test(flavor = "multi_thread")]
async fn otlp_78_health_is_told_without_a_key_and_follows_the_database() {
    let database = Database::postgres().await;
    let (wire, url) = Wire::around(&database.url).await;
    let collector = Collector::start(&url, &[]).await;
    // HealthCheckResponse { status: SERVING = 1, NOT_SERVING = 2 }
    let health = async |service: &str| {
        let mut check = vec![0x0a, service.len() as u8];
        check.extend_from_slice(service.as_bytes());
        let answer = call(collector.grpc, HEALTH, &[], framed(0, if service.is_empty() { b"" } else { &check })).await;
        (answer.code(), answer.body)
    };
    let get = async |path: &str| ask(collector.http, "GET", path, &[], b"").await.status;
    let serving = (0, framed(0, &[0x08, 1]));
    assert_eq!((get("/healthz").await, get("/readyz").await), (200, 200));
    assert_eq!(health("").await, serving);
    assert_eq!(health("opentelemetry.proto.collector.trace.v1.TraceService").await, serving);
    assert_eq!(health("nobody.Service").await.0, Code::NotFound as i32);
    wire.cut();
    assert_eq!((get("/healthz").await, get("/readyz").await), (200, 503));
    let end = Instant::now() + PATIENCE;
    while health("").await != (0, framed(0, &[0x08, 2])) {
        assert!(Instant::now() < end, "{}", collector.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    wire.mend();
    while get("/readyz").await != 200 || health("").await != serving {
        assert!(Instant::now() < end, "{}", collector.log());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn otlp_78_reflection_is_off_unless_it_is_wanted() {
    // ServerReflectionRequest { list_services: "" }
    let list = framed(0, &[0x3a, 0]);
    let collector = Collector::start(OWN_FILE, &[]).await;
    assert_eq!(call(collector.grpc, REFLECTION, &[], list.clone()).await.code(), Code::Unimplemented as i32);
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__REFLECTION", "true")]).await;
    let answer = call(collector.grpc, REFLECTION, &[], list).await;
    assert_eq!(answer.code(), 0, "{answer:?}");
    let listed = String::from_utf8_lossy(&answer.body).into_owned();
    for service in ["trace.v1.TraceService", "logs.v1.LogsService", "metrics.v1.MetricsService"] {
        assert!(listed.contains(service), "{service} is not in {listed:?}");
    }
}

#[tokio::test]
async fn otlp_79_expect_chunks_and_odd_header_bytes_are_handled() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    let body = encoded(agent_trace(0));
    // Leave to send is given, and asked for by nobody who sends at once.
    let mut connection = Http1::connect(collector.http).await;
    let expecting: Vec<_> = headers.into_iter().chain([("expect", "100-continue")]).collect();
    connection.send(&head_bytes("POST", TRACES, &expecting, Some(body.len() as u64))).await;
    assert_eq!(connection.answer().await.status, 100);
    assert_eq!(connection.ask(&body).await.status, 200);
    // In chunks, compressed, as the JavaScript exporter sends.
    let chunked: Vec<_> =
        headers.into_iter().chain([("transfer-encoding", "chunked"), ("content-encoding", "gzip")]).collect();
    let mut sent = head_bytes("POST", TRACES, &chunked, None);
    for chunk in gzip(&encoded(agent_trace(1))).chunks(100) {
        sent.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        sent.extend_from_slice(chunk);
        sent.extend_from_slice(b"\r\n");
    }
    sent.extend_from_slice(b"0\r\n\r\n");
    assert_eq!(connection.ask(&sent).await.status, 200);
    // Bytes beyond ASCII in a header that nobody asked for, and in the one with the key.
    let odd = |name: &str| {
        let request = request_bytes("POST", TRACES, &[headers[0], headers[1], (name, "OBS")], &encoded(agent_trace(2)));
        let at = request.windows(3).position(|bytes| bytes == b"OBS").unwrap();
        [&request[..at], b"caf\xe9 \xff", &request[at + 3..]].concat()
    };
    for name in ["user-agent", "x-anything", "traceparent", "accept-encoding", "x-request-id"] {
        assert_eq!(Http1::connect(collector.http).await.ask(&odd(name)).await.status, 200, "{name}");
    }
    assert_eq!(Http1::connect(collector.http).await.ask(&odd("content-encoding")).await.status, 415);
    let request = request_bytes("POST", TRACES, &[headers[1], ("x-api-key", "OBS")], b"");
    let at = request.windows(3).position(|bytes| bytes == b"OBS").unwrap();
    let request = [&request[..at], collector.key.as_bytes(), b"\xff", &request[at + 3..]].concat();
    assert_eq!(Http1::connect(collector.http).await.ask(&request).await.status, 401);
    assert_eq!(runs_stored(&collector).await, 3);
}

async fn otlp_80_the_collector_makes_no_traces_of_its_own_work(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_LOG__LEVEL", "trace,sqlx=warn")]).await;
    let bearer = format!("Bearer {}", collector.key);
    // The caller's own trace context decides nothing: not whether it is kept, not where it belongs.
    let contexts = ["00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "00-garbage", ""];
    for (number, context) in (0..6).zip(contexts.iter().cycle()) {
        let more = [("traceparent", *context), ("tracestate", "a=b"), ("baggage", "k=v")];
        let answer = post_with(&collector, TRACES, PROTOBUF, &more, &encoded(agent_trace(number))).await;
        assert_eq!(answer.status, 200);
        assert!(!answer.has("traceparent") && !answer.has("tracestate"), "{answer:?}");
        let metadata = [("authorization", bearer.as_str()), ("traceparent", contexts[0])];
        let message = framed(0, &encoded(agent_trace(number)));
        assert_eq!(call(collector.grpc, TRACE_SERVICE, &metadata, message).await.code(), 0);
    }
    assert_eq!(export(&collector, TRACE_SERVICE, b"").await.code(), 0);
    let (_, page) = collector.get("/runs?limit=100").await;
    let runs = page["items"].as_array().unwrap();
    assert_eq!(runs.len(), 6, "{page:#}");
    assert!(runs.iter().all(|run| run["step_count"] == 3), "{page:#}");
}
on_both_stores!(otlp_80_the_collector_makes_no_traces_of_its_own_work);
