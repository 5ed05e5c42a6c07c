//! Familiar words in keys and values: what a key under a prefix that nobody listed is about, told by its last words,
//! and which type of step a word names.

use crate::mapping::draft::Count;
use crate::model::step::StepType;

/// Longer keys are nobody's names of fields.
const KEY_BYTES_MAX: usize = 160;

/// Namespaces of other conventions: what ends in a familiar word there means something else.
const FOREIGN: [&str; 26] = [
    "http.",
    "url.",
    "net.",
    "network.",
    "server.",
    "client.",
    "db.",
    "rpc.",
    "messaging.",
    "faas.",
    "k8s.",
    "cloud.",
    "os.",
    "process.",
    "telemetry.",
    "thread.",
    "code.",
    "service.",
    "host.",
    "container.",
    "user_agent.",
    "exception.",
    "error.",
    "otel.",
    "aws.",
    "mcp.",
];

/// A key as its words in lower case, joined by `_`, whatever joined them: `acme.usage.inputTokens` is
/// `acme_usage_input_tokens`.
pub(super) struct Words(String);

impl Words {
    /// `None` for keys of other conventions and for endless ones.
    pub(super) fn of(key: &str) -> Option<Words> {
        let first = key.as_bytes().first();
        let is_foreign = |prefix: &&str| prefix.as_bytes().first() == first && key.starts_with(*prefix);
        if key.len() > KEY_BYTES_MAX || FOREIGN.iter().any(is_foreign) {
            return None;
        }
        let mut words = String::with_capacity(key.len() + 8);
        let mut after_lower = false;
        for c in key.chars() {
            if matches!(c, '.' | '_' | ':' | '/' | '-' | ' ') {
                if !words.is_empty() && !words.ends_with('_') {
                    words.push('_');
                }
                after_lower = false;
                continue;
            }
            if c.is_ascii_uppercase() && after_lower {
                words.push('_');
            }
            after_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
            words.push(c.to_ascii_lowercase());
        }
        Some(Words(words))
    }

    /// Whether the key ends in these words, or is nothing else.
    pub(super) fn ends(&self, words: &str) -> bool {
        self.before(words).is_some_and(|before| before.is_empty() || before.ends_with('_'))
    }

    /// Whether there is a prefix before these words.
    pub(super) fn ends_after_prefix(&self, words: &str) -> bool {
        self.before(words).is_some_and(|before| before.len() > 1 && before.ends_with('_'))
    }

    /// Most endings that are asked for are told apart by one byte.
    fn before(&self, ending: &str) -> Option<&str> {
        if self.0.as_bytes().last() != ending.as_bytes().last() {
            return None;
        }
        self.0.strip_suffix(ending)
    }

    pub(super) fn has(&self, part: &str) -> bool {
        self.0.contains(part)
    }

    /// The place of the first list of words that the key ends in.
    pub(super) fn place_in(&self, endings: &[&str]) -> Option<u8> {
        let place = endings.iter().position(|words| self.ends(words))?;
        u8::try_from(place).ok()
    }
}

/// The last word of a key, in lower case; `None` where it is longer than any that matters. Cheap: it decides whether
/// the key is looked at closer.
pub(super) fn last_word<'b>(key: &str, buffer: &'b mut [u8; 12]) -> Option<&'b str> {
    let bytes = key.as_bytes();
    let is_joint = |at: usize| matches!(bytes[at], b'.' | b'_' | b':' | b'/' | b'-' | b' ');
    let starts_hump = |at: usize| bytes[at].is_ascii_uppercase() && at > 0 && bytes[at - 1].is_ascii_lowercase();
    let mut start = bytes.len();
    while start > 0 && !is_joint(start - 1) {
        start -= 1;
        if starts_hump(start) {
            break;
        }
    }
    let word = &bytes[start..];
    let lower = buffer.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    std::str::from_utf8(lower).ok()
}

/// The type of step that a word names: alone, or as the first or last part of a dotted one (`inference.framework`).
pub(super) fn type_of(sent: &str) -> Option<StepType> {
    let word = sent.trim().to_ascii_lowercase().replace(['-', ' '], "_");
    if let Some(typed) = type_of_word(&word) {
        return Some(typed);
    }
    let (first, rest) = word.split_once(['.', '/', ':'])?;
    if first != "agentic" {
        let last = rest.rsplit(['.', '/', ':']).next().unwrap_or(rest);
        return type_of_word(first).or_else(|| type_of_word(last));
    }
    let says = |part: &str| rest.split('.').any(|word| word == part);
    Some(if says("tool") || says("mcp") {
        StepType::ToolCall
    } else if says("delegation") {
        StepType::Handoff
    } else if says("invocation") {
        StepType::Agent
    } else {
        StepType::Workflow
    })
}

fn type_of_word(word: &str) -> Option<StepType> {
    Some(match word {
        "llm" | "model" | "generation" | "inference" | "chat" | "completion" | "text_completion"
        | "chat_completion" | "chat_model" | "llm_call" | "model_call" | "llm_request" | "language_model"
        | "llm_generation" | "generate_content" | "text_generation" | "llm_chat" => StepType::ModelCall,
        "tool" | "function_call" | "tool_call" | "tool_use" | "tool_execution" | "execute_tool" | "tool_invocation"
        | "mcp" | "mcp_tool" | "mcp_tool_call" | "code_execution" => StepType::ToolCall,
        "agent" | "agent_run" | "invoke_agent" | "sub_agent" | "subagent" | "agent_invocation" | "run_agent"
        | "agent_execution" | "agent_process" => StepType::Agent,
        "chain" | "workflow" | "task" | "pipeline" | "flow" | "graph" | "step" | "entry" | "action" => {
            StepType::Workflow
        }
        "retriever" | "retrieval" | "retrieve" | "vector_store" | "knowledge_retrieval" | "rag" => StepType::Retrieval,
        "embedding" | "embeddings" | "embed" => StepType::Embedding,
        "reranker" | "rerank" | "reranking" => StepType::Rerank,
        "guardrail" | "guardrails" => StepType::Guardrail,
        "evaluator" | "evaluation" | "eval" => StepType::Evaluator,
        "memory" => StepType::Memory,
        "handoff" => StepType::Handoff,
        _ => return None,
    })
}

/// What a count of tokens counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    Of(Count),
    /// Input tokens without those from the cache.
    UncachedInput,
}

/// What the key of a number counts, if it counts tokens at all; whether they were spent, [`are_spent`] tells.
pub(super) fn counted(words: &Words) -> Option<Counted> {
    if !(words.has("token") || words.has("usage")) {
        return None;
    }
    // A count of messages or tools is none of tokens.
    if words.ends("count") && !words.has("token") {
        return None;
    }
    let any = |parts: &[&str]| parts.iter().any(|part| words.has(part));
    let count = if any(&["non_cached_input", "uncached_input", "non_cached_prompt", "uncached_prompt"]) {
        return Some(Counted::UncachedInput);
    } else if words.has("cache") {
        match () {
            () if any(&["creation", "write"]) => Count::CacheWrite,
            () if any(&["read", "cached", "hit", "cache_input"]) => Count::CacheRead,
            () => return None,
        }
    } else if any(&["reasoning", "thought", "thinking"]) {
        Count::Reasoning
    } else if words.has("details") {
        return None;
    } else if any(&["input", "prompt"]) {
        Count::Input
    } else if any(&["output", "completion", "generated", "candidate", "response_token"]) {
        Count::Output
    } else if words.has("total") {
        Count::Total
    } else {
        return None;
    };
    Some(Counted::Of(count))
}

/// Whether tokens that a key counts were spent: no limit, no estimate, no part of another count.
pub(super) fn are_spent(words: &Words) -> bool {
    const NO_USAGE: [&str; 25] = [
        "estimat",
        "max_",
        "min_",
        "limit",
        "budget",
        "per_",
        "remaining",
        "partial",
        "cost",
        "price",
        "window",
        "rate",
        "audio",
        "image",
        "video",
        "prediction",
        "ephemeral",
        "cumulative",
        "aggregated",
        "threshold",
        "messages",
        "length",
        "tool_use",
        "num_",
        "text_token",
    ];
    !NO_USAGE.iter().any(|part| words.has(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_words_whatever_joins_them() {
        let words = |key: &str| Words::of(key).map(|words| words.0).unwrap_or_default();
        assert_eq!(words("acme.usage.inputTokens"), "acme_usage_input_tokens");
        assert_eq!(words("_ml_obs.meta.span.kind"), "ml_obs_meta_span_kind");
        assert_eq!(words("X:LLM/Model-Name"), "x_llm_model_name");
        assert_eq!(words("http.request.id"), "");
        assert_eq!(words(&"k".repeat(161)), "");
    }

    #[test]
    fn last_words_are_found_behind_joints_and_humps() {
        for (key, word) in [
            ("a.inputTokens", Some("tokens")),
            ("gen_ai.usage.x", Some("x")),
            ("kind", Some("kind")),
            ("a.URL", Some("url")),
            ("", Some("")),
            ("a.b_", Some("")),
            ("a.somethingverylong", None),
        ] {
            assert_eq!(last_word(key, &mut [0; 12]), word, "{key}");
        }
    }

    #[test]
    fn words_name_types() {
        use StepType::*;
        for (word, typed) in [
            ("LLM", Some(ModelCall)),
            ("generation", Some(ModelCall)),
            ("inference.framework", Some(ModelCall)),
            ("chat-completion", Some(ModelCall)),
            ("tool", Some(ToolCall)),
            ("agentic.tool.invocation", Some(ToolCall)),
            ("agentic.mcp.invocation", Some(ToolCall)),
            ("agentic.invocation", Some(Agent)),
            ("agentic.turn", Some(Workflow)),
            ("AGENT", Some(Agent)),
            ("Retriever", Some(Retrieval)),
            ("RERANKER", Some(Rerank)),
            ("span", None),
            ("custom", None),
            ("function", None),
            ("default", None),
            ("internal", None),
            ("CLIENT", None),
            ("http.process", None),
        ] {
            assert_eq!(type_of(word), typed, "{word}");
        }
    }

    #[test]
    fn counts_are_told_by_their_words() {
        use Count::*;
        let of = |key: &str| Words::of(key).filter(are_spent).as_ref().and_then(counted);
        for (key, count) in [
            ("acme.usage.input_tokens", Input),
            ("acme.usage.promptTokens", Input),
            ("x.llm.token_count.prompt", Input),
            ("confident.llm.output_token_count", Output),
            ("x.usage.candidatesTokenCount", Output),
            ("x.totalTokens", Total),
            ("x.usage.cache_read_input_tokens", CacheRead),
            ("x.prompt_tokens_details.cached_tokens", CacheRead),
            ("x.usage.cacheCreationInputTokens", CacheWrite),
            ("x.usage.thoughts_token_count", Reasoning),
            ("x.completion_tokens_details.reasoning_tokens", Reasoning),
        ] {
            assert_eq!(of(key), Some(Counted::Of(count)), "{key}");
        }
        assert_eq!(of("judgment.usage.non_cached_input_tokens"), Some(Counted::UncachedInput));
        for key in [
            "gen_ai.request.max_tokens",
            "gen_ai.usage.estimated_completion_tokens",
            "x.tokens_per_second",
            "x.input_length",
            "gen_ai.usage.input_tokens.audio",
            "x.usage.partial.output_tokens",
        ] {
            assert_eq!(of(key), None, "{key}");
        }
    }
}
