//! One span to one step: asks every dialect that the span speaks, then fills the columns.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::mapping::DIALECTS;
use crate::mapping::content_hash::SpanHasher;
use crate::mapping::cost::{self, Call};
use crate::mapping::detail::write::{Detail, Version, is_representable};
use crate::mapping::draft::{Content, Draft, KindChoice, Offer, Side, Sources, Text};
use crate::mapping::generic;
use crate::mapping::langchain;
use crate::mapping::log_events;
use crate::mapping::normal_form;
use crate::mapping::origin;
use crate::mapping::precedence::{field, identity};
use crate::mapping::sent::Sent;
use crate::mapping::status;
use crate::mapping::tokens;
use crate::mapping::usable;
use crate::model::id::{ProjectId, RunKey, hex, run_id_of_trace};
use crate::model::span::{self, Origin, Span};
use crate::model::step::{Facts, Source, Step, StepType, Wrapped};
use crate::model::value::AnyValue;
use crate::prices::Prices;

/// Longest name, model, session and the like in a column: an index entry must hold it.
pub(super) const LABEL_BYTES_MAX: usize = 1024;
/// More tags than this on one span are left to its attributes.
const TAGS_MAX: usize = 100;
/// Partitions exist for days that a signed count of nanoseconds can name: 1970 to 2262.
const DAY_NS: i64 = 86_400_000_000_000;

/// Span flags: whether the parent is known to be remote at all, and whether it is.
const HAS_IS_REMOTE: u32 = 0x100;
const IS_REMOTE: u32 = 0x200;

/// What a step is made of beside the span that is its view.
pub(super) struct Making<'a> {
    pub project: ProjectId,
    pub origin: &'a Origin,
    pub origin_id: Option<Uuid>,
    /// Partition of a span whose own start names no day.
    pub day_of_receipt: NaiveDate,
    /// Keys that versions added to the span, and the versions.
    pub added: &'a [String],
    pub versions: &'a [Version],
    /// `None` where nobody asks for the cost.
    pub prices: Option<&'a Prices>,
}

pub(super) fn step(span: &Span, making: &Making<'_>, hasher: &mut SpanHasher) -> Step {
    noting(span, making, hasher, &mut Sources::default())
}

/// Which key supplied which field, by the rules as they are now.
pub(super) fn sources(span: &Span, making: &Making<'_>) -> BTreeMap<&'static str, &'static str> {
    let mut sources = Sources(Some(BTreeMap::new()));
    noting(span, making, &mut SpanHasher::default(), &mut sources);
    sources.0.unwrap_or_default()
}

fn noting(span: &Span, making: &Making<'_>, hasher: &mut SpanHasher, sources: &mut Sources) -> Step {
    let events = log_events::events(span);
    let sent = Sent::new(span, &events, making.origin);
    let mut choice = KindChoice::default();
    let speakers: Vec<_> = DIALECTS.iter().filter(|dialect| (dialect.speaks)(&sent)).collect();
    for dialect in &speakers {
        (dialect.kind)(&sent, &mut choice);
    }
    let setup = choice.setup;
    let (kind, genai, kind_key) = choice.decide();
    let mut draft = Draft::new(&kind);
    for dialect in &speakers {
        (dialect.fields)(&sent, &kind, &mut draft);
    }
    let of_logs = of_logs(span);
    if let Some(told) = &of_logs {
        draft.complete(told_by_logs(told, making.origin, &kind));
    }
    cost::read(&sent, &kind, &mut draft);
    if let Some(id) = origin::resource_text(making.origin, "session.id") {
        draft.offer_text(Text::SessionId, identity::RESOURCE, "resource/session.id", id.into());
    }
    if kind.is_call()
        && draft.wants(Text::Provider, field::GUESS)
        && let Some(provider) = draft.text(Text::Model).and_then(normal_form::provider_of_model)
    {
        draft.offer_provider(field::GUESS, "model", provider);
    }

    let outcome = status::outcome(&sent, &kind, &draft);
    let mut more = std::mem::take(&mut draft.more);
    let mut mark = |name: &str, value: Value| more.insert(name.to_owned(), value);
    if let Some(word) = outcome.control_flow {
        mark("control_flow", Value::from(word));
    }
    if outcome.deferred {
        mark("deferred", Value::Bool(true));
    }
    if outcome.error_is_type {
        mark("error_source", Value::from("type"));
    }
    if outcome.cancelled {
        mark("cancelled", Value::Bool(true));
    }
    if span.dropped_attributes_count > 0 || span.dropped_events_count > 0 || span.dropped_links_count > 0 {
        mark("truncated", Value::Bool(true));
    }
    let latency_ms = latency_ms(span);
    if span.end_ns != 0 && span.end_ns < span.start_ns {
        mark("clock_skew", Value::Bool(true));
    }
    let day = day_of(span.start_ns);
    if day.is_none() {
        mark("day_of_receipt", Value::Bool(true));
    }
    if !draft.warnings.is_empty() {
        mark("mapping_warnings", Value::from(std::mem::take(&mut draft.warnings)));
    }

    draft.note_sources(sources);
    if let Some(key) = kind_key {
        sources.note("type", key);
    }
    let usage = tokens::usage(&draft);
    let wraps = draft.wraps.filter(|wraps| kind == StepType::Workflow || *wraps == Wrapped::Turns);
    let whole = |offer: Option<Offer<'_>>| offer.map(|offer| usable::without_nul(&offer.value).into_owned());
    let run_input = whole(draft.take(Text::RunInput));
    let run_output = whole(draft.take(Text::RunOutput));
    let run_root = draft.run_root;
    let claim_is_sum = draft.claim_is_sum;
    let mut label = |text: Text, field| label(&mut draft, text, field, sources);
    let name = label(Text::Name, "name").unwrap_or_else(|| fallback_name(span, &kind));
    let model = label(Text::Model, "model");
    let request_model = label(Text::RequestModel, "request_model").filter(|asked| Some(asked) != model.as_ref());
    let provider = label(Text::Provider, "provider");
    let agent = label(Text::Agent, "agent");
    let finish_reason = label(Text::FinishReason, "finish_reason").map(|word| normal_form::finish_reason(&word));
    let mut facts = Facts {
        genai: genai && kind != StepType::Unknown,
        setup,
        remote_parent: has_remote_parent(span),
        run_root,
        claim_is_sum,
        wraps,
        exception: outcome.exception,
        error_may_be_childs: outcome.error_may_be_childs,
        timeout_reason: outcome.timeout_reason,
        run_name: label(Text::RunName, "run_name"),
        run_input,
        run_output,
        session_id: label(Text::SessionId, "session_id"),
        user_id: label(Text::UserId, "user_id"),
        framework: label(Text::Framework, "framework"),
        response_id: label(Text::ResponseId, "response_id").filter(|id| id != "unknown"),
        tool_call_id: label(Text::ToolCallId, "tool_call_id").filter(|id| id != "unknown"),
        request_model,
        finish_reason,
        tags: tags(&draft.tags),
        run_metadata: run_metadata(std::mem::take(&mut draft.run_metadata), making.origin),
        service: origin::service(making.origin).map(shortened),
        instance: origin::resource_text(making.origin, "service.instance.id").map(shortened),
        time_to_first_token_ms: draft.time_to_first_token_ms.map(|(ms, _)| ms),
        streaming: draft.streaming,
        stream_took_ms: draft.stream_took_ms,
        ..Facts::default()
    };

    let call = Call {
        kind: &kind,
        usage: &usage,
        provider: cost::seller(&sent, provider.as_deref()),
        models: [model.as_deref(), facts.request_model.as_deref()],
        start_ns: known_time(span.start_ns),
        service_tier: cost::service_tier(&sent),
    };
    let cost = cost::settle(&call, &draft, making.prices, &mut more);
    facts.cost_source = cost.map(|(_, source)| source);
    let input = column(draft.take_content(Side::Input), "input", span, sources);
    let output = column(draft.take_content(Side::Output), "output", span, sources);
    if is_redacted(&input) || is_redacted(&output) {
        more.insert("redacted".to_owned(), Value::Bool(true));
    }
    let detail = Detail {
        span,
        step_name: &name,
        input_key: input.verbatim,
        output_key: output.verbatim,
        added: making.added,
        versions: making.versions,
    }
    .to_text();
    facts.more = more;
    Step {
        run: RunKey { project: making.project, run_id: run_id_of_trace(span.trace_id) },
        id: hex(&span.span_id),
        parent_id: span.parent_span_id.map(|id| hex(&id)),
        source: Source::Otlp,
        position: 0,
        kind,
        status: outcome.status,
        error: outcome.error,
        start_ns: known_time(span.start_ns),
        end_ns: known_time(span.end_ns),
        latency_ms,
        usage,
        cost: cost.map(|(usd, _)| usd),
        model,
        provider,
        agent,
        input: input.text,
        output: output.text,
        facts,
        detail,
        origin: making.origin_id,
        content_hash: hasher.hash(span, making.origin_id),
        day: day.unwrap_or(making.day_of_receipt),
        name,
    }
}

/// The attributes of the span's GenAI records as a span of their own.
fn of_logs(span: &Span) -> Option<Span> {
    let attributes = if span.logs.is_empty() { Vec::new() } else { log_events::attributes(span) };
    (!attributes.is_empty()).then(|| Span { attributes, start_ns: span.start_ns, ..Span::default() })
}

/// What every dialect reads there.
fn told_by_logs<'a>(told: &'a Span, origin: &'a Origin, kind: &StepType) -> Draft<'a> {
    let sent = Sent::new(told, &[], origin);
    let mut draft = Draft::new(kind);
    for dialect in DIALECTS.iter().filter(|dialect| (dialect.speaks)(&sent)) {
        (dialect.fields)(&sent, kind, &mut draft);
    }
    draft
}

/// A text as its column holds it, and the attribute that it is word for word.
struct Column<'a> {
    text: Option<String>,
    verbatim: Option<&'a str>,
}

fn column<'a>(content: Option<Content<'a>>, field: &'static str, span: &'a Span, sources: &mut Sources) -> Column<'a> {
    let Some(content) = content else { return Column { text: None, verbatim: None } };
    sources.note(field, content.source);
    let verbatim = verbatim_key(span, &content).filter(|_| !content.text.contains('\0'));
    let text =
        if verbatim.is_some() { content.text.into_owned() } else { usable::without_nul(&content.text).into_owned() };
    Column { text: Some(text), verbatim }
}

/// The attribute that the text is, word for word: the one it was taken from, if it was taken as it stands.
fn verbatim_key<'a>(span: &'a Span, content: &Content<'a>) -> Option<&'a str> {
    if let Some(sent) = span::get(&span.attributes, content.source) {
        return sent.as_str().filter(|sent| *sent == content.text).map(|_| content.source);
    }
    let Cow::Borrowed(text) = content.text else { return None };
    let holds = |(_, value): &&(String, AnyValue)| value.as_str().is_some_and(|sent| std::ptr::eq(sent, text));
    span.attributes.iter().find(holds).map(|(key, _)| key.as_str())
}

fn is_redacted(column: &Column<'_>) -> bool {
    column.text.as_deref().is_some_and(|text| {
        usable::is_redaction(text) || text.contains("\"__REDACTED__\"") || text.contains("\"<REDACTED>\"")
    })
}

fn label(draft: &mut Draft<'_>, text: Text, field: &'static str, sources: &mut Sources) -> Option<String> {
    let offer = draft.take(text)?;
    sources.note(field, offer.key);
    Some(shortened(&offer.value))
}

fn shortened(text: &str) -> String {
    usable::cut(&usable::without_nul(text), LABEL_BYTES_MAX).to_owned()
}

/// The span's own name; of agents and tools without operation and method; a nameless span is called by its type.
fn fallback_name(span: &Span, kind: &StepType) -> String {
    let name = match kind {
        StepType::Agent | StepType::ToolCall => normal_form::display_name(&span.name),
        _ => &span.name,
    };
    shortened(if name.trim().is_empty() { kind.as_str() } else { name })
}

fn latency_ms(span: &Span) -> Option<f64> {
    (span.start_ns != 0 && span.end_ns != 0).then(|| span.end_ns.saturating_sub(span.start_ns) as f64 / 1e6)
}

fn known_time(ns: u64) -> Option<u64> {
    (ns != 0 && is_representable(ns)).then_some(ns)
}

/// The UTC day of a time; `None` for no time and for one after the year 2262.
pub(super) fn day_of(ns: u64) -> Option<NaiveDate> {
    let ns = i64::try_from(ns).ok().filter(|ns| *ns != 0)?;
    DateTime::from_timestamp(ns / DAY_NS * (DAY_NS / 1_000_000_000), 0).map(|midnight| midnight.date_naive())
}

/// Old SDKs do not say it: there a server or consumer span has its parent in another process.
fn has_remote_parent(span: &Span) -> bool {
    if span.parent_span_id.is_none() {
        return false;
    }
    if span.flags & HAS_IS_REMOTE != 0 {
        return span.flags & IS_REMOTE != 0;
    }
    matches!(span.kind, generic::SERVER | generic::CONSUMER)
}

fn tags(offered: &[String]) -> Vec<String> {
    let mut tags: Vec<String> = Vec::with_capacity(offered.len().min(TAGS_MAX));
    let own = |tag: &&String| usable::is_usable_text(tag) && !langchain::is_machinery_tag(tag);
    for tag in offered.iter().filter(own) {
        let tag = shortened(tag);
        if tags.len() < TAGS_MAX && !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn run_metadata(mut metadata: Map<String, Value>, origin: &Origin) -> Map<String, Value> {
    if !metadata.is_empty() {
        metadata = metadata.into_iter().map(|(key, value)| (shortened(&key), storable(value))).collect();
    }
    let environment = ["deployment.environment.name", "deployment.environment"]
        .into_iter()
        .find_map(|key| origin::resource_text(origin, key));
    if let Some(environment) = environment {
        metadata.entry("environment").or_insert_with(|| Value::from(shortened(environment)));
    }
    metadata
}

/// JSON columns cannot hold U+0000 in any string.
fn storable(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains('\0') => Value::from(usable::without_nul(&text)),
        Value::Array(items) => Value::Array(items.into_iter().map(storable).collect()),
        Value::Object(fields) => {
            let clean = |(key, value): (String, Value)| (usable::without_nul(&key).into_owned(), storable(value));
            Value::Object(fields.into_iter().map(clean).collect())
        }
        other => other,
    }
}
