use serde_json::json;

use super::*;
use crate::mapping::detail;
use crate::mapping::status::ERROR_BYTES_MAX;
use crate::mapping::step::LABEL_BYTES_MAX;
use crate::model::span::Link;
use crate::model::step::{Status, StepType};

fn chat(extra: &[(&str, &str)]) -> Span {
    let mut pairs = vec![("gen_ai.operation.name", "chat")];
    pairs.extend_from_slice(extra);
    span("chat m", &pairs)
}

fn raised(mut span: Span, kind: &str, message: &str) -> Span {
    let pairs = [("exception.type", kind), ("exception.message", message), ("exception.escaped", "False")];
    span.events.push(event("exception", &pairs));
    span
}

#[test]
fn error_texts_come_from_the_best_place() {
    let cases = [
        (failed(chat(&[]), "rate limit"), "rate limit"),
        (raised(failed(chat(&[]), ""), "ValueError", "bad value"), "bad value"),
        (
            raised(failed(chat(&[]), "ValueError('x')Traceback (most recent call last):\n…"), "V", "m"),
            "ValueError('x')",
        ),
        (raised(failed(chat(&[]), "Traceback (most recent call last)"), "V", "m"), "m"),
        (raised(failed(chat(&[("error.type", "E")]), ""), "ValueError", ""), "ValueError"),
        (failed(chat(&[("error.type", "rate_limit_error")]), " "), "rate_limit_error"),
        (failed(chat(&[("error.message", "told")]), ""), "told"),
        (failed(chat(&[]), ""), "error"),
    ];
    for (sent, text) in cases {
        let step = map(sent);
        assert_eq!((step.status, step.error.as_deref()), (Status::Error, Some(text)));
    }
}

#[test]
fn failures_are_seen_whatever_the_status_says() {
    let typed = map(chat(&[("error.type", "RateLimitError")]));
    assert_eq!((typed.status, typed.error.as_deref()), (Status::Error, Some("RateLimitError")));

    let raised_without_output = map(raised(chat(&[]), "ValueError", "x"));
    assert_eq!(raised_without_output.status, Status::Error);
    let recovered = map(raised(chat(&[("gen_ai.output.messages", "[1]")]), "ValueError", "x"));
    assert_eq!((recovered.status, recovered.facts.exception), (Status::Success, true));

    let agent = raised(span("a", &[("gen_ai.operation.name", "invoke_agent")]), "ValueError", "x");
    assert_eq!(map(agent).status, Status::Success);

    let finish = map(chat(&[("gen_ai.response.finish_reasons", "[\"error\"]")]));
    assert_eq!(finish.status, Status::Error);

    for (kind, code, status) in
        [(3, "404", Status::Error), (2, "404", Status::Success), (2, "503", Status::Error), (1, "500", Status::Success)]
    {
        let mut http = span("x", &[("http.request.method", "GET"), ("http.response.status_code", code)]);
        http.kind = kind;
        assert_eq!(map(http).status, status, "{kind} {code}");
    }
}

#[test]
fn an_error_without_a_sign_of_its_own_may_be_a_childs() {
    assert!(map(failed(chat(&[]), "x")).facts.error_may_be_childs);
    assert!(!map(failed(chat(&[("error.type", "E")]), "x")).facts.error_may_be_childs);
    assert!(!map(raised(failed(chat(&[]), "x"), "E", "x")).facts.error_may_be_childs);
}

#[test]
fn timeouts_are_a_status_of_their_own() {
    for sent in [
        failed(chat(&[("error.type", "openai.APITimeoutError")]), "Request took long"),
        raised(failed(chat(&[]), ""), "java.net.SocketTimeoutException", "took long"),
        failed(chat(&[]), "Request timed out."),
        failed(chat(&[("http.response.status_code", "504")]), "gateway"),
    ] {
        let step = map(sent);
        assert_eq!((step.status, step.error.as_deref()), (Status::Timeout, None));
        assert!(step.facts.timeout_reason.is_some());
    }
    assert_eq!(map(chat(&[("http.response.status_code", "504")])).status, Status::Success);
}

#[test]
fn control_flow_of_graphs_is_no_error() {
    for (message, kind, word) in [
        ("Command(graph='x', update={})", "langgraph.errors.ParentCommand", "handoff"),
        ("", "GraphInterrupt", "interrupt"),
    ] {
        let step = map(failed(span("a", &[("gen_ai.operation.name", "invoke_agent"), ("error.type", kind)]), message));
        assert_eq!((step.status, step.error), (Status::Success, None));
        assert_eq!(step.facts.more["control_flow"], json!(word));
        assert!(!step.facts.exception && !step.facts.error_may_be_childs);
    }
}

#[test]
fn cancellation_is_an_error_only_when_the_span_says_so() {
    let failed_span = map(failed(chat(&[("error.type", "asyncio.CancelledError")]), "stopped"));
    assert_eq!(failed_span.error.as_deref(), Some("cancelled: stopped"));
    let calm = map(raised(chat(&[]), "CancelledError", ""));
    assert_eq!((calm.status, calm.facts.exception), (Status::Success, false));
    assert_eq!(calm.facts.more["cancelled"], json!(true));
}

#[test]
fn a_span_that_has_not_ended_is_running_unless_it_failed() {
    let mut open = chat(&[]);
    open.end_ns = 0;
    let step = map(open.clone());
    assert_eq!((step.status, step.end_ns, step.latency_ms), (Status::Running, None, None));
    assert_eq!(map(failed(open, "x")).status, Status::Error);
}

#[test]
fn times_that_cannot_be_are_kept_and_marked() {
    let mut backwards = chat(&[]);
    backwards.end_ns = backwards.start_ns - 1;
    let step = map(backwards);
    assert_eq!((step.latency_ms, &step.facts.more["clock_skew"]), (Some(0.0), &json!(true)));

    for start_ns in [0, u64::MAX, i64::MAX as u64 + 1] {
        let mut sent = chat(&[]);
        sent.start_ns = start_ns;
        sent.end_ns = u64::MAX;
        let step = map(sent.clone());
        assert_eq!((step.day, step.start_ns, step.end_ns), (received_at().date_naive(), None, None));
        assert_eq!(step.facts.more["day_of_receipt"], json!(true));
        assert_eq!(step.status, Status::Success);
        assert_eq!(crate::mapping::detail::span(&step), Some(sent));
    }
    let mut edge = chat(&[]);
    edge.start_ns = i64::MAX as u64;
    edge.end_ns = i64::MAX as u64;
    assert_eq!(map(edge).day.to_string(), "2262-04-11");
    assert_eq!(map(chat(&[])).day.to_string(), "2025-06-15");
}

#[test]
fn remote_parents_are_told_by_flags_or_kind() {
    for (flags, kind, parent, remote) in [
        (0x300, 1, true, true),
        (0x301, 1, true, true),
        (0x100, 2, true, false),
        (0, 2, true, true),
        (1, 5, true, true),
        (0, 3, true, false),
        (0x300, 1, false, false),
    ] {
        let mut sent = chat(&[]);
        (sent.flags, sent.kind, sent.parent_span_id) = (flags, kind, parent.then_some([9; 8]));
        assert_eq!(map(sent).facts.remote_parent, remote, "{flags:#x} {kind}");
    }
}

#[test]
fn no_column_holds_a_nul_and_nothing_is_lost() {
    let text = "a\0b";
    let mut sent = failed(
        span(
            text,
            &[
                ("openinference.span.kind", "AGENT"),
                ("input.value", text),
                ("output.value", "fine"),
                ("session.id", text),
                ("llm.model_name", text),
                ("metadata", r#"{"k":"a\u0000b","tags":["t\u0000"]}"#),
            ],
        ),
        text,
    );
    sent.events = vec![event(text, &[(text, text)])];
    let step = map(sent.clone());
    let view = "a\u{fffd}b";
    assert_eq!((step.name.as_str(), step.input.as_deref(), step.error.as_deref()), (view, Some(view), Some(view)));
    assert_eq!(step.facts.session_id.as_deref(), Some(view));
    let facts = serde_json::to_string(&step.facts).unwrap();
    assert!(!holds_nul(&facts) && !holds_nul(&step.detail), "{facts} {}", step.detail);
    assert_eq!(crate::mapping::detail::span(&step), Some(sent));
}

#[test]
fn long_texts_are_cut_in_views_only() {
    let long = "é".repeat(ERROR_BYTES_MAX);
    let sent = failed(span(&long, &[("gen_ai.operation.name", "chat"), ("gen_ai.request.model", &long)]), &long);
    let step = map(sent.clone());
    assert_eq!(step.error.as_deref().map(str::len), Some(ERROR_BYTES_MAX));
    assert_eq!((step.name.len(), step.model.as_deref().map(str::len)), (LABEL_BYTES_MAX, Some(LABEL_BYTES_MAX)));
    assert_eq!(crate::mapping::detail::span(&step), Some(sent));
}

#[test]
fn bad_counts_are_warned_of_and_ignored() {
    let step = map(chat(&[("gen_ai.usage.input_tokens", "-5"), ("gen_ai.usage.output_tokens", "7.0")]));
    assert_eq!((step.usage.input, step.usage.output, step.usage.total), (None, Some(7), Some(7)));
    assert_eq!(step.facts.more["mapping_warnings"], json!(["gen_ai.usage.input_tokens: negative"]));
}

#[test]
fn a_price_of_nothing_is_unknown_unless_the_model_is_local() {
    let cost = |provider: &str, tokens: &str| {
        map(chat(&[
            ("gen_ai.provider.name", provider),
            ("gen_ai.usage.cost", "0.0"),
            ("gen_ai.usage.input_tokens", tokens),
        ]))
        .cost
    };
    assert_eq!((cost("openai", "5"), cost("ollama", "5"), cost("openai", "0")), (None, Some(0.0), Some(0.0)));
}

#[test]
fn hidden_content_and_lost_attributes_are_marked() {
    let mut sent = span("x", &[("openinference.span.kind", "CHAIN"), ("input.value", "__REDACTED__")]);
    sent.dropped_attributes_count = 1;
    let step = map(sent);
    assert_eq!(step.kind, StepType::Workflow);
    assert_eq!((&step.facts.more["redacted"], &step.facts.more["truncated"]), (&json!(true), &json!(true)));
}

#[test]
fn a_link_names_the_run_that_its_trace_became() {
    let link = Link { trace_id: [0xab; 16], span_id: [1; 8], ..Link::default() };
    let (step, origin) = map_from(Span { links: vec![link], ..span("chat", &[]) }, Origin::default());
    let metadata = detail::metadata(&step, Some(&origin.body));
    assert_eq!(metadata["links"][0]["run_id"], "abababab-abab-abab-abab-abababababab");
    assert_eq!(metadata["links"][0]["trace_id"], "abababababababababababababababab");
}

fn with(mut span: Span, key: &str, value: AnyValue) -> Span {
    span.attributes.push((key.to_owned(), value));
    span.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    span
}

fn ok(mut span: Span) -> Span {
    span.status.code = 1;
    span
}

/// A row of the specification each: what is sent, and the status it means although the span says OK.
#[test]
fn every_sign_of_failure_counts_whatever_the_status() {
    let tool =
        || span("execute_tool t", &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.call.result", "r")]);
    let text = |value: &str| AnyValue::Str(value.to_owned());
    for (key, value, status) in [
        ("error.type", text("ValueError"), Status::Error),
        ("error.type", text(""), Status::Success),
        ("gen_ai.tool.status", text("error"), Status::Error),
        ("gen_ai.tool.status", text("success"), Status::Success),
        ("tool.status", text("failed"), Status::Error),
        ("gen_ai.task.status", text("failure"), Status::Error),
        ("agentops.session.end_state", text("Fail"), Status::Error),
        ("agentops.session.end_state", text("Indeterminate"), Status::Success),
        ("genkit:state", text("error"), Status::Error),
        ("langfuse.observation.level", text("ERROR"), Status::Error),
        ("langfuse.observation.level", text("WARNING"), Status::Success),
        ("lk.function_tool.is_error", AnyValue::Bool(true), Status::Error),
        ("lk.function_tool.is_error", AnyValue::Bool(false), Status::Success),
        ("mcp.tool.result.is_error", AnyValue::Bool(true), Status::Error),
        ("logfire.level_num", AnyValue::Int(17), Status::Error),
        ("logfire.level_num", AnyValue::Int(13), Status::Success),
        ("mlflow.spanLogLevel", text("40"), Status::Error),
        ("rpc.grpc.status_code", AnyValue::Int(14), Status::Error),
        ("rpc.grpc.status_code", AnyValue::Int(0), Status::Success),
    ] {
        let step = map(ok(with(tool(), key, value.clone())));
        assert_eq!(step.status, status, "{key} {value:?}");
        assert_eq!(step.error.is_some(), status == Status::Error, "{key} {value:?}");
    }
}

#[test]
fn exceptions_fail_what_produces_something_and_has_nothing() {
    let kinds = [
        ("chat", Status::Error),
        ("embeddings", Status::Error),
        ("execute_tool", Status::Error),
        ("retrieval", Status::Error),
        ("invoke_agent", Status::Success),
        ("invoke_workflow", Status::Success),
    ];
    for (operation, status) in kinds {
        let sent = || ok(span("x", &[("gen_ai.operation.name", operation)]));
        assert_eq!(map(raised(sent(), "ValueError", "x")).status, status, "{operation}");
        let cancelled = map(raised(sent(), "asyncio.exceptions.CancelledError", ""));
        assert_eq!((cancelled.status, &cancelled.facts.more["cancelled"]), (Status::Success, &json!(true)));
    }
    let cancelled = map(failed(chat(&[("error.type", "CancelledError")]), "stopped"));
    assert_eq!((cancelled.status, cancelled.error.as_deref()), (Status::Error, Some("cancelled: stopped")));
    let context = map(failed(chat(&[]), "rpc: context canceled"));
    assert_eq!(context.error.as_deref(), Some("cancelled: rpc: context canceled"));
}

#[test]
fn a_call_that_was_handed_to_somebody_else_did_not_fail() {
    for kind in ["pydantic_ai.exceptions.CallDeferred", "ApprovalRequired"] {
        let tool = failed(span("running tool", &[("gen_ai.operation.name", "execute_tool")]), "");
        let step = map(raised(tool, kind, ""));
        assert_eq!((step.status, &step.facts.more["deferred"]), (Status::Success, &json!(true)), "{kind}");
    }
}

/// From the best place to the last: each line leaves out what the line before had.
#[test]
fn error_texts_in_order_of_trust() {
    let tool = |pairs: &[(&str, &str)]| {
        let mut all = vec![("gen_ai.operation.name", "execute_tool")];
        all.extend_from_slice(pairs);
        span("execute_tool t", &all)
    };
    let event_of = |span: Span| raised(span, "ValueError", "raised");
    let everything = [
        ("langfuse.observation.status_message", "said by Langfuse"),
        ("error.message", "said"),
        ("error", r#"{"message":"outer","data":{"error":"inner"}}"#),
        ("gen_ai.tool.call.result", r#"[{"text":"result"}]"#),
        ("error.type", "the_type"),
    ];
    let cases = [
        (failed(event_of(tool(&everything)), "told"), "told"),
        (failed(event_of(tool(&everything)), ""), "raised"),
        (failed(tool(&everything), ""), "said by Langfuse"),
        (failed(tool(&everything[1..]), ""), "said"),
        (failed(tool(&everything[2..]), ""), "inner"),
        (failed(tool(&[("exception", "in words")]), ""), "in words"),
        (failed(tool(&[("error", "true"), ("error.type", "the_type")]), ""), "the_type"),
        (failed(tool(&everything[3..]), ""), "result"),
        (failed(tool(&everything[4..]), ""), "the_type"),
        (failed(tool(&[("http.response.status_code", "500"), ("error.type", "E")]), ""), "E"),
        (failed(tool(&[]), ""), "error"),
    ];
    for (sent, text) in cases {
        assert_eq!(map(sent).error.as_deref(), Some(text));
    }
    let mut http = tool(&[("http.response.status_code", "500"), ("error.type", "E")]);
    http.kind = 3;
    assert_eq!(map(http).error.as_deref(), Some("HTTP status 500"));
}
