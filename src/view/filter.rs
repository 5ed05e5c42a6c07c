//! The query strings of `GET /runs`, `GET /receipts` and its dead letters, and the cursors in them.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use chrono::{DateTime, Datelike, TimeDelta, Utc};
use percent_encoding::percent_decode_str;
use uuid::Uuid;

use crate::model::id::ProjectId;
use crate::model::query::{Cursor, RunFilter};
use crate::model::step::Status;
use crate::store::{AfterReceipt, Asked};

/// Runs of one page.
pub const LIMIT_MAX: u32 = 100;
pub const LIMIT_DEFAULT: u32 = 20;

const PARAMETERS: &str = "limit, cursor, status, model";
/// So much of what the client wrote is repeated in a message.
const SHOWN_MAX_BYTES: usize = 64;

/// Reads the query string, without its question mark: `limit` 1 to [`LIMIT_MAX`], `cursor` as [`encode_cursor`] wrote
/// it, `status` in any case, `model`. The error names the parameter; answer 400 with it.
pub fn parse_run_filter(query: &str) -> Result<RunFilter, String> {
    let (mut limit, mut after, mut status, mut model) = (None, None, None, None);
    for pair in pairs(query) {
        let (name, value) = pair?;
        match name.as_ref() {
            "limit" => once(&mut limit, "limit", parse_limit(&value)?)?,
            "cursor" => once(&mut after, "cursor", decode_cursor(&value)?)?,
            "status" => once(&mut status, "status", parse_status(&value)?)?,
            "model" if value.is_empty() => return Err("model: expected the name of a model, not nothing".to_owned()),
            "model" => once(&mut model, "model", value.into_owned())?,
            other => return Err(format!("{}: unknown parameter, accepted are {PARAMETERS}", shown(other))),
        }
    }
    Ok(RunFilter { limit: limit.unwrap_or(LIMIT_DEFAULT), after, status, model })
}

/// What `GET /receipts` asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceiptFilter {
    pub asked: Asked,
    pub after: Option<AfterReceipt>,
    pub limit: u32,
}

/// Reads `since` and `until` (RFC 3339; the day before `now` unless told), `key_id`, `limit` and `cursor`. The error
/// names the parameter; answer 400 with it.
pub fn parse_receipt_filter(query: &str, project: ProjectId, now: DateTime<Utc>) -> Result<ReceiptFilter, String> {
    let (mut limit, mut after, mut key_id, mut since, mut until) = (None, None, None, None, None);
    for pair in pairs(query) {
        let (name, value) = pair?;
        match name.as_ref() {
            "limit" => once(&mut limit, "limit", parse_limit(&value)?)?,
            "cursor" => once(&mut after, "cursor", decode_receipt_cursor(&value, project)?)?,
            "key_id" => once(&mut key_id, "key_id", value.into_owned())?,
            "since" => once(&mut since, "since", parse_moment("since", &value)?)?,
            "until" => once(&mut until, "until", parse_moment("until", &value)?)?,
            other => {
                let accepted = "since, until, key_id, limit, cursor";
                return Err(format!("{}: unknown parameter, accepted are {accepted}", shown(other)));
            }
        }
    }
    let until = until.unwrap_or(now);
    let since = since.unwrap_or(until - TimeDelta::days(1));
    if since >= until {
        return Err("since: expected a time before until".to_owned());
    }
    let asked = Asked { project: Some(project), key_id, since, until };
    Ok(ReceiptFilter { asked, after, limit: limit.unwrap_or(LIMIT_MAX) })
}

/// Reads `limit` and `cursor`, the id of the letter that the page comes after.
pub fn parse_letter_page(query: &str) -> Result<(u32, Option<Uuid>), String> {
    let (mut limit, mut after) = (None, None);
    for pair in pairs(query) {
        let (name, value) = pair?;
        match name.as_ref() {
            "limit" => once(&mut limit, "limit", parse_limit(&value)?)?,
            "cursor" => once(&mut after, "cursor", Uuid::parse_str(&value).map_err(|_| no_cursor(&value))?)?,
            other => return Err(format!("{}: unknown parameter, accepted are limit, cursor", shown(other))),
        }
    }
    Ok((limit.unwrap_or(LIMIT_DEFAULT), after))
}

/// The cursor of receipts as clients see it: opaque, base64url of the hour in microseconds and the id of the key.
pub fn encode_receipt_cursor(hour: DateTime<Utc>, key_id: &str) -> String {
    encode_place(hour, key_id.as_bytes())
}

fn decode_receipt_cursor(text: &str, project: ProjectId) -> Result<AfterReceipt, String> {
    let cursor = || {
        let (hour, key_id) = decode_place(text)?;
        Some(AfterReceipt { hour, project, key_id: String::from_utf8(key_id).ok()? })
    };
    cursor().ok_or_else(|| no_cursor(text))
}

fn no_cursor(text: &str) -> String {
    format!("cursor: {} is none; send the next_cursor of a page as it stands", shown(text))
}

/// Within four digits of years, which every database holds.
fn parse_moment(name: &str, text: &str) -> Result<DateTime<Utc>, String> {
    let moment = DateTime::parse_from_rfc3339(text).ok().map(|moment| moment.to_utc());
    moment
        .filter(|moment| (1970..10_000).contains(&moment.year()))
        .ok_or_else(|| format!("{name}: expected a time such as 2026-11-26T09:00:00Z, not {}", shown(text)))
}

/// Names and values, decoded.
fn pairs(query: &str) -> impl Iterator<Item = Result<(Cow<'_, str>, Cow<'_, str>), String>> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = form_decoded(name).ok_or("the query string is not UTF-8")?;
        let value = form_decoded(value).ok_or_else(|| format!("{}: the value is not UTF-8", shown(&name)))?;
        Ok((name, value))
    })
}

/// The cursor as clients see it: opaque, base64url of the time in microseconds and the run id.
pub fn encode_cursor(cursor: &Cursor) -> String {
    encode_place(cursor.started_at, cursor.run_id.as_bytes())
}

fn decode_cursor(text: &str) -> Result<Cursor, String> {
    let cursor = || {
        let (started_at, run_id) = decode_place(text)?;
        Some(Cursor { started_at, run_id: Uuid::from_slice(&run_id).ok()? })
    };
    cursor().ok_or_else(|| no_cursor(text))
}

/// A place in a list that is sorted by time, and by something else where times are equal.
fn encode_place(moment: DateTime<Utc>, rest: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode([&moment.timestamp_micros().to_be_bytes(), rest].concat())
}

fn decode_place(text: &str) -> Option<(DateTime<Utc>, Vec<u8>)> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
    let (micros, rest) = bytes.split_first_chunk::<8>()?;
    Some((DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?, rest.to_vec()))
}

fn parse_limit(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(limit @ 1..=LIMIT_MAX) => Ok(limit),
        _ => Err(format!("limit: expected an integer from 1 to {LIMIT_MAX}, not {}", shown(text))),
    }
}

fn parse_status(text: &str) -> Result<Status, String> {
    Status::from_word(text)
        .ok_or_else(|| format!("status: expected one of {}, not {}", Status::WORDS.join(", "), shown(text)))
}

fn once<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(format!("{name}: given twice, send it once")),
    }
}

/// `application/x-www-form-urlencoded`, as the URL standard decodes it; `None` for what is not UTF-8.
fn form_decoded(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('+') {
        return percent_decode_str(text).decode_utf8().ok();
    }
    let spaced = text.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8().ok().map(|text| Cow::Owned(text.into_owned()))
}

fn shown(text: &str) -> String {
    match text.len() <= SHOWN_MAX_BYTES {
        true => format!("{text:?}"),
        false => format!("{:?}…", &text[..text.floor_char_boundary(SHOWN_MAX_BYTES)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PLAIN: RunFilter = RunFilter { limit: LIMIT_DEFAULT, after: None, status: None, model: None };

    #[test]
    fn what_is_accepted() {
        for (query, expected) in [
            ("", PLAIN),
            ("&", PLAIN),
            ("limit=1", RunFilter { limit: 1, ..PLAIN }),
            ("limit=100", RunFilter { limit: 100, ..PLAIN }),
            (
                "status=ERROR&model=gpt%2D4o+mini",
                RunFilter { status: Some(Status::Error), model: Some("gpt-4o mini".into()), ..PLAIN },
            ),
            ("model=a%26b%3Dc%2B", RunFilter { model: Some("a&b=c+".into()), ..PLAIN }),
        ] {
            assert_eq!(parse_run_filter(query), Ok(expected), "{query}");
        }
    }

    #[test]
    fn what_is_refused_is_named() {
        for (query, name) in [
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=-1", "limit"),
            ("limit=", "limit"),
            ("limit=ten", "limit"),
            ("limit=5&limit=5", "limit"),
            ("status=done", "status"),
            ("status=error&status=error", "status"),
            ("model=", "model"),
            ("model=%ff", "\"model\""),
            ("cursor=", "cursor"),
            ("cursor=abc", "cursor"),
            ("cursor=f_________8AAAAAAAAAAAAAAAAAAAAA", "cursor"),
            ("page=2", "\"page\""),
            ("Limit=2", "\"Limit\""),
        ] {
            let error = parse_run_filter(query).unwrap_err();
            assert!(error.starts_with(name), "{query}: {error}");
        }
        let long = parse_run_filter(&format!("{}=1", "k".repeat(10_000))).unwrap_err();
        assert!(long.len() < 200, "{long}");
    }

    const PROJECT: ProjectId = ProjectId(7);

    fn receipts(query: &str) -> Result<ReceiptFilter, String> {
        parse_receipt_filter(query, PROJECT, "2026-11-26T09:30:00Z".parse().unwrap())
    }

    #[test]
    fn receipts_are_those_of_the_last_day_unless_told() {
        let plain = receipts("").unwrap();
        let since = "2026-11-25T09:30:00Z".parse().unwrap();
        assert_eq!((plain.asked.since, plain.asked.project, plain.limit), (since, Some(PROJECT), LIMIT_MAX));
        let told = receipts("since=2026-11-01T00:00:00%2B02:00&until=2026-11-02T00:00:00Z&key_id=k&limit=5").unwrap();
        assert_eq!(told.asked.since.to_rfc3339(), "2026-10-31T22:00:00+00:00");
        assert_eq!((told.asked.key_id.as_deref(), told.limit), (Some("k"), 5));
        let next = receipts(&format!("cursor={}", encode_receipt_cursor(since, "käy"))).unwrap();
        assert_eq!(next.after, Some(AfterReceipt { hour: since, project: PROJECT, key_id: "käy".into() }));
    }

    #[test]
    fn what_is_no_filter_of_receipts_is_named() {
        for (query, name) in [
            ("hour=1", "\"hour\""),
            ("since=yesterday", "since"),
            ("since=-0001-01-01T00:00:00Z", "since"),
            ("since=2026-11-27T00:00:00Z", "since"),
            ("until=2026-13-01T00:00:00Z", "until"),
            ("key_id=a&key_id=b", "key_id"),
            ("cursor=abc", "cursor"),
            ("limit=101", "limit"),
        ] {
            let error = receipts(query).unwrap_err();
            assert!(error.starts_with(name), "{query}: {error}");
        }
        assert_eq!(parse_letter_page("").unwrap(), (LIMIT_DEFAULT, None));
        assert!(parse_letter_page("since=1").unwrap_err().starts_with("\"since\""));
        assert!(parse_letter_page("cursor=1").unwrap_err().starts_with("cursor"));
    }

    proptest! {
        #[test]
        fn a_cursor_comes_back_as_it_went(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000, id: u128) {
            let started_at = DateTime::from_timestamp_micros(micros).unwrap();
            let cursor = Cursor { started_at, run_id: Uuid::from_u128(id) };
            let query = format!("cursor={}", encode_cursor(&cursor));
            prop_assert_eq!(parse_run_filter(&query).map(|filter| filter.after), Ok(Some(cursor)));
        }

        #[test]
        fn no_query_panics(query in "[a-z=&%+\\PC]{0,40}") {
            let _ = parse_run_filter(&query);
            let _ = receipts(&query);
            let _ = parse_letter_page(&query);
        }
    }
}
