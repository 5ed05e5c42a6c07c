//! What only OTLP/JSON can get wrong, and its many spellings.

use super::{LIMITS, from_json, spans};
use crate::model::value::AnyValue;
use crate::otlp::json::decode_traces;
use crate::otlp::{Malformed, Notes, TraceRequest};

/// A request of one span with two good ids and `members` besides.
fn with(members: &str) -> TraceRequest {
    let ids = r#""traceId":"0102030405060708090A0b0c0d0e0f10","spanId":"0102030405060708""#;
    from_json(&format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids},{members}}}]}}]}}]}}"#))
}

fn attribute(value: &str) -> Option<AnyValue> {
    let request = with(&format!(r#""attributes":[{{"key":"k"{value}}}]"#));
    spans(&request).first().map(|span| span.attributes[0].1.clone())
}

#[test]
fn empty_requests() {
    for text in ["{}", " {} ", r#"{"resourceSpans":[]}"#, r#"{"resourceSpans":null}"#, r#"{"resourceSpans":[{}]}"#] {
        assert_eq!(from_json(text), TraceRequest::default(), "{text}");
    }
    assert_eq!(from_json("\u{feff}{}"), TraceRequest::default());
    let ignored = from_json(r#"{"resource_spans":[{"scope_spans":[{"spans":[{}]}]}]}"#);
    let notes = Notes { ignored_names: vec!["resource_spans"], ..Notes::default() };
    assert_eq!(ignored, TraceRequest { notes, ..TraceRequest::default() });
}

#[test]
fn what_is_no_request_is_malformed() {
    let check = |text: &str, reason: &str| {
        let Err(Malformed(message)) = decode_traces(text.as_bytes(), LIMITS) else { panic!("{text} decoded") };
        assert!(message.contains(reason), "{message}");
    };
    check("", "not JSON: at byte 0");
    check("\u{feff}x", "not JSON: at byte 3");
    check("[]", "the body must be an object");
    check("null", "the body must be an object");
    check(r#"{"resourceSpans":{}}"#, "resourceSpans must be an array");
    check(r#"{"resourceSpans":[{"scopeSpans":[5]}]}"#, "scopeSpans must be an object");
    check(r#"{"resourceSpans":[{"scopeSpans":[{"spans":"x"}]}]}"#, "spans must be an array");
}

#[test]
fn a_bad_span_is_named_and_its_neighbours_stay() {
    let good = r#"{"traceId":"01020304050607080910111213141516","spanId":"0102030405060708"}"#;
    let check = |bad: &str, reason: &str| {
        let request =
            from_json(&format!(r#"{{"resourceSpans":[{{}},{{"scopeSpans":[{{"spans":[{good},{bad},{good}]}}]}}]}}"#));
        assert_eq!((spans(&request).len(), request.rejections.count), (2, 1), "{bad}");
        let rejection = &request.rejections.first[0];
        assert_eq!(rejection.place, "resourceSpans[1].scopeSpans[0].spans[1]");
        assert!(rejection.reason.contains(reason), "{}", rejection.reason);
    };
    check("{}", "spanId must have 8 bytes but has 0");
    check("null", "a span must be an object");
    check("[]", "a span must be an object");
    check(r#"{"traceId":"xx"}"#, "traceId must be hexadecimal text");
    check(r#"{"traceId":"00","spanId":"0102030405060708"}"#, "traceId must have 16 bytes but has 1");
    check(&good.replace('}', r#","kind":"SERVER"}"#), "kind must be a number or a name of its enum");
    check(&good.replace('}', r#","attributes":[{"value":{"intValue":5.5}}]}"#), "intValue must be an integer");
    check(&good.replace('}', r#","attributes":[{"value":"x"}]}"#), "attribute value must be an object");
    check(&good.replace('}', r#","name":5}"#), "name must be a string");
}

#[test]
fn fields_in_their_spellings() {
    let request = with(
        r#""kind":"SPAN_KIND_SERVER","startTimeUnixNano":5e0,"endTimeUnixNano":"18446744073709551615","flags":257,
           "status":{"code":"STATUS_CODE_ERROR"},"name":null,"parentSpanId":null,"links":null,"later":[{"x":[]}]"#,
    );
    let span = spans(&request)[0];
    assert_eq!((span.kind, span.start_ns, span.end_ns, span.flags), (2, 5, u64::MAX, 257));
    assert_eq!((span.status.code, span.name.as_str(), span.parent_span_id), (2, "", None));
    assert_eq!(span.trace_id[9..12], [0x0a, 0x0b, 0x0c]);
    assert_eq!(spans(&with(r#""kind":99"#))[0].kind, 99);
}

#[test]
fn values_in_their_spellings() {
    for nothing in ["", r#","value":{}"#, r#","value":null"#, r#","value":{"doubleValue":null}"#, r#","value":{"x":1}"#]
    {
        assert_eq!(attribute(nothing), Some(AnyValue::Null), "{nothing}");
    }
    let value = |json: &str| attribute(&format!(r#","value":{json}"#));
    assert_eq!(value(r#"{"kvlistValue":{}}"#), Some(AnyValue::Kvlist(vec![])));
    assert_eq!(value(r#"{"arrayValue":{}}"#), Some(AnyValue::Array(vec![])));
    assert_eq!(
        value(r#"{"arrayValue":{"values":[{},{"intValue":"7"}]}}"#),
        Some(AnyValue::Array(vec![AnyValue::Null, AnyValue::Int(7)]))
    );
    assert_eq!(value(r#"{"doubleValue":"-Infinity"}"#), Some(AnyValue::Double(f64::NEG_INFINITY)));
    assert_eq!(value(r#"{"doubleValue":1}"#), Some(AnyValue::Double(1.0)));
    assert_eq!(value(r#"{"bytesValue":"-_8"}"#), Some(AnyValue::Bytes(vec![0xfb, 0xff])));
    assert_eq!(value(r#"{"intValue":1e3}"#), Some(AnyValue::Int(1000)));
    assert_eq!(value(r#"{"boolValue":false,"unknown":1}"#), Some(AnyValue::Bool(false)));
}

#[test]
fn of_a_repeated_name_the_last_counts_and_no_span_is_lost() {
    assert_eq!(spans(&with(r#""name":"a","name":"b""#))[0].name, "b");
    let spans_twice = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}],"spans":[{}]}]}],"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#;
    assert_eq!(from_json(spans_twice).rejections.count, 3);
}

#[test]
fn bad_text_and_bad_parents_are_mended() {
    let request = with(r#""name":"a\ud800","parentSpanId":"abc""#);
    let span = spans(&request)[0];
    assert_eq!((span.name.as_str(), span.parent_span_id), ("a\u{fffd}", None));
    assert_eq!(span.repairs, ["invalid_utf8", "parent_id_length"]);
    assert_eq!(spans(&with(r#""parentSpanId":"0102030405060708""#))[0].repairs, ["self_parent"]);
    assert_eq!(spans(&with(r#""links":[{"traceId":"zz"}]"#))[0].repairs, ["link_dropped"]);
}

#[test]
fn the_resource_may_stand_behind_its_spans() {
    let request = from_json(
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"01020304050607080910111213141516","spanId":"0102030405060708"}],
            "scope":{"name":"s"}}],"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"x"}}]},"schemaUrl":"u"}]}"#,
    );
    let origin = &request.groups[0].origin;
    assert_eq!(origin.resource, [("service.name".into(), AnyValue::Str("x".into()))]);
    assert_eq!((origin.scope_name.as_str(), origin.resource_schema_url.as_str()), ("s", "u"));
}

#[test]
fn names_in_snake_case_are_ignored_and_noted() {
    let request = with(
        r#""start_time_unix_nano":5,"attributes":[{"key":"k","value":{"string_value":"x","my_own":1}}],"parent_span_id":"0a""#,
    );
    assert_eq!((spans(&request)[0].start_ns, &spans(&request)[0].attributes[0].1), (0, &AnyValue::Null));
    assert_eq!(request.notes.ignored_names, ["start_time_unix_nano", "string_value", "parent_span_id"]);
    let inside = from_json(r#"{"resourceSpans":[{"scope_spans":[{}],"schema_url":""}],"resource_logs":5}"#);
    assert_eq!(inside.notes.ignored_names, ["scope_spans", "schema_url", "resource_logs"]);
}
