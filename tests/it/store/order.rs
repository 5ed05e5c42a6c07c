//! The law of order: any permutation of the spans and log records of a trace, any split into requests and any repetition
//! give the same run, byte for byte as the API shows it.
//!
//! Some hundred shuffles are part of the suite. `VECTOROS_SHUFFLES=10000 tests/run --test it store::order` takes as many
//! as it says on each store. A failure names its seed.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};
use uuid::Uuid;
use vectoros::assembly::{LifeCycle, Scopes};
use vectoros::mapping::{map_logs, map_traces};
use vectoros::model::batch::Batch;
use vectoros::model::id::ProjectId;
use vectoros::model::log::LogRecord;
use vectoros::model::query::RunFilter;
use vectoros::model::span::{Event, Link, Origin, Span, Status};
use vectoros::model::value::AnyValue;
use vectoros::otlp::{LogGroup, SpanGroup};
use vectoros::prices::Prices;
use vectoros::store::{Store, StoreWriter, Tuning};
use vectoros::view::Reader;

use super::samples::*;
use crate::database::{Database, on_both_stores};

const SHUFFLES: u64 = 120;
/// Orders in which one trace is sent.
const ORDERS: u64 = 8;
/// Longer runs than this wait for the sweeper: about half of them.
const ORDER_TUNING: Tuning = Tuning { inline_steps_max: 12, ..TUNING };

fn text(text: impl Into<String>) -> AnyValue {
    AnyValue::Str(text.into())
}

/// A trace as several services would send it: each span with its producer.
struct Trace {
    rng: StdRng,
    id: [u8; 16],
    spans: Vec<(usize, Span)>,
    logs: Vec<(usize, LogRecord)>,
    next_id: u64,
}

/// One item on its way, with its producer.
#[derive(Clone)]
enum Item {
    Span(usize, Span),
    Log(usize, LogRecord),
}

const SERVICES: usize = 3;

fn origin(service: usize) -> Origin {
    let pairs =
        [("service.instance.id", format!("instance-{service}")), ("service.name", format!("service-{service}"))];
    let scopes = ["opentelemetry.instrumentation.openai", "com.anthropic.sdk.python", "logfire.pydantic-ai"];
    Origin {
        resource: pairs.map(|(key, value)| (key.to_owned(), text(value))).to_vec(),
        scope_name: scopes[service % scopes.len()].to_owned(),
        ..Origin::default()
    }
}

impl Trace {
    fn new(seed: u64) -> Trace {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut trace = Trace { id: rng.random(), rng, spans: Vec::new(), logs: Vec::new(), next_id: 1 };
        let frame = trace.maybe(0.3).then(|| trace.frame());
        for _ in 0..trace.rng.random_range(1..3) {
            trace.agent(frame, 0);
        }
        trace.disturb();
        trace
    }

    fn maybe(&mut self, chance: f64) -> bool {
        self.rng.random_bool(chance)
    }

    fn span(&mut self, name: &str, parent: Option<u64>, pairs: &[(&str, AnyValue)]) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        // Few distinct times, so that there are ties.
        let start_ns = ns(at(self.rng.random_range(0..6)));
        let length = *[0, 500_000_000, 1_000_000_000, 2_000_000_000].choose(&mut self.rng).unwrap();
        let mut attributes: Vec<(String, AnyValue)> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        if self.maybe(0.2) {
            attributes.push(("session.id".to_owned(), text(format!("s{}", self.rng.random_range(0..2)))));
        }
        if self.maybe(0.1) {
            attributes.push(("user.id".to_owned(), text(format!("u{}", self.rng.random_range(0..2)))));
        }
        attributes.sort_by(|a, b| a.0.cmp(&b.0));
        let code = if self.maybe(0.15) { 2 } else { 0 };
        let message = if code == 2 && self.maybe(0.7) { "it broke".to_owned() } else { String::new() };
        let exception = Event {
            time_ns: start_ns,
            name: "exception".to_owned(),
            attributes: vec![
                ("exception.message".to_owned(), text("boom")),
                ("exception.type".to_owned(), text("ValueError")),
            ],
            ..Event::default()
        };
        let has_exception = code == 2 && self.maybe(0.5);
        let span = Span {
            trace_id: self.id,
            span_id: id.to_be_bytes(),
            parent_span_id: parent.map(u64::to_be_bytes),
            name: name.to_owned(),
            kind: 1,
            start_ns,
            end_ns: start_ns + length,
            attributes,
            events: if has_exception { vec![exception] } else { vec![] },
            links: if self.maybe(0.05) {
                vec![Link { trace_id: [9; 16], span_id: [9; 8], ..Link::default() }]
            } else {
                vec![]
            },
            status: Status { code, message },
            ..Span::default()
        };
        let service = self.rng.random_range(0..SERVICES);
        self.spans.push((service, span));
        id
    }

    fn frame(&mut self) -> u64 {
        self.span("POST /ask", None, &[("http.request.method", text("POST")), ("http.route", text("/ask"))])
    }

    fn agent(&mut self, parent: Option<u64>, depth: u32) -> u64 {
        let name = *["planner", "writer"].choose(&mut self.rng).unwrap();
        let mut pairs = vec![("gen_ai.operation.name", text("invoke_agent")), ("gen_ai.agent.name", text(name))];
        if self.maybe(0.5) {
            pairs
                .push(("gen_ai.input.messages", text(r#"[{"role":"user","parts":[{"type":"text","content":"Hi"}]}]"#)));
            pairs.push(("gen_ai.output.messages", text(r#"[{"role":"assistant","content":"Done"}]"#)));
        }
        if self.maybe(0.3) {
            pairs.push(("gen_ai.usage.input_tokens", AnyValue::Int(self.rng.random_range(0..60))));
            pairs.push(("gen_ai.usage.output_tokens", AnyValue::Int(self.rng.random_range(0..20))));
        }
        let id = self.span(&format!("invoke_agent {name}"), parent, &pairs);
        for _ in 0..self.rng.random_range(0..4) {
            match self.rng.random_range(0..4) {
                0 => self.tool(id),
                1 if depth < 2 => {
                    self.agent(Some(id), depth + 1);
                }
                _ => self.call(id),
            }
        }
        id
    }

    /// A model call; often another instrumentation, and the transport, saw it too.
    fn call(&mut self, parent: u64) {
        let model = *["gpt-5", "claude-sonnet-4-5"].choose(&mut self.rng).unwrap();
        let mut pairs = vec![
            ("gen_ai.operation.name", text("chat")),
            ("gen_ai.provider.name", text("openai")),
            ("gen_ai.request.model", text(model)),
        ];
        if self.maybe(0.8) {
            pairs.push(("gen_ai.usage.input_tokens", AnyValue::Int(self.rng.random_range(1..9))));
            pairs.push(("gen_ai.usage.output_tokens", AnyValue::Int(self.rng.random_range(1..9))));
        }
        if self.maybe(0.5) {
            pairs.push(("gen_ai.response.id", text(format!("resp-{}", self.rng.random_range(0..3)))));
        }
        if self.maybe(0.6) {
            let asked = r#"[{"role":"assistant","parts":[{"type":"tool_call","id":"call_1","name":"get_weather","arguments":{"city":"Paris"}}]}]"#;
            pairs.push(("gen_ai.input.messages", text(r#"[{"role":"user","content":"Weather?"}]"#)));
            pairs.push(("gen_ai.output.messages", text(asked)));
        }
        let id = self.span(&format!("chat {model}"), Some(parent), &pairs);
        if self.maybe(0.4) {
            self.records(id);
        }
        let (service, call) = self.spans.last().cloned().unwrap();
        if self.maybe(0.4) {
            // The same call as another instrumentation saw it: inside or beside.
            let above = if self.maybe(0.5) { id } else { parent };
            let mut copy = call.clone();
            copy.span_id = self.next_id.to_be_bytes();
            copy.parent_span_id = Some(above.to_be_bytes());
            copy.attributes.retain(|(key, _)| !key.ends_with(".messages"));
            self.next_id += 1;
            self.spans.push((service, copy));
        }
        if self.maybe(0.3) {
            self.span("POST", Some(id), &[("http.request.method", text("POST")), ("url.full", text("https://api/v1"))]);
        }
    }

    /// What the model was asked and what it answered, in log records of the call; one may name no span, or one that never
    /// comes.
    fn records(&mut self, span: u64) {
        let start_ns = self.spans.last().map_or(0, |(_, span)| span.start_ns);
        let said = [
            ("gen_ai.user.message", r#"{"content":"Weather?"}"#),
            ("gen_ai.choice", r#"{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Sunny"}}"#),
            ("app.debug", r#""a line of debugging""#),
        ];
        // Records of one instant stand in the order in which they came; these come in any.
        for ((name, body), nanosecond) in said.into_iter().zip(0..) {
            if self.maybe(0.2) {
                continue;
            }
            let span = if self.maybe(0.9) { span } else { span + 1_000 };
            let record = LogRecord {
                time_ns: start_ns + nanosecond,
                event_name: name.to_owned(),
                body: AnyValue::from_json(serde_json::from_str(body).unwrap()),
                trace_id: Some(self.id),
                span_id: if self.maybe(0.9) { Some(span.to_be_bytes()) } else { None },
                ..LogRecord::default()
            };
            let service = self.rng.random_range(0..SERVICES);
            self.logs.push((service, record));
        }
    }

    fn tool(&mut self, parent: u64) {
        let pairs = [
            ("gen_ai.operation.name", text("execute_tool")),
            ("gen_ai.tool.name", text("get_weather")),
            ("gen_ai.tool.call.id", text(format!("call_{}", self.rng.random_range(0..3)))),
            ("gen_ai.tool.call.result", text("18 C")),
        ];
        let id = self.span("execute_tool get_weather", Some(parent), &pairs);
        if self.maybe(0.2) {
            self.span("tools/call get_weather", Some(id), &[("mcp.method.name", text("tools/call"))]);
        }
        if self.maybe(0.2) {
            self.call(id);
        }
    }

    /// Orphans, a circle, announcements, unended spans, and further versions of spans that were sent.
    fn disturb(&mut self) {
        if self.maybe(0.25) {
            let gone = self.rng.random_range(0..self.spans.len());
            self.spans.remove(gone);
        }
        if self.maybe(0.1) && self.spans.len() > 2 {
            let last = self.spans.last().unwrap().1.span_id;
            self.spans[0].1.parent_span_id = Some(last);
        }
        for (service, span) in self.spans.clone() {
            if self.maybe(0.15) {
                self.spans.push((service, announcement(&span, self.next_id)));
                self.next_id += 1;
            }
            if self.maybe(0.1) {
                self.spans.push((service, Span { end_ns: 0, ..span.clone() }));
            }
            for _ in 0..self.rng.random_range(0..4) {
                if self.maybe(0.2) {
                    let version = self.version(span.clone());
                    let service = if self.maybe(0.8) { service } else { self.rng.random_range(0..SERVICES) };
                    self.spans.push((service, version));
                }
            }
        }
        if self.maybe(0.1) {
            let lost = self.rng.random_range(0..self.spans.len());
            self.spans[lost].1.end_ns = 0;
        }
        if self.spans.is_empty() {
            self.frame();
        }
    }

    /// The same span with more or less attributes, another end, another name, or on another day.
    fn version(&mut self, mut span: Span) -> Span {
        match self.rng.random_range(0..6) {
            0 => span.attributes.truncate(span.attributes.len() / 2),
            1 => span.attributes.push(("z.more".to_owned(), text(format!("{}", self.rng.random_range(0..2))))),
            2 => span.end_ns += 1_000_000,
            3 => span.name.push_str(" again"),
            4 => span.start_ns -= 86_400_000_000_000,
            _ => span.attributes.iter_mut().for_each(|(_, value)| {
                if let AnyValue::Int(count) = value {
                    *count += 1;
                }
            }),
        }
        span
    }

    /// Makes most of its texts long, equal ones equally.
    fn lengthen(&mut self) {
        let lengthened = |text: &str| {
            let long = format!("{text} {}", "and so on ".repeat(40 + text.len() % 7));
            let open = serde_json::from_str::<serde_json::Value>(text).ok().filter(|value| value.is_array());
            let Some(mut messages) = open else { return long };
            for message in messages.as_array_mut().unwrap() {
                let more = "word for word ".repeat(30);
                if let Some(serde_json::Value::String(content)) = message.get_mut("content") {
                    content.push_str(&more);
                }
                for part in message.get_mut("parts").and_then(|parts| parts.as_array_mut()).into_iter().flatten() {
                    for key in ["content", "response", "result"] {
                        if let Some(serde_json::Value::String(content)) = part.get_mut(key) {
                            content.push_str(&more);
                        }
                    }
                }
            }
            messages.to_string()
        };
        for (_, span) in &mut self.spans {
            if !span.status.message.is_empty() {
                span.status.message = lengthened(&span.status.message);
            }
            for (key, value) in &mut span.attributes {
                let is_text = ["messages", "arguments", "result", "input", "output", "prompt"];
                if let AnyValue::Str(text) = value
                    && is_text.iter().any(|word| key.ends_with(word))
                {
                    *text = lengthened(text);
                }
            }
        }
    }

    /// The requests of one order: every item at least once, some again.
    fn requests(&self, project: ProjectId, order: u64) -> Vec<Batch> {
        let mut rng = StdRng::seed_from_u64(order);
        let spans = self.spans.iter().map(|(service, span)| Item::Span(*service, span.clone()));
        let items: Vec<Item> =
            spans.chain(self.logs.iter().map(|(service, record)| Item::Log(*service, record.clone()))).collect();
        let mut sent = items.clone();
        if order > 0 {
            sent.extend(items.into_iter().filter(|_| rng.random_bool(0.2)));
            sent.shuffle(&mut rng);
        }
        let mut requests = Vec::new();
        while !sent.is_empty() {
            let most = if order == 0 { sent.len() } else { rng.random_range(1..=sent.len().min(12)) };
            let items: Vec<Item> = sent.drain(..most).collect();
            let spans_of = |service: usize| SpanGroup {
                position: 0,
                origin: origin(service),
                items: items
                    .iter()
                    .filter_map(|item| match item {
                        Item::Span(of, span) if *of == service => Some(span.clone()),
                        _ => None,
                    })
                    .collect(),
            };
            let logs_of = |service: usize| LogGroup {
                position: 0,
                origin: origin(service),
                items: items
                    .iter()
                    .filter_map(|item| match item {
                        Item::Log(of, record) if *of == service => Some(record.clone()),
                        _ => None,
                    })
                    .collect(),
            };
            let (steps, mut origins) =
                map_traces(project, (0..SERVICES).map(spans_of).collect(), at(100), &Prices::none());
            let (logs, of_logs) = map_logs(project, (0..SERVICES).map(logs_of).collect(), at(100));
            origins.extend(of_logs);
            requests.push(Batch {
                project,
                received_at: at(100),
                origins,
                steps,
                logs,
                native: None,
                receipt: Default::default(),
            });
        }
        requests
    }
}

/// Logfire's announcement of a span.
fn announcement(span: &Span, id: u64) -> Span {
    let parent = span.parent_span_id.map_or(0, u64::from_be_bytes);
    let mut announced = Span {
        span_id: id.to_be_bytes(),
        parent_span_id: Some(span.span_id),
        end_ns: span.start_ns,
        events: vec![],
        status: Status::default(),
        ..span.clone()
    };
    announced.attributes.retain(|(key, _)| !key.contains("output") && !key.contains("usage"));
    announced.attributes.push(("logfire.pending_parent_id".to_owned(), text(format!("{parent:016x}"))));
    announced.attributes.push(("logfire.span_type".to_owned(), text("pending_span")));
    announced.attributes.sort_by(|a, b| a.0.cmp(&b.0));
    announced
}

/// The API's answer at several moments, and the row that lists are made of.
async fn shown(store: &Arc<dyn Store>, project: ProjectId, run_id: Uuid) -> String {
    let reader = Reader::new(store.clone(), LIFE);
    let mut shown = String::new();
    for seconds in [101, 110, 300, 2_000] {
        let run = reader.run(project, run_id, at(seconds)).await.unwrap().expect("it was written");
        shown.push_str(without_update(run.detail_json().unwrap().get()).as_str());
        shown.push('\n');
    }
    // By the sweeper, as the last of all: what was left to it, and what time alone changes.
    while store.sweep(&LIFE, at(2_000), 1_000).await.unwrap() > 0 {}
    let mut row = store.run(project, run_id).await.unwrap().unwrap().run;
    row.key.project = ProjectId(0);
    row.updated_at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::zero();
    shown.push_str(&format!("{row:#?}"));
    shown
}

/// The answer without the time of its last change, which counts the requests.
fn without_update(json: &str) -> String {
    let Some((before, after)) = json.split_once("\"updated_at\":\"") else { return json.to_owned() };
    let after = after.split_once("\",").map_or(after, |(_, after)| after);
    format!("{before}{after}")
}

async fn send(writer: &mut dyn StoreWriter, requests: &[Batch], order: u64, life: &LifeCycle) {
    // Several requests in one transaction, as under load.
    for together in requests.chunks(1 + (order % 3) as usize) {
        writer.write(&together.iter().collect::<Vec<_>>(), life, at(100)).await.unwrap();
    }
}

async fn any_order_split_and_repetition_gives_the_same_run(url: &str) {
    let shuffles = std::env::var("VECTOROS_SHUFFLES").map_or(SHUFFLES, |count| count.parse().unwrap());
    let store = Database::at(url).store(ORDER_TUNING).await;
    let mut writer = store.writer().await.unwrap();
    for seed in 0..shuffles.div_ceil(ORDERS) {
        let trace = Trace::new(seed);
        let run_id = Uuid::from_bytes(trace.id);
        let mut first = None;
        for order in 0..=ORDERS {
            // Each order in a project of its own, since the trace id takes part in the hashes of the spans.
            let project = project(store.as_ref(), &format!("{seed}-{order}")).await;
            send(writer.as_mut(), &trace.requests(project, order), order, &LIFE).await;
            let shown = shown(&store, project, run_id).await;
            match &first {
                None => first = Some(shown),
                Some(first) => assert_same(first, &shown, &format!("seed {seed}, order {order}")),
            }
        }
    }
}
on_both_stores!(any_order_split_and_repetition_gives_the_same_run);

/// A run of which only seals of the texts are held is the run that it is with them, and so are its parts.
async fn a_run_without_its_texts_in_memory_is_the_same(url: &str) {
    let database = Database::at(url);
    let scopes = Scopes { genai_root: true, genai_root_services: vec![] };
    for (seed, life) in (0..12)
        .map(|seed| (seed, LifeCycle { scopes: scopes.clone(), ..LIFE }))
        .chain((0..24).map(|seed| (100 + seed, LIFE)))
    {
        let mut trace = Trace::new(seed);
        trace.lengthen();
        let run_id = Uuid::from_bytes(trace.id);
        let mut rows = Vec::new();
        for (name, whole_bytes_max) in [("whole", Tuning::WHOLE_BYTES_MAX), ("sealed", 0)] {
            let store = database.store(Tuning { inline_steps_max: seed as u32 % 12, whole_bytes_max, ..TUNING }).await;
            let project = project(store.as_ref(), &format!("{name} {seed}")).await;
            send(store.writer().await.unwrap().as_mut(), &trace.requests(project, seed), seed, &life).await;
            let mut all = String::new();
            for seconds in [200, 2_000] {
                while store.sweep(&life, at(seconds), 1_000).await.unwrap() > 0 {}
                let filter = RunFilter { limit: 100, after: None, status: None, model: None };
                let mut runs = store.runs(project, &filter).await.unwrap().runs;
                runs.push(store.run(project, run_id).await.unwrap().unwrap().run);
                for run in &mut runs {
                    run.key.project = ProjectId(0);
                    run.updated_at = DateTime::<Utc>::UNIX_EPOCH + TimeDelta::zero();
                }
                all.push_str(&format!("{runs:#?}\n"));
            }
            assert!(!all.contains('\0') && !all.contains('\u{FFFD}'), "seed {seed}: a seal is shown");
            rows.push(all);
        }
        assert_same(&rows[0], &rows[1], &format!("seed {seed}"));
    }
}
on_both_stores!(a_run_without_its_texts_in_memory_is_the_same);

async fn any_order_split_and_repetition_gives_the_same_parts(url: &str) {
    let store = Database::at(url).store(ORDER_TUNING).await;
    let mut writer = store.writer().await.unwrap();
    let life = LifeCycle { scopes: Scopes { genai_root: true, genai_root_services: vec![] }, ..LIFE };
    let filter = RunFilter { limit: 100, after: None, status: None, model: None };
    let mut listed = 0_u64;
    for seed in 0..SHUFFLES.div_ceil(ORDERS) {
        let trace = Trace::new(seed);
        let mut first = None;
        for order in 0..=ORDERS {
            let project = project(store.as_ref(), &format!("parts {seed}-{order}")).await;
            send(writer.as_mut(), &trace.requests(project, order), order, &life).await;
            while store.sweep(&life, at(2_000), 1_000).await.unwrap() > 0 {}
            let mut all = String::new();
            for run in store.runs(project, &filter).await.unwrap().runs {
                listed += 1;
                all.push_str(&shown(&store, project, run.key.run_id).await);
            }
            match &first {
                None => first = Some(all),
                Some(first) => assert_same(first, &all, &format!("seed {seed}, order {order}")),
            }
        }
    }
    assert!(listed > SHUFFLES, "more runs than traces");
}
on_both_stores!(any_order_split_and_repetition_gives_the_same_parts);

/// Equal, or the first lines around the difference.
fn assert_same(first: &str, other: &str, which: &str) {
    if first == other {
        return;
    }
    let pretty = |text: &str| -> Vec<String> {
        let as_json = |line: &str| match serde_json::from_str::<serde_json::Value>(line) {
            Ok(value @ serde_json::Value::Object(_)) => format!("{value:#}"),
            _ => line.to_owned(),
        };
        text.lines().map(as_json).collect::<Vec<_>>().join("\n").lines().map(str::to_owned).collect()
    };
    let (first, other) = (pretty(first), pretty(other));
    let at = first.iter().zip(&other).position(|(a, b)| a != b).unwrap_or(first.len().min(other.len()));
    let around = |lines: &[String]| lines[at.saturating_sub(12)..(at + 6).min(lines.len())].join("\n");
    panic!("{which}: not the same run\n--- in order\n{}\n--- otherwise\n{}", around(&first), around(&other));
}
