//! Haystack's own tracer (`haystack.*`), and what its OpenInference instrumentation leaves in the output: model and usage
//! stand nowhere but in the replies of the components.

use std::collections::HashSet;

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Count, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::python_literal;
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const TOOL: &str = "haystack.tool.name";
const COMPONENT: &str = "haystack.component.type";
const INPUT: &str = "input.value";
const OUTPUT: &str = "output.value";
const OPENINFERENCE: &str = "openinference.instrumentation.haystack";
/// How Python prints a message, and where it keeps what the provider told.
const PRINTED_MESSAGE: &str = "ChatMessage(";
const PRINTED_META: &str = "_meta=";
/// Longer outputs are not searched for usage, deeper ones not to their ground.
const SEARCHED_BYTES_MAX: usize = 1 << 20;
const LEVELS_MAX: usize = 6;

const CONTENTS: [(&str, &str); 6] = [
    ("haystack.agent.step.llm.input", "haystack.agent.step.llm.output"),
    ("haystack.agent.step.tool.input", "haystack.agent.step.tool.output"),
    ("haystack.agent.step.tool_input", "haystack.agent.step.tool_output"),
    ("haystack.agent.input", "haystack.agent.output"),
    ("haystack.pipeline.input_data", "haystack.pipeline.output_data"),
    ("haystack.component.input", "haystack.component.output"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("haystack.") || sent.span.name.starts_with("haystack.") || is_openinference(sent)
}

fn is_openinference(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name == OPENINFERENCE
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.span.name.as_str() {
        "haystack.pipeline.run" | "haystack.async_pipeline.run" | "haystack.agent.step" => StepType::Workflow,
        "haystack.agent.run" => StepType::Agent,
        "haystack.agent.step.llm" => StepType::ModelCall,
        // Some releases run all tools of a turn in one span, which then is the call of none.
        "haystack.agent.step.tool" if sent.has(TOOL) => StepType::ToolCall,
        "haystack.agent.step.tool" => StepType::Workflow,
        "haystack.component.run" => StepType::Workflow,
        _ => match sent.text(COMPONENT) {
            Some(_) => StepType::Workflow,
            None => return,
        },
    };
    let component = sent.text(COMPONENT).and_then(component);
    choice.offer(kind::VENDOR_KIND, component.unwrap_or(typed), COMPONENT);
}

/// The end of a component's class tells what it does.
fn component(class: &str) -> Option<StepType> {
    let ends: [(&str, StepType); 5] = [
        ("Generator", StepType::ModelCall),
        ("Embedder", StepType::Embedding),
        ("Retriever", StepType::Retrieval),
        ("Ranker", StepType::Rerank),
        ("Agent", StepType::Agent),
    ];
    ends.into_iter().find(|(end, _)| class.ends_with(end)).map(|(_, typed)| typed)
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if is_openinference(sent) {
        if !kind.is_call() && !draft.has_counts() {
            claim(sent, draft);
        }
        return;
    }
    match kind {
        StepType::ToolCall => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, TOOL)]),
        StepType::Agent => draft.offer_texts(
            sent,
            &[
                (Text::Name, field::SECONDARY, "haystack.agent.name"),
                (Text::Name, field::SECONDARY + 1, "haystack.component.name"),
            ],
        ),
        _ => draft.offer_texts(sent, &[(Text::Name, field::SECONDARY, "haystack.component.name")]),
    }
    for (input, output) in CONTENTS {
        draft.offer_attribute(Side::Input, Family::Haystack, sent, input);
        // Vectors are no text: the answer of an embedder stays an attribute.
        if *kind != StepType::Embedding {
            draft.offer_attribute(Side::Output, Family::Haystack, sent, output);
        }
    }
    if kind.is_call() {
        for (_, key) in CONTENTS {
            if let Some(answer) = sent.text(key) {
                content_json::read_answer(draft, key, answer);
            }
        }
    }
}

/// What the calls below have used, where no span shows them: the sum that an agent gives, else that of its messages.
fn claim(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    let Some(output) = sent.text(OUTPUT).filter(|output| output.len() <= SEARCHED_BYTES_MAX) else { return };
    content_json::read_total_usage(draft, OUTPUT, output);
    if !output.contains(PRINTED_META) || (draft.has_counts() && !draft.wants(Text::Model, field::CONTENT)) {
        return;
    }
    let Ok(output) = serde_json::from_str::<Value>(output) else { return };
    let input = sent.text(INPUT).unwrap_or_default();
    let mut messages = HashSet::new();
    let mut metas = Vec::new();
    find_metas(&output, input, 0, &mut messages, &mut metas);
    if let Some(model) = metas.iter().rev().find_map(|meta| meta.get("model")?.as_str()) {
        draft.offer_text(Text::Model, field::CONTENT, OUTPUT, model.to_owned().into());
    }
    if draft.has_counts() {
        return;
    }
    let usages = || metas.iter().filter_map(|meta| meta.get("usage"));
    for (count, name) in
        [(Count::Input, "prompt_tokens"), (Count::Output, "completion_tokens"), (Count::Total, "total_tokens")]
    {
        let sum = usages()
            .filter_map(|usage| usage.get(name)?.as_i64())
            .fold(None, |sum: Option<i64>, n| Some(sum.unwrap_or(0).saturating_add(n.max(0))));
        if let Some(sum) = sum {
            draft.offer_count(count, field::CONTENT, OUTPUT, sum);
        }
    }
}

/// What the provider told about each printed message, once; those of the input were paid for before.
fn find_metas<'v>(value: &'v Value, input: &str, level: usize, seen: &mut HashSet<&'v str>, found: &mut Vec<Value>) {
    if level > LEVELS_MAX {
        return;
    }
    match value {
        Value::String(text) if text.starts_with(PRINTED_MESSAGE) && seen.insert(text) => {
            let meta = text.rfind(PRINTED_META).map(|at| &text[at + PRINTED_META.len()..]);
            if let Some((meta @ Value::Object(_), _)) = meta.and_then(python_literal::read_start)
                && !is_in(input, text)
            {
                found.push(meta);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| find_metas(item, input, level + 1, seen, found)),
        Value::Object(members) => members.values().for_each(|item| find_metas(item, input, level + 1, seen, found)),
        _ => {}
    }
}

/// Whether the JSON text `input` holds `text` as a string.
fn is_in(input: &str, text: &str) -> bool {
    serde_json::to_string(text).is_ok_and(|quoted| input.contains(&quoted))
}
