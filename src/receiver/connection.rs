//! One connection from its first byte to its last: TLS, HTTP/1.1 or HTTP/2, deadlines, age, and an end that the client
//! can read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::HttpBody;
use axum::response::Response;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Request, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use uuid::Uuid;

use crate::receiver::activity::{Activity, HEAD_TIMEOUT, Watched};
use crate::receiver::client::{self, Client};
use crate::receiver::socket::{Shared, Socket};
use crate::receiver::speech::{Speech, hear};
use crate::receiver::unread::watched;
use crate::receiver::{path, tls};
use crate::telemetry::Sparse;

/// Requests of one HTTP/2 connection that are served at a time; more wait at the client.
const STREAMS_MAX: u32 = 256;
/// Bytes that a client may send ahead, for each stream and for a connection: a batch of spans in one go.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
/// All headers of one request.
const HEADERS_BYTES_MAX: usize = 64 << 10;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// A connection that is too old ends within this, whatever is under way on it.
const AGE_GRACE: Duration = Duration::from_secs(30);

/// When the program ends, a connection without a request is looked at twice, this far apart.
const UNUSED_GRACE: Duration = Duration::from_millis(250);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an HTTP/1.1 client reads that speaks in the clear to a port with TLS.
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 46\r\n\r\nThis port speaks TLS: use https:// to reach it";

/// How far the program is on its way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Serving,
    /// Data is still taken, but shall go elsewhere.
    Leaving,
    /// Only what is under way is finished.
    Ending,
}

/// What holds for every connection.
pub struct Terms {
    pub router: Router,
    /// `None`: in the clear.
    pub tls: Option<tls::Current>,
    /// Stands before all paths; empty, or `/like/this`.
    pub path_prefix: String,
    pub trusted_proxies: Vec<IpNet>,
    /// Zero: however old.
    pub age_max: Duration,
    pub complaints: Sparse,
}

/// Serves one connection until it ends; when the program ends, with the requests that are under way.
pub(super) async fn serve(
    socket: impl Socket + 'static,
    peer: Option<IpAddr>,
    terms: Arc<Terms>,
    phase: watch::Receiver<Phase>,
) {
    let mut ended = phase.clone();
    let silent = async {
        // The listener lives longer than its connections.
        let _ = ended.wait_for(|phase| *phase == Phase::Ending).await;
        unused(|| false).await;
    };
    let begun = tokio::select! {
        begun = tokio::time::timeout(HEAD_TIMEOUT, begin(socket, &terms)) => begun,
        () = silent => return,
    };
    let Ok(begun) = begun else {
        tracing::debug!("a connection said nothing in time");
        return;
    };
    match begun {
        Ok(Some((Speech::Http1, socket))) => serve_http1(Shared::new(socket), peer, terms, phase).await,
        Ok(Some((Speech::Http2, socket))) => serve_http2(Shared::new(socket), peer, terms, phase).await,
        Ok(Some((Speech::Tls, _))) => terms.complain(
            "TLS on a port without it",
            "a client speaks TLS to a port without it: use http://, or set tls.cert and tls.key",
        ),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a connection ended before its first request"),
    }
}

/// What is spoken, inside TLS where there is TLS. `None`: nothing that can be served.
async fn begin(socket: impl Socket + 'static, terms: &Terms) -> std::io::Result<Option<(Speech, Box<dyn Socket>)>> {
    let Some((speech, mut socket)) = hear(socket).await? else { return Ok(None) };
    let Some(tls) = &terms.tls else { return Ok(Some((speech, Box::new(socket)))) };
    if speech != Speech::Tls {
        terms.complain(
            "no TLS on a port with it",
            "a client speaks without TLS to a port with it: use https:// (tls.cert is set)",
        );
        if speech == Speech::Http1 {
            socket.write_all(NEEDS_TLS).await?;
            Shared::new(Box::new(socket)).linger().await;
        }
        return Ok(None);
    }
    let config = tls.borrow().clone();
    let socket = match TlsAcceptor::from(config).accept(socket).await {
        Ok(socket) => socket,
        Err(error) => {
            if let Some(left_out) = terms.complaints.due("TLS handshake", Instant::now()) {
                tracing::warn!(%error, left_out, "a TLS handshake failed");
            }
            return Ok(None);
        }
    };
    let Some((speech, socket)) = hear(socket).await? else { return Ok(None) };
    Ok(Some((speech, Box::new(socket))))
}

impl Terms {
    fn complain(&self, what: &'static str, line: &'static str) {
        if let Some(left_out) = self.complaints.due(what, Instant::now()) {
            tracing::warn!(left_out, "{line}");
        }
    }

    /// When a connection that begins now is too old. Not all at the same time: ten per cent sooner or later.
    fn old_at(&self) -> Option<Instant> {
        let age = self.age_max.mul_f64(rand::random_range(0.9..1.1));
        (!age.is_zero()).then(|| Instant::now() + age)
    }
}

async fn serve_http1(socket: Shared, peer: Option<IpAddr>, terms: Arc<Terms>, phase: watch::Receiver<Phase>) {
    let activity = Activity::begun();
    // A client may be about to send on an idle connection: it is told on its next answer, and closes by itself.
    let is_last = Arc::new(AtomicBool::new(false));
    let service = {
        let (terms, activity, is_last) = (terms.clone(), activity.clone(), is_last.clone());
        service_fn(move |request| {
            let under_way = activity.request();
            let (answer, is_last) = (answer(terms.clone(), peer, request), is_last.clone());
            async move {
                let mut response = answer.await?;
                if is_last.load(Ordering::Relaxed) {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(until_sent(response, under_way))
            }
        })
    };
    let reader = Watched { socket: socket.clone(), activity: activity.clone() };
    let io = TokioIo::new(tokio::io::join(reader, socket.clone()));
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(HEADERS_BYTES_MAX);
    let connection = builder.serve_connection(io, service);
    let mut ending = Ending::new(phase, &terms);
    let mut is_ending = false;
    tokio::pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            () = activity.overdue() => return,
            () = unused(|| activity.is_in_request()), if is_ending => break,
            turn = ending.turn() => match turn {
                Turn::Leaving | Turn::TooOld => is_last.store(true, Ordering::Relaxed),
                Turn::Ending => {
                    is_last.store(true, Ordering::Relaxed);
                    is_ending = true;
                }
                Turn::Over => return,
            },
        }
    }
    socket.linger().await;
}

async fn serve_http2(socket: Shared, peer: Option<IpAddr>, terms: Arc<Terms>, phase: watch::Receiver<Phase>) {
    // Each request that is under way holds one more.
    let requests = Arc::new(());
    let service = {
        let (terms, requests) = (terms.clone(), requests.clone());
        service_fn(move |request| {
            let (answer, under_way) = (answer(terms.clone(), peer, request), requests.clone());
            async move { Ok::<_, Infallible>(until_sent(answer.await?, under_way)) }
        })
    };
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADERS_BYTES_MAX as u32)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(socket.clone()), service);
    let mut ending = Ending::new(phase, &terms);
    let mut is_ending = false;
    tokio::pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            // The service holds one, and so do we.
            () = unused(|| Arc::strong_count(&requests) > 2), if is_ending => break,
            turn = ending.turn() => match turn {
                // It would come back at once.
                Turn::Leaving => {}
                // GOAWAY: what the client has sent already is answered, and it sends no more here.
                Turn::TooOld => connection.as_mut().graceful_shutdown(),
                Turn::Ending => {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
                Turn::Over => return,
            },
        }
    }
    socket.linger().await;
}

/// Why a connection is asked to end: the program stops, or it is too old.
struct Ending {
    phase: watch::Receiver<Phase>,
    seen: Phase,
    /// `None`: never, or since some time.
    old_at: Option<Instant>,
    /// Set when it ends of age. A program that stops has a grace of its own.
    over_at: Option<Instant>,
}

/// What happens to a connection beside its requests, each once.
enum Turn {
    Leaving,
    TooOld,
    Ending,
    Over,
}

impl Ending {
    fn new(phase: watch::Receiver<Phase>, terms: &Terms) -> Ending {
        Ending { phase, seen: Phase::Serving, old_at: terms.old_at(), over_at: None }
    }

    async fn turn(&mut self) -> Turn {
        let seen = self.seen;
        let next = tokio::select! {
            // The sender lives as long as the listener; when it is gone, the program ends, too.
            next = self.phase.wait_for(|phase| *phase > seen), if seen < Phase::Ending => {
                next.map_or(Phase::Ending, |phase| *phase)
            }
            () = reached(self.old_at) => {
                self.over_at = self.old_at.take().map(|at| at + AGE_GRACE);
                return Turn::TooOld;
            }
            () = reached(self.over_at) => return Turn::Over,
        };
        self.seen = next;
        if next == Phase::Ending { Turn::Ending } else { Turn::Leaving }
    }
}

/// The request lasts until its answer has been sent to the end.
fn until_sent(
    response: Response,
    under_way: impl Send + 'static,
) -> Response<impl HttpBody<Data = Bytes, Error = axum::Error>> {
    response.map(|body| {
        body.map_frame(move |frame| {
            let _last = &under_way;
            frame
        })
    })
}

/// Completes when no request has been under way for a moment, in which the client could read that it shall go, or send
/// what it was about to. One that does not go by itself must not hold up the end.
async fn unused(is_used: impl Fn() -> bool) {
    let mut was_used = true;
    loop {
        tokio::time::sleep(UNUSED_GRACE).await;
        let is_used = is_used();
        if !was_used && !is_used {
            return;
        }
        was_used = is_used;
    }
}

async fn reached(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// One request through the router, under an id that is made here.
async fn answer(terms: Arc<Terms>, peer: Option<IpAddr>, request: Request<Incoming>) -> Result<Response, Infallible> {
    let (head, body) = request.into_parts();
    let (body, read_out) = watched(body);
    let mut request = Request::from_parts(head, body);
    path::canonicalize(request.uri_mut(), &terms.path_prefix);
    let version = request.version();
    let address = client::address(peer, request.headers(), &terms.trusted_proxies);
    let request_id = request_id();
    request.extensions_mut().insert(Client { address, request_id: request_id.clone() });
    let mut response = terms.router.clone().call(request).await?;
    response.headers_mut().insert(REQUEST_ID, request_id);
    if version < Version::HTTP_2 && !read_out.is_true() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn request_id() -> HeaderValue {
    let mut text = [0; uuid::fmt::Simple::LENGTH];
    let text = Uuid::now_v7().as_simple().encode_lower(&mut text);
    // Hexadecimal digits are always a value.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_for_clients_without_tls_has_the_length_it_says() {
        let text = std::str::from_utf8(NEEDS_TLS).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{}", body.len());
    }
}
