//! Names in snake case, as protobuf files and some hand-written clients have them. OTLP/JSON knows camel case only and
//! has us ignore all others; what was ignored is told, because otherwise data would vanish without a word.

use crate::otlp::intake::Ledger;
use crate::otlp::json::cursor::Cursor;

/// Every name of OTLP whose camel case is another word.
const IN_SNAKE_CASE: [&str; 31] = [
    "array_value",
    "bool_value",
    "bytes_value",
    "data_points",
    "double_value",
    "dropped_attributes_count",
    "dropped_events_count",
    "dropped_links_count",
    "end_time_unix_nano",
    "event_name",
    "exponential_histogram",
    "int_value",
    "kvlist_value",
    "log_records",
    "observed_time_unix_nano",
    "parent_span_id",
    "resource_logs",
    "resource_metrics",
    "resource_spans",
    "schema_url",
    "scope_logs",
    "scope_metrics",
    "scope_spans",
    "severity_number",
    "severity_text",
    "span_id",
    "start_time_unix_nano",
    "string_value",
    "time_unix_nano",
    "trace_id",
    "trace_state",
];

/// Steps over a member that nobody knows by its name, and notes it when it is one of these.
pub(super) fn pass_over(name: &str, value: &mut Cursor<'_>, ledger: &mut Ledger) {
    if name.contains('_')
        && let Some(ours) = IN_SNAKE_CASE.iter().find(|ours| **ours == name)
    {
        ledger.ignored(ours);
    }
    value.skip();
}
