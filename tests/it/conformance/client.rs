//! Clients that show every byte of an answer: HTTP/1.1 over any stream, gRPC over h2, and what an answer's body says.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tonic_types::pb;

use crate::collector::{Collector, PATIENCE};

pub const PROTOBUF: &str = "application/x-protobuf";
pub const JSON: &str = "application/json";
pub const TRACES: &str = "/v1/traces";
pub const TRACE_SERVICE: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub const LOGS_SERVICE: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub const METRICS_SERVICE: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// A well-formed key that nobody made.
pub const UNKNOWN_KEY: &str = "vos_aaaaaaaa_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_2dKVRW";

/// Fails the test when `work` takes longer than anything may.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("no answer in time")
}

/// True when the long forms are wanted: minutes of waiting, thousands of connections.
pub fn is_long() -> bool {
    std::env::var_os("VECTOROS_TEST_LONG").is_some_and(|value| value == "1")
}

/// Lets this process, and what it starts from now on, open as many sockets as the system permits.
pub fn allow_many_sockets() {
    let pid = std::process::id().to_string();
    let asked = ["--pid", &pid, "--nofile", "--output=HARD", "--noheadings"];
    let hard = std::process::Command::new("prlimit").args(asked).output().unwrap();
    let limit = format!("--nofile={}:", String::from_utf8(hard.stdout).unwrap().trim());
    assert!(std::process::Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
}

/// An answer of HTTP/1.1.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's text; empty when it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// The body as `google.rpc.Status` in the encoding that the answer names. Fails on anything else.
    pub fn rpc_status(&self) -> RpcStatus {
        match self.header("content-type") {
            PROTOBUF => RpcStatus::from_protobuf(&self.body),
            JSON => RpcStatus::from_json(&self.body),
            other => panic!("{}: {other:?} is no encoding of OTLP: {:?}", self.status, self.text()),
        }
    }
}

/// A `google.rpc.Status`, taken apart.
#[derive(Debug, Default, PartialEq)]
pub struct RpcStatus {
    pub code: i32,
    pub message: String,
    pub retry_s: Option<u64>,
    /// Descriptions in a `BadRequest`.
    pub violations: Vec<String>,
}

impl RpcStatus {
    pub fn from_protobuf(bytes: &[u8]) -> RpcStatus {
        let status = pb::Status::decode(bytes).unwrap_or_else(|error| panic!("no Status: {error}: {bytes:?}"));
        let mut read = RpcStatus { code: status.code, message: status.message, ..RpcStatus::default() };
        for detail in status.details {
            match detail.type_url.as_str() {
                "type.googleapis.com/google.rpc.RetryInfo" => {
                    let delay = pb::RetryInfo::decode(&detail.value[..]).unwrap().retry_delay.unwrap();
                    read.retry_s = Some(u64::try_from(delay.seconds).unwrap());
                }
                "type.googleapis.com/google.rpc.BadRequest" => {
                    let violations = pb::BadRequest::decode(&detail.value[..]).unwrap().field_violations;
                    read.violations.extend(violations.into_iter().map(|violation| violation.description));
                }
                other => panic!("a detail that nobody expects: {other}"),
            }
        }
        read
    }

    pub fn from_json(bytes: &[u8]) -> RpcStatus {
        let status: Value = serde_json::from_slice(bytes)
            .unwrap_or_else(|error| panic!("no Status: {error}: {}", String::from_utf8_lossy(bytes)));
        let mut read = RpcStatus {
            code: i32::try_from(status["code"].as_i64().unwrap()).unwrap(),
            message: status["message"].as_str().unwrap().to_owned(),
            ..RpcStatus::default()
        };
        for detail in status["details"].as_array().into_iter().flatten() {
            match detail["@type"].as_str().unwrap() {
                "type.googleapis.com/google.rpc.RetryInfo" => {
                    read.retry_s = Some(detail["retryDelay"].as_str().unwrap().trim_end_matches('s').parse().unwrap());
                }
                "type.googleapis.com/google.rpc.BadRequest" => {
                    let violations = detail["fieldViolations"].as_array().unwrap();
                    read.violations.extend(violations.iter().map(|one| one["description"].as_str().unwrap().into()));
                }
                other => panic!("a detail that nobody expects: {other}"),
            }
        }
        read
    }
}

/// One connection that speaks HTTP/1.1.
pub struct Http1<S = TcpStream> {
    pub stream: S,
    unread: Vec<u8>,
}

impl Http1 {
    pub async fn connect(address: SocketAddr) -> Http1 {
        Http1::over(within(TcpStream::connect(address)).await.unwrap())
    }

    /// From another address of this machine, such as 127.0.0.2.
    pub async fn connect_from(from: [u8; 4], address: SocketAddr) -> io::Result<Http1> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((IpAddr::V4(Ipv4Addr::from(from)), 0).into())?;
        Ok(Http1::over(within(socket.connect(address)).await?))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http1<S> {
    pub fn over(stream: S) -> Http1<S> {
        Http1 { stream, unread: Vec::new() }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within(self.stream.write_all(bytes)).await.unwrap();
    }

    /// Sends and reads the answer, which may come, and end the sending, before everything is sent.
    pub async fn ask(&mut self, request: &[u8]) -> Answer {
        let sent = within(self.stream.write_all(request)).await;
        within(self.try_answer()).await.unwrap_or_else(|error| panic!("no answer: {error}, sent: {sent:?}"))
    }

    /// The next answer, interim ones among them. Fails when the connection ends before.
    pub async fn answer(&mut self) -> Answer {
        within(self.try_answer()).await.unwrap()
    }

    pub async fn try_answer(&mut self) -> io::Result<Answer> {
        let (head_bytes, status, headers) = loop {
            let mut slots = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut slots);
            match head.parse(&self.unread).map_err(io::Error::other)? {
                httparse::Status::Complete(bytes) => {
                    let mut headers = HeaderMap::new();
                    for header in head.headers.iter() {
                        let name = HeaderName::from_bytes(header.name.as_bytes()).unwrap();
                        headers.append(name, HeaderValue::from_bytes(header.value).unwrap());
                    }
                    break (bytes, head.code.unwrap(), headers);
                }
                httparse::Status::Partial => self.read_more().await?,
            }
        };
        self.unread.drain(..head_bytes);
        let body = if status < 200 || status == 204 { Vec::new() } else { self.body(&headers).await? };
        Ok(Answer { status, headers, body })
    }

    async fn body(&mut self, headers: &HeaderMap) -> io::Result<Vec<u8>> {
        let Some(length) = headers.get("content-length") else {
            if headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked") {
                return self.chunks().await;
            }
            while self.read_more().await.is_ok() {}
            return Ok(std::mem::take(&mut self.unread));
        };
        let length: usize = length.to_str().unwrap().parse().unwrap();
        while self.unread.len() < length {
            self.read_more().await?;
        }
        Ok(self.unread.drain(..length).collect())
    }

    async fn chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            match httparse::parse_chunk_size(&self.unread).map_err(|_| io::Error::other("no chunk size"))? {
                httparse::Status::Complete((line, size)) => {
                    let (size, end) = (size as usize, line + size as usize + 2);
                    while self.unread.len() < end {
                        self.read_more().await?;
                    }
                    body.extend_from_slice(&self.unread[line..line + size]);
                    self.unread.drain(..end);
                    if size == 0 {
                        return Ok(body);
                    }
                }
                httparse::Status::Partial => self.read_more().await?,
            }
        }
    }

    async fn read_more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.unread).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// True when the other side closes, or resets, within `patience` without another byte.
    pub async fn is_closed_within(&mut self, patience: Duration) -> bool {
        matches!(tokio::time::timeout(patience, self.read_more()).await, Ok(Err(_)))
    }
}

/// The bytes of a request with `Host` and `Content-Length`.
pub fn request_bytes(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut bytes = head_bytes(method, path, headers, Some(body.len() as u64));
    bytes.extend_from_slice(body);
    bytes
}

/// The head alone, for a body that comes later or never.
pub fn head_bytes(method: &str, path: &str, headers: &[(&str, &str)], length: Option<u64>) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: collector\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = length {
        head += &format!("content-length: {length}\r\n");
    }
    (head + "\r\n").into_bytes()
}

/// One request on a connection of its own.
pub async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    Http1::connect(address).await.ask(&request_bytes(method, path, headers, body)).await
}

/// POST of `body` with the collector's key.
pub async fn post(collector: &Collector, path: &str, content_type: &str, body: &[u8]) -> Answer {
    post_with(collector, path, content_type, &[], body).await
}

pub async fn post_with(
    collector: &Collector,
    path: &str,
    content_type: &str,
    more: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let bearer = format!("Bearer {}", collector.key);
    let mut headers = vec![("authorization", bearer.as_str()), ("content-type", content_type)];
    headers.extend_from_slice(more);
    ask(collector.http, "POST", path, &headers, body).await
}

/// How many runs the collector's project has, up to a hundred.
pub async fn runs_stored(collector: &Collector) -> usize {
    let (status, page) = collector.get("/runs?limit=100").await;
    assert_eq!(status, 200, "{page}");
    page["items"].as_array().unwrap().len()
}

/// An answer of gRPC. Without trailers the headers hold the status: trailers only.
#[derive(Debug)]
pub struct GrpcAnswer {
    pub http: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl GrpcAnswer {
    /// Where the status stands.
    pub fn end(&self) -> &HeaderMap {
        self.trailers.as_ref().unwrap_or(&self.headers)
    }

    pub fn code(&self) -> i32 {
        let status = self.end().get("grpc-status").unwrap_or_else(|| panic!("no grpc-status: {self:?}"));
        status.to_str().unwrap().parse().unwrap()
    }

    /// `grpc-message` as it is meant, without its percent-encoding.
    pub fn message(&self) -> String {
        let sent = self.end().get("grpc-message").map_or("", |value| value.to_str().unwrap());
        percent_encoding::percent_decode_str(sent).decode_utf8().unwrap().into_owned()
    }

    /// What `grpc-status-details-bin` holds.
    pub fn details(&self) -> Option<RpcStatus> {
        Some(RpcStatus::from_protobuf(&binary(self.end(), "grpc-status-details-bin")?))
    }

    /// Seconds in `google.rpc.retryinfo-bin`.
    pub fn retry_info_s(&self) -> Option<u64> {
        let info = pb::RetryInfo::decode(&binary(self.end(), "google.rpc.retryinfo-bin")?[..]).unwrap();
        Some(u64::try_from(info.retry_delay.unwrap().seconds).unwrap())
    }
}

fn binary(headers: &HeaderMap, name: &str) -> Option<Vec<u8>> {
    let text = headers.get(name)?.to_str().unwrap().trim_end_matches('=');
    Some(STANDARD_NO_PAD.decode(text).unwrap())
}

/// A message of gRPC with its prefix.
pub fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[flag], &length[..], message].concat()
}

/// A unary call with these metadata and this body, framed or not.
pub async fn call(address: SocketAddr, method: &str, metadata: &[(&str, &str)], body: Vec<u8>) -> GrpcAnswer {
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    let metadata: Vec<_> = grpc.into_iter().chain(metadata.iter().copied()).collect();
    within(over_h2(address, method, &metadata, body)).await.unwrap()
}

/// The same with the collector's key, one message uncompressed.
pub async fn export(collector: &Collector, method: &str, message: &[u8]) -> GrpcAnswer {
    let bearer = format!("Bearer {}", collector.key);
    call(collector.grpc, method, &[("authorization", &bearer)], framed(0, message)).await
}

/// POST over HTTP/2 with prior knowledge, on a connection of its own. An answer that comes before the body is sent ends
/// the sending.
pub async fn over_h2(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<GrpcAnswer, h2::Error> {
    let (sender, connection) = h2::client::handshake(TcpStream::connect(address).await.unwrap()).await?;
    let driver = tokio::spawn(connection);
    let answer = on_h2(sender, path, headers, body).await;
    driver.abort();
    answer
}

/// One request on an open connection.
pub async fn on_h2(
    sender: h2::client::SendRequest<Bytes>,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> Result<GrpcAnswer, h2::Error> {
    let mut request = http::Request::post(format!("http://collector{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (response, mut stream) = sender.ready().await?.send_request(request.body(()).unwrap(), false)?;
    let mut rest = Bytes::from(body);
    let sending = tokio::spawn(async move {
        while !rest.is_empty() {
            stream.reserve_capacity(rest.len().min(1 << 16));
            let Some(Ok(room)) = poll_fn(|context| stream.poll_capacity(context)).await else { return };
            if stream.send_data(rest.split_to(room.min(rest.len())), false).is_err() {
                return;
            }
        }
        // The stream may have been answered and reset already.
        let _ = stream.send_data(Bytes::new(), true);
    });
    let (head, mut incoming) = response.await?.into_parts();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = incoming.trailers().await?;
    sending.abort();
    Ok(GrpcAnswer { http: head.status.as_u16(), headers: head.headers, body, trailers })
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `deflate` as RFC 9110 means it.
pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `deflate` as some send it.
pub fn raw_deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// `length` zero bytes as gzip; a thousandth of it, and never in memory as a whole.
pub fn gzip_of_zeros(length: u64) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    io::copy(&mut io::Read::take(io::repeat(0), length), &mut encoder).unwrap();
    encoder.finish().unwrap()
}

/// Bytes of memory that the process holds now (`VmRSS`), and at most ever (`VmHWM`).
pub fn memory_of(collector: &Collector) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", collector.pid())).unwrap();
    let lines: BTreeMap<_, _> = status.lines().filter_map(|line| line.split_once(':')).collect();
    let bytes = |name: &str| lines[name].trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024;
    (bytes("VmRSS"), bytes("VmHWM"))
}
