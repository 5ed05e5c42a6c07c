//! Claude Code and the Claude Agent SDK with their own telemetry: spans `claude_code.*`, and log records that carry what
//! the spans leave out.

use crate::mapping::draft::{Draft, KindChoice, Sent};
use crate::model::log::SpanLog;
use crate::model::step::{Step, StepType};

pub(super) fn speaks(_sent: &Sent<'_>) -> bool {
    false
}

pub(super) fn kind(_sent: &Sent<'_>, _choice: &mut KindChoice) {}

pub(super) fn fields<'a>(_sent: &Sent<'a>, _kind: &StepType, _draft: &mut Draft<'a>) {}

/// For each record the step that it tells about, where that is another than the one whose ids it carries.
pub(super) fn targets<'a>(
    _steps: &[Step],
    records: impl Iterator<Item = (&'a str, &'a SpanLog)>,
) -> Vec<Option<String>> {
    records.map(|_| None).collect()
}
