//! Prices of one's own: a TOML file that `prices.file` names, read over the shipped table. `docs/prices.md` describes it.

use std::collections::BTreeMap;

use chrono::NaiveDate;
use figment::Figment;
use figment::providers::{Format, Toml};
use serde::Deserialize;

use crate::prices::money::{PRICE_MAX_USD, Rate};
use crate::prices::names::{Form, names};
use crate::prices::rates::{PriceList, Rates, ServiceTier, Tier, midnight};

/// Threshold of a tier, among its prices.
const ABOVE: &str = "above";
/// Counts of tokens up to here are whole numbers in floating point.
const ABOVE_MAX: f64 = 1e15;

/// Own prices, by model and, where the file says so, by provider.
pub(super) struct Overrides {
    /// As it was named.
    pub file: String,
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// Private name in lower case → model.
    pub aliases: BTreeMap<String, String>,
}

pub(super) struct Entry {
    /// In lower case; with `*` at its end the start of a name.
    pub model: String,
    pub provider: Option<String>,
    pub lists: Vec<PriceList>,
}

impl Overrides {
    /// One line says what is wrong.
    pub fn read(file: &str, text: &str) -> Result<Overrides, String> {
        let written: Written = Figment::from(Toml::string(text)).extract().map_err(|error| {
            let first = error.into_iter().next().map(|error| error.to_string()).unwrap_or_default();
            first.replace('\n', " ").replace(" in TOML source string", "")
        })?;
        let mut own = Overrides { file: file.to_owned(), entries: Vec::new(), aliases: BTreeMap::new() };
        for (place, written) in written.models.iter().enumerate() {
            own.add(written).map_err(|wrong| format!("models[{place}] ({}): {wrong}", written.model))?;
        }
        for (name, model) in &written.aliases {
            if name.trim().is_empty() || model.trim().is_empty() {
                return Err(format!("aliases.{name:?}: expected the name of a model"));
            }
            own.aliases.insert(lower(name), model.trim().to_owned());
        }
        Ok(own)
    }

    fn add(&mut self, written: &WrittenModel) -> Result<(), String> {
        let list = written.list()?;
        let model = lower(&written.model);
        let provider = written.provider.as_deref().map(lower);
        let start = model.strip_suffix('*').unwrap_or(&model);
        if start.is_empty() || start.contains('*') {
            return Err("model: expected a name, or the start of one and a *".to_owned());
        }
        match self.entries.iter_mut().find(|entry| entry.model == model && entry.provider == provider) {
            Some(entry) => entry.lists.push(list),
            None => self.entries.push(Entry { model, provider, lists: vec![list] }),
        }
        Ok(())
    }

    /// What a deployment or other private name stands for.
    pub fn alias(&self, model: &str) -> Option<&str> {
        self.aliases.get(&lower(model)).map(String::as_str)
    }

    /// The entry for a model. Whole names come before starts, a longer start before a shorter one, the call's provider
    /// before any; `is_provider` tells whether the provider of an entry is the call's.
    pub fn find(&self, model: &str, is_provider: &dyn Fn(&str) -> bool) -> Option<(usize, Form)> {
        names(model).into_iter().find_map(|(form, name)| {
            let fits = |entry: &Entry| entry.provider.as_deref().is_none_or(is_provider) && entry.tells(&name);
            let fitting = self.entries.iter().enumerate().filter(|(_, entry)| fits(entry));
            let best = fitting
                .max_by_key(|(_, entry)| (!entry.model.ends_with('*'), entry.model.len(), entry.provider.is_some()));
            best.map(|(index, _)| (index, form))
        })
    }
}

impl Entry {
    fn tells(&self, name: &str) -> bool {
        match self.model.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == self.model,
        }
    }
}

fn lower(name: &str) -> String {
    name.trim().to_ascii_lowercase()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    aliases: BTreeMap<String, String>,
    #[serde(default)]
    models: Vec<WrittenModel>,
}

/// Prices by their names.
type WrittenRates = BTreeMap<String, f64>;

#[derive(Deserialize)]
struct WrittenModel {
    model: String,
    provider: Option<String>,
    valid_from: Option<NaiveDate>,
    valid_until: Option<NaiveDate>,
    #[serde(default)]
    tiers: Vec<WrittenRates>,
    batch: Option<WrittenRates>,
    flex: Option<WrittenRates>,
    priority: Option<WrittenRates>,
    /// Everything else is a price, or a mistake.
    #[serde(flatten)]
    base: WrittenRates,
}

impl WrittenModel {
    fn list(&self) -> Result<PriceList, String> {
        let base = rates(&self.base)?;
        if base.input.is_none() && base.output.is_none() {
            return Err("expected input or output, in USD per million tokens".to_owned());
        }
        if let (Some(from), Some(until)) = (self.valid_from, self.valid_until)
            && from >= until
        {
            return Err("valid_until: expected a day after valid_from".to_owned());
        }
        let mut tiers: Vec<Tier> = Vec::with_capacity(self.tiers.len());
        for written in &self.tiers {
            let mut written = written.clone();
            let above = written.remove(ABOVE).filter(|above| (0.0..ABOVE_MAX).contains(above) && above.fract() == 0.0);
            let above = above.ok_or("tiers: expected above, a number of input tokens")? as i64;
            if tiers.last().is_some_and(|last| last.above >= above) {
                return Err("tiers: expected above to rise".to_owned());
            }
            tiers.push(Tier { above, rates: rates(&written)?.or(base) });
        }
        let named = [
            (ServiceTier::Batch, &self.batch),
            (ServiceTier::Flex, &self.flex),
            (ServiceTier::Priority, &self.priority),
        ];
        let mut services = Vec::new();
        for (service, written) in named {
            if let Some(written) = written {
                services.push((service, rates(written)?.or(base)));
            }
        }
        let (from, until) = (self.valid_from.map(midnight), self.valid_until.map(midnight));
        Ok(PriceList { from, until, daily: None, base, tiers, services })
    }
}

fn rates(written: &WrittenRates) -> Result<Rates, String> {
    let mut rates = Rates::default();
    for (name, usd) in written {
        let Some(place) = rates.place(name) else {
            let known: Vec<&str> = rates.named().into_iter().map(|(name, _)| name).collect();
            return Err(format!("unknown {name}: expected {}", known.join(", ")));
        };
        let rate = Rate::per_million(*usd);
        *place = Some(rate.ok_or_else(|| {
            format!("{name}: expected 0 to {PRICE_MAX_USD} USD per million tokens, with up to 6 digits")
        })?);
    }
    Ok(rates)
}
