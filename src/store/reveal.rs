//! The texts that the row of a run shows, where the run was assembled from seals of its texts (`messages::seal`).

use std::collections::HashMap;

use super::parts::MadeParts;
use super::tables::{StepKey, Tables};
use crate::assembly::error_view;
use crate::messages;
use crate::model::id::RunKey;
use crate::model::run::{Assembled, Run};
use crate::model::step::Step;

/// Steps that are looked through for one text: the one that shows it may have it from another.
const STEPS_MAX: usize = 8;

/// Does nothing where no text is hidden.
pub(super) async fn reveal(tables: &mut impl Tables, assembled: &mut Assembled) -> sqlx::Result<()> {
    let keys = keys_of_hidden(assembled, assembled.run.key);
    show(tables, keys, &mut [&mut assembled.run]).await
}

/// The same for the parts of a trace, whose steps are stored under it.
pub(super) async fn reveal_parts(
    tables: &mut impl Tables,
    trace: RunKey,
    parts: &mut Option<MadeParts>,
) -> sqlx::Result<()> {
    for part in parts.iter_mut().flat_map(|parts| &mut parts.runs) {
        let keys = keys_of_hidden(part, trace);
        show(tables, keys, &mut [&mut part.run]).await?;
    }
    Ok(())
}

/// The rows of the steps that may hold the hidden texts of a run.
fn keys_of_hidden(assembled: &Assembled, stored_under: RunKey) -> Vec<StepKey> {
    let mut keys = Vec::new();
    for hidden in texts(&assembled.run).into_iter().flatten().filter_map(messages::hidden) {
        let holders = assembled.steps.iter().map(|shown| &shown.step);
        let holders = holders.filter(|step| texts_of(step).any(|text| text.contains(hidden)));
        keys.extend(holders.take(STEPS_MAX).map(|step| StepKey { run: stored_under, ..StepKey::of(step) }));
    }
    keys.sort_unstable();
    keys.dedup();
    keys
}

async fn show(tables: &mut impl Tables, keys: Vec<StepKey>, runs: &mut [&mut Run]) -> sqlx::Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    let steps = tables.steps_by_key(&keys).await?;
    let mut found: HashMap<String, String> = HashMap::new();
    let mut revealed = |text: &str| -> Option<String> {
        let hidden = messages::hidden(text)?;
        let find = || steps.iter().flat_map(texts_of).find_map(|text| messages::reveal(hidden, text));
        // It is there, for who holds a run is alone with its steps.
        Some(found.entry(hidden.to_owned()).or_insert_with(|| find().unwrap_or_else(|| "…".to_owned())).clone())
    };
    for run in runs {
        if let Some(text) = revealed(&run.input) {
            run.input = text;
        }
        if let Some(text) = run.output.as_deref().and_then(&mut revealed) {
            run.output = Some(text);
        }
        if let Some(text) = run.error.as_deref().and_then(&mut revealed) {
            run.error = Some(error_view(&text).to_owned());
        }
    }
    Ok(())
}

fn texts(run: &Run) -> [Option<&str>; 3] {
    [Some(&run.input), run.output.as_deref(), run.error.as_deref()]
}

fn texts_of(step: &Step) -> impl Iterator<Item = &str> {
    let facts = &step.facts;
    [&step.input, &step.output, &step.error, &facts.run_input, &facts.run_output]
        .into_iter()
        .filter_map(Option::as_deref)
}
