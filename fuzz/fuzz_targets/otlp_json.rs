#![no_main]

use libfuzzer_sys::fuzz_target;
use vectoros::otlp::{DecodeLimits, json::decode_traces};

const LIMITS: DecodeLimits = DecodeLimits { spans_max: 1000, span_items_max: 1000, depth_max: 64 };

fuzz_target!(|body: &[u8]| {
    if let Ok(request) = decode_traces(body, LIMITS) {
        assert!(request.groups.iter().all(|group| !group.items.is_empty()));
    }
});
