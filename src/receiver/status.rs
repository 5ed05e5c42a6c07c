//! The one place where a refusal becomes an answer: HTTP status, gRPC code and the hint when to try again.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use chrono::Utc;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use prost::Message;
use serde_json::{Value, json};
use tonic::Code;
use tonic_types::{ErrorDetails, StatusExt, pb};

use crate::auth::AuthError;
use crate::model::batch::Rejection;
use crate::model::quota::Measure;
use crate::pipeline::{Encoding, Outcome, Refusal, Signal};
use crate::quota::{Over, OverQuota, Standing};
use crate::receiver::inflate::ACCEPTED;

/// Seconds after which an exporter shall try again. All of them give up about 10 s after the first try.
const RETRY_AFTER_S: u64 = 1;
const RETRY_AFTER_MAX_S: u64 = 4;
/// Longest text of a partial success.
const MESSAGE_BYTES_MAX: usize = 1024;

/// What a refusal means on each protocol.
pub struct Verdict {
    pub http: StatusCode,
    pub grpc: Code,
    /// Present exactly when trying again can help.
    pub retry_after_s: Option<u64>,
    /// Label of the counter of refused requests.
    pub reason: &'static str,
}

/// `throttle_status` is what HTTP says for a rate limit: 503 or 429.
pub fn verdict(refusal: &Refusal, throttle_status: u16) -> Verdict {
    let permanent = |http, grpc, reason| Verdict { http, grpc, retry_after_s: None, reason };
    let retry = |reason| {
        // One second or two, by chance: senders that were refused together shall not come back together.
        let seconds = rand::random_range(RETRY_AFTER_S..=2 * RETRY_AFTER_S);
        let http = StatusCode::SERVICE_UNAVAILABLE;
        Verdict { http, grpc: Code::Unavailable, retry_after_s: Some(seconds), reason }
    };
    match refusal {
        Refusal::Auth(AuthError::Missing) => permanent(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "no_key"),
        Refusal::Auth(AuthError::BasicWithoutKey) => {
            permanent(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "basic_without_key")
        }
        Refusal::Auth(AuthError::InQuery) => permanent(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "key_in_query"),
        Refusal::Auth(AuthError::Conflicting) => {
            permanent(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "conflicting_keys")
        }
        Refusal::Auth(AuthError::Invalid) => permanent(StatusCode::UNAUTHORIZED, Code::Unauthenticated, "invalid_key"),
        Refusal::Auth(AuthError::Scope(_)) => permanent(StatusCode::FORBIDDEN, Code::PermissionDenied, "scope"),
        Refusal::Auth(AuthError::Unavailable(_)) => retry("key_store_away"),
        Refusal::OverQuota(over) => match over.why {
            Over::Later(wait) => {
                let status = StatusCode::from_u16(throttle_status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
                let retry_after_s = Some(wait.as_secs().saturating_add(1).clamp(1, RETRY_AFTER_MAX_S));
                Verdict { http: status, grpc: Code::Unavailable, retry_after_s, reason: "over_quota" }
            }
            Over::Never => permanent(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, "larger_than_quota"),
            // Not until tomorrow or next month: nobody should try again for so long.
            Over::Spent { .. } => permanent(StatusCode::FORBIDDEN, Code::PermissionDenied, "quota_used_up"),
        },
        Refusal::Malformed(_) => permanent(StatusCode::BAD_REQUEST, Code::InvalidArgument, "malformed"),
        Refusal::TooLarge { .. } => permanent(StatusCode::PAYLOAD_TOO_LARGE, Code::ResourceExhausted, "too_large"),
        Refusal::Unsupported(_) => permanent(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::Unimplemented, "unsupported"),
        Refusal::TooSlow => retry("too_slow"),
        Refusal::Busy => retry("busy"),
        Refusal::Stopping => retry("stopping"),
    }
}

/// An OTLP/HTTP success: exactly 200 with an export response, empty unless something was rejected.
pub fn http_success(encoding: Encoding, signal: Signal, outcome: &Outcome) -> Response {
    let body = match encoding {
        Encoding::Protobuf => export_response(outcome),
        Encoding::Json if is_full_success(outcome) => b"{}".to_vec(),
        Encoding::Json => {
            let rejected = outcome.rejections.count.to_string();
            let field = match signal {
                Signal::Traces => "rejectedSpans",
                Signal::Logs => "rejectedLogRecords",
                Signal::Metrics => "rejectedDataPoints",
            };
            json!({"partialSuccess": {field: rejected, "errorMessage": partial_message(outcome)}})
                .to_string()
                .into_bytes()
        }
    };
    (StatusCode::OK, [(CONTENT_TYPE, media_type(encoding))], body).into_response()
}

/// An OTLP/HTTP refusal: a `google.rpc.Status` in the encoding of the request.
pub fn http_refusal(encoding: Encoding, refusal: &Refusal, throttle_status: u16) -> Response {
    let verdict = verdict(refusal, throttle_status);
    let message = refusal.to_string();
    let mut response = http_status(
        encoding,
        verdict.http,
        verdict.grpc,
        &message,
        verdict.retry_after_s,
        matches!(refusal, Refusal::Malformed(_)),
    );
    if verdict.http == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if verdict.http == StatusCode::UNSUPPORTED_MEDIA_TYPE {
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(ACCEPTED));
    }
    response
}

/// Any OTLP/HTTP error that is no refusal of the pipeline, such as a wrong path.
pub fn http_status(
    encoding: Encoding,
    status: StatusCode,
    code: Code,
    message: &str,
    retry_after_s: Option<u64>,
    bad_request: bool,
) -> Response {
    let details = error_details(retry_after_s, bad_request.then_some(message));
    let body = match encoding {
        Encoding::Protobuf => {
            // The status of tonic-types is the one place that knows how details are packed into Any.
            tonic::Status::with_error_details(code, message, details).details().to_vec()
        }
        Encoding::Json => json_status(code, message, retry_after_s, bad_request).to_string().into_bytes(),
    };
    let mut response = (status, [(CONTENT_TYPE, media_type(encoding))], body).into_response();
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A gRPC error. It has no body, so that it goes out as trailers only, the form that every client reads.
pub fn grpc_refusal(refusal: &Refusal, throttle_status: u16) -> Response {
    let verdict = verdict(refusal, throttle_status);
    let message = refusal.to_string();
    let violation = matches!(refusal, Refusal::Malformed(_)).then_some(message.as_str());
    let mut status = match (verdict.retry_after_s, violation) {
        (None, None) => tonic::Status::new(verdict.grpc, &message),
        (retry_after_s, violation) => {
            tonic::Status::with_error_details(verdict.grpc, &message, error_details(retry_after_s, violation))
        }
    };
    if let Some(seconds) = verdict.retry_after_s {
        // The only place where the Python exporter looks for the delay.
        let info = pb::RetryInfo { retry_delay: Some(prost_types::Duration { seconds: seconds as i64, nanos: 0 }) };
        status
            .metadata_mut()
            .insert_bin("google.rpc.retryinfo-bin", tonic::metadata::MetadataValue::from_bytes(&info.encode_to_vec()));
    }
    status.into_http::<Body>()
}

/// A refusal of the native API and of the query API: `{"detail": …}`, 429 for rates.
pub fn json_refusal(refusal: &Refusal) -> Response {
    let (status, body) = json_detail(refusal);
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    match refusal {
        Refusal::OverQuota(OverQuota { measure, limit, why: Over::Later(wait) }) => {
            headers.insert(RETRY_AFTER, HeaderValue::from(wait.as_secs().saturating_add(1)));
            let standing = Standing { limit: *limit, remaining: 0, resets_in: *wait };
            add_rate_limits(&mut response, &[(*measure, standing)]);
        }
        Refusal::Auth(
            AuthError::Missing | AuthError::BasicWithoutKey | AuthError::InQuery | AuthError::Conflicting,
        ) => {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        _ => {
            if let Some(seconds) = verdict(refusal, StatusCode::TOO_MANY_REQUESTS.as_u16()).retry_after_s {
                headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
    }
    response
}

/// The RateLimit fields (draft-ietf-httpapi-ratelimit-headers-11): each limit as `"steps";q=AMOUNT;w=SECONDS`, and what is
/// left of it as `"steps";r=AMOUNT;t=SECONDS until all is there again`. A second window of a measure adds its word.
pub fn add_rate_limits(response: &mut Response, standings: &[(Measure, Standing)]) {
    let (mut policies, mut states, mut last) = (Vec::new(), Vec::new(), None);
    for (measure, Standing { limit, remaining, resets_in }) in standings {
        let word = measure.word();
        let name = match last == Some(*measure) {
            true => format!("{word}-{}", limit.window.word()),
            false => word.to_owned(),
        };
        last = Some(*measure);
        policies.push(format!("\"{name}\";q={};w={}", limit.amount, limit.window.length(Utc::now()).as_secs()));
        states.push(format!("\"{name}\";r={remaining};t={}", resets_in.as_secs_f64().ceil()));
    }
    for (name, values) in [("ratelimit-policy", policies), ("ratelimit", states)] {
        let headers = response.headers_mut();
        if !values.is_empty()
            && !headers.contains_key(name)
            && let Ok(value) = HeaderValue::try_from(values.join(", "))
        {
            headers.insert(name, value);
        }
    }
}

/// Status and body of a refusal on the JSON side.
pub fn json_detail(refusal: &Refusal) -> (StatusCode, Value) {
    let (status, detail) = match refusal {
        Refusal::Auth(AuthError::Missing) => (StatusCode::UNAUTHORIZED, "Missing API key".to_owned()),
        Refusal::Auth(AuthError::Invalid) => (StatusCode::FORBIDDEN, "Invalid API key".to_owned()),
        other => (verdict(other, StatusCode::TOO_MANY_REQUESTS.as_u16()).http, other.to_string()),
    };
    (status, json!({"detail": detail}))
}

/// Whether there is nothing to say: then `partial_success` must be absent.
fn is_full_success(outcome: &Outcome) -> bool {
    outcome.rejections.is_empty() && outcome.warnings.is_empty()
}

/// An `ExportTraceServiceResponse`, or that of another signal, which has the same fields; no bytes when everything was
/// taken and there is nothing to say.
pub fn export_response(outcome: &Outcome) -> Vec<u8> {
    let partial_success = (!is_full_success(outcome)).then(|| PartialSuccess {
        rejected: i64::try_from(outcome.rejections.count).unwrap_or(i64::MAX),
        error_message: partial_message(outcome),
    });
    ExportResponse { partial_success }.encode_to_vec()
}

/// `opentelemetry.proto.collector.trace.v1.ExportTraceServiceResponse` and its like for logs and metrics.
#[derive(Clone, PartialEq, prost::Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `opentelemetry.proto.collector.trace.v1.ExportTracePartialSuccess` and its like for logs and metrics.
#[derive(Clone, PartialEq, prost::Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// First what was rejected, then what else there is to know; whole sentences only.
fn partial_message(outcome: &Outcome) -> String {
    let rejections = &outcome.rejections;
    let examples = rejections.first.iter().map(|Rejection { place, reason, .. }| format!("{place}: {reason}"));
    let is_more = rejections.count > rejections.first.len() as u64;
    let total = if is_more { format!("{} rejected in all", rejections.count) } else { String::new() };
    let mut message = String::new();
    // The total is short and always told, so its room is kept free.
    for part in examples {
        append(&mut message, &part, MESSAGE_BYTES_MAX - JOINT.len() - total.len());
    }
    for part in std::iter::once(&total).chain(&outcome.warnings).filter(|part| !part.is_empty()) {
        append(&mut message, part, MESSAGE_BYTES_MAX);
    }
    message
}

const JOINT: &str = "; ";

/// Unless the message would become longer than `bytes_max`.
fn append(message: &mut String, part: &str, bytes_max: usize) {
    let joint = if message.is_empty() { "" } else { JOINT };
    if message.len() + joint.len() + part.len() <= bytes_max {
        message.extend([joint, part]);
    }
}

fn error_details(retry_after_s: Option<u64>, violation: Option<&str>) -> ErrorDetails {
    let mut details = ErrorDetails::new();
    if let Some(seconds) = retry_after_s {
        details.set_retry_info(Some(std::time::Duration::from_secs(seconds)));
    }
    if let Some(description) = violation {
        details.add_bad_request_violation("body", description);
    }
    details
}

fn json_status(code: Code, message: &str, retry_after_s: Option<u64>, bad_request: bool) -> Value {
    let mut details = Vec::new();
    if let Some(seconds) = retry_after_s {
        details.push(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}));
    }
    if bad_request {
        let violation = json!({"field": "body", "description": message});
        details.push(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}));
    }
    let mut status = json!({"code": code as i32, "message": message});
    if !details.is_empty() {
        status["details"] = Value::Array(details);
    }
    status
}

/// Bare, without parameters: the Collector and the Go SDK compare it exactly.
fn media_type(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Protobuf => "application/x-protobuf",
        Encoding::Json => "application/json",
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD_NO_PAD;

    use super::*;
    use crate::model::batch::Rejections;

    /// The wire form that the OTLP specification's messages have, byte by byte.
    #[test]
    fn the_protobuf_answers_have_the_bytes_of_the_specification() {
        assert_eq!(export_response(&Outcome::default()), b"");
        let partial_success = Some(PartialSuccess { rejected: 3, error_message: "x".into() });
        assert_eq!(ExportResponse { partial_success }.encode_to_vec(), [0x0a, 5, 8, 3, 0x12, 1, b'x']);
        let busy = tonic::Status::with_error_details(Code::Unavailable, "busy", error_details(Some(1), None));
        assert_eq!(
            STANDARD_NO_PAD.encode(busy.details()),
            "CA4SBGJ1c3kaMAoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIECgIIAQ"
        );
    }

    #[test]
    fn a_retry_hint_stands_exactly_where_trying_again_helps() {
        use crate::model::quota::{Limit, Window};
        let limit = Limit { amount: 1, window: Window::Minute };
        let over = |why| Refusal::OverQuota(OverQuota { measure: Measure::Steps, limit, why });
        let minute = Over::Later(std::time::Duration::from_secs(60));
        for (refusal, http, grpc, retry) in [
            (Refusal::Auth(AuthError::Missing), 401, Code::Unauthenticated, false),
            (Refusal::Auth(AuthError::BasicWithoutKey), 401, Code::Unauthenticated, false),
            (Refusal::Auth(AuthError::Invalid), 401, Code::Unauthenticated, false),
            (Refusal::Auth(AuthError::Conflicting), 401, Code::Unauthenticated, false),
            (Refusal::Auth(AuthError::InQuery), 401, Code::Unauthenticated, false),
            (Refusal::Auth(AuthError::Scope("ingest")), 403, Code::PermissionDenied, false),
            (Refusal::Malformed("x".into()), 400, Code::InvalidArgument, false),
            (Refusal::TooLarge { limit_bytes: 1 }, 413, Code::ResourceExhausted, false),
            (Refusal::Unsupported("x".into()), 415, Code::Unimplemented, false),
            (Refusal::TooSlow, 503, Code::Unavailable, true),
            (Refusal::Busy, 503, Code::Unavailable, true),
            (Refusal::Stopping, 503, Code::Unavailable, true),
            (over(minute.clone()), 503, Code::Unavailable, true),
            (over(Over::Never), 413, Code::ResourceExhausted, false),
            (over(Over::Spent { until: Utc::now() }), 403, Code::PermissionDenied, false),
        ] {
            let verdict = verdict(&refusal, 503);
            let hint = verdict.retry_after_s;
            assert_eq!((verdict.http.as_u16(), verdict.grpc, hint.is_some()), (http, grpc, retry), "{refusal:?}");
            assert!(hint.is_none_or(|seconds| (1..=RETRY_AFTER_MAX_S).contains(&seconds)), "{refusal:?}: {hint:?}");
            let response = grpc_refusal(&refusal, 503);
            assert_eq!(response.headers().contains_key("google.rpc.retryinfo-bin"), retry, "{refusal:?}");
            assert_eq!(http_refusal(Encoding::Json, &refusal, 503).headers().contains_key("retry-after"), retry);
        }
        assert_eq!(verdict(&over(minute), 429).http.as_u16(), 429);
    }

    #[test]
    fn the_text_of_a_partial_success_is_short() {
        let mut rejections = Rejections::default();
        (0..1000).for_each(|_| rejections.add("bad", || ("p".repeat(300), "r".repeat(300))));
        let message = partial_message(&Outcome { rejections, warnings: vec!["w".repeat(900)], ..Outcome::default() });
        assert!(message.len() <= MESSAGE_BYTES_MAX && message.ends_with("1000 rejected in all"), "{message}");
    }

    #[test]
    fn otlp_33_a_warning_rejects_nothing() {
        let outcome = Outcome { warnings: vec!["two spans were mended".into()], ..Outcome::default() };
        let answer = ExportResponse::decode(&export_response(&outcome)[..]).unwrap().partial_success.unwrap();
        assert_eq!((answer.rejected, answer.error_message.as_str()), (0, "two spans were mended"));
        let mut rejections = Rejections::default();
        rejections.add("bad", || ("spans[0]".into(), "bad".into()));
        let outcome = Outcome { rejections, ..outcome };
        assert_eq!(partial_message(&outcome), "spans[0]: bad; two spans were mended");
    }
}
