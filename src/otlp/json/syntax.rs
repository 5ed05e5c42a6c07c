//! Is it JSON at all? One pass over the body by the grammar of RFC 8259, without recursion and without values.
//!
//! Only two things are let through that the grammar forbids: bytes that are not UTF-8 and lone surrogates, both inside
//! strings, because one bad string must not cost the request. They are mended where the string is read.

/// The place of the first byte that does not fit, counted from the start of the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotJson {
    pub at_byte: usize,
}

/// Checks that `text` is one JSON value. Nesting has no bound here: it costs a byte a level.
pub(super) fn check(text: &[u8]) -> Result<(), NotJson> {
    let mut scan = Scan { text, at: 0 };
    scan.document().map_err(|()| NotJson { at_byte: scan.at })
}

struct Scan<'a> {
    text: &'a [u8],
    at: usize,
}

type Fits = Result<(), ()>;

impl Scan<'_> {
    fn document(&mut self) -> Fits {
        // The closing bracket of each container that is open.
        let mut open: Vec<u8> = Vec::new();
        loop {
            // Here a value must begin, unless the container that was just opened is empty.
            self.space();
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b'}') {
                        self.key()?;
                        open.push(b'}');
                        continue;
                    }
                    self.at += 1;
                }
                Some(b'[') => {
                    self.at += 1;
                    self.space();
                    if self.peek() != Some(b']') {
                        open.push(b']');
                        continue;
                    }
                    self.at += 1;
                }
                _ => self.scalar()?,
            }
            // Here a value has ended.
            loop {
                self.space();
                let Some(&close) = open.last() else {
                    return if self.at == self.text.len() { Ok(()) } else { Err(()) };
                };
                match self.peek() {
                    Some(b',') => {
                        self.at += 1;
                        if close == b'}' {
                            self.space();
                            self.key()?;
                        }
                        break;
                    }
                    Some(byte) if byte == close => {
                        self.at += 1;
                        open.pop();
                    }
                    _ => return Err(()),
                }
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn key(&mut self) -> Fits {
        self.string()?;
        self.space();
        self.one(|byte| byte == b':')
    }

    fn one(&mut self, fits: impl Fn(u8) -> bool) -> Fits {
        match self.peek() {
            Some(byte) if fits(byte) => {
                self.at += 1;
                Ok(())
            }
            _ => Err(()),
        }
    }

    fn scalar(&mut self) -> Fits {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b't') => self.word(b"true"),
            Some(b'f') => self.word(b"false"),
            Some(b'n') => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Fits {
        word.iter().try_for_each(|&expected| self.one(|byte| byte == expected))
    }

    fn string(&mut self) -> Fits {
        self.one(|byte| byte == b'"')?;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape()?;
                }
                Some(0x20..) => self.at += 1,
                _ => return Err(()),
            }
        }
    }

    fn escape(&mut self) -> Fits {
        if self.peek() == Some(b'u') {
            self.at += 1;
            return (0..4).try_for_each(|_| self.one(|byte| byte.is_ascii_hexdigit()));
        }
        self.one(|byte| matches!(byte, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't'))
    }

    fn number(&mut self) -> Fits {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Fits {
        self.one(|byte| byte.is_ascii_digit())?;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn json_passes_and_other_text_is_placed() {
        for good in ["{}", " [ ] ", "0", "-0.5e+10", "\"\\u12aF\\n\"", "[1,{\"a\":[null,true,false]},\"x\"]", "[[],{}]"]
        {
            assert_eq!(check(good.as_bytes()), Ok(()), "{good}");
        }
        for (bad, at_byte) in [
            ("", 0),
            ("{", 1),
            ("[1,]", 3),
            ("{\"a\":1,}", 7),
            ("[1 2]", 3),
            ("01", 1),
            ("1.", 2),
            ("nul", 3),
            ("[1}", 2),
            ("{\"a\" 1}", 5),
            ("\"\n\"", 1),
            ("\"\\x\"", 2),
            ("{}{}", 2),
            ("+1", 0),
            ("NaN", 0),
        ] {
            assert_eq!(check(bad.as_bytes()), Err(NotJson { at_byte }), "{bad}");
        }
    }

    #[test]
    fn depth_costs_no_stack() {
        assert!(check(&[b"[".repeat(1 << 20), b"]".repeat(1 << 20)].concat()).is_ok());
        assert!(check(&b"[".repeat(1 << 20)).is_err());
    }

    proptest! {
        /// serde_json is the judge, on texts that are nearly JSON.
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{},:"0-9.eE+\-a ntrufls\\]{0,12}"#) {
            let theirs = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
            prop_assert_eq!(check(text.as_bytes()).is_ok(), theirs, "{}", text);
        }
    }
}
