//! Tokens and cost of a run: every call is counted once, whatever number of steps repeat it.
//!
//! Only calls spend tokens. What an agent or workflow reports is a claim: it is believed where its calls tell nothing.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use crate::assembly::copies::{Copies, window};
use crate::assembly::forest::Forest;
use crate::model::run::ShownStep;
use crate::model::step::{CostSource, Status, Step, StepType, Usage};
use crate::prices::Usd;

/// Tokens and cost together, for they are counted by the same rule.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Spent {
    pub usage: Option<Usage>,
    pub cost: Option<Usd>,
    /// Senders told the cost, or some part of it.
    pub is_reported: bool,
}

impl Spent {
    fn of(step: &Step) -> Spent {
        let usage = (!step.usage.is_empty()).then(|| with_total(step.usage));
        let is_reported = step.cost.is_some() && step.facts.cost_source != Some(CostSource::Computed);
        Spent { usage, cost: step.cost.and_then(Usd::from_f64), is_reported }
    }

    pub fn add(&mut self, other: Spent) {
        self.usage = match (self.usage, other.usage) {
            (Some(a), Some(b)) => Some(sum(a, b)),
            (a, b) => a.or(b),
        };
        self.cost = match (self.cost, other.cost) {
            (Some(a), Some(b)) => Some(a.saturating_add(b)),
            (a, b) => a.or(b),
        };
        self.is_reported |= other.is_reported;
    }

    /// Two views of one call, or of one call and its attempts: the larger usage with its own breakdown and cost. Of
    /// equal views the one whose cost was reported tells the cost.
    fn larger(own: Spent, inner: Spent) -> Spent {
        let total = |spent: &Spent| spent.usage.and_then(|usage| usage.total);
        let (chosen, other) = if total(&inner) > total(&own) { (inner, own) } else { (own, inner) };
        let is_same_call = total(&own) == total(&inner) || total(&other).is_none();
        let other_tells = other.cost.is_some() && other.is_reported && !chosen.is_reported && is_same_call;
        let priced = if chosen.cost.is_none() || other_tells { other } else { chosen };
        Spent { usage: chosen.usage.or(other.usage), ..priced }
    }

    pub fn cost_usd(&self) -> Option<f64> {
        self.cost.map(Usd::to_f64)
    }
}

/// What a run spent.
pub(super) struct Totals {
    pub spent: Spent,
    /// The cost is what a step above the calls reported.
    pub cost_is_aggregate: bool,
    /// Some calls have no price.
    pub cost_is_partial: bool,
}

/// What a step hands to the one above it.
#[derive(Clone, Copy, Default)]
struct Handed {
    /// Calls that a call of the same kind above would repeat: model calls, embeddings, reranks.
    near: [Spent; 3],
    /// Calls of their own, whatever stands above: an agent or a tool lies between.
    far: Spent,
    /// A call below has no usage.
    has_unknown: bool,
}

impl Handed {
    fn add(&mut self, other: &Handed) {
        for (mine, theirs) in self.near.iter_mut().zip(other.near) {
            mine.add(theirs);
        }
        self.far.add(other.far);
        self.has_unknown |= other.has_unknown;
    }

    fn sum(&self) -> Spent {
        let mut sum = self.far;
        self.near.iter().for_each(|near| sum.add(*near));
        sum
    }
}

fn slot(kind: &StepType) -> Option<usize> {
    match kind {
        StepType::ModelCall => Some(0),
        StepType::Embedding => Some(1),
        StepType::Rerank => Some(2),
        _ => None,
    }
}

/// Counts, writes what each step shows, and marks copies and attempts.
pub(super) fn count(steps: &mut [ShownStep], forest: &Forest, copies: &mut Copies, primary: Option<usize>) -> Totals {
    let mut own = own_spending(steps, copies);
    mark_copies(steps, copies);
    forget_repetitions(steps, forest, copies, &mut own);
    let nested = nested_calls(steps, forest, copies);
    let mut total = Handed::default();
    // What was handed to steps whose turn has not come: as many as are above, and not as many as there are.
    let mut waiting: HashMap<usize, Handed> = HashMap::new();
    for &index in forest.top_down.iter().rev() {
        let below = waiting.remove(&index).unwrap_or_default();
        let handed = if copies.is_copy(index) { below } else { roll(&mut steps[index], own[index], below) };
        forest.parent[index].map_or(&mut total, |parent| waiting.entry(parent).or_default()).add(&handed);
    }
    mark_nested(steps, forest, copies, &nested, &own);
    price(steps, total.sum(), primary.map(|index| own[index]))
}

/// The usage that each step speaks for: a shown call takes that of the copy closest to the wire which has any.
fn own_spending(steps: &[ShownStep], copies: &Copies) -> Vec<Spent> {
    let mut own: Vec<Spent> = steps.iter().map(|shown| Spent::of(&shown.step)).collect();
    for (&kept, others) in &copies.copies {
        if !steps[kept].step.kind.is_call() {
            continue;
        }
        let mut by_length: Vec<usize> = std::iter::once(kept).chain(others.iter().copied()).collect();
        by_length.sort_by_key(|index| {
            let (start, end) = window(&steps[*index].step);
            (end - start, *index)
        });
        let with_usage = by_length.iter().copied().find(|index| !steps[*index].step.usage.is_empty());
        let usage = with_usage.and_then(|index| Spent::of(&steps[index].step).usage);
        // What a sender reported comes first, then the price of the usage that counts.
        let all = || std::iter::once(kept).chain(by_length.iter().copied());
        let reported = all().find(|index| own[*index].is_reported);
        let priced = reported.or_else(|| with_usage.into_iter().chain(all()).find(|index| own[*index].cost.is_some()));
        let Spent { cost, is_reported, .. } = priced.map(|index| own[index]).unwrap_or_default();
        own[kept] = Spent { usage, cost, is_reported };
    }
    own
}

/// A step that only handles the answer of a call beside it may repeat the usage of that: LangChain's parsers do. What a
/// workflow without any step below claims counts only where no call says the same.
fn forget_repetitions(steps: &mut [ShownStep], forest: &Forest, copies: &Copies, own: &mut [Spent]) {
    let is_leaf = |index: &usize| {
        let kind = &steps[*index].step.kind;
        matches!(kind, StepType::Workflow | StepType::Unknown) && forest.children[*index].is_empty()
    };
    let claims: Vec<usize> = (0..steps.len()).filter(|index| own[*index].usage.is_some()).filter(is_leaf).collect();
    if claims.is_empty() {
        return;
    }
    let is_call = |index: &usize| steps[*index].step.kind.is_call() && !copies.is_copy(*index);
    let called: Vec<Usage> = (0..steps.len()).filter(is_call).filter_map(|index| own[index].usage).collect();
    let totals: HashSet<Option<i64>> = called.iter().map(|usage| usage.total).collect();
    for index in claims {
        let Some(claim) = own[index].usage.filter(|claim| totals.contains(&claim.total)) else { continue };
        if called.iter().any(|usage| (usage.input, usage.output) == (claim.input, claim.output)) {
            report(&mut steps[index]);
            own[index] = Spent::default();
        }
    }
}

fn mark_copies(steps: &mut [ShownStep], copies: &Copies) {
    for (&kept, others) in &copies.copies {
        for &copy in others {
            let kept_id = Value::from(steps[kept].step.id.as_str());
            let marks = &mut steps[copy].marks;
            marks.insert("duplicate_of".to_owned(), kept_id);
            marks.insert("counted".to_owned(), Value::Bool(false));
        }
    }
}

/// For each call that stands below a call of its kind, without an agent or tool between: that call.
fn nested_calls(steps: &[ShownStep], forest: &Forest, copies: &Copies) -> Vec<Option<usize>> {
    let mut call_above: Vec<Option<usize>> = vec![None; steps.len()];
    let mut nested = vec![None; steps.len()];
    for &index in &forest.top_down {
        let inherited = forest.parent[index].and_then(|parent| match steps[parent].step.kind {
            StepType::Agent | StepType::ToolCall => None,
            ref kind if kind.is_call() && !copies.is_copy(parent) => Some(parent),
            _ => call_above[parent],
        });
        call_above[index] = inherited;
        let kind = &steps[index].step.kind;
        if kind.is_call() && !copies.is_copy(index) {
            nested[index] = inherited.filter(|above| steps[*above].step.kind == *kind);
        }
    }
    nested
}

fn roll(shown: &mut ShownStep, own: Spent, below: Handed) -> Handed {
    let kind = shown.step.kind.clone();
    if let Some(slot) = slot(&kind) {
        let spent = Spent::larger(own, below.near[slot]);
        show_call(shown, spent);
        let mut handed = Handed { has_unknown: below.has_unknown || spent.usage.is_none(), ..Handed::default() };
        handed.far = below.far;
        for (other, near) in below.near.into_iter().enumerate() {
            if other != slot {
                handed.far.add(near);
            }
        }
        handed.near[slot] = spent;
        return handed;
    }
    let sum = below.sum();
    let claim_wins = claim_beats(&shown.step, own.usage, sum.usage, below.has_unknown);
    let rolled = Spent {
        usage: if claim_wins { own.usage } else { sum.usage },
        cost: sum.cost.or(own.cost),
        is_reported: if sum.cost.is_some() { sum.is_reported } else { own.is_reported },
    };
    show_claim(shown, own, rolled, claim_wins);
    if claim_wins || sum.cost != rolled.cost {
        return Handed { far: rolled, has_unknown: below.has_unknown, ..Handed::default() };
    }
    if matches!(kind, StepType::Agent | StepType::ToolCall) {
        return Handed { far: sum, has_unknown: below.has_unknown, ..Handed::default() };
    }
    below
}

/// A claim is believed when the calls tell nothing, or when it is larger and some call tells nothing. Sources that add
/// up over several runs are not believed against their calls.
fn claim_beats(step: &Step, claim: Option<Usage>, calls: Option<Usage>, has_unknown: bool) -> bool {
    const CUMULATIVE: [&str; 3] = ["strands-agents", "strands", "crewai"];
    let is_cumulative = step.facts.framework.as_deref().is_some_and(|name| CUMULATIVE.contains(&name));
    match (claim, calls) {
        (Some(_), None) => true,
        (Some(claim), Some(calls)) => {
            let is_complete = step.facts.claim_is_sum || (has_unknown && !is_cumulative);
            claim.total > calls.total && is_complete
        }
        (None, _) => false,
    }
}

fn show_call(shown: &mut ShownStep, spent: Spent) {
    let sent = Spent::of(&shown.step);
    if sent.usage.is_some() && sent.usage != spent.usage {
        report(shown);
    }
    if let Some(usage) = spent.usage {
        shown.step.usage = usage;
    }
    if sent.cost != spent.cost && spent.cost.is_some() {
        shown.step.cost = spent.cost_usd();
        // The step's own prices did not make this cost.
        shown.marks.insert("cost_source".to_owned(), Value::from(source(spent)));
        shown.marks.insert("cost_of_copy".to_owned(), Value::Bool(true));
        if shown.step.facts.more.contains_key("price_missing") {
            shown.marks.insert("price_missing".to_owned(), Value::Null);
        }
    }
}

fn source(spent: Spent) -> &'static str {
    if spent.is_reported { CostSource::Reported.as_str() } else { CostSource::Computed.as_str() }
}

fn show_claim(shown: &mut ShownStep, own: Spent, rolled: Spent, claim_wins: bool) {
    if own.usage.is_some() {
        report(shown);
    }
    let shows_totals = matches!(shown.step.kind, StepType::Agent | StepType::Workflow);
    if claim_wins {
        shown.marks.insert("tokens_source".to_owned(), Value::from("aggregate"));
    }
    if shows_totals || claim_wins {
        shown.step.usage = rolled.usage.unwrap_or_default();
    } else if own.usage.is_some() {
        shown.step.usage = Usage::default();
    }
    if shows_totals {
        if let Some(claim) = own.cost.filter(|claim| Some(*claim) != rolled.cost) {
            shown.marks.insert("reported_cost".to_owned(), Value::from(claim.to_f64()));
            shown.marks.insert("cost_source".to_owned(), Value::from(source(rolled)));
        }
        shown.step.cost = rolled.cost_usd();
    }
}

/// Keeps in sight what the step itself reported.
fn report(shown: &mut ShownStep) {
    shown.marks.insert("reported_usage".to_owned(), Value::Object(usage_json(&shown.step.usage)));
}

pub(super) fn usage_json(usage: &Usage) -> Map<String, Value> {
    let fields = [
        ("total", usage.total),
        ("input", usage.input),
        ("output", usage.output),
        ("cache_read", usage.cache_read),
        ("cache_write", usage.cache_write),
        ("reasoning", usage.reasoning),
    ];
    fields.into_iter().filter_map(|(name, count)| Some((name.to_owned(), Value::from(count?)))).collect()
}

/// A single inner call with the same or no usage is a copy; several, or one with less, are attempts.
fn mark_nested(steps: &mut [ShownStep], forest: &Forest, copies: &mut Copies, nested: &[Option<usize>], own: &[Spent]) {
    let mut inside: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    for &index in &forest.top_down {
        if let Some(outer) = nested[index] {
            inside[outer].push(index);
        }
    }
    for &outer in &forest.top_down {
        let mut inner = std::mem::take(&mut inside[outer]);
        inner.sort_unstable();
        let repeats = |index: usize| {
            let (inner, outer) = (own[index].usage, own[outer].usage);
            inner.is_some() && inner == outer
        };
        let hollow = |index: usize| own[index].usage.is_none() || own[outer].usage.is_none();
        let copy = match inner.as_slice() {
            [only] => (repeats(*only) || hollow(*only)).then_some(*only),
            several => several.iter().rev().copied().find(|index| repeats(*index)),
        };
        for (attempt, &index) in (1..).zip(&inner) {
            let marks = &mut steps[index].marks;
            marks.insert("counted".to_owned(), Value::Bool(false));
            if Some(index) != copy {
                marks.insert("attempt".to_owned(), Value::from(attempt));
            }
        }
        if let Some(copy) = copy {
            // What stands for the outer call is shown by what the outer call is shown by, if that is nested itself.
            let shown_by = Value::from(steps[outer].step.id.as_str());
            steps[copy].marks.insert("duplicate_of".to_owned(), shown_by);
            copies.copies.entry(outer).or_default().push(copy);
        }
    }
}

fn price(steps: &[ShownStep], spent: Spent, primary: Option<Spent>) -> Totals {
    let unpriced = |shown: &ShownStep| {
        let step = &shown.step;
        let may_have_spent = !step.usage.is_empty() || step.status != Status::Error;
        step.kind.is_call() && is_counted(shown) && step.cost.is_none() && may_have_spent
    };
    let some_unpriced = steps.iter().any(unpriced);
    let claim = primary.and_then(|own| own.cost);
    let claimed = claim.filter(|claim| some_unpriced && spent.cost.is_none_or(|sum| *claim >= sum));
    let cost = claimed.or(spent.cost);
    Totals {
        spent: Spent { cost, ..spent },
        cost_is_aggregate: claimed.is_some(),
        cost_is_partial: some_unpriced && claimed.is_none() && cost.is_some(),
    }
}

pub(super) fn is_counted(shown: &ShownStep) -> bool {
    shown.marks.get("counted") != Some(&Value::Bool(false))
}

fn with_total(usage: Usage) -> Usage {
    let parts = match (usage.input, usage.output) {
        (Some(input), Some(output)) => Some(input.saturating_add(output)),
        (input, output) => input.or(output),
    };
    Usage { total: usage.total.or(parts), ..usage }
}

fn sum(a: Usage, b: Usage) -> Usage {
    let add = |a: Option<i64>, b: Option<i64>| match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (a, b) => a.or(b),
    };
    Usage {
        total: add(a.total, b.total),
        input: add(a.input, b.input),
        output: add(a.output, b.output),
        cache_read: add(a.cache_read, b.cache_read),
        cache_write: add(a.cache_write, b.cache_write),
        reasoning: add(a.reasoning, b.reasoning),
    }
}
