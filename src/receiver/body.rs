//! Reading a request's body: bounded as sent and after inflating, its bytes reserved before they are read.

use std::io::Read;
use std::time::Instant;

use axum::body::Body as HttpBody;
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;

use crate::pipeline::{Body, Encoding, Pipeline, Refusal};
use crate::queue::Reservation;

/// Room is reserved in steps of this where the length is not known ahead.
const STEP_BYTES: usize = 64 * 1024;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
}

impl Compression {
    /// From `Content-Encoding` or `grpc-encoding`.
    pub fn from_name(name: Option<&str>) -> Result<Compression, Refusal> {
        match name.map(|name| name.trim().to_ascii_lowercase()).as_deref() {
            None | Some("" | "identity") => Ok(Compression::None),
            Some("gzip") => Ok(Compression::Gzip),
            Some(_) => Err(Refusal::Unsupported("this compression is not taken: send gzip or none".into())),
        }
    }
}

/// The encoding that `Content-Type` names, with or without parameters, in any case.
pub fn encoding_of(headers: &HeaderMap) -> Result<Encoding, Refusal> {
    let unsupported = || Refusal::Unsupported("send Content-Type application/x-protobuf or application/json".into());
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).ok_or_else(unsupported)?;
    let (media_type, parameters) = value.split_once(';').unwrap_or((value, ""));
    let foreign_charset = parameters.split(';').filter_map(|p| p.split_once('=')).any(|(name, charset)| {
        name.trim().eq_ignore_ascii_case("charset") && !charset.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
    });
    match media_type.trim().to_ascii_lowercase().as_str() {
        _ if foreign_charset => Err(unsupported()),
        "application/x-protobuf" | "application/protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        _ => Err(unsupported()),
    }
}

/// Compression that `Content-Encoding` names.
pub fn compression_of(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let Some(value) = headers.get(CONTENT_ENCODING) else { return Ok(Compression::None) };
    // A name that is no text is a name that nobody knows.
    Compression::from_name(Some(value.to_str().unwrap_or("unreadable")))
}

/// The whole body, inflated. `TooLarge` when it is beyond the limit either way, `Busy` when no room came free in time.
pub async fn read(
    pipeline: &Pipeline,
    headers: &HeaderMap,
    body: HttpBody,
    compression: Compression,
    deadline: Instant,
) -> Result<Body, Refusal> {
    let (bytes, reservation) = read_as_sent(pipeline, headers, body, deadline).await?;
    inflate(pipeline, bytes, reservation, compression, deadline).await
}

/// The body as it came over the wire.
pub async fn read_as_sent(
    pipeline: &Pipeline,
    headers: &HeaderMap,
    mut body: HttpBody,
    deadline: Instant,
) -> Result<(Bytes, Reservation), Refusal> {
    let limit_bytes = pipeline.body_bytes_max;
    let declared: Option<u64> = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if declared.is_some_and(|length| length > limit_bytes) {
        return Err(Refusal::TooLarge { limit_bytes });
    }
    let mut room = Room::new(pipeline, declared.unwrap_or(STEP_BYTES as u64), deadline).await?;
    let mut bytes = BytesMut::with_capacity(declared.unwrap_or(0) as usize);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Malformed("the body ended before it was complete".into()))?;
        let Ok(data) = frame.into_data() else { continue };
        if (bytes.len() + data.len()) as u64 > limit_bytes {
            return Err(Refusal::TooLarge { limit_bytes });
        }
        room.cover(bytes.len() + data.len()).await?;
        bytes.extend_from_slice(&data);
    }
    Ok((bytes.freeze(), room.reservation))
}

/// Inflates piece by piece: output beyond the limit is never made, and every piece has its room before it exists.
pub async fn inflate(
    pipeline: &Pipeline,
    bytes: Bytes,
    reservation: Reservation,
    compression: Compression,
    deadline: Instant,
) -> Result<Body, Refusal> {
    let sent_bytes = bytes.len() as u64;
    if compression == Compression::None || bytes.is_empty() {
        return Ok(Body { bytes, sent_bytes, reservation });
    }
    let limit_bytes = pipeline.body_bytes_max;
    let mut room = Room::new(pipeline, STEP_BYTES as u64, deadline).await?;
    let mut inflated = Vec::new();
    let mut reader = MultiGzDecoder::new(&bytes[..]);
    loop {
        room.cover(inflated.len() + STEP_BYTES).await?;
        let read = reader
            .by_ref()
            .take(STEP_BYTES as u64)
            .read_to_end(&mut inflated)
            .map_err(|_| Refusal::Malformed("the gzip stream of the body is damaged or cut".into()))?;
        if inflated.len() as u64 > limit_bytes {
            return Err(Refusal::TooLarge { limit_bytes });
        }
        if read == 0 {
            break;
        }
        tokio::task::consume_budget().await;
    }
    // From here on only the inflated form is held.
    drop(reservation);
    Ok(Body { bytes: inflated.into(), sent_bytes, reservation: room.reservation })
}

/// A reservation that grows.
struct Room<'a> {
    pipeline: &'a Pipeline,
    reservation: Reservation,
    bytes: usize,
    deadline: Instant,
}

impl<'a> Room<'a> {
    async fn new(pipeline: &'a Pipeline, bytes: u64, deadline: Instant) -> Result<Room<'a>, Refusal> {
        let reservation = pipeline.budget.reserve(bytes, deadline).await.map_err(|_| Refusal::Busy)?;
        Ok(Room { pipeline, reservation, bytes: bytes as usize, deadline })
    }

    async fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.bytes {
            let more = (bytes - self.bytes).max(STEP_BYTES);
            let added = self.pipeline.budget.reserve(more as u64, self.deadline).await.map_err(|_| Refusal::Busy)?;
            self.reservation.absorb(added);
            self.bytes += more;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content_type(value: &[u8]) -> Result<Encoding, String> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, http::HeaderValue::from_bytes(value).unwrap());
        encoding_of(&headers).map_err(|refusal| refusal.to_string())
    }

    #[test]
    fn media_types_are_read_in_every_spelling() {
        for value in [
            "application/json",
            "Application/JSON",
            "application/json; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
        ] {
            assert_eq!(content_type(value.as_bytes()), Ok(Encoding::Json), "{value}");
        }
        for value in ["application/x-protobuf", "application/protobuf", "APPLICATION/X-PROTOBUF ; a=b"] {
            assert_eq!(content_type(value.as_bytes()), Ok(Encoding::Protobuf), "{value}");
        }
        for value in [&b"text/plain"[..], b"application/json; charset=latin1", b"", b"application/\xff"] {
            assert!(content_type(value).unwrap_err().contains("application/json"), "{value:?}");
        }
        assert!(encoding_of(&HeaderMap::new()).is_err());
    }

    #[test]
    fn compressions_are_known_or_refused() {
        assert_eq!(Compression::from_name(None).unwrap(), Compression::None);
        assert_eq!(Compression::from_name(Some("Identity")).unwrap(), Compression::None);
        assert_eq!(Compression::from_name(Some("GZIP")).unwrap(), Compression::Gzip);
        assert!(Compression::from_name(Some("br")).is_err());
    }
}
