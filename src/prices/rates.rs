//! Prices of one model, when they hold, and what a call costs by them.

use chrono::NaiveDate;
use serde_json::{Map, Value};

use crate::prices::money::{Rate, Usd};

/// What kinds of tokens cost. A kind without a price of its own costs what the kind above it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    pub input: Option<Rate>,
    pub output: Option<Rate>,
    pub cache_read: Option<Rate>,
    /// A cache entry that lives for five minutes.
    pub cache_write: Option<Rate>,
    /// One that lives for an hour.
    pub cache_write_1h: Option<Rate>,
    pub input_audio: Option<Rate>,
    pub output_audio: Option<Rate>,
    pub reasoning: Option<Rate>,
}

impl Rates {
    pub const FREE: Rates = Rates {
        input: Some(Rate::ZERO),
        output: Some(Rate::ZERO),
        cache_read: None,
        cache_write: None,
        cache_write_1h: None,
        input_audio: None,
        output_audio: None,
        reasoning: None,
    };

    /// Every kind by its name in metadata and in files of prices.
    pub fn named(&self) -> [(&'static str, Option<Rate>); 8] {
        [
            ("input", self.input),
            ("output", self.output),
            ("cache_read", self.cache_read),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("input_audio", self.input_audio),
            ("output_audio", self.output_audio),
            ("reasoning", self.reasoning),
        ]
    }

    /// Where the price of that name stands.
    pub(super) fn place(&mut self, name: &str) -> Option<&mut Option<Rate>> {
        Some(match name {
            "input" => &mut self.input,
            "output" => &mut self.output,
            "cache_read" => &mut self.cache_read,
            "cache_write" => &mut self.cache_write,
            "cache_write_1h" => &mut self.cache_write_1h,
            "input_audio" => &mut self.input_audio,
            "output_audio" => &mut self.output_audio,
            "reasoning" => &mut self.reasoning,
            _ => return None,
        })
    }

    /// These prices, and those of `base` where there is none.
    pub fn or(self, base: Rates) -> Rates {
        Rates {
            input: self.input.or(base.input),
            output: self.output.or(base.output),
            cache_read: self.cache_read.or(base.cache_read),
            cache_write: self.cache_write.or(base.cache_write),
            cache_write_1h: self.cache_write_1h.or(base.cache_write_1h),
            input_audio: self.input_audio.or(base.input_audio),
            output_audio: self.output_audio.or(base.output_audio),
            reasoning: self.reasoning.or(base.reasoning),
        }
    }

    /// USD per million tokens.
    pub fn to_json(&self) -> Map<String, Value> {
        let known = self.named().into_iter().filter_map(|(name, rate)| Some((name, rate?)));
        known.map(|(name, rate)| (name.to_owned(), Value::from(rate.usd_per_million()))).collect()
    }

    pub fn cost(&self, tokens: &Tokens) -> Cost {
        let part = |count: i64| count.max(0);
        let cache_read = part(tokens.cache_read);
        let cache_write_1h = part(tokens.cache_write_1h);
        let cache_write = part(tokens.cache_write).saturating_sub(cache_write_1h).max(0);
        let input_audio = if self.input_audio.is_some() { part(tokens.input_audio) } else { 0 };
        let parts = [cache_read, cache_write, cache_write_1h, input_audio];
        let inside = parts.into_iter().fold(0, i64::saturating_add);
        let plain_input = part(tokens.input).saturating_sub(inside);

        let reasoning = if self.reasoning.is_some() { part(tokens.reasoning) } else { 0 };
        let output_audio = if self.output_audio.is_some() { part(tokens.output_audio) } else { 0 };
        let plain_output = part(tokens.output).saturating_sub(reasoning.saturating_add(output_audio));

        let input_rate = self.input.unwrap_or_default();
        let output_rate = self.output.unwrap_or_default();
        let write_rate = self.cache_write.unwrap_or(input_rate);
        let of = |rate: Option<Rate>, otherwise: Rate, count: i64| rate.unwrap_or(otherwise).times(count);
        Cost {
            plain_input: input_rate.times(plain_input),
            cache_read: of(self.cache_read, input_rate, cache_read),
            cache_write: write_rate.times(cache_write) + of(self.cache_write_1h, write_rate, cache_write_1h),
            input_audio: of(self.input_audio, input_rate, input_audio),
            plain_output: output_rate.times(plain_output),
            reasoning: of(self.reasoning, output_rate, reasoning),
            output_audio: of(self.output_audio, output_rate, output_audio),
            parts_exceed: plain_input < 0 || plain_output < 0,
        }
    }
}

/// What a call used. Cache and audio are part of the input, reasoning and audio part of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tokens {
    pub input: i64,
    pub output: i64,
    pub cache_read: i64,
    /// The part that lives for an hour included.
    pub cache_write: i64,
    pub cache_write_1h: i64,
    pub input_audio: i64,
    pub output_audio: i64,
    pub reasoning: i64,
}

/// What a call cost, by kind of token. A part is never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub plain_input: Usd,
    pub cache_read: Usd,
    pub cache_write: Usd,
    pub input_audio: Usd,
    pub plain_output: Usd,
    pub reasoning: Usd,
    pub output_audio: Usd,
    /// The parts are more than the whole that they should be inside of: what is left counts as nothing.
    pub parts_exceed: bool,
}

impl Cost {
    pub fn total(&self) -> Usd {
        let parts = [
            self.plain_input,
            self.cache_read,
            self.cache_write,
            self.input_audio,
            self.plain_output,
            self.reasoning,
            self.output_audio,
        ];
        parts.into_iter().fold(Usd::ZERO, Usd::saturating_add)
    }
}

/// How fast an answer was asked for; it has prices of its own at some providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServiceTier {
    Batch,
    Flex,
    Priority,
}

impl ServiceTier {
    pub fn as_str(self) -> &'static str {
        match self {
            ServiceTier::Batch => "batch",
            ServiceTier::Flex => "flex",
            ServiceTier::Priority => "priority",
        }
    }

    /// `None` for the plain tier, whatever it is called.
    pub fn from_word(word: &str) -> Option<ServiceTier> {
        [ServiceTier::Batch, ServiceTier::Flex, ServiceTier::Priority]
            .into_iter()
            .find(|tier| tier.as_str().eq_ignore_ascii_case(word.trim()))
    }
}

/// Prices that hold for calls with more than `above` tokens of input, cache included: for the whole call.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tier {
    pub above: i64,
    pub rates: Rates,
}

/// Prices of a model for a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PriceList {
    /// Seconds since 1970.
    pub from: Option<i64>,
    /// The first second in which the prices hold no longer.
    pub until: Option<i64>,
    /// Seconds of the day between which the prices hold, in UTC.
    pub daily: Option<(i64, i64)>,
    pub base: Rates,
    /// By rising threshold.
    pub tiers: Vec<Tier>,
    pub services: Vec<(ServiceTier, Rates)>,
}

/// Which prices of a list a call has.
pub(super) struct Chosen {
    pub rates: Rates,
    pub above: Option<i64>,
    pub service: Option<ServiceTier>,
}

impl PriceList {
    fn holds(&self, at_s: i64) -> bool {
        const DAY_S: i64 = 86_400;
        let time = at_s.rem_euclid(DAY_S);
        self.from.is_none_or(|from| from <= at_s)
            && self.until.is_none_or(|until| at_s < until)
            && self.daily.is_none_or(|(from, until)| match from <= until {
                true => (from..until).contains(&time),
                false => time >= from || time < until,
            })
    }

    /// The prices of a service tier are told as they are; thresholds are not known to apply to them.
    pub fn choose(&self, input_tokens: i64, service: Option<ServiceTier>) -> Chosen {
        if let Some((service, rates)) = self.services.iter().find(|(known, _)| Some(*known) == service) {
            return Chosen { rates: *rates, above: None, service: Some(*service) };
        }
        match self.tiers.iter().rev().find(|tier| input_tokens > tier.above) {
            Some(tier) => Chosen { rates: tier.rates, above: Some(tier.above), service: None },
            None => Chosen { rates: self.base, above: None, service: None },
        }
    }
}

/// The last list that holds at a time.
pub(super) fn list_at(lists: &[PriceList], at_s: i64) -> Option<&PriceList> {
    lists.iter().rev().find(|list| list.holds(at_s))
}

/// The first second of a day.
pub(super) fn midnight(day: NaiveDate) -> i64 {
    day.and_time(chrono::NaiveTime::MIN).and_utc().timestamp()
}
