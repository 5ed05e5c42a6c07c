//! Tool calls made whole: steps get the arguments and results that only messages hold, and calls that no span shows
//! become steps of their own.

use std::collections::{HashMap, VecDeque};

use serde_json::Value;
use uuid::Uuid;

use crate::assembly::copies::{Copies, short_name};
use crate::assembly::forest::Forest;
use crate::assembly::requests::{Request, Said, requests};
use crate::assembly::status::{ERROR_BYTES_MAX, cut, says_nothing};
use crate::messages;
use crate::model::id::hex;
use crate::model::run::ShownStep;
use crate::model::step::{Facts, Source, Status, Step, StepType, Usage};

/// How many requests of one name a step is compared with by its arguments.
const COMPARED_MAX: usize = 64;

const WINDOW_SLACK_NS: u64 = 2_000_000;

/// What the copies of a tool call know goes to the one that is shown; the error of either is the error of both.
pub(super) fn merge_copies(steps: &mut [ShownStep], copies: &Copies) {
    for (&kept, others) in &copies.copies {
        if steps[kept].step.kind != StepType::ToolCall {
            continue;
        }
        for &copy in others {
            let Ok([outer, inner]) = steps.get_disjoint_mut([kept, copy]) else { continue };
            let inner = &inner.step;
            fill(&mut outer.step.input, inner.input.as_ref(), "input_source", &inner.id, &mut outer.marks);
            if outer.step.facts.tool_call_id.is_none() {
                outer.step.facts.tool_call_id.clone_from(&inner.facts.tool_call_id);
            }
            take_outcome(outer, inner);
        }
    }
}

/// A step that carries out its parent, a tool call, decides how that ended and what came out of it.
pub(super) fn take_outcomes(steps: &mut [ShownStep], forest: &Forest) {
    for index in 0..steps.len() {
        let Some(parent) = forest.parent[index] else { continue };
        let is_execution = steps[index].step.facts.more.contains_key("execution_of_parent");
        if is_execution
            && steps[parent].step.kind == StepType::ToolCall
            && let Ok([outer, inner]) = steps.get_disjoint_mut([parent, index])
        {
            take_outcome(outer, &inner.step);
        }
    }
}

fn take_outcome(outer: &mut ShownStep, inner: &Step) {
    let (step, marks) = (&mut outer.step, &mut outer.marks);
    fill(&mut step.output, inner.output.as_ref(), "output_source", &inner.id, marks);
    let failed = matches!(inner.status, Status::Error | Status::Timeout);
    if failed && takes_error(step, !says_nothing(inner)) {
        if step.status == Status::Success {
            marks.insert("inner_error".to_owned(), Value::Bool(true));
        }
        step.status = inner.status;
        step.error.clone_from(&inner.error);
        step.facts.timeout_reason.clone_from(&inner.facts.timeout_reason);
        step.facts.more.remove("error_source");
        let source = inner.facts.more.get("error_source").cloned();
        step.facts.more.extend(source.map(|source| ("error_source".to_owned(), source)));
        take_words_of_result(step);
    }
}

/// A failure that only another view of a step shows is the step's own; so is an error that tells more than its own.
fn takes_error(step: &Step, other_tells: bool) -> bool {
    step.status == Status::Success || (step.status == Status::Error && other_tells && says_nothing(step))
}

/// What the tool answered says more of its failure than a type.
fn take_words_of_result(step: &mut Step) {
    if step.status == Status::Error
        && says_nothing(step)
        && let Some(text) = step.output.as_deref().and_then(messages::output_text)
        && !text.trim().is_empty()
    {
        step.error = Some(cut(&text, ERROR_BYTES_MAX).to_owned());
        step.facts.more.remove("error_source");
    }
}

fn fill(
    field: &mut Option<String>,
    value: Option<impl AsRef<str> + Into<String>>,
    mark: &str,
    source: &str,
    marks: &mut serde_json::Map<String, Value>,
) {
    let is_known = field.as_deref().is_some_and(messages::is_usable);
    if let Some(value) = value.filter(|value| !is_known && messages::is_usable(value.as_ref())) {
        *field = Some(value.into());
        marks.insert(mark.to_owned(), Value::from(source));
    }
}

/// A model call, in order of start.
pub(super) struct Call {
    /// Place among the shown steps.
    step: usize,
}

impl Call {
    /// Where the shown step has no messages, those of its copies count.
    fn said(&self, steps: &[ShownStep], copies: &Copies) -> Said {
        let views = || std::iter::once(self.step).chain(copies.copies.get(&self.step).into_iter().flatten().copied());
        let read = |text: fn(&Step) -> Option<&str>| {
            views().find_map(|view| messages::parse(text(&steps[view].step)?)).unwrap_or_default()
        };
        Said { input: read(|step| step.input.as_deref()), output: read(|step| step.output.as_deref()) }
    }
}

/// The model calls that may ask for tools.
pub(super) fn calls(steps: &[ShownStep], copies: &Copies) -> Vec<Call> {
    let is_inner = |index: usize| steps[index].marks.get("counted") == Some(&Value::Bool(false));
    let is_call =
        |index: &usize| steps[*index].step.kind == StepType::ModelCall && !copies.is_copy(*index) && !is_inner(*index);
    (0..steps.len()).filter(is_call).map(|step| Call { step }).collect()
}

/// Completes the tool steps from the messages of `calls`, and gives the steps that no span shows.
pub(super) fn complete(
    steps: &mut [ShownStep],
    copies: &Copies,
    calls: &[Call],
    run_id: Uuid,
    final_output: Option<&str>,
) -> Vec<ShownStep> {
    let requests = requests(calls.iter().map(|call| call.said(steps, copies)));
    let mut pairing = Pairing::new(&requests, calls);
    pairing.pair(steps, copies);
    for (request, step) in requests.iter().zip(&pairing.step_of) {
        if let Some(step) = step {
            complete_one(&mut steps[*step], request);
        }
    }
    let left = requests.iter().enumerate().filter(|(place, _)| pairing.step_of[*place].is_none());
    left.filter(|(_, request)| !is_structured_output(request, final_output))
        .map(|(place, request)| inferred(steps, calls, request, place, run_id))
        .collect()
}

/// Which step is the execution of which request: by id, then by name and arguments, then by name and order.
struct Pairing<'a> {
    requests: &'a [Request],
    calls: &'a [Call],
    step_of: Vec<Option<usize>>,
    by_id: HashMap<&'a str, VecDeque<usize>>,
    by_name: HashMap<&'a str, VecDeque<usize>>,
}

impl<'a> Pairing<'a> {
    fn new(requests: &'a [Request], calls: &'a [Call]) -> Pairing<'a> {
        let mut by_id: HashMap<&str, VecDeque<usize>> = HashMap::new();
        let mut by_name: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (index, request) in requests.iter().enumerate() {
            if let Some(id) = &request.id {
                by_id.entry(id).or_default().push_back(index);
            }
            by_name.entry(short_name(&request.name)).or_default().push_back(index);
        }
        Pairing { requests, calls, step_of: vec![None; requests.len()], by_id, by_name }
    }

    fn pair(&mut self, steps: &mut [ShownStep], copies: &Copies) {
        let is_tool = |index: &usize| {
            matches!(steps[*index].step.kind, StepType::ToolCall | StepType::Handoff) && !copies.is_copy(*index)
        };
        let (with_id, without): (Vec<usize>, Vec<usize>) =
            (0..steps.len()).filter(is_tool).partition(|index| steps[*index].step.facts.tool_call_id.is_some());
        let mut strangers = Vec::new();
        for index in with_id {
            let id = steps[index].step.facts.tool_call_id.as_deref().unwrap_or_default();
            match self.by_id.get_mut(id).and_then(VecDeque::pop_front) {
                Some(request) => self.step_of[request] = Some(index),
                None => strangers.push(index),
            }
        }
        self.forget_taken();
        // Ids of spans and messages may be of two kinds; such steps choose last.
        for group in [without, strangers] {
            let left: Vec<usize> = group.into_iter().filter(|step| !self.take(*step, steps, true)).collect();
            let left: Vec<usize> = left.into_iter().filter(|step| !self.take(*step, steps, false)).collect();
            self.pair_handoffs(steps, &left);
        }
        self.pair_untyped(steps);
    }

    fn forget_taken(&mut self) {
        let step_of = &self.step_of;
        self.by_name.values_mut().for_each(|queue| queue.retain(|request| step_of[*request].is_none()));
    }

    /// Gives the step the first request that fits.
    fn take(&mut self, index: usize, steps: &[ShownStep], by_arguments: bool) -> bool {
        let step = &steps[index].step;
        let arguments = by_arguments.then(|| messages::tool_arguments(step.input.as_deref().unwrap_or_default()));
        for name in names(&step.name) {
            let Some(queue) = self.by_name.get_mut(name) else { continue };
            let fits = |request: &usize| {
                let request = &self.requests[*request];
                let asked_before =
                    step.end_ns.is_none() || steps[self.calls[request.call].step].step.start_ns <= step.end_ns;
                asked_before && arguments.as_ref().is_none_or(|own| messages::same_arguments(own, &request.arguments))
            };
            let Some(position) = queue.iter().take(COMPARED_MAX).position(fits) else { continue };
            if let Some(request) = queue.remove(position) {
                self.step_of[request] = Some(index);
                return true;
            }
        }
        false
    }

    /// A handoff is asked for as a tool (`transfer_to_billing`) and recorded under the name of the agent.
    fn pair_handoffs(&mut self, steps: &[ShownStep], left: &[usize]) {
        let is_handoff = |name: &str| name.starts_with("transfer") || name.starts_with("handoff");
        let asked =
            (0..self.requests.len()).filter(|r| self.step_of[*r].is_none() && is_handoff(&self.requests[*r].name));
        let mut asked: VecDeque<usize> = asked.collect();
        for &index in left.iter().filter(|index| steps[**index].step.kind == StepType::Handoff) {
            let Some(request) = asked.pop_front() else { break };
            self.step_of[request] = Some(index);
        }
        self.forget_taken();
    }

    /// A span of no type that is named like a tool still missing, between the call that asked and the one that was
    /// told, is its execution.
    fn pair_untyped(&mut self, steps: &mut [ShownStep]) {
        for index in 0..steps.len() {
            let step = &steps[index].step;
            if step.source != Source::Otlp || !matches!(step.kind, StepType::Unknown | StepType::Function) {
                continue;
            }
            let (Some(start), Some(end)) = (step.start_ns, step.end_ns) else { continue };
            let found = names(&step.name).find_map(|name| {
                let queue = self.by_name.get(name)?;
                let position = queue.iter().take(COMPARED_MAX).position(|request| {
                    let request = &self.requests[*request];
                    let asked = steps[self.calls[request.call].step].step.end_ns;
                    let told = request.answer.as_ref().and_then(|answer| answer.told);
                    let told = told.and_then(|call| steps[self.calls[call].step].step.start_ns);
                    asked.is_some_and(|asked| start.saturating_add(WINDOW_SLACK_NS) >= asked)
                        && told.is_some_and(|told| end <= told.saturating_add(WINDOW_SLACK_NS))
                })?;
                Some((name.to_owned(), position))
            });
            let Some((name, position)) = found else { continue };
            if let Some(request) = self.by_name.get_mut(name.as_str()).and_then(|queue| queue.remove(position)) {
                self.step_of[request] = Some(index);
                let shown = &mut steps[index];
                shown.step.kind = StepType::ToolCall;
                shown.step.name = self.requests[request].name.clone();
                shown.marks.insert("type_source".to_owned(), Value::from("messages"));
            }
        }
    }
}

/// The name, and what is left of it behind each separator (`Plugin-tool`, `server.tool`): at most eight.
fn names(name: &str) -> impl Iterator<Item = &str> {
    let behind = name.char_indices().filter(|(_, c)| !c.is_ascii_alphanumeric() && *c != ' ');
    let tails = behind.map(|(at, c)| &name[at + c.len_utf8()..]).filter(|tail| !tail.is_empty());
    std::iter::once(short_name(name)).chain(tails.take(8))
}

fn complete_one(shown: &mut ShownStep, request: &Request) {
    let (step, marks) = (&mut shown.step, &mut shown.marks);
    let arguments = (!request.arguments.is_null()).then(|| messages::plain(&request.arguments));
    // `{}` is what a tool without parameters gets.
    if step.input.is_none() {
        if let Some(arguments) = arguments {
            step.input = Some(arguments);
            marks.insert("input_source".to_owned(), Value::from("messages"));
        }
    } else {
        fill(&mut step.input, arguments, "input_source", "messages", marks);
    }
    if step.facts.tool_call_id.is_none() {
        step.facts.tool_call_id = request.id.clone();
    }
    let Some(answer) = &request.answer else { return };
    fill(&mut step.output, Some(messages::plain(&answer.content)), "output_source", "messages", marks);
    if answer.is_error && takes_error(step, true) {
        step.status = Status::Error;
        step.error = Some(error_of(&answer.content));
        step.facts.more.remove("error_source");
        marks.insert("error_source".to_owned(), Value::from("messages"));
    }
}

/// The text of a failed result, never empty.
fn error_of(content: &Value) -> String {
    let text = messages::result_text(content);
    if text.trim().is_empty() { "error".to_owned() } else { text }
}

/// A tool that only gives the final answer its form is never run: nothing answers it.
fn is_structured_output(request: &Request, final_output: Option<&str>) -> bool {
    if request.answer.is_some() {
        return false;
    }
    let is_known_name = request.name == "final_result" || request.name.starts_with("final_result_");
    is_known_name
        || final_output.is_some_and(|output| {
            let (output, arguments) = (messages::tool_arguments(output), &request.arguments);
            messages::is_structure(&output) && messages::same_arguments(&output, arguments)
        })
}

fn inferred(steps: &[ShownStep], calls: &[Call], request: &Request, place: usize, run_id: Uuid) -> ShownStep {
    let asking = &steps[calls[request.call].step].step;
    let told = request.answer.as_ref().map(|answer| answer.told.map(|call| &steps[calls[call].step].step));
    let start_ns = asking.end_ns.or(asking.start_ns);
    let end_ns = told.and_then(|told| told.map_or(asking.end_ns, |told| told.start_ns));
    let failed = request.answer.as_ref().filter(|answer| answer.is_error);
    let step = Step {
        run: asking.run,
        id: inferred_id(run_id, request),
        parent_id: Some(asking.id.clone()),
        source: Source::Otlp,
        // They begin at the same instant: shown in the order in which they were asked for.
        position: i32::try_from(place).unwrap_or(i32::MAX),
        kind: StepType::ToolCall,
        name: request.name.clone(),
        status: if failed.is_some() { Status::Error } else { Status::Success },
        error: failed.map(|answer| error_of(&answer.content)),
        start_ns,
        end_ns: end_ns.map(|end| end.max(start_ns.unwrap_or(0))),
        latency_ms: None,
        usage: Usage::default(),
        cost: None,
        model: None,
        provider: None,
        agent: asking.agent.clone(),
        input: (!request.arguments.is_null()).then(|| messages::plain(&request.arguments)),
        output: request.answer.as_ref().map(|answer| messages::plain(&answer.content)),
        facts: Facts { genai: true, tool_call_id: request.id.clone(), ..Facts::default() },
        detail: "{}".to_owned(),
        origin: None,
        content_hash: Uuid::nil(),
        day: asking.day,
    };
    let marks = [("inferred".to_owned(), Value::Bool(true))].into_iter().collect();
    ShownStep { step, marks }
}

/// `i` and 15 hexadecimal digits: stable, and never the id of a span.
fn inferred_id(run_id: Uuid, request: &Request) -> String {
    let key = match &request.id {
        Some(id) => format!("tool_call\0{id}\0{}", request.occurrence),
        None => {
            format!("tool_call\0{}\0{}\0{}", request.name, messages::plain(&request.arguments), request.occurrence)
        }
    };
    let mut id = hex(Uuid::new_v5(&run_id, key.as_bytes()).as_bytes());
    id.truncate(15);
    id.insert(0, 'i');
    id
}
