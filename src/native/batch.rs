//! The body of `POST /runs/batch`, taken apart into the bodies of its runs.

use serde_json::Value;

use super::fault::{Fault, Faults, Place};

/// Runs of one batch.
pub const BATCH_RUNS_MAX: usize = 1000;

/// How the runs of a batch are written, told by the content type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchForm {
    /// `application/json`: `{"runs":[…]}`.
    Object,
    /// `application/x-ndjson`: one run object a line; empty lines do not count.
    Lines,
}

/// The batch as a whole was not understood.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum Unreadable {
    /// Answer 400.
    #[error("the body is not JSON: {0}")]
    NotJson(String),
    /// Answer 422.
    #[error("the batch has {} faults", .0.len())]
    Faults(Vec<Fault>),
}

/// The run bodies of a batch, in order. A line that is not JSON takes its place as a fault and costs no other line;
/// the bodies themselves are checked by [`super::submission`], one by one.
pub fn split_batch(body: &[u8], form: BatchForm) -> Result<Vec<Result<Value, Fault>>, Unreadable> {
    match form {
        BatchForm::Object => runs_of_object(body),
        BatchForm::Lines => runs_of_lines(body),
    }
}

fn runs_of_object(body: &[u8]) -> Result<Vec<Result<Value, Fault>>, Unreadable> {
    let mut body: Value = serde_json::from_slice(body).map_err(|error| Unreadable::NotJson(error.to_string()))?;
    let mut faults = Faults::default();
    let Some(fields) = body.as_object() else {
        faults.add("model_attributes_type", Place::BODY, "expected an object: {\"runs\": [run, …]}", &body);
        return Err(Unreadable::Faults(faults.into_list()));
    };
    for (name, value) in fields.iter().filter(|(name, _)| *name != "runs") {
        faults.add("extra_forbidden", Place::BODY.field(name), "not a field of a batch; accepted is runs", value);
    }
    let place = Place::BODY.field("runs");
    match fields.get("runs") {
        None => faults.add("missing", place, "this field is required, a list of runs", &body),
        Some(Value::Array(runs)) if runs.len() > BATCH_RUNS_MAX => {
            faults.add("too_long", place, &too_long(runs.len()), &body["runs"]);
        }
        Some(Value::Array(_)) => {}
        Some(other) => faults.add("list_type", place, "expected a list of runs", other),
    }
    faults.into_result().map_err(Unreadable::Faults)?;
    match body["runs"].take() {
        Value::Array(runs) => Ok(runs.into_iter().map(Ok).collect()),
        _ => Ok(Vec::new()),
    }
}

fn runs_of_lines(body: &[u8]) -> Result<Vec<Result<Value, Fault>>, Unreadable> {
    let lines = || body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty());
    let count = lines().count();
    if count > BATCH_RUNS_MAX {
        let mut faults = Faults::default();
        faults.add("too_long", Place::BODY, &too_long(count), &Value::Null);
        return Err(Unreadable::Faults(faults.into_list()));
    }
    Ok(lines().map(|line| serde_json::from_slice(line).map_err(|error| not_json(&error))).collect())
}

fn too_long(count: usize) -> String {
    format!("at most {BATCH_RUNS_MAX} runs in one batch, not {count}; send the others in another request")
}

fn not_json(error: &serde_json::Error) -> Fault {
    Fault {
        kind: "json_invalid",
        loc: vec![Value::from("body")],
        msg: format!("body: this line is not JSON: {error}"),
        input: Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fault_kinds(refusal: Unreadable) -> Vec<&'static str> {
        match refusal {
            Unreadable::Faults(faults) => faults.iter().map(|fault| fault.kind).collect(),
            Unreadable::NotJson(text) => panic!("not JSON: {text}"),
        }
    }

    #[test]
    fn an_object_holds_its_runs_in_order() {
        let runs = split_batch(br#"{"runs":[{"model":"a"}, 7]}"#, BatchForm::Object).unwrap();
        assert_eq!(runs, [Ok(json!({"model": "a"})), Ok(json!(7))]);
        assert_eq!(split_batch(br#"{"runs":[]}"#, BatchForm::Object), Ok(vec![]));
    }

    #[test]
    fn an_object_that_is_no_batch_is_refused_with_all_its_faults() {
        for (body, expected) in [
            (r#"[]"#, vec!["model_attributes_type"]),
            (r#"{}"#, vec!["missing"]),
            (r#"{"runs":{}}"#, vec!["list_type"]),
            (r#"{"run":1}"#, vec!["extra_forbidden", "missing"]),
        ] {
            assert_eq!(fault_kinds(split_batch(body.as_bytes(), BatchForm::Object).unwrap_err()), expected, "{body}");
        }
        assert!(matches!(split_batch(b"{", BatchForm::Object), Err(Unreadable::NotJson(_))));
    }

    #[test]
    fn a_bad_line_costs_only_itself() {
        let runs = split_batch(b"{\"model\":\"a\"}\r\n\n{oops\n \xff\n{}", BatchForm::Lines).unwrap();
        let told: Vec<_> = runs.into_iter().map(|run| run.map_err(|fault| fault.kind)).collect();
        assert_eq!(told, [Ok(json!({"model": "a"})), Err("json_invalid"), Err("json_invalid"), Ok(json!({}))]);
    }

    #[test]
    fn the_number_of_runs_is_bounded() {
        for (count, fits) in [(BATCH_RUNS_MAX, true), (BATCH_RUNS_MAX + 1, false)] {
            let object = json!({"runs": vec![json!({}); count]}).to_string();
            assert_eq!(split_batch(object.as_bytes(), BatchForm::Object).is_ok(), fits);
            assert_eq!(split_batch("{}\n".repeat(count).as_bytes(), BatchForm::Lines).is_ok(), fits);
        }
    }
}
