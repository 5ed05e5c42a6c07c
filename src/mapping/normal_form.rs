//! One word for what instrumentations spell in many ways: providers, finish reasons, display names.

use std::borrow::Cow;

/// Frameworks that stand where a provider is expected. They never answered a model call.
const FRAMEWORKS: [&str; 29] = [
    "langchain",
    "langgraph",
    "crewai",
    "autogen",
    "strands-agents",
    "strands",
    "gcp.vertex.agent",
    "microsoft.agent_framework",
    "agno",
    "haystack",
    "llamaindex",
    "llama_index",
    "pydantic-ai",
    "litellm",
    "inmemoryvectorstore",
    "spring_ai",
    "spring-ai",
    "semantic_kernel",
    "microsoft.semantic_kernel",
    "microsoft.agents.ai",
    "microsoft.extensions.ai",
    "microsoft.extensions.ai.agents",
    "openai_agents",
    "openai-agents",
    "smolagents",
    "dspy",
    "langchain4j",
    "pydantic_ai",
    "mastra",
];

/// Names of one provider, and the one that the GenAI semantic conventions give it.
const PROVIDERS: [(&str, &str); 27] = [
    ("az.ai.inference", "azure.ai.inference"),
    ("azure_ai_inference", "azure.ai.inference"),
    ("az.ai.openai", "azure.ai.openai"),
    ("azure", "azure.ai.openai"),
    ("azure_openai", "azure.ai.openai"),
    ("azure-openai", "azure.ai.openai"),
    ("gemini", "gcp.gemini"),
    ("google_genai", "gcp.gemini"),
    ("google.generative-ai", "gcp.gemini"),
    ("gcp.gen_ai", "gcp.gemini"),
    ("googleai", "gcp.gemini"),
    ("google", "gcp.gemini"),
    ("vertex_ai", "gcp.vertex_ai"),
    ("vertexai", "gcp.vertex_ai"),
    ("google.vertex", "gcp.vertex_ai"),
    ("vertex", "gcp.vertex_ai"),
    ("vertex.anthropic", "gcp.vertex_ai"),
    ("google-vertex", "gcp.vertex_ai"),
    ("googlevertex", "gcp.vertex_ai"),
    ("xai", "x_ai"),
    ("bedrock", "aws.bedrock"),
    ("amazon_bedrock", "aws.bedrock"),
    ("amazon-bedrock", "aws.bedrock"),
    ("aws", "aws.bedrock"),
    ("mistral", "mistral_ai"),
    ("mistralai", "mistral_ai"),
    ("watsonx", "ibm.watsonx.ai"),
];

/// What the AI SDK writes behind a provider's name: the interface of it that was called.
const INTERFACES: [&str; 11] = [
    "chat",
    "responses",
    "messages",
    "completion",
    "completions",
    "embedding",
    "embeddings",
    "image",
    "rerank",
    "reranking",
    "generative-ai",
];

/// The end of a host name tells who answers there.
const HOSTS: [(&str, &str); 13] = [
    ("api.openai.com", "openai"),
    (".openai.azure.com", "azure.ai.openai"),
    (".services.ai.azure.com", "azure.ai.inference"),
    ("api.anthropic.com", "anthropic"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.cohere.com", "cohere"),
    ("api.cohere.ai", "cohere"),
    ("api.groq.com", "groq"),
    ("api.deepseek.com", "deepseek"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
];

/// The start of a model's name tells who made it.
const MODELS: [(&str, &str); 12] = [
    ("gpt-", "openai"),
    ("chatgpt-", "openai"),
    ("o1", "openai"),
    ("o3", "openai"),
    ("o4", "openai"),
    ("text-embedding-", "openai"),
    ("claude", "anthropic"),
    ("gemini", "gcp.gemini"),
    ("mistral", "mistral_ai"),
    ("command-", "cohere"),
    ("deepseek", "deepseek"),
    ("grok", "x_ai"),
];

/// Endings that frameworks add to the name of an agent or tool: the method that ran.
const METHOD_SUFFIXES: [&str; 14] = [
    ".run",
    ".arun",
    ".kickoff",
    ".agent",
    ".invoke",
    ".ainvoke",
    "._execute_core",
    ".on_messages_stream",
    ".on_messages",
    ".__call__",
    ".forward",
    ".aforward",
    ".acall",
    ".kickoff_async",
];

/// What a value of a provider attribute really names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Named<'a> {
    Provider(Cow<'a, str>),
    Framework(&'a str),
}

/// Lower case, one spelling; frameworks are told apart.
pub(super) fn provider(sent: &str) -> Named<'_> {
    let sent = sent.trim();
    let lower: Cow<'_, str> =
        if sent.bytes().any(|b| b.is_ascii_uppercase()) { sent.to_ascii_lowercase().into() } else { sent.into() };
    if FRAMEWORKS.contains(&&*lower) {
        return Named::Framework(sent);
    }
    let listed = |name: &str| PROVIDERS.iter().find(|(word, _)| *word == name).map(|(_, normal)| *normal);
    if let Some(normal) = listed(&lower) {
        return Named::Provider(Cow::Borrowed(normal));
    }
    // `openai.responses`: the interface is no part of the name.
    match lower.rsplit_once('.').filter(|(_, interface)| INTERFACES.contains(interface)) {
        Some((name, _)) => Named::Provider(listed(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed)),
        None => Named::Provider(lower),
    }
}

pub(super) fn provider_of_host(address: &str) -> Option<&'static str> {
    let host = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = host.split(['/', ':']).next().unwrap_or_default().to_ascii_lowercase();
    if host.starts_with("bedrock") && host.ends_with(".amazonaws.com") {
        return Some("aws.bedrock");
    }
    HOSTS.iter().find(|(end, _)| host.ends_with(end)).map(|(_, provider)| *provider)
}

pub(super) fn provider_of_model(model: &str) -> Option<&'static str> {
    let name = model.rsplit('/').next().unwrap_or(model);
    MODELS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, provider)| *provider)
}

/// One word for why a model stopped: `stop`, `length`, `tool_call`, `content_filter`, `error`, or the sender's own.
pub(super) fn finish_reason(sent: &str) -> String {
    let word = sent.trim().trim_start_matches("FinishReason.").to_ascii_lowercase().replace('-', "_");
    let normal = match word.as_str() {
        "stop" | "end_turn" | "stop_sequence" | "finish" | "eos" => "stop",
        "length" | "max_tokens" | "max_output_tokens" => "length",
        "tool_calls" | "tool_call" | "tool_use" | "function_call" => "tool_call",
        "content_filter" | "safety" | "recitation" | "refusal" => "content_filter",
        "error" | "malformed_function_call" => "error",
        _ => return word,
    };
    normal.to_owned()
}

/// The name of an agent or tool out of a span name: without the method and without the operation before it.
pub(super) fn display_name(span_name: &str) -> &str {
    let mut name = span_name.trim();
    for operation in ["invoke_agent ", "execute_tool ", "create_agent "] {
        name = name.strip_prefix(operation).unwrap_or(name);
    }
    let bare = METHOD_SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    if bare.is_empty() { name } else { bare }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn providers_have_one_spelling_and_frameworks_are_none() {
        for (sent, normal) in [
            ("OpenAI", "openai"),
            ("az.ai.openai", "azure.ai.openai"),
            ("vertex_ai", "gcp.vertex_ai"),
            ("google", "gcp.gemini"),
            ("xai", "x_ai"),
            ("AWS", "aws.bedrock"),
            ("my.gateway", "my.gateway"),
            ("openai.responses", "openai"),
            ("anthropic.messages", "anthropic"),
            ("google.generative-ai", "gcp.gemini"),
            ("google.vertex.chat", "gcp.vertex_ai"),
            ("azure-openai.chat", "azure.ai.openai"),
            ("togetherai.chat", "togetherai"),
        ] {
            assert_eq!(provider(sent), Named::Provider(normal.into()), "{sent}");
        }
        assert_eq!(provider("microsoft.agent_framework"), Named::Framework("microsoft.agent_framework"));
        assert_eq!(provider("InMemoryVectorStore"), Named::Framework("InMemoryVectorStore"));
    }

    #[test]
    fn hosts_and_models_give_the_provider_away() {
        assert_eq!(provider_of_host("https://api.openai.com/v1"), Some("openai"));
        assert_eq!(provider_of_host("my-team.openai.azure.com:443"), Some("azure.ai.openai"));
        assert_eq!(provider_of_host("bedrock-runtime.eu-west-1.amazonaws.com"), Some("aws.bedrock"));
        assert_eq!(provider_of_host("127.0.0.1"), None);
        assert_eq!(provider_of_model("anthropic/claude-sonnet-4-5"), Some("anthropic"));
        assert_eq!(provider_of_model("llama3"), None);
    }

    #[test]
    fn finish_reasons_have_one_spelling() {
        for (sent, normal) in [
            ("end_turn", "stop"),
            ("FinishReason.STOP", "stop"),
            ("tool-calls", "tool_call"),
            ("MAX_TOKENS", "length"),
            ("SAFETY", "content_filter"),
            ("pause_turn", "pause_turn"),
        ] {
            assert_eq!(finish_reason(sent), normal);
        }
    }

    #[test]
    fn display_names_drop_the_method() {
        assert_eq!(display_name("researcher._execute_core"), "researcher");
        assert_eq!(display_name("execute_tool get_weather"), "get_weather");
        assert_eq!(display_name(".run"), ".run");
    }
}
