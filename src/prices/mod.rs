//! What a call costs: the shipped table of prices, prices of one's own over it, and the formula. Pure: files are read
//! by whoever makes a [`Prices`].
//!
//! A model is looked for under the provider that the call names, then under those whose models that provider sells,
//! then, where the provider may pass models of others on, under who is named in the model's own name and who makes
//! models so called. Models that run at home, or at a host whose prices are not known, are never priced by others.

mod money;
mod names;
mod rates;
mod table;
mod overrides;

#[cfg(test)]
mod tests;

use chrono::NaiveDate;
use dashmap::DashMap;
use serde_json::{Map, Value};

use crate::config::Prefer;
use crate::prices::names::{is_bedrock, names, routes};
use crate::prices::overrides::Overrides;
use crate::prices::rates::{Chosen, PriceList, list_at, midnight};
use crate::prices::table::Table;

pub use money::{Rate, Usd};
pub use names::Form;
pub use rates::{Cost, Rates, ServiceTier, Tokens};

/// Providers that run where the caller runs: their models cost nothing that a table could know.
const LOCAL_PROVIDERS: [&str; 14] = [
    "ollama",
    "vllm",
    "hosted_vllm",
    "lm_studio",
    "lmstudio",
    "llama_cpp",
    "llama.cpp",
    "llamacpp",
    "llamafile",
    "tgi",
    "localai",
    "mlx",
    "sglang",
    "local",
];

/// Providers that sell what others make, and `openai`, whose protocol others speak: behind these a model is known by
/// its maker. Elsewhere a model of the same name may have another price.
const PASSES_ON: [&str; 5] = ["openai", "azure", "google", "aws", "openrouter"];

/// Hosts that the table does not know and that sell models of others at prices of their own.
const OTHER_HOSTS: [&str; 13] = [
    "ibm.watsonx.ai",
    "watsonx",
    "nvidia",
    "nvidia_nim",
    "replicate",
    "deepinfra",
    "sambanova",
    "databricks",
    "cloudflare",
    "baseten",
    "huggingface",
    "hugging_face",
    "hyperbolic",
];

/// What is longer is no name of a model, and would take long to look for.
const MODEL_BYTES_MAX: usize = 256;

/// Names of models that are remembered with what was found for them.
const REMEMBERED_MAX: usize = 4096;

/// Whether models of this provider run at the caller's own.
pub fn is_local(provider: &str) -> bool {
    LOCAL_PROVIDERS.iter().any(|local| local.eq_ignore_ascii_case(provider))
}

fn is_other_host(provider: &str) -> bool {
    OTHER_HOSTS.iter().any(|host| host.eq_ignore_ascii_case(provider))
}

/// All prices that the program knows.
#[derive(Default)]
pub struct Prices {
    table: Table,
    own: Option<Overrides>,
    prefer: Prefer,
    /// Provider and model → where their prices stand: looking for a name that nobody knows tries many.
    remembered: DashMap<String, Found>,
}

/// Where the prices of a model stand.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Found {
    own: Option<(usize, Form)>,
    /// Provider, model.
    shipped: Option<(usize, usize, Form)>,
    is_alias: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// In any spelling.
    pub provider: Option<&'a str>,
    pub model: &'a str,
    pub service_tier: Option<ServiceTier>,
    /// When the call started, in nanoseconds since 1970. Unknown: the prices of the table's own date.
    pub at_ns: Option<u64>,
    /// Cache included: some prices depend on it.
    pub input_tokens: i64,
}

/// The prices of one call, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Quote<'a> {
    pub rates: Rates,
    /// `genai-prices 0.1.4`, or the file of own prices.
    pub source: &'a str,
    /// Of the table; own prices have none.
    pub date: Option<NaiveDate>,
    pub provider: Option<&'a str>,
    /// As the table calls it.
    pub model: &'a str,
    pub form: Form,
    /// The name is an alias of the file of own prices.
    pub is_alias: bool,
    /// The prices are those above this number of input tokens.
    pub above: Option<i64>,
    pub service_tier: Option<ServiceTier>,
    list: &'a PriceList,
}

impl Prices {
    /// No prices at all.
    pub fn none() -> Prices {
        Prices::default()
    }

    /// The table of this version of the program.
    pub fn shipped() -> Prices {
        Prices { table: Table::shipped(), ..Prices::default() }
    }

    /// With prices of one's own over them. `Err` says in one line what is wrong with the file.
    pub fn with_own(mut self, file: &str, text: &str) -> Result<Prices, String> {
        self.own = Some(Overrides::read(file, text)?);
        self.remembered = DashMap::new();
        let aliases = self.own.iter().flat_map(|own| &own.aliases);
        for (name, model) in aliases {
            if self.quote(Asked { model, ..Asked::default() }).is_none() {
                return Err(format!(
                    "aliases.{name:?}: no price is known for {model:?}; name it as in PROVIDER/MODEL, or add it to models"
                ));
            }
        }
        Ok(self)
    }

    /// Which cost counts where the sender reported one.
    pub fn preferring(mut self, prefer: Prefer) -> Prices {
        self.prefer = prefer;
        self
    }

    pub fn prefer(&self) -> Prefer {
        self.prefer
    }

    /// What the shipped table is, and of which day.
    pub fn table(&self) -> (&str, NaiveDate) {
        (&self.table.source, self.table.date)
    }

    /// The file of own prices.
    pub fn own_file(&self) -> Option<&str> {
        self.own.as_ref().map(|own| own.file.as_str())
    }

    /// The prices of a call. `None` for a model that nobody knows: that is not the same as free.
    pub fn quote(&self, asked: Asked<'_>) -> Option<Quote<'_>> {
        if asked.model.trim().is_empty() || asked.model.len() > MODEL_BYTES_MAX {
            return None;
        }
        let found = self.find(asked.provider, asked.model);
        let at_s = asked.at_ns.and_then(|ns| i64::try_from(ns / 1_000_000_000).ok());
        let at_s = at_s.unwrap_or_else(|| midnight(self.table.date));
        self.own_quote(found, &asked, at_s).or_else(|| self.shipped_quote(found, &asked, at_s))
    }

    fn own_quote(&self, found: Found, asked: &Asked<'_>, at_s: i64) -> Option<Quote<'_>> {
        let (index, form) = found.own?;
        let own = self.own.as_ref()?;
        let entry = own.entries.get(index)?;
        let list = list_at(&entry.lists, at_s)?;
        let Chosen { rates, above, service } = list.choose(asked.input_tokens, asked.service_tier);
        Some(Quote {
            rates,
            source: &own.file,
            date: None,
            provider: entry.provider.as_deref(),
            model: &entry.model,
            form,
            is_alias: found.is_alias,
            above,
            service_tier: service,
            list,
        })
    }

    fn shipped_quote(&self, found: Found, asked: &Asked<'_>, at_s: i64) -> Option<Quote<'_>> {
        let (provider, model, form) = found.shipped?;
        let provider = self.table.providers.get(provider)?;
        let model = provider.models.get(model)?;
        let list = list_at(&model.lists, at_s).or(model.lists.first())?;
        let Chosen { rates, above, service } = list.choose(asked.input_tokens, asked.service_tier);
        // The name says that nothing is charged, whatever the model costs elsewhere.
        let (rates, above) = if is_free(asked.model) { (Rates::FREE, None) } else { (rates, above) };
        Some(Quote {
            rates,
            source: &self.table.source,
            date: Some(self.table.date),
            provider: Some(&provider.id),
            model: &model.id,
            form,
            is_alias: found.is_alias,
            above,
            service_tier: service,
            list,
        })
    }

    fn find(&self, provider: Option<&str>, model: &str) -> Found {
        let key = format!("{}\0{model}", provider.unwrap_or_default());
        if let Some(found) = self.remembered.get(&key) {
            return *found;
        }
        let found = self.look_up(provider, model);
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.insert(key, found);
        found
    }

    fn look_up(&self, provider: Option<&str>, sent: &str) -> Found {
        let alias = self.own.as_ref().and_then(|own| own.alias(sent));
        let model = alias.unwrap_or(sent);
        // Where an alias leads is said by its owner, whoever runs it.
        let is_unpriced = |provider: &str| is_local(provider) || is_other_host(provider);
        let is_out = alias.is_none() && provider.is_some_and(is_unpriced);
        let is_provider = |named: &str| {
            provider.is_some_and(|provider| {
                named.eq_ignore_ascii_case(provider)
                    || (self.table.called(named).is_some() && self.table.called(named) == self.table.called(provider))
            })
        };
        Found {
            own: self.own.as_ref().and_then(|own| own.find(model, &is_provider)),
            shipped: if is_out { None } else { self.look_up_shipped(provider, model, alias.is_some()) },
            is_alias: alias.is_some(),
        }
    }

    fn look_up_shipped(&self, provider: Option<&str>, model: &str, is_alias: bool) -> Option<(usize, usize, Form)> {
        let names = names(model);
        let lower = names.first().map_or("", |(_, name)| name.as_str());
        let given = provider.and_then(|provider| self.table.called(provider));
        let mut candidates: Vec<usize> = Vec::new();
        if let Some(given) = given {
            candidates.push(given);
            candidates.extend(self.table.fallbacks(given));
        }
        let passes_on = given.is_none_or(|given| PASSES_ON.contains(&self.table.providers[given].id.as_str()));
        if passes_on || is_alias {
            candidates.extend(routes(lower).filter_map(|route| self.table.named(route)));
            if is_bedrock(lower) {
                candidates.extend(self.table.named("aws"));
            }
            let makers = names.iter().flat_map(|(_, name)| self.table.makers(name));
            candidates.extend(makers);
        }
        let mut tried = vec![false; self.table.providers.len()];
        candidates.into_iter().find_map(|provider| {
            if std::mem::replace(&mut tried[provider], true) {
                return None;
            }
            let (model, form) = self.table.providers[provider].find(&names)?;
            Some((provider, model, form))
        })
    }
}

fn is_free(model: &str) -> bool {
    const FREE: &str = ":free";
    let model = model.trim_end();
    let end = model.len().checked_sub(FREE.len()).and_then(|at| model.get(at..));
    end.is_some_and(|end| end.eq_ignore_ascii_case(FREE))
}

impl Quote<'_> {
    pub fn cost(&self, tokens: &Tokens) -> Cost {
        self.rates.cost(tokens)
    }

    /// Other prices of the model at the same time: above a number of input tokens.
    pub fn tiers(&self) -> impl Iterator<Item = (i64, Rates)> {
        self.list.tiers.iter().map(|tier| (tier.above, tier.rates))
    }

    /// Other prices of the model at the same time: of service tiers.
    pub fn services(&self) -> impl Iterator<Item = (ServiceTier, Rates)> {
        self.list.services.iter().copied()
    }

    /// As a step's metadata shows it.
    pub fn to_json(&self) -> Map<String, Value> {
        let mut shown = Map::new();
        let mut put = |name: &str, value: Value| drop(shown.insert(name.to_owned(), value));
        put("source", self.source.into());
        if let Some(date) = self.date {
            put("date", date.to_string().into());
        }
        if let Some(provider) = self.provider {
            put("provider", provider.into());
        }
        put("model", self.model.into());
        if self.is_alias {
            put("alias", Value::Bool(true));
        }
        if self.form != Form::AsSent {
            put("matched", self.form.as_str().into());
        }
        put("usd_per_million", Value::Object(self.rates.to_json()));
        if let Some(above) = self.above {
            put("above_input_tokens", above.into());
        }
        if let Some(tier) = self.service_tier {
            put("service_tier", tier.as_str().into());
        }
        shown
    }
}
