//! One connection from its first byte to its last: TLS, HTTP/1.1 or HTTP/2, deadlines, age, and an end that the client
//! can read.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Request, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use ipnet::IpNet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tower_service::Service;
use uuid::Uuid;

use crate::receiver::activity::{Activity, HEAD_TIMEOUT, Watched};
use crate::receiver::client::{self, Client};
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
/// What a client still sends after its answer is read this long. Closed at once, the connection would be reset, and
/// most clients would never see the answer, but send everything again.
const LINGER: Duration = Duration::from_secs(1);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What an HTTP/1.1 client reads that speaks in the clear to a port with TLS.
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 46\r\n\r\nThis port speaks TLS: use https:// to reach it";

pub trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

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

/// Serves one connection until it ends; after `stop` turns true it ends with the requests that are under way.
pub(super) async fn serve(
    socket: impl Socket + 'static,
    peer: Option<IpAddr>,
    terms: Arc<Terms>,
    stop: watch::Receiver<bool>,
) {
    let Ok(begun) = tokio::time::timeout(HEAD_TIMEOUT, begin(socket, &terms)).await else {
        tracing::debug!("a connection said nothing in time");
        return;
    };
    match begun {
        Ok(Some((Speech::Http1, socket))) => serve_http1(socket, peer, terms, stop).await,
        Ok(Some((Speech::Http2, socket))) => serve_http2(socket, peer, terms, stop).await,
        Ok(Some((Speech::Tls, _))) => terms.complain(
            "TLS on a port without it",
            "a client speaks TLS to a port without it: use http://, or set tls.cert and tls.key",
        ),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "a connection ended before its first request"),
    }
}

type BoxedSocket = Box<dyn Socket>;

/// What is spoken, inside TLS where there is TLS. `None`: nothing that can be served.
async fn begin(socket: impl Socket + 'static, terms: &Terms) -> std::io::Result<Option<(Speech, BoxedSocket)>> {
    let Some((speech, mut socket)) = hear(socket).await? else { return Ok(None) };
    let Some(tls) = &terms.tls else { return Ok(Some((speech, Box::new(socket)))) };
    if speech != Speech::Tls {
        terms.complain(
            "no TLS on a port with it",
            "a client speaks without TLS to a port with it: use https:// (tls.cert is set)",
        );
        if speech == Speech::Http1 {
            socket.write_all(NEEDS_TLS).await?;
            linger(socket).await;
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

async fn serve_http1(socket: BoxedSocket, peer: Option<IpAddr>, terms: Arc<Terms>, stop: watch::Receiver<bool>) {
    let activity = Activity::begun();
    let service = {
        let (terms, activity) = (terms.clone(), activity.clone());
        service_fn(move |request| {
            let under_way = activity.request();
            let answer = answer(terms.clone(), peer, request);
            // Boxed, because the connection is driven by hand and must not move.
            Box::pin(async move {
                let response = answer.await?;
                // The request lasts until its answer has been sent to the end.
                Ok::<_, Infallible>(response.map(|body| {
                    body.map_frame(move |frame| {
                        let _last = &under_way;
                        frame
                    })
                }))
            })
        })
    };
    let io = TokioIo::new(Watched { socket, activity: activity.clone() });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(HEADERS_BYTES_MAX);
    let mut connection = builder.serve_connection(io, service);
    let mut ending = Ending::new(stop, &terms);
    loop {
        tokio::select! {
            ended = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            () = activity.overdue() => return,
            turn = ending.turn() => match turn {
                Turn::Finish => Pin::new(&mut connection).graceful_shutdown(),
                Turn::Close => return,
            },
        }
    }
    linger(connection.into_parts().io.into_inner().socket).await;
}

async fn serve_http2(socket: BoxedSocket, peer: Option<IpAddr>, terms: Arc<Terms>, stop: watch::Receiver<bool>) {
    let service = {
        let terms = terms.clone();
        service_fn(move |request| answer(terms.clone(), peer, request))
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
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    let mut ending = Ending::new(stop, &terms);
    tokio::pin!(connection);
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended early");
                }
                return;
            }
            turn = ending.turn() => match turn {
                Turn::Finish => connection.as_mut().graceful_shutdown(),
                Turn::Close => return,
            },
        }
    }
}

/// Why a connection is asked to end: the program stops, or it is too old.
struct Ending {
    stop: watch::Receiver<bool>,
    old_at: Option<Instant>,
    begun: bool,
    /// Set when it ends of age. A program that stops has a grace of its own.
    over_at: Option<Instant>,
}

enum Turn {
    /// No new requests; those that are under way are answered.
    Finish,
    Close,
}

impl Ending {
    fn new(stop: watch::Receiver<bool>, terms: &Terms) -> Ending {
        Ending { stop, old_at: terms.old_at(), begun: false, over_at: None }
    }

    async fn turn(&mut self) -> Turn {
        if self.begun {
            reached(self.over_at).await;
            return Turn::Close;
        }
        let over_at = tokio::select! {
            // The sender lives as long as the listener; when it is gone, the program stops, too.
            _ = self.stop.wait_for(|stop| *stop) => None,
            () = reached(self.old_at) => self.old_at.map(|at| at + AGE_GRACE),
        };
        (self.begun, self.over_at) = (true, over_at);
        Turn::Finish
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

/// Ends the sending side and reads what still comes. How that ends is of no interest: the answer was sent.
async fn linger(mut socket: impl Socket) {
    let read_out = async {
        socket.shutdown().await?;
        let mut rest = vec![0; 16 << 10];
        while socket.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    match tokio::time::timeout(LINGER, read_out).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::trace!(%error, "a connection was reset after its answer"),
        Err(_) => tracing::trace!("a client kept sending after its answer"),
    }
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
