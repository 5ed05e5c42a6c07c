//! Reading a request's body: bounded as sent and after inflating, its bytes reserved before they are read, and at a
//! pace that a working client has.

use std::time::{Duration, Instant};

use axum::body::{Body as HttpBody, HttpBody as _};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;

use crate::pipeline::{Body, Encoding, Pipeline, Refusal};
use crate::queue::Reservation;
use crate::receiver::inflate::{ACCEPTED, Compression, Damaged, Inflater};

/// Room is reserved, and bodies are inflated, in steps of this.
const STEP_BYTES: usize = 64 * 1024;
/// Memory that is set aside at once for a body whose length was announced.
const CAPACITY_BYTES_MAX: u64 = 1 << 20;
/// Nobody is too slow before this.
const PACE_GRACE: Duration = Duration::from_secs(10);
/// After the grace a body must have come at least at this pace.
const PACE_BYTES_PER_S: u64 = 1024;

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
    let known = value.to_str().ok().and_then(Compression::from_name);
    known.ok_or_else(|| Refusal::Unsupported(format!("this Content-Encoding is not taken: send {ACCEPTED} or none")))
}

/// The whole body, inflated. `TooLarge` when it is beyond the limit either way, `Busy` when no room came free in time,
/// `TooSlow` below the pace.
pub async fn read(
    pipeline: &Pipeline,
    headers: &HeaderMap,
    body: HttpBody,
    compression: Compression,
    deadline: Instant,
) -> Result<Body, Refusal> {
    let limit_bytes = pipeline.body_bytes_max;
    let declared: Option<u64> = headers.get(CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse().ok());
    if declared.is_some_and(|length| length > limit_bytes) {
        return Err(Refusal::TooLarge { limit_bytes });
    }
    let mut incoming = Incoming::new(pipeline, body, limit_bytes, deadline).await?;
    while incoming.more().await? {}
    let (bytes, reservation) = incoming.finish();
    inflate(pipeline, bytes, reservation, compression, deadline).await
}

/// A body on its way over the wire.
pub struct Incoming<'a> {
    body: HttpBody,
    bytes: BytesMut,
    limit_bytes: u64,
    room: Room<'a>,
    started: Instant,
}

impl<'a> Incoming<'a> {
    /// `limit_bytes` is for the bytes on the wire.
    pub async fn new(
        pipeline: &'a Pipeline,
        body: HttpBody,
        limit_bytes: u64,
        deadline: Instant,
    ) -> Result<Incoming<'a>, Refusal> {
        let expected = body.size_hint().lower().min(CAPACITY_BYTES_MAX);
        let bytes = BytesMut::with_capacity(expected as usize);
        let room = Room::new(pipeline, deadline).await?;
        Ok(Incoming { body, bytes, limit_bytes, room, started: Instant::now() })
    }

    /// What came so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Waits for more; false at the end. Only what has come is reserved: a client that announces much and sends little
    /// must not take the room of others.
    pub async fn more(&mut self) -> Result<bool, Refusal> {
        let due = due(self.started, self.bytes.len());
        let frame = match tokio::time::timeout_at(due.into(), self.body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return Err(Refusal::Malformed("the body ended before it was complete".into())),
            Ok(None) => return Ok(false),
            Err(_) => return Err(Refusal::TooSlow),
        };
        let Ok(data) = frame.into_data() else { return Ok(true) };
        if (self.bytes.len() + data.len()) as u64 > self.limit_bytes {
            return Err(Refusal::TooLarge { limit_bytes: self.room.pipeline.body_bytes_max });
        }
        self.room.cover(self.bytes.len() + data.len()).await?;
        self.bytes.extend_from_slice(&data);
        Ok(true)
    }

    pub fn finish(self) -> (Bytes, Reservation) {
        (self.bytes.freeze(), self.room.reservation)
    }
}

/// When the next bytes must come, so that the body keeps its pace.
fn due(started: Instant, received_bytes: usize) -> Instant {
    started + PACE_GRACE + Duration::from_millis(received_bytes as u64 * 1000 / PACE_BYTES_PER_S)
}

/// Inflates piece by piece: output beyond the limit is never made, and every piece has its room before it exists.
pub async fn inflate(
    pipeline: &Pipeline,
    bytes: Bytes,
    sent: Reservation,
    compression: Compression,
    deadline: Instant,
) -> Result<Body, Refusal> {
    let sent_bytes = bytes.len() as u64;
    if compression == Compression::None || bytes.is_empty() {
        return Ok(Body { bytes, sent_bytes, reservation: sent });
    }
    let limit_bytes = pipeline.body_bytes_max;
    let damaged = |Damaged| {
        Refusal::Malformed("the compressed body is damaged, cut, or has something behind its end: send it again".into())
    };
    let mut room = Room::new(pipeline, deadline).await?;
    let mut inflated = Vec::new();
    let mut inflater = Inflater::new(compression, bytes).map_err(damaged)?;
    loop {
        room.cover(inflated.len() + STEP_BYTES).await?;
        let read = inflater.read(&mut inflated, STEP_BYTES).map_err(damaged)?;
        if inflated.len() as u64 > limit_bytes {
            return Err(Refusal::TooLarge { limit_bytes });
        }
        if read < STEP_BYTES {
            break;
        }
        tokio::task::consume_budget().await;
    }
    // From here on only the inflated form is held.
    drop(inflater);
    drop(sent);
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
    async fn new(pipeline: &'a Pipeline, deadline: Instant) -> Result<Room<'a>, Refusal> {
        let reservation = pipeline.budget.reserve(0, deadline).await.map_err(|_| Refusal::Busy)?;
        Ok(Room { pipeline, reservation, bytes: 0, deadline })
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
    fn a_pace_is_asked_after_a_grace() {
        let started = Instant::now();
        assert_eq!(due(started, 0) - started, PACE_GRACE);
        assert_eq!(due(started, 2048) - started, PACE_GRACE + Duration::from_secs(2));
    }
}
