use serde_json::json;

use super::worked::{Sent, id, run_from_scopes, span};
use crate::model::step::{Status, StepType};

const SERVER: i32 = 2;
const CLIENT: i32 = 3;

#[test]
fn example_14_a_web_request_and_one_call_seen_three_times() {
    let usage = [("gen_ai.usage.input_tokens", "1200"), ("gen_ai.usage.output_tokens", "300")];
    let call = |extra: &[(&'static str, &'static str)]| {
        let mut pairs = vec![
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.request.model", "claude-sonnet-4-5"),
            ("gen_ai.response.id", "msg_1"),
        ];
        pairs.extend(usage);
        pairs.extend_from_slice(extra);
        pairs
    };
    let run = run_from_scopes(vec![
        (
            "opentelemetry.instrumentation.asgi",
            vec![
                span(
                    1,
                    None,
                    "POST /ask",
                    (0, 100),
                    &[("http.request.method", "POST"), ("http.response.status_code", "200")],
                )
                .kind(SERVER),
            ],
        ),
        (
            "opentelemetry.instrumentation.anthropic",
            vec![span(
                2,
                Some(1),
                "chat claude-sonnet-4-5",
                (1, 90),
                &call(&[("gen_ai.usage.cache_read.input_tokens", "1024")]),
            )],
        ),
        (
            "com.anthropic.sdk.python",
            vec![
                span(
                    3,
                    Some(2),
                    "anthropic.messages.create",
                    (2, 89),
                    &call(&[("http.response.status_code", "200"), ("gen_ai.usage.cache_write.input_tokens", "0")]),
                )
                .kind(CLIENT),
            ],
        ),
        (
            "opentelemetry.instrumentation.httpx",
            vec![
                span(4, Some(3), "POST", (3, 88), &[("http.method", "POST"), ("http.status_code", "200")]).kind(CLIENT),
            ],
        ),
    ]);
    assert_eq!((run.run.name.as_str(), run.run.status), ("chat claude-sonnet-4-5", Status::Success));
    assert_eq!((run.run.usage.total, run.run.latency_s), (Some(1500), Some(0.089)));
    assert_eq!(run.run.metadata["model_calls"], json!(1));
    assert_eq!(run.mark(&id(1), "frame"), Some(&json!(true)));
    assert_eq!(run.mark(&id(3), "duplicate_of"), Some(&json!(id(2))));
    assert_eq!(run.shown(&id(4)).step.kind, StepType::HttpRequest);
}

#[test]
fn one_tool_through_framework_client_and_server() {
    let call = [("mcp.method.name", "tools/call"), ("gen_ai.tool.name", "get_stock_price")];
    let failed = [call[0], call[1], ("error.type", "tool_error")];
    let run = run_from_scopes(vec![
        (
            "agents",
            vec![
                span(1, None, "assistant", (0, 100), &[("gen_ai.operation.name", "invoke_agent")]),
                span(
                    2,
                    Some(1),
                    "execute_tool get_stock_price",
                    (10, 50),
                    &[
                        ("gen_ai.operation.name", "execute_tool"),
                        ("gen_ai.tool.name", "get_stock_price"),
                        ("gen_ai.tool.call.arguments", r#"{"symbol":"ZZZZ"}"#),
                        ("gen_ai.tool.call.result", "Unknown symbol: ZZZZ"),
                    ],
                ),
            ],
        ),
        (
            "mcp-python-sdk",
            vec![
                span(3, Some(2), "MCP send tools/call get_stock_price", (11, 49), &call).kind(CLIENT),
                span(4, Some(3), "tools/call get_stock_price", (15, 45), &failed).kind(SERVER).status(2, ""),
            ],
        ),
    ]);
    for copy in [3, 4] {
        assert_eq!(run.mark(&id(copy), "duplicate_of"), Some(&json!(id(2))), "{copy}");
    }
    let tool = &run.shown(&id(2)).step;
    // The server only knows that the tool failed; what the tool said is in its result.
    assert_eq!((tool.status, tool.error.as_deref()), (Status::Error, Some("Unknown symbol: ZZZZ")));
    assert_eq!((run.mark(&id(2), "inner_error"), run.run.error_count), (Some(&json!(true)), 1));
    assert_eq!(run.run.status, Status::Success);
}
