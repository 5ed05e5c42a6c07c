//! A step while it is being read: dialects offer values, the best ranked usable one stays.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::mapping::normal_form::{self, Named};
use crate::mapping::precedence::{self, Family, error_text};
use crate::mapping::sent::Sent;
use crate::mapping::usable;
use crate::messages;
use crate::model::step::{StepType, Wrapped};
use crate::model::value::AnyValue;

/// The type of a step, chosen among the offers of all dialects.
#[derive(Default)]
pub(super) struct KindChoice {
    best: Option<(u8, StepType, &'static str)>,
    pub setup: bool,
}

impl KindChoice {
    pub(super) fn offer(&mut self, rank: u8, kind: StepType, key: &'static str) {
        if self.best.as_ref().is_none_or(|(best, ..)| rank < *best) {
            self.best = Some((rank, kind, key));
        }
    }

    /// How much the best offer so far is trusted.
    pub(super) fn rank(&self) -> Option<u8> {
        self.best.as_ref().map(|(rank, ..)| *rank)
    }

    pub(super) fn is(&self, kind: &StepType) -> bool {
        self.best.as_ref().is_some_and(|(_, best, _)| best == kind)
    }

    /// For marks that refine what another dialect found.
    pub(super) fn refine(&mut self, kind: StepType, key: &'static str) {
        let rank = self.best.as_ref().map_or(precedence::kind::STRUCTURE, |(rank, ..)| *rank);
        self.best = Some((rank, kind, key));
    }

    /// Type, whether a GenAI dialect gave it, and the key that told.
    pub(super) fn decide(self) -> (StepType, bool, Option<&'static str>) {
        match self.best {
            Some((rank, kind, key)) => (kind, rank < precedence::kind::GENERIC, Some(key)),
            None => (StepType::Unknown, false, None),
        }
    }
}

/// A single-valued text of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Text {
    Name,
    Agent,
    Model,
    RequestModel,
    Provider,
    Framework,
    SessionId,
    UserId,
    RunName,
    /// What the sender calls the input and the output of the whole run.
    RunInput,
    RunOutput,
    ResponseId,
    ToolCallId,
    FinishReason,
    /// Why the step failed, in a dialect's own words.
    Failure,
}

const TEXTS: usize = Text::Failure as usize + 1;

/// Field of the step or of the run → the key that supplied it. Only noted when somebody asks: it can be told again from
/// the span at any time, so that it is not stored.
#[derive(Default)]
pub(super) struct Sources(pub Option<BTreeMap<&'static str, &'static str>>);

impl Sources {
    pub(super) fn note(&mut self, field: &'static str, key: &'static str) {
        if let Some(noted) = &mut self.0 {
            noted.insert(field, key);
        }
    }
}

/// A token count of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Input,
    Output,
    Total,
    CacheRead,
    CacheWrite,
    Reasoning,
    /// The part of the written cache that lives for an hour: it has a price of its own.
    CacheWrite1h,
    InputAudio,
    OutputAudio,
}

pub(super) const COUNTS: [(Count, &str); 9] = [
    (Count::Input, "input_tokens"),
    (Count::Output, "output_tokens"),
    (Count::Total, "tokens"),
    (Count::CacheRead, "cache_read_tokens"),
    (Count::CacheWrite, "cache_write_tokens"),
    (Count::Reasoning, "reasoning_tokens"),
    (Count::CacheWrite1h, "cache_write_1h_tokens"),
    (Count::InputAudio, "input_audio_tokens"),
    (Count::OutputAudio, "output_audio_tokens"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

/// A text of the step, where it came from, and how far that is to be trusted.
#[derive(Clone, Debug)]
pub(super) struct Offer<'a> {
    pub rank: u8,
    pub key: &'static str,
    pub value: Cow<'a, str>,
}

/// The step's input or output.
#[derive(Clone, Debug)]
pub(super) struct Content<'a> {
    /// The attribute it is, or the family it was assembled from (then with `*` or `+` in it).
    pub source: &'static str,
    pub text: Cow<'a, str>,
}

/// Longer texts are not looked into: messages of that size say something.
const HOLLOW_BYTES_MAX: usize = 512;

/// Messages without any part: written by instrumentations that keep the roles alone. The next source may know more.
fn is_hollow(text: &str) -> bool {
    text.len() <= HOLLOW_BYTES_MAX
        && text.starts_with(['[', '{'])
        && text.contains("\"role\"")
        && messages::parse(text).is_some_and(|all| all.iter().all(|message| message.parts.is_empty()))
}

pub(super) struct Draft<'a> {
    families: &'static [Family],
    texts: [Option<Offer<'a>>; TEXTS],
    counts: [Option<(u8, &'static str, i64)>; COUNTS.len()],
    contents: [Option<(usize, Content<'a>)>; 2],
    /// USD, with the key that told it.
    pub cost: Option<(f64, &'static str)>,
    pub time_to_first_token_ms: Option<(f64, &'static str)>,
    pub streaming: Option<bool>,
    /// The span only records how a stream ended that took this long, after the span of its call.
    pub stream_took_ms: Option<f64>,
    pub tags: Vec<String>,
    pub run_metadata: Map<String, Value>,
    pub wraps: Option<Wrapped>,
    /// The key by which a dialect says that the step failed, whatever the status of its span.
    pub failed: Option<&'static str>,
    /// The sender marked this step as the one that speaks for the run.
    pub run_root: bool,
    /// What this step reports is the sum of all calls below, also of those that no step shows.
    pub claim_is_sum: bool,
    /// The step was put off, to be done or allowed elsewhere: no failure, whatever was raised.
    pub deferred: bool,
    /// Cache tokens are not part of the input count; known from the shape that reported them.
    pub cache_is_outside: bool,
    pub more: Map<String, Value>,
    pub warnings: Vec<String>,
}

impl<'a> Draft<'a> {
    pub(super) fn new(kind: &StepType) -> Draft<'a> {
        Draft {
            families: precedence::families(kind),
            texts: Default::default(),
            counts: Default::default(),
            contents: Default::default(),
            cost: None,
            time_to_first_token_ms: None,
            streaming: None,
            stream_took_ms: None,
            tags: Vec::new(),
            run_metadata: Map::new(),
            wraps: None,
            failed: None,
            run_root: false,
            claim_is_sum: false,
            deferred: false,
            cache_is_outside: false,
            more: Map::new(),
            warnings: Vec::new(),
        }
    }

    /// Offers the scalar under each key of a table.
    pub(super) fn offer_texts(&mut self, sent: &Sent<'a>, table: &[(Text, u8, &'static str)]) {
        for &(text, rank, key) in table {
            if self.wants(text, rank)
                && let Some(value) = sent.get(key).and_then(usable::scalar_text)
            {
                self.offer_text(text, rank, key, value);
            }
        }
    }

    pub(super) fn offer_text(&mut self, text: Text, rank: u8, key: &'static str, value: Cow<'a, str>) {
        if self.wants(text, rank) && usable::is_usable_text(&value) {
            self.texts[text as usize] = Some(Offer { rank, key, value });
        }
    }

    /// Whether an offer of this rank would win: ask before doing work for it.
    pub(super) fn wants(&self, text: Text, rank: u8) -> bool {
        self.texts[text as usize].as_ref().is_none_or(|best| rank < best.rank)
    }

    /// Fills what nobody offered from another draft: all but contents.
    pub(super) fn complete(&mut self, other: Draft<'a>) {
        for (own, theirs) in self.texts.iter_mut().zip(other.texts) {
            *own = own.take().or(theirs);
        }
        for (own, theirs) in self.counts.iter_mut().zip(other.counts) {
            *own = own.or(theirs);
        }
        self.cost = self.cost.or(other.cost);
        self.time_to_first_token_ms = self.time_to_first_token_ms.or(other.time_to_first_token_ms);
        self.streaming = self.streaming.or(other.streaming);
    }

    pub(super) fn text(&self, text: Text) -> Option<&str> {
        self.texts[text as usize].as_ref().map(|offer| &*offer.value)
    }

    /// Whether the step's own words for its failure are no words but the code of a protocol.
    pub(super) fn has_failure_code(&self) -> bool {
        self.texts[Text::Failure as usize].as_ref().is_some_and(|offer| offer.rank >= error_text::HTTP_STATUS)
    }

    pub(super) fn take(&mut self, text: Text) -> Option<Offer<'a>> {
        self.texts[text as usize].take()
    }

    /// Offers a provider in its normal form; what names a framework is kept as that and answers no call.
    pub(super) fn offer_provider(&mut self, rank: u8, key: &'static str, name: &str) {
        if !usable::is_usable_text(name) {
            return;
        }
        match normal_form::provider(name) {
            Named::Provider(provider) => {
                if self.wants(Text::Provider, rank) {
                    self.offer_text(Text::Provider, rank, key, Cow::Owned(provider.into_owned()));
                }
            }
            Named::Framework(framework) => {
                self.offer_text(Text::Framework, rank, key, Cow::Owned(framework.to_owned()));
            }
        }
    }

    /// Offers the count under each key of a table; what is no count becomes a warning.
    pub(super) fn offer_counts(&mut self, sent: &Sent<'a>, table: &[(Count, u8, &'static str)]) {
        for &(count, rank, key) in table {
            match sent.get(key).map(usable::count) {
                None | Some(Ok(None)) => {}
                Some(Ok(Some(n))) => self.offer_count(count, rank, key, n),
                Some(Err(wrong)) => self.warnings.push(format!("{key}: {wrong}")),
            }
        }
    }

    pub(super) fn offer_count(&mut self, count: Count, rank: u8, key: &'static str, n: i64) {
        if self.wants_count(count, rank) {
            self.counts[count as usize] = Some((rank, key, n));
        }
    }

    /// Whether an offer of this rank would win.
    pub(super) fn wants_count(&self, count: Count, rank: u8) -> bool {
        self.counts[count as usize].is_none_or(|(best, ..)| rank < best)
    }

    pub(super) fn count(&self, count: Count) -> Option<i64> {
        self.counts[count as usize].map(|(_, _, n)| n)
    }

    pub(super) fn has_counts(&self) -> bool {
        self.counts.iter().any(Option::is_some)
    }

    /// Offers the value under `key` as it stands.
    pub(super) fn offer_attribute(&mut self, side: Side, family: Family, sent: &Sent<'a>, key: &'static str) {
        // Most are absent, and told so by one look.
        let Some(value) = sent.get(key) else { return };
        self.offer_content(side, family, || Some(Content { source: key, text: usable::content_text(value)? }));
    }

    /// Makes and takes a text, if nothing better stands there and this type of step uses the family at all.
    pub(super) fn offer_content(&mut self, side: Side, family: Family, make: impl FnOnce() -> Option<Content<'a>>) {
        let Some(rank) = self.families.iter().position(|known| *known == family) else { return };
        let best = &mut self.contents[side as usize];
        if best.as_ref().is_some_and(|(best, _)| *best <= rank) {
            return;
        }
        if let Some(content) = make().filter(|content| !is_hollow(&content.text)) {
            *best = Some((rank, content));
        }
    }

    pub(super) fn content(&self, side: Side) -> Option<&Content<'a>> {
        self.contents[side as usize].as_ref().map(|(_, content)| content)
    }

    /// Lets `read` look into the text while it offers what it finds there.
    pub(super) fn read_content(&mut self, side: Side, read: impl FnOnce(&mut Draft<'a>, &str)) {
        if let Some((rank, content)) = self.contents[side as usize].take() {
            read(self, &content.text);
            self.contents[side as usize] = Some((rank, content));
        }
    }

    pub(super) fn take_content(&mut self, side: Side) -> Option<Content<'a>> {
        self.contents[side as usize].take().map(|(_, content)| content)
    }

    pub(super) fn offer_cost(&mut self, key: &'static str, value: Option<&AnyValue>) {
        // 0 is what senders write who have no price: it gives way to one.
        if self.cost.is_none_or(|(known, _)| known == 0.0)
            && let Some(usd) = value.and_then(usable::number).filter(|usd| *usd >= 0.0)
            && (usd > 0.0 || self.cost.is_none())
        {
            self.cost = Some((usd, key));
        }
    }

    pub(super) fn offer_time_to_first_token_ms(&mut self, key: &'static str, ms: Option<f64>) {
        if self.time_to_first_token_ms.is_none()
            && let Some(ms) = ms.filter(|ms| *ms >= 0.0)
        {
            self.time_to_first_token_ms = Some((ms, key));
        }
    }

    /// Offers the tags in a list, in the JSON text of one, or a single one.
    pub(super) fn offer_tags(&mut self, value: Option<&AnyValue>) {
        self.tags.extend(value.map(usable::list_of_texts).unwrap_or_default());
    }

    /// Which key supplied which field, for those that were filled.
    pub(super) fn note_sources(&self, sources: &mut Sources) {
        for (count, field) in COUNTS {
            if let Some((_, key, _)) = self.counts[count as usize] {
                sources.note(field, key);
            }
        }
        if let Some((_, key)) = self.cost {
            sources.note("cost", key);
        }
        if let Some((_, key)) = self.time_to_first_token_ms {
            sources.note("time_to_first_token_ms", key);
        }
    }
}
