//! Genkit for JavaScript, Go and Python (scope `genkit-tracer`): `genkit:metadata:subtype` of an action, input and
//! output as JSON, usage inside the output.

use crate::mapping::content_json;
use crate::mapping::draft::{Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, identity, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const NAME: &str = "genkit:name";
const TYPE: &str = "genkit:type";
const SUBTYPE: &str = "genkit:metadata:subtype";
const INPUT: &str = "genkit:input";
const OUTPUT: &str = "genkit:output";

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("genkit:")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    let typed = match sent.text(SUBTYPE) {
        Some("model" | "background-model") => StepType::ModelCall,
        Some("tool" | "tool.v2") => StepType::ToolCall,
        Some("embedder") => StepType::Embedding,
        Some("retriever") => StepType::Retrieval,
        Some("reranker") => StepType::Rerank,
        Some("evaluator") => StepType::Evaluator,
        Some("agent") => StepType::Agent,
        _ if sent.has(TYPE) || sent.has(SUBTYPE) => StepType::Workflow,
        _ => return,
    };
    let key = if sent.has(SUBTYPE) { SUBTYPE } else { TYPE };
    choice.offer(kind::VENDOR_KIND, typed, key);
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(
        sent,
        &[(Text::Name, field::SECONDARY, NAME), (Text::SessionId, identity::METADATA - 5, "genkit:sessionId")],
    );
    if sent.text("genkit:state") == Some("error") {
        draft.failed = draft.failed.or(Some("genkit:state"));
    }
    draft.offer_attribute(Side::Input, Family::Genkit, sent, INPUT);
    // Vectors are no text.
    if *kind != StepType::Embedding {
        draft.offer_attribute(Side::Output, Family::Genkit, sent, OUTPUT);
    }
    if kind.is_call() {
        if let Some(answer) = sent.text(OUTPUT) {
            content_json::read_answer(draft, OUTPUT, answer);
        }
        // The name of a model begins with the plugin that serves it: `googleai/gemini-2.5-flash`.
        draft.offer_texts(sent, &[(Text::Model, field::SECONDARY, NAME), (Text::RequestModel, field::SECONDARY, NAME)]);
        if let Some((plugin, _)) = sent.text(NAME).and_then(|name| name.split_once('/')) {
            draft.offer_provider(field::SECONDARY, NAME, plugin);
        }
    }
}
