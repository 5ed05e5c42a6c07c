//! Tags in the forms in which SDKs send them.

use std::borrow::Cow;

use crate::mapping::usable;
use crate::model::value::AnyValue;

/// A list, the JSON text of a list, or one tag.
pub(super) fn read(value: Option<&AnyValue>) -> Vec<String> {
    match value {
        Some(AnyValue::Array(tags)) => tags.iter().filter_map(usable::scalar_text).map(Cow::into_owned).collect(),
        Some(AnyValue::Str(text)) if usable::is_usable_text(text) => {
            serde_json::from_str::<Vec<String>>(text).unwrap_or_else(|_| vec![text.clone()])
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_texts_of_lists_and_single_tags() {
        let text = |text: &str| AnyValue::Str(text.to_owned());
        assert_eq!(read(Some(&AnyValue::Array(vec![text("a"), text("b")]))), ["a", "b"]);
        assert_eq!(read(Some(&text(r#"["a", "b"]"#))), ["a", "b"]);
        assert_eq!(read(Some(&text("a"))), ["a"]);
        for nothing in [Some(&text("[]")), Some(&text("")), Some(&AnyValue::Bool(true)), None] {
            assert!(read(nothing).is_empty());
        }
    }
}
