//! Inputs and outputs under any prefix: the attribute whose last words name one best, or what was sent member by
//! member.

use crate::mapping::draft::{Content, Draft, Side};
use crate::mapping::familiar::Words;
use crate::mapping::precedence::Family;
use crate::mapping::sent::Sent;
use crate::mapping::unflatten;
use crate::mapping::usable;
use crate::model::step::StepType;
use crate::model::value::AnyValue;

/// Endings of keys that hold an input, best first; the outputs are their mirror.
const INPUTS: [&str; 23] = [
    "input_messages",
    "prompt_messages",
    "request_messages",
    "chat_messages",
    "input_value",
    "input_data",
    "input_content",
    "input_text",
    "input_user",
    "input",
    "inputs",
    "tool_arguments",
    "function_arguments",
    "call_arguments",
    "input_parameters",
    "arguments",
    "user_input",
    "user_query",
    "user_message",
    "query",
    "question",
    "user_prompt",
    "prompt",
];
const OUTPUTS: [&str; 20] = [
    "output_messages",
    "completion_messages",
    "response_messages",
    "output_value",
    "output_data",
    "output_content",
    "output_text",
    "output",
    "outputs",
    "tool_result",
    "tool_output",
    "tool_response",
    "call_result",
    "result",
    "final_answer",
    "answer",
    "response_text",
    "response_content",
    "completion",
    "response",
];
/// What a retrieval found goes before any other output.
const DOCUMENTS: [&str; 4] = ["retrieved_documents", "output_documents", "documents", "retrieval_document"];

/// The best candidates among the attributes of one span.
#[derive(Default)]
pub(super) struct Contents<'a> {
    input: Option<Candidate<'a>>,
    output: Option<Candidate<'a>>,
    /// Where lists and objects begin that were sent member by member.
    members: [Option<&'a str>; 2],
}

#[derive(Clone, Copy)]
struct Candidate<'a> {
    /// In the table of its side.
    place: u8,
    is_bare: bool,
    value: &'a AnyValue,
}

impl<'a> Contents<'a> {
    /// Notes an attribute that may hold an input or output, to be told by its last words.
    pub(super) fn look_at(&mut self, key: &str, value: &'a AnyValue, kind: &StepType) {
        // Laminar's dialect knows which of its values are descriptions and no contents.
        if key.starts_with("lmnr.") {
            return;
        }
        let Some(words) = Words::of(key) else { return };
        if matches!(value, AnyValue::Bool(_)) && *kind != StepType::ToolCall {
            return;
        }
        let documents = || match kind {
            StepType::Retrieval | StepType::Rerank => words.place_in(&DOCUMENTS),
            _ => None,
        };
        let (slot, place) = if let Some(place) = words.place_in(&INPUTS) {
            (&mut self.input, place)
        } else if let Some(place) = words.place_in(&OUTPUTS) {
            (&mut self.output, place + 1)
        } else if documents().is_some() {
            (&mut self.output, 0)
        } else {
            return;
        };
        let is_setting = ["system_", "template", "schema", "setting", "config", "format"];
        if is_setting.iter().any(|part| words.has(part)) || !usable::is_usable(value) {
            return;
        }
        let candidate = Candidate { place, is_bare: !key.contains(['.', '_', ':']), value };
        if slot.is_none_or(|known| place < known.place) {
            *slot = Some(candidate);
        }
    }

    /// Notes where numbered messages and named members of an input or output begin.
    pub(super) fn note_member(&mut self, key: &'a str) {
        const LISTS: [(&str, Side); 12] = [
            ("output_messages.", Side::Output),
            ("output.messages.", Side::Output),
            ("response.messages.", Side::Output),
            ("completions.", Side::Output),
            ("completion.", Side::Output),
            ("choices.", Side::Output),
            ("outputs.", Side::Output),
            ("input_messages.", Side::Input),
            ("prompts.", Side::Input),
            ("prompt.", Side::Input),
            ("inputs.", Side::Input),
            ("messages.", Side::Input),
        ];
        const NAMED: [&str; 2] = ["inputs.", "outputs."];
        if !key.contains(".0") && !key.contains("puts.") {
            return;
        }
        for (list, side) in LISTS {
            let Some(at) = key.find(list) else { continue };
            let end = at + list.len();
            let is_numbered = key[end..].starts_with("0.") || &key[end..] == "0";
            if is_numbered || NAMED.contains(&list) {
                let end = if key[end..].starts_with("_params_.") { end + "_params_.".len() } else { end };
                let slot = &mut self.members[side as usize];
                if slot.is_none_or(|known| end < known.len()) {
                    *slot = Some(&key[..end]);
                }
                return;
            }
        }
    }

    pub(super) fn offer(&self, sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
        for (side, candidate, list, values) in [
            (Side::Input, self.input, "*.input_messages.*", ("*.input", "input")),
            (Side::Output, self.output, "*.output_messages.*", ("*.output", "output")),
        ] {
            // Vectors are no text.
            if side == Side::Output && *kind == StepType::Embedding {
                continue;
            }
            if let Some(Candidate { is_bare, value, .. }) = candidate {
                let (family, source) = match is_bare {
                    true => (Family::PlainValue, values.1),
                    false => (Family::AnyPrefix, values.0),
                };
                draft.offer_content(side, family, || Some(Content { source, text: usable::content_text(value)? }));
            }
            let Some(prefix) = self.members[side as usize] else { continue };
            draft.offer_content(side, Family::AnyPrefix, || {
                let value = unflatten::unflatten(&sent.span.attributes, prefix)?;
                Some(Content { source: list, text: value.to_string().into() })
            });
        }
    }

    /// The output as it was sent, also where it is none of the step's (the vectors of an embedding).
    pub(super) fn raw_output(&self) -> Option<&'a AnyValue> {
        self.output.map(|candidate| candidate.value)
    }
}

/// Which side of a step the key names, if any.
pub(super) fn side_of(words: &Words) -> Option<Side> {
    let side = |endings: &[&str], side| words.place_in(endings).map(|_| side);
    side(&INPUTS, Side::Input).or_else(|| side(&OUTPUTS, Side::Output))
}
