//! The bodies of `POST /keys`, `PATCH /keys/{id}` and `POST /keys/{id}/rotate`: read and checked, with every fault found.
//! Everything is pure: the clock is an argument.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use crate::model::key::{KeyChanges, Scopes};
use crate::model::quota::Quota;
use crate::native::{Fault, Faults};

/// Longest name of a key, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// The former secret of a rotated key works this long unless told otherwise.
const OVERLAP: TimeDelta = TimeDelta::hours(24);

/// A key that is asked for.
#[derive(Debug, PartialEq)]
pub struct Wanted {
    pub name: Option<String>,
    pub scopes: Scopes,
    pub quota: Quota,
    pub expires_at: Option<DateTime<Utc>>,
}

/// `{"name"?, "scopes"?, "quota"?, "expires_in"? | "expires_at"?}`
pub fn wanted(body: &Value, now: DateTime<Utc>) -> Result<Wanted, Vec<Fault>> {
    let mut body = Body::new(body, &["name", "scopes", "quota", "expires_in", "expires_at"])?;
    let name = body.read("name", name).flatten();
    let scopes = body.scopes().unwrap_or(Scopes::INGEST_AND_READ);
    let quota = body.quota(&Quota::default()).unwrap_or_default();
    let after = body.read("expires_in", |value| after(value, now));
    let at = body.read("expires_at", end).flatten();
    let expires_at = after.or(at);
    if body.has("expires_in") && body.has("expires_at") {
        body.fault("value_error", "expires_at", "give expires_in or expires_at, not both");
    } else if at.is_some_and(|end| end <= now) {
        body.fault("value_error", "expires_at", "expected a time to come");
    }
    body.done(Wanted { name, scopes, quota, expires_at })
}

/// `{"name"?, "quota"?, "expires_at"?}`; null for no name and for never. Of the `present` quota stays what is not named; null
/// takes the default again.
pub fn changes(body: &Value, present: &Quota) -> Result<KeyChanges, Vec<Fault>> {
    let mut body = Body::new(body, &["name", "quota", "expires_at"])?;
    let name = body.read("name", name);
    let quota = body.quota(present);
    let expires_at = body.read("expires_at", end);
    body.done(KeyChanges { name, quota, expires_at })
}

/// `{"overlap"?: "24h"}`: until when the former secret works.
pub fn overlap(body: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, Vec<Fault>> {
    let mut body = Body::new(body, &["overlap"])?;
    let until = body.read("overlap", |value| after(value, now)).unwrap_or(now + OVERLAP);
    body.done(until)
}

/// What is wrong with a value: pydantic's word for it, and what is accepted.
type Wrong = (&'static str, String);

/// An object whose fields are read one by one.
struct Body<'a> {
    fields: &'a Map<String, Value>,
    faults: Faults,
}

impl<'a> Body<'a> {
    fn new(body: &'a Value, known: &[&str]) -> Result<Body<'a>, Vec<Fault>> {
        let mut faults = Faults::default();
        let Some(fields) = body.as_object() else {
            faults.add_at("model_attributes_type", vec![], "expected a JSON object", body);
            return Err(faults.into_list());
        };
        let accepted = format!("unknown field: the fields are {}", known.join(", "));
        for (unknown, value) in fields.iter().filter(|(name, _)| !known.contains(&name.as_str())) {
            faults.add_at("extra_forbidden", vec![unknown.as_str().into()], &accepted, value);
        }
        Ok(Body { fields, faults })
    }

    fn has(&self, field: &str) -> bool {
        self.fields.contains_key(field)
    }

    /// `None` when the field is absent, or wrong.
    fn read<T>(&mut self, field: &str, read: impl Fn(&Value) -> Result<T, Wrong>) -> Option<T> {
        let value = self.fields.get(field)?;
        read(value).map_err(|(kind, accepted)| self.faults.add_at(kind, vec![field.into()], &accepted, value)).ok()
    }

    fn fault(&mut self, kind: &'static str, field: &str, accepted: &str) {
        let value = self.fields.get(field).unwrap_or(&Value::Null);
        self.faults.add_at(kind, vec![field.into()], accepted, value);
    }

    fn scopes(&mut self) -> Option<Scopes> {
        let value = self.fields.get("scopes")?;
        let accepted = "expected a list of some of ingest, read, admin";
        let Some(words) = value.as_array().filter(|words| !words.is_empty()) else {
            self.faults.add_at("list_type", vec!["scopes".into()], accepted, value);
            return None;
        };
        let mut scopes = Scopes::default();
        for (index, word) in words.iter().enumerate() {
            match word.as_str().filter(|word| !word.contains(',')).and_then(|word| word.parse::<Scopes>().ok()) {
                Some(scope) => {
                    scopes.ingest |= scope.ingest;
                    scopes.read |= scope.read;
                    scopes.admin |= scope.admin;
                }
                None => self.faults.add_at("literal_error", vec!["scopes".into(), index.into()], accepted, word),
            }
        }
        Some(scopes)
    }

    /// The `present` quota changed by what is named. Each limit is checked by itself, so that every fault is found.
    fn quota(&mut self, present: &Quota) -> Option<Quota> {
        let value = self.fields.get("quota")?;
        let Some(limits) = value.as_object() else {
            let accepted = "expected an object such as {\"requests\": \"600/min\", \"steps\": \"unlimited\"}";
            self.faults.add_at("dict_type", vec!["quota".into()], accepted, value);
            return None;
        };
        let mut is_good = true;
        let mut whole = serde_json::to_value(present).unwrap_or_default();
        for (what, limit) in limits {
            let one = Value::Object(Map::from_iter([(what.clone(), limit.clone())]));
            if let Err(error) = serde_json::from_value::<Quota>(one) {
                self.faults.add_at(
                    "value_error",
                    vec!["quota".into(), what.as_str().into()],
                    &error.to_string(),
                    limit,
                );
                is_good = false;
            }
            whole[what] = limit.clone();
        }
        if !is_good {
            return None;
        }
        let quota = serde_json::from_value(whole);
        let faults = &mut self.faults;
        quota.map_err(|error| faults.add_at("value_error", vec!["quota".into()], &error.to_string(), value)).ok()
    }

    fn done<T>(self, read: T) -> Result<T, Vec<Fault>> {
        let faults = self.faults.into_list();
        if faults.is_empty() { Ok(read) } else { Err(faults) }
    }
}

fn name(value: &Value) -> Result<Option<String>, Wrong> {
    match value {
        Value::Null => Ok(None),
        Value::String(name) if name.len() <= NAME_BYTES_MAX => Ok(Some(name.clone())),
        Value::String(_) => Err(("string_too_long", format!("expected at most {NAME_BYTES_MAX} bytes"))),
        _ => Err(("string_type", "expected a text, or null".into())),
    }
}

/// The time that is this duration from now.
fn after(value: &Value, now: DateTime<Utc>) -> Result<DateTime<Utc>, Wrong> {
    let after = value.as_str().and_then(|text| humantime::parse_duration(text).ok());
    let end = after.and_then(|after: Duration| now.checked_add_signed(TimeDelta::from_std(after).ok()?));
    end.ok_or_else(|| ("time_delta_parsing", "expected a duration such as 90d, 24h or 0s".into()))
}

fn end(value: &Value) -> Result<Option<DateTime<Utc>>, Wrong> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) if let Ok(time) = DateTime::parse_from_rfc3339(text) => Ok(Some(time.to_utc())),
        _ => Err(("datetime_parsing", "expected a time such as 2027-01-31T00:00:00Z, or null for never".into())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000, 0).unwrap()
    }

    fn places(faults: Vec<Fault>) -> Vec<String> {
        let names = |fault: &Fault| {
            fault
                .loc
                .iter()
                .map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned))
                .collect::<Vec<_>>()
                .join(".")
        };
        faults.iter().map(names).collect()
    }

    #[test]
    fn an_empty_object_asks_for_a_key_that_sends_and_reads_for_ever() {
        let usual = Wanted { name: None, scopes: Scopes::INGEST_AND_READ, quota: Quota::default(), expires_at: None };
        assert_eq!(wanted(&json!({}), now()), Ok(usual));
        let body =
            json!({"name": "ci", "scopes": ["admin", "ingest"], "quota": {"requests": "5/min"}, "expires_in": "1d"});
        let read = wanted(&body, now()).unwrap();
        assert_eq!((read.name.as_deref(), read.scopes.words()), (Some("ci"), vec!["ingest", "admin"]));
        assert_eq!(read.expires_at, Some(now() + TimeDelta::days(1)));
        assert_eq!(serde_json::to_value(read.quota).unwrap()["requests"].as_str().unwrap(), "5/min");
    }

    #[test]
    fn every_fault_of_a_body_is_found() {
        let body = json!({
            "name": 5, "scopes": ["read", "write", 1], "quota": {"requests": "many", "apples": "1/min"},
            "expires_in": "soon", "expires_at": "2001-01-01T00:00:00Z", "project": "other"
        });
        let mut found = places(wanted(&body, now()).unwrap_err());
        found.sort();
        let expected = [
            "body.expires_at",
            "body.expires_in",
            "body.name",
            "body.project",
            "body.quota.apples",
            "body.quota.requests",
            "body.scopes.1",
            "body.scopes.2",
        ];
        assert_eq!(found, expected);
        for (body, place) in [
            (json!([]), "body"),
            (json!({"scopes": []}), "body.scopes"),
            (json!({"scopes": ["read,admin"]}), "body.scopes.0"),
            (json!({"quota": "600/min"}), "body.quota"),
            (json!({"name": "n".repeat(201)}), "body.name"),
            (json!({"expires_in": "99999999999d"}), "body.expires_in"),
            (json!({"expires_at": "2001-01-01T00:00:00Z"}), "body.expires_at"),
        ] {
            assert_eq!(places(wanted(&body, now()).unwrap_err()), [place], "{body}");
        }
    }

    #[test]
    fn changes_tell_absent_from_null() {
        let present = "requests=5/min,steps=9/day".parse().unwrap();
        assert_eq!(changes(&json!({}), &present), Ok(KeyChanges::default()));
        let read = changes(&json!({"name": null, "expires_at": null}), &present).unwrap();
        assert_eq!(read, KeyChanges { name: Some(None), quota: None, expires_at: Some(None) });
        let read = changes(&json!({"quota": {"steps": null, "bytes": "1GiB/day"}}), &present).unwrap();
        assert_eq!(read.quota, Some("requests=5/min,bytes=1GiB/day".parse().unwrap()));
        assert_eq!(places(changes(&json!({"scopes": ["read"]}), &present).unwrap_err()), ["body.scopes"]);
    }

    #[test]
    fn an_overlap_is_a_day_unless_told_otherwise() {
        assert_eq!(overlap(&json!({}), now()), Ok(now() + OVERLAP));
        assert_eq!(overlap(&json!({"overlap": "0s"}), now()), Ok(now()));
        assert_eq!(places(overlap(&json!({"overlap": 5}), now()).unwrap_err()), ["body.overlap"]);
    }
}
