//! What must hold for any bytes. The fuzz targets look for bytes for which it does not; the test `corpus` holds every
//! input that they found worth keeping against it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use vectoros::auth::credentials::{key_in, user_agent};
use vectoros::otlp::{DecodeLimits, Encoding, Malformed, Request, Slices, json, protobuf};
use vectoros::receiver::body::{compression_of, encoding_of};
use vectoros::receiver::client::address;
use vectoros::receiver::inflate::{Compression, Inflater};
use vectoros::receiver::otlp_grpc::hold;

const LIMITS: DecodeLimits = DecodeLimits { spans_max: 5000, span_items_max: 1000, depth_max: 64 };

/// A request of each signal in protobuf.
pub fn protobuf(input: &[u8]) {
    let encoding = Encoding::Protobuf;
    check(Slices::of_traces(body(input), encoding, LIMITS), protobuf::decode_traces(input, LIMITS));
    check(Slices::of_logs(body(input), encoding, LIMITS), protobuf::decode_logs(input, LIMITS));
    check(Slices::of_metrics(body(input), encoding, LIMITS), protobuf::decode_metrics(input, LIMITS));
}

/// The same in JSON.
pub fn json(input: &[u8]) {
    let encoding = Encoding::Json;
    check(Slices::of_traces(body(input), encoding, LIMITS), json::decode_traces(input, LIMITS));
    check(Slices::of_logs(body(input), encoding, LIMITS), json::decode_logs(input, LIMITS));
    check(Slices::of_metrics(body(input), encoding, LIMITS), json::decode_metrics(input, LIMITS));
}

fn body(input: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(input)
}

/// Slice by slice a request is the same as at once, and every item that was sent is accounted for. What cannot be read
/// is found out before a second slice is asked for.
fn check<T>(mut slices: Slices<T>, whole: Result<Request<T>, Malformed>) {
    let mut slice = slices.next_slice();
    let Ok(whole) = whole else {
        assert!(slice.is_err() || slices.count().is_err(), "it can be read in slices only");
        return;
    };
    assert_eq!(slices.count(), Ok(sent(&whole)));
    let (mut items, mut rejected) = (0, 0);
    loop {
        let read = slice.expect("the whole was read");
        assert!(read.groups.iter().all(|group| !group.items.is_empty()), "a group without items");
        items += read.items();
        rejected += read.rejections.count;
        if slices.is_done() {
            break;
        }
        assert!(read.items() > 0, "a slice without items that is not the last");
        slice = slices.next_slice();
    }
    assert_eq!((items, rejected), (whole.items(), whole.rejections.count));
}

fn sent<T>(request: &Request<T>) -> u64 {
    request.items() + request.rejections.count
}

/// A body that is compressed as its first byte says: what comes out is never more than was asked for.
pub fn inflate(input: &[u8]) {
    const STEP_BYTES: usize = 64 * 1024;
    const INFLATED_BYTES_MAX: usize = 4 << 20;
    let Some((kind, compressed)) = input.split_first() else { return };
    let kinds = [Compression::None, Compression::Gzip, Compression::Deflate, Compression::Zstd];
    let Ok(mut inflater) = Inflater::new(kinds[usize::from(*kind) % kinds.len()], body(compressed)) else { return };
    let mut inflated = Vec::new();
    while inflated.len() < INFLATED_BYTES_MAX {
        let before = inflated.len();
        let Ok(read) = inflater.read(&mut inflated, STEP_BYTES) else { return };
        assert!(read <= STEP_BYTES && inflated.len() == before + read);
        if read < STEP_BYTES {
            break;
        }
    }
}

/// Headers, a line each, `name: value`; the first line is the query of the address.
pub fn headers(input: &[u8]) {
    const HOLD_MAX: Duration = Duration::from_secs(4);
    let mut lines = input.split(|byte| *byte == b'\n');
    let query = lines.next().and_then(|line| std::str::from_utf8(line).ok());
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if let Ok(Some(key)) = key_in(&headers, query) {
        assert!(!key.is_empty(), "an empty key is none");
    }
    assert!(user_agent(&headers).len() <= 256);
    let _ = encoding_of(&headers);
    let _ = compression_of(&headers);
    assert!(hold(HOLD_MAX, &headers) <= HOLD_MAX);
    let peer = std::net::IpAddr::from([10, 0, 0, 1]);
    let trusted = ["10.0.0.0/8".parse().unwrap()];
    assert!(address(Some(peer), &headers, &trusted).is_some());
    assert_eq!(address(Some(peer), &headers, &[]), Some(peer), "who is not trusted is not believed");
}
