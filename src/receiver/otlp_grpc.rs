//! OTLP/gRPC: the method `Export` of the services of all three signals.
//!
//! The framing is read here, and not by tonic's service: that one decodes with prost before anybody can bound it, and
//! answers a message that is too large with OUT_OF_RANGE, which OTLP exporters try again for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body_util::{BodyExt, Full};

use crate::model::key::Scope;
use crate::pipeline::{Encoding, Outcome, Pipeline, Refusal, Signal};
use crate::receiver::body::{Incoming, inflate};
use crate::receiver::inflate::{ACCEPTED, Compression};
use crate::receiver::refused;
use crate::receiver::status::{export_response, grpc_refusal};
use crate::telemetry::Transport;

/// Compressed flag and length of a message.
const PREFIX_BYTES: usize = 5;

const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

pub async fn export(pipeline: Arc<Pipeline>, signal: Signal, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if !is_grpc(&head.headers) {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        let refusal = Refusal::Unsupported("a gRPC method was called without Content-Type application/grpc".into());
        refused(&pipeline, Transport::Grpc, &refusal, &head);
        return response;
    }
    let mut response = match take(&pipeline, signal, &head, body).await {
        Ok(outcome) => success(&outcome),
        Err(refusal) => {
            refused(&pipeline, Transport::Grpc, &refusal, &head);
            grpc_refusal(&refusal, pipeline.throttle_status)
        }
    };
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip,deflate,zstd"));
    response
}

pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// Any other service or method, told as gRPC tells it: exporters give up and say why.
pub fn unknown_method() -> Response {
    let message = "only Export of opentelemetry.proto.collector's TraceService, LogsService and MetricsService is here";
    tonic::Status::unimplemented(message).into_http::<Body>()
}

async fn take(pipeline: &Pipeline, signal: Signal, head: &Parts, body: Body) -> Result<Outcome, Refusal> {
    let hold = hold(pipeline.hold, &head.headers);
    let deadline = Instant::now() + hold;
    let key = pipeline.authenticate(head, Scope::Ingest).await?;
    let charge = pipeline.admit_otlp(key, signal, deadline).await?;
    let limit_bytes = pipeline.body_bytes_max;
    let mut incoming = Incoming::new(pipeline, body, limit_bytes + PREFIX_BYTES as u64, deadline).await?;
    while incoming.more().await? {
        // The length stands in front: a message that is too large is refused before it has come.
        if Prefix::of(incoming.bytes()).is_some_and(|prefix| prefix.message_bytes > limit_bytes) {
            return Err(Refusal::TooLarge { limit_bytes });
        }
    }
    let (framed, reservation) = incoming.finish();
    let (compressed, message) = unframe(framed)?;
    let compression = if compressed { compression_of(&head.headers)? } else { Compression::None };
    let body = inflate(pipeline, message, reservation, compression, deadline).await?;
    let deadline = Instant::now() + hold;
    pipeline.consume_otlp(charge, signal, Encoding::Protobuf, body, Transport::Grpc, deadline).await
}

/// What `grpc-encoding` names; a message that is marked as compressed must have it.
fn compression_of(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let Some(value) = headers.get("grpc-encoding") else {
        return Err(Refusal::Malformed(
            "the message is marked as compressed, but grpc-encoding does not say how".into(),
        ));
    };
    match value.to_str().ok().and_then(Compression::from_name) {
        None => Err(Refusal::Unsupported(format!("this grpc-encoding is not taken: send {ACCEPTED} or identity"))),
        Some(Compression::None) => {
            Err(Refusal::Malformed("the message is marked as compressed, but grpc-encoding is identity".into()))
        }
        Some(compression) => Ok(compression),
    }
}

/// What stands before a message.
struct Prefix {
    flag: u8,
    message_bytes: u64,
}

impl Prefix {
    fn of(framed: &[u8]) -> Option<Prefix> {
        let (&[flag, a, b, c, d], _) = framed.split_first_chunk::<PREFIX_BYTES>()?;
        Some(Prefix { flag, message_bytes: u32::from_be_bytes([a, b, c, d]).into() })
    }
}

/// The one message of a unary call.
fn unframe(mut framed: Bytes) -> Result<(bool, Bytes), Refusal> {
    let wrong = |what: &str| Refusal::Malformed(format!("a unary call carries one message, {what}"));
    let Some(Prefix { flag, message_bytes }) = Prefix::of(&framed) else {
        return Err(wrong("this one has none"));
    };
    if flag > 1 {
        return Err(wrong("and its compressed flag is 0 or 1"));
    }
    framed.advance(PREFIX_BYTES);
    match (framed.len() as u64).cmp(&message_bytes) {
        std::cmp::Ordering::Less => Err(wrong("this one is cut")),
        std::cmp::Ordering::Greater => Err(wrong("this one has more behind it")),
        std::cmp::Ordering::Equal => Ok((flag == 1, framed)),
    }
}

/// Not longer than 0.7 of the caller's own deadline, so that an answer still reaches it.
pub fn hold(hold_max: Duration, headers: &HeaderMap) -> Duration {
    let timeout = headers.get("grpc-timeout").and_then(|value| value.to_str().ok()).and_then(parse_timeout);
    timeout.map_or(hold_max, |timeout| hold_max.min(timeout.mul_f64(0.7)))
}

/// `grpc-timeout` is up to eight digits and a unit: H, M, S, m (ms), u (µs), n (ns).
fn parse_timeout(value: &str) -> Option<Duration> {
    let (digits, unit) = value.split_at_checked(value.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// One message, also when it is empty (the .NET exporter takes an answer without one for a failure), then the status.
fn success(outcome: &Outcome) -> Response {
    let message = export_response(outcome);
    let mut framed = Vec::with_capacity(PREFIX_BYTES + message.len());
    framed.push(0);
    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
    framed.extend_from_slice(&message);
    let trailers = HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_message_is_unframed_and_everything_else_refused() {
        let frame = |bytes: &'static [u8]| unframe(Bytes::from_static(bytes));
        assert_eq!(frame(b"\0\0\0\0\0").unwrap(), (false, Bytes::new()));
        assert_eq!(frame(b"\x01\0\0\0\x02ab").unwrap(), (true, Bytes::from_static(b"ab")));
        for wrong in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab", b"\x02\0\0\0\0"] {
            assert!(matches!(frame(wrong), Err(Refusal::Malformed(_))), "{wrong:?}");
        }
    }

    #[test]
    fn a_callers_deadline_shortens_the_hold() {
        let held = |timeout: &str| {
            let headers = HeaderMap::from_iter([(HeaderName::from_static("grpc-timeout"), timeout.parse().unwrap())]);
            hold(Duration::from_secs(4), &headers)
        };
        assert_eq!(held("10S"), Duration::from_secs(4));
        assert_eq!(held("1000m"), Duration::from_millis(700));
        assert_eq!(held("99999999H"), Duration::from_secs(4));
        for unreadable in ["", "S", "1", "1x", "123456789S", "-1S"] {
            assert_eq!(held(unreadable), Duration::from_secs(4), "{unreadable}");
        }
        assert_eq!(hold(Duration::from_secs(4), &HeaderMap::new()), Duration::from_secs(4));
    }
}
