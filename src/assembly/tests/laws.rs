use proptest::prelude::*;

use super::builder::*;
use crate::assembly::{parts, tree};
use crate::model::run::Assembled;
use crate::model::step::{Facts, Status, Step, StepType};

fn any_step(id: usize) -> impl Strategy<Value = Step> {
    use StepType::*;
    let kinds = [Agent, Workflow, ModelCall, ModelCall, ToolCall, Embedding, HttpRequest, Unknown, Handoff];
    let texts = [
        String::new(),
        "Hi".to_owned(),
        user("Weather?"),
        assistant("18 C"),
        asks("c1", "get_weather", serde_json::json!({"city": "Paris"})),
        asks("", "get_weather", serde_json::json!({})),
        told("Weather?", "c1", "get_weather", serde_json::json!({}), "18 C"),
        "{\"output\": null}".to_owned(),
    ];
    let parents = prop::option::weighted(0.8, 0usize..14);
    let content = (prop::sample::select(texts.to_vec()), prop::sample::select(texts.to_vec()));
    let counts = (prop::option::of((0i64..50, 0i64..50)), prop::option::of(0u32..1000));
    let facts = (prop::option::of(0u8..3), prop::option::of(0u8..2), any::<[bool; 4]>());
    (prop::sample::select(kinds.to_vec()), parents, (0u64..60, 0u64..40), 0u8..6, content, counts, facts).prop_map(
        move |(kind, parent, (start, length), fate, (input, output), (usage, cost), (response, call_id, flags))| {
            let parent = parent.map(|parent| format!("s{parent}"));
            let mut step =
                step(&format!("s{id}"), parent.as_deref(), kind, start, start + length).says(&input, &output);
            if flags[3] {
                step.name = "get_weather".to_owned();
            }
            if let Some((input, output)) = usage {
                step = step.tokens(input, output);
            }
            step.cost = cost.map(|milli| f64::from(milli) / 1000.0);
            match fate {
                0 => step = step.fails("bad"),
                1 => step = step.fails("error"),
                2 => step.status = Status::Timeout,
                3 if flags[0] => step = step.unended(),
                _ => {}
            }
            step.facts(|facts: &mut Facts| {
                facts.response_id = response.map(|id| format!("r{id}"));
                facts.tool_call_id = call_id.map(|id| format!("c{id}"));
                facts.remote_parent = flags[1];
                facts.run_root = flags[0] && flags[1] && flags[2];
                facts.error_may_be_childs = flags[2];
            })
        },
    )
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    (0usize..12).prop_flat_map(|len| (0..len).map(any_step).collect::<Vec<_>>())
}

fn shuffled() -> impl Strategy<Value = (Vec<Step>, Vec<Step>, i64)> {
    any_steps().prop_flat_map(|steps| (Just(steps.clone()), Just(steps).prop_shuffle(), 0i64..1000))
}

fn content(run: &Assembled) -> Vec<(Step, String)> {
    run.steps.iter().map(|shown| (shown.step.clone(), format!("{:?}", shown.marks))).collect()
}

fn nodes(tree: &[tree::Node]) -> usize {
    tree.iter().map(|node| 1 + nodes(&node.children)).sum()
}

proptest! {
    #[test]
    fn order_of_arrival_does_not_matter((steps, other, seconds) in shuffled()) {
        let (one, two) = (run_at(steps, seconds), run_at(other, seconds));
        prop_assert_eq!(&one.run, &two.run);
        prop_assert_eq!(content(&one), content(&two));
    }

    #[test]
    fn every_step_is_in_one_part_at_most_whatever_the_order((steps, other, seconds) in shuffled()) {
        let made = |steps: Vec<Step>| -> Vec<Assembled> {
            let parts = parts(key(), steps).parts.into_iter();
            parts.map(|part| part.assembled(receipt(), &LIFE, after_s(seconds))).collect()
        };
        let whole = run_at(steps.clone(), seconds).run;
        let (one, two) = (made(steps.clone()), made(other));
        prop_assert_eq!(one.iter().any(|part| part.run.worthy), whole.worthy);
        prop_assert!(one.iter().map(|part| part.run.step_count).sum::<i64>() <= whole.step_count);
        prop_assert_eq!(one.len(), two.len());
        for (one, two) in one.iter().zip(&two) {
            prop_assert_eq!(&one.run, &two.run);
            prop_assert_eq!(content(one), content(two));
        }
        for part in parts(key(), steps.clone()).parts {
            prop_assert_eq!(parts(key(), steps.clone()).holder(part.key.run_id), part.key.run_id);
        }
    }

    #[test]
    fn what_holds_for_every_run(steps in any_steps(), seconds in 0i64..1000) {
        let sent = steps.clone();
        let assembled = run_at(steps, seconds);
        let run = &assembled.run;
        prop_assert_eq!(run.error.is_some(), run.status == Status::Error);
        prop_assert!(run.error.as_deref() != Some(""));
        prop_assert!(!run.model.is_empty() && !run.name.is_empty());
        // Only the search for the original of a bare run goes on after its end.
        prop_assert!(run.final_at.is_some() || run.due_at.is_some());
        prop_assert!(run.final_at.is_none() || run.due_at.is_none() || run.bare);
        prop_assert!(run.due_at.is_none_or(|due| due > after_s(seconds)));
        prop_assert_eq!(run.step_count as usize, sent.len());
        prop_assert_eq!(nodes(&tree::tree(assembled.steps.clone())), assembled.steps.len());
        for shown in &assembled.steps {
            prop_assert_eq!(shown.step.error.is_some(), shown.step.status == Status::Error);
        }
        // Every token of the run is some step's; nothing is counted that no step reported.
        let all: i64 = sent.iter().filter_map(|step| step.usage.total).sum();
        prop_assert!(run.usage.total.unwrap_or(0) <= all);
        prop_assert!(run.cost.is_none_or(|cost| cost >= 0.0));
        prop_assert!(run.usage.total.is_some() || sent.iter().all(|step| step.usage.total.is_none() || !step.kind.is_call()));
    }

    #[test]
    fn the_answer_changes_exactly_when_it_is_due(steps in any_steps(), seconds in 0i64..1000, wait in 0i64..1000) {
        let before = run_at(steps.clone(), seconds).run;
        let later = seconds + wait;
        if before.due_at.is_none_or(|due| after_s(later) < due) {
            prop_assert_eq!(before, run_at(steps, later).run);
        }
    }
}
