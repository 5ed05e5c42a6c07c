//! Steps as mapping would make them, in a few words.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

use crate::assembly::{LifeCycle, Receipt, Scopes, assemble};
use crate::model::id::{ProjectId, RunKey};
use crate::model::run::{Assembled, ShownStep};
use crate::model::step::{Facts, Source, Status, Step, StepType, Usage};

pub const LIFE: LifeCycle = LifeCycle {
    settle: Duration::from_secs(5),
    orphan_idle: Duration::from_secs(120),
    idle_limit: Duration::from_secs(900),
    max_duration: Duration::from_secs(86_400),
    unmatched_logs: Duration::from_secs(3_600),
    scopes: Scopes { genai_root: false, genai_root_services: Vec::new() },
};

pub fn key() -> RunKey {
    RunKey { project: ProjectId(1), run_id: Uuid::from_u128(0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736) }
}

/// The instant at which spans start and are received.
pub fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).unwrap_or_default()
}

pub fn receipt() -> Receipt {
    Receipt { created_at: epoch(), updated_at: epoch(), received_at: epoch() }
}

pub fn after_s(seconds: i64) -> DateTime<Utc> {
    epoch() + TimeDelta::seconds(seconds)
}

/// A run that nobody expects anything of any more.
pub fn run_of(steps: Vec<Step>) -> Assembled {
    assemble(key(), steps, None, receipt(), &LIFE, after_s(1_000))
}

pub fn run_at(steps: Vec<Step>, seconds: i64) -> Assembled {
    assemble(key(), steps, None, receipt(), &LIFE, after_s(seconds))
}

/// A step from `start` to `end`, both in milliseconds.
pub fn step(id: &str, parent: Option<&str>, kind: StepType, start_ms: u64, end_ms: u64) -> Step {
    let ns = |ms: u64| 1_750_000_000_000_000_000 + ms * 1_000_000;
    Step {
        run: key(),
        id: id.to_owned(),
        parent_id: parent.map(str::to_owned),
        source: Source::Otlp,
        position: 0,
        name: format!("{} {id}", kind.as_str()),
        facts: Facts { genai: kind == StepType::Workflow || kind.is_genai(), ..Facts::default() },
        kind,
        status: Status::Success,
        error: None,
        start_ns: Some(ns(start_ms)),
        end_ns: Some(ns(end_ms)),
        latency_ms: Some((end_ms - start_ms) as f64),
        usage: Usage::default(),
        cost: None,
        model: None,
        provider: None,
        agent: None,
        input: None,
        output: None,
        detail: "{}".to_owned(),
        origin: None,
        content_hash: Uuid::nil(),
        day: NaiveDate::default(),
    }
}

pub fn agent(id: &str, parent: Option<&str>, start_ms: u64, end_ms: u64) -> Step {
    step(id, parent, StepType::Agent, start_ms, end_ms)
}

pub fn tool(id: &str, parent: Option<&str>, name: &str, start_ms: u64, end_ms: u64) -> Step {
    step(id, parent, StepType::ToolCall, start_ms, end_ms).named(name)
}

pub fn call(id: &str, parent: Option<&str>, start_ms: u64, end_ms: u64) -> Step {
    let mut step = step(id, parent, StepType::ModelCall, start_ms, end_ms);
    step.model = Some("gpt-4o-mini".to_owned());
    step
}

/// What a test changes of a step.
pub trait Build: Sized {
    fn named(self, name: &str) -> Self;
    fn tokens(self, input: i64, output: i64) -> Self;
    fn says(self, input: &str, output: &str) -> Self;
    fn fails(self, error: &str) -> Self;
    fn costs(self, usd: f64) -> Self;
    fn unended(self) -> Self;
    fn facts(self, change: impl FnOnce(&mut Facts)) -> Self;
}

impl Build for Step {
    fn named(mut self, name: &str) -> Step {
        self.name = name.to_owned();
        self
    }

    fn tokens(mut self, input: i64, output: i64) -> Step {
        self.usage =
            Usage { total: Some(input + output), input: Some(input), output: Some(output), ..Usage::default() };
        self
    }

    /// An empty text is none.
    fn says(mut self, input: &str, output: &str) -> Step {
        self.input = (!input.is_empty()).then(|| input.to_owned());
        self.output = (!output.is_empty()).then(|| output.to_owned());
        self
    }

    fn fails(mut self, error: &str) -> Step {
        self.status = Status::Error;
        self.error = Some(error.to_owned());
        self
    }

    fn costs(mut self, usd: f64) -> Step {
        self.cost = Some(usd);
        self
    }

    fn unended(mut self) -> Step {
        (self.end_ns, self.latency_ms, self.status) = (None, None, Status::Running);
        self
    }

    fn facts(mut self, change: impl FnOnce(&mut Facts)) -> Step {
        change(&mut self.facts);
        self
    }
}

pub fn user(text: &str) -> String {
    json!([{"role": "user", "parts": [{"type": "text", "content": text}]}]).to_string()
}

pub fn assistant(text: &str) -> String {
    json!([{"role": "assistant", "parts": [{"type": "text", "content": text}]}]).to_string()
}

/// An assistant's message that asks for a tool.
pub fn asks(id: &str, name: &str, arguments: serde_json::Value) -> String {
    json!([{"role": "assistant", "parts": [asked(id, name, arguments)]}]).to_string()
}

pub fn asked(id: &str, name: &str, arguments: serde_json::Value) -> serde_json::Value {
    json!({"type": "tool_call", "id": id, "name": name, "arguments": arguments})
}

/// A conversation: the user's text, one request and its result.
pub fn told(text: &str, id: &str, name: &str, arguments: serde_json::Value, result: &str) -> String {
    json!([{"role": "user", "content": text},
        {"role": "assistant", "parts": [asked(id, name, arguments)]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": id, "response": result}]}])
    .to_string()
}

impl Assembled {
    pub fn shown(&self, id: &str) -> &ShownStep {
        self.steps.iter().find(|shown| shown.step.id == id).unwrap_or_else(|| panic!("no step {id}"))
    }

    pub fn mark(&self, id: &str, mark: &str) -> Option<&serde_json::Value> {
        self.shown(id).marks.get(mark)
    }

    /// Steps that no span showed.
    pub fn inferred(&self) -> Vec<&Step> {
        self.steps.iter().filter(|shown| shown.marks.contains_key("inferred")).map(|shown| &shown.step).collect()
    }
}
