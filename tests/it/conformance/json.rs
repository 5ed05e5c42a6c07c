//! OTLP/JSON, OTLP-20 to OTLP-28: what senders write and what we answer.

use serde_json::{Value, json};

use super::exchange::{JSON, run, send, step};
use crate::collector::{Collector, OWN_FILE};
use crate::spans::{run_id, span_id, trace_id};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request of one span of `trace`, its members written by hand besides its ids.
fn body(trace: u64, members: &str) -> String {
    let ids = format!(r#""traceId":"{}","spanId":"{}""#, hex(&trace_id(trace)), hex(&span_id(0)));
    let joint = if members.is_empty() { "" } else { "," };
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids}{joint}{members}}}]}}]}}]}}"#)
}

/// Sends such a span, which must be taken without a word, and returns its step.
async fn taken(collector: &Collector, trace: u64, members: &str) -> Value {
    let answer = send(collector, JSON, body(trace, members).into()).await;
    assert!(answer.is_full_success(), "{members}: {answer:?}");
    let step = step(&run(collector, trace).await, 0);
    assert!(step.is_object(), "{members} was not stored");
    step
}

async fn attribute(collector: &Collector, trace: u64, value: &str) -> Value {
    let members = format!(r#""attributes":[{{"key":"k"{value}}}]"#);
    taken(collector, trace, &members).await["metadata"]["attributes"]["k"].clone()
}

#[tokio::test]
async fn otlp_20_ids_are_hexadecimal_in_any_case() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let trace = "abCDef0123456789abcdef0123456789";
    let run_id = uuid::Uuid::parse_str(trace).unwrap();
    let cases = [str::to_lowercase, str::to_uppercase, |text: &str| text.to_owned()];
    for (span, in_case) in (1..).zip(cases) {
        let (id, parent, linked) = (format!("aBcDeF000000000{span}"), "FfEeDd0000000000", "aAbBcCdDeEfF0011");
        let span = format!(
            r#"{{"traceId":"{}","spanId":"{}","parentSpanId":"{}","links":[{{"traceId":"{0}","spanId":"{}"}}]}}"#,
            in_case(trace),
            in_case(&id),
            in_case(parent),
            in_case(linked)
        );
        let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
        assert!(send(&collector, JSON, body.into()).await.is_full_success());
        let (_, run) = collector.get(&format!("/runs/{run_id}")).await;
        let steps = run["tree"].as_array().unwrap();
        let step = steps.iter().find(|step| step["id"] == id.to_lowercase().as_str()).unwrap();
        assert_eq!(step["parent_id"], parent.to_lowercase().as_str());
        assert_eq!(step["metadata"]["links"][0]["span_id"], linked.to_lowercase().as_str());
        assert_eq!(step["metadata"]["links"][0]["trace_id"], trace.to_lowercase().as_str());
    }
    let log = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"timeUnixNano":"5","traceId":"{}","spanId":"ABCDEF0000000001","body":{{"stringValue":"x"}}}}]}}]}}]}}"#,
        trace.to_uppercase()
    );
    assert_eq!(collector.post_to("/v1/logs", JSON, log.into()).await, (200, b"{}".to_vec()));
    let (_, run) = collector.get(&format!("/runs/{run_id}")).await;
    let text = run.to_string();
    assert!(text.contains(r#""logs":[{"#), "the record joined its span: {run:#}");
}

#[tokio::test]
async fn otlp_21_unknown_fields_are_ignored_at_every_level() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let with = |trace: u64, extra: &str| {
        format!(
            r#"{{{extra}"resourceSpans":[{{{extra}"resource":{{{extra}"attributes":[{{{extra}"key":"r","value":{{{extra}"intValue":1}}}}]}},
            "scopeSpans":[{{{extra}"scope":{{{extra}"name":"s"}},"spans":[{{{extra}"traceId":"{}","spanId":"{}",
            "events":[{{{extra}"name":"e"}}],"links":[{{{extra}"traceId":"0A000000000000000000000000000000","spanId":"0000000000000009"}}],"status":{{{extra}"code":1}},
            "attributes":[{{"key":"list","value":{{"kvlistValue":{{{extra}"values":[{{{extra}"key":"a","value":{{"arrayValue":{{{extra}"values":[{{"boolValue":true}}]}}}}}}]}}}}}}]}}]}}]}}]}}"#,
            hex(&trace_id(trace)),
            hex(&span_id(0))
        )
    };
    for (trace, extra) in [(0, ""), (1, r#""later":[{"x":{}}],"traceID":5,"":null,"#)] {
        let answer = send(&collector, JSON, with(trace, extra).into()).await;
        assert!(answer.is_full_success(), "{answer:?}");
    }
    let steps = [step(&run(&collector, 0).await, 0), step(&run(&collector, 1).await, 0)];
    assert_eq!(steps[0], steps[1]);
    assert_eq!(steps[1]["metadata"]["attributes"]["list"], json!({"a": [true]}));
    assert_eq!(steps[1]["metadata"]["links"][0]["span_id"], "0000000000000009");
}

#[tokio::test]
async fn otlp_22_enums_are_integers_and_unknown_ones_are_kept() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let step = taken(&collector, 0, r#""kind":99,"status":{"code":77}"#).await;
    assert_eq!(
        (&step["metadata"]["otel"]["kind"], &step["metadata"]["otel"]["status"]["code"]),
        (&json!(99), &json!(77))
    );
    assert_eq!(taken(&collector, 1, r#""kind":3"#).await["metadata"]["otel"]["kind"], "client");
}

#[tokio::test]
async fn otlp_23_names_of_enums_are_understood_and_counted() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let by_number = taken(&collector, 0, r#""kind":2,"status":{"code":2}"#).await;
    let by_name = taken(&collector, 1, r#""kind":"SPAN_KIND_SERVER","status":{"code":"STATUS_CODE_ERROR"}"#).await;
    assert_eq!(by_number["metadata"]["otel"], by_name["metadata"]["otel"]);
    assert_eq!(by_name["metadata"]["otel"]["kind"], "server");
    let shown = collector.client().get(collector.url("/metrics")).send().await.unwrap().text().await.unwrap();
    assert!(shown.contains("vectoros_ingest_warnings_total{what=\"enum_name\"} 1"), "{shown}");
}

#[tokio::test]
async fn otlp_24_sixty_four_bit_integers() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    for (trace, five) in (0..).zip(["\"5\"", "5", "5.0", "5e0", "0.5E1", "\"5.0\""]) {
        assert_eq!(attribute(&collector, trace, &format!(r#","value":{{"intValue":{five}}}"#)).await, 5, "{five}");
    }
    assert_eq!(
        attribute(&collector, 10, r#","value":{"intValue":"-9223372036854775808"}"#).await,
        json!({"$int": "-9223372036854775808"})
    );
    let step = taken(&collector, 11, r#""startTimeUnixNano":1.7934912e18,"endTimeUnixNano":1793491200000000001"#).await;
    assert_eq!(step["started_at"], "2026-11-01T00:00:00.000000Z");
    let answer =
        send(&collector, JSON, body(12, r#""attributes":[{"key":"k","value":{"intValue":5.5}}]"#).into()).await;
    assert_eq!((answer.status, answer.rejected), (200, 1), "{answer:?}");
    assert!(answer.message.contains("spans[0]: intValue must be an integer"), "{answer:?}");
    assert_eq!(run(&collector, 12).await, Value::Null);
}

#[tokio::test]
async fn otlp_25_snake_case_is_ignored_and_the_sender_is_told() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let camel = body(0, "");
    for (key, body) in [
        ("resource_spans", camel.replace("resourceSpans", "resource_spans")),
        ("scope_spans", camel.replace("scopeSpans", "scope_spans")),
    ] {
        let answer = send(&collector, JSON, body.into()).await;
        assert_eq!((answer.status, answer.rejected), (200, 0));
        assert!(answer.message.contains(key), "{answer:?}");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body["partialSuccess"]["rejectedSpans"], "0");
    }
    let logs = r#"{"resource_logs":[{"scope_logs":[{"log_records":[{}]}]}]}"#;
    let (status, body) = collector.post_to("/v1/logs", JSON, logs.into()).await;
    assert_eq!(status, 200);
    assert!(String::from_utf8(body).unwrap().contains("resource_logs (write resourceLogs)"));
    assert_eq!(collector.get("/runs").await.1["items"], json!([]), "nothing was stored");
    // Beside items that are taken it is only told when somebody wants to hear it.
    let mixed = r#""start_time_unix_nano":5"#;
    taken(&collector, 0, mixed).await;
    let telling = Collector::start(OWN_FILE, &[("VECTOROS_INGEST__WARNINGS", "true")]).await;
    let answer = send(&telling, JSON, self::body(0, mixed).into()).await;
    assert_eq!((answer.status, answer.rejected), (200, 0));
    assert!(answer.message.contains("start_time_unix_nano (write startTimeUnixNano)"), "{answer:?}");
    assert!(step(&run(&telling, 0).await, 0).is_object(), "it was stored all the same");
}

#[tokio::test]
async fn otlp_26_null_and_empty_forms() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let every_null = [
        "name",
        "kind",
        "parentSpanId",
        "traceState",
        "flags",
        "startTimeUnixNano",
        "attributes",
        "events",
        "links",
        "status",
        "droppedAttributesCount",
    ];
    let members: Vec<String> = every_null.iter().map(|name| format!(r#""{name}":null"#)).collect();
    taken(&collector, 0, &members.join(",")).await;
    for (trace, (written, read)) in (1..).zip([
        ("", Value::Null),
        (r#","value":{}"#, Value::Null),
        (r#","value":null"#, Value::Null),
        (r#","value":{"doubleValue":null}"#, Value::Null),
        (r#","value":{"stringValue":null}"#, Value::Null),
        (r#","value":{"kvlistValue":{}}"#, json!({})),
        (r#","value":{"arrayValue":{}}"#, json!([])),
        (r#","value":{"arrayValue":{"values":[{},null]}}"#, json!([null, null])),
        (r#","value":{"doubleValue":"NaN"}"#, json!({"$double": "NaN"})),
        (r#","value":{"doubleValue":"Infinity"}"#, json!({"$double": "Infinity"})),
        (r#","value":{"doubleValue":"-Infinity"}"#, json!({"$double": "-Infinity"})),
        (r#","value":{"bytesValue":"+/8="}"#, json!({"$bytes": "+/8="})),
        (r#","value":{"bytesValue":"+/8"}"#, json!({"$bytes": "+/8="})),
        (r#","value":{"bytesValue":"-_8="}"#, json!({"$bytes": "+/8="})),
        (r#","value":{"bytesValue":"-_8"}"#, json!({"$bytes": "+/8="})),
    ]) {
        assert_eq!(attribute(&collector, trace, written).await, read, "{written}");
    }
    let marked = [&b"\xef\xbb\xbf"[..], body(20, "").as_bytes()].concat();
    assert!(send(&collector, JSON, marked).await.is_full_success());
    assert!(run(&collector, 20).await.is_object());
}

#[tokio::test]
async fn otlp_27_repeated_names_and_odd_text_cost_nothing() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let step = taken(&collector, 0, r#""name":"first","name":"last""#).await;
    assert_eq!(step["name"], "last");
    let step =
        taken(&collector, 1, r#""name":"a\ud800b","attributes":[{"key":"k","value":{"stringValue":"x\u0000y"}}]"#)
            .await;
    assert_eq!((&step["name"], &step["metadata"]["otel"]["repairs"]), (&json!("a\u{fffd}b"), &json!(["invalid_utf8"])));
    assert_eq!(step["metadata"]["attributes"]["k"], json!({"$text": "eAB5"}), "kept byte for byte");
    let twice = body(2, "").replacen(r#""spans":["#, r#""spans":[],"spans":["#, 1);
    assert!(send(&collector, JSON, twice.into()).await.is_full_success());
    assert_eq!(run(&collector, 2).await["run"]["run_id"], run_id(2).as_str());
}

#[tokio::test]
async fn otlp_28_answers_in_json() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    assert_eq!(send(&collector, JSON, body(0, "").into()).await.body, b"{}");
    let three_bad = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{},{}]}]}]}"#;
    let answer = send(&collector, JSON, three_bad.into()).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(
        text.starts_with('{') && text.contains(r#""partialSuccess":{"#) && text.contains(r#""rejectedSpans":"3""#),
        "{text}"
    );
    assert_eq!(answer.rejected, 3);
    assert!(answer.message.contains("resourceSpans[0].scopeSpans[0].spans[2]"), "{}", answer.message);
}
