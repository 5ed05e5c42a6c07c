//! Inflating piece by piece: gzip, deflate and zstd. How much may come out is the caller's business.

use std::io::{self, BufRead, Read};

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::read::Decoder as ZstdDecoder;

/// Largest window that zstd may ask for, as a power of two: 8 MiB (RFC 9659).
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body or a gRPC message is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    /// One member or several.
    Gzip,
    /// In its zlib form, as HTTP means it, or raw, as some senders do it.
    Deflate,
    /// One frame or several.
    Zstd,
}

/// The names that are taken, as headers list them.
pub const ACCEPTED: &str = "gzip, deflate, zstd";

impl Compression {
    /// From one name of `Content-Encoding` or `grpc-encoding`, in any case. `None`: unknown.
    pub fn from_name(name: &str) -> Option<Compression> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" | "none" => Some(Compression::None),
            "gzip" | "x-gzip" => Some(Compression::Gzip),
            "deflate" => Some(Compression::Deflate),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// The stream is no such stream, is cut, or has something behind its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damaged;

/// A compressed body that is read piece by piece.
pub struct Inflater(Stream);

enum Stream {
    None(Reader<Bytes>),
    Gzip(MultiGzDecoder<Reader<Bytes>>),
    Zlib(ZlibDecoder<Reader<Bytes>>),
    Deflate(DeflateDecoder<Reader<Bytes>>),
    Zstd(Box<ZstdDecoder<'static, Reader<Bytes>>>),
}

impl Inflater {
    pub fn new(compression: Compression, bytes: Bytes) -> Result<Inflater, Damaged> {
        let is_zlib = is_zlib(&bytes);
        let reader = bytes.reader();
        Ok(Inflater(match compression {
            Compression::None => Stream::None(reader),
            Compression::Gzip => Stream::Gzip(MultiGzDecoder::new(reader)),
            Compression::Deflate if is_zlib => Stream::Zlib(ZlibDecoder::new(reader)),
            Compression::Deflate => Stream::Deflate(DeflateDecoder::new(reader)),
            Compression::Zstd => {
                let mut decoder = ZstdDecoder::with_buffer(reader).map_err(|_| Damaged)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|_| Damaged)?;
                Stream::Zstd(Box::new(decoder))
            }
        }))
    }

    /// Adds at most `bytes_max` to `inflated` and says how many; fewer only at the end, which is sound then.
    pub fn read(&mut self, inflated: &mut Vec<u8>, bytes_max: usize) -> Result<usize, Damaged> {
        let before = inflated.len();
        match &mut self.0 {
            Stream::None(reader) => append(reader, inflated, bytes_max),
            Stream::Gzip(decoder) => append(decoder, inflated, bytes_max),
            Stream::Zlib(decoder) => append(decoder, inflated, bytes_max),
            Stream::Deflate(decoder) => append(decoder, inflated, bytes_max),
            Stream::Zstd(decoder) => append(decoder.as_mut(), inflated, bytes_max),
        }
        .map_err(|_| Damaged)?;
        let read = inflated.len() - before;
        if read < bytes_max && self.has_more_behind() { Err(Damaged) } else { Ok(read) }
    }

    /// Gzip and zstd read on by themselves: what stands behind one stream must be another.
    fn has_more_behind(&mut self) -> bool {
        let behind = match &mut self.0 {
            Stream::Zlib(decoder) => decoder.get_mut().fill_buf(),
            Stream::Deflate(decoder) => decoder.get_mut().fill_buf(),
            Stream::None(_) | Stream::Gzip(_) | Stream::Zstd(_) => return false,
        };
        behind.is_ok_and(|rest| !rest.is_empty())
    }
}

fn append(reader: &mut impl Read, inflated: &mut Vec<u8>, bytes_max: usize) -> io::Result<usize> {
    reader.take(bytes_max as u64).read_to_end(inflated)
}

/// RFC 1950, section 2.2: the method is deflate and the first two bytes are a multiple of 31.
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]) % 31 == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression as Level;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn inflate(compression: Compression, bytes: &[u8]) -> Result<Vec<u8>, Damaged> {
        let mut inflater = Inflater::new(compression, Bytes::copy_from_slice(bytes))?;
        let mut inflated = Vec::new();
        while inflater.read(&mut inflated, 7)? == 7 {}
        Ok(inflated)
    }

    /// Name, what a header calls it, and what compresses so.
    type Form = (&'static str, Compression, fn(&[u8]) -> Vec<u8>);

    fn forms() -> [Form; 4] {
        fn gzip(bytes: &[u8]) -> Vec<u8> {
            let mut encoder = GzEncoder::new(Vec::new(), Level::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        fn zlib(bytes: &[u8]) -> Vec<u8> {
            let mut encoder = ZlibEncoder::new(Vec::new(), Level::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        fn raw(bytes: &[u8]) -> Vec<u8> {
            let mut encoder = DeflateEncoder::new(Vec::new(), Level::default());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        fn zstd(bytes: &[u8]) -> Vec<u8> {
            ::zstd::encode_all(bytes, 3).unwrap()
        }
        [
            ("gzip", Compression::Gzip, gzip),
            ("zlib", Compression::Deflate, zlib),
            ("raw deflate", Compression::Deflate, raw),
            ("zstd", Compression::Zstd, zstd),
        ]
    }

    #[test]
    fn every_form_comes_out_as_it_went_in() {
        for text in [&b""[..], b"seven b", b"a longer text, a longer text, a longer text"] {
            for (name, compression, compress) in forms() {
                assert_eq!(inflate(compression, &compress(text)).as_deref(), Ok(text), "{name}");
            }
            assert_eq!(inflate(Compression::None, text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn streams_of_several_members_are_read_to_their_end() {
        for (name, compression, compress) in forms().into_iter().filter(|(_, c, _)| *c != Compression::Deflate) {
            let twice = [compress(b"first, "), compress(b"second")].concat();
            assert_eq!(inflate(compression, &twice).as_deref(), Ok(&b"first, second"[..]), "{name}");
        }
    }

    #[test]
    fn a_cut_stream_and_one_with_garbage_behind_are_damaged() {
        for (name, compression, compress) in forms() {
            let whole = compress(b"a text that is long enough to be cut in the middle of it");
            for length in 1..whole.len() {
                assert_eq!(inflate(compression, &whole[..length]), Err(Damaged), "{name} cut at {length}");
            }
            let garbage = [&whole[..], b"garbage"].concat();
            assert_eq!(inflate(compression, &garbage), Err(Damaged), "{name} with garbage");
            assert_eq!(inflate(compression, b"\xff\xff\xff\xff\xff"), Err(Damaged), "{name}");
        }
    }

    #[test]
    fn a_zstd_window_beyond_8_mib_is_refused() {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(24).unwrap();
        encoder.include_contentsize(false).unwrap();
        encoder.write_all(&[0; 1000]).unwrap();
        assert_eq!(inflate(Compression::Zstd, &encoder.finish().unwrap()), Err(Damaged));
    }

    #[test]
    fn names_are_known_in_any_case() {
        for (name, compression) in [
            ("", Some(Compression::None)),
            ("Identity", Some(Compression::None)),
            ("GZIP", Some(Compression::Gzip)),
            (" deflate ", Some(Compression::Deflate)),
            ("zstd", Some(Compression::Zstd)),
            ("br", None),
            ("gzip, gzip", None),
        ] {
            assert_eq!(Compression::from_name(name), compression, "{name}");
        }
    }
}
