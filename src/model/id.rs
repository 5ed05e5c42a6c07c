//! Names of things: projects, runs, steps.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A tenant. Every key, run and step belongs to exactly one; it comes first in every database key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProjectId(pub i64);

impl ProjectId {
    /// Stands where nothing tells whose a request was. No project has this number.
    pub const NOBODY: ProjectId = ProjectId(0);
}

/// A run inside its project. Ordered like its row's primary key, so that writers lock in one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RunKey {
    pub project: ProjectId,
    pub run_id: Uuid,
}

/// The run of a trace: the 16 bytes of the trace id, printed as a UUID: no hashing, so that a sender can compute it.
pub fn run_id_of_trace(trace_id: [u8; 16]) -> Uuid {
    Uuid::from_bytes(trace_id)
}

/// The namespace of the runs that are parts of traces.
const ROOTS: Uuid = Uuid::from_u128(0x5f0c_2b64_9d0b_5c53_9c53_6d6f_7a1c_2e01);

/// The run of one root step of a trace: UUIDv5 of the 16 bytes of the trace id and the 8 of the span id. What an id has
/// behind its 16 digits, to tell two spans of one id apart, follows as it is.
pub fn run_id_of_root(run_of_trace: Uuid, step_id: &str) -> Uuid {
    let mut name = run_of_trace.as_bytes().to_vec();
    match step_id.split_at_checked(16).map(|(digits, rest)| (u64::from_str_radix(digits, 16), rest)) {
        Some((Ok(span_id), rest)) => {
            name.extend_from_slice(&span_id.to_be_bytes());
            name.extend_from_slice(rest.as_bytes());
        }
        _ => name.extend_from_slice(step_id.as_bytes()),
    }
    Uuid::new_v5(&ROOTS, &name)
}

/// The trace id of a run that came by OTLP: 32 lower-case hexadecimal digits.
pub fn trace_id_of_run(run_id: Uuid) -> String {
    run_id.simple().to_string()
}

/// Lower-case hexadecimal text of an id.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}
