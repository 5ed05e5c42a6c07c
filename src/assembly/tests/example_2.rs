use serde_json::json;

use super::builder::{LIFE, after_s, key, receipt};
use super::worked::span;
use crate::assembly::assemble;
use crate::mapping::{map_logs, map_traces, with_logs};
use crate::model::log::LogRecord;
use crate::model::run::Assembled;
use crate::model::span::Origin;
use crate::model::value::AnyValue;
use crate::otlp::{LogGroup, SpanGroup};
use crate::prices::Prices;

#[test]
fn example_2_content_in_log_records_alone() {
    let call = span(
        1,
        None,
        "chat gpt-4o-mini",
        (0, 50),
        &[
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.system", "openai"),
            ("gen_ai.request.model", "gpt-4o-mini"),
            ("gen_ai.usage.input_tokens", "14"),
            ("gen_ai.usage.output_tokens", "8"),
        ],
    );
    let (trace_id, span_id, start_ns) = (call.trace_id, call.span_id, call.start_ns);
    let record = |ms: u64, name: &str, body| LogRecord {
        time_ns: start_ns + ms * 1_000_000,
        event_name: name.to_owned(),
        body: AnyValue::from_json(body),
        trace_id: Some(trace_id),
        span_id: Some(span_id),
        ..LogRecord::default()
    };
    let answer = json!({"role": "assistant", "content": "The capital of France is Paris."});
    let records = vec![
        record(1, "gen_ai.user.message", json!({"content": "What is the capital of France?"})),
        record(40, "gen_ai.choice", json!({"index": 0, "finish_reason": "stop", "message": answer})),
    ];
    let prices = Prices::shipped();
    let groups = vec![SpanGroup { position: 0, origin: Origin::default(), items: vec![call] }];
    let (steps, _) = map_traces(key().project, groups, after_s(1), &prices);
    let run_of = |steps| -> Assembled { assemble(key(), steps, None, receipt(), &LIFE, after_s(1_000)) };

    let before = run_of(steps.clone());
    assert_eq!((before.run.input.as_str(), before.run.output.as_deref()), ("", None));
    assert_eq!(before.run.metadata["content_captured"], json!(false));

    let (logs, _) =
        map_logs(key().project, vec![LogGroup { position: 0, origin: Origin::default(), items: records }], after_s(2));
    let (steps, loose) = with_logs(steps, logs, &prices, &|_| None);
    assert!(loose.is_empty());
    let run = run_of(steps).run;
    assert_eq!(run.name, "chat gpt-4o-mini");
    assert_eq!(run.input, "What is the capital of France?");
    assert_eq!(run.output.as_deref(), Some("The capital of France is Paris."));
    // 14 x 0.15 + 8 x 0.60 USD by the million.
    assert_eq!((run.usage.total, run.cost), (Some(22), Some(0.000_006_9)));
}
