//! What a sender should know although everything it sent was taken: the text of a partial success that rejects nothing.

use crate::otlp::Notes;
use crate::pipeline::Signal;

/// Names of one kind that are told; the first cause is nearly always the cause of all.
const EXAMPLES_MAX: usize = 5;

pub(super) const METRICS_ARE_NOT_STORED: &str =
    "metrics are checked and counted but not stored; switch the metrics exporter off to save the traffic";

/// Sentences about `notes`. `sent`: items of the request, good or bad; `all`: also what is no danger to data.
pub(super) fn warnings(signal: Signal, notes: &Notes, sent: u64, all: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    // Otherwise the data of a request would vanish without a word.
    if !notes.ignored_names.is_empty() && (all || sent == 0) {
        let names: Vec<String> = notes
            .ignored_names
            .iter()
            .take(EXAMPLES_MAX)
            .map(|name| format!("{name} (write {})", camel(name)))
            .collect();
        warnings.push(format!("names in snake case were ignored, OTLP/JSON has camel case: {}", names.join(", ")));
    }
    if notes.mended > 0 && all {
        let what = match signal {
            Signal::Traces => "spans",
            Signal::Logs => "log records",
            Signal::Metrics => "metrics",
        };
        let repairs: Vec<&str> = notes.repairs.iter().copied().take(EXAMPLES_MAX).collect();
        warnings.push(format!(
            "{} {what} were mended and stored ({}): see otel.repairs in their metadata, and mend the sender",
            notes.mended,
            repairs.join(", ")
        ));
    }
    if notes.has_enum_names && all {
        warnings.push("enums were sent by name, OTLP/JSON has their numbers".into());
    }
    warnings
}

/// Labels of the counter of warnings that fit `notes`, told or not.
pub(super) fn labels(notes: &Notes) -> impl Iterator<Item = &'static str> {
    let labels = [
        ("ignored_name", !notes.ignored_names.is_empty()),
        ("mended", notes.mended > 0),
        ("enum_name", notes.has_enum_names),
    ];
    labels.into_iter().filter_map(|(label, fits)| fits.then_some(label))
}

/// `resource_spans` → `resourceSpans`.
fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let (head, tail) = word.split_at_checked(1).unwrap_or((word, ""));
        text + &head.to_ascii_uppercase() + tail
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_name_is_always_told_when_nothing_else_came() {
        let notes = Notes { ignored_names: vec!["resource_spans", "start_time_unix_nano"], ..Notes::default() };
        let told = warnings(Signal::Traces, &notes, 0, false);
        assert_eq!(told.len(), 1);
        assert!(told[0].contains("resource_spans (write resourceSpans)"), "{told:?}");
        assert!(told[0].contains("start_time_unix_nano (write startTimeUnixNano)"), "{told:?}");
        assert!(warnings(Signal::Traces, &notes, 1, false).is_empty(), "some SDKs print a warning every five seconds");
        assert_eq!(warnings(Signal::Traces, &notes, 1, true).len(), 1);
    }

    #[test]
    fn repairs_are_told_when_asked_for() {
        let notes = Notes { mended: 3, repairs: vec!["invalid_utf8", "self_parent"], ..Notes::default() };
        assert!(warnings(Signal::Traces, &notes, 3, false).is_empty());
        let told = warnings(Signal::Logs, &notes, 3, true);
        assert!(told[0].contains("3 log records") && told[0].contains("invalid_utf8, self_parent"), "{told:?}");
        assert!(warnings(Signal::Traces, &Notes::default(), 0, true).is_empty());
    }
}
