//! What must hold for any bytes. The fuzz targets look for bytes for which it does not; the test `corpus` holds every
//! input that they found worth keeping against it.

use vectoros::otlp::{DecodeLimits, Encoding, Malformed, Request, Slices, json, protobuf};

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
