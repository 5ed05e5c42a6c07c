//! Content in span events whose names nobody listed: what was asked and answered, as text or JSON, and the usage. Only
//! for GenAI steps, and only where no attribute and no dialect told it.

use serde_json::{Value, json};

use crate::mapping::any_content;
use crate::mapping::any_prefix;
use crate::mapping::draft::{Content, Draft, KindChoice, Side};
use crate::mapping::familiar::{Words, last_word};
use crate::mapping::precedence::Family;
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::span::{self, Event};
use crate::model::step::StepType;
use crate::model::value::AnyValue;

/// What a failure is told by; its message is nobody's answer.
const EXCEPTION: &str = "exception";

/// Keys of the body of an event, whose side the event's name tells.
const BODY: [&str; 7] = ["content", "message", "payload", "body", "text", "data", "value"];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.events().iter().any(|event| event.name != EXCEPTION)
}

pub(super) fn kind(_: &Sent<'_>, _: &mut KindChoice) {}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if !kind.is_genai() && *kind != StepType::Workflow {
        return;
    }
    let events = || sent.events().iter().filter(|event| event.name != EXCEPTION);
    if !draft.has_counts() {
        events().for_each(|event| any_prefix::usage_of_event(&event.attributes, draft));
    }
    let wanted = |side: Side| draft.content(side).is_none();
    if !wanted(Side::Input) && !wanted(Side::Output) {
        return;
    }
    let mut said: [Vec<Value>; 2] = [Vec::new(), Vec::new()];
    for event in events() {
        if let Some((side, value)) = read(event) {
            said[side as usize].push(value);
        }
    }
    for (side, values) in [Side::Input, Side::Output].into_iter().zip(said) {
        draft.offer_content(side, Family::AnyEvent, || {
            let text = match values.as_slice() {
                [] => return None,
                [Value::String(text)] => text.clone(),
                [one] => one.to_string(),
                several => Value::from(several).to_string(),
            };
            Some(Content { source: "events.*", text: text.into() })
        });
    }
}

/// What an event says, and on which side. A role makes it a message.
fn read(event: &Event) -> Option<(Side, Value)> {
    let role = span::get(&event.attributes, "role").and_then(AnyValue::as_str);
    let by_name = side_of_name(&event.name);
    for (key, value) in event.attributes.iter().filter(|(_, value)| usable::is_usable(value)) {
        let mut buffer = [0; 12];
        let Some(last) = last_word(key, &mut buffer) else { continue };
        let by_key = Words::of(key).and_then(|words| any_content::side_of(&words));
        let side = match role {
            Some("assistant" | "ai" | "model") => Some(Side::Output),
            Some(_) => Some(Side::Input),
            None => by_key.or(by_name),
        };
        let is_body = BODY.contains(&last) || by_key.is_some();
        let (Some(side), true) = (side, is_body) else { continue };
        let value = usable::opened_structure(value);
        return Some((
            side,
            match role {
                Some(role) if !value.get("role").is_some_and(Value::is_string) => message(role, value, event),
                _ => value,
            },
        ));
    }
    None
}

fn message(role: &str, content: Value, event: &Event) -> Value {
    let mut message = json!({"role": role, "content": content});
    for key in ["tool_calls", "tool_call_id", "name"] {
        if let Some(value) = span::get(&event.attributes, key).filter(|value| usable::is_usable(value)) {
            message[key] = usable::opened_structure(value);
        }
    }
    message
}

fn side_of_name(name: &str) -> Option<Side> {
    const OUTPUT: [&str; 7] = ["output", "completion", "response", "choice", "result", "answer", "assistant"];
    const INPUT: [&str; 8] = ["input", "prompt", "user", "system", "request", "question", "query", "argument"];
    let name = name.to_ascii_lowercase();
    if OUTPUT.iter().any(|word| name.contains(word)) {
        return Some(Side::Output);
    }
    INPUT.iter().any(|word| name.contains(word)).then_some(Side::Input)
}
