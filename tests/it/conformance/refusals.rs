//! Every way to be refused, on every path that takes data, in both encodings and over gRPC. What must be true of all
//! of them is asserted over this one walk, by the tests of several sections.

use tonic::Code;

use super::client::{
    Answer, GrpcAnswer, JSON, LOGS_SERVICE, METRICS_SERVICE, PROTOBUF, TRACE_SERVICE, UNKNOWN_KEY, ask, call, framed,
    gzip,
};
use crate::collector::Collector;
use crate::spans::{agent_trace, encoded, request};

/// The settings that the walk needs: a limit that is quickly passed.
pub const SETTINGS: [(&str, &str); 1] = [("VECTOROS_LIMITS__BODY_BYTES", "64KiB")];
const OVER_LIMIT_BYTES: usize = 65 * 1024;

/// How a request was refused, and how the decision table says it must be.
pub struct Refused<A> {
    pub what: String,
    /// The HTTP status, or the code of gRPC.
    pub expected: i32,
    /// Trying again can help.
    pub is_transient: bool,
    /// The media type of the request, where it is one of OTLP.
    pub asked_in: &'static str,
    pub answer: A,
}

/// The keys that the walk uses.
struct Keys {
    good: String,
    only_reads: String,
    used_up: String,
    tiny: String,
    revoked: String,
}

impl Keys {
    async fn make(collector: &Collector) -> Keys {
        let revoked = collector.make_key("gone", &[]);
        collector.command(&["keys", "revoke", &revoked[4..12]]);
        let keys = Keys {
            good: bearer(&collector.key),
            only_reads: bearer(&collector.make_key("reads", &["--scope", "read"])),
            used_up: bearer(&collector.make_key("poor", &["--quota", "requests=1/hour"])),
            tiny: bearer(&collector.make_key("tiny", &["--quota", "bytes=10/day"])),
            revoked: bearer(&revoked),
        };
        let headers = [("authorization", keys.used_up.as_str()), ("content-type", JSON)];
        assert_eq!(ask(collector.http, "POST", "/v1/traces", &headers, b"{}").await.status, 200);
        keys
    }
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

/// Every refusal over HTTP/1.1.
pub async fn over_http(collector: &Collector) -> Vec<Refused<Answer>> {
    let keys = Keys::make(collector).await;
    let (unknown, nonsense) = (bearer(UNKNOWN_KEY), bearer("nonsense"));
    let mut refused = Vec::new();
    for path in
        ["/v1/traces", "/v1/logs", "/v1/metrics", "/otlp/v1/traces", "/api/public/otel/v1/traces", "/v1/traces/"]
    {
        for asked_in in [PROTOBUF, JSON] {
            let good: &[u8] = &match asked_in {
                JSON => serde_json::to_vec(&request(agent_trace(0))).unwrap(),
                _ => encoded(agent_trace(0)),
            };
            let zeros = vec![0; OVER_LIMIT_BYTES];
            let bomb = gzip(&vec![0; 10 << 20]);
            let cut = gzip(good);
            let cut = &cut[..cut.len() - 4];
            let key = keys.good.as_str();
            type Way<'a> = (&'a str, u16, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);
            let ways: &[Way] = &[
                ("no key", 401, "", &[], good),
                ("an unknown key", 401, &unknown, &[], good),
                ("a revoked key", 401, &keys.revoked, &[], good),
                ("no text of a key", 401, &nonsense, &[], good),
                ("a scheme without a key", 401, "Bearer", &[], good),
                ("two keys", 401, key, &[("x-api-key", &nonsense)], good),
                ("a key that may only read", 403, &keys.only_reads, &[], good),
                ("a damaged body", 400, key, &[], &[0xff; 9]),
                ("no gzip", 400, key, &[("content-encoding", "gzip")], &[0xff; 9]),
                ("a cut gzip", 400, key, &[("content-encoding", "gzip")], cut),
                ("no zstd", 400, key, &[("content-encoding", "zstd")], &[0xff; 9]),
                ("no deflate", 400, key, &[("content-encoding", "deflate")], &[0xff; 9]),
                ("an unknown encoding", 415, key, &[("content-encoding", "br")], good),
                ("two encodings", 415, key, &[("content-encoding", "gzip, gzip")], good),
                ("a large body", 413, key, &[], &zeros),
                ("a body that inflates", 413, key, &[("content-encoding", "gzip")], &bomb),
                ("a body larger than the quota", 413, &keys.tiny, &[], good),
                ("a quota that is used up", 503, &keys.used_up, &[], good),
            ];
            for (what, expected, key, more, body) in ways {
                let mut headers = vec![("content-type", asked_in)];
                if !key.is_empty() {
                    headers.push(("authorization", key));
                }
                headers.extend_from_slice(more);
                let answer = ask(collector.http, "POST", path, &headers, body).await;
                refused.push(Refused {
                    what: format!("{what}, {path} in {asked_in}"),
                    expected: i32::from(*expected),
                    is_transient: *expected == 503,
                    asked_in,
                    answer,
                });
            }
            let others: [(&str, String, i32); 4] = [
                ("GET", path.to_owned(), 405),
                ("PUT", path.to_owned(), 405),
                ("POST", format!("{path}/nothing"), 404),
                ("POST", format!("{path}?api_key={}", collector.key), 401),
            ];
            for (method, path, expected) in others {
                let headers: &[_] = match expected {
                    401 => &[("content-type", asked_in)],
                    _ => &[("content-type", asked_in), ("authorization", key)],
                };
                let body = if method == "GET" { b"" } else { good };
                let answer = ask(collector.http, method, &path, headers, body).await;
                let what = format!("{method} {path} in {asked_in}").replace(&collector.key, "KEY");
                refused.push(Refused { what, expected, is_transient: false, asked_in, answer });
            }
        }
        for content_type in ["text/plain", "application/x-www-form-urlencoded", ""] {
            let headers = [("content-type", content_type), ("authorization", keys.good.as_str())];
            let answer = ask(collector.http, "POST", path, &headers, b"{}").await;
            let what = format!("{content_type:?}, {path}");
            refused.push(Refused { what, expected: 415, is_transient: false, asked_in: JSON, answer });
        }
    }
    refused
}

/// Every refusal over gRPC.
pub async fn over_grpc(collector: &Collector) -> Vec<Refused<GrpcAnswer>> {
    let keys = Keys::make(collector).await;
    let (unknown, nonsense) = (bearer(UNKNOWN_KEY), bearer("nonsense"));
    let good = framed(0, &encoded(agent_trace(0)));
    let cut = gzip(&encoded(agent_trace(0)));
    let cut = framed(1, &cut[..cut.len() - 4]);
    let large = framed(0, &vec![0; OVER_LIMIT_BYTES]);
    let bomb = framed(1, &gzip(&vec![0; 10 << 20]));
    let damaged = framed(0, &[0xff; 9]);
    let zipped = framed(1, &encoded(agent_trace(0)));
    let two = [good.as_slice(), &good].concat();
    let key = keys.good.as_str();
    type Way<'a> = (&'a str, Code, &'a str, &'a [(&'a str, &'a str)], &'a [u8]);
    let ways: &[Way] = &[
        ("no key", Code::Unauthenticated, "", &[], &good),
        ("an unknown key", Code::Unauthenticated, &unknown, &[], &good),
        ("a revoked key", Code::Unauthenticated, &keys.revoked, &[], &good),
        ("no text of a key", Code::Unauthenticated, &nonsense, &[], &good),
        ("two keys", Code::Unauthenticated, key, &[("x-api-key", &nonsense)], &good),
        ("a key that may only read", Code::PermissionDenied, &keys.only_reads, &[], &good),
        ("a damaged message", Code::InvalidArgument, key, &[], &damaged),
        ("no gzip", Code::InvalidArgument, key, &[("grpc-encoding", "gzip")], &zipped),
        ("a cut gzip", Code::InvalidArgument, key, &[("grpc-encoding", "gzip")], &cut),
        ("an unknown encoding", Code::Unimplemented, key, &[("grpc-encoding", "foo")], &zipped),
        ("two messages", Code::InvalidArgument, key, &[], &two),
        ("no message", Code::InvalidArgument, key, &[], &[]),
        ("a large message", Code::ResourceExhausted, key, &[], &large),
        ("a message that inflates", Code::ResourceExhausted, key, &[("grpc-encoding", "gzip")], &bomb),
        ("a message larger than the quota", Code::ResourceExhausted, &keys.tiny, &[], &good),
        ("a quota that is used up", Code::Unavailable, &keys.used_up, &[], &good),
    ];
    let mut refused = Vec::new();
    for method in [TRACE_SERVICE, LOGS_SERVICE, METRICS_SERVICE] {
        for (what, expected, key, more, body) in ways {
            let mut metadata: Vec<_> = more.to_vec();
            if !key.is_empty() {
                metadata.push(("authorization", key));
            }
            let answer = call(collector.grpc, method, &metadata, body.to_vec()).await;
            refused.push(Refused {
                what: format!("{what}, {method}"),
                expected: *expected as i32,
                is_transient: *expected == Code::Unavailable,
                asked_in: "",
                answer,
            });
        }
    }
    for method in ["/opentelemetry.proto.collector.trace.v1.TraceService/Import", "/no.Service/Export"] {
        let answer = call(collector.grpc, method, &[("authorization", key)], good.clone()).await;
        let (what, expected) = (method.to_owned(), Code::Unimplemented as i32);
        refused.push(Refused { what, expected, is_transient: false, asked_in: "", answer });
    }
    refused
}
