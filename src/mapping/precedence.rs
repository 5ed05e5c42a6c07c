//! Who is believed before whom. Dialects do not know of each other: each offers what it read together with a rank
//! from here, and the lowest rank wins. Ranks leave gaps for the dialects between.

use crate::model::step::StepType;

/// How strongly something tells the type of a step.
pub(super) mod kind {
    /// A name or key that gives away what a less specific kind gets wrong: a handoff that is marked as a tool.
    pub const STRUCTURE: u8 = 2;
    /// The kind that an instrumentation wrote down as such: `openinference.span.kind`.
    pub const VENDOR_KIND: u8 = 3;
    /// `gen_ai.operation.name`.
    pub const OPERATION: u8 = 4;
    /// A tool's name or call id. After the operation: some chat spans carry the tool that the model asked for.
    pub const TOOL_KEYS: u8 = 6;
    /// A model with usage or messages.
    pub const MODEL_KEYS: u8 = 7;
    /// Conventions beyond GenAI: HTTP, database, RPC, messaging.
    pub const GENERIC: u8 = 8;
    /// No duration at all.
    pub const EVENT: u8 = 9;
}

/// Ranks of single values, most trusted first.
pub(super) mod field {
    pub const GEN_AI_RESPONSE: u8 = 20;
    pub const OPENINFERENCE_RESPONSE: u8 = 40;
    /// What a GenAI span says of itself where there is no request and response to tell apart.
    pub const GEN_AI: u8 = 50;
    pub const GEN_AI_LEGACY: u8 = 55;
    pub const GEN_AI_REQUEST: u8 = 60;
    pub const OPENINFERENCE: u8 = 80;
    pub const OPENINFERENCE_EMBEDDING: u8 = 82;
    pub const OPENINFERENCE_RERANKER: u8 = 84;
    pub const OPENINFERENCE_REQUEST: u8 = 90;
    /// An old or weaker key of a dialect that has a better one.
    pub const SECONDARY: u8 = 100;
    /// Keys inside the sender's own metadata.
    pub const METADATA: u8 = 120;
    /// Found inside the JSON text of an input or output.
    pub const CONTENT: u8 = 200;
    pub const INVOCATION_PARAMETERS: u8 = 210;
    pub const RESOURCE: u8 = 230;
    /// Concluded from a host or model name.
    pub const GUESS: u8 = 250;
}

/// Ranks of what may be known about the session and the user; OpenInference's plain keys come before the rest.
pub(super) mod identity {
    pub const PLAIN: u8 = 20;
    pub const GEN_AI: u8 = 30;
    pub const END_USER: u8 = 32;
    pub const METADATA: u8 = 120;
    pub const RESOURCE: u8 = 230;
}

/// Where an error text may come from after the span's own status message and exception.
pub(super) mod error_text {
    pub const MESSAGE: u8 = 40;
    pub const HTTP_STATUS: u8 = 60;
}

/// A source of a step's input and, mirrored, of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    GenAiMessages,
    OpenInferenceMessages,
    MessageEvents,
    OperationDetails,
    ContentEvents,
    ToolCall,
    ToolEvents,
    /// Query and documents of a retrieval or a reranking.
    Retrieval,
    Memory,
    EmbeddedTexts,
    GenAiPrompt,
    OpenInferencePrompts,
    OpenInferenceValue,
    /// The schema or, with some instrumentations, the arguments.
    ToolParameters,
    /// Statement of a database, status of a response.
    Generic,
}

use Family::*;

const MODEL_CALL: &[Family] = &[
    GenAiMessages,
    OpenInferenceMessages,
    MessageEvents,
    OperationDetails,
    ContentEvents,
    GenAiPrompt,
    OpenInferencePrompts,
    OpenInferenceValue,
    Generic,
];

const TOOL_CALL: &[Family] =
    &[ToolCall, ToolEvents, OpenInferenceValue, GenAiPrompt, ToolParameters, GenAiMessages, Generic];

const RETRIEVAL: &[Family] =
    &[Retrieval, Memory, GenAiMessages, MessageEvents, OperationDetails, OpenInferenceValue, GenAiPrompt, Generic];

const EMBEDDING: &[Family] = &[EmbeddedTexts, GenAiMessages, OpenInferenceValue, GenAiPrompt, Generic];

const OTHERS: &[Family] = &[
    GenAiMessages,
    MessageEvents,
    OperationDetails,
    OpenInferenceValue,
    GenAiPrompt,
    OpenInferenceMessages,
    ContentEvents,
    ToolCall,
    Generic,
];

/// The sources that a step of this type may take its texts from, best first.
pub(super) fn families(kind: &StepType) -> &'static [Family] {
    match kind {
        StepType::ModelCall => MODEL_CALL,
        StepType::ToolCall => TOOL_CALL,
        StepType::Retrieval | StepType::Rerank | StepType::Memory => RETRIEVAL,
        StepType::Embedding => EMBEDDING,
        _ => OTHERS,
    }
}
