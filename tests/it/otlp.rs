//! OTLP over sockets, as exporters speak it: every transport, every answer.

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use prost::Message;
use serde_json::{Value, json};
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::collector::Collector;
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, request, run_id, span_id, trace_id};

pub const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

async fn grpc_client(address: std::net::SocketAddr) -> TraceServiceClient<Channel> {
    TraceServiceClient::connect(format!("http://{address}")).await.unwrap()
}

pub fn with_key<T>(message: T, key: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    request
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The run as a reader sees it, without what names this copy of it or the time of its arrival.
fn comparable(mut detail: Value) -> Value {
    for field in ["run_id", "trace_id", "created_at", "updated_at"] {
        detail["run"].as_object_mut().unwrap().remove(field);
    }
    detail
}

async fn every_transport_gives_the_same_run(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let trace = |number| request(agent_trace(number));
    let json_body = |number| serde_json::to_vec(&trace(number)).unwrap();
    // Each on its own port and on the other one: crossed ports are the commonest mistake.
    assert_eq!(collector.post_otlp(PROTOBUF, trace(0).encode_to_vec()).await, (200, vec![]));
    assert_eq!(collector.post_otlp(JSON, json_body(1)).await, (200, b"{}".to_vec()));
    for (number, address) in [(2, collector.grpc), (3, collector.http)] {
        let answer = grpc_client(address).await.export(with_key(trace(number), &collector.key)).await.unwrap();
        assert_eq!(answer.into_inner(), ExportTraceServiceResponse::default());
    }
    let mut compressing = grpc_client(collector.grpc).await.send_compressed(CompressionEncoding::Gzip);
    compressing.export(with_key(trace(4), &collector.key)).await.unwrap();
    let post = |address| {
        let request = collector.client().post(format!("http://{address}/v1/traces")).bearer_auth(&collector.key);
        request.header("content-type", PROTOBUF)
    };
    let zipped = post(collector.http).header("content-encoding", "gzip").body(gzip(&encoded(agent_trace(5)))).send();
    assert_eq!(zipped.await.unwrap().status(), 200);
    assert_eq!(post(collector.grpc).body(encoded(agent_trace(6))).send().await.unwrap().status(), 200);

    let (_, first) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(first["run"]["tokens"], 15, "{first:#}");
    assert_eq!(first["run"]["model"], "gpt-4o-mini-2024-07-18");
    assert_eq!(first["run"]["input"], "Weather in Paris?");
    assert_eq!(first["run"]["output"], "18 C and sunny.");
    assert_eq!(first["run"]["agent"], "weather_agent");
    assert_eq!(first["run"]["service"], "weather");
    assert_eq!(first["run"]["status"], "success");
    assert_eq!(first["tree"][0]["children"][1]["name"], "get_weather");
    assert_eq!(first["tree"][0]["children"][1]["output"], "18 C and sunny");
    let first_text = comparable(first).to_string();
    for number in 1..=6 {
        let (status, other) = collector.get(&format!("/runs/{}", run_id(number))).await;
        assert_eq!(status, 200, "run {number}");
        let id = |number: u64| run_id(number).replace('-', "");
        assert_eq!(comparable(other).to_string().replace(&id(number), &id(0)), first_text, "run {number}");
    }
}
on_both_stores!(every_transport_gives_the_same_run);

async fn copies_change_nothing(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_RUNS__SETTLE", "0s")]).await;
    collector.post_otlp(PROTOBUF, encoded(agent_trace(0))).await;
    let (_, before) = collector.get(&format!("/runs/{}", run_id(0))).await;
    let mut shuffled = agent_trace(0);
    shuffled.reverse();
    shuffled.extend(agent_trace(0));
    assert_eq!(collector.post_otlp(PROTOBUF, encoded(shuffled)).await, (200, vec![]));
    let (_, after) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(comparable(after), comparable(before));
}
on_both_stores!(copies_change_nothing);

async fn a_bad_span_costs_only_itself(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let mut spans = agent_trace(0);
    for (length, wrong) in [vec![], vec![1; 8], vec![0; 16], vec![1; 17]].into_iter().enumerate() {
        let mut bad = agent_trace(0)[2].clone();
        bad.trace_id = wrong;
        spans.insert(length, bad);
    }
    let mut zero_span_id = agent_trace(0)[1].clone();
    zero_span_id.span_id = vec![0; 8];
    spans.push(zero_span_id);
    let (status, body) = collector.post_otlp(PROTOBUF, encoded(spans.clone())).await;
    let partial = ExportTraceServiceResponse::decode(&body[..]).unwrap().partial_success.unwrap();
    assert_eq!((status, partial.rejected_spans), (200, 5));
    assert!(
        partial.error_message.contains("spans[0]") && partial.error_message.contains("traceId"),
        "{}",
        partial.error_message
    );
    let (_, run) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(run["stats"]["total_steps"], 3, "{run:#}");

    let (status, body) = collector.post_otlp(JSON, serde_json::to_vec(&request(spans)).unwrap()).await;
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((status, &body["partialSuccess"]["rejectedSpans"]), (200, &json!("5")));
}
on_both_stores!(a_bad_span_costs_only_itself);

async fn the_parts_of_a_trace_may_come_in_any_order(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let [agent, call, tool] = agent_trace(0).try_into().unwrap();
    collector.post_otlp(PROTOBUF, encoded(agent_trace(1))).await;
    for part in [tool, call] {
        collector.post_otlp(PROTOBUF, encoded(vec![part])).await;
        let (_, run) = collector.get(&format!("/runs/{}", run_id(0))).await;
        assert_eq!(run["run"]["status"], "running", "its root is still to come: {run:#}");
    }
    collector.post_otlp(PROTOBUF, encoded(vec![agent])).await;
    let (_, pieces) = collector.get(&format!("/runs/{}", run_id(0))).await;
    let (_, whole) = collector.get(&format!("/runs/{}", run_id(1))).await;
    let id = |number: u64| run_id(number).replace('-', "");
    assert_eq!(comparable(pieces).to_string(), comparable(whole).to_string().replace(&id(1), &id(0)));
    let (_, list) = collector.get("/runs").await;
    let row =
        |wanted: &str| list["items"].as_array().unwrap().iter().find(|run| run["run_id"] == wanted).unwrap().clone();
    for field in ["status", "tokens", "model", "input", "output", "step_count", "started_at", "latency"] {
        assert_eq!(row(&run_id(0))[field], row(&run_id(1))[field], "{field}");
    }
}
on_both_stores!(the_parts_of_a_trace_may_come_in_any_order);

async fn a_run_that_dies_becomes_visible_and_ends(url: &str) {
    let limits = [("VECTOROS_RUNS__ORPHAN_IDLE", "300ms"), ("VECTOROS_RUNS__SETTLE", "100ms")];
    let collector = Collector::start(url, &limits).await;
    let orphan = agent_trace(0)[1].clone();
    collector.post_otlp(PROTOBUF, encoded(vec![orphan])).await;
    let list = collector.wait_for("/runs", |list| list["items"][0]["final"] == true).await;
    assert_eq!(list["items"][0]["status"], "success");
    assert_eq!(list["items"][0]["tokens"], 15);
    assert_eq!(list["items"][0]["metadata"]["root_missing"], true);
    // The root was only late.
    collector.post_otlp(PROTOBUF, encoded(vec![agent_trace(0)[0].clone()])).await;
    let (_, run) = collector.get(&format!("/runs/{}", run_id(0))).await;
    assert_eq!(run["run"]["agent"], "weather_agent");
    assert_eq!(run["run"]["metadata"].get("root_missing"), None);
}
on_both_stores!(a_run_that_dies_becomes_visible_and_ends);

async fn an_empty_request_is_a_success(url: &str) {
    let collector = Collector::start(url, &[]).await;
    assert_eq!(collector.post_otlp(PROTOBUF, vec![]).await, (200, vec![]));
    assert_eq!(collector.post_otlp(PROTOBUF, encoded(vec![])).await, (200, vec![]));
    assert_eq!(collector.post_otlp(JSON, b"{}".to_vec()).await, (200, b"{}".to_vec()));
}
on_both_stores!(an_empty_request_is_a_success);

async fn refusals_have_the_right_answer(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_LIMITS__BODY_BYTES", "100KiB")]).await;
    let send = async |key: &str, content_type: &str, encoding: &str, body: Vec<u8>| {
        let mut request =
            collector.client().post(collector.url("/v1/traces")).header("content-type", content_type).body(body);
        if !key.is_empty() {
            request = request.header("authorization", key);
        }
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap();
        let message = match content_type {
            PROTOBUF => tonic_types::pb::Status::decode(&body[..]).unwrap().message,
            _ => serde_json::from_slice::<Value>(&body).unwrap()["message"].as_str().unwrap().to_owned(),
        };
        assert!(!message.is_empty());
        assert!(!headers.contains_key("retry-after"), "{status} is final");
        if status == 401 {
            assert_eq!(headers["www-authenticate"], "Bearer");
        }
        let expected = if content_type == PROTOBUF { PROTOBUF } else { JSON };
        assert_eq!(headers["content-type"], expected, "in the encoding of the request");
        status
    };
    let good = format!("Bearer {}", collector.key);
    let body = || encoded(agent_trace(0));
    for content_type in [PROTOBUF, JSON] {
        assert_eq!(send("", content_type, "", body()).await, 401);
        assert_eq!(send("Bearer wrong", content_type, "", body()).await, 401);
        assert_eq!(
            send("Bearer vos_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_000000", content_type, "", body()).await,
            401
        );
        assert_eq!(send(&good, content_type, "", vec![0xff; 10]).await, 400);
        assert_eq!(send(&good, content_type, "gzip", vec![0xff; 10]).await, 400);
        assert_eq!(send(&good, content_type, "br", body()).await, 415);
        assert_eq!(send(&good, content_type, "", vec![0; 100 * 1024 + 1]).await, 413);
        assert_eq!(send(&good, content_type, "gzip", gzip(&vec![0; 10 << 20])).await, 413, "inflated");
    }
    assert_eq!(send(&good, JSON, "", vec![]).await, 400);
    assert_eq!(send(&good, JSON, "", b"[]".to_vec()).await, 400);
    assert_eq!(send(&good, "text/plain", "", body()).await, 415);
    let get = collector.client().get(collector.url("/v1/traces")).send().await.unwrap();
    assert_eq!((get.status().as_u16(), &get.headers()["allow"]), (405, &"POST, OPTIONS".parse().unwrap()));
    for path in ["/", "/v1development/profiles", "/v2/traces"] {
        let response =
            collector.client().post(collector.url(path)).header("content-type", JSON).body("{}").send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
        assert!(response.text().await.unwrap().contains("message"), "{path}");
    }
    let (_, list) = collector.get("/runs").await;
    assert_eq!(list["items"], json!([]), "nothing of all this was stored");
}
on_both_stores!(refusals_have_the_right_answer);

async fn grpc_refusals_have_the_right_code(url: &str) {
    let collector = Collector::start(url, &[("VECTOROS_LIMITS__BODY_BYTES", "100KiB")]).await;
    let mut client = grpc_client(collector.grpc).await;
    let no_key = client.export(Request::new(request(agent_trace(0)))).await.unwrap_err();
    assert_eq!(no_key.code(), Code::Unauthenticated);
    let wrong = client.export(with_key(request(agent_trace(0)), "wrong")).await.unwrap_err();
    assert_eq!(wrong.code(), Code::Unauthenticated);
    let mut big = agent_trace(0);
    big[0].name = "x".repeat(101 * 1024);
    let too_large = client.export(with_key(request(big), &collector.key)).await.unwrap_err();
    assert_eq!((too_large.code(), too_large.details()), (Code::ResourceExhausted, &[][..]), "without a retry hint");
    let profiles = "/opentelemetry.proto.collector.profiles.v1development.ProfilesService/Export";
    let call = collector.client().post(format!("http://{}{profiles}", collector.grpc));
    let unknown = call.header("content-type", "application/grpc").send().await.unwrap();
    assert_eq!(unknown.headers()["grpc-status"], (Code::Unimplemented as i32).to_string().as_str());
}
on_both_stores!(grpc_refusals_have_the_right_code);

async fn every_form_of_key_is_taken(url: &str) {
    let collector = Collector::start(url, &[("API_KEY", "the-seeds-own-key")]).await;
    let key = collector.key.clone();
    let basic = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, format!("anything:{key}"));
    for (name, value) in [
        ("authorization", format!("Bearer {key}")),
        ("authorization", key.clone()),
        ("authorization", format!("Basic {basic}")),
        ("authorization", format!("Bearer%20{key}")),
        ("x-api-key", key.clone()),
        ("api-key", key.clone()),
        ("api_key", key.clone()),
        ("authorization", "Bearer the-seeds-own-key".into()),
    ] {
        let post =
            collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).header(name, &value);
        assert_eq!(post.send().await.unwrap().status(), 200, "{name}: {value}");
        let mut call = Request::new(request(vec![]));
        call.metadata_mut().insert(name, value.parse().unwrap());
        grpc_client(collector.grpc).await.export(call).await.unwrap();
    }
    assert!(!collector.log().contains(&key[13..45]), "no secret in the log");
}
on_both_stores!(every_form_of_key_is_taken);

async fn a_quota_holds_with_a_hint(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let limited = collector.make_key("small", &["--quota", "steps=3/hour"]);
    let send = async |trace: u64| {
        let post =
            collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).bearer_auth(&limited);
        post.body(encoded(agent_trace(trace))).send().await.unwrap()
    };
    assert_eq!(send(0).await.status(), 200);
    let refused = send(1).await;
    assert_eq!(refused.status(), 503);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=4).contains(&seconds));
    let refused =
        grpc_client(collector.grpc).await.export(with_key(request(agent_trace(1)), &limited)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.metadata().contains_key("google.rpc.retryinfo-bin"), "where the Python exporter looks");
    assert!(!refused.details().is_empty(), "where everybody else looks");
    // Another key is not concerned.
    assert_eq!(collector.post_otlp(PROTOBUF, encoded(agent_trace(2))).await.0, 200);
}
on_both_stores!(a_quota_holds_with_a_hint);

async fn projects_do_not_see_each_other(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let other = collector.make_key("other", &[]);
    collector.post_otlp(PROTOBUF, encoded(agent_trace(0))).await;
    let (status, foreign) = collector.get_with(&other, &format!("/runs/{}", run_id(0))).await;
    let (unknown_status, unknown) = collector.get_with(&other, &format!("/runs/{}", run_id(99))).await;
    assert_eq!((status, &foreign), (404, &json!({"detail": "Run not found"})));
    assert_eq!((unknown_status, unknown), (status, foreign));
    assert_eq!(collector.get_with(&other, "/runs").await.1["items"], json!([]));
    // The same trace id in the other project is a run of its own.
    let mut spans = agent_trace(0);
    spans.truncate(1);
    let post =
        collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).bearer_auth(&other);
    assert_eq!(post.body(encoded(spans)).send().await.unwrap().status(), 200);
    assert_eq!(collector.get_with(&other, &format!("/runs/{}", run_id(0))).await.1["stats"]["total_steps"], 1);
    assert_eq!(collector.get(&format!("/runs/{}", run_id(0))).await.1["stats"]["total_steps"], 3);
}
on_both_stores!(projects_do_not_see_each_other);

async fn what_a_key_may_not_do_is_refused(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let ingest = collector.make_key("default", &["--scope", "ingest"]);
    let read = collector.make_key("default", &["--scope", "read"]);
    assert_eq!(collector.get_with(&ingest, "/runs").await.0, 403);
    assert_eq!(collector.get_with(&read, "/runs").await.0, 200);
    let post = collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).bearer_auth(&read);
    assert_eq!(post.send().await.unwrap().status(), 403);
    let id = &ingest[4..12];
    collector.command(&["keys", "revoke", id]);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let post =
        collector.client().post(collector.url("/v1/traces")).header("content-type", PROTOBUF).bearer_auth(&ingest);
    assert_eq!(post.send().await.unwrap().status(), 401, "within five seconds of its revocation");
}
on_both_stores!(what_a_key_may_not_do_is_refused);

async fn lossless_parts_come_back(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let mut spans = agent_trace(0);
    spans[0].attributes.push(crate::spans::int("big", i64::MAX));
    spans[0].attributes.push(crate::spans::text("nul", "a\0b"));
    spans[0].trace_state = "vendor=1".into();
    collector.post_otlp(PROTOBUF, encoded(spans)).await;
    let (_, run) = collector.get(&format!("/runs/{}", run_id(0))).await;
    let metadata = &run["tree"][0]["metadata"];
    assert_eq!(metadata["attributes"]["big"], json!({"$int": "9223372036854775807"}));
    assert_eq!(metadata["attributes"]["nul"], json!({"$text": "YQBi"}));
    assert_eq!(metadata["attributes"]["gen_ai.agent.name"], "weather_agent");
    assert!(
        metadata["attributes"]["gen_ai.input.messages"].as_str().unwrap().contains("Weather in Paris?"),
        "{metadata:#}"
    );
    assert_eq!(metadata["otel"]["trace_state"], "vendor=1");
    assert_eq!(metadata["resource"]["attributes"]["service.name"], "weather");
    assert_eq!(metadata["scope"]["name"], "test.scope");
    assert_eq!(run["run"]["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(hex(&trace_id(0)), run["run"]["trace_id"]);
    assert_eq!(hex(&span_id(0)), run["tree"][0]["id"]);
}
on_both_stores!(lossless_parts_come_back);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
