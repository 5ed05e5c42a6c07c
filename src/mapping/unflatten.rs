//! A value that was sent as many attributes, put together again: `x.messages.0.role`, `x.messages.0.content`.

use serde_json::{Map, Value};

use crate::mapping::usable;
use crate::model::value::AnyValue;

/// Deeper paths stay in one key: readers of JSON stop at some depth.
const DEPTH_MAX: usize = 32;

/// The value under `prefix` (which ends where its members' names begin), or `None` when nothing stands there.
pub(super) fn unflatten(attributes: &[(String, AnyValue)], prefix: &str) -> Option<Value> {
    let start = attributes.partition_point(|(key, _)| key.as_str() < prefix);
    let members = attributes[start..].iter().map_while(|(key, value)| Some((key.strip_prefix(prefix)?, value)));
    let mut root = Map::new();
    for (path, value) in members {
        // Members that were structures became JSON text on the way.
        insert(&mut root, path, usable::opened_structure(value));
    }
    (!root.is_empty()).then(|| lists(Value::Object(root)))
}

fn insert(object: &mut Map<String, Value>, path: &str, value: Value) {
    let mut object = object;
    let mut rest = path;
    for _ in 0..DEPTH_MAX {
        let Some((name, inner)) = rest.split_once('.') else { break };
        let slot = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
        if !slot.is_object() {
            // `a` and `a.b` were both sent: the value of `a` keeps its place.
            return;
        }
        let Value::Object(next) = slot else { return };
        object = next;
        rest = inner;
    }
    object.entry(rest).or_insert(value);
}

/// Objects whose members are all numbered are lists, in the order of the numbers.
fn lists(value: Value) -> Value {
    let Value::Object(object) = value else { return value };
    let numbered = !object.is_empty() && object.keys().all(|key| key.parse::<u32>().is_ok());
    if !numbered {
        return Value::Object(object.into_iter().map(|(key, value)| (key, lists(value))).collect());
    }
    let mut items: Vec<(u32, Value)> =
        object.into_iter().filter_map(|(key, value)| Some((key.parse().ok()?, lists(value)))).collect();
    items.sort_by_key(|(number, _)| *number);
    Value::Array(items.into_iter().map(|(_, value)| value).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::mapping::tests::attributes;

    #[test]
    fn numbered_members_are_lists_and_named_ones_objects() {
        let sent = attributes(&[
            ("x.m.0.message.role", "user"),
            ("x.m.10.message.role", "assistant"),
            ("x.m.2.message.calls.0.args", r#"{"a":1}"#),
            ("x.n", "other"),
        ]);
        let want = json!([{"message": {"role": "user"}}, {"message": {"calls": [{"args": {"a": 1}}]}},
            {"message": {"role": "assistant"}}]);
        assert_eq!(unflatten(&sent, "x.m."), Some(want));
        assert_eq!(unflatten(&sent, "y."), None);
    }

    #[test]
    fn a_value_and_its_members_do_not_fight_and_depth_is_bounded() {
        let sent = attributes(&[("x.a", "1"), ("x.a.b", "2")]);
        assert_eq!(unflatten(&sent, "x."), Some(json!({"a": 1})));
        let deep = format!("x.{}", "a.".repeat(5000));
        let value = unflatten(&attributes(&[(&deep, "1")]), "x.").unwrap();
        assert!(serde_json::from_str::<Value>(&value.to_string()).is_ok());
    }
}
