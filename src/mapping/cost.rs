//! What a call cost: what its sender reported, and what the prices say about its tokens.
//!
//! A reported cost is believed before a computed one, except for the 0 that senders without a price of their own write.
//! The keys of reported costs are the same in many dialects, so that they are read here once, after the dialects.

use serde_json::{Map, Value};

use crate::config::Prefer;
use crate::mapping::draft::{Count, Draft};
use crate::mapping::normal_form;
use crate::mapping::precedence::field;
use crate::mapping::sent::Sent;
use crate::model::step::{CostSource, StepType, Usage};
use crate::model::value::AnyValue;
use crate::prices::{Asked, Prices, Quote, ServiceTier, Tokens, Usd, is_local};

const COUNTS: [(Count, u8, &str); 12] = [
    (Count::CacheWrite1h, field::GEN_AI, "gen_ai.usage.cache_creation.input_tokens.ephemeral_1h"),
    (Count::CacheWrite1h, field::SECONDARY, "gen_ai.usage.cache_creation.ephemeral_1h_input_tokens"),
    (Count::CacheWrite1h, field::SECONDARY, "gen_ai.usage.details.cache_write_1h_tokens"),
    (Count::CacheWrite1h, field::SECONDARY, "gen_ai.usage.details.ephemeral_1h_input_tokens"),
    (Count::InputAudio, field::GEN_AI, "gen_ai.usage.input_audio_tokens"),
    (Count::InputAudio, field::SECONDARY, "gen_ai.usage.details.input_audio_tokens"),
    (Count::InputAudio, field::SECONDARY, "gen_ai.usage.prompt_tokens_details.audio_tokens"),
    (Count::InputAudio, field::OPENINFERENCE, "llm.token_count.prompt_details.audio"),
    (Count::OutputAudio, field::GEN_AI, "gen_ai.usage.output_audio_tokens"),
    (Count::OutputAudio, field::SECONDARY, "gen_ai.usage.details.output_audio_tokens"),
    (Count::OutputAudio, field::SECONDARY, "gen_ai.usage.completion_tokens_details.audio_tokens"),
    (Count::OutputAudio, field::OPENINFERENCE, "llm.token_count.completion_details.audio"),
];

/// A number in USD. The first is a cost in spite of its name.
const REPORTED: [&str; 3] = ["gen_ai.cost.total_tokens", "ai.total_cost", "total_cost_usd"];

/// What LiteLLM hides from its callers; 0 stands there when it knows no price.
const HIDDEN: &str = "hidden_params";

/// A JSON object, and the field that holds the whole cost. Without it the parts add up, where they are all costs.
const REPORTED_INSIDE: [(&str, &str, bool); 4] = [
    ("langfuse.observation.cost_details", "total", true),
    ("mlflow.llm.cost", "total_cost", false),
    ("braintrust.metrics", "estimated_cost", false),
    (HIDDEN, "response_cost", false),
];

/// The cost of the input and that of the output.
const REPORTED_PARTS: [(&str, &str); 3] = [
    ("gen_ai.usage.input_cost", "gen_ai.usage.output_cost"),
    ("gen_ai.cost.input_cost", "gen_ai.cost.output_cost"),
    ("gen_ai.usage.cost.input", "gen_ai.usage.cost.output"),
];

/// Where a client of one provider was pointed to.
const ADDRESSES: [&str; 2] = ["server.address", "gen_ai.openai.api_base"];

/// Hosts that speak OpenAI's protocol and have prices of their own.
const SELLERS: [(&str, &str); 12] = [
    ("openrouter.ai", "openrouter"),
    ("api.together.xyz", "together"),
    ("api.together.ai", "together"),
    ("api.fireworks.ai", "fireworks"),
    ("api.cerebras.ai", "cerebras"),
    ("api.moonshot.ai", "moonshotai"),
    ("api.moonshot.cn", "moonshotai"),
    ("api.novita.ai", "novita"),
    ("integrate.api.nvidia.com", "nvidia"),
    ("api.deepinfra.com", "deepinfra"),
    ("api.sambanova.ai", "sambanova"),
    ("router.huggingface.co", "huggingface"),
];

/// Counts that only prices need.
const COUNTS_OF_PRICES: [(Count, &str); 3] = [
    (Count::CacheWrite1h, "cache_write_1h_tokens"),
    (Count::InputAudio, "input_audio_tokens"),
    (Count::OutputAudio, "output_audio_tokens"),
];

/// A reported and a computed cost that differ by more than this part are both shown.
const DIFFERENCE_MAX: f64 = 0.05;

const SERVICE_TIERS: [&str; 4] = [
    "openai.response.service_tier",
    "gen_ai.openai.response.service_tier",
    "gen_ai.response.service_tier",
    "anthropic.response.service_tier",
];

/// Offers what has a price of its own and any cost that no dialect read.
pub(super) fn read<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    if kind.is_call() {
        draft.offer_counts(sent, &COUNTS);
    }
    for key in REPORTED {
        draft.offer_cost(key, sent.get(key));
    }
    for (key, whole, parts_add_up) in REPORTED_INSIDE {
        if draft.cost.is_none()
            && let Some(usd) = sent.get(key).and_then(|value| inside(value, whole, parts_add_up))
            && (usd > 0.0 || key != HIDDEN)
        {
            draft.cost = Some((usd, key));
        }
    }
    for (input, output) in REPORTED_PARTS {
        let part = |key| sent.number(key).filter(|usd| *usd >= 0.0);
        if draft.cost.is_none()
            && let (Some(of_input), Some(of_output)) = (part(input), part(output))
        {
            draft.cost = Some((of_input + of_output, input));
        }
    }
}

fn inside(value: &AnyValue, whole: &str, parts_add_up: bool) -> Option<f64> {
    let json = match value {
        AnyValue::Str(text) if text.trim_start().starts_with('{') => serde_json::from_str(text).ok()?,
        AnyValue::Kvlist(_) => value.to_plain_json(),
        _ => return None,
    };
    let Value::Object(fields) = json else { return None };
    let cost = |value: &Value| match value {
        Value::String(text) => text.trim().parse::<f64>().ok(),
        other => other.as_f64(),
    };
    let usd = match fields.get(whole) {
        Some(total) => cost(total)?,
        None if parts_add_up && !fields.is_empty() => fields.values().map(cost).sum::<Option<f64>>()?,
        None => return None,
    };
    (usd.is_finite() && usd >= 0.0).then_some(usd)
}

pub(super) fn service_tier(sent: &Sent<'_>) -> Option<ServiceTier> {
    if sent.boolean("gen_ai.request.batch") == Some(true) {
        return Some(ServiceTier::Batch);
    }
    SERVICE_TIERS.iter().find_map(|key| sent.text(key)).and_then(ServiceTier::from_word)
}

/// Who is paid. Clients of OpenAI name it as the provider wherever they were pointed to; the address knows better.
pub(super) fn seller<'a>(sent: &Sent<'a>, provider: Option<&'a str>) -> Option<&'a str> {
    if provider != Some("openai") {
        return provider;
    }
    let by_address = ADDRESSES.iter().find_map(|key| sent.text(key)).and_then(|address| {
        let host = address.split_once("://").map_or(address, |(_, rest)| rest);
        let host = host.split(['/', ':']).next().unwrap_or_default();
        let seller = SELLERS.iter().find(|(end, _)| host.ends_with(end)).map(|(_, seller)| *seller);
        seller.or_else(|| normal_form::provider_of_host(host))
    });
    by_address.or(provider)
}

/// What the price of a call depends on.
pub(super) struct Call<'a> {
    pub kind: &'a StepType,
    pub usage: &'a Usage,
    /// See [`seller`].
    pub provider: Option<&'a str>,
    /// The one that answered, the one that was asked for.
    pub models: [Option<&'a str>; 2],
    pub start_ns: Option<u64>,
    pub service_tier: Option<ServiceTier>,
}

/// The cost of a step and where it comes from. Only calls are computed: what others report is a claim about calls.
/// `more` tells the prices, the cost that did not count, or the model that has no price.
pub(super) fn settle(
    call: &Call<'_>,
    draft: &Draft<'_>,
    prices: Option<&Prices>,
    more: &mut Map<String, Value>,
) -> Option<(f64, CostSource)> {
    let reported = draft.cost.map(|(usd, _)| usd);
    let tokens = tokens(call, draft);
    let quote = tokens.zip(prices).and_then(|(tokens, prices)| call.quote(prices, tokens));
    let computed = tokens.zip(quote.as_ref()).map(|(tokens, quote)| {
        let cost = quote.cost(&tokens);
        if cost.parts_exceed {
            warn(more, "cost: parts of the tokens are more than the whole");
        }
        cost.total()
    });
    let is_known = |usd: &f64| {
        let says_nothing = *usd == 0.0 && call.usage.total.unwrap_or(0) > 0;
        !says_nothing || call.provider.is_some_and(is_local) || computed == Some(Usd::ZERO)
    };
    let reported = reported.filter(is_known);
    let Some(computed) = computed.map(Usd::to_f64) else {
        if reported.is_none()
            && tokens.is_some()
            && prices.is_some()
            && let Some(model) = call.models.into_iter().flatten().next()
        {
            more.insert("price_missing".to_owned(), Value::from(model));
        }
        return Some((reported?, CostSource::Reported));
    };
    let Some(reported) = reported else {
        tell(more, draft, quote.as_ref());
        return Some((computed, CostSource::Computed));
    };
    let (usd, source) = match prices.map(Prices::prefer) {
        Some(Prefer::Computed) => (computed, CostSource::Computed),
        _ => (reported, CostSource::Reported),
    };
    let differ = (reported - computed).abs() > DIFFERENCE_MAX * reported;
    if differ {
        let (name, other) =
            if source == CostSource::Reported { ("computed_cost", computed) } else { ("reported_cost", reported) };
        more.insert(name.to_owned(), Value::from(other));
    }
    if differ || source == CostSource::Computed {
        tell(more, draft, quote.as_ref());
    }
    Some((usd, source))
}

/// `None` where no cost can be computed: for steps that are no calls, and for calls that tell no side of their usage.
fn tokens(call: &Call<'_>, draft: &Draft<'_>) -> Option<Tokens> {
    if !call.kind.is_call() {
        return None;
    }
    let usage = call.usage;
    // What embeddings and rerankers read is all they use.
    let only_total = usage.input.is_none() && usage.output.is_none() && *call.kind != StepType::ModelCall;
    let input = if only_total { usage.total } else { usage.input };
    if input.is_none() && usage.output.is_none() {
        return None;
    }
    let part = |count: Count| draft.count(count).unwrap_or(0);
    Some(Tokens {
        input: input.unwrap_or(0),
        output: usage.output.unwrap_or(0),
        cache_read: usage.cache_read.unwrap_or(0),
        cache_write: usage.cache_write.unwrap_or(0),
        cache_write_1h: part(Count::CacheWrite1h),
        input_audio: part(Count::InputAudio),
        output_audio: part(Count::OutputAudio),
        reasoning: usage.reasoning.unwrap_or(0),
    })
}

impl Call<'_> {
    /// A router answers with the name of the model that it chose; what was asked for may be nobody's model.
    fn quote<'p>(&self, prices: &'p Prices, tokens: Tokens) -> Option<Quote<'p>> {
        self.models.into_iter().flatten().find_map(|model| {
            prices.quote(Asked {
                provider: self.provider,
                model,
                service_tier: self.service_tier,
                at_ns: self.start_ns,
                input_tokens: tokens.input,
            })
        })
    }
}

/// The prices, and the counts with prices of their own that no column shows.
fn tell(more: &mut Map<String, Value>, draft: &Draft<'_>, quote: Option<&Quote<'_>>) {
    let Some(quote) = quote else { return };
    more.insert("prices".to_owned(), Value::Object(quote.to_json()));
    for (count, name) in COUNTS_OF_PRICES {
        if let Some(n) = draft.count(count) {
            more.insert(name.to_owned(), Value::from(n));
        }
    }
}

fn warn(more: &mut Map<String, Value>, warning: &str) {
    let warnings = more.entry("mapping_warnings").or_insert_with(|| Value::Array(Vec::new()));
    if let Value::Array(warnings) = warnings {
        warnings.push(Value::from(warning));
    }
}
