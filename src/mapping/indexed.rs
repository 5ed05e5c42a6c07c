//! Attribute families that number their members: `llm.input_messages.0.message.role` and the like.

use crate::model::value::AnyValue;

/// Attributes that share the first `at` bytes of their keys. Attributes are sorted, so a family is one slice.
#[derive(Clone, Copy)]
pub(super) struct Family<'a> {
    entries: &'a [(String, AnyValue)],
    at: usize,
}

impl<'a> Family<'a> {
    pub(super) fn of(attributes: &'a [(String, AnyValue)], prefix: &str) -> Family<'a> {
        Family { entries: attributes, at: 0 }.under(prefix)
    }

    /// The members whose remaining key starts with `prefix`.
    pub(super) fn under(&self, prefix: &str) -> Family<'a> {
        let start = self.entries.partition_point(|(key, _)| &key.as_bytes()[self.at..] < prefix.as_bytes());
        let rest = &self.entries[start..];
        let len = rest.partition_point(|(key, _)| key.as_bytes()[self.at..].starts_with(prefix.as_bytes()));
        Family { entries: &rest[..len], at: self.at + prefix.len() }
    }

    /// The member whose remaining key is exactly `rest`.
    pub(super) fn get(&self, rest: &str) -> Option<&'a AnyValue> {
        let found = self.entries.binary_search_by(|(key, _)| key.as_bytes()[self.at..].cmp(rest.as_bytes()));
        found.ok().map(|i| &self.entries[i].1)
    }

    /// The numbered members in the order of their numbers, which is not the order of their keys (10 < 2 as text).
    /// Numbers may start anywhere and have holes.
    pub(super) fn items(&self) -> Vec<Family<'a>> {
        let mut items: Vec<(u64, Family<'a>)> = Vec::new();
        let mut rest = self.entries;
        while let Some((key, _)) = rest.first() {
            let index = index_of(&key.as_bytes()[self.at..]);
            let len = rest.iter().take_while(|(key, _)| index_of(&key.as_bytes()[self.at..]) == index).count();
            if let Some(number) = std::str::from_utf8(index).ok().and_then(|digits| digits.parse().ok()) {
                let after = self.at + index.len();
                items.push((number, Family { entries: &rest[..len], at: after }));
            }
            rest = &rest[len..];
        }
        items.sort_by_key(|(number, _)| *number);
        items.into_iter().map(|(_, family)| family).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Every member with what remains of its key.
    pub(super) fn members(&self) -> impl Iterator<Item = (&'a str, &'a AnyValue)> {
        let at = self.at;
        self.entries.iter().filter_map(move |(key, value)| Some((key.get(at..)?, value)))
    }

    /// The value of a numbered member that is a value itself: `tool_calls.0` and not `tool_calls.0.id`.
    pub(super) fn own(&self) -> Option<&'a AnyValue> {
        self.get("")
    }
}

/// The bytes up to the next dot.
fn index_of(rest: &[u8]) -> &[u8] {
    rest.iter().position(|byte| *byte == b'.').map_or(rest, |end| &rest[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(keys: &[&str]) -> Vec<(String, AnyValue)> {
        let mut pairs: Vec<_> = keys.iter().map(|key| ((*key).to_owned(), AnyValue::Str((*key).to_owned()))).collect();
        pairs.sort_by(|a, b| a.0.cmp(&b.0));
        pairs
    }

    #[test]
    fn members_come_in_numeric_order_with_holes() {
        let sent = attributes(&["m.10.role", "m.2.role", "m.2.text", "m.1.role", "m.x.role", "m", "n.1.role"]);
        let items = Family::of(&sent, "m.").items();
        let roles: Vec<_> = items.iter().filter_map(|item| item.get(".role")?.as_str()).collect();
        assert_eq!(roles, ["m.1.role", "m.2.role", "m.10.role"]);
        assert!(items[1].get(".text").is_some());
    }

    #[test]
    fn neighbours_that_sort_between_do_not_split_a_member() {
        // '-' sorts before '.', so `m.1-x` stands between `m.1` and `m.1.a`.
        let sent = attributes(&["m.1", "m.1-x", "m.1.a", "m.1.b"]);
        let items = Family::of(&sent, "m.").items();
        assert!(items.iter().any(|item| item.get(".a").is_some() && item.get(".b").is_some()));
    }

    #[test]
    fn a_number_too_large_to_count_is_left_out() {
        let sent = attributes(&["m.99999999999999999999999.role", "m..role"]);
        assert!(Family::of(&sent, "m.").items().is_empty());
    }
}
