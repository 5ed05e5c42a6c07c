//! Who is believed before whom. Dialects do not know of each other: each offers what it read together with a rank
//! from here, and the lowest rank wins. Ranks leave gaps for the dialects between.

use crate::model::step::StepType;

/// How strongly something tells the type of a step.
pub(super) mod kind {
    /// What a person or a dedicated SDK said: `langfuse.observation.type`, `lmnr.span.type`.
    pub const OVERRIDE: u8 = 1;
    /// A name or key that gives away what a less specific kind gets wrong: a handoff that is marked as a tool.
    pub const STRUCTURE: u8 = 2;
    /// The kind that an instrumentation wrote down as such: `openinference.span.kind`.
    pub const VENDOR_KIND: u8 = 3;
    /// `gen_ai.operation.name`.
    pub const OPERATION: u8 = 4;
    /// A method, request type or span name that only one convention has: `mcp.method.name`, `ai.operationId`.
    pub const METHOD: u8 = 5;
    /// A tool's name or call id. After the operation: some chat spans carry the tool that the model asked for.
    pub const TOOL_KEYS: u8 = 6;
    /// A model with usage or messages.
    pub const MODEL_KEYS: u8 = 7;
    /// A familiar word under a prefix that nobody listed: `acme.span.kind`.
    pub const ANY_PREFIX: u8 = 8;
    /// Conventions beyond GenAI: HTTP, database, RPC, messaging.
    pub const GENERIC: u8 = 9;
    /// No duration at all.
    pub const EVENT: u8 = 10;
}

/// Ranks of single values, most trusted first.
pub(super) mod field {
    /// Corrects what every other source is known to get wrong.
    pub const CERTAIN: u8 = 1;
    /// Counts that were put right by what the provider itself reported.
    pub const CORRECTED: u8 = 5;
    pub const LANGFUSE: u8 = 10;
    pub const GEN_AI_RESPONSE: u8 = 20;
    pub const OPENINFERENCE_RESPONSE: u8 = 40;
    /// What a GenAI span says of itself where there is no request and response to tell apart.
    pub const GEN_AI: u8 = 50;
    pub const GEN_AI_LEGACY: u8 = 55;
    pub const MLFLOW: u8 = 58;
    pub const GEN_AI_REQUEST: u8 = 60;
    pub const OPENINFERENCE: u8 = 80;
    pub const OPENINFERENCE_EMBEDDING: u8 = 82;
    pub const OPENINFERENCE_RERANKER: u8 = 84;
    pub const OPENINFERENCE_REQUEST: u8 = 90;
    /// An old or weaker key of a dialect that has a better one.
    pub const SECONDARY: u8 = 100;
    /// Keys inside the sender's own metadata.
    pub const METADATA: u8 = 120;
    /// A bare word that only means something on a span which another key typed.
    pub const PLAIN: u8 = 150;
    /// Familiar words under a prefix that nobody listed; the ten ranks from here.
    pub const ANY_PREFIX: u8 = 180;
    /// Found inside the JSON text of an input or output.
    pub const CONTENT: u8 = 200;
    pub const INVOCATION_PARAMETERS: u8 = 210;
    /// Concluded from a host or model name.
    pub const GUESS: u8 = 250;
}

/// Ranks of what may be known about the session and the user; OpenInference's plain keys come before the rest.
pub(super) mod identity {
    pub const LANGFUSE: u8 = 10;
    pub const PLAIN: u8 = 20;
    pub const GEN_AI: u8 = 30;
    pub const END_USER: u8 = 32;
    pub const LANGSMITH: u8 = 60;
    pub const MLFLOW: u8 = 110;
    pub const METADATA: u8 = 120;
    /// Familiar words under a prefix that nobody listed; the ten ranks from here.
    pub const ANY_PREFIX: u8 = 200;
    pub const RESOURCE: u8 = 230;
}

/// Where an error text may come from after the span's own status message and exception.
pub(super) mod error_text {
    /// A vendor's own status message.
    pub const STATUS_MESSAGE: u8 = 30;
    pub const MESSAGE: u8 = 40;
    /// What a failed tool gave as its result.
    pub const RESULT: u8 = 55;
    pub const HTTP_STATUS: u8 = 60;
    pub const ANY_PREFIX: u8 = 80;
}

/// A source of a step's input and, mirrored, of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// `langfuse.observation.input`, `.output`.
    Langfuse,
    /// `lmnr.span.input`, `.output`.
    Laminar,
    /// `langwatch.input`, `.output`.
    LangWatch,
    /// `braintrust.input_json`, `.output_json`.
    Braintrust,
    /// `gen_ai.input.messages`, `gen_ai.output.messages`.
    GenAiMessages,
    /// `llm.input_messages.N.*`, `llm.output_messages.N.*`.
    OpenInferenceMessages,
    /// `ai.prompt.messages`; `ai.response.text` and its siblings.
    AiSdkMessages,
    /// `gen_ai.prompt.N.*`, `gen_ai.completion.N.*`.
    IndexedPrompts,
    /// Events or log records `gen_ai.user.message`, `gen_ai.choice`, ….
    MessageEvents,
    /// Event or log record `gen_ai.client.inference.operation.details`.
    OperationDetails,
    /// Events `gen_ai.content.prompt`, `gen_ai.content.completion`.
    ContentEvents,
    /// `mlflow.spanInputs`, `mlflow.spanOutputs`.
    Mlflow,
    /// `gcp.vertex.agent.llm_request`, `.llm_response`, `.tool_call_args`, `.tool_response`.
    Adk,
    /// `lk.pii.chat_ctx`, `lk.pii.response.text`, ….
    LiveKit,
    /// `gen_ai.request.messages`, `gen_ai.response.text`.
    Sentry,
    /// `raw_input`, `response` of Logfire's OpenAI Agents bridge.
    LogfireRaw,
    /// `request_data`, `response_data` of Logfire.
    LogfireRequest,
    /// `events`, `all_messages_events`: message events as one JSON list.
    EventList,
    /// `final_result`, `pydantic_ai.all_messages`.
    PydanticAi,
    /// `ai.prompt`; `ai.result.text`.
    AiSdkPrompt,
    /// `genkit:input`, `genkit:output`.
    Genkit,
    /// `haystack.*.input`, `haystack.*.output`.
    Haystack,
    /// `mastra.<type>.input`, `.output`.
    Mastra,
    /// `flue.<group>.input`, `.output`.
    Flue,
    /// `spring.ai.tool.call.arguments`, `.result`.
    SpringAi,
    /// `gen_ai.tool.call.arguments`, `.result`; `ai.toolCall.args`, `.result`; `tool_arguments`, `tool_response`.
    ToolCall,
    /// `gen_ai.tool.input`, `gen_ai.tool.args`, `gen_ai.tool.output`: weaker words for the same.
    ToolValues,
    ToolEvents,
    /// `tool_input`, `full_command`, `file_path` and the event `tool.output` of Claude Code.
    ClaudeTool,
    /// `mcp.request.argument.*`, `mcp.tool.result.content`.
    Mcp,
    /// Query and documents of a retrieval or a reranking.
    Retrieval,
    Memory,
    EmbeddedTexts,
    /// `crewai.task.description`, `crew_tasks`, `crewai.crew.result`.
    CrewAi,
    /// `gen_ai.prompt`, `gen_ai.completion` as one value.
    GenAiPrompt,
    /// `llm.prompts.N.prompt.text`, `llm.choices.N.completion.text`.
    OpenInferencePrompts,
    /// `agent.messages`, `llm.messages` of VoltAgent.
    VoltAgent,
    /// `agentops.entity.input`, `.output`.
    AgentOps,
    /// `gen_ai.workflow.input`, `.output`, `gen_ai.agent.task`, `.actual_output`.
    GenAiTask,
    /// `traceloop.entity.input`, `.output`.
    TraceloopEntity,
    /// `input.value`, `output.value`.
    OpenInferenceValue,
    /// `workflow.input`, `workflow.final_output`.
    Workflow,
    /// The schema or, with some instrumentations, the arguments.
    ToolParameters,
    /// `user_prompt`, `prompt`, `response.model_output`.
    PlainPrompt,
    /// Bare `input`, `output`.
    PlainValue,
    /// Known endings under prefixes that nobody listed.
    AnyPrefix,
    /// Events with content, whatever their names.
    AnyEvent,
    /// Statement of a database, status of a response.
    Generic,
}

use Family::*;

const MODEL_CALL: &[Family] = &[
    Langfuse,
    Laminar,
    LangWatch,
    Braintrust,
    GenAiMessages,
    OpenInferenceMessages,
    AiSdkMessages,
    IndexedPrompts,
    MessageEvents,
    OperationDetails,
    ContentEvents,
    Mlflow,
    Adk,
    LiveKit,
    Sentry,
    LogfireRaw,
    LogfireRequest,
    EventList,
    AiSdkPrompt,
    Genkit,
    Haystack,
    Mastra,
    Flue,
    GenAiPrompt,
    OpenInferencePrompts,
    VoltAgent,
    AgentOps,
    TraceloopEntity,
    OpenInferenceValue,
    PlainPrompt,
    AnyPrefix,
    AnyEvent,
    PlainValue,
    Generic,
];

const TOOL_CALL: &[Family] = &[
    Langfuse,
    Laminar,
    LangWatch,
    Braintrust,
    ToolCall,
    Adk,
    LiveKit,
    SpringAi,
    Mlflow,
    ToolValues,
    ToolEvents,
    ClaudeTool,
    Mcp,
    TraceloopEntity,
    OpenInferenceValue,
    Genkit,
    Haystack,
    Mastra,
    Flue,
    AgentOps,
    GenAiPrompt,
    PlainValue,
    ToolParameters,
    GenAiMessages,
    OperationDetails,
    AnyPrefix,
    AnyEvent,
    Generic,
];

const RETRIEVAL: &[Family] = &[
    Retrieval,
    Memory,
    Mcp,
    Langfuse,
    Laminar,
    LangWatch,
    Braintrust,
    GenAiMessages,
    MessageEvents,
    OperationDetails,
    IndexedPrompts,
    Mlflow,
    TraceloopEntity,
    OpenInferenceValue,
    Genkit,
    Haystack,
    Mastra,
    AgentOps,
    GenAiPrompt,
    AnyPrefix,
    PlainValue,
    Generic,
];

const EMBEDDING: &[Family] = &[
    Langfuse,
    Laminar,
    LangWatch,
    Braintrust,
    EmbeddedTexts,
    GenAiMessages,
    IndexedPrompts,
    Mlflow,
    TraceloopEntity,
    OpenInferenceValue,
    Genkit,
    Haystack,
    GenAiPrompt,
    AnyPrefix,
    PlainValue,
    Generic,
];

const OTHERS: &[Family] = &[
    Langfuse,
    Laminar,
    LangWatch,
    Braintrust,
    GenAiMessages,
    MessageEvents,
    OperationDetails,
    PydanticAi,
    EventList,
    IndexedPrompts,
    TraceloopEntity,
    OpenInferenceValue,
    Mlflow,
    AiSdkPrompt,
    AiSdkMessages,
    GenAiTask,
    Genkit,
    Haystack,
    Mastra,
    Flue,
    LiveKit,
    Adk,
    CrewAi,
    LogfireRaw,
    LogfireRequest,
    Sentry,
    GenAiPrompt,
    OpenInferenceMessages,
    ContentEvents,
    VoltAgent,
    AgentOps,
    Workflow,
    ToolCall,
    PlainPrompt,
    AnyPrefix,
    AnyEvent,
    PlainValue,
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
