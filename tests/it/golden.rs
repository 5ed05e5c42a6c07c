//! Requests that real instrumentations sent, with the truth about them: `tests/fixtures/otlp/<dialect>__<scenario>/`
//! holds the bodies as received and `expected.json`, written from the scenario's script, never from the spans.
//!
//! Every fixture is decoded, mapped and assembled in memory; the run is compared with the truth, and with the rows
//! that the last accepted version made of it (`insta`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;
use vectoros::assembly::{LifeCycle, Receipt, Twin, assemble, original_of};
use vectoros::mapping::map_traces;
use vectoros::model::id::{ProjectId, RunKey};
use vectoros::model::run::Assembled;
use vectoros::model::step::{Status, Step, StepType};
use vectoros::otlp::{DecodeLimits, TraceRequest, json, protobuf};

const LIMITS: DecodeLimits = DecodeLimits { spans_max: 100_000, span_items_max: 100_000, depth_max: 64 };

/// Fixtures whose truth needs what this version does not read yet, and what that is. A fixture that is right must not
/// stand here.
const NOT_YET: &[(&str, &str)] =
    &[("otel-genai-openai__chat-events", "its texts stand in log records, and logs are not taken")];

fn fixtures_of(folder: &Path) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "pb"));
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// The steps of all requests of a fixture; each copy of a span once.
fn steps_of(requests: Vec<TraceRequest>) -> BTreeMap<Uuid, Vec<Step>> {
    let mut runs: BTreeMap<Uuid, BTreeMap<String, Step>> = BTreeMap::new();
    for request in requests {
        assert_eq!(request.rejections.count, 0, "{:?}", request.rejections);
        let (steps, _) = map_traces(ProjectId(1), request.groups, DateTime::UNIX_EPOCH);
        for step in steps {
            runs.entry(step.run.run_id).or_default().insert(step.id.clone(), step);
        }
    }
    runs.into_iter().map(|(run_id, steps)| (run_id, steps.into_values().collect())).collect()
}

/// Assembled long after the last span: nothing more will come.
fn runs_of(steps: BTreeMap<Uuid, Vec<Step>>) -> Vec<Assembled> {
    let life = LifeCycle {
        settle: SECOND,
        orphan_idle: SECOND,
        idle_limit: SECOND,
        max_duration: SECOND * 86_400,
        unmatched_logs: SECOND * 3_600,
    };
    let mut runs: Vec<Assembled> = steps
        .into_iter()
        .map(|(run_id, steps)| {
            let last_ns = steps.iter().filter_map(|step| step.end_ns).max().unwrap_or_default();
            let last: DateTime<Utc> = DateTime::from_timestamp_nanos(last_ns as i64);
            let receipt = Receipt { created_at: last, updated_at: last, received_at: last };
            assemble(RunKey { project: ProjectId(1), run_id }, steps, None, receipt, &life, last + SECOND * 60)
        })
        .filter(|assembled| assembled.run.worthy)
        .collect();
    runs.sort_by_key(|assembled| (assembled.run.started_at, assembled.run.key.run_id));
    let calls: Vec<Twin> = runs.iter().flat_map(Twin::all_of).collect();
    for assembled in &mut runs {
        let original = original_of(assembled, &calls);
        assembled.run.set_original(original);
    }
    runs
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

#[rstest]
fn a_fixture_becomes_its_run(#[files("tests/fixtures/otlp/*/expected.json")] truth: PathBuf) {
    let folder = truth.parent().unwrap();
    let name = folder.file_name().unwrap().to_string_lossy().into_owned();
    let bodies = fixtures_of(folder);
    assert!(!bodies.is_empty(), "{name} has no request");
    let from_protobuf: Vec<TraceRequest> =
        bodies.iter().map(|body| protobuf::decode_traces(body, LIMITS).unwrap()).collect();
    let from_json: Vec<TraceRequest> =
        bodies.iter().map(|body| json::decode_traces(&as_otlp_json(body), LIMITS).unwrap()).collect();
    assert!(from_protobuf == from_json, "protobuf and JSON say different things");

    let runs = runs_of(steps_of(from_protobuf));
    let expected: Value = serde_json::from_slice(&std::fs::read(&truth).unwrap()).unwrap();
    let listed: Vec<&Assembled> = runs.iter().filter(|run| run.run.duplicate_of.is_none()).collect();
    let wrong = if name.starts_with("control") { no_run(&listed) } else { compare(&expected, &listed) };
    let not_yet = NOT_YET.iter().find(|(fixture, _)| *fixture == name);
    match not_yet {
        None => assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n")),
        Some((_, why)) => assert!(!wrong.is_empty(), "{name} is right now, although {why}: take it off the list"),
    }
    insta::with_settings!({prepend_module_to_snapshot => false, snapshot_path => "../fixtures/rows", omit_expression => true}, {
        insta::assert_json_snapshot!(name, runs.iter().map(rows).collect::<Vec<_>>());
    });
}

/// The same request in OTLP/JSON, as the specification maps it: ids in hexadecimal, 64-bit integers as text.
fn as_otlp_json(body: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&ExportTraceServiceRequest::decode(body).unwrap()).unwrap()
}

fn no_run(runs: &[&Assembled]) -> Vec<String> {
    runs.iter().map(|run| format!("{} is no run", run.run.name)).collect()
}

/// What of the truth the runs do not show. Facts that the telemetry does not hold (`not_recorded`) are not asked for.
fn compare(expected: &Value, runs: &[&Assembled]) -> Vec<String> {
    let mut wrong = Vec::new();
    let not_recorded: Vec<&str> =
        expected["not_recorded"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    let recorded = |fact: &str| !not_recorded.contains(&fact);
    let mut check = |fact: &str, wanted: Value, got: Value| {
        let also_right = expected["accept"][fact].as_array().is_some_and(|others| others.contains(&got));
        if wanted != got && !also_right && expected["accept"][fact] != "any" {
            wrong.push(format!("{fact}: wanted {wanted}, got {got}"));
        }
    };
    check("run_count", expected["run_count"].clone(), json!(runs.len()));
    let total = |of: fn(&Assembled) -> Option<i64>| runs.iter().copied().filter_map(of).sum::<i64>();
    let (mut input, mut output) = (0, 0);
    for (number, call) in expected["llm"].as_array().unwrap().iter().enumerate() {
        if recorded("tokens") && recorded(&format!("tokens of LLM call {}", number + 1)) {
            input += call["input_tokens"].as_i64().unwrap();
            output += call["output_tokens"].as_i64().unwrap();
        }
    }
    for (number, call) in expected["embedding"].as_array().unwrap().iter().enumerate() {
        if recorded("tokens of embeddings") && recorded(&format!("tokens of embedding {}", number + 1)) {
            input += call["input_tokens"].as_i64().unwrap();
        }
    }
    check("tokens", json!(input + output), json!(total(|run| run.run.usage.total)));
    let parts = json!([total(|run| run.run.usage.input), total(|run| run.run.usage.output)]);
    check("input/output tokens", json!([input, output]), parts);

    let errored = expected["errored"] == true;
    for run in runs {
        let ends = json!([run.run.status.as_str(), run.run.error.is_some()]);
        check("run.status", if errored { json!(["error", true]) } else { json!(["success", false]) }, ends);
    }
    let said =
        |of: fn(&Assembled) -> String, wanted: &str| runs.iter().any(|run| squash(&of(run)).contains(&squash(wanted)));
    if let Some(asked) = expected["input_contains"].as_str().filter(|_| recorded("input text")) {
        check("run.input", json!(true), json!(said(|run| run.run.input.clone(), asked)));
    }
    if let Some(answered) = expected["output_contains"].as_str().filter(|_| recorded("output text") && !errored) {
        check("run.output", json!(true), json!(said(|run| run.run.output.clone().unwrap_or_default(), answered)));
    }
    let shown = || runs.iter().flat_map(|run| &run.steps).filter(|shown| !shown.marks.contains_key("duplicate_of"));
    let mut wanted_tools: BTreeMap<&str, usize> = BTreeMap::new();
    for tool in expected["tools"].as_array().unwrap() {
        *wanted_tools.entry(tool["name"].as_str().unwrap()).or_default() += 1;
    }
    for (tool, count) in wanted_tools {
        if recorded(&format!("tool {tool}")) {
            let got = shown()
                .filter(|shown| shown.step.kind == StepType::ToolCall && shown.step.name.ends_with(tool))
                .count();
            check(&format!("tool {tool}"), json!(count), json!(got));
        }
    }
    for agent in expected["agents"].as_array().unwrap().iter().filter_map(Value::as_str) {
        if recorded(&format!("agent name {agent}")) {
            let named = shown().any(|shown| shown.step.agent.as_deref() == Some(agent) || shown.step.name == agent)
                || runs.iter().any(|run| run.run.agent.as_deref() == Some(agent));
            check(&format!("agent {agent}"), json!(true), json!(named));
        }
    }
    wrong
}

fn squash(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A run and its steps in few words: what a reader compares when a rule changes.
fn rows(assembled: &Assembled) -> Value {
    let run = &assembled.run;
    let steps: Vec<Value> = assembled
        .steps
        .iter()
        .map(|shown| {
            let step = &shown.step;
            let mut row = json!({
                "step": format!("{} {} < {}", step.kind.as_str(), step.name, step.parent_id.as_deref().unwrap_or("-")),
                "id": step.id,
            });
            let mut add = |field: &str, value: Value| {
                if !value.is_null() {
                    row[field] = value;
                }
            };
            add("status", if step.status == Status::Success { Value::Null } else { json!(step.status) });
            add("error", json!(step.error.as_deref().map(cut)));
            add(
                "tokens",
                step.usage.total.map_or(Value::Null, |_| {
                    json!([step.usage.input, step.usage.output, step.usage.cache_read, step.usage.reasoning])
                }),
            );
            add("model", json!(step.model));
            add("provider", json!(step.provider));
            add("agent", json!(step.agent));
            add("input", json!(step.input.as_deref().map(cut)));
            add("output", json!(step.output.as_deref().map(cut)));
            add("marks", if shown.marks.is_empty() { Value::Null } else { json!(shown.marks) });
            row
        })
        .collect();
    json!({
        "run": {
            "name": run.name, "model": run.model, "agent": run.agent, "service": run.service, "status": run.status,
            "input": cut(&run.input), "output": run.output.as_deref().map(cut), "error": run.error.as_deref().map(cut),
            "tokens": [run.usage.total, run.usage.input, run.usage.output, run.usage.cache_read, run.usage.reasoning],
            "session_id": run.session_id, "user_id": run.user_id, "tags": run.tags, "final": run.final_at.is_some(),
            "step_count": run.step_count, "error_count": run.error_count, "metadata": run.metadata,
        },
        "steps": steps,
    })
}

/// Enough of a text to know it again.
fn cut(text: &str) -> String {
    match text.char_indices().nth(160) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
