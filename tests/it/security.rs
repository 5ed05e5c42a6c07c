//! What must never leave by the wrong door: keys and payloads in the log, clients' bytes in headers of answers.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use serde_json::json;
use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};
use tonic::Request;

use crate::collector::Collector;
use crate::database::on_both_stores;
use crate::otlp::{PROTOBUF, with_key};
use crate::spans::{START_NS, agent_trace, request, text, trace_id};

/// In everything that a client sends and nobody else needs to know.
const PLANTED: &str = "pL4nT3dM4rk3r";
const JSON: &str = "application/json";

/// From now on the database refuses planted steps, and says with which value.
async fn refuse_aloud(url: &str) {
    if url.starts_with("postgres") {
        let aloud = format!(
            "CREATE FUNCTION aloud() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
             RAISE EXCEPTION 'refused %', NEW.name USING ERRCODE = '23514', DETAIL = NEW.name, HINT = NEW.name; END $$; \
             CREATE TRIGGER aloud BEFORE INSERT ON steps FOR EACH ROW WHEN (NEW.name LIKE '%{PLANTED}%') \
             EXECUTE FUNCTION aloud()"
        );
        let mut connection = PgConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(aloud)).execute(&mut connection).await.unwrap();
    } else {
        let aloud = format!(
            "CREATE TRIGGER aloud BEFORE INSERT ON steps WHEN NEW.name LIKE '%{PLANTED}%' \
             BEGIN SELECT RAISE(ABORT, 'refused {PLANTED}'); END"
        );
        let mut connection = SqliteConnection::connect(url).await.unwrap();
        sqlx::raw_sql(AssertSqlSafe(aloud)).execute(&mut connection).await.unwrap();
    }
}

/// Spans with the marker wherever text may stand, of which one is invalid.
fn planted_trace(number: u64) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
    let mut spans = agent_trace(number);
    for span in &mut spans {
        span.name = format!("{PLANTED} {}", span.name);
        span.attributes.push(text(PLANTED, PLANTED));
        span.attributes.push(text("gen_ai.input.messages", &format!("not JSON: {PLANTED}")));
        span.trace_state = format!("a={PLANTED}");
    }
    let mut bad = spans[0].clone();
    bad.span_id = PLANTED.into();
    spans.push(bad);
    spans
}

/// Everything a client can send, good and bad, with `key` and with none that is taken.
async fn send_everything(collector: &Collector, key: &str, from: u64) -> usize {
    let mut refused = 0;
    let wrong = format!("vos_abcdefgh_{PLANTED}{PLANTED}abcdef_000000");
    let bodies: [(&str, &str, Vec<u8>); 8] = [
        ("/v1/traces", PROTOBUF, request(planted_trace(from)).encode_to_vec()),
        ("/v1/traces", JSON, serde_json::to_vec(&request(planted_trace(from + 1))).unwrap()),
        ("/v1/traces", PROTOBUF, format!("\x0a\x7f{PLANTED}").into_bytes()),
        ("/v1/traces", JSON, format!("{{\"resourceSpans\": \"{PLANTED}\"}}").into_bytes()),
        (
            "/v1/logs",
            JSON,
            json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [
            {"timeUnixNano": START_NS.to_string(), "body": {"stringValue": PLANTED}, "traceId": PLANTED}]}]}]})
            .to_string()
            .into_bytes(),
        ),
        (
            "/runs",
            JSON,
            json!({"model": PLANTED, "input": PLANTED, "output": PLANTED, "status": "success",
            "steps": [{"type": PLANTED, "name": PLANTED}]})
            .to_string()
            .into_bytes(),
        ),
        ("/runs", JSON, json!({PLANTED: PLANTED}).to_string().into_bytes()),
        ("/runs", JSON, format!("{{\"model\": {PLANTED}").into_bytes()),
    ];
    for (path, content_type, body) in bodies {
        for key in [key, &wrong, PLANTED] {
            let url = collector.url(&format!("{path}?api_key={PLANTED}"));
            let post = collector.client().post(url).header("content-type", content_type).bearer_auth(key);
            let post = post.header("x-planted", PLANTED).header("cookie", format!("session={PLANTED}"));
            refused += usize::from(!post.body(body.clone()).send().await.unwrap().status().is_success());
        }
    }
    let mut grpc = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    grpc.export(with_key(request(planted_trace(from + 2)), key)).await.unwrap();
    grpc.export(with_key(request(planted_trace(from + 3)), &wrong)).await.unwrap_err();
    for path in [format!("/runs?model={PLANTED}&{PLANTED}=1"), format!("/runs/{PLANTED}"), format!("/{PLANTED}")] {
        let answer = collector.client().get(collector.url(&path)).bearer_auth(key).send().await.unwrap();
        refused += usize::from(!answer.status().is_success());
    }
    refused
}

async fn keys_and_payloads_never_reach_the_log(url: &str) {
    // The database's own statements apart, everything that the program can say of what it does.
    let mut collector = Collector::start(url, &[("VECTOROS_LOG__LEVEL", "debug,sqlx=warn")]).await;
    let key = collector.make_key("default", &[]);
    let refused = send_everything(&collector, &key, 0).await;
    assert!(refused > 16, "only {refused} requests were refused");
    refuse_aloud(url).await;
    send_everything(&collector, &key, 10).await;
    let (_, receipts) = collector.get("/receipts").await;
    assert!(receipts.to_string().contains("database"), "the database refused something: {receipts}");
    assert!(collector.stop().success());

    let log = collector.log();
    assert!(log.contains("refused the data"), "what is looked through tells of it: {log}");
    // The first key is printed for its owner, on standard output.
    for secret in [PLANTED, &key[13..45], &collector.key[13..45]] {
        let line = log.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret} stands in the log");
    }
}
on_both_stores!(keys_and_payloads_never_reach_the_log);

#[tokio::test]
async fn the_password_of_the_database_never_reaches_the_log() {
    let url = format!("postgres://somebody:{PLANTED}@127.0.0.1:1/nowhere");
    let collector = Collector::launch(&url, &[("VECTOROS_LOG__LEVEL", "debug")]);
    let end = std::time::Instant::now() + crate::collector::PATIENCE;
    while !collector.log().contains("waiting for the database") {
        assert!(std::time::Instant::now() < end, "{}", collector.log());
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let why = collector.client().get(collector.url("/readyz")).send().await.unwrap();
    assert_eq!(why.status(), 503);
    assert!(!why.text().await.unwrap().contains(PLANTED) && !collector.log().contains(PLANTED));
}

/// An answer's header that repeats what a client sent can be used to end the header and begin another.
#[tokio::test]
async fn no_answer_repeats_a_clients_bytes_in_a_header() {
    let collector = Collector::start(crate::collector::OWN_FILE, &[]).await;
    let body = request(planted_trace(0)).encode_to_vec();
    let mut seen = 0;
    for method in ["GET", "POST", "PUT", "OPTIONS", "DELETE", "PATCH"] {
        for path in ["/v1/traces", "/v1/logs", "/runs", "/keys", "/receipts", "/readyz", "/metrics", "/elsewhere"] {
            for key in [collector.key.as_str(), PLANTED] {
                let method = method.parse().unwrap();
                let ask = collector.client().request(method, collector.url(&format!("{path}?{PLANTED}={PLANTED}")));
                let mut ask = ask.bearer_auth(key).header("content-type", PROTOBUF).body(body.clone());
                for name in ["origin", "x-request-id", "traceparent", "x-forwarded-host", "accept", "idempotency-key"] {
                    ask = ask.header(name, format!("https://{PLANTED}"));
                }
                let answer = ask.send().await.unwrap();
                for (name, value) in answer.headers() {
                    let value = String::from_utf8_lossy(value.as_bytes());
                    assert!(!value.contains(PLANTED), "{path}: {name}: {value}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 200, "only {seen} headers were seen");

    let mut grpc = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let mut call = Request::new(request(planted_trace(1)));
    call.metadata_mut().insert("x-planted", PLANTED.parse().unwrap());
    let refused = grpc.export(call).await.unwrap_err();
    assert!(!format!("{:?} {}", refused.metadata(), refused.message()).contains(PLANTED), "{refused:?}");
}

#[tokio::test]
async fn nobody_is_let_in_without_a_key_wherever_it_listens() {
    let collector = Collector::start(crate::collector::OWN_FILE, &[]).await;
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics", "/runs"] {
        let ask = collector.client().post(collector.url(path)).header("content-type", JSON).body("{}");
        assert_eq!(ask.send().await.unwrap().status(), 401, "{path}");
    }
    for path in ["/runs".into(), format!("/runs/{}", uuid::Uuid::from_slice(&trace_id(0)).unwrap()), "/keys".into()] {
        assert_eq!(collector.client().get(collector.url(&path)).send().await.unwrap().status(), 401, "{path}");
    }
    let mut grpc = TraceServiceClient::connect(format!("http://{}", collector.grpc)).await.unwrap();
    let refused = grpc.export(request(agent_trace(0))).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unauthenticated);
}
