//! A cursor over JSON that `syntax` has checked. It reads values in place, so that a request of any shape builds
//! nothing but its spans, and it keeps what a generic JSON tree loses: long integers, `5` against `5.0`, bad strings.

use std::borrow::Cow;

use crate::otlp::fault::Fault;
use crate::otlp::intake::Ledger;
use crate::otlp::rules;

/// Stands before a value. Only made from checked text; on other text it may read nonsense, but never panics or hangs.
#[derive(Clone, Debug)]
pub(in crate::otlp) struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Cursor<'a> {
        Cursor { text, at: 0 }
    }

    /// Where an earlier cursor over the same text stood.
    pub fn at(text: &'a [u8], at: usize) -> Cursor<'a> {
        Cursor { text, at }
    }

    pub fn offset(&self) -> usize {
        self.at
    }

    /// The first byte of the value, which tells its type. 0 at the end.
    pub fn peek(&mut self) -> u8 {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        self.text.get(self.at).copied().unwrap_or(0)
    }

    fn take_if(&mut self, byte: u8) -> bool {
        let there = self.peek() == byte;
        self.at += usize::from(there);
        there
    }

    /// Reads a `null`, which stands for the default of any field (ProtoJSON).
    pub fn take_null(&mut self) -> bool {
        let null = self.peek() == b'n';
        if null {
            self.skip();
        }
        null
    }

    /// Steps over one value of any size and returns its text.
    pub fn skip(&mut self) -> &'a [u8] {
        self.peek();
        let start = self.at;
        let mut depth = 0_usize;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.skip_string();
                }
                b'[' | b'{' => {
                    depth += 1;
                    self.at += 1;
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                _ => self.skip_word(),
            }
            if depth == 0 {
                break;
            }
        }
        &self.text[start..self.at]
    }

    /// A number, `true`, `false` or `null`.
    fn skip_word(&mut self) {
        let rest = &self.text[self.at..];
        let end = rest.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'.' | b'+' | b'-'));
        self.at += end.unwrap_or(rest.len()).max(1);
    }

    /// The text between the quotes.
    fn skip_string(&mut self) -> &'a [u8] {
        self.at += 1;
        let start = self.at;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    self.at += 1;
                    return &self.text[start..self.at - 1];
                }
                b'\\' => self.at = (self.at + 2).min(self.text.len()),
                _ => self.at += 1,
            }
        }
        &self.text[start..]
    }

    /// Steps into an object. False for `null`, which is one without members and ends here.
    pub fn open_object(&mut self, field: &'static str) -> Result<bool, Fault> {
        self.open(b'{', Fault::JsonType { field, expected: "an object" })
    }

    /// The name of the next member, the cursor before its value; `None` behind the end of the object.
    pub fn next_member(&mut self) -> Option<Cow<'a, str>> {
        self.take_if(b',');
        if self.peek() != b'"' {
            self.take_if(b'}');
            return None;
        }
        let name = plain(self.skip_string());
        self.take_if(b':');
        Some(name)
    }

    /// Steps into an array. False for `null`, which is one without elements and ends here.
    pub fn open_array(&mut self, field: &'static str) -> Result<bool, Fault> {
        self.open(b'[', Fault::JsonType { field, expected: "an array" })
    }

    /// Whether the cursor stands before another element; if not, behind the end of the array.
    pub fn next_element(&mut self) -> bool {
        self.take_if(b',');
        let is_there = !matches!(self.peek(), b']' | 0);
        if !is_there {
            self.take_if(b']');
        }
        is_there
    }

    fn open(&mut self, bracket: u8, fault: Fault) -> Result<bool, Fault> {
        if self.take_null() {
            return Ok(false);
        }
        if self.take_if(bracket) { Ok(true) } else { Err(fault) }
    }

    /// Calls `member` for each member of an object, the cursor before its value, which `member` must read or skip.
    /// `null` is an object without members.
    pub fn object(
        &mut self,
        field: &'static str,
        mut member: impl FnMut(&str, &mut Cursor<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.open_object(field)? {
            while let Some(name) = self.next_member() {
                member(&name, self)?;
            }
        }
        Ok(())
    }

    /// Calls `member` for each member called `wanted` of an object that was stepped into, and skips the others.
    pub fn members(
        &mut self,
        wanted: &str,
        mut member: impl FnMut(&mut Cursor<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        while let Some(name) = self.next_member() {
            if name == wanted {
                member(self)?;
            } else {
                self.skip();
            }
        }
        Ok(())
    }

    /// Calls `element` for each element of an array, as [`Cursor::object`] does. `null` is an empty array.
    pub fn array(
        &mut self,
        field: &'static str,
        mut element: impl FnMut(&mut Cursor<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.open_array(field)? {
            while self.next_element() {
                element(self)?;
            }
        }
        Ok(())
    }

    /// A string; `null` is the empty one.
    pub fn string(&mut self, field: &'static str, ledger: &mut Ledger) -> Result<String, Fault> {
        Ok(match self.quoted(field)? {
            Some(quoted) => unescape(quoted, ledger),
            None => String::new(),
        })
    }

    /// A string without looking into it, for what is written in ASCII; `None` for `null`.
    pub fn quoted(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, Fault> {
        match self.peek() {
            b'"' => Ok(Some(self.skip_string())),
            b'n' => {
                self.skip();
                Ok(None)
            }
            _ => Err(Fault::JsonType { field, expected: "a string" }),
        }
    }
}

/// The name of a member. Names that matter are plain ASCII; an escape in them is legal and never seen.
fn plain(quoted: &[u8]) -> Cow<'_, str> {
    if !quoted.contains(&b'\\') {
        return String::from_utf8_lossy(quoted);
    }
    let mut text = Vec::with_capacity(quoted.len());
    unescape_into(&mut text, quoted);
    Cow::Owned(String::from_utf8_lossy(&text).into_owned())
}

fn unescape(quoted: &[u8], ledger: &mut Ledger) -> String {
    if !quoted.contains(&b'\\') {
        return rules::text(quoted, ledger);
    }
    let mut text = Vec::with_capacity(quoted.len());
    if unescape_into(&mut text, quoted) {
        ledger.repaired("invalid_utf8");
    }
    match String::from_utf8(text) {
        Ok(text) => text,
        Err(e) => rules::text(e.as_bytes(), ledger),
    }
}

/// Returns whether a lone surrogate had to be replaced.
fn unescape_into(text: &mut Vec<u8>, mut quoted: &[u8]) -> bool {
    let mut replaced = false;
    while let Some(backslash) = quoted.iter().position(|&byte| byte == b'\\') {
        text.extend_from_slice(&quoted[..backslash]);
        let Some(&letter) = quoted.get(backslash + 1) else { return replaced };
        quoted = &quoted[backslash + 2..];
        let byte = match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (c, length) = code_point(quoted);
                replaced |= c.is_none();
                let c = c.unwrap_or(char::REPLACEMENT_CHARACTER);
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                quoted = &quoted[length..];
                continue;
            }
            other => other,
        };
        text.push(byte);
    }
    text.extend_from_slice(quoted);
    replaced
}

/// The character after `\u`, of one escape or of a surrogate pair, and the bytes it takes. `None`: a lone surrogate.
fn code_point(rest: &[u8]) -> (Option<char>, usize) {
    let Some(high) = hex4(rest) else { return (None, rest.len().min(4)) };
    if !(0xd800..0xdc00).contains(&high) {
        return (char::from_u32(high), 4);
    }
    let low = rest[4..].strip_prefix(b"\\u").and_then(hex4).filter(|low| (0xdc00..0xe000).contains(low));
    match low {
        Some(low) => (char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00)), 10),
        None => (None, 4),
    }
}

fn hex4(text: &[u8]) -> Option<u32> {
    text.get(..4)?.iter().try_fold(0, |value, &byte| Some(value << 4 | char::from(byte).to_digit(16)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::DecodeLimits;
    use proptest::prelude::*;

    fn read(json: &[u8]) -> (String, Vec<&'static str>) {
        let mut ledger = Ledger::new(DecodeLimits { spans_max: 1, span_items_max: 1, depth_max: 1 });
        let text = Cursor::new(json).string("name", &mut ledger).unwrap();
        (text, ledger.take_repairs())
    }

    #[test]
    fn bad_text_is_mended_and_noted() {
        let check = |json: &[u8], text: &str| assert_eq!(read(json), (text.to_owned(), vec!["invalid_utf8"]));
        check(br#""a\ud800b""#, "a\u{fffd}b");
        check(br#""\ud800\ud800""#, "\u{fffd}\u{fffd}");
        check(br#""\udc00\u0041""#, "\u{fffd}A");
        check(b"\"\xff\"", "\u{fffd}");
        check(b"\"\xff\\n\"", "\u{fffd}\n");
        assert_eq!(read(br#""\u0000\ud83d\ude00""#), ("\0\u{1f600}".to_owned(), vec![]));
    }

    #[test]
    fn skipping_stops_behind_one_value() {
        let mut cursor = Cursor::new(br#" {"a]":["\"}",1e5],"b":{}} , -5.5e-3,"x" "#);
        assert_eq!(cursor.skip(), br#"{"a]":["\"}",1e5],"b":{}}"#);
        assert!(cursor.take_if(b','));
        assert_eq!(cursor.skip(), b"-5.5e-3");
        assert!(cursor.take_if(b','));
        assert_eq!(cursor.skip(), b"\"x\"");
    }

    proptest! {
        #[test]
        fn strings_read_as_serde_json_writes_them(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(read(json.as_bytes()), (text, vec![]));
        }

        #[test]
        fn unchecked_text_never_panics(text in any::<Vec<u8>>()) {
            Cursor::new(&text).skip();
            let mut cursor = Cursor::new(&text);
            let _ = cursor.object("", |_, value| { value.skip(); Ok(()) });
        }
    }
}
