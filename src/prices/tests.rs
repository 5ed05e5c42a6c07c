//! Costs by hand: every expected value is its own arithmetic, tokens times picodollars. 0.15 USD per million tokens are
//! 150,000 picodollars a token.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

const NO_CALL: Tokens = Tokens {
    input: 0,
    output: 0,
    cache_read: 0,
    cache_write: 0,
    cache_write_1h: 0,
    input_audio: 0,
    output_audio: 0,
    reasoning: 0,
};

fn plain(input: i64, output: i64) -> Tokens {
    Tokens { input, output, ..NO_CALL }
}

fn at(day: &str) -> Option<u64> {
    let time = match day.split_once(' ') {
        Some((day, time)) => format!("{day}T{time}Z"),
        None => format!("{day}T00:00:00Z"),
    };
    let time: chrono::DateTime<chrono::Utc> = time.parse().unwrap();
    u64::try_from(time.timestamp_nanos_opt().unwrap()).ok()
}

/// Picodollars of a call; `None` for a model without a price. An empty provider is none.
fn pico(prices: &Prices, provider: &str, model: &str, day: &str, tokens: Tokens) -> Option<i128> {
    let provider = Some(provider).filter(|name| !name.is_empty());
    let asked = Asked { provider, model, at_ns: at(day), input_tokens: tokens.input, ..Asked::default() };
    prices.quote(asked).map(|quote| quote.cost(&tokens).total().pico())
}

const DAY: &str = "2026-11-25";

#[test]
fn costs_by_hand() {
    let cached = |input, cache_read, output| Tokens { input, output, cache_read, ..NO_CALL };
    let written = |input, cache_read, cache_write, cache_write_1h, output| Tokens {
        input,
        output,
        cache_read,
        cache_write,
        cache_write_1h,
        ..NO_CALL
    };
    let rows: Vec<(&str, &str, &str, Tokens, i128)> = vec![
        // Plain calls, with a cache and without.
        ("openai", "gpt-4o-mini-2024-07-18", DAY, plain(120, 18), 120 * 150_000 + 18 * 600_000),
        ("openai", "gpt-4o-mini", DAY, plain(150, 24), 150 * 150_000 + 24 * 600_000),
        (
            "openai",
            "gpt-5-mini-2025-08-07",
            DAY,
            cached(1200, 1024, 300),
            176 * 250_000 + 1024 * 25_000 + 300 * 2_000_000,
        ),
        ("openai", "gpt-4o", DAY, cached(1000, 1000, 0), 1000 * 1_250_000),
        ("openai", "GPT-4o", DAY, plain(1, 1), 2_500_000 + 10_000_000),
        // Written cache: five minutes and an hour.
        (
            "anthropic",
            "claude-haiku-4-5-20251001",
            DAY,
            written(10_000, 6_000, 3_000, 0, 500),
            1_000 * 1_000_000 + 6_000 * 100_000 + 3_000 * 1_250_000 + 500 * 5_000_000,
        ),
        (
            "anthropic",
            "claude-haiku-4-5",
            DAY,
            written(10_000, 6_000, 3_000, 2_000, 500),
            1_000 * 1_000_000 + 6_000 * 100_000 + 1_000 * 1_250_000 + 2_000 * 2_000_000 + 500 * 5_000_000,
        ),
        // No price for an hour: that of five minutes; no price for the cache: that of the input.
        ("aws", "us.anthropic.claude-haiku-4-5-20251001-v1:0", DAY, written(100, 0, 100, 100, 0), 100 * 1_375_000),
        ("groq", "llama-3.3-70b-versatile", DAY, cached(100, 60, 10), 100 * 590_000 + 10 * 790_000),
        // Reasoning is part of the output; one model has a price for it.
        ("openai", "gpt-5-mini", DAY, Tokens { reasoning: 256, ..plain(10, 300) }, 10 * 250_000 + 300 * 2_000_000),
        (
            "perplexity",
            "sonar-deep-research",
            DAY,
            Tokens { reasoning: 200, ..plain(10, 300) },
            10 * 2_000_000 + 100 * 8_000_000 + 200 * 3_000_000,
        ),
        // Thresholds hold for the whole call, and only above them.
        ("anthropic", "claude-sonnet-4-5", DAY, plain(199_999, 10), 199_999 * 3_000_000 + 10 * 15_000_000),
        ("anthropic", "claude-sonnet-4-5", DAY, plain(200_000, 10), 200_000 * 3_000_000 + 10 * 15_000_000),
        ("anthropic", "claude-sonnet-4-5", DAY, plain(200_001, 10), 200_001 * 6_000_000 + 10 * 22_500_000),
        (
            "anthropic",
            "claude-sonnet-4-5",
            DAY,
            cached(200_001, 200_000, 10),
            6_000_000 + 200_000 * 600_000 + 10 * 22_500_000,
        ),
        ("gcp.gemini", "gemini-2.5-pro", DAY, plain(200_001, 1), 200_001 * 2_500_000 + 15_000_000),
        ("openai", "gpt-5.4", DAY, plain(272_000, 1), 272_000 * 2_500_000 + 15_000_000),
        ("openai", "gpt-5.4", DAY, plain(272_001, 1), 272_001 * 5_000_000 + 22_500_000),
        // Prices change on a day, and one provider's during the day.
        ("openai", "o3", "2025-06-09 23:59:59", plain(10, 10), 10 * 10_000_000 + 10 * 40_000_000),
        ("openai", "o3", "2025-06-10", plain(10, 10), 10 * 2_000_000 + 10 * 8_000_000),
        ("anthropic", "claude-sonnet-5", "2026-08-31 23:59:59", plain(10, 10), 10 * 2_000_000 + 10 * 10_000_000),
        ("anthropic", "claude-sonnet-5", "2026-09-01", plain(10, 10), 10 * 3_000_000 + 10 * 15_000_000),
        ("gcp.gemini", "gemini-3.7-flash", "2027-01-01", plain(10, 0), 10 * 1_500_000),
        ("deepseek", "deepseek-chat", "2026-01-01 12:00:00", plain(10, 10), 10 * 270_000 + 10 * 1_100_000),
        ("deepseek", "deepseek-chat", "2026-01-01 16:30:00", plain(10, 10), 10 * 135_000 + 10 * 550_000),
        // Fine-tunes: by a price of their own, else by the model that they were made from.
        ("openai", "ft:gpt-4o-2024-08-06:acme::AbC1", DAY, plain(10, 10), 10 * 3_750_000 + 10 * 15_000_000),
        ("openai", "ft:gpt-4o-mini-2024-07-18:acme::x", DAY, plain(10, 10), 10 * 300_000 + 10 * 1_200_000),
        ("azure", "gpt-4o-mini-2024-07-18.ft-0a1b", DAY, plain(10, 10), 10 * 300_000 + 10 * 1_200_000),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::x", DAY, plain(10, 10), 10 * 400_000 + 10 * 1_600_000),
        // Bedrock: regions have a surcharge, the global profile has none, vendor and version are part of the name.
        ("aws.bedrock", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", DAY, plain(10, 0), 10 * 3_000_000),
        ("aws.bedrock", "eu.anthropic.claude-sonnet-4-5-20250929-v1:0", DAY, plain(10, 0), 10 * 3_300_000),
        ("", "bedrock/us.amazon.nova-micro-v1:0", DAY, plain(10, 10), 10 * 35_000 + 10 * 140_000),
        (
            "aws.bedrock",
            "arn:aws:bedrock:us-east-1:1234:inference-profile/us.anthropic.claude-haiku-4-5-20251001-v1:0",
            DAY,
            plain(10, 0),
            10 * 1_100_000,
        ),
        // Routes: OpenRouter's own prices, and makers' behind others.
        ("openrouter", "anthropic/claude-haiku-4.5", DAY, written(100, 0, 100, 0, 1), 100 * 1_250_000 + 5_000_000),
        ("openrouter", "anthropic/claude-haiku-4-5", DAY, plain(10, 0), 10 * 1_000_000),
        ("openrouter", "deepseek/deepseek-r1:free", DAY, plain(10_000, 10_000), 0),
        ("openai", "anthropic/claude-haiku-4.5", DAY, plain(10, 0), 10 * 1_000_000),
        ("", "litellm_proxy/openai/gpt-4o", DAY, plain(10, 0), 10 * 2_500_000),
        ("", "google-gla:gemini-2.5-flash", DAY, plain(10, 1), 10 * 300_000 + 2_500_000),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash", DAY, plain(10, 1), 10 * 300_000 + 2_500_000),
        ("gcp.vertex_ai", "claude-sonnet-4@20250514", DAY, plain(10, 1), 10 * 3_000_000 + 15_000_000),
        ("fireworks", "accounts/fireworks/models/deepseek-v3-0324", DAY, plain(10, 0), 10 * 900_000),
        // Dates, versions, dots and dashes.
        ("openai", "gpt-3.5-turbo-0613", DAY, plain(10, 10), 10 * 1_500_000 + 10 * 2_000_000),
        ("openai", "gpt-5-mini-2026-01-31", DAY, plain(10, 0), 10 * 250_000),
        ("openai", "gpt-5-mini-20260131", DAY, plain(10, 0), 10 * 250_000),
        ("x_ai", "grok-3:latest", DAY, plain(10, 0), 10 * 3_000_000),
        ("openai", "gpt-4-1-mini", DAY, plain(10, 0), 10 * 400_000),
        ("anthropic", "claude-3.7-sonnet-20250219", DAY, plain(10, 0), 10 * 3_000_000),
        ("mistral_ai", "mistral-large-2411", DAY, plain(10, 10), 10 * 2_000_000 + 10 * 6_000_000),
        // Azure has models of its own and sells those of others.
        ("azure.ai.openai", "gpt-4o-2024-08-06", DAY, plain(10, 10), 10 * 2_500_000 + 10 * 10_000_000),
        ("azure.ai.inference", "phi-4", DAY, plain(10, 10), 10 * 70_000 + 10 * 140_000),
        ("azure.ai.openai", "azure/gpt-4o", DAY, plain(10, 0), 10 * 2_500_000),
        // Embeddings have no output, audio has prices of its own.
        ("openai", "text-embedding-3-small", DAY, plain(18, 0), 18 * 20_000),
        ("voyageai", "voyage-3-large", DAY, plain(18, 0), 18 * 180_000),
        (
            "openai",
            "gpt-audio",
            DAY,
            Tokens { input_audio: 60, output_audio: 20, ..plain(100, 30) },
            40 * 2_500_000 + 60 * 32_000_000 + 10 * 10_000_000 + 20 * 64_000_000,
        ),
        ("openai", "gpt-4o", DAY, Tokens { input_audio: 60, ..plain(100, 0) }, 100 * 2_500_000),
        // Nothing used, nothing paid.
        ("openai", "gpt-4o", DAY, NO_CALL, 0),
    ];
    assert!(rows.len() >= 40);
    let prices = Prices::shipped();
    for (provider, model, day, tokens, expected) in rows {
        assert_eq!(pico(&prices, provider, model, day, tokens), Some(expected), "{provider} {model} {day} {tokens:?}");
    }
}

#[test]
fn what_nobody_knows_has_no_price() {
    let prices = Prices::shipped();
    for (provider, model) in [
        ("openai", "acme-large"),
        ("", "acme-large"),
        ("", ""),
        ("openai", "gpt-99"),
        // At home, and where the same model has another price.
        ("ollama", "deepseek-r1"),
        ("vllm", "gpt-4o"),
        ("ibm.watsonx.ai", "mistral-large"),
        ("groq", "mistral-large-latest"),
        ("", "meta-llama/llama-3.3-70b-instruct"),
        ("openai", "gpt-4o\0"),
    ] {
        assert_eq!(pico(&prices, provider, model, DAY, plain(10, 10)), None, "{provider} {model}");
    }
    assert_eq!(pico(&prices, "openai", &format!("{}gpt-4o", "x/".repeat(200)), DAY, plain(1, 1)), None, "too long");
    assert_eq!(pico(&Prices::none(), "openai", "gpt-4o", DAY, plain(1, 1)), None);
}

#[test]
fn a_call_without_a_time_has_the_prices_of_the_tables_day() {
    let prices = Prices::shipped();
    let quote = prices.quote(Asked { model: "o3", provider: Some("openai"), ..Asked::default() }).unwrap();
    assert_eq!(quote.rates.input, Rate::per_million(2.0));
}

#[test]
fn more_cache_than_input_is_warned_of_and_never_negative() {
    let prices = Prices::shipped();
    let quote = prices.quote(Asked { model: "gpt-4o", provider: Some("openai"), ..Asked::default() }).unwrap();
    let cost = quote.cost(&Tokens { cache_read: 500, reasoning: 90, ..plain(100, 10) });
    assert!(cost.parts_exceed);
    assert_eq!((cost.plain_input, cost.total().pico()), (Usd::ZERO, 500 * 1_250_000 + 10 * 10_000_000));
}

const OWN: &str = r#"
    [aliases]
    "Prod-Chat" = "gpt-4o"
    "cheap" = "groq/llama-3.3-70b-versatile"
    "our-tuned" = "acme-1"

    [[models]]
    model = "acme-*"
    input = 1
    output = 2

    [[models]]
    model = "acme-1"
    input = 0.5
    output = 1.5
    cache_read = 0.05
    tiers = [{ above = 1000, input = 5 }, { above = 2000, input = 7, output = 9 }]
    batch = { input = 0.25, output = 0.75 }

    [[models]]
    model = "acme-1"
    provider = "azure"
    input = 0.6

    [[models]]
    model = "gpt-4o"
    provider = "openai"
    valid_from = "2026-01-01"
    valid_until = "2026-07-01"
    input = 2
    output = 8

    [[models]]
    model = "llama3"
    provider = "ollama"
    input = 0
    output = 0.001
"#;

#[test]
fn own_prices_come_first() {
    let prices = Prices::shipped().with_own("own.toml", OWN).unwrap();
    let cost = |provider, model, day, tokens| pico(&prices, provider, model, day, tokens);
    for (provider, model, day, tokens, expected) in [
        ("", "acme-1", DAY, plain(10, 10), 10 * 500_000 + 10 * 1_500_000),
        ("", "acme-2", DAY, plain(10, 10), 10 * 1_000_000 + 10 * 2_000_000),
        // Below, at and above the thresholds; what a tier does not name stays.
        ("", "acme-1", DAY, plain(1000, 1), 1000 * 500_000 + 1_500_000),
        ("", "acme-1", DAY, plain(1001, 1), 1001 * 5_000_000 + 1_500_000),
        ("", "acme-1", DAY, plain(2001, 1), 2001 * 7_000_000 + 9_000_000),
        ("", "acme-1", DAY, Tokens { cache_read: 2001, ..plain(2001, 0) }, 2001 * 50_000),
        // A provider in any of its names; others have the general price.
        ("azure.ai.openai", "acme-1", DAY, plain(10, 0), 10 * 600_000),
        ("openai", "acme-1", DAY, plain(10, 0), 10 * 500_000),
        ("openai", "vendor/acme-1-2026-01-31", DAY, plain(10, 0), 10 * 1_000_000),
        ("openai", "vendor/acme-1", DAY, plain(10, 0), 10 * 500_000),
        // For a time; before and after, and for others, the shipped price.
        ("openai", "gpt-4o", "2025-12-31 23:59:59", plain(10, 0), 10 * 2_500_000),
        ("openai", "gpt-4o", "2026-01-01", plain(10, 0), 10 * 2_000_000),
        ("openai", "gpt-4o", "2026-06-30 23:59:59", plain(10, 0), 10 * 2_000_000),
        ("openai", "gpt-4o", "2026-07-01", plain(10, 0), 10 * 2_500_000),
        ("azure.ai.openai", "gpt-4o", "2026-02-01", plain(10, 0), 10 * 2_500_000),
        // Aliases, also to own prices and to another provider.
        ("azure.ai.openai", "prod-chat", DAY, plain(10, 10), 10 * 2_500_000 + 10 * 10_000_000),
        ("azure.ai.openai", "cheap", DAY, plain(10, 0), 10 * 590_000),
        ("vllm", "our-tuned", DAY, plain(10, 0), 10 * 500_000),
        // Models at home cost what their owner says.
        ("ollama", "llama3", DAY, plain(10, 10), 10 * 1_000),
    ] {
        assert_eq!(cost(provider, model, day, tokens), Some(expected), "{provider} {model} {day} {tokens:?}");
    }
    let batch =
        Asked { model: "acme-1", service_tier: Some(ServiceTier::Batch), input_tokens: 5000, ..Asked::default() };
    let quote = prices.quote(batch).unwrap();
    assert_eq!(quote.cost(&plain(5000, 10)).total().pico(), 5000 * 250_000 + 10 * 750_000);
    assert_eq!((quote.above, quote.service_tier, quote.source), (None, Some(ServiceTier::Batch), "own.toml"));
    // A tier that the table does not know has the plain price.
    let flex =
        prices.quote(Asked { model: "acme-1", service_tier: Some(ServiceTier::Flex), ..Asked::default() }).unwrap();
    assert_eq!((flex.rates.input, flex.service_tier), (Rate::per_million(0.5), None));
}

#[test]
fn a_file_that_is_wrong_says_so_in_one_line() {
    for (text, named) in [
        ("[[models]]\ninput = 1", "model"),
        ("[[models]]\nmodel = \"a\"", "input or output"),
        ("[[models]]\nmodel = \"a\"\ninput = -1", "input"),
        ("[[models]]\nmodel = \"a\"\ninput = 0.12345678", "input"),
        ("[[models]]\nmodel = \"a\"\ninput = 1\ninptu = 1", "inptu"),
        ("[[models]]\nmodel = \"*\"\ninput = 1", "model"),
        ("[[models]]\nmodel = \"a\"\ninput = 1\nvalid_from = \"soon\"", "valid_from"),
        (
            "[[models]]\nmodel = \"a\"\ninput = 1\nvalid_from = \"2026-02-01\"\nvalid_until = \"2026-01-01\"",
            "valid_until",
        ),
        ("[[models]]\nmodel = \"a\"\ninput = 1\ntiers = [{ input = 2 }]", "above"),
        ("[[models]]\nmodel = \"a\"\ninput = 1\ntiers = [{ above = 9, input = 2 }, { above = 9, input = 3 }]", "tiers"),
        ("[[models]]\nmodel = \"a\"\ninput = 1\nbatch = { speed = 2 }", "speed"),
        ("[[model]]\nmodel = \"a\"", "model"),
        ("[aliases]\nx = \"gpt-4oo\"", "gpt-4oo"),
        ("[aliases]\nx = \"\"", "aliases"),
        ("models = 3", "models"),
        ("[[models", "models"),
    ] {
        let wrong = Prices::shipped().with_own("own.toml", text).err().expect(text);
        assert!(wrong.contains(named) && wrong.lines().count() == 1, "{text}: {wrong}");
    }
    assert!(Prices::shipped().with_own("own.toml", "").is_ok());
}

#[test]
fn what_was_found_is_remembered_within_bounds() {
    let prices = Prices::shipped();
    for n in 0..REMEMBERED_MAX + 10 {
        assert_eq!(pico(&prices, "openai", &format!("no-model-{n}x"), DAY, plain(1, 1)), None);
        assert!(prices.remembered.len() <= REMEMBERED_MAX);
    }
    let first = pico(&prices, "openai", "gpt-4o", DAY, plain(1, 1));
    assert_eq!((pico(&prices, "openai", "gpt-4o", DAY, plain(1, 1)), first.is_some()), (first, true));
}

#[test]
fn the_metadata_tells_which_prices_and_why() {
    let prices = Prices::shipped();
    let asked = Asked {
        provider: Some("anthropic"),
        model: "anthropic/claude-sonnet-4-5",
        input_tokens: 200_001,
        ..Asked::default()
    };
    let shown = Value::Object(prices.quote(asked).unwrap().to_json());
    let (source, date) = prices.table();
    let expected = serde_json::json!({
        "source": source, "date": date.to_string(), "provider": "anthropic", "model": "claude-sonnet-4-5",
        "matched": "without route", "above_input_tokens": 200_000,
        "usd_per_million": {"input": 6.0, "output": 22.5, "cache_read": 0.6, "cache_write": 7.5, "cache_write_1h": 12.0},
    });
    assert_eq!(shown, expected);
}

fn any_rates() -> impl Strategy<Value = Rates> {
    let rate = || prop::option::of((0u32..1_000_000_000).prop_map(|micro| Rate::per_million(f64::from(micro) / 1e6)));
    (rate(), rate(), rate(), rate(), rate(), rate(), rate(), rate()).prop_map(|(a, b, c, d, e, f, g, h)| Rates {
        input: a.flatten(),
        output: b.flatten(),
        cache_read: c.flatten(),
        cache_write: d.flatten(),
        cache_write_1h: e.flatten(),
        input_audio: f.flatten(),
        output_audio: g.flatten(),
        reasoning: h.flatten(),
    })
}

fn any_tokens(max: i64) -> impl Strategy<Value = Tokens> {
    let count = move || 0..=max;
    (count(), count(), count(), count(), count(), count(), count(), count()).prop_map(|(a, b, c, d, e, f, g, h)| {
        Tokens {
            input: a,
            output: b,
            cache_read: c,
            cache_write: d,
            cache_write_1h: e,
            input_audio: f,
            output_audio: g,
            reasoning: h,
        }
    })
}

static SHIPPED: LazyLock<Prices> = LazyLock::new(Prices::shipped);

proptest! {
    /// Whatever senders say: no panic, nothing negative, and more tokens never cost less.
    #[test]
    fn costs_are_never_negative_and_grow(rates in any_rates(), tokens in any_tokens(i64::MAX), more in 0..i64::MAX) {
        let cost = rates.cost(&tokens);
        prop_assert!(cost.total() >= Usd::ZERO);
        let input = Tokens { input: tokens.input.saturating_add(more), ..tokens };
        let output = Tokens { output: tokens.output.saturating_add(more), ..tokens };
        prop_assert!(rates.cost(&input).total() >= cost.total());
        prop_assert!(rates.cost(&output).total() >= cost.total());
        let negative = Tokens { input: -tokens.input, output: -tokens.output, ..tokens };
        prop_assert!(rates.cost(&negative).total() >= Usd::ZERO);
    }

    /// A call in two halves costs what the whole does, to the last picodollar.
    #[test]
    fn sums_are_exact(rates in any_rates(), parts in any_tokens(1_000_000), halves in any_tokens(1_000_000)) {
        // Parts that fit into their whole.
        let fit = |t: Tokens| Tokens {
            input: t.input + t.cache_read + t.cache_write + t.cache_write_1h + t.input_audio,
            cache_write: t.cache_write + t.cache_write_1h,
            output: t.output + t.output_audio + t.reasoning,
            ..t
        };
        let (a, b) = (fit(parts), fit(halves));
        let whole = Tokens {
            input: a.input + b.input,
            output: a.output + b.output,
            cache_read: a.cache_read + b.cache_read,
            cache_write: a.cache_write + b.cache_write,
            cache_write_1h: a.cache_write_1h + b.cache_write_1h,
            input_audio: a.input_audio + b.input_audio,
            output_audio: a.output_audio + b.output_audio,
            reasoning: a.reasoning + b.reasoning,
        };
        prop_assert_eq!(rates.cost(&a).total() + rates.cost(&b).total(), rates.cost(&whole).total());
    }

    /// Names come from clients.
    #[test]
    fn any_name_is_looked_for_without_harm(provider in ".{0,40}", model in ".{0,200}") {
        let prices = &*SHIPPED;
        let asked = Asked { provider: Some(&provider), model: &model, ..Asked::default() };
        prop_assert_eq!(prices.quote(asked), prices.quote(asked));
    }
}
