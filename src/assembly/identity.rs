//! Who and what a run is: name, model, agents, service, session, user, tags, and what the sender added.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::{Map, Value, json};

use crate::assembly::forest::Forest;
use crate::assembly::roles::Roles;
use crate::assembly::usage::is_counted;
use crate::model::run::ShownStep;
use crate::model::step::{Step, StepType};

/// What the field `run.model` says when no step names one: it is not nullable.
pub(super) const UNKNOWN_MODEL: &str = "unknown";

pub(super) struct Identity<'a> {
    pub steps: &'a [ShownStep],
    pub forest: &'a Forest,
    pub roles: &'a Roles,
}

impl<'a> Identity<'a> {
    /// The steps with the primary one in front: its word counts first.
    fn primary_first(&self) -> impl Iterator<Item = &'a Step> {
        let primary = self.roles.primary;
        let rest = (0..self.steps.len()).filter(move |index| Some(*index) != primary);
        let steps = self.steps;
        primary.into_iter().chain(rest).map(move |index| &steps[index].step)
    }

    pub fn name(&self) -> String {
        let told = self.primary_first().find_map(|step| step.facts.run_name.clone());
        told.or_else(|| self.speaker().map(|step| step.name.clone()).filter(|name| !name.is_empty()))
            .or_else(|| self.service())
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// The primary step, else the first true root around the tops, else the first top, else the first step.
    fn speaker(&self) -> Option<&'a Step> {
        let steps = self.steps;
        if let Some(primary) = self.roles.primary {
            return Some(&steps[primary].step);
        }
        let is_around = |root: &&usize| self.roles.frame[**root] && steps[**root].step.parent_id.is_none();
        let root = self.forest.roots.iter().find(is_around);
        let index = root.or(self.roles.tops.first()).or(self.forest.roots.first())?;
        Some(&steps[*index].step)
    }

    /// The model of the call that spent most, model calls before others; else what an agent names.
    pub fn model(&self) -> String {
        let named = |step: &'a Step| step.model.as_deref().or(step.facts.request_model.as_deref());
        let largest = |of: fn(&StepType) -> bool| {
            let calls = self.steps.iter().filter(|shown| of(&shown.step.kind) && is_counted(shown));
            let models = calls.filter_map(|shown| Some((shown.step.usage.total, named(&shown.step)?)));
            models.max_by_key(|(total, _)| *total).map(|(_, model)| model)
        };
        let primary = || self.roles.primary.and_then(|index| named(&self.steps[index].step));
        let any = || {
            let agents = self.steps.iter().filter(|shown| shown.step.kind == StepType::Agent);
            agents.chain(self.steps).find_map(|shown| named(&shown.step))
        };
        let model = largest(|kind| *kind == StepType::ModelCall)
            .or_else(|| largest(StepType::is_call))
            .or_else(primary)
            .or_else(any);
        model.unwrap_or(UNKNOWN_MODEL).to_owned()
    }

    pub fn agent(&self) -> Option<String> {
        let primary = self.roles.primary.map(|index| &self.steps[index].step);
        let primary = primary.filter(|step| step.kind == StepType::Agent).map(|step| step.name.clone());
        primary.filter(|name| !name.is_empty()).or_else(|| self.agents().into_iter().next())
    }

    /// Every name of an agent once: of the agents' own steps, then of steps that only say whose they are.
    fn agents(&self) -> Vec<String> {
        let own = self.steps.iter().filter(|shown| shown.step.kind == StepType::Agent).map(|shown| &shown.step.name);
        let said = self.steps.iter().filter_map(|shown| shown.step.agent.as_ref());
        distinct(own.chain(said).map(String::as_str))
    }

    pub fn service(&self) -> Option<String> {
        let of = |index: usize| self.steps[index].step.facts.service.clone();
        let primary = self.roles.primary.and_then(of);
        primary.or_else(|| self.forest.roots.iter().find_map(|root| of(*root)))
    }

    pub fn session_id(&self) -> Option<String> {
        self.value_of_run(|step| step.facts.session_id.as_deref())
    }

    pub fn user_id(&self) -> Option<String> {
        self.value_of_run(|step| step.facts.user_id.as_deref())
    }

    /// The primary step's value, else the one that most steps carry, else the earliest.
    fn value_of_run(&self, of: fn(&Step) -> Option<&str>) -> Option<String> {
        if let Some(value) = self.roles.primary.and_then(|index| of(&self.steps[index].step)) {
            return Some(value.to_owned());
        }
        let mut counts: HashMap<&str, (usize, std::cmp::Reverse<usize>)> = HashMap::new();
        for (index, shown) in self.steps.iter().enumerate() {
            if let Some(value) = of(&shown.step) {
                counts.entry(value).or_insert((0, std::cmp::Reverse(index))).0 += 1;
            }
        }
        counts.into_iter().max_by_key(|(_, rank)| *rank).map(|(value, _)| value.to_owned())
    }

    pub fn tags(&self) -> Vec<String> {
        distinct(self.steps.iter().flat_map(|shown| shown.step.facts.tags.iter().map(String::as_str)))
    }

    /// What the sender meant for the run, and what only all steps together tell.
    pub fn metadata(&self) -> Map<String, Value> {
        let mut metadata = Map::new();
        for step in self.primary_first() {
            for (key, value) in &step.facts.run_metadata {
                if !metadata.contains_key(key) {
                    metadata.insert(key.clone(), value.clone());
                }
            }
        }
        let mut put = |key: &str, values: Vec<String>, at_least: usize| {
            if values.len() >= at_least {
                metadata.insert(key.to_owned(), Value::from(values));
            }
        };
        put("agents", self.agents(), 1);
        put("services", distinct(self.facts(|step| step.facts.service.as_deref())), 2);
        put("session_ids", distinct(self.facts(|step| step.facts.session_id.as_deref())), 2);
        put("user_ids", distinct(self.facts(|step| step.facts.user_id.as_deref())), 2);
        let models = self.models();
        if !models.is_empty() {
            metadata.insert("models".to_owned(), Value::Object(models));
        }
        let by_type = self.tokens_by_type();
        if by_type.len() > 1 {
            metadata.insert("tokens_by_type".to_owned(), json!(by_type));
        }
        let model_calls = self.counted(|kind| *kind == StepType::ModelCall).count();
        metadata.insert("model_calls".to_owned(), Value::from(model_calls));
        metadata
    }

    fn facts(&self, of: fn(&Step) -> Option<&str>) -> impl Iterator<Item = &'a str> {
        self.steps.iter().filter_map(move |shown| of(&shown.step))
    }

    fn counted(&self, of: fn(&StepType) -> bool) -> impl Iterator<Item = &'a Step> {
        self.steps.iter().filter(move |shown| of(&shown.step.kind) && is_counted(shown)).map(|shown| &shown.step)
    }

    fn models(&self) -> Map<String, Value> {
        let mut models: BTreeMap<&str, (u64, Option<i64>)> = BTreeMap::new();
        for step in self.counted(StepType::is_call) {
            let Some(model) = step.model.as_deref().or(step.facts.request_model.as_deref()) else { continue };
            let (calls, tokens) = models.entry(model).or_default();
            *calls += 1;
            if let Some(total) = step.usage.total {
                *tokens = Some(tokens.unwrap_or(0).saturating_add(total));
            }
        }
        let shown = |(model, (calls, tokens)): (&str, (u64, Option<i64>))| {
            (model.to_owned(), json!({"calls": calls, "tokens": tokens}))
        };
        models.into_iter().map(shown).collect()
    }

    fn tokens_by_type(&self) -> BTreeMap<&'a str, i64> {
        let mut by_type = BTreeMap::new();
        for step in self.counted(StepType::is_call) {
            if let Some(total) = step.usage.total {
                let sum = by_type.entry(step.kind.as_str()).or_insert(0i64);
                *sum = sum.saturating_add(total);
            }
        }
        by_type
    }
}

/// Each value once, in the order of first appearance; empty ones are none.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut seen = HashSet::new();
    values.filter(|value| !value.is_empty() && seen.insert(*value)).map(str::to_owned).collect()
}
