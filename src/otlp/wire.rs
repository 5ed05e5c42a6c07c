//! The protobuf wire format, read without copying: <https://protobuf.dev/programming-guides/encoding/>.

use crate::otlp::fault::Fault;

/// Groups (long deprecated) inside each other that are skipped before the message counts as damaged.
const GROUP_DEPTH_MAX: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WireError {
    #[error("it ends inside a field")]
    Truncated,
    #[error("a number has more than 64 bits")]
    VarintTooLong,
    #[error("a tag is not valid")]
    BadTag,
    #[error("a group is not closed where it should be")]
    BadGroup,
}

/// What follows a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
    Group,
}

/// One field of a message, its tag and payload as received in `raw`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field<'a> {
    pub number: u32,
    pub payload: Payload<'a>,
    pub raw: &'a [u8],
}

impl<'a> Field<'a> {
    /// A string, bytes or message; `name` says which field in the fault.
    pub fn bytes(&self, name: &'static str) -> Result<&'a [u8], Fault> {
        match self.payload {
            Payload::Bytes(bytes) => Ok(bytes),
            _ => Err(Fault::WireType { field: name }),
        }
    }

    pub fn varint(&self, name: &'static str) -> Result<u64, Fault> {
        match self.payload {
            Payload::Varint(n) => Ok(n),
            _ => Err(Fault::WireType { field: name }),
        }
    }

    /// An int32 or enum: a negative one is sent with 64 bits, the upper half is cut as every protobuf reader does.
    pub fn int32(&self, name: &'static str) -> Result<i32, Fault> {
        self.varint(name).map(|n| n as i32)
    }

    pub fn uint32(&self, name: &'static str) -> Result<u32, Fault> {
        self.varint(name).map(|n| n as u32)
    }

    pub fn fixed64(&self, name: &'static str) -> Result<u64, Fault> {
        match self.payload {
            Payload::Fixed64(n) => Ok(n),
            _ => Err(Fault::WireType { field: name }),
        }
    }

    pub fn fixed32(&self, name: &'static str) -> Result<u32, Fault> {
        match self.payload {
            Payload::Fixed32(n) => Ok(n),
            _ => Err(Fault::WireType { field: name }),
        }
    }
}

/// The fields of one message in the order sent. Ends after the first error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(message: &'a [u8]) -> Reader<'a> {
        Reader { rest: message }
    }

    /// Bytes that were not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    #[inline]
    fn field(&mut self) -> Result<Field<'a>, WireError> {
        let start = self.rest;
        let (number, wire_type) = self.tag()?;
        let payload = match wire_type {
            3 => {
                self.skip_group(number)?;
                Payload::Group
            }
            4 => return Err(WireError::BadGroup),
            _ => self.payload(wire_type)?,
        };
        let raw = &start[..start.len() - self.rest.len()];
        Ok(Field { number, payload, raw })
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u32), WireError> {
        let tag = u32::try_from(self.varint()?).map_err(|_| WireError::BadTag)?;
        if tag >> 3 == 0 { Err(WireError::BadTag) } else { Ok((tag >> 3, tag & 7)) }
    }

    #[inline]
    fn payload(&mut self, wire_type: u32) -> Result<Payload<'a>, WireError> {
        match wire_type {
            0 => self.varint().map(Payload::Varint),
            1 => self.array().map(|bytes| Payload::Fixed64(u64::from_le_bytes(bytes))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                self.take(length).map(Payload::Bytes)
            }
            5 => self.array().map(|bytes| Payload::Fixed32(u32::from_le_bytes(bytes))),
            _ => Err(WireError::BadTag),
        }
    }

    /// Skips to the end of group `number`, whose start was just read. A loop, so that no input can exhaust the stack.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), WireError> {
        let mut open = [0; GROUP_DEPTH_MAX];
        open[0] = number;
        let mut depth = 1;
        while depth > 0 {
            match self.tag()? {
                (_, 3) if depth == GROUP_DEPTH_MAX => return Err(WireError::BadGroup),
                (inner, 3) => {
                    open[depth] = inner;
                    depth += 1;
                }
                (end, 4) if end != open[depth - 1] => return Err(WireError::BadGroup),
                (_, 4) => depth -= 1,
                (_, wire_type) => {
                    self.payload(wire_type)?;
                }
            }
        }
        Ok(())
    }

    /// Nearly all tags and lengths are one byte: only that way is inlined.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0;
        for (i, &byte) in self.rest.iter().enumerate().take(10) {
            if i == 9 && byte > 1 {
                return Err(WireError::VarintTooLong);
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Ok(value);
            }
        }
        // Ten bytes always end above, so what is left is a number cut off by the end.
        Err(WireError::Truncated)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Field<'a>, WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Result<Vec<(u32, Payload<'_>)>, WireError> {
        Reader::new(message).map(|field| field.map(|f| (f.number, f.payload))).collect()
    }

    #[test]
    fn every_wire_type_is_read() {
        let message =
            [&[0x08, 0x96, 0x01][..], &[0x11, 1, 0, 0, 0, 0, 0, 0, 0], &[0x1a, 2, b'h', b'i'], &[0x25, 2, 0, 0, 0]];
        let expected =
            [(1, Payload::Varint(150)), (2, Payload::Fixed64(1)), (3, Payload::Bytes(b"hi")), (4, Payload::Fixed32(2))];
        assert_eq!(fields(&message.concat()).unwrap(), expected);
    }

    #[test]
    fn groups_are_skipped_whole() {
        let message = [0x0b, 0x10, 0x01, 0x13, 0x14, 0x0c, 0x18, 0x05];
        assert_eq!(fields(&message).unwrap(), [(1, Payload::Group), (3, Payload::Varint(5))]);
        assert_eq!(Reader::new(&message).next().unwrap().unwrap().raw, &message[..6]);
        assert_eq!(fields(&[0x0b, 0x14]), Err(WireError::BadGroup));
        assert_eq!(fields(&[0x0c]), Err(WireError::BadGroup));
        assert_eq!(fields(&[0x0b]), Err(WireError::Truncated));
    }

    #[test]
    fn groups_are_followed_to_the_bound_and_no_further() {
        let nested = |depth| [vec![0x0b; depth], vec![0x0c; depth]].concat();
        assert!(fields(&nested(GROUP_DEPTH_MAX)).is_ok());
        assert_eq!(fields(&nested(GROUP_DEPTH_MAX + 1)), Err(WireError::BadGroup));
        assert_eq!(fields(&vec![0x0b; 1 << 20]), Err(WireError::BadGroup));
    }

    #[test]
    fn numbers_have_at_most_64_bits() {
        let longest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(fields(&longest).unwrap(), [(1, Payload::Varint(u64::MAX))]);
        let mut over = longest;
        over[10] = 0x02;
        assert_eq!(fields(&over), Err(WireError::VarintTooLong));
    }

    #[test]
    fn damage_is_named_and_ends_the_reading() {
        assert_eq!(fields(&[0x00, 0x00]), Err(WireError::BadTag));
        assert_eq!(fields(&[0x0e, 0x00]), Err(WireError::BadTag));
        assert_eq!(fields(&[0x0a, 0x05, 1]), Err(WireError::Truncated));
        assert_eq!(
            fields(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Err(WireError::Truncated)
        );
        assert_eq!(Reader::new(&[0x0d, 1]).count(), 1);
    }
}
