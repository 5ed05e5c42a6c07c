//! Browsers, TLS and Unix sockets: OTLP-73, 75, 76 and 77, and what TLS has to do with OTLP-06 and 61.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::client::{
    Http1, JSON, PROTOBUF, TRACE_SERVICE, TRACES, ask, framed, on_h2, post, post_with, request_bytes, runs_stored,
    within,
};
use super::tls::{Authority, connect};
use crate::collector::{Collector, OWN_FILE, PATIENCE};
use crate::spans::{agent_trace, encoded};

const ORIGIN: &str = "https://app.example.com";

fn words(text: &str) -> Vec<String> {
    text.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
}

#[tokio::test]
async fn otlp_73_browsers_of_listed_origins_may_send() {
    let origins = format!("[\"{ORIGIN}\", \"http://localhost:3000\"]");
    let collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__CORS_ORIGINS", &origins)]).await;
    let wanted = "authorization,content-encoding,content-type,x-api-key";
    let preflight =
        [("origin", ORIGIN), ("access-control-request-method", "POST"), ("access-control-request-headers", wanted)];
    for path in ["/v1/traces", "/v1/logs", "/v1/metrics", "/otlp/v1/traces"] {
        let answer = ask(collector.http, "OPTIONS", path, &preflight, b"").await;
        assert!([200, 204].contains(&answer.status), "{path}: {}", answer.status);
        assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "{path}");
        assert!(words(answer.header("access-control-allow-methods")).contains(&"post".to_owned()), "{answer:?}");
        let allowed = words(answer.header("access-control-allow-headers"));
        assert!(words(wanted).iter().all(|word| allowed.contains(word)), "{allowed:?}");
        assert_eq!(answer.header("access-control-max-age"), "7200");
        assert!(words(answer.header("vary")).contains(&"origin".to_owned()), "{answer:?}");
        assert!(!answer.has("access-control-allow-credentials"), "{answer:?}");
        // The request itself, and its refusal: without the headers a page could not read why.
        let headers = [("origin", ORIGIN), ("content-type", JSON)];
        let refused = ask(collector.http, "POST", path, &headers, b"{}").await;
        let taken = post_with(&collector, path, JSON, &[("origin", ORIGIN)], b"{}").await;
        for (answer, status) in [(refused, 401), (taken, 200)] {
            assert_eq!(answer.status, status, "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), ORIGIN, "{status}");
            assert!(
                words(answer.header("access-control-expose-headers")).contains(&"retry-after".to_owned()),
                "{status}"
            );
            assert!(words(answer.header("vary")).contains(&"origin".to_owned()), "{status}");
            assert!(!answer.has("access-control-allow-credentials"), "{status}");
        }
    }
    for foreign in ["https://evil.example.com", "null", "https://app.example.com.evil.com", "http://app.example.com"] {
        let headers = [("origin", foreign), preflight[1], preflight[2]];
        let answer = ask(collector.http, "OPTIONS", TRACES, &headers, b"").await;
        assert!(!answer.has("access-control-allow-origin"), "{foreign}");
        let answer = ask(collector.http, "POST", TRACES, &[("origin", foreign), ("content-type", JSON)], b"{}").await;
        assert!(!answer.has("access-control-allow-origin"), "{foreign}");
    }
}

#[tokio::test]
async fn otlp_73_without_a_list_no_page_may_send() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let preflight = [("origin", ORIGIN), ("access-control-request-method", "POST")];
    let asked = ask(collector.http, "OPTIONS", TRACES, &preflight, b"").await;
    let sent = post_with(&collector, TRACES, JSON, &[("origin", ORIGIN)], b"{}").await;
    for answer in [asked, sent] {
        assert!(!answer.headers.keys().any(|name| name.as_str().starts_with("access-control-")), "{answer:?}");
    }
}

#[tokio::test]
async fn otlp_06_tls_offers_http_1_and_2_by_alpn() {
    let authority = Authority::new();
    let collector = authority.collector(&[]).await;
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    let config = authority.client_config(&[&TLS13, &TLS12], &["http/1.1"], false);
    let stream = connect(config, &collector).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let answer = Http1::over(stream).ask(&request_bytes("POST", TRACES, &headers, &encoded(agent_trace(0)))).await;
    assert_eq!(answer.status, 200);
    let config = authority.client_config(&[&TLS13, &TLS12], &["h2", "http/1.1"], false);
    let stream = connect(config, &collector).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (sender, connection) = h2::client::handshake::<_>(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let answer = on_h2(sender.clone(), TRACES, &headers, encoded(agent_trace(1))).await.unwrap();
    assert_eq!((answer.http, answer.body.len()), (200, 0));
    let metadata = [("authorization", bearer.as_str()), ("content-type", "application/grpc"), ("te", "trailers")];
    let answer = on_h2(sender, TRACE_SERVICE, &metadata, framed(0, &encoded(agent_trace(2)))).await.unwrap();
    assert_eq!(answer.code(), 0);
    driver.abort();
    // A client that names no protocol is taken for HTTP/1.1.
    let stream = connect(authority.client_config(&[&TLS13], &[], false), &collector).await.unwrap();
    let answer = Http1::over(stream).ask(&request_bytes("GET", "/healthz", &[], b"")).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn otlp_75_certificates_change_under_load_without_a_failure() {
    let authority = Arc::new(Authority::new());
    let collector = authority.collector(&[]).await;
    let url = format!("https://localhost:{}/v1/traces", collector.http.port());
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let senders = [true, true, false, false].map(|is_reusing| {
        let (client, url, key) = (authority.http_client(is_reusing), url.clone(), collector.key.clone());
        let (stop, sent) = (stop.clone(), sent.clone());
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let body = encoded(agent_trace(sent.fetch_add(1, Ordering::Relaxed)));
                let post = client.post(&url).bearer_auth(&key).header("content-type", PROTOBUF).body(body);
                assert_eq!(post.send().await.expect("every export is answered").status(), 200);
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
    });
    let serial = async || {
        let config = authority.client_config(&[&TLS13, &TLS12], &["http/1.1"], false);
        let stream = connect(config, &collector).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    };
    let first = serial().await;
    let mut held =
        Http1::over(connect(authority.client_config(&[&TLS13], &["http/1.1"], false), &collector).await.unwrap());
    for round in 2..4 {
        let before = serial().await;
        authority.write_server_certificate(round);
        let end = Instant::now() + PATIENCE;
        while serial().await == before {
            assert!(Instant::now() < end, "the new certificate is not shown: {}", collector.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    assert_ne!(serial().await, first);
    // A file that is no certificate changes nothing.
    let last = serial().await;
    std::fs::write(authority.path("cert.pem"), "no certificate").unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(serial().await, last);
    assert_eq!(held.ask(&request_bytes("GET", "/healthz", &[], b"")).await.status, 200, "an old connection lives");
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    assert!(sent.load(Ordering::Relaxed) > 20, "there was load");
}

#[tokio::test]
async fn otlp_75_tls_is_1_2_or_newer_and_may_ask_for_a_certificate() {
    let authority = Authority::new();
    let client_ca = authority.path("ca.pem");
    let collector = authority.collector(&[("VECTOROS_TLS__CLIENT_CA", client_ca.to_str().unwrap())]).await;
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    for (number, version) in (0..).zip([&TLS12, &TLS13]) {
        let stream = connect(authority.client_config(&[version], &["http/1.1"], true), &collector).await.unwrap();
        let request = request_bytes("POST", TRACES, &headers, &encoded(agent_trace(number)));
        assert_eq!(Http1::over(stream).ask(&request).await.status, 200, "{version:?}");
        // Without a certificate there is no answer at all; a key alone does not do.
        if let Ok(stream) = connect(authority.client_config(&[version], &["http/1.1"], false), &collector).await {
            let mut connection = Http1::over(stream);
            let written = connection.stream.write_all(&request).await;
            assert!(written.is_err() || within(connection.try_answer()).await.is_err(), "{version:?}");
        }
        // Nor does a certificate of another authority.
        let stranger = Authority::new();
        let mut config = authority.client_config(&[version], &["http/1.1"], false);
        config.client_auth_cert_resolver = stranger.client_config(&[version], &[], true).client_auth_cert_resolver;
        if let Ok(stream) = connect(config, &collector).await {
            let mut connection = Http1::over(stream);
            let written = connection.stream.write_all(&request).await;
            assert!(written.is_err() || within(connection.try_answer()).await.is_err(), "{version:?}");
        }
    }
    // A client certificate is no key.
    let stream = connect(authority.client_config(&[&TLS13], &["http/1.1"], true), &collector).await.unwrap();
    let request = request_bytes("POST", TRACES, &headers[1..], b"");
    assert_eq!(Http1::over(stream).ask(&request).await.status, 401);
    // TLS 1.1, as a ClientHello by hand: record and version 3.2, no extensions.
    let mut hello = vec![3, 2];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 4, 0xc0, 0x13, 0x00, 0x2f, 1, 0]);
    let handshake = [&[1, 0, 0, hello.len() as u8], hello.as_slice()].concat();
    let record = [&[22, 3, 1, 0, handshake.len() as u8], handshake.as_slice()].concat();
    let mut stream = TcpStream::connect(collector.http).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    assert!(answer.is_empty() || answer[0] == 21, "an alert or nothing: {answer:?}");
}

#[tokio::test]
async fn otlp_76_tls_and_plain_crossed_are_closed_and_told_once() {
    let authority = Authority::new();
    let speaks_tls = authority.collector(&[]).await;
    let speaks_plain = Collector::start(OWN_FILE, &[]).await;
    for _ in 0..20 {
        let mut plain = Http1::connect(speaks_tls.http).await;
        plain.send(&request_bytes("POST", TRACES, &[("content-type", JSON)], b"{}")).await;
        // An alert of TLS, or a sentence in plain text, or nothing; then the end.
        let mut rest = Vec::new();
        let _ = within(plain.stream.read_to_end(&mut rest)).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
        let config = authority.client_config(&[&TLS13], &["h2", "http/1.1"], false);
        assert!(connect(config, &speaks_plain).await.is_err());
    }
    let told = |collector: &Collector| {
        let log = collector.log();
        log.lines().filter(|line| line.contains("WARN") && line.contains("TLS")).count()
    };
    let end = Instant::now() + PATIENCE;
    while told(&speaks_tls) == 0 || told(&speaks_plain) == 0 {
        assert!(Instant::now() < end, "{}\n{}", speaks_tls.log(), speaks_plain.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!((told(&speaks_tls), told(&speaks_plain)), (1, 1), "{}\n{}", speaks_tls.log(), speaks_plain.log());
}

#[tokio::test]
async fn otlp_77_a_unix_socket_speaks_both_protocols_and_asks_for_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otlp.sock");
    let mut collector = Collector::start(OWN_FILE, &[("VECTOROS_SERVER__UNIX", path.to_str().unwrap())]).await;
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    let bearer = format!("Bearer {}", collector.key);
    let headers = [("authorization", bearer.as_str()), ("content-type", PROTOBUF)];
    let mut http = Http1::over(UnixStream::connect(&path).await.unwrap());
    let request = request_bytes("POST", TRACES, &headers, &encoded(agent_trace(0)));
    assert_eq!(http.ask(&request).await.status, 200);
    assert_eq!(http.ask(&request_bytes("POST", TRACES, &headers[1..], b"")).await.status, 401);
    for (key, code) in [(&bearer, 0), (&"Bearer nonsense".to_owned(), 16)] {
        let stream = UnixStream::connect(&path).await.unwrap();
        let (sender, connection) = h2::client::Builder::new().handshake::<_, Bytes>(stream).await.unwrap();
        let driver = tokio::spawn(connection);
        let metadata = [("authorization", key.as_str()), ("content-type", "application/grpc"), ("te", "trailers")];
        let message = framed(0, &encoded(agent_trace(1)));
        let answer = within(on_h2(sender, TRACE_SERVICE, &metadata, message)).await.unwrap();
        assert_eq!(answer.code(), code);
        driver.abort();
    }
    assert_eq!(runs_stored(&collector).await, 2);
    // One that a killed process left behind is no obstacle.
    collector.kill();
    assert!(path.exists());
    collector.restart().await;
    let mut http = Http1::over(UnixStream::connect(&path).await.unwrap());
    assert_eq!(http.ask(&request).await.status, 200);
    assert_eq!(post(&collector, TRACES, PROTOBUF, &encoded(agent_trace(2))).await.status, 200, "beside the ports");
    collector.stop();
    assert!(!path.exists(), "removed at the end");
}

#[tokio::test]
async fn otlp_61_a_handshake_that_stands_still_is_ended() {
    let authority = Authority::new();
    let collector = authority.collector(&[]).await;
    let mut silent = TcpStream::connect(collector.http).await.unwrap();
    // The head of a record whose rest never comes.
    silent.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let begin = Instant::now();
    let mut rest = Vec::new();
    let _ = within(silent.read_to_end(&mut rest)).await;
    assert!((8..14).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    let stream = connect(authority.client_config(&[&TLS13], &["http/1.1"], false), &collector).await.unwrap();
    assert_eq!(Http1::over(stream).ask(&request_bytes("GET", "/healthz", &[], b"")).await.status, 200);
}
