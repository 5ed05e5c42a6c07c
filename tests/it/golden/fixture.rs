//! The requests of a fixture, in both encodings.

use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Traces,
    Logs,
    Metrics,
}

impl Signal {
    pub fn path(self) -> &'static str {
        match self {
            Signal::Traces => "/v1/traces",
            Signal::Logs => "/v1/logs",
            Signal::Metrics => "/v1/metrics",
        }
    }
}

/// One export request: as it was received, and in the other encoding.
pub struct Request {
    pub signal: Signal,
    pub protobuf: Vec<u8>,
    pub json: Vec<u8>,
}

pub struct Fixture {
    /// `<dialect>__<scenario>`.
    pub name: String,
    pub expected: Value,
    /// In order of arrival.
    pub requests: Vec<Request>,
}

impl Fixture {
    pub fn read(folder: &Path) -> Fixture {
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|file| file.file_name().unwrap().to_string_lossy().starts_with("request-"));
        files.sort();
        let expected = fs::read(folder.join("expected.json")).unwrap();
        let fixture = Fixture {
            name: folder.file_name().unwrap().to_string_lossy().into_owned(),
            expected: serde_json::from_slice(&expected).unwrap(),
            requests: files.iter().map(|file| request(file)).collect(),
        };
        assert!(!fixture.requests.is_empty(), "{} has no request", fixture.name);
        fixture
    }

    /// Every fixture, by name.
    pub fn all() -> Vec<Fixture> {
        let mut folders: Vec<PathBuf> =
            fs::read_dir("tests/fixtures/otlp").unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.sort();
        folders.iter().map(|folder| Fixture::read(folder)).collect()
    }

    /// The pair of framework and instrumentation.
    pub fn dialect(&self) -> &str {
        self.name.split("__").next().unwrap()
    }
}

fn request(file: &Path) -> Request {
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let (signal, is_json) = match name.split('.').collect::<Vec<_>>()[..] {
        [_, signal, "pb"] => (signal.to_owned(), false),
        [_, signal, "raw", "json"] => (signal.to_owned(), true),
        _ => panic!("{name} is no request"),
    };
    let body = fs::read(file).unwrap();
    match signal.as_str() {
        "traces" => in_both::<ExportTraceServiceRequest>(Signal::Traces, body, is_json),
        "logs" => in_both::<ExportLogsServiceRequest>(Signal::Logs, body, is_json),
        "metrics" => in_both::<ExportMetricsServiceRequest>(Signal::Metrics, body, is_json),
        other => panic!("no signal is called {other}"),
    }
}

/// OTLP/JSON as the specification maps it: ids in hexadecimal, 64-bit integers as text.
fn in_both<M: Message + Default + Serialize + DeserializeOwned>(
    signal: Signal,
    body: Vec<u8>,
    is_json: bool,
) -> Request {
    if is_json {
        let message: M = serde_json::from_slice(&body).unwrap();
        return Request { signal, protobuf: message.encode_to_vec(), json: body };
    }
    let message = M::decode(body.as_slice()).unwrap();
    Request { signal, json: serde_json::to_vec(&message).unwrap(), protobuf: body }
}
