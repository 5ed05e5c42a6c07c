//! `vectoros prices MODEL`: what a model costs, by which entry of which table, and why that one.

use std::fmt::Write;

use anyhow::bail;
use chrono::{DateTime, NaiveDate, Utc};
use clap::Args;
use serde_json::{Value, json};

use crate::app::load_prices;
use crate::config::Config;
use crate::prices::{Asked, Cost, Prices, Quote, Rates, ServiceTier, Tokens, is_local};

#[derive(Args)]
pub struct PricesCommand {
    /// As a span names it: gpt-4o-mini-2024-07-18, openai/gpt-4o, us.anthropic.claude-sonnet-4-5-20250929-v1:0
    model: String,
    /// As a span names it: openai, azure.ai.openai, aws.bedrock
    #[arg(long)]
    provider: Option<String>,
    /// The day or time of the call: 2026-08-31 or 2026-08-31T12:00:00Z [default: now]
    #[arg(long, value_parser = parse_time)]
    at: Option<DateTime<Utc>>,
    /// Input tokens, cache included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    input: Option<i64>,
    /// Output tokens, reasoning included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    output: Option<i64>,
    /// Input tokens that were read from the cache
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    cache_read: Option<i64>,
    /// Input tokens that were written to the cache
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    cache_write: Option<i64>,
    /// The part of these that lives for an hour
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    cache_write_1h: Option<i64>,
    /// Output tokens that were reasoning
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i64).range(0..))]
    reasoning: Option<i64>,
    /// batch, flex or priority
    #[arg(long, value_parser = parse_service_tier)]
    service_tier: Option<ServiceTier>,
    #[arg(long)]
    json: bool,
}

impl PricesCommand {
    /// `None` when no count was given.
    fn tokens(&self) -> Option<Tokens> {
        let counts = [self.input, self.output, self.cache_read, self.cache_write, self.cache_write_1h, self.reasoning];
        counts.iter().any(Option::is_some).then(|| {
            let [input, output, cache_read, cache_write, cache_write_1h, reasoning] =
                counts.map(Option::unwrap_or_default);
            let cache_write = cache_write.max(cache_write_1h);
            Tokens { input, output, cache_read, cache_write, cache_write_1h, reasoning, ..Tokens::default() }
        })
    }
}

pub fn run(config: &Config, command: &PricesCommand) -> anyhow::Result<()> {
    let prices = load_prices(&config.prices)?;
    let at = command.at.unwrap_or_else(Utc::now);
    let tokens = command.tokens();
    let asked = Asked {
        provider: command.provider.as_deref(),
        model: &command.model,
        service_tier: command.service_tier,
        at_ns: at.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok()),
        input_tokens: tokens.unwrap_or_default().input,
    };
    let Some(quote) = prices.quote(asked) else { bail!("{}", missing(&prices, command)) };
    let cost = tokens.map(|tokens| quote.cost(&tokens));
    if command.json {
        println!("{}", as_json(&quote, cost.as_ref()));
    } else {
        print!("{}", as_text(&quote, &prices, command, at, cost.as_ref()));
    }
    Ok(())
}

fn missing(prices: &Prices, command: &PricesCommand) -> String {
    let provider = command.provider.as_ref().map(|name| format!(" of {name}")).unwrap_or_default();
    let (source, date) = prices.table();
    let why = match command.provider.as_deref().is_some_and(is_local) {
        true => "its provider runs where you do".to_owned(),
        false => format!("{source} of {date} does not know it"),
    };
    let file = prices.own_file().map_or("a file that prices.file names".to_owned(), str::to_owned);
    format!("no price is known for {}{provider}: {why}; add it to {file} (docs/prices.md)", command.model)
}

fn as_json(quote: &Quote<'_>, cost: Option<&Cost>) -> Value {
    let mut shown = Value::Object(quote.to_json());
    let tiers = quote.tiers().map(|(above, rates)| json!({"above": above, "usd_per_million": rates.to_json()}));
    shown["tiers"] = tiers.collect();
    if let Some(cost) = cost {
        shown["cost_usd"] = cost.total().to_f64().into();
    }
    shown
}

fn as_text(
    quote: &Quote<'_>,
    prices: &Prices,
    command: &PricesCommand,
    at: DateTime<Utc>,
    cost: Option<&Cost>,
) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{}", format!("{name:<18}{value}").trim_end());
    };
    let alias = if quote.is_alias { ", by an alias" } else { "" };
    let provider = quote.provider.map(|name| format!(" of {name}")).unwrap_or_default();
    line("model", command.model.clone());
    line("found as", format!("{}{provider} ({}{alias})", quote.model, quote.form.as_str()));
    line("prices from", quote.date.map_or(quote.source.to_owned(), |date| format!("{} of {date}", quote.source)));
    if let Some(file) = prices.own_file().filter(|file| *file != quote.source) {
        line("own prices", format!("{file}: nothing for this model"));
    }
    line("at", at.format("%Y-%m-%d %H:%M UTC").to_string());
    if let Some(above) = quote.above {
        line("tier", format!("above {above} input tokens"));
    }
    if let Some(tier) = quote.service_tier {
        line("tier", tier.as_str().to_owned());
    }
    line("USD per million tokens", String::new());
    for (name, rate) in quote.rates.named() {
        if let Some(rate) = rate {
            line(&format!("  {}", name.replace('_', " ")), format!("{:>12}", rate.usd_per_million()));
        }
    }
    for (above, rates) in quote.tiers().filter(|(above, _)| quote.above != Some(*above)) {
        line(&format!("above {above} input tokens: {}", in_words(&rates)), String::new());
    }
    for (tier, rates) in quote.services().filter(|(tier, _)| quote.service_tier != Some(*tier)) {
        line(&format!("{}: {}", tier.as_str(), in_words(&rates)), String::new());
    }
    if let Some(cost) = cost {
        line("cost", format!("{} USD", cost.total().to_f64()));
        if cost.parts_exceed {
            line("warning", "the parts are more than the whole that they are part of".to_owned());
        }
    }
    text
}

fn in_words(rates: &Rates) -> String {
    let known = rates.named().into_iter().filter_map(|(name, rate)| Some((name, rate?)));
    let words: Vec<String> =
        known.map(|(name, rate)| format!("{} {}", name.replace('_', " "), rate.usd_per_million())).collect();
    words.join(", ")
}

fn parse_time(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(day) = text.parse::<NaiveDate>() {
        return Ok(day.and_time(chrono::NaiveTime::MIN).and_utc());
    }
    text.parse().map_err(|_| "expected 2026-08-31 or 2026-08-31T12:00:00Z".to_owned())
}

fn parse_service_tier(word: &str) -> Result<ServiceTier, String> {
    ServiceTier::from_word(word).ok_or_else(|| "expected batch, flex or priority".to_owned())
}
