//! CrewAI inside OpenLLMetry, AgentOps (`crewai.*`) and OpenInference (`crew_key`, `crew_tasks`, …). A crew, its tasks and
//! its agents all call themselves agents there; the usage that a crew reports adds up over its life, and is believed only
//! where no call tells anything.

use serde_json::Value;

use crate::mapping::content_json;
use crate::mapping::draft::{Content, Draft, KindChoice, Side, Text};
use crate::mapping::precedence::{Family, field, kind};
use crate::mapping::python_literal;
use crate::mapping::sent::Sent;
use crate::model::step::StepType;

const CREW: &str = "crewai.crew.id";
/// Where OpenInference says that a span belongs to a crew or a flow.
const MARKS: [&str; 3] = ["crew_key", "crew_id", "flow_id"];
/// The tasks of a crew as JSON: what the first one asks for is what the crew is asked.
const TASKS: [&str; 2] = ["crewai.crew.tasks", "crew_tasks"];
/// What a crew has used so far, as Python printed it.
const USAGE: [&str; 2] = ["crewai.crew.usage_metrics", "crewai.crew.token_usage"];
const OUTPUT: &str = "output.value";
/// Digits and dashes of the UUID in `Crew_<uuid>.kickoff`.
const UUID_LEN: usize = 36;

const NAMES: [(Text, u8, &str); 3] = [
    (Text::Agent, field::SECONDARY, "crewai.agent.role"),
    (Text::Agent, field::SECONDARY + 1, "crewai.task.agent"),
    (Text::Model, field::CONTENT, "crewai.agent.llm"),
];

pub(super) fn speaks(sent: &Sent<'_>) -> bool {
    sent.has_under("crewai.") || MARKS.iter().any(|key| sent.has(key)) || is_llm(sent)
}

/// OpenLLMetry names the span of a call `<model>.llm`.
fn is_llm(sent: &Sent<'_>) -> bool {
    sent.span.name.ends_with(".llm") && sent.origin.scope_name.contains("crewai")
}

pub(super) fn kind(sent: &Sent<'_>, choice: &mut KindChoice) {
    if sent.has(CREW) {
        choice.offer(kind::STRUCTURE, StepType::Workflow, CREW);
    }
    if is_llm(sent) {
        choice.offer(kind::VENDOR_KIND, StepType::ModelCall, "scope");
    }
    for (key, typed) in [("crewai.task.id", StepType::Workflow), ("crewai.agent.id", StepType::Agent)] {
        if sent.has(key) {
            choice.offer(kind::VENDOR_KIND, typed, key);
        }
    }
}

pub(super) fn fields<'a>(sent: &Sent<'a>, kind: &StepType, draft: &mut Draft<'a>) {
    draft.offer_text(Text::Framework, field::GUESS, "crewai", "crewai".into());
    draft.offer_texts(sent, &NAMES);
    if *kind == StepType::Agent {
        draft.offer_texts(sent, &[(Text::Name, field::SECONDARY + 1, "crewai.agent.role")]);
    }
    if *kind != StepType::Workflow {
        return;
    }
    draft.offer_texts(sent, &[(Text::Name, field::SECONDARY + 1, "crewai.crew.name")]);
    if let Some(name) = crew_name(&sent.span.name) {
        draft.offer_text(Text::Name, field::GUESS, "crew_id", name.into());
    }
    for key in TASKS {
        draft.offer_content(Side::Input, Family::CrewAi, || {
            Some(Content { source: key, text: first_description(sent.text(key)?)?.into() })
        });
    }
    draft.offer_attribute(Side::Input, Family::CrewAi, sent, "crewai.task.description");
    draft.offer_attribute(Side::Output, Family::CrewAi, sent, "crewai.crew.result");
    draft.offer_attribute(Side::Output, Family::CrewAi, sent, "crewai.task.result");
    usage(sent, draft);
}

/// `Crew_<uuid>.kickoff` is called `Crew`, `Flow.kickoff` is `Flow`.
fn crew_name(name: &str) -> Option<&str> {
    let bare = [".kickoff", ".kickoff_async", ".akickoff"].iter().find_map(|end| name.strip_suffix(end))?;
    let before_id = bare.len().checked_sub(UUID_LEN).and_then(|at| Some((bare.get(..at)?, bare.get(at..)?)));
    match before_id {
        Some((name, id)) if id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-') => {
            Some(name.trim_end_matches('_')).filter(|name| !name.is_empty())
        }
        _ => Some(bare),
    }
}

fn first_description(tasks: &str) -> Option<String> {
    let tasks = python_literal::read_json_or_literal(tasks)?;
    let first = tasks.as_array()?.iter().find_map(|task| task.get("description")?.as_str())?;
    (!first.trim().is_empty()).then(|| first.to_owned())
}

fn usage(sent: &Sent<'_>, draft: &mut Draft<'_>) {
    for key in USAGE {
        if !draft.has_counts()
            && let Some(text) = sent.text(key)
            && let Some(report) = python_literal::read_json_or_literal(text)
                .filter(Value::is_object)
                .or_else(|| python_literal::count_fields(text))
        {
            content_json::read_usage(draft, field::CONTENT, key, &report);
        }
    }
    if !draft.has_counts()
        && let Some(output) = sent.text(OUTPUT).filter(|output| output.contains("\"token_usage\""))
    {
        content_json::read_total_usage(draft, OUTPUT, output);
    }
}
