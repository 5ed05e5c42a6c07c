use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn one(value: Value) -> Message {
    let read = parse(&value.to_string()).unwrap_or_else(|| panic!("no messages in {value}"));
    assert_eq!(read.len(), 1, "{read:?}");
    read.into_iter().next().unwrap_or_default()
}

fn call(id: &str, name: &str, arguments: Value) -> Part {
    Part::ToolCall { id: Some(id.to_owned()), name: name.to_owned(), arguments }
}

fn result(id: &str, content: &str, is_error: bool) -> Part {
    Part::ToolResult { id: Some(id.to_owned()), name: None, content: Value::from(content), is_error }
}

#[test]
fn semconv_parts() {
    let read = parse(
        r#"[{"role":"user","parts":[{"type":"text","content":"Weather?"}],"name":null},
            {"role":"assistant","parts":[{"type":"reasoning","content":"hm"},{"type":"tool_call","id":"c1","name":"get_weather","arguments":{"city":"Paris"}}],"finish_reason":"tool_calls"},
            {"role":"tool","parts":[{"type":"tool_call_response","id":"c1","response":"18 C"}]}]"#,
    )
    .unwrap_or_default();
    assert_eq!(read.len(), 3);
    assert_eq!(read[0].text().as_deref(), Some("Weather?"));
    assert_eq!(read[1].parts, [Part::Reasoning("hm".into()), call("c1", "get_weather", json!({"city": "Paris"}))]);
    assert_eq!(read[1].finish_reason.as_deref(), Some("tool_calls"));
    assert_eq!(read[2].parts, [result("c1", "18 C", false)]);
}

#[test]
fn openai_chat_with_choices() {
    let read = one(json!({"id": "x", "choices": [{"finish_reason": "tool_calls", "message": {"content": null,
        "role": "assistant", "tool_calls": [{"id": "c1", "type": "function",
        "function": {"name": "f", "arguments": "{\"a\": 1}"}}]}}]}));
    assert_eq!(read.parts, [call("c1", "f", json!("{\"a\": 1}"))]);
    assert_eq!(read.finish_reason.as_deref(), Some("tool_calls"));
    let tool = one(json!([{"role": "tool", "tool_call_id": "c1", "content": "18 C"}]));
    assert_eq!(tool.parts, [result("c1", "18 C", false)]);
}

#[test]
fn openai_responses() {
    let read = parse(
        &json!({"instructions": "Be kind.", "output": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}]}]})
        .to_string(),
    )
    .unwrap_or_default();
    let roles: Vec<&str> = read.iter().map(|m| m.role.as_str()).collect();
    assert_eq!(roles, ["system", "assistant", "assistant", "assistant"]);
    assert_eq!(read[2].parts, [call("c1", "f", json!("{}"))]);
    let output = one(json!([{"type": "function_call_output", "call_id": "c1", "output": "ok"}]));
    assert_eq!(output.parts, [result("c1", "ok", false)]);
}

#[test]
fn anthropic_blocks() {
    let read = parse(
        &json!({"system": "Be kind.", "messages": [
            {"role": "assistant", "content": [{"type": "thinking", "thinking": "hm"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "bad", "is_error": true}]}]})
        .to_string(),
    )
    .unwrap_or_default();
    assert_eq!(read[0].role, "system");
    assert_eq!(read[1].parts[1], call("t1", "f", json!({"a": 1})));
    assert_eq!(read[2].parts, [result("t1", "bad", true)]);
}

#[test]
fn gemini_contents() {
    let read = parse(
        &json!({"contents": [{"role": "user", "parts": [{"text": "Hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "ok"}}}]}],
            "config": {"system_instruction": "Be kind."}})
        .to_string(),
    )
    .unwrap_or_default();
    assert_eq!(read[0].text().as_deref(), Some("Be kind."));
    assert_eq!(read[2].role, "assistant");
    assert_eq!(read[2].parts, [Part::ToolCall { id: None, name: "f".into(), arguments: json!({"a": 1}) }]);
    assert!(matches!(&read[3].parts[0], Part::ToolResult { name: Some(name), .. } if name == "f"));
    let answer = one(json!({"candidates": [{"content": {"parts": [{"text": "Hello"}], "role": "model"}}]}));
    assert_eq!(answer.text().as_deref(), Some("Hello"));
}

#[test]
fn bedrock_converse() {
    let read = one(json!({"output": {"message": {"role": "assistant",
        "content": [{"text": "I look."}, {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": 1}}}]}},
        "stopReason": "tool_use"}));
    assert_eq!(read.parts, [Part::Text("I look.".into()), call("t1", "f", json!({"a": 1}))]);
    let back = one(json!([{"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "status": "error",
        "content": [{"text": "bad"}]}}]}]));
    assert!(matches!(&back.parts[0], Part::ToolResult { is_error: true, .. }));
}

#[test]
fn langchain_in_its_four_forms() {
    let constructor =
        one(json!({"messages": [[{"lc": 1, "type": "constructor", "id": ["langchain", "schema", "messages",
        "HumanMessage"], "kwargs": {"content": "Hi", "type": "human"}}]]}));
    assert_eq!((constructor.role.as_str(), constructor.text().as_deref()), ("user", Some("Hi")));
    let data = one(json!([{"type": "ai", "data": {"content": "", "tool_calls":
        [{"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}],
        "response_metadata": {"finish_reason": "tool_calls"}}}]));
    assert_eq!(data.parts, [call("c1", "f", json!({"a": 1}))]);
    assert_eq!(data.finish_reason.as_deref(), Some("tool_calls"));
    let flat = one(json!([{"content": "18 C", "type": "tool", "tool_call_id": "c1", "id": "own", "status": "error"}]));
    assert_eq!(flat.parts, [result("c1", "18 C", true)]);
    let graph = one(json!([{"graph": null, "update": {"messages": [{"type": "ai", "data": {"content": "Hello"}}]}}]));
    assert_eq!(graph.text().as_deref(), Some("Hello"));
    let generation = one(json!({"generations": [[{"text": "Hello", "generation_info": {"finish_reason": "stop"},
        "message": {"lc": 1, "type": "constructor", "id": ["AIMessage"], "kwargs": {"content": "Hello", "type": "ai"}}}]]}));
    assert_eq!((generation.text().as_deref(), generation.finish_reason.as_deref()), (Some("Hello"), Some("stop")));
}

#[test]
fn ai_sdk_parts() {
    let read = parse(
        &json!([{"role": "assistant", "content": [{"type": "tool-call", "toolCallId": "c1", "toolName": "f", "input": {"a": 1}}]},
            {"role": "tool", "content": [{"type": "tool-result", "toolCallId": "c1", "toolName": "f",
             "output": {"type": "error-text", "value": "bad"}}]}])
        .to_string(),
    )
    .unwrap_or_default();
    assert_eq!(read[0].parts, [call("c1", "f", json!({"a": 1}))]);
    let Part::ToolResult { content, is_error, .. } = &read[1].parts[0] else { panic!("{read:?}") };
    assert!(is_error);
    assert_eq!(result_text(content), "bad");
}

#[test]
fn events_of_the_first_conventions() {
    let read = parse(
        &json!([{"event.name": "gen_ai.user.message", "content": "Hi"},
            {"event.name": "gen_ai.tool.message", "id": "c1", "content": "18 C"},
            {"event.name": "gen_ai.choice", "finish_reason": "stop", "message": {"role": "assistant", "content": "Hello"}}])
        .to_string(),
    )
    .unwrap_or_default();
    assert_eq!(read[0].role, "user");
    assert_eq!(read[1].parts, [result("c1", "18 C", false)]);
    assert_eq!((read[2].text().as_deref(), read[2].finish_reason.as_deref()), (Some("Hello"), Some("stop")));
}

#[test]
fn roles_as_keys_bare_calls_and_blocks() {
    let read = parse(r#"["{\"system\": \"Be brief.\"}", "{\"user\": \"Hi\"}"]"#).unwrap_or_default();
    let said: Vec<_> = read.iter().map(|m| (m.role.as_str(), m.text().unwrap_or_default())).collect();
    assert_eq!(said, [("system", "Be brief.".to_owned()), ("user", "Hi".to_owned())]);
    assert_eq!(parse(r#"{"user": "Ada", "age": 7}"#), None);

    let chat = one(json!([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]));
    assert_eq!(chat.parts, [call("c1", "f", json!("{}"))]);
    let sdk = one(json!([{"toolCallType": "function", "toolCallId": "c1", "toolName": "f", "args": "{}"}]));
    assert_eq!(sdk.parts, [call("c1", "f", json!("{}"))]);
    let answered = one(json!([{"toolCallId": "c1", "toolName": "f", "args": {}, "result": "ok"}]));
    assert!(matches!(&answered.parts[0], Part::ToolResult { id: Some(id), .. } if id == "c1"));

    let blocks = one(json!({"message": {"role": "assistant", "additional_kwargs": {},
        "blocks": [{"block_type": "text", "text": "Hello"}]}, "raw": {}}));
    assert_eq!(blocks.text().as_deref(), Some("Hello"));
    let thread = one(json!({"role": "user", "content": {"text": {"value": "Hi"}}}));
    assert_eq!(thread.text().as_deref(), Some("Hi"));
}

#[test]
fn one_broken_part_keeps_its_neighbours() {
    let read = parse(
        r#"[{"role":"user","content":[{"type":"text"},7,{"type":"hologram"},{"type":"text","text":"Hi"}]},[],5]"#,
    )
    .unwrap_or_default();
    assert_eq!(read[0].text().as_deref(), Some("Hi"));
    assert_eq!(read[0].parts.len(), 4);
}

#[test]
fn json_in_strings_is_opened_four_levels_deep() {
    let mut text = json!([{"role": "user", "content": "Hi"}]).to_string();
    for _ in 0..LEVELS_MAX {
        assert_eq!(input_text(&text).as_deref(), Some("Hi"));
        text = Value::String(text).to_string();
    }
}

#[test]
fn what_is_no_message_is_none() {
    for text in [
        "",
        "Hi",
        "{}",
        "[]",
        "[1,2]",
        "{\"a\":1}",
        "ChatMessage(role='user')",
        "{\"role\":\"admin\",\"id\":7,\"x\":1}",
    ] {
        assert_eq!(parse(text), None, "{text}");
    }
}

#[test]
fn input_texts() {
    let cases = [
        ("Hi", Some("Hi")),
        ("Hi \n", Some("Hi \n")),
        (r#"{"args": ["Hi"], "kwargs": {}}"#, Some("Hi")),
        (r#"{"args": [], "kwargs": {"question": "Hi"}}"#, Some("Hi")),
        (
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}]}"#,
            Some("c"),
        ),
        (
            r#"[{"role":"user","content":"a"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"x"}]}]"#,
            Some("a"),
        ),
        (r#"{"inputs": {"question": "Hi"}}"#, Some("Hi")),
        (r#"{"inputs": {"messages": [["system", "Be kind."], ["human", "Hi"]]}}"#, Some("Hi")),
        (r#"["a","b"]"#, Some("a\nb")),
        (r#"["user","b"]"#, Some("user\nb")),
        (r#""Hi""#, Some("Hi")),
        (r#"{"city":"Paris"}"#, Some("Paris")),
        (r#"{"x": 1, "y": {"z": 2}}"#, None),
        ("<app.Agent object at 0x7f00>", None),
        ("ChatMessage(role='user', content='Hi')", None),
        ("id='7' source='user' metadata={}", None),
        ("What is f(x=1)?", Some("What is f(x=1)?")),
        ("null", None),
        ("'None'", None),
        (r#"{"output": null}"#, None),
    ];
    for (stored, want) in cases {
        assert_eq!(input_text(stored).as_deref(), want, "{stored}");
    }
}

#[test]
fn output_texts() {
    let cases = [
        ("18 C\n", Some("18 C\n")),
        (r#"{"choices":[{"message":{"role":"assistant","content":"Hi"}}]}"#, Some("Hi")),
        (r#"{"result": "Hi"}"#, Some("Hi")),
        (r#"{"output": {"answer": "Hi"}}"#, Some("Hi")),
        (r#"[{"text":"Hi"}]"#, Some("Hi")),
        (r#"{"blocks":[{"type":"text","text":"Hi"}]}"#, Some("Hi")),
        (r#"{"x": 1, "y": 2}"#, None),
        (
            r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"f","arguments":"{\"a\": 1}"}]}]"#,
            Some(r#"[{"arguments":{"a":1},"id":"c","name":"f"}]"#),
        ),
    ];
    for (stored, want) in cases {
        assert_eq!(output_text(stored).as_deref(), want, "{stored}");
    }
}

#[test]
fn an_answer_of_an_earlier_turn_is_not_this_turns() {
    let stored = json!([{"role": "user", "content": "a"}, {"role": "assistant", "content": "old"},
        {"role": "user", "content": "b"}, {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f"}}]}]);
    assert!(matches!(output_view(&stored.to_string()), OutputText::ToolCalls(_)));
}

#[test]
fn tool_values_without_their_wrapping() {
    assert_eq!(tool_arguments(r#"{"args": [], "kwargs": {"city": "Paris"}}"#), json!({"city": "Paris"}));
    assert_eq!(tool_arguments(r#""{\"city\": \"Paris\"}""#), json!({"city": "Paris"}));
    assert_eq!(tool_arguments("Paris"), json!("Paris"));
    assert_eq!(tool_arguments(r#"[{"city": "Paris"}]"#), json!({"city": "Paris"}));
    assert_eq!(tool_arguments(r#"{"name": "f", "arguments": "{\"a\": 1}"}"#), json!({"a": 1}));
    // A tool may well have parameters of these names.
    assert_eq!(tool_arguments(r#"{"name": "Ada", "input": "x"}"#), json!({"name": "Ada", "input": "x"}));
    assert!(same_arguments(&json!(["Paris"]), &json!({"city": "Paris"})));
    assert_eq!(result_text(&json!({"id": "c1", "name": "f", "response": {"result": "18 C"}})), "18 C");
    assert_eq!(result_text(&json!({"name": "Ada", "age": 7})), r#"{"age":7,"name":"Ada"}"#);
    assert!(same_arguments(&json!({"city": "Paris", "unit": null}), &json!("{\"city\": \"Paris\"}")));
    assert!(same_arguments(&json!("Paris"), &json!({"city": "Paris"})));
    assert!(same_arguments(&json!(""), &json!({})));
    assert!(!same_arguments(&json!({"city": "Rome"}), &json!({"city": "Paris"})));
    assert_eq!(result_text(&json!([{"type": "text", "text": "18 C"}])), "18 C");
    assert_eq!(result_text(&json!("\"18 C\"")), "18 C");
    assert_eq!(result_text(&json!({"type": "tool", "data": {"content": "18 C", "name": "f"}})), "18 C");
    assert_eq!(result_text(&json!("18 C")), "18 C");
}

#[test]
fn deep_nesting_is_refused_not_followed() {
    for shape in ["[", "{\"messages\":[", "{\"content\":"] {
        let text = shape.repeat(100_000);
        assert_eq!(parse(&text), None);
        output_text(&text);
    }
    let deep = format!("{}{}", "[".repeat(120), "]".repeat(120));
    assert_eq!(parse(&deep), None);
    input_text(&deep);
}

fn json_value() -> impl Strategy<Value = Value> {
    const KEYS: [&str; 24] = [
        "role",
        "content",
        "parts",
        "type",
        "messages",
        "message",
        "choices",
        "tool_calls",
        "function",
        "name",
        "arguments",
        "id",
        "text",
        "output",
        "input",
        "args",
        "kwargs",
        "data",
        "lc",
        "generations",
        "toolUse",
        "value",
        "event.name",
        "result",
    ];
    const WORDS: [&str; 12] = [
        "user",
        "assistant",
        "tool",
        "text",
        "tool_call",
        "human",
        "constructor",
        "gen_ai.choice",
        "",
        "{\"a\":1}",
        "[[]]",
        "null",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        prop::sample::select(&WORDS[..]).prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((prop::sample::select(&KEYS[..]), inner.clone()), 0..5)
                .prop_map(|pairs| pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect::<Value>()),
            inner.prop_map(|value| Value::String(value.to_string())),
        ]
    })
}

#[test]
fn a_shell_and_an_error_are_no_answer() {
    for nothing in [
        "null",
        r#"{"files":[],"reasoning":[],"text":"","warnings":[]}"#,
        r#"{"error_code":"RESOURCE_EXHAUSTED","error_message":"try later","content":null}"#,
        r#"{"type":"error","error":{"message":"no"}}"#,
    ] {
        assert!(!is_answer(nothing), "{nothing}");
    }
    for answer in
        ["Paris", "{\"city\":\"Paris\"}", r#"{"error_code":"PARTIAL","content":{"parts":[1]}}"#, "[]x", "{broken"]
    {
        assert!(is_answer(answer), "{answer}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        parse(&text);
        input_text(&text);
        output_text(&text);
        tool_arguments(&text);
    }

    #[test]
    fn no_json_panics_and_views_are_never_empty(value in json_value()) {
        let text = value.to_string();
        parse(&text);
        prop_assert!(input_text(&text).is_none_or(|view| !view.is_empty()));
        prop_assert!(output_text(&text).is_none_or(|view| !view.is_empty()));
        result_text(&value);
        prop_assert!(same_arguments(&value, &value));
    }
}

#[test]
fn messages_of_genkit_flue_and_livekit() {
    let genkit = r#"{"messages":[{"role":"user","content":[{"text":"Weather?"}]},
        {"role":"model","content":[{"toolRequest":{"name":"now","ref":"c1","input":{"city":"Paris"}}}]},
        {"role":"tool","content":[{"toolResponse":{"name":"now","ref":"c1","output":"18 C"}}]}]}"#;
    let flue = r#"{"messages":[{"role":"user","content":[{"type":"text","text":"Weather?"}]},
        {"role":"assistant","content":[{"type":"toolCall","id":"c1","name":"now","arguments":{"city":"Paris"}}]},
        {"role":"toolResult","toolCallId":"c1","toolName":"now","content":[{"type":"text","text":"18 C"}]}]}"#;
    let livekit = r#"{"items":[{"type":"message","role":"user","content":["Weather?"]},
        {"type":"function_call","call_id":"c1","name":"now","arguments":"{\"city\":\"Paris\"}"},
        {"type":"function_call_output","call_id":"c1","name":"now","output":"18 C","is_error":false}]}"#;
    for stored in [genkit, flue, livekit] {
        let messages = parse(stored).unwrap_or_default();
        assert_eq!(messages.len(), 3, "{stored}");
        assert_eq!(messages[0].text().as_deref(), Some("Weather?"));
        let Part::ToolCall { id: Some(id), name, arguments } = &messages[1].parts[0] else { panic!("{stored}") };
        assert_eq!((id.as_str(), name.as_str()), ("c1", "now"));
        assert!(same_arguments(arguments, &serde_json::json!({"city": "Paris"})));
        let Part::ToolResult { id: Some(id), content, .. } = &messages[2].parts[0] else { panic!("{stored}") };
        assert_eq!((id.as_str(), result_text(content).as_str()), ("c1", "18 C"));
        assert_eq!(input_text(stored).as_deref(), Some("Weather?"));
    }
}
