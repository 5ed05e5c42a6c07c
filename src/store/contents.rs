//! What is stored of runs beside their rows, read in bounded memory.
//!
//! Short runs are read whole, many at a time. Where their steps are more than [`Tuning::whole_bytes_max`], each run is
//! read alone: of one that is more than that by itself, seals of the long texts are kept (`messages::seal`) and not the
//! texts; and of one with more than [`Tuning::assembled_steps_max`] steps the earliest so many, and sums of the rest.
//! How a run is read depends on what is stored alone, never on the order in which that came.

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use super::Tuning;
use super::plan::Merge;
use super::tables::{RunDays, StepKey, Tables};
use crate::assembly::{LifeCycle, Parts, Receipt, Rest, RunLogs, assemble_with, parts};
use crate::mapping;
use crate::messages;
use crate::model::id::{ProjectId, RunKey};
use crate::model::log::LogRow;
use crate::model::run::{Assembled, Declared, ShownStep};
use crate::model::step::{Facts, Step, StepType};
use crate::prices::Prices;

/// Bytes of the steps of one run in memory once their texts are sealed.
const SEALED_BYTES_MAX: usize = 160 << 20;
/// Steps that are mapped again at a time, with all that their spans said.
const MAPPED_AT_ONCE_MAX: usize = 500;
/// Steps of one run that are mapped again for records that may be about any of them.
const SEARCHED_MAX: usize = 10_000;

/// What is stored of a run beside its row: its steps with their log records, and the other records.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    pub steps: Vec<ShownStep>,
    /// Of the steps behind these.
    pub rest: Rest,
    pub logs: RunLogs,
}

impl Contents {
    /// Versions of one step that lie on different days are one step; the records that belong to a step are folded in.
    pub fn new(
        steps: Vec<Step>,
        logs: Vec<LogRow>,
        prices: &Prices,
        origin_of: &dyn Fn(Uuid) -> Option<String>,
    ) -> Contents {
        let count = logs.len();
        let steps = one_per_id(steps, &|one, other| mapping::merge(one, other, prices, origin_of));
        let (steps, loose) = mapping::with_logs(steps, logs, prices, origin_of);
        let steps = steps.into_iter().map(ShownStep::from).collect();
        Contents { steps, rest: Rest::default(), logs: RunLogs { count, loose } }
    }

    pub fn assembled(
        self,
        key: RunKey,
        declared: Option<Declared>,
        receipt: Receipt,
        life: &LifeCycle,
        now: DateTime<Utc>,
    ) -> (Assembled, Option<Parts>) {
        // Which service's trace it is, only its run can tell; but it is one of those that its steps name.
        let may_split = |shown: &ShownStep| life.scopes.splits(shown.step.facts.service.as_deref());
        let is_copied = declared.is_none() && life.scopes.any() && self.steps.iter().any(may_split);
        let steps = is_copied.then(|| self.steps.clone());
        let mut assembled = assemble_with(key, self.steps, &self.rest, declared, receipt, life, now);
        self.logs.note(&mut assembled, life);
        let is_split = assembled.run.worthy && life.scopes.splits(assembled.run.service.as_deref());
        (assembled, steps.filter(|_| is_split).map(|steps| parts(key, steps)))
    }
}

/// A run to be read, and how many steps it has at most.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sized {
    pub days: RunDays,
    pub steps: i64,
}

/// Everything of each run that assembly looks at.
pub(super) async fn contents_by_run(
    tables: &mut impl Tables,
    runs: &[Sized],
    prices: &Prices,
    tuning: &Tuning,
) -> sqlx::Result<HashMap<RunKey, Contents>> {
    let steps = runs.iter().fold(0_i64, |sum, run| sum.saturating_add(run.steps));
    if steps <= i64::from(tuning.assembled_steps_max)
        && let Some(contents) = together(tables, runs, steps, prices, tuning).await?
    {
        return Ok(contents);
    }
    let mut contents = HashMap::with_capacity(runs.len());
    for run in runs {
        contents.insert(run.days.key, alone(tables, run, prices, tuning).await?);
    }
    Ok(contents)
}

/// `None` when they are too large to be held together as they are.
async fn together(
    tables: &mut impl Tables,
    runs: &[Sized],
    steps: i64,
    prices: &Prices,
    tuning: &Tuning,
) -> sqlx::Result<Option<HashMap<RunKey, Contents>>> {
    let days: Vec<RunDays> = runs.iter().map(|run| run.days).collect();
    let mut gathered = Gathered { only_whole: true, ..Gathered::new(tuning.whole_bytes_max, steps) };
    if !tables.each_step(&days, None, &mut |step| gathered.take(step)).await? {
        return Ok(None);
    }
    let (logs, is_all) = tables.logs_of_runs(&days).await?;
    if !is_all && runs.len() > 1 {
        return Ok(None);
    }
    let mut by_run: HashMap<RunKey, (Gathered, Vec<LogRow>)> = HashMap::with_capacity(runs.len());
    if let [run] = days.as_slice() {
        by_run.insert(run.key, (gathered, logs));
    } else {
        let of_run = || (Gathered::new(usize::MAX, 0), Vec::new());
        for shown in gathered.steps {
            by_run.entry(shown.step.run).or_insert_with(of_run).0.steps.push(shown);
        }
        for log in logs {
            by_run.entry(log.run).or_insert_with(of_run).1.push(log);
        }
    }
    let mut contents = HashMap::with_capacity(by_run.len());
    for (key, (gathered, logs)) in by_run {
        contents.insert(key, joined(tables, gathered, logs, Rest::default(), prices).await?);
    }
    Ok(Some(contents))
}

/// One run of any size.
async fn alone(tables: &mut impl Tables, run: &Sized, prices: &Prices, tuning: &Tuning) -> sqlx::Result<Contents> {
    let mut steps_max = i64::from(tuning.assembled_steps_max.max(1));
    loop {
        let last = match run.steps > steps_max {
            true => tables.place_of_step(run.days, steps_max).await?,
            false => None,
        };
        let mut gathered = Gathered::new(tuning.whole_bytes_max, run.steps.min(steps_max));
        let is_all = tables.each_step(&[run.days], last.as_ref(), &mut |step| gathered.take(step)).await?;
        if is_all || steps_max == 1 {
            let rest = match &last {
                Some(last) => tables.rest_of_run(run.days, last).await?,
                None => Rest::default(),
            };
            let (logs, _) = tables.logs_of_runs(&[run.days]).await?;
            return joined(tables, gathered, logs, rest, prices).await;
        }
        steps_max = (run.steps.min(steps_max) / 4).max(1);
    }
}

/// The steps of a run with their records, each once. Those that are mapped again need their detail, which assembly does
/// not look at: they are read by portions.
async fn joined(
    tables: &mut impl Tables,
    mut gathered: Gathered,
    logs: Vec<LogRow>,
    rest: Rest,
    prices: &Prices,
) -> sqlx::Result<Contents> {
    let count = logs.len();
    gathered.steps.sort_unstable_by(|a, b| (&a.step.id, a.step.day).cmp(&(&b.step.id, b.step.day)));
    let again = mapped_again(&gathered.steps, &logs);
    let mut loose = logs;
    if !again.keys.is_empty() {
        gathered.steps.retain(|shown| !again.ids.contains(&shown.step.id));
        let mut keys = again.keys.as_slice();
        while !keys.is_empty() {
            let mut end = if again.is_search { keys.len() } else { MAPPED_AT_ONCE_MAX.min(keys.len()) };
            while end < keys.len() && keys[end].id == keys[end - 1].id {
                end += 1;
            }
            let (portion, others) = keys.split_at(end);
            keys = others;
            let whole = tables.steps_by_key(portion).await?;
            let ids: HashSet<&str> = portion.iter().map(|key| key.id.as_str()).collect();
            let is_meant = |log: &LogRow| again.is_search || ids.contains(log.span_id.as_str());
            let (logs, others): (Vec<LogRow>, Vec<LogRow>) = loose.into_iter().partition(is_meant);
            loose = others;
            let stored = whole.iter().map(|step| (step.run.project, step.origin));
            let mut origins: Vec<(ProjectId, Uuid)> = stored.filter_map(|(project, id)| Some((project, id?))).collect();
            origins.extend(logs.iter().map(|log| (log.run.project, log.origin)));
            let bodies = bodies_of(tables, origins).await?;
            let as_stored = if gathered.is_whole() { HashMap::new() } else { texts_by_id(&whole) };
            let mapped = Contents::new(whole, logs, prices, &|id| bodies.get(&id).cloned());
            loose.extend(mapped.logs.loose);
            for mut shown in mapped.steps {
                shown.step.detail = String::new();
                // What only records or several versions tell is in no step that could be asked for it later.
                if as_stored.get(&shown.step.id).is_some_and(|texts| *texts == texts_of(&shown.step)) {
                    gathered.reading.seal(&mut shown.step);
                }
                gathered.steps.push(shown);
            }
        }
    } else if !loose.is_empty() && gathered.steps.is_empty() {
        let origins = loose.iter().map(|log| (log.run.project, log.origin)).collect();
        let bodies = bodies_of(tables, origins).await?;
        let mapped = Contents::new(Vec::new(), loose, prices, &|id| bodies.get(&id).cloned());
        // Records of no trace alone become steps, and only where there are no others.
        loose = mapped.logs.loose;
        gathered.steps.extend(mapped.steps);
    }
    loose.sort_by_key(|row| (row.time_ns, row.id));
    Ok(Contents { steps: gathered.steps, rest, logs: RunLogs { count, loose } })
}

type Texts = [Option<String>; 3];

fn texts_of(step: &Step) -> Texts {
    [step.input.clone(), step.output.clone(), step.error.clone()]
}

/// Of the steps that have one row.
fn texts_by_id(steps: &[Step]) -> HashMap<String, Texts> {
    let mut texts = HashMap::with_capacity(steps.len());
    let mut repeated = HashSet::new();
    for step in steps {
        if texts.insert(step.id.clone(), texts_of(step)).is_some() {
            repeated.insert(&step.id);
        }
    }
    repeated.into_iter().for_each(|id| drop(texts.remove(id)));
    texts
}

/// The stored bodies of origins.
pub(super) async fn bodies_of(
    tables: &mut impl Tables,
    mut origins: Vec<(ProjectId, Uuid)>,
) -> sqlx::Result<HashMap<Uuid, String>> {
    origins.sort_unstable();
    origins.dedup();
    Ok(tables.origin_bodies(&origins).await?.into_iter().collect())
}

/// The steps that are mapped again before assembly.
struct Again {
    /// In their order.
    keys: Vec<StepKey>,
    ids: HashSet<String>,
    /// Records say by their contents which step they are about: all steps that may be it are looked at together.
    is_search: bool,
}

/// Steps with log records, and those that have several rows because their versions start on different days and so lie
/// in different partitions. `steps` are in the order of their ids.
fn mapped_again(steps: &[ShownStep], logs: &[LogRow]) -> Again {
    let named: HashSet<&str> = logs.iter().map(|log| log.span_id.as_str()).collect();
    let may_be_meant = |step: &Step| matches!(step.kind, StepType::ModelCall | StepType::ToolCall);
    let is_search = logs.iter().any(mapping::is_about_others)
        && steps.iter().filter(|shown| may_be_meant(&shown.step)).count() <= SEARCHED_MAX;
    let mut ids: HashSet<String> = HashSet::new();
    for versions in steps.chunk_by(|a, b| a.step.id == b.step.id) {
        let step = &versions[0].step;
        let is_searched = is_search && versions.iter().any(|shown| may_be_meant(&shown.step));
        if versions.len() > 1 || named.contains(step.id.as_str()) || is_searched {
            ids.insert(step.id.clone());
        }
    }
    let again: BTreeSet<StepKey> =
        steps.iter().filter(|shown| ids.contains(&shown.step.id)).map(|shown| StepKey::of(&shown.step)).collect();
    Again { keys: again.into_iter().collect(), ids, is_search }
}

/// One step for each id of each run, merged where there are several versions, in order of their keys.
pub(super) fn one_per_id(mut steps: Vec<Step>, merge: Merge<'_>) -> Vec<Step> {
    steps.sort_by(|a, b| (a.run, &a.id).cmp(&(b.run, &b.id)));
    let mut single: Vec<Step> = Vec::with_capacity(steps.len());
    for step in steps {
        let step = match single.pop_if(|last| last.run == step.run && last.id == step.id) {
            Some(version) => merge(version, step),
            None => step,
        };
        single.push(step);
    }
    single
}

/// How much of the texts is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Reading {
    Whole,
    Sealed,
    /// Sealed, without the tools that models asked for.
    Bare,
}

impl Reading {
    fn seal(self, step: &mut Step) {
        if self == Reading::Whole {
            return;
        }
        let is_compared =
            matches!(step.kind, StepType::Agent | StepType::Workflow | StepType::ToolCall | StepType::Handoff);
        let facts = &mut step.facts;
        for text in [&mut step.input, &mut step.output, &mut step.error, &mut facts.run_input, &mut facts.run_output] {
            let Some(whole) = text else { continue };
            if let Some(seal) = messages::seal(whole, is_compared) {
                *text = Some(seal);
            }
            if self == Reading::Bare
                && let Some(bare) = text.as_deref().and_then(messages::without_tools)
            {
                *text = Some(bare);
            }
        }
    }
}

/// Steps as they come, within a bound of bytes.
struct Gathered {
    steps: Vec<ShownStep>,
    bytes: usize,
    reading: Reading,
    whole_bytes_max: usize,
    /// Otherwise texts are sealed when they are too many.
    only_whole: bool,
}

impl Gathered {
    fn new(whole_bytes_max: usize, steps: i64) -> Gathered {
        Gathered {
            steps: Vec::with_capacity(usize::try_from(steps).unwrap_or(0)),
            bytes: 0,
            reading: Reading::Whole,
            whole_bytes_max,
            only_whole: false,
        }
    }

    fn is_whole(&self) -> bool {
        self.reading == Reading::Whole
    }

    /// False when it is too much.
    fn take(&mut self, mut step: Step) -> bool {
        step.detail = String::new();
        self.reading.seal(&mut step);
        self.bytes = self.bytes.saturating_add(bytes_of(&step));
        self.steps.push(step.into());
        loop {
            let (bytes_max, next) = match self.reading {
                Reading::Whole => (self.whole_bytes_max, Reading::Sealed),
                Reading::Sealed => (SEALED_BYTES_MAX, Reading::Bare),
                Reading::Bare => return self.bytes <= SEALED_BYTES_MAX,
            };
            if self.bytes <= bytes_max {
                return true;
            }
            if self.only_whole {
                return false;
            }
            self.reading = next;
            self.steps.iter_mut().for_each(|shown| next.seal(&mut shown.step));
            self.bytes = self.steps.iter().map(|shown| bytes_of(&shown.step)).sum();
        }
    }
}

/// Bytes that a step takes in memory, about.
pub(super) fn bytes_of(step: &Step) -> usize {
    let Facts { timeout_reason, run_name, run_input, run_output, session_id, user_id, service, instance, .. } =
        &step.facts;
    let Facts { framework, request_model, response_id, tool_call_id, finish_reason, .. } = &step.facts;
    let texts = [&step.parent_id, &step.error, &step.model, &step.provider, &step.agent, &step.input, &step.output];
    let of_run = [timeout_reason, run_name, run_input, run_output, session_id, user_id, service, instance];
    let of_call = [framework, request_model, response_id, tool_call_id, finish_reason];
    let texts = texts.into_iter().chain(of_run).chain(of_call).flatten().map(String::len).sum::<usize>();
    let tags = step.facts.tags.iter().map(|tag| size_of::<String>() + tag.len()).sum::<usize>();
    let maps = [&step.facts.run_metadata, &step.facts.more].into_iter().flatten();
    let maps = maps.map(|(key, value)| key.len() + bytes_of_value(value)).sum::<usize>();
    size_of::<ShownStep>() + step.id.len() + step.name.len() + texts + tags + maps
}

/// Facts are small or flat: what is nested counts as its text.
fn bytes_of_value(value: &Value) -> usize {
    const NODE: usize = 64;
    NODE + match value {
        Value::String(text) => text.len(),
        Value::Array(_) | Value::Object(_) => 2 * value.to_string().len(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}
