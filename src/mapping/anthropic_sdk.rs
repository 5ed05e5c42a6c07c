//! Spans of Anthropic's own SDK (scopes `com.anthropic.sdk.*`): GenAI conventions on an HTTP client span, plus a few
//! keys of its own. It counts cache tokens inside the input and writes the wire's stop reason.

use crate::mapping::draft::{Draft, KindChoice, Text};
use crate::mapping::precedence::{field, kind};
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.origin.scope_name.starts_with("com.anthropic.sdk.")
}

/// Calls that are not marked as chat are told by the name of the method.
pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if sent.span.name.starts_with("anthropic.messages.") && sent.has("gen_ai.request.model") {
        choice.offer(kind::MODEL_KEYS, StepType::ModelCall, "gen_ai.request.model");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, _kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_texts(sent, &[(Text::FinishReason, field::SECONDARY, "anthropic.message.stop_reason")]);
}
