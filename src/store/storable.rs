//! The border to the database: what neither store could hold, or could not hold equally, is made storable here.
//!
//! Postgres holds no U+0000, neither in text nor behind the escape `\u0000` in JSON, and keeps times to the microsecond.
//! A NUL becomes U+FFFD so that it can never cost a batch; what must survive it byte for byte, mapping has tagged before.

use std::borrow::Cow;

use chrono::{DateTime, Timelike, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use uuid::Uuid;

use crate::model::run::Run;
use crate::model::step::{Facts, Step, StepType};

const REPLACEMENT: &str = "\u{FFFD}";

/// `text` without U+0000.
pub(super) fn text(text: &str) -> Cow<'_, str> {
    if text.contains('\0') { Cow::Owned(text.replace('\0', REPLACEMENT)) } else { Cow::Borrowed(text) }
}

/// JSON text without the escape of U+0000. A backslash that is itself escaped begins none.
pub(super) fn json(text: &str) -> Cow<'_, str> {
    const NUL: &str = "\\u0000";
    if !text.contains(NUL) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        clean.push_str(before);
        let (kept, length) = if escape.starts_with(NUL) {
            (REPLACEMENT, NUL.len())
        } else {
            let length = 1 + escape[1..].chars().next().map_or(0, char::len_utf8);
            (&escape[..length], length)
        };
        clean.push_str(kept);
        rest = &escape[length..];
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// The JSON text of one of our own types, storable.
pub(super) fn to_json(value: &impl Serialize) -> sqlx::Result<String> {
    let written = serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()))?;
    Ok(match json(&written) {
        Cow::Borrowed(_) => written,
        Cow::Owned(clean) => clean,
    })
}

/// Whole microseconds: what both stores give back.
pub(super) fn time(time: DateTime<Utc>) -> DateTime<Utc> {
    let whole = time.nanosecond() / 1_000 * 1_000;
    time.with_nanosecond(whole).unwrap_or(time)
}

/// The step as it can be stored: itself in all but hostile cases. Its facts are cleaned when they are written.
pub(super) fn step(step: &Step) -> Cow<'_, Step> {
    let options = [&step.parent_id, &step.error, &step.model, &step.provider, &step.agent, &step.input, &step.output];
    let is_clean = [step.id.as_str(), &step.name, step.kind.as_str()]
        .into_iter()
        .chain(options.into_iter().flatten().map(String::as_str))
        .all(|column| !column.contains('\0'))
        && matches!(json(&step.detail), Cow::Borrowed(_));
    if is_clean {
        return Cow::Borrowed(step);
    }
    let mut clean = step.clone();
    for column in [&mut clean.id, &mut clean.name] {
        *column = text(column).into_owned();
    }
    if let StepType::Other(word) = &mut clean.kind {
        *word = text(word).into_owned();
    }
    for column in [
        &mut clean.parent_id,
        &mut clean.error,
        &mut clean.model,
        &mut clean.provider,
        &mut clean.agent,
        &mut clean.input,
        &mut clean.output,
    ] {
        *column = column.take().map(|value| text(&value).into_owned());
    }
    clean.detail = json(&clean.detail).into_owned();
    Cow::Owned(clean)
}

/// The run as it will be read back.
pub(super) fn run(mut run: Run) -> sqlx::Result<Run> {
    for column in [&mut run.name, &mut run.model, &mut run.input] {
        clean_in_place(column);
    }
    let options = [
        &mut run.agent,
        &mut run.service,
        &mut run.output,
        &mut run.error,
        &mut run.session_id,
        &mut run.user_id,
        &mut run.trace_id,
    ];
    options.into_iter().flatten().for_each(clean_in_place);
    run.tags.iter_mut().for_each(clean_in_place);
    run.metadata = without_nul(run.metadata)?;
    run.declared = without_nul(run.declared)?;
    for moment in [&mut run.started_at, &mut run.created_at, &mut run.updated_at, &mut run.received_at] {
        *moment = time(*moment);
    }
    run.ended_at = run.ended_at.map(time);
    run.due_at = run.due_at.map(time);
    run.final_at = run.final_at.map(time);
    Ok(run)
}

fn clean_in_place(column: &mut String) {
    if let Cow::Owned(clean) = text(column) {
        *column = clean;
    }
}

fn without_nul<T: Serialize + DeserializeOwned>(value: T) -> sqlx::Result<T> {
    let written = serde_json::to_string(&value).map_err(|error| sqlx::Error::Encode(error.into()))?;
    match json(&written) {
        Cow::Borrowed(_) => Ok(value),
        Cow::Owned(clean) => serde_json::from_str(&clean).map_err(|error| sqlx::Error::Encode(error.into())),
    }
}

/// Do two steps say the same? JSON is compared by value, since a store may write it in another order.
pub(super) fn same_step(one: &Step, other: &Step) -> bool {
    let value_of = |text: &str| serde_json::from_str::<Value>(text).ok();
    let facts_of = |step: &Step| to_json(&step.facts).ok();
    one.content_hash == other.content_hash
        && same_columns(one, other)
        && (one.detail == other.detail || value_of(&one.detail) == value_of(&other.detail))
        && (one.facts == other.facts || facts_of(one) == facts_of(other))
}

/// Do two versions of a step agree in all that has a column of its own? Else one is better than the other.
pub(super) fn same_columns(one: &Step, other: &Step) -> bool {
    let columns_of = |step: &Step| Step {
        detail: String::new(),
        facts: Facts::default(),
        content_hash: Uuid::nil(),
        ..step.clone()
    };
    columns_of(one) == columns_of(other)
}

/// Is it the same run to a reader? When it was looked at, and when next, is not content.
pub(super) fn same_run(one: &Run, other: &Run) -> bool {
    let content_of = |run: &Run| Run {
        due_at: None,
        updated_at: DateTime::UNIX_EPOCH,
        received_at: DateTime::UNIX_EPOCH,
        ..run.clone()
    };
    content_of(one) == content_of(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nul_becomes_the_replacement_character() {
        assert_eq!(text("a\0b"), "a\u{FFFD}b");
        assert!(matches!(text("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn only_a_real_escape_of_nul_is_replaced_in_json() {
        assert_eq!(json(r#"{"a":"x\u0000y"}"#), "{\"a\":\"x\u{FFFD}y\"}");
        assert_eq!(json(r#"{"a":"x\\u0000y"}"#), r#"{"a":"x\\u0000y"}"#, "an escaped backslash, then plain letters");
        assert_eq!(json(r#"{"a":"\\\u0000\n\"é"}"#), "{\"a\":\"\\\\\u{FFFD}\\n\\\"é\"}");
        assert_eq!(json(r#""\u0000é\"#), "\"\u{FFFD}é\\", "no panic for text that is no JSON");
    }

    #[test]
    fn written_json_holds_no_nul() {
        let facts = Facts { tags: vec!["a\0b".into(), "\\u0000".into()], ..Facts::default() };
        let read: Facts = serde_json::from_str(&to_json(&facts).unwrap()).unwrap();
        assert_eq!(read.tags, ["a\u{FFFD}b", "\\u0000"]);
    }

    #[test]
    fn times_keep_whole_microseconds() {
        let precise = DateTime::from_timestamp(5, 123_456_789).unwrap();
        assert_eq!(time(precise), DateTime::from_timestamp(5, 123_456_000).unwrap());
        let before_1970 = DateTime::from_timestamp(-5, 999_999_999).unwrap();
        assert_eq!(time(before_1970).timestamp_subsec_nanos(), 999_999_000);
    }
}
