//! Marks that LangChain and LangGraph leave inside what other dialects send: who the agent is, which exceptions are
//! control flow, which steps are plumbing, and the metadata that the sender attached. Carriers are the JSON text
//! `metadata` (OpenInference, MLflow) and the flattened metadata of LangSmith, Langfuse and OpenLLMetry.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value};

use crate::mapping::draft::{Draft, KindChoice, Text};
use crate::mapping::precedence::{field, identity};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::model::step::StepType;

/// Attributes that hold the whole metadata as JSON text.
const WHOLE: [&str; 2] = ["metadata", "langfuse.observation.metadata"];

const AGENT_NAMES: [&str; 3] = [
    "langsmith.metadata.lc_agent_name",
    "langfuse.observation.metadata.lc_agent_name",
    "traceloop.association.properties.lc_agent_name",
];
/// Ranks among the attributes that name a provider: LangSmith's own key says `langchain` where this one knows better.
const PROVIDERS: [(u8, &str); 3] = [
    (20, "langsmith.metadata.ls_provider"),
    (80, "langfuse.observation.metadata.ls_provider"),
    (80, "traceloop.association.properties.ls_provider"),
];
/// Members of flattened metadata; their values may be quoted once more.
const FLAT: [(Text, u8, &str); 12] = [
    (Text::Agent, field::METADATA, AGENT_NAMES[0]),
    (Text::Agent, field::METADATA, AGENT_NAMES[1]),
    (Text::Agent, field::METADATA, AGENT_NAMES[2]),
    (Text::Model, field::SECONDARY, "langsmith.metadata.ls_model_name"),
    (Text::Model, field::METADATA, "langfuse.observation.metadata.ls_model_name"),
    (Text::Model, field::METADATA, "traceloop.association.properties.ls_model_name"),
    (Text::SessionId, identity::METADATA, "langfuse.observation.metadata.session_id"),
    (Text::SessionId, identity::METADATA + 1, "langfuse.observation.metadata.conversation_id"),
    (Text::SessionId, identity::METADATA + 2, "langfuse.observation.metadata.thread_id"),
    (Text::SessionId, identity::METADATA + 2, "traceloop.association.properties.thread_id"),
    (Text::SessionId, identity::METADATA + 3, "traceloop.association.properties.conversation_id"),
    (Text::UserId, identity::METADATA, "langfuse.observation.metadata.user_id"),
];
/// Keys under which any of the flattened members may stand.
const CARRIERS: [&str; 3] =
    ["langsmith.metadata.", "langfuse.observation.metadata.", "traceloop.association.properties."];

/// More of the sender's metadata than this is left to the attribute itself.
const RUN_METADATA_MAX: usize = 64;

/// Runnables that pass data along; a tree may fold them.
const PLUMBING: [&str; 12] = [
    "RunnableSequence",
    "RunnableLambda",
    "RunnableParallel",
    "RunnableMap",
    "RunnablePassthrough",
    "RunnableAssign",
    "RunnableCallable",
    "RunnableBranch",
    "Branch",
    "ChannelWrite",
    "__start__",
    "tool_errors.wrap_tool_call",
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    WHOLE.iter().any(|key| sent.text(key).is_some())
        || CARRIERS.iter().any(|prefix| sent.has_under(prefix))
        || is_plumbing(&sent.span.name)
}

/// A graph node that carries the agent's own name is the agent. Asks what the dialects before it found.
pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if !choice.is(&StepType::Workflow) {
        return;
    }
    let entity = sent.text("traceloop.entity.name");
    let is_own = |name: &str| sent.span.name == name || entity == Some(name);
    for key in AGENT_NAMES {
        if member(sent, key).is_some_and(|name| is_own(&name)) {
            return choice.refine(StepType::Agent, key);
        }
    }
    let whole = WHOLE.iter().filter_map(|key| sent.text(key)).filter(|text| text.contains("\"lc_agent_name\""));
    if whole.filter_map(Metadata::read).any(|metadata| metadata.agent.as_deref().is_some_and(is_own)) {
        choice.refine(StepType::Agent, "metadata.lc_agent_name");
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if *kind == StepType::Workflow && is_plumbing(&sent.span.name) {
        draft.more.insert("plumbing".to_owned(), Value::Bool(true));
    }
    for (text, rank, key) in FLAT {
        if draft.wants(text, rank)
            && let Some(value) = member(sent, key)
        {
            draft.offer_text(text, rank, key, value);
        }
    }
    for (rank, key) in PROVIDERS {
        if let Some(provider) = member(sent, key) {
            draft.offer_provider(rank, key, &provider);
        }
    }
    for text in WHOLE.iter().filter_map(|key| sent.text(key)) {
        read_metadata(text, draft);
    }
}

/// A member of flattened metadata.
fn member<'a>(sent: &Sent<'a>, key: &str) -> Option<Cow<'a, str>> {
    usable::bare_text(sent.get(key)?)
}

fn is_plumbing(name: &str) -> bool {
    let bare = name.split('<').next().unwrap_or(name);
    PLUMBING.contains(&bare)
}

/// Tags that say where in a chain or graph a step stands: nobody chose them for the run.
pub(super) fn is_machinery_tag(tag: &str) -> bool {
    ["seq:step:", "graph:step:", "map:key:", "condition:", "branch:"].iter().any(|start| tag.starts_with(start))
}

/// Whether a raised thing steers the graph and is no failure: `handoff` or `interrupt`.
pub(super) fn control_flow(text: &str) -> Option<&'static str> {
    let text = text.trim_start().trim_start_matches("langgraph.errors.").trim_start_matches("langgraph.types.");
    if text.starts_with("Command(graph=") || text.starts_with("ParentCommand") {
        return Some("handoff");
    }
    let interrupts = ["GraphInterrupt", "NodeInterrupt", "GraphBubbleUp", "Interrupt("];
    interrupts.iter().any(|start| text.starts_with(start)).then_some("interrupt")
}

/// Offers what the JSON text of the attribute `metadata` says.
fn read_metadata<'a>(text: &'a str, draft: &mut Draft<'a>) {
    let Some(metadata) = Metadata::read(text) else { return };
    let offers = [
        (Text::Agent, field::METADATA, "metadata.lc_agent_name", metadata.agent),
        (Text::Model, field::METADATA, "metadata.ls_model_name", metadata.model),
        (Text::SessionId, identity::METADATA, "metadata.session_id", metadata.session),
        (Text::SessionId, identity::METADATA + 1, "metadata.conversation_id", metadata.conversation),
        (Text::SessionId, identity::METADATA + 2, "metadata.thread_id", metadata.thread),
        (Text::UserId, identity::METADATA, "metadata.user_id", metadata.user),
    ];
    for (text, rank, key, value) in offers {
        if let Some(value) = value {
            draft.offer_text(text, rank, key, value);
        }
    }
    if let Some(provider) = metadata.provider {
        draft.offer_provider(80, "metadata.ls_provider", &provider);
    }
    draft.tags.extend(metadata.tags);
    draft.run_metadata.extend(metadata.rest);
}

/// The members that have a meaning, and the rest that the sender meant for the run. What LangChain writes about its
/// own machinery is skipped: it describes the step and stays in the attribute.
#[derive(Default)]
struct Metadata<'a> {
    agent: Option<Cow<'a, str>>,
    provider: Option<Cow<'a, str>>,
    model: Option<Cow<'a, str>>,
    session: Option<Cow<'a, str>>,
    conversation: Option<Cow<'a, str>>,
    thread: Option<Cow<'a, str>>,
    user: Option<Cow<'a, str>>,
    tags: Vec<String>,
    rest: Map<String, Value>,
}

impl<'a> Metadata<'a> {
    fn read(text: &'a str) -> Option<Metadata<'a>> {
        text.starts_with('{').then(|| serde_json::from_str(text).ok()).flatten()
    }
}

impl<'de> Deserialize<'de> for Metadata<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Metadata<'de>, D::Error> {
        from.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Metadata<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata<'de>, A::Error> {
        let mut metadata = Metadata::default();
        while let Some(Key(key)) = map.next_key::<Key<'de>>()? {
            let slot = match &*key {
                "lc_agent_name" => &mut metadata.agent,
                "ls_provider" => &mut metadata.provider,
                "ls_model_name" => &mut metadata.model,
                "session_id" | "sessionId" => &mut metadata.session,
                "conversation_id" => &mut metadata.conversation,
                "thread_id" => &mut metadata.thread,
                "user_id" | "userId" => &mut metadata.user,
                "tags" => {
                    if let Value::Array(tags) = map.next_value()? {
                        metadata.tags.extend(tags.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                    continue;
                }
                machinery if is_machinery(machinery) => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => {
                    let value = map.next_value()?;
                    if metadata.rest.len() < RUN_METADATA_MAX {
                        metadata.rest.insert(key.into_owned(), value);
                    }
                    continue;
                }
            };
            *slot = match map.next_value::<Value>()? {
                Value::String(text) if usable::is_usable_text(&text) => Some(text.into()),
                Value::Number(number) => Some(number.to_string().into()),
                _ => None,
            };
        }
        Ok(metadata)
    }
}

/// A key, borrowed where it has no escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Key<'de>, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(key)))
            }
            fn visit_str<E>(self, key: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(key.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

/// What LangChain writes about its own machinery.
pub(super) fn is_machinery(key: &str) -> bool {
    ["langgraph_", "ls_", "lc_"].iter().any(|prefix| key.starts_with(prefix))
        || matches!(key, "checkpoint_ns" | "checkpoint_id" | "__pregel_task_id" | "run_id" | "run_attempt")
}
