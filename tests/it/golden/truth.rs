//! What must come out of a fixture, as facts about the runs that the API shows. The truth was written from the script
//! of the scenario and from what the scripted provider answered, never from the spans.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// One thing that was asked, and whether the runs show it.
pub struct Fact {
    /// Column of the table in `docs/dialects.md`.
    pub field: &'static str,
    pub name: String,
    pub right: bool,
    pub wanted: Value,
    pub got: Value,
}

/// `details` are answers of `GET /runs/{run_id}`, one for each run in the list.
pub fn facts(expected: &Value, details: &[Value]) -> Vec<Fact> {
    let mut asking = Asking { expected, facts: Vec::new() };
    if expected["dialect"].as_str().is_some_and(|dialect| dialect.starts_with("control")) {
        asking.is("runs", "no run", json!(0), json!(details.len()));
        return asking.facts;
    }
    let seen = Seen::of(details);
    asking.is("runs", "run_count", expected["run_count"].clone(), json!(details.len()));
    tokens(&mut asking, &seen);
    models(&mut asking, &seen);
    tools(&mut asking, &seen);
    texts(&mut asking, &seen);
    ends(&mut asking, &seen);
    names(&mut asking, &seen);
    asking.facts
}

struct Asking<'a> {
    expected: &'a Value,
    facts: Vec<Fact>,
}

impl Asking<'_> {
    fn is_recorded(&self, what: &str) -> bool {
        !list(&self.expected["not_recorded"]).iter().any(|missing| missing == what)
    }

    /// Other answers may be right too (`accept`), or the fact may not be asked at all.
    fn ask(
        &mut self,
        field: &'static str,
        name: &str,
        wanted: Value,
        got: Value,
        fits: impl Fn(&Value, &Value) -> bool,
    ) {
        let others = &self.expected["accept"][name];
        if others == "any" {
            return;
        }
        let right = fits(&got, &wanted) || list(others).iter().any(|other| fits(&got, other));
        self.facts.push(Fact { field, name: name.to_owned(), right, wanted, got });
    }

    fn is(&mut self, field: &'static str, name: &str, wanted: Value, got: Value) {
        self.ask(field, name, wanted, got, |got, wanted| got == wanted);
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.expected[key].as_str().filter(|text| !text.is_empty())
    }

    fn is_errored(&self) -> bool {
        self.expected["errored"] == true
    }
}

/// The runs and their steps without copies.
struct Seen<'a> {
    runs: Vec<&'a Value>,
    steps: Vec<&'a Value>,
    /// Whether a run holds a call at all.
    has_call: Vec<bool>,
}

impl<'a> Seen<'a> {
    fn of(details: &'a [Value]) -> Seen<'a> {
        let mut seen = Seen { runs: Vec::new(), steps: Vec::new(), has_call: Vec::new() };
        for detail in details {
            let mut steps = Vec::new();
            flatten(&detail["tree"], &mut steps);
            steps.retain(|step| {
                step["metadata"]["duplicate_of"].is_null() && step["metadata"]["counted"] != Value::Bool(false)
            });
            seen.has_call.push(steps.iter().any(|step| step["type"] == "model_call" || step["type"] == "embedding"));
            seen.runs.push(&detail["run"]);
            seen.steps.extend(steps);
        }
        seen
    }

    fn of_type(&self, kind: &str) -> Vec<&'a Value> {
        self.steps.iter().copied().filter(|step| step["type"] == kind).collect()
    }

    fn total(&self, field: &str) -> i64 {
        self.runs.iter().filter_map(|run| run[field].as_i64()).sum()
    }

    fn each(&self, field: &str) -> Value {
        self.runs.iter().map(|run| run[field].clone()).collect()
    }

    fn any(&self, field: &str, wanted: &Value) -> bool {
        self.runs.iter().any(|run| is_same_text(&run[field], wanted))
    }
}

fn flatten<'a>(nodes: &'a Value, into: &mut Vec<&'a Value>) {
    for node in list(nodes) {
        into.push(node);
        flatten(&node["children"], into);
    }
}

fn tokens(asking: &mut Asking<'_>, seen: &Seen<'_>) {
    let expected = asking.expected;
    let told = |kind: &str, what: &str| -> Vec<Value> {
        let calls = list(&expected[kind]).iter().enumerate();
        calls
            .filter(|(i, _)| asking.is_recorded(&format!("tokens of {what} {}", i + 1)))
            .map(|(_, c)| c.clone())
            .collect()
    };
    let calls = if asking.is_recorded("tokens") { told("llm", "LLM call") } else { Vec::new() };
    let embeddings =
        if asking.is_recorded("tokens of embeddings") { told("embedding", "embedding") } else { Vec::new() };
    let sum = |calls: &[Value], field: &str| calls.iter().filter_map(|call| call[field].as_i64()).sum::<i64>();
    let input = sum(&calls, "input_tokens") + sum(&embeddings, "input_tokens");
    let output = sum(&calls, "output_tokens");
    asking.is("tokens", "tokens", json!(input + output), json!(seen.total("tokens")));
    let parts = json!([seen.total("input_tokens"), seen.total("output_tokens")]);
    asking.is("tokens", "input/output tokens", json!([input, output]), parts);
    for (theirs, ours) in [("cached_input_tokens", "cache_read_tokens"), ("reasoning_tokens", "reasoning_tokens")] {
        let wanted = expected[theirs].as_i64().filter(|n| *n > 0 && asking.is_recorded(theirs));
        if let Some(wanted) = wanted {
            asking.is("tokens", ours, json!(wanted), json!(seen.total(ours)));
        }
    }
    if asking.is_recorded("tokens of each LLM call (their sum is)") {
        let pair = |call: &Value| {
            json!([call["input_tokens"].as_i64().unwrap_or(0), call["output_tokens"].as_i64().unwrap_or(0)])
        };
        let shown = seen.of_type("model_call").into_iter();
        let shown = shown.filter(|step| positive(&step["tokens"]) || positive(&step["input_tokens"])).map(pair);
        asking.is("each call", "tokens of each call", sorted(calls.iter().map(pair)), sorted(shown));
    }
    if !embeddings.is_empty() {
        let shown = seen.of_type("embedding").into_iter().map(|step| step["tokens"].clone()).filter(positive);
        let wanted = embeddings.iter().map(|call| call["input_tokens"].clone());
        asking.is("each call", "tokens of each embedding", sorted(wanted), sorted(shown));
    }
}

/// With or without the provider's prefix (`openai/gpt-4o-mini`).
fn models(asking: &mut Asking<'_>, seen: &Seen<'_>) {
    let expected = asking.expected;
    let calls = list(&expected["llm"]);
    if calls.is_empty() || !(asking.is_recorded("request_model") || asking.is_recorded("response_model")) {
        return;
    }
    let models: BTreeSet<&str> = calls
        .iter()
        .flat_map(|call| [&call["request_model"], &call["response_model"]])
        .filter_map(Value::as_str)
        .collect();
    let mut known = models.clone();
    known.extend(list(&expected["embedding"]).iter().filter_map(|call| call["request_model"].as_str()));
    let among = |got: &Value, wanted: &Value| {
        let bare = |model: &Value| model.as_str().and_then(|model| model.rsplit('/').next()).map(Value::from);
        !list(got).is_empty()
            && list(got).iter().all(|model| bare(model).is_some_and(|bare| list(wanted).contains(&bare)))
    };
    if asking.is_recorded("tokens") && asking.is_recorded("tokens of each LLM call (their sum is)") {
        let shown = seen.of_type("model_call").into_iter().map(|step| step["model"].clone()).collect();
        asking.ask("model", "model of the calls", json!(models), shown, among);
    }
    let runs = seen.runs.iter().zip(&seen.has_call);
    let called = runs.filter(|(_, has_call)| **has_call || seen.runs.len() == 1).map(|(run, _)| run["model"].clone());
    let called = called.collect();
    asking.ask("model", "run.model", json!(known), called, among);
}

/// Each call once, with its own arguments, result and status.
fn tools(asking: &mut Asking<'_>, seen: &Seen<'_>) {
    let tools = list(&asking.expected["tools"]);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in tools.iter().filter_map(|tool| tool["name"].as_str()) {
        *counts.entry(name).or_default() += 1;
    }
    for (name, count) in counts {
        if !asking.is_recorded(&format!("tool {name}")) || asking.expected["accept"][format!("tool {name}")] == "any" {
            continue;
        }
        let shown: Vec<&Value> = seen.of_type("tool_call").into_iter().filter(|step| is_named(step, name)).collect();
        asking.is("tools", &format!("tool {name}"), json!(count), json!(shown.len()));
        for tool in tools.iter().filter(|tool| tool["name"] == name) {
            self::tool(asking, tool, name, &shown);
        }
    }
}

/// The step may be called `Plugin-name` or `server.name`.
fn is_named(step: &Value, name: &str) -> bool {
    let shown = step["name"].as_str().unwrap_or_default();
    shown
        .strip_suffix(name)
        .is_some_and(|before| before.chars().last().is_none_or(|c| !c.is_ascii_alphanumeric() && c != ' '))
}

fn tool(asking: &mut Asking<'_>, tool: &Value, name: &str, shown: &[&Value]) {
    let arguments = &tool["arguments"];
    let first = arguments.as_object().and_then(|object| object.values().next()).map(plain).unwrap_or_default();
    let tag = format!("{name}({first})");
    let mut mine: Vec<&Value> =
        shown.iter().copied().filter(|step| is_same_arguments(&step["input"], arguments)).collect();
    let has_own = !mine.is_empty();
    if !has_own {
        mine = shown.to_vec();
    }
    let each = |field: &str, of: &[&Value]| -> Value { of.iter().map(|step| step[field].clone()).collect() };
    if asking.is_recorded(&format!("arguments of {tag}")) {
        let inputs = each("input", shown);
        asking.ask("arguments", &format!("tool {tag} arguments"), arguments.clone(), inputs, |got, wanted| {
            list(got).iter().any(|input| is_same_arguments(input, wanted))
        });
    }
    let result = tool["result_contains"].as_str().filter(|text| !text.is_empty());
    if let Some(result) = result.filter(|_| asking.is_recorded(&format!("result of {tag}"))) {
        asking.ask("results", &format!("tool {tag} result"), json!(result), each("output", &mine), |got, wanted| {
            list(got).iter().any(|output| holds(output, wanted))
        });
    }
    let all_are =
        |got: &Value, wanted: &Value| !list(got).is_empty() && list(got).iter().all(|status| status == wanted);
    let statuses = each("status", &mine);
    let failed = tool["error"] == true || tool["error"].is_string();
    if !failed {
        return asking.ask("tool status", &format!("tool {tag} status"), json!("success"), statuses, all_are);
    }
    if asking.is_recorded(&format!("error status of {name}")) {
        asking.ask("tool status", &format!("tool {tag} status"), json!("error"), statuses, all_are);
    }
    if asking.is_recorded(&format!("error of {tag}")) {
        let texts = mine.iter().flat_map(|step| [step["error"].clone(), step["output"].clone()]).collect();
        asking.ask(
            "tool status",
            &format!("tool {tag} error"),
            tool["error_contains"].clone(),
            texts,
            |got, wanted| list(got).iter().any(|text| holds(text, wanted)),
        );
    }
}

fn texts(asking: &mut Asking<'_>, seen: &Seen<'_>) {
    let expected = asking.expected;
    if let Some(asked) = asking.text("input_contains").filter(|_| asking.is_recorded("input text")) {
        let wanted = match asking.text("input_tail_contains") {
            Some(tail) => vec![json!({"holds": asked}), json!({"holds": tail})],
            None => vec![json!(asked)],
        };
        for wanted in wanted {
            asking.ask("input", "run.input", wanted, seen.each("input"), |_, wanted| seen.any("input", wanted));
        }
    }
    let answered = asking.text("output_contains").filter(|_| asking.is_recorded("output text") && !asking.is_errored());
    if let Some(answered) = answered {
        let said = list(&expected["app_saw"])
            .iter()
            .rev()
            .map(|saw| &saw["output"])
            .find(|output| !output.is_null() && **output != "");
        let wanted = said.map_or_else(|| json!(answered), |said| json!(plain(said)));
        asking.ask("output", "run.output", wanted, seen.each("output"), |_, wanted| seen.any("output", wanted));
    }
    if asking.is_recorded("input text") && asking.is_recorded("output text") {
        for (i, turn) in list(&expected["turn_texts"]).iter().enumerate() {
            let shown = seen.runs.iter().map(|run| json!([run["input"], run["output"]])).collect();
            asking.ask("output", &format!("turn {}", i + 1), turn.clone(), shown, |got, wanted| {
                list(got).iter().any(|said| is_same_text(&said[0], &wanted[0]) && is_same_text(&said[1], &wanted[1]))
            });
        }
    }
    let found = asking.text("retrieved_contains").filter(|_| asking.is_recorded("retrieved documents as such"));
    if let Some(found) = found {
        let documents = seen.steps.iter().filter(|step| step["type"] == "retrieval" || step["type"] == "rerank");
        let documents = documents.map(|step| step["output"].clone()).collect();
        asking.ask("results", "retrieved documents", json!(found), documents, |got, wanted| {
            list(got).iter().any(|document| holds(document, wanted))
        });
    }
}

/// Status of every run; an error text exactly where the status is error, a reason beside a time-out.
fn ends(asking: &mut Asking<'_>, seen: &Seen<'_>) {
    let expected = asking.expected;
    let wanted_text = expected["error_contains"].as_str().unwrap_or_default().to_owned();
    let lower = wanted_text.to_lowercase();
    let is_late = ["timeout", "time-out", "timed out", "timedout", "deadline"].iter().any(|word| lower.contains(word));
    let first = if asking.is_errored() { json!(["error", true]) } else { json!(["success", false]) };
    let mut right = vec![first.clone()];
    if is_late {
        right.push(json!(["timeout", false]));
    }
    if expected["cancelled"] == true {
        right.push(json!(["error", true]));
    }
    let has_text = |run: &&Value| run["error"].as_str().is_some_and(|text| !text.is_empty());
    let got = seen.runs.iter().map(|run| json!([run["status"], has_text(run)])).collect();
    asking.ask("status", "run.status", first, got, |got, wanted| {
        !list(got).is_empty() && list(got).iter().all(|end| end == wanted || right.contains(end))
    });
    if asking.is_errored() && asking.is_recorded("error text") {
        let text = |run: &&Value| match &run["error"] {
            Value::Null if is_late => run["metadata"]["timeout_reason"].clone(),
            error => error.clone(),
        };
        let got: Value = seen.runs.iter().map(text).collect();
        asking.ask("error text", "run.error", json!(wanted_text), got, |got, wanted| {
            !list(got).is_empty() && list(got).iter().all(|text| holds(text, wanted))
        });
    }
}

fn names(asking: &mut Asking<'_>, seen: &Seen<'_>) {
    let expected = asking.expected;
    for field in ["session_id", "user_id"] {
        if asking.text(field).is_some() && asking.is_recorded(field) {
            asking.ask("session, user", field, expected[field].clone(), seen.each(field), |got, wanted| {
                !list(got).is_empty() && list(got).iter().all(|value| value == wanted)
            });
        }
    }
    let of_steps = seen.steps.iter().flat_map(|step| {
        [Some(&step["agent"]), (step["type"] == "agent").then_some(&step["name"])].into_iter().flatten()
    });
    let named: BTreeSet<&str> =
        of_steps.chain(seen.runs.iter().map(|run| &run["agent"])).filter_map(Value::as_str).collect();
    for agent in list(&expected["agents"]).iter().filter_map(Value::as_str) {
        if asking.is_recorded(&format!("agent name {agent}")) {
            asking.ask("agents", &format!("agent {agent}"), json!(agent), json!(named), |got, wanted| {
                list(got).contains(wanted)
            });
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn positive(count: &Value) -> bool {
    count.as_i64().is_some_and(|n| n > 0)
}

fn sorted(values: impl Iterator<Item = Value>) -> Value {
    let mut values: Vec<Value> = values.collect();
    values.sort_by_key(|value| list(value).iter().chain([value]).filter_map(Value::as_i64).collect::<Vec<_>>());
    Value::from(values)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn squash(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value inside strings of JSON, or of Python where that is JSON but for its quotes and words.
fn opened(value: &Value) -> Value {
    let mut value = value.clone();
    for _ in 0..4 {
        let Value::String(text) = &value else { break };
        let python = || {
            let words =
                text.replace('\'', "\"").replace("None", "null").replace("True", "true").replace("False", "false");
            serde_json::from_str(&words).ok()
        };
        match serde_json::from_str(text).ok().or_else(python) {
            Some(inner) => value = inner,
            None => break,
        }
    }
    value
}

fn is_same_text(got: &Value, wanted: &Value) -> bool {
    if let Some(part) = wanted.get("holds") {
        return holds(got, part);
    }
    let is_structure = |value: &Value| value.is_object() || value.is_array();
    squash(&plain(got)) == squash(&plain(wanted)) || (is_structure(&opened(wanted)) && opened(got) == opened(wanted))
}

/// Is the wanted text a part of the other, be it inside strings of JSON?
fn holds(got: &Value, wanted: &Value) -> bool {
    let (mut got, wanted) = (plain(got), squash(&plain(wanted)));
    for _ in 0..4 {
        if squash(&got).contains(&wanted) {
            return true;
        }
        got = got.replace("\\n", " ").replace("\\\"", "\"").replace("\\\\", "\\");
    }
    false
}

/// Arguments count as the same inside the wrapping of a decorator, and as the only value of a tool with one parameter.
fn is_same_arguments(got: &Value, wanted: &Value) -> bool {
    const WRAPPERS: [&str; 9] =
        ["kwargs", "arguments", "args", "input", "inputs", "parameters", "input_args", "input_str", "value"];
    let Some(wanted_fields) = wanted.as_object() else { return false };
    if wanted_fields.values().next() == Some(got) {
        return true;
    }
    match opened(got) {
        Value::Object(mut fields) => {
            fields.retain(|_, value| !value.is_null());
            let same = fields.len() == wanted_fields.len()
                && wanted_fields
                    .iter()
                    .all(|(key, value)| fields.get(key).is_some_and(|field| field == value || opened(field) == *value));
            same || WRAPPERS.iter().any(|key| fields.get(*key).is_some_and(|inside| is_same_arguments(inside, wanted)))
        }
        Value::Array(items) => items.iter().eq(wanted_fields.values()),
        _ => false,
    }
}
