//! What is kept of an item that the database refused: everything that would have been stored, as JSON. Pure.

use chrono::{DateTime, NaiveDate, Utc};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::model::batch::{Batch, Native, OriginRow};
use crate::model::log::LogRow;
use crate::model::receipt::DeadLetter;
use crate::model::run::Declared;
use crate::model::step::{Facts, Step, Usage};

/// The letter of the item `index` of a batch, or of its native run, which is refused whole. `code` is the database's.
pub(super) fn letter(batch: &Batch, index: usize, code: String, id: Uuid) -> DeadLetter {
    let (signal, run_id, step_id, content) = match (&batch.native, batch.steps.get(index)) {
        (Some(Native::Submit { run_id, declared }), _) => ("runs", Some(*run_id), None, run(batch, Some(declared))),
        (Some(Native::Append { run_id }), _) => ("runs", Some(*run_id), None, run(batch, None)),
        (None, Some(step)) => {
            ("traces", Some(step.run.run_id), Some(step.id.clone()), json(&StepLetter::of(step, &batch.origins)))
        }
        (None, None) => match batch.logs.get(index.saturating_sub(batch.steps.len())) {
            Some(log) => ("logs", Some(log.run.run_id), None, json(&LogLetter::of(log, &batch.origins))),
            None => ("traces", None, None, b"{}".to_vec()),
        },
    };
    let (place, reason) = told(batch, index);
    DeadLetter {
        id,
        received_at: batch.received_at,
        signal,
        place,
        reason,
        code,
        run_id: run_id.filter(|run_id| *run_id != LogRow::NO_RUN),
        step_id,
        content,
    }
}

/// Place and reason as the sender is told them.
pub(super) fn told(batch: &Batch, index: usize) -> (String, String) {
    let refused = if batch.native.is_some() { "the run or one of its steps" } else { "one of its values" };
    let place = match batch.steps.get(index) {
        Some(step) => format!("step {}", step.id),
        None => format!("item {index}"),
    };
    (place, format!("the database cannot hold {refused}"))
}

#[derive(Serialize)]
struct RunLetter<'a> {
    declared: Option<&'a Declared>,
    steps: Vec<StepLetter<'a>>,
}

#[derive(Serialize)]
struct StepLetter<'a> {
    run_id: Uuid,
    step_id: &'a str,
    parent_id: Option<&'a str>,
    source: &'a str,
    position: i32,
    r#type: &'a str,
    name: &'a str,
    status: &'a str,
    error: Option<&'a str>,
    start_ns: Option<u64>,
    end_ns: Option<u64>,
    latency_ms: Option<f64>,
    usage: &'a Usage,
    cost: Option<f64>,
    model: Option<&'a str>,
    provider: Option<&'a str>,
    agent: Option<&'a str>,
    input: Option<&'a str>,
    output: Option<&'a str>,
    facts: &'a Facts,
    detail: Text<'a>,
    origin: Option<Text<'a>>,
    content_hash: Uuid,
    day: NaiveDate,
}

impl<'a> StepLetter<'a> {
    fn of(step: &'a Step, origins: &'a [OriginRow]) -> StepLetter<'a> {
        StepLetter {
            run_id: step.run.run_id,
            step_id: &step.id,
            parent_id: step.parent_id.as_deref(),
            source: step.source.as_str(),
            position: step.position,
            r#type: step.kind.as_str(),
            name: &step.name,
            status: step.status.as_str(),
            error: step.error.as_deref(),
            start_ns: step.start_ns,
            end_ns: step.end_ns,
            latency_ms: step.latency_ms,
            usage: &step.usage,
            cost: step.cost,
            model: step.model.as_deref(),
            provider: step.provider.as_deref(),
            agent: step.agent.as_deref(),
            input: step.input.as_deref(),
            output: step.output.as_deref(),
            facts: &step.facts,
            detail: Text::of(&step.detail),
            origin: step.origin.and_then(|id| origin(id, origins)),
            content_hash: step.content_hash,
            day: step.day,
        }
    }
}

#[derive(Serialize)]
struct LogLetter<'a> {
    run_id: Uuid,
    span_id: &'a str,
    day: NaiveDate,
    log_id: Uuid,
    time_ns: u64,
    position: i32,
    body: Text<'a>,
    origin: Option<Text<'a>>,
    received_at: DateTime<Utc>,
}

impl<'a> LogLetter<'a> {
    fn of(log: &'a LogRow, origins: &'a [OriginRow]) -> LogLetter<'a> {
        LogLetter {
            run_id: log.run.run_id,
            span_id: &log.span_id,
            day: log.day,
            log_id: log.id,
            time_ns: log.time_ns,
            position: log.position,
            body: Text::of(&log.body),
            origin: origin(log.origin, origins),
            received_at: log.received_at,
        }
    }
}

/// JSON as it is, and what is none, which may be why it was refused, as a string.
#[derive(Serialize)]
#[serde(untagged)]
enum Text<'a> {
    Json(&'a RawValue),
    Other(&'a str),
}

impl<'a> Text<'a> {
    fn of(text: &'a str) -> Text<'a> {
        serde_json::from_str(text).map_or(Text::Other(text), Text::Json)
    }
}

fn origin(id: Uuid, origins: &[OriginRow]) -> Option<Text<'_>> {
    origins.iter().find(|origin| origin.id == id).map(|origin| Text::of(&origin.body))
}

fn run(batch: &Batch, declared: Option<&Declared>) -> Vec<u8> {
    let steps = batch.steps.iter().map(|step| StepLetter::of(step, &batch.origins)).collect();
    json(&RunLetter { declared, steps })
}

/// Strings, numbers and maps with string keys: writing them as JSON cannot fail.
fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_else(|_| b"{}".to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::model::id::{ProjectId, RunKey};
    use crate::model::step::Source;

    fn step(detail: &str) -> Step {
        Step {
            run: RunKey { project: ProjectId(7), run_id: Uuid::from_u128(5) },
            id: "00000000000000ab".into(),
            parent_id: None,
            source: Source::Otlp,
            position: 0,
            kind: Default::default(),
            name: "n\0".into(),
            status: Default::default(),
            error: None,
            start_ns: Some(u64::MAX),
            end_ns: None,
            latency_ms: Some(f64::NAN),
            usage: Default::default(),
            cost: None,
            model: None,
            provider: None,
            agent: None,
            input: Some("question".into()),
            output: None,
            facts: Default::default(),
            detail: detail.into(),
            origin: Some(Uuid::from_u128(9)),
            content_hash: Uuid::nil(),
            day: NaiveDate::default(),
        }
    }

    fn batch(steps: Vec<Step>, native: Option<Native>) -> Batch {
        let origins = vec![OriginRow { id: Uuid::from_u128(9), body: r#"{"resource":{}}"#.into() }];
        let received_at = DateTime::UNIX_EPOCH;
        Batch { project: ProjectId(7), received_at, origins, steps, logs: vec![], native, receipt: Default::default() }
    }

    #[test]
    fn a_letter_holds_all_of_the_step_whatever_is_wrong_with_it() {
        let batch = batch(vec![step("{}"), step(r#"{"a":[1e400]}"#), step("no JSON")], None);
        let content = |index| -> Value {
            let letter = letter(&batch, index, "22P05".into(), Uuid::nil());
            assert_eq!((letter.signal, letter.run_id), ("traces", Some(Uuid::from_u128(5))));
            assert_eq!(letter.step_id.as_deref(), Some("00000000000000ab"));
            serde_json::from_slice(&letter.content)
                .unwrap_or_else(|_| json!(String::from_utf8(letter.content).unwrap()))
        };
        assert_eq!(content(0)["origin"], json!({"resource": {}}));
        assert_eq!((&content(0)["start_ns"], &content(0)["name"]), (&json!(u64::MAX), &json!("n\0")));
        assert!(content(1).to_string().contains("1e400"));
        assert_eq!(content(2)["detail"], "no JSON");
    }

    #[test]
    fn a_native_run_is_one_letter() {
        let run_id = Uuid::from_u128(5);
        let submit = Native::Submit { run_id, declared: Box::new(Declared::default()) };
        let letter = letter(&batch(vec![step("{}"), step("{}")], Some(submit)), 0, "19".into(), Uuid::nil());
        let content: Value = serde_json::from_slice(&letter.content).unwrap();
        assert_eq!((letter.signal, letter.run_id, letter.step_id), ("runs", Some(run_id), None));
        assert_eq!(content["steps"].as_array().unwrap().len(), 2);
        assert!(content["declared"].is_object());
    }
}
