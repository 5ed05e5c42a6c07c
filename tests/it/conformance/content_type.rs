//! Content types and the form of answers: OTLP-14 to OTLP-19.

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::Value;

use super::client::{Http1, JSON, PROTOBUF, TRACES, ask, post, post_with, request_bytes, runs_stored};
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, request, run_id};

fn json_trace(number: u64) -> Vec<u8> {
    serde_json::to_vec(&request(agent_trace(number))).unwrap()
}

async fn otlp_14_protobuf_and_json_are_taken(url: &str) {
    let collector = Collector::start(url, &[]).await;
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    assert_eq!(post(&collector, TRACES, JSON, &json_trace(1)).await.status, 200);
    assert_eq!(runs_stored(&collector).await, 2);
}
on_both_stores!(otlp_14_protobuf_and_json_are_taken);

#[tokio::test]
async fn otlp_15_spellings_of_content_types_are_understood() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let (json, protobuf) = (json_trace(0), encoded(agent_trace(1)));
    for (spelling, body, answered) in [
        ("application/json", &json, JSON),
        ("Application/JSON", &json, JSON),
        ("application/json; charset=utf-8", &json, JSON),
        ("application/json;charset=\"UTF-8\"", &json, JSON),
        ("application/x-protobuf", &protobuf, PROTOBUF),
        ("APPLICATION/X-PROTOBUF ; a=b", &protobuf, PROTOBUF),
        ("application/protobuf", &protobuf, PROTOBUF),
        ("application/x-protobuf;charset=utf-8", &protobuf, PROTOBUF),
    ] {
        let answer = post(&collector, TRACES, spelling, body).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, answered), "{spelling}");
    }
    for other in ["application/json; charset=latin1", "application/json; charset=utf-16", "application/x-protobuf-2"] {
        let answer = post(&collector, TRACES, other, &json).await;
        assert_eq!(answer.status, 415, "{other}");
        assert!(!answer.rpc_status().message.is_empty());
    }
    let bearer = format!("authorization: Bearer {}\r\n", collector.key);
    let mut request = format!("POST /v1/traces HTTP/1.1\r\nhost: a\r\n{bearer}content-type: ").into_bytes();
    request.extend_from_slice(b"application/\xffjson\r\ncontent-length: 2\r\n\r\n{}");
    let answer = Http1::connect(collector.http).await.ask(&request).await;
    assert_eq!(answer.status, 415, "{answer:?}");
    assert!(!answer.rpc_status().message.is_empty());
    assert_eq!(post(&collector, TRACES, JSON, &json).await.status, 200, "it lives");
    assert!(!collector.log().contains("panicked"), "{}", collector.log());
}

#[tokio::test]
async fn otlp_16_an_answer_has_the_media_type_of_its_request_bare() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics"] {
        for (sent, answered) in [
            ("application/json", JSON),
            ("application/json; charset=utf-8", JSON),
            ("application/x-protobuf", PROTOBUF),
            ("application/protobuf", PROTOBUF),
        ] {
            let empty: &[u8] = if answered == JSON { b"{}" } else { b"" };
            for (body, status) in [(empty, 200), (&[0xff; 9][..], 400)] {
                let answer = post(&collector, path, sent, body).await;
                assert_eq!(answer.status, status, "{path} {sent}");
                assert_eq!(answer.headers["content-type"].as_bytes(), answered.as_bytes(), "{path} {sent}");
            }
        }
    }
}

#[tokio::test]
async fn otlp_17_other_content_types_are_refused_with_a_list() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    for content_type in ["", "application/x-www-form-urlencoded", "text/plain", "text/plain; charset=utf-8", "*/*"] {
        let mut headers = vec![("authorization", bearer.as_str())];
        if !content_type.is_empty() {
            headers.push(("content-type", content_type));
        }
        let answer = ask(collector.http, "POST", TRACES, &headers, &json_trace(0)).await;
        assert_eq!((answer.status, answer.header("content-type")), (415, JSON), "{content_type:?}");
        let status = answer.rpc_status();
        assert!(status.message.contains(JSON) && status.message.contains(PROTOBUF), "{}", status.message);
    }
    assert_eq!(runs_stored(&collector).await, 0);
}

async fn otlp_18_success_is_200_with_an_empty_response(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let protobuf = post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await;
    assert_eq!((protobuf.status, protobuf.body.as_slice()), (200, &b""[..]));
    assert_eq!((protobuf.header("content-length"), protobuf.header("content-type")), ("0", PROTOBUF));
    let json = post(&collector, TRACES, JSON, &json_trace(1)).await;
    assert_eq!((json.status, json.body.as_slice()), (200, &b"{}"[..]));
    assert_eq!((json.header("content-length"), json.header("content-type")), ("2", JSON));
}
on_both_stores!(otlp_18_success_is_200_with_an_empty_response);

#[tokio::test]
async fn otlp_19_answers_are_compressed_only_when_asked_and_large() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let gzip = [("accept-encoding", "gzip")];
    for content_type in [PROTOBUF, JSON] {
        let body = if content_type == JSON { json_trace(0) } else { encoded(agent_trace(0)) };
        let small = post_with(&collector, TRACES, content_type, &gzip, &body).await;
        assert_eq!((small.status, small.has("content-encoding")), (200, false), "{small:?}");
        let refused = post_with(&collector, TRACES, content_type, &gzip, &[0xff; 9]).await;
        assert_eq!((refused.status, refused.has("content-encoding")), (400, false), "{refused:?}");
    }
    let bearer = format!("Bearer {}", collector.key);
    let path = format!("/runs/{}", run_id(0));
    let plain = ask(collector.http, "GET", &path, &[("authorization", &bearer)], b"").await;
    assert!(plain.body.len() > 1024 && !plain.has("content-encoding"), "{plain:?}");
    let headers = [("authorization", bearer.as_str()), ("accept-encoding", "gzip")];
    let large = ask(collector.http, "GET", &path, &headers, b"").await;
    assert_eq!(large.header("content-encoding"), "gzip");
    assert!(large.body.len() < plain.body.len());
    let mut inflated = Vec::new();
    GzDecoder::new(&large.body[..]).read_to_end(&mut inflated).unwrap();
    let read = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).unwrap();
    assert_eq!(read(&inflated)["tree"], read(&plain.body)["tree"]);
    // A connection that is used again keeps its framing.
    let mut connection = Http1::connect(collector.http).await;
    for _ in 0..2 {
        let again = connection.ask(&request_bytes("GET", &path, &headers, b"")).await;
        assert_eq!((again.status, again.header("content-encoding")), (200, "gzip"));
    }
}
