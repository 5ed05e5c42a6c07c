//! Log records that meet their spans, in any order.

use serde_json::json;

use super::{START_NS, attributes, map, received_at, span, value};
use crate::assembly::{LifeCycle, Receipt, Scopes, assemble};
use crate::mapping::{detail, map_logs, map_traces, with_logs};
use crate::model::batch::OriginRow;
use crate::model::id::{ProjectId, RunKey, run_id_of_trace};
use crate::model::log::{LogRecord, LogRow};
use crate::model::run::Assembled;
use crate::model::span::{Origin, Span};
use crate::model::step::{Status, Step, StepType};
use crate::model::value::AnyValue;
use crate::otlp::{LogGroup, SpanGroup};
use crate::prices::Prices;

fn plain(json: serde_json::Value) -> AnyValue {
    AnyValue::from_json(json)
}

/// A record of span 1, `ms` after its start.
fn record(ms: u64, name: &str, pairs: &[(&str, &str)], body: AnyValue) -> LogRecord {
    LogRecord {
        observed_ns: START_NS + ms * 1_000_000,
        event_name: name.to_owned(),
        attributes: attributes(pairs),
        body,
        trace_id: Some([7; 16]),
        span_id: Some([1; 8]),
        ..LogRecord::default()
    }
}

fn rows(scope: &str, records: Vec<LogRecord>) -> (Vec<LogRow>, Vec<OriginRow>) {
    let origin = Origin { scope_name: scope.to_owned(), ..Origin::default() };
    map_logs(ProjectId(3), vec![LogGroup { position: 0, origin, items: records }], received_at())
}

fn joined(steps: Vec<Step>, scope: &str, records: Vec<LogRecord>) -> (Vec<Step>, Vec<LogRow>) {
    let (rows, origins) = rows(scope, records);
    let body_of = |id| origins.iter().find(|row| row.id == id).map(|row| row.body.clone());
    with_logs(steps, rows, &Prices::none(), &body_of)
}

fn one(sent: Span, scope: &str, records: Vec<LogRecord>) -> Step {
    joined(vec![map(sent)], scope, records).0.remove(0)
}

fn chat() -> Span {
    span(
        "chat gpt-4o-mini",
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.system", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.usage.input_tokens", "14"),
            ("gen_ai.usage.output_tokens", "8"),
        ],
    )
}

fn question_and_answer() -> Vec<LogRecord> {
    let answer = json!({"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Paris."}});
    vec![
        record(1, "gen_ai.user.message", &[("gen_ai.system", "openai")], plain(json!({"content": "Capital?"}))),
        record(20, "gen_ai.choice", &[("gen_ai.system", "openai")], plain(answer)),
    ]
}

#[test]
fn messages_in_records_are_the_content_of_their_span() {
    let step = one(chat(), "opentelemetry.instrumentation.openai_v2", question_and_answer());
    assert_eq!(step.input.as_deref(), Some(r#"[{"role":"user","parts":[{"type":"text","content":"Capital?"}]}]"#));
    assert!(step.output.as_deref().is_some_and(|output| output.contains("Paris.")), "{:?}", step.output);
    assert_eq!(step.facts.finish_reason.as_deref(), Some("stop"));
    let shown = detail::metadata(&step, None);
    assert_eq!(shown["logs"][1]["event_name"], "gen_ai.choice");
    assert_eq!(shown["logs"][0]["scope"], "opentelemetry.instrumentation.openai_v2");
    assert_eq!(step.content_hash, map(chat()).content_hash, "a copy of the span is still known as one");
    let back = detail::span(&step).unwrap();
    assert_eq!(back.logs.len(), 2);
    assert_eq!(Span { logs: vec![], ..back }, chat());
}

#[test]
fn neither_order_nor_copies_of_records_matter() {
    let mut records = question_and_answer();
    records.push(record(2, "", &[("event.name", "gen_ai.assistant.message")], plain(json!({"content": "Hm."}))));
    let expected = one(chat(), "x", records.clone());
    for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let shuffled = order.iter().map(|index| records[*index].clone()).collect();
        assert_eq!(one(chat(), "x", shuffled), expected, "{order:?}");
    }
    let ids = |records: Vec<LogRecord>| rows("x", records).0.into_iter().map(|row| row.id).collect::<Vec<_>>();
    assert_eq!(ids(records.clone()), ids(records.clone()), "a resend has the same keys");
    assert_ne!(ids(vec![records[0].clone()]), ids(vec![records[1].clone()]));
}

#[test]
fn messages_of_one_moment_stand_in_the_order_of_their_numbers() {
    let message = |index: &str, text: &str| {
        let name = ("event.name", "gen_ai.user.message");
        let body = AnyValue::Str(json!({"role": "user", "content": text}).to_string());
        record(5, "", &[name, ("CHAT_MESSAGE_INDEX", index)], body)
    };
    let step = one(chat(), "x", vec![message("1", "second"), message("0", "first")]);
    let input = step.input.unwrap();
    assert!(input.find("first") < input.find("second"), "{input}");
}

#[test]
fn a_debug_line_says_nothing_of_the_call() {
    let line = record(3, "", &[("code.function.name", "f"), ("user.id", "u")], value("calling the model"));
    let step = one(chat(), "my.app", vec![line]);
    assert_eq!((step.input, step.facts.user_id), (None, None));
    assert!(step.detail.contains("calling the model"));
}

#[test]
fn records_supply_what_the_span_leaves_out_and_nothing_else() {
    let name = "gen_ai.client.inference.operation.details";
    let told = [("user.id", "ada"), ("gen_ai.usage.input_tokens", "99"), ("gen_ai.response.id", "r1")];
    let step = one(chat(), "gcp.vertex.agent", vec![record(9, name, &told, AnyValue::Null)]);
    assert_eq!(step.facts.user_id.as_deref(), Some("ada"));
    assert_eq!(step.facts.response_id.as_deref(), Some("r1"));
    assert_eq!(step.usage.input, Some(14), "the span's own count stands");
}

#[test]
fn a_record_of_another_span_is_left_over() {
    let mut stranger = question_and_answer();
    stranger[0].span_id = Some([9; 8]);
    stranger[1].span_id = None;
    let (steps, loose) = joined(vec![map(chat())], "x", stranger);
    assert_eq!(steps, [map(chat())]);
    assert_eq!(loose.iter().map(|row| row.span_id.as_str()).collect::<Vec<_>>(), ["0909090909090909", ""]);
    let free = LogRecord { trace_id: None, ..LogRecord::default() };
    assert!(!rows("x", vec![free]).0[0].has_run());
}

#[test]
fn bedrock_tells_results_and_calls_once() {
    let call = json!({"content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {"x": 1}}}],
        "tool_calls": [{"type": "function", "id": "t1", "function": {"name": "f", "arguments": {"x": 1}}}]});
    let result = json!({"id": "t1", "content": [{"text": "ok"}]});
    let again = json!({"content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "ok"}]}}]});
    let records = vec![
        record(1, "gen_ai.assistant.message", &[], plain(call)),
        record(2, "gen_ai.tool.message", &[], plain(result)),
        record(3, "gen_ai.user.message", &[], plain(again)),
    ];
    let input = one(chat(), "x", records).input.unwrap();
    assert_eq!(input.matches("\"tool_call\"").count(), 1, "{input}");
    assert_eq!(input.matches("\"tool_call_response\"").count(), 1, "{input}");
    assert_eq!(input.matches("\"role\"").count(), 2, "{input}");
}

#[test]
fn litellm_writes_a_record_for_each_message() {
    let records = vec![
        record(1, "", &[("event_name", "gen_ai.content.prompt")], plain(json!({"role": "user", "content": "Hi"}))),
        record(
            2,
            "",
            &[("event_name", "gen_ai.content.completion")],
            plain(json!({"index": 0, "message": {"role": "assistant", "content": "Hello"}})),
        ),
    ];
    let step = one(chat(), "litellm", records);
    assert!(step.input.is_some_and(|input| input.contains("\"role\":\"user\"")));
    assert!(step.output.is_some_and(|output| output.contains("Hello")));
}

#[test]
fn adk_before_the_conventions_keeps_everything_in_json() {
    let request = r#"{"model":"gemini-2.5-flash","contents":[{"role":"user","parts":[{"text":"Hi"}]}]}"#;
    let response = r#"{"content":{"parts":[{"text":"Hello"}],"role":"model"},"finish_reason":"STOP",
        "usage_metadata":{"prompt_token_count":10,"candidates_token_count":5,"thoughts_token_count":7,
        "total_token_count":22}}"#;
    let call = map(span(
        "call_llm",
        &[
            ("gen_ai.system", "gcp.vertex.agent"),
            ("gen_ai.request.model", "gemini-2.5-flash"),
            ("gcp.vertex.agent.llm_request", request),
            ("gcp.vertex.agent.llm_response", response),
            ("gcp.vertex.agent.session_id", "s1"),
        ],
    ));
    assert_eq!((call.kind, call.provider.as_deref()), (StepType::ModelCall, Some("gcp.gemini")));
    assert_eq!((call.usage.input, call.usage.output, call.usage.total), (Some(10), Some(12), Some(22)));
    assert_eq!(call.input.as_deref(), Some(request));
    assert_eq!(call.facts.session_id.as_deref(), Some("s1"));

    let id = ("gcp.vertex.agent.invocation_id", "e-1");
    assert_eq!(map(span("invocation", &[id])).kind, StepType::Workflow);
    let agent = map(span("agent_run [helper]", &[id]));
    assert_eq!((agent.kind, agent.name.as_str(), agent.agent.as_deref()), (StepType::Agent, "helper", Some("helper")));
    let merged = [("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "(merged tools)"), id];
    assert_eq!(map(span("execute_tool (merged tools)", &merged)).kind, StepType::Workflow);
}

#[test]
fn semantic_kernels_loop_is_no_call() {
    let scope = Origin { scope_name: "semantic_kernel.functions".into(), ..Origin::default() };
    let step = |sent| super::map_from(sent, scope.clone()).0;
    assert_eq!(step(span("AutoFunctionInvocationLoop", &[("sk.available_functions", "a")])).kind, StepType::Workflow);
    let tool = step(span(
        "execute_tool Bill-lookup",
        &[("gen_ai.operation.name", "execute_tool"), ("gen_ai.tool.name", "Bill-lookup")],
    ));
    assert_eq!((tool.name.as_str(), &tool.facts.more["tool_short_name"]), ("Bill-lookup", &json!("lookup")));
}

#[test]
fn gemini_cli_has_words_of_its_own() {
    for (word, kind) in [
        ("llm_call", StepType::ModelCall),
        ("tool_call", StepType::ToolCall),
        ("agent_call", StepType::Agent),
        ("user_prompt", StepType::Workflow),
    ] {
        let sent = span(word, &[("gen_ai.operation.name", word), ("gen_ai.agent.name", "gemini-cli")]);
        assert_eq!(map(sent).kind, kind, "{word}");
    }
}

const CLAUDE: &str = "com.anthropic.claude_code.events";

/// Span `number` below `parent`, starting that many milliseconds later than the first.
fn claude(number: u8, parent: u8, word: &str, pairs: &[(&str, &str)]) -> Span {
    let mut sent = span(&format!("claude_code.{word}"), pairs);
    sent.span_id = [number; 8];
    sent.parent_span_id = (parent > 0).then_some([parent; 8]);
    sent.start_ns += u64::from(number) * 1_000_000;
    sent
}

fn claude_record(ms: u64, name: &str, pairs: &[(&str, &str)]) -> LogRecord {
    let mut all = vec![("event.name", name)];
    all.extend(pairs);
    record(ms, "", &all, AnyValue::Str(format!("claude_code.{name}")))
}

fn run_of(spans: Vec<Span>, records: Vec<LogRecord>) -> Assembled {
    let groups = vec![SpanGroup { position: 0, origin: Origin::default(), items: spans }];
    let (steps, _) = map_traces(ProjectId(3), groups, received_at(), &Prices::none());
    let (steps, _) = joined(steps, CLAUDE, records);
    let long = std::time::Duration::from_secs(3600);
    let life = LifeCycle {
        settle: long,
        orphan_idle: long,
        idle_limit: long,
        max_duration: long,
        unmatched_logs: long,
        scopes: Scopes::default(),
    };
    let now = received_at();
    let receipt = Receipt { created_at: now, updated_at: now, received_at: now };
    let key = RunKey { project: ProjectId(3), run_id: run_id_of_trace([7; 16]) };
    assemble(key, steps, None, receipt, &life, now)
}

#[test]
fn example_11_claude_code_with_cost_in_logs() {
    let request = [
        ("model", "claude-sonnet-4-5"),
        ("input_tokens", "176"),
        ("cache_read_tokens", "1024"),
        ("cache_creation_tokens", "0"),
        ("output_tokens", "300"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&request[..], more].concat();
    let execution = [("success", "false"), ("error", "exit 1")];
    let mut tool = claude(3, 1, "tool", &[("tool_name", "Bash"), ("tool_use_id", "toolu_1")]);
    tool.events.push(super::event("tool.output", &[("output", "1 failed")]));
    let spans = vec![
        claude(1, 0, "interaction", &[("user_prompt", "Fix the test"), ("session.id", "s1")]),
        claude(2, 1, "llm_request", &with(&[("ttft_ms", "410"), ("request_id", "req_1")])),
        tool,
        super::failed(claude(4, 3, "tool.execution", &execution), "exit 1"),
    ];
    let records = vec![
        claude_record(10, "api_request", &with(&[("request_id", "req_1"), ("cost_usd", "0.0053352")])),
        claude_record(20, "tool_result", &[("tool_use_id", "toolu_1"), ("tool_input", r#"{"command":"pytest"}"#)]),
        claude_record(30, "assistant_response", &[("response", "Done.")]),
    ];
    let Assembled { run, steps } = run_of(spans, records);
    let step =
        |number: u8| &steps.iter().find(|shown| shown.step.id == format!("{number:02x}").repeat(8)).unwrap().step;
    assert_eq!(step(1).kind, StepType::Agent);
    assert_eq!(
        (step(2).kind.clone(), step(2).usage.input, step(2).usage.total),
        (StepType::ModelCall, Some(1200), Some(1500))
    );
    assert_eq!((step(2).cost, step(2).facts.time_to_first_token_ms), (Some(0.0053352), Some(410.0)));
    assert_eq!((step(3).kind.clone(), step(3).name.as_str()), (StepType::ToolCall, "Bash"));
    assert_eq!(step(3).input.as_deref(), Some(r#"{"command":"pytest"}"#));
    assert_eq!(step(3).output.as_deref(), Some("1 failed"));
    assert_eq!((step(3).status, step(3).error.as_deref()), (Status::Error, Some("exit 1")));
    assert_eq!(step(4).kind, StepType::Workflow);
    assert_eq!((run.input.as_str(), run.output.as_deref()), ("Fix the test", Some("Done.")));
    assert_eq!((run.usage.total, run.cost, run.status), (Some(1500), Some(0.0053352), Status::Success));
    assert_eq!(run.session_id.as_deref(), Some("s1"));
}

#[test]
fn requests_without_an_id_are_told_apart_by_numbers_then_by_order() {
    let numbers = |input: &'static str, output: &'static str| {
        vec![("model", "claude-sonnet-4-5"), ("input_tokens", input), ("output_tokens", output)]
    };
    let spans = vec![
        claude(1, 0, "interaction", &[("user_prompt", "Go")]),
        claude(2, 1, "llm_request", &numbers("10", "1")),
        claude(3, 1, "llm_request", &numbers("20", "2")),
        claude(4, 1, "llm_request", &[("model", "claude-sonnet-4-5")]),
    ];
    let costing = |cost: &'static str, mut pairs: Vec<(&'static str, &'static str)>| {
        pairs.push(("cost_usd", cost));
        pairs
    };
    let records = vec![
        claude_record(10, "api_request", &costing("0.3", numbers("30", "3"))),
        claude_record(11, "api_request", &costing("0.2", numbers("20", "2"))),
        claude_record(12, "api_request", &costing("0.1", numbers("10", "1"))),
    ];
    let Assembled { run, steps } = run_of(spans, records);
    let costs: Vec<Option<f64>> = steps.iter().map(|shown| shown.step.cost).collect();
    assert_eq!(costs[1..], [Some(0.1), Some(0.2), Some(0.3)]);
    assert_eq!(steps[3].step.usage.input, Some(30), "the record tells what the span leaves out");
    assert_eq!(run.usage.total, Some(66), "counted once");
}

#[test]
fn a_refused_request_fails_the_interaction() {
    let failing = [("model", "claude-sonnet-4-5"), ("success", "false"), ("error", "Rate limit reached")];
    let spans = vec![
        claude(1, 0, "interaction", &[("user_prompt", "Go"), ("gen_ai.operation.name", "invoke_agent")]),
        claude(2, 1, "llm_request", &failing),
    ];
    let run = run_of(spans, vec![]).run;
    assert_eq!((run.status, run.error.as_deref()), (Status::Error, Some("Rate limit reached")));
}

#[test]
fn a_coding_agent_without_traces_has_runs_too() {
    let free = |ms: u64, name: &str, pairs: &[(&str, &str)]| {
        let known = [("session.id", "s1"), ("prompt.id", "p1")];
        LogRecord { trace_id: None, span_id: None, ..claude_record(ms, name, &[&known[..], pairs].concat()) }
    };
    let request = [
        ("model", "claude-sonnet-4-5"),
        ("input_tokens", "176"),
        ("cache_read_tokens", "1024"),
        ("output_tokens", "300"),
        ("cost_usd", "0.005"),
        ("duration_ms", "40"),
    ];
    let tool =
        [("tool_name", "Bash"), ("success", "false"), ("error", "exit 1"), ("tool_input", r#"{"command":"ls"}"#)];
    let records = vec![
        free(0, "user_prompt", &[("prompt", "Fix it")]),
        free(50, "api_request", &request),
        free(60, "tool_result", &tool),
        free(70, "plugin_loaded", &[]),
        free(80, "assistant_response", &[("response", "Done.")]),
    ];
    let (rows, origins) = rows(CLAUDE, records);
    let run_id = rows[0].run.run_id;
    assert!(rows[0].has_run() && rows[..3].iter().all(|row| row.run.run_id == run_id));
    assert!(!rows[3].has_run(), "a record of another kind is of no run");
    let body_of = |id| origins.iter().find(|row| row.id == id).map(|row| row.body.clone());
    let of_run: Vec<LogRow> = rows.into_iter().filter(LogRow::has_run).collect();
    let mut reversed = of_run.clone();
    reversed.reverse();
    let (steps, loose) = with_logs(vec![], of_run, &Prices::none(), &body_of);
    assert_eq!(with_logs(vec![], reversed, &Prices::none(), &body_of).0, steps, "in any order");
    assert!(loose.is_empty());
    let [agent, call, tool] = &steps[..] else { panic!("{steps:#?}") };
    assert_eq!((agent.kind.clone(), agent.facts.session_id.as_deref()), (StepType::Agent, Some("s1")));
    assert!(agent.output.as_deref().is_some_and(|output| output.contains("Done.")));
    assert_eq!((call.kind.clone(), call.parent_id.as_deref()), (StepType::ModelCall, Some(agent.id.as_str())));
    assert_eq!((call.usage.input, call.usage.total, call.cost), (Some(1200), Some(1500), Some(0.005)));
    assert_eq!((tool.kind.clone(), tool.name.as_str(), tool.status), (StepType::ToolCall, "Bash", Status::Error));
    assert_eq!(tool.input.as_deref(), Some(r#"{"command":"ls"}"#));
}
