//! Sizes, compression and abuse: OTLP-42 to OTLP-50.

use std::io::Write;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::io::AsyncWriteExt;
use tonic::Code;

use super::client::{
    Http1, JSON, PROTOBUF, TRACE_SERVICE, TRACES, UNKNOWN_KEY, call, export, framed, gzip, gzip_of_zeros, head_bytes,
    is_long, memory_of, post, post_with, raw_deflate, runs_stored, within, zlib, zstd,
};
use crate::collector::{Collector, OWN_FILE};
use crate::database::on_both_stores;
use crate::spans::{agent_trace, encoded, request};

const MIB: usize = 1 << 20;

fn rejected(body: &[u8]) -> i64 {
    ExportTraceServiceResponse::decode(body).unwrap().partial_success.map_or(0, |partial| partial.rejected_spans)
}

/// A request whose one scope holds these bytes, which are written as its spans.
pub fn around(spans: &[u8]) -> Vec<u8> {
    let mut scope = Vec::new();
    prost::encoding::encode_key(2, prost::encoding::WireType::LengthDelimited, &mut scope);
    prost::encoding::encode_varint(spans.len() as u64, &mut scope);
    let mut body = Vec::new();
    prost::encoding::encode_key(1, prost::encoding::WireType::LengthDelimited, &mut body);
    prost::encoding::encode_varint((scope.len() + spans.len()) as u64, &mut body);
    body.extend_from_slice(&scope);
    body.extend_from_slice(spans);
    body
}

#[tokio::test]
async fn otlp_42_the_limit_of_a_body_is_64_mib_before_and_after_inflating() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let announced = post(&collector, TRACES, PROTOBUF, &vec![0; 65 * MIB]).await;
    assert_eq!((announced.status, announced.rpc_status().code), (413, Code::ResourceExhausted as i32));
    let zipped = gzip_of_zeros(65 * MIB as u64);
    assert!(zipped.len() < 80 * 1024, "{} bytes", zipped.len());
    let inflating = post_with(&collector, TRACES, PROTOBUF, &[("content-encoding", "gzip")], &zipped).await;
    assert_eq!((inflating.status, inflating.rpc_status().code), (413, Code::ResourceExhausted as i32));
}

#[tokio::test]
async fn otlp_42_the_limit_is_a_setting_and_exact() {
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_LIMITS__BODY_BYTES", "64KiB")]).await;
    // A field that nobody knows fills a body up to any length: tag 15, length-delimited.
    let body_of = |bytes: usize| {
        let mut body = vec![0x7a];
        prost::encoding::encode_varint((bytes - 4) as u64, &mut body);
        body.resize(bytes, b'x');
        body
    };
    for (bytes, status) in [(65_536, 200), (65_537, 413)] {
        let body = body_of(bytes);
        assert_eq!(post(&collector, TRACES, PROTOBUF, &body).await.status, status, "{bytes}");
        let headers = [("content-encoding", "gzip")];
        assert_eq!(post_with(&collector, TRACES, PROTOBUF, &headers, &gzip(&body)).await.status, status, "{bytes}");
        // In chunks: no length is announced.
        let bearer = format!("Bearer {}", collector.key);
        let headers =
            [("authorization", bearer.as_str()), ("content-type", PROTOBUF), ("transfer-encoding", "chunked")];
        let mut sent = head_bytes("POST", TRACES, &headers, None);
        for chunk in body.chunks(1000) {
            write!(sent, "{:x}\r\n", chunk.len()).unwrap();
            sent.extend_from_slice(chunk);
            sent.extend_from_slice(b"\r\n");
        }
        sent.extend_from_slice(b"0\r\n\r\n");
        assert_eq!(Http1::connect(collector.http).await.ask(&sent).await.status, status, "{bytes} in chunks");
    }
}

#[tokio::test]
async fn otlp_43_grpc_oversize_is_resource_exhausted() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let zipped = [("authorization", bearer.as_str()), ("grpc-encoding", "gzip")];
    let plain = export(&collector, TRACE_SERVICE, &vec![0; 65 * MIB]).await;
    let inflating = call(collector.grpc, TRACE_SERVICE, &zipped, framed(1, &gzip_of_zeros(65 * MIB as u64))).await;
    for answer in [plain, inflating] {
        assert_eq!((answer.http, answer.code()), (200, Code::ResourceExhausted as i32), "{answer:?}");
        assert_eq!(answer.retry_info_s(), None);
        assert!(answer.end().get("grpc-status-details-bin").is_none(), "{answer:?}");
    }
}

#[tokio::test]
async fn otlp_44_unknown_encodings_are_refused_with_a_list() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let body = encoded(agent_trace(0));
    for encoding in ["br", "compress", "x-snappy-framed", "lz4"] {
        let answer = post_with(&collector, TRACES, PROTOBUF, &[("content-encoding", encoding)], &body).await;
        assert_eq!(answer.status, 415, "{encoding}");
        let listed: Vec<_> = answer.header("accept-encoding").split(',').map(str::trim).collect();
        assert!(listed.contains(&"gzip") && !listed.contains(&encoding), "{encoding}: {listed:?}");
        assert!(!answer.rpc_status().message.is_empty());
    }
    let bearer = format!("Bearer {}", collector.key);
    let metadata = [("authorization", bearer.as_str()), ("grpc-encoding", "foo")];
    let answer = call(collector.grpc, TRACE_SERVICE, &metadata, framed(1, &body)).await;
    assert_eq!((answer.http, answer.code()), (200, Code::Unimplemented as i32));
    let listed = answer.headers["grpc-accept-encoding"].to_str().unwrap();
    assert!(listed.split(',').any(|name| name.trim() == "gzip"), "{listed}");
    // A call says which encodings it could use in any case.
    assert!(export(&collector, TRACE_SERVICE, &body).await.headers.contains_key("grpc-accept-encoding"));
    assert_eq!(runs_stored(&collector).await, 1);
}

/// A compression and its name as senders write it.
type Encoding = (&'static str, fn(&[u8]) -> Vec<u8>);

const ENCODINGS: [Encoding; 9] = [
    ("", |bytes| bytes.to_vec()),
    ("identity", |bytes| bytes.to_vec()),
    ("gzip", gzip),
    ("GZip", gzip),
    ("gzip", |bytes| [gzip(&bytes[..9]), gzip(&bytes[9..])].concat()),
    ("deflate", zlib),
    ("deflate", raw_deflate),
    ("zstd", zstd),
    ("zstd", |bytes| [zstd(&bytes[..9]), zstd(&bytes[9..])].concat()),
];

async fn otlp_45_every_encoding_works_in_both_content_types(url: &str) {
    let collector = Collector::start(url, &[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let mut number = 0;
    for (name, compress) in ENCODINGS {
        for content_type in [PROTOBUF, JSON] {
            number += 1;
            let body = match content_type {
                JSON => serde_json::to_vec(&request(agent_trace(number))).unwrap(),
                _ => encoded(agent_trace(number)),
            };
            let headers = [("content-encoding", name)];
            let answer = post_with(&collector, TRACES, content_type, &headers, &compress(&body)).await;
            assert_eq!(answer.status, 200, "{name:?} {number} {content_type}: {:?}", answer.text());
        }
        if name.is_empty() || name == "GZip" {
            continue;
        }
        number += 1;
        let message = framed(u8::from(name != "identity"), &compress(&encoded(agent_trace(number))));
        let metadata = [("authorization", bearer.as_str()), ("grpc-encoding", name)];
        let answer = call(collector.grpc, TRACE_SERVICE, &metadata, message).await;
        assert_eq!(answer.code(), 0, "gRPC {name} {number}: {}", answer.message());
    }
    assert_eq!(runs_stored(&collector).await as u64, number);
}
on_both_stores!(otlp_45_every_encoding_works_in_both_content_types);

#[tokio::test]
async fn otlp_45_one_encoding_at_a_time_and_small_windows() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let body = encoded(agent_trace(0));
    for name in ["gzip, gzip", "gzip,zstd"] {
        let headers = [("content-encoding", name)];
        assert_eq!(post_with(&collector, TRACES, PROTOBUF, &headers, &gzip(&gzip(&body))).await.status, 415, "{name}");
    }
    let twice = [("content-encoding", "gzip"), ("content-encoding", "gzip")];
    assert_eq!(post_with(&collector, TRACES, PROTOBUF, &twice, &gzip(&gzip(&body))).await.status, 415);
    // A frame by hand with one raw block; the window descriptor is the fifth byte: 8 MiB is the most, RFC 9659.
    let frame = |window: u8| {
        let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, window];
        frame.extend_from_slice(&(1 | (body.len() as u32) << 3).to_le_bytes()[..3]);
        frame.extend_from_slice(&body);
        frame
    };
    let window_of = |log: u8| (log - 10) << 3;
    for (log, status) in [(20, 200), (23, 200), (24, 400), (31, 400)] {
        let headers = [("content-encoding", "zstd")];
        let answer = post_with(&collector, TRACES, PROTOBUF, &headers, &frame(window_of(log))).await;
        assert_eq!(answer.status, status, "a window of 2^{log}: {:?}", answer.text());
    }
}

/// `mib` MiB of zeros in each compression, a thousandth of that in size. Made of one piece, many times over; the streams
/// have no end, which nobody shall reach.
pub fn bombs(mib: usize) -> Vec<(&'static str, Vec<u8>)> {
    let zeros = vec![0; MIB];
    let mut piece = Vec::with_capacity(MIB);
    let mut compress = flate2::Compress::new(flate2::Compression::best(), false);
    compress.compress_vec(&zeros, &mut piece, flate2::FlushCompress::Full).unwrap();
    let deflated = piece.repeat(mib);
    let gzip_head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    let zlib_head = [0x78, 0xda];
    vec![
        ("gzip", [&gzip_head[..], &deflated].concat()),
        ("deflate", [&zlib_head[..], &deflated].concat()),
        ("deflate", deflated),
        ("zstd", zstd(&zeros).repeat(mib)),
    ]
}

#[tokio::test]
async fn otlp_46_bombs_are_stopped_at_the_limit() {
    let (limit_bytes, bomb_mib) = (64 * MIB, 10 << 10);
    let limit = limit_bytes.to_string();
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_LIMITS__BODY_BYTES", &limit)]).await;
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    let (before, _) = memory_of(&collector);
    for (name, bomb) in bombs(bomb_mib) {
        assert!(bomb.len() < limit_bytes, "{name}: the bomb itself is {} bytes", bomb.len());
        let answer = post_with(&collector, TRACES, PROTOBUF, &[("content-encoding", name)], &bomb).await;
        assert_eq!((answer.status, answer.rpc_status().code), (413, Code::ResourceExhausted as i32), "{name}");
    }
    let (_, peak) = memory_of(&collector);
    assert!(peak - before < 2 * limit_bytes as u64, "{} MiB more", (peak - before) >> 20);
}

#[tokio::test]
async fn otlp_46_damaged_streams_are_refused() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let body = encoded(agent_trace(0));
    for (name, compress) in ENCODINGS.into_iter().filter(|(name, _)| !["", "identity"].contains(name)) {
        let whole = compress(&body);
        let cut = whole[..whole.len() - 3].to_vec();
        let longer = [whole.as_slice(), b"garbage that is no member"].concat();
        for (what, damaged) in [("cut", cut), ("with garbage behind", longer), ("nothing else", vec![0xaa; 40])] {
            let headers = [("content-encoding", name)];
            let answer = post_with(&collector, TRACES, PROTOBUF, &headers, &damaged).await;
            assert_eq!(answer.status, 400, "{name} {what}");
            assert_eq!(answer.rpc_status().code, Code::InvalidArgument as i32);
        }
    }
    assert_eq!(runs_stored(&collector).await, 0);
}

#[tokio::test]
async fn otlp_47_what_is_over_a_structural_limit_costs_itself_alone() {
    let settings = [("VECTOROS_LIMITS__REQUEST_SPANS", "3"), ("VECTOROS_LIMITS__SPAN_ITEMS", "8")];
    let collector = Collector::start(OWN_FILE, &settings).await;
    let five = [agent_trace(0), agent_trace(1)[..2].to_vec()].concat();
    let answer = post(&collector, TRACES, PROTOBUF, &encoded(five)).await;
    assert_eq!((answer.status, rejected(&answer.body)), (200, 2), "spans after the third");
    let mut wide = agent_trace(2);
    wide[1].attributes = (0..9).map(|number| crate::spans::text(&format!("k{number}"), "v")).collect();
    let answer = post(&collector, TRACES, PROTOBUF, &encoded(wide)).await;
    assert_eq!((answer.status, rejected(&answer.body)), (200, 1), "a span with nine attributes");
    assert_eq!(runs_stored(&collector).await, 2);
}

#[tokio::test]
async fn otlp_47_huge_structures_take_no_memory() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    let span = Span { attributes: vec![], ..agent_trace(1)[0].clone() }.encode_to_vec();
    let (before, _) = memory_of(&collector);
    let mut sent = 0;
    // Millions of empty attributes, events and links in one span: tags 9, 11 and 13. As objects they would take thirty
    // times their bytes.
    for tag in [0x4a, 0x5a, 0x6a] {
        let items: Vec<u8> = std::iter::repeat_n([tag, 0], 3_000_000).flatten().collect();
        let mut spans = vec![0x12];
        prost::encoding::encode_varint((span.len() + items.len()) as u64, &mut spans);
        spans.extend_from_slice(&span);
        spans.extend_from_slice(&items);
        let body = around(&spans);
        sent = sent.max(body.len() as u64);
        let answer = post(&collector, TRACES, PROTOBUF, &body).await;
        assert_eq!((answer.status, rejected(&answer.body)), (200, 1), "tag {tag:x}");
    }
    let (_, peak) = memory_of(&collector);
    assert!(peak - before < 4 * sent, "{} MiB more for {} MiB", (peak - before) >> 20, sent >> 20);
}

#[tokio::test]
async fn otlp_48_millions_of_empty_spans_take_no_memory() {
    let body_bytes = if is_long() { 64 * MIB - 16 } else { 8 * MIB };
    let collector = Collector::start(OWN_FILE, &[]).await;
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(0))).await.status, 200);
    let spans: Vec<u8> = std::iter::repeat_n([0x12, 0], body_bytes / 2 - 8).flatten().collect();
    let body = around(&spans);
    let (before, _) = memory_of(&collector);
    let answer = post(&collector, TRACES, PROTOBUF, &body).await;
    assert_eq!((answer.status, rejected(&answer.body)), (200, spans.len() as i64 / 2));
    let (_, peak) = memory_of(&collector);
    assert!(peak - before < 3 * body.len() as u64, "{} MiB more for {}", (peak - before) >> 20, body.len() >> 20);
}

#[tokio::test]
async fn otlp_49_answers_stay_far_below_4_mib() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let bad: Vec<Span> = std::iter::repeat_n(Span { trace_id: vec![7; 15], ..Span::default() }, 50_000).collect();
    let body = encoded(bad);
    let answer = post(&collector, TRACES, PROTOBUF, &body).await;
    assert!(answer.status == 200 && answer.body.len() < 4096, "{} bytes", answer.body.len());
    assert_eq!(rejected(&answer.body), 50_000);
    let answer = export(&collector, TRACE_SERVICE, &body).await;
    assert!(answer.code() == 0 && answer.body.len() < 4096, "{} bytes", answer.body.len());
    // A name of megabytes in a broken place is not repeated.
    let long = format!("{{\"resourceSpans\":[{{\"{}", "x".repeat(5 * MIB));
    let answer = post(&collector, TRACES, JSON, long.as_bytes()).await;
    assert!(answer.status == 400 && answer.body.len() < 4096, "{} bytes", answer.body.len());
}

/// Announces `length` bytes and writes until the answer is there, as a client that looks up while it sends.
async fn upload(collector: &Collector, headers: &[(&str, &str)], length: u64) -> super::client::Answer {
    let mut connection = Http1::connect(collector.http).await;
    connection.send(&head_bytes("POST", TRACES, headers, Some(length))).await;
    let (mut read, mut write) = connection.stream.into_split();
    let sending = tokio::spawn(async move {
        let (piece, mut left) = (vec![0; 64 * 1024], length);
        while left > 0 {
            // The other side may have closed its half: what counts is whether the answer can be read.
            if write.write_all(&piece[..piece.len().min(left as usize)]).await.is_err() {
                break;
            }
            left = left.saturating_sub(piece.len() as u64);
        }
        write
    });
    // Late, as a busy client: what it has not read by now may be lost to a reset.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let mut bytes = Vec::new();
    let read_result = within(tokio::io::AsyncReadExt::read_to_end(&mut read, &mut bytes)).await;
    sending.abort();
    let (client, mut server) = tokio::io::duplex(1 << 20);
    server.write_all(&bytes).await.unwrap();
    drop(server);
    let answer = within(Http1::over(client).try_answer()).await;
    answer.unwrap_or_else(|error| panic!("{error}, {read_result:?}: {:?}", String::from_utf8_lossy(&bytes)))
}

#[tokio::test]
async fn otlp_50_an_early_refusal_reaches_a_client_that_is_still_sending() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let (good, bad) = (format!("Bearer {}", collector.key), format!("Bearer {UNKNOWN_KEY}"));
    for (key, content_type, encoding, status) in [
        (&bad, PROTOBUF, "identity", 401),
        (&good, PROTOBUF, "identity", 413),
        (&good, "text/plain", "identity", 415),
        (&good, PROTOBUF, "br", 415),
    ] {
        let headers = [("authorization", key.as_str()), ("content-type", content_type), ("content-encoding", encoding)];
        let answer = upload(&collector, &headers, 200 * MIB as u64).await;
        assert_eq!(answer.status, status);
        assert!(!answer.rpc_status().message.is_empty());
        // Who waits for leave to send is refused instead of being given leave.
        let waiting: Vec<_> = headers.into_iter().chain([("expect", "100-continue")]).collect();
        let head = head_bytes("POST", TRACES, &waiting, Some(200 * MIB as u64));
        let answer = Http1::connect(collector.http).await.ask(&head).await;
        assert_eq!(answer.status, status, "instead of 100 Continue");
    }
}
