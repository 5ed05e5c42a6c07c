//! Message events of the first GenAI conventions as one JSON list in an attribute (`events`, `all_messages_events`):
//! what went in, and what came out of it, in one row.

use serde_json::{Map, Value};

use crate::mapping::canonical::{self, Message};
use crate::mapping::gen_ai_legacy;

/// The messages on either side, written as the GenAI conventions do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sides {
    pub input: Option<String>,
    pub output: Option<String>,
}

/// Choices are the answer; without any, what the assistant says last is.
pub(super) fn sides(events: Value) -> Sides {
    let Value::Array(events) = events else { return Sides::default() };
    let events: Vec<Map<String, Value>> = events
        .into_iter()
        .filter_map(|event| match event {
            Value::Object(event) => Some(event),
            _ => None,
        })
        .collect();
    let has_choice = events.iter().any(|event| role(event) == Some(CHOICE));
    let end = events.iter().rposition(|event| role(event) != Some("assistant")).map_or(0, |last| last + 1);
    let (mut input, mut output): (Vec<Message<'_>>, Vec<Message<'_>>) = Default::default();
    for (place, event) in events.into_iter().enumerate() {
        match role(&event).map(str::to_owned) {
            Some(word) if word == CHOICE => output.push(gen_ai_legacy::choice(event)),
            Some(role) if !has_choice && place >= end => output.push(gen_ai_legacy::message(role, event)),
            Some(role) => input.push(gen_ai_legacy::message(role, event)),
            None => {}
        }
    }
    Sides { input: canonical::write(&input), output: canonical::write(&output) }
}

const CHOICE: &str = "choice";

/// The sender's word for the role, else that in the name of the event.
fn role(event: &Map<String, Value>) -> Option<&str> {
    let name = event.get("event.name").and_then(Value::as_str).unwrap_or_default();
    match name.strip_prefix("gen_ai.") {
        Some(CHOICE) => Some(CHOICE),
        // What Logfire cannot read keeps its JSON in `data`.
        Some("unknown") => None,
        word => event
            .get("role")
            .and_then(Value::as_str)
            .or_else(|| word?.strip_suffix(".message"))
            .filter(|role| !role.is_empty()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(events: &str) -> (String, String) {
        let sides = sides(serde_json::from_str(events).unwrap());
        (sides.input.unwrap_or_default(), sides.output.unwrap_or_default())
    }

    #[test]
    fn a_choice_is_the_answer() {
        let (input, output) = read(
            r#"[{"event.name":"gen_ai.user.message","content":"Hi","role":"user"},
                {"event.name":"gen_ai.choice","index":0,"message":{"role":"assistant","content":"Hello"}}]"#,
        );
        assert_eq!(input, r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#);
        assert_eq!(output, r#"[{"role":"assistant","parts":[{"type":"text","content":"Hello"}]}]"#);
    }

    #[test]
    fn without_a_choice_the_last_words_are() {
        let (input, output) = read(
            r#"[{"event.name":"gen_ai.user.message","content":"Weather?"},
                {"event.name":"gen_ai.assistant.message","role":"assistant","tool_calls":[{"id":"c","function":{"name":"now","arguments":"{}"}}]},
                {"event.name":"gen_ai.tool.message","role":"tool","id":"c","content":"18 C"},
                {"event.name":"gen_ai.unknown","role":"unknown","data":{}},
                {"role":"assistant","content":"18 C"}]"#,
        );
        assert!(input.contains(r#"{"type":"tool_call_response","id":"c","response":"18 C"}"#), "{input}");
        assert_eq!(output, r#"[{"role":"assistant","parts":[{"type":"text","content":"18 C"}]}]"#);
        assert_eq!(read("[]"), Default::default());
        assert_eq!(read("[1, {}]"), Default::default());
        assert_eq!(read("{}"), Default::default());
    }
}
