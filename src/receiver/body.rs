//! Reading a request's body: bounded as sent and after inflating, its bytes reserved before they are read, and at a
//! pace that a working client has.

use std::time::{Duration, Instant};

use axum::body::{Body as HttpBody, HttpBody as _};
use bytes::Bytes;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::pipeline::{Body, Encoding, Pipeline, Refusal};
use crate::queue::Reservation;
use crate::receiver::inflate::{ACCEPTED, Compression, Damaged, Inflater};

/// Room is reserved, and bodies are inflated, in steps of this.
const STEP_BYTES: usize = 64 * 1024;
/// Up to this a growing body is moved to twice the place; beyond it, once to the largest place it can need.
const DOUBLING_BYTES_MAX: usize = 1 << 20;
/// An inflated body that grows to this is counted before it is made.
const COUNT_FROM_BYTES: usize = 4 << 20;
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
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(Compression::None) };
    let known = value.to_str().ok().and_then(Compression::from_name).filter(|_| values.next().is_none());
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
    bytes: Vec<u8>,
    declared_bytes: Option<u64>,
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
        let declared_bytes = body.size_hint().exact();
        let room = Room::new(pipeline, deadline).await?;
        Ok(Incoming { body, bytes: Vec::new(), declared_bytes, limit_bytes, room, started: Instant::now() })
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
        let bytes_max = self.declared_bytes.unwrap_or(self.limit_bytes);
        grow(&mut self.bytes, data.len(), bytes_max as usize);
        self.bytes.extend_from_slice(&data);
        Ok(true)
    }

    pub fn finish(self) -> (Bytes, Reservation) {
        (self.bytes.into(), self.room.reservation)
    }
}

/// A body that is one JSON value.
pub fn json_of(bytes: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(bytes).map_err(|error| {
        Refusal::Malformed(format!("the body is not JSON: line {}, column {}", error.line(), error.column()))
    })
}

/// Makes room for `more` in a body that will have at most `bytes_max`. Doubling a large one would hold it twice, and
/// three times while it is moved; a place that is not written to takes no memory.
fn grow(body: &mut Vec<u8>, more: usize, bytes_max: usize) {
    let needed = body.len() + more;
    if needed <= body.capacity() {
        return;
    }
    let doubled = (body.capacity() * 2).max(needed);
    let capacity = if doubled > DOUBLING_BYTES_MAX { bytes_max.max(needed) } else { doubled };
    body.reserve_exact(capacity - body.len());
}

/// When the next bytes must come, so that the body keeps its pace.
fn due(started: Instant, received_bytes: usize) -> Instant {
    started + PACE_GRACE + Duration::from_millis(received_bytes as u64 * 1000 / PACE_BYTES_PER_S)
}

/// Inflates piece by piece: output beyond the limit is never made, and every piece has its room before it exists. What
/// grows large is first counted to its end and then made in one place of its size: a bomb costs its time, and no memory.
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
    let mut room = Room::new(pipeline, deadline).await?;
    let mut inflated = Vec::new();
    let mut inflater = Inflater::new(compression, bytes.clone()).map_err(damaged)?;
    room.cover(STEP_BYTES).await?;
    while inflater.read(&mut inflated, STEP_BYTES).map_err(damaged)? == STEP_BYTES {
        if inflated.len() >= COUNT_FROM_BYTES {
            let total_bytes = inflated.len() + count(&mut inflater, limit_bytes, inflated.len()).await?;
            drop(inflated);
            room.cover(total_bytes).await?;
            inflated = Vec::with_capacity(total_bytes);
            inflater = Inflater::new(compression, bytes).map_err(damaged)?;
            while inflater.read(&mut inflated, STEP_BYTES).map_err(damaged)? == STEP_BYTES {
                tokio::task::consume_budget().await;
            }
            break;
        }
        tokio::task::consume_budget().await;
        room.cover(inflated.len() + STEP_BYTES).await?;
    }
    if inflated.len() as u64 > limit_bytes {
        return Err(Refusal::TooLarge { limit_bytes });
    }
    // From here on only the inflated form is held.
    drop(inflater);
    drop(sent);
    Ok(Body { bytes: inflated.into(), sent_bytes, reservation: room.reservation })
}

/// How much still comes behind `before_bytes`.
async fn count(inflater: &mut Inflater, limit_bytes: u64, before_bytes: usize) -> Result<usize, Refusal> {
    let mut piece = Vec::with_capacity(STEP_BYTES);
    let mut counted_bytes = 0;
    loop {
        piece.clear();
        let read = inflater.read(&mut piece, STEP_BYTES).map_err(damaged)?;
        counted_bytes += read;
        if (before_bytes + counted_bytes) as u64 > limit_bytes {
            return Err(Refusal::TooLarge { limit_bytes });
        }
        if read < STEP_BYTES {
            return Ok(counted_bytes);
        }
        tokio::task::consume_budget().await;
    }
}

fn damaged(_: Damaged) -> Refusal {
    Refusal::Malformed("the compressed body is damaged, cut, or has something behind its end: send it again".into())
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
        let reservation = pipeline.budget.reserve(0, deadline.into()).await.map_err(|_| Refusal::Busy)?;
        Ok(Room { pipeline, reservation, bytes: 0, deadline })
    }

    async fn cover(&mut self, bytes: usize) -> Result<(), Refusal> {
        if bytes > self.bytes {
            let more = (bytes - self.bytes).max(STEP_BYTES);
            let added =
                self.pipeline.budget.reserve(more as u64, self.deadline.into()).await.map_err(|_| Refusal::Busy)?;
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
    fn a_large_body_is_moved_once() {
        let (mut body, bytes_max) = (Vec::new(), 5 << 20);
        let mut places = std::collections::BTreeSet::new();
        while body.len() < bytes_max {
            grow(&mut body, 1000, bytes_max);
            body.resize(body.len() + 1000, 0);
            places.insert(body.capacity());
        }
        assert!(places.iter().all(|place| *place <= DOUBLING_BYTES_MAX || *place >= bytes_max), "{places:?}");
    }

    #[test]
    fn a_pace_is_asked_after_a_grace() {
        let started = Instant::now();
        assert_eq!(due(started, 0) - started, PACE_GRACE);
        assert_eq!(due(started, 2048) - started, PACE_GRACE + Duration::from_secs(2));
    }
}
