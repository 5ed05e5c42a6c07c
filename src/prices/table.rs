//! The price table that is compiled in: facts from genai-prices, in the format that `prices/update.py` describes.

use std::collections::HashMap;

use chrono::NaiveDate;
use serde::Deserialize;

use crate::prices::money::Rate;
use crate::prices::names::Form;
use crate::prices::rates::{PriceList, Rates, Tier, midnight};

const SHIPPED: &str = include_str!("../../prices/table.json");

/// Providers whose names differ from the table's: those of the GenAI conventions, and those of routes and libraries.
const OTHER_NAMES: [(&str, &str); 25] = [
    ("azure.ai.openai", "azure"),
    ("azure.ai.inference", "azure"),
    ("azure_openai", "azure"),
    ("azure_ai", "azure"),
    ("gcp.gemini", "google"),
    ("gcp.vertex_ai", "google"),
    ("gcp.gen_ai", "google"),
    ("gemini", "google"),
    ("vertex_ai", "google"),
    ("google-gla", "google"),
    ("google-vertex", "google"),
    ("google_genai", "google"),
    ("google_vertexai", "google"),
    ("aws.bedrock", "aws"),
    ("bedrock", "aws"),
    ("bedrock_converse", "aws"),
    ("amazon-bedrock", "aws"),
    ("mistral_ai", "mistral"),
    ("mistralai", "mistral"),
    ("xai", "x-ai"),
    ("moonshot", "moonshotai"),
    ("together_ai", "together"),
    ("fireworks_ai", "fireworks"),
    ("z-ai", "zai"),
    ("z.ai", "zai"),
];

/// Models whose maker the table's own rules do not tell.
const OTHER_MODELS: [(&str, &str); 4] =
    [("text-embedding-", "openai"), ("chatgpt-", "openai"), ("embed-", "cohere"), ("gpt-oss", "openai")];

/// Prices of every provider.
#[derive(Default)]
pub(super) struct Table {
    /// Where the facts come from.
    pub source: String,
    pub date: NaiveDate,
    pub providers: Vec<Provider>,
    by_id: HashMap<String, usize>,
}

pub(super) struct Provider {
    pub id: String,
    /// What the provider is called.
    names: Vec<Rule>,
    /// How the models that it makes are called.
    makes: Vec<Rule>,
    /// Whose prices hold for what is not its own.
    fallback: Vec<String>,
    pub models: Vec<Model>,
    exact: HashMap<String, usize>,
    /// In the order of the source.
    rules: Vec<(Rule, usize)>,
}

pub(super) struct Model {
    pub id: String,
    pub lists: Vec<PriceList>,
}

/// How a name is told. `#` stands for a digit.
#[derive(Debug, PartialEq)]
enum Rule {
    Whole(String),
    Start(String),
    End(String),
    Anywhere(String),
    All(Vec<Rule>),
}

impl Rule {
    fn read(text: &str) -> Rule {
        if text.contains('&') {
            return Rule::All(text.split('&').map(Rule::read).collect());
        }
        let rest = || text[1..].to_owned();
        match text.as_bytes().first() {
            Some(b'^') => Rule::Start(rest()),
            Some(b'$') => Rule::End(rest()),
            Some(b'*') => Rule::Anywhere(rest()),
            Some(b'=' | b'~') => Rule::Whole(rest()),
            _ => Rule::Whole(text.to_owned()),
        }
    }

    fn holds(&self, name: &str) -> bool {
        match self {
            Rule::Whole(whole) => name.len() == whole.len() && starts_like(name, whole),
            Rule::Start(start) => starts_like(name, start),
            Rule::End(end) => name.ends_with(end.as_str()),
            Rule::Anywhere(part) => name.contains(part.as_str()),
            Rule::All(rules) => rules.iter().all(|rule| rule.holds(name)),
        }
    }
}

fn starts_like(name: &str, pattern: &str) -> bool {
    let alike = |(a, b): (u8, u8)| a == b || (b == b'#' && a.is_ascii_digit());
    name.len() >= pattern.len() && name.bytes().zip(pattern.bytes()).all(alike)
}

impl Provider {
    /// The model that one of the names means, and the form of the name. Whole names come before rules.
    pub fn find(&self, names: &[(Form, String)]) -> Option<(usize, Form)> {
        names.iter().find_map(|(form, name)| {
            let by_rule = || self.rules.iter().find(|(rule, _)| rule.holds(name)).map(|(_, model)| model);
            Some((*self.exact.get(name).or_else(by_rule)?, *form))
        })
    }
}

impl Table {
    /// The table of this version of the program. A test reads it, so that it cannot be unreadable.
    pub fn shipped() -> Table {
        Table::read(SHIPPED).unwrap_or_default()
    }

    fn read(json: &str) -> Result<Table, serde_json::Error> {
        let written: Written = serde_json::from_str(json)?;
        let providers: Vec<Provider> = written.providers.into_iter().map(provider).collect();
        let by_id = providers.iter().enumerate().map(|(index, provider)| (provider.id.clone(), index)).collect();
        let source = format!("{} {}", written.source, written.version);
        Ok(Table { source, date: written.date, providers, by_id })
    }

    /// A provider by its exact name, in any of its spellings.
    pub fn named(&self, name: &str) -> Option<usize> {
        let name = name.trim().to_ascii_lowercase();
        let other = OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, id)| *id);
        let id = other.unwrap_or(&name);
        self.by_id.get(id).or_else(|| self.by_id.get(&id.replace(['_', '.'], "-"))).copied()
    }

    /// A provider by what it is called, as the source tells it.
    pub fn called(&self, name: &str) -> Option<usize> {
        let lower = name.trim().to_ascii_lowercase();
        let by_rule =
            || self.providers.iter().position(|provider| provider.names.iter().any(|rule| rule.holds(&lower)));
        self.named(name).or_else(by_rule)
    }

    pub fn fallbacks(&self, provider: usize) -> impl Iterator<Item = usize> {
        self.providers[provider].fallback.iter().filter_map(|id| self.by_id.get(id).copied())
    }

    /// Those whose models have such names.
    pub fn makers(&self, name: &str) -> impl Iterator<Item = usize> {
        let other = OTHER_MODELS.iter().find(|(start, _)| name.starts_with(start)).map(|(_, id)| *id);
        let by_rule = move |provider: &Provider| provider.makes.iter().any(|rule| rule.holds(name));
        let makes = self.providers.iter().enumerate().filter(move |(_, provider)| by_rule(provider));
        other.and_then(|id| self.by_id.get(id).copied()).into_iter().chain(makes.map(|(index, _)| index))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    source: String,
    version: String,
    #[serde(rename = "revision")]
    _revision: String,
    date: NaiveDate,
    providers: Vec<WrittenProvider>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProvider {
    id: String,
    names: Vec<String>,
    makes: Vec<String>,
    fallback: Vec<String>,
    models: Vec<(String, Vec<String>, Vec<WrittenPrices>)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPrices {
    #[serde(rename = "in")]
    input: Option<f64>,
    #[serde(rename = "out")]
    output: Option<f64>,
    cr: Option<f64>,
    cw: Option<f64>,
    cw1h: Option<f64>,
    ain: Option<f64>,
    aout: Option<f64>,
    think: Option<f64>,
    above: Option<i64>,
    from: Option<NaiveDate>,
    daily: Option<(i64, i64)>,
    #[serde(default)]
    tiers: Vec<WrittenPrices>,
}

impl WrittenPrices {
    fn rates(&self) -> Rates {
        let rate = |usd: Option<f64>| usd.and_then(Rate::per_million);
        Rates {
            input: rate(self.input),
            output: rate(self.output),
            cache_read: rate(self.cr),
            cache_write: rate(self.cw),
            cache_write_1h: rate(self.cw1h),
            input_audio: rate(self.ain),
            output_audio: rate(self.aout),
            reasoning: rate(self.think),
        }
    }

    fn list(&self) -> PriceList {
        let tier = |tier: &WrittenPrices| Some(Tier { above: tier.above?, rates: tier.rates() });
        PriceList {
            from: self.from.map(midnight),
            daily: self.daily,
            base: self.rates(),
            tiers: self.tiers.iter().filter_map(tier).collect(),
            ..PriceList::default()
        }
    }
}

fn provider(written: WrittenProvider) -> Provider {
    let read = |rules: &[String]| rules.iter().map(|rule| Rule::read(rule)).collect();
    let mut provider = Provider {
        names: read(&written.names),
        makes: read(&written.makes),
        fallback: written.fallback,
        id: written.id,
        models: Vec::with_capacity(written.models.len()),
        exact: HashMap::new(),
        rules: Vec::new(),
    };
    for (index, (id, rules, lists)) in written.models.into_iter().enumerate() {
        provider.exact.entry(id.clone()).or_insert(index);
        for rule in rules {
            match rule.strip_prefix('=') {
                Some(whole) => drop(provider.exact.insert(whole.to_owned(), index)),
                None => provider.rules.push((Rule::read(&rule), index)),
            }
        }
        provider.models.push(Model { id, lists: lists.iter().map(WrittenPrices::list).collect() });
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_is_whole_and_no_price_is_lost() {
        let table = Table::read(SHIPPED).unwrap();
        assert!(table.providers.len() >= 30, "{}", table.providers.len());
        assert!(table.providers.iter().map(|provider| provider.models.len()).sum::<usize>() > 1000);
        let written: Written = serde_json::from_str(SHIPPED).unwrap();
        for model in written.providers.iter().flat_map(|provider| &provider.models) {
            assert!(!model.2.is_empty(), "{}", model.0);
            for prices in model.2.iter().flat_map(|prices| std::iter::once(prices).chain(&prices.tiers)) {
                let sent = [prices.input, prices.output, prices.cr, prices.cw, prices.cw1h, prices.ain, prices.aout];
                let kept = prices.rates().named();
                for (usd, (_, rate)) in sent.into_iter().zip(kept) {
                    assert_eq!(usd, rate.map(Rate::usd_per_million), "{}", model.0);
                }
            }
        }
        for (_, id) in OTHER_NAMES.iter().chain(&OTHER_MODELS) {
            assert!(table.by_id.contains_key(*id), "{id}");
        }
        for provider in &table.providers {
            assert!(provider.fallback.iter().all(|id| table.by_id.contains_key(id)), "{}", provider.id);
        }
    }

    #[test]
    fn rules_read_as_they_are_written() {
        for (rule, name, holds) in [
            ("^claude-2", "claude-2.1", true),
            ("^claude-2", "anthropic/claude-2", false),
            ("$-flash", "gemini-2.0-flash", true),
            ("*mistral", "codemistral-1", true),
            ("=gpt-4o", "gpt-4o", true),
            ("=gpt-4o", "gpt-4o-mini", false),
            ("~grok-4.3-########", "grok-4.3-20260101", true),
            ("~grok-4.3-########", "grok-4.3-2026010x", false),
            ("~grok-4.3-########", "grok-4.3-202601011", false),
            ("^gemini-3.5-flash-#", "gemini-3.5-flash-001", true),
            ("^gemini-3.5-flash-#", "gemini-3.5-flash-lite", false),
            ("*huggingface&*groq", "huggingface_groq", true),
            ("*huggingface&*groq", "groq", false),
        ] {
            assert_eq!(Rule::read(rule).holds(name), holds, "{rule} {name}");
        }
    }

    #[test]
    fn providers_are_known_by_many_names() {
        let table = Table::shipped();
        for (name, id) in [
            ("openai", "openai"),
            ("azure.ai.openai", "azure"),
            ("gcp.vertex_ai", "google"),
            ("aws.bedrock", "aws"),
            ("x_ai", "x-ai"),
            ("Together_AI", "together"),
            ("my-openai-proxy", "openai"),
        ] {
            assert_eq!(table.called(name).map(|index| table.providers[index].id.as_str()), Some(id), "{name}");
        }
        assert_eq!(table.called("acme"), None);
    }
}
