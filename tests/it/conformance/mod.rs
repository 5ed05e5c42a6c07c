//! The numbered requirements of an OTLP receiver, a test for each; its name carries the number (`otlp_43_…`).
//! `docs/conformance.md` is written from the run.

mod access;
mod answers;
mod backpressure;
pub mod client;
mod connections;
mod content_type;
mod endpoints;
mod endurance;
mod exchange;
mod hostile;
mod http2;
mod json;
mod refusals;
mod size;
mod sockets;
mod tls;
pub mod trouble;
mod validity;
