//! Sockets that are handed over, and stay open while the program restarts: clients notice nothing.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::collector::{Collector, OWN_FILE, PATIENCE, program, program_on};
use crate::database::on_both_stores;
use crate::ports::free_address;
use crate::spans::{agent_trace, encoded, run_id};

const RESTARTS: usize = 3;

async fn restarts_are_not_noticed_by_clients_that_never_try_again(url: &str) {
    let mut collector = Collector::start_on_kept_sockets(url, &[]).await;
    collector.key = collector.make_key("default", &["--quota", "requests=unlimited"]);
    let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            // Half of them keep their connection, the others make one for each request.
            let client = reqwest::Client::builder().pool_max_idle_per_host(sender % 2).build().unwrap();
            let (url, key) = (collector.url("/v1/traces"), collector.key.clone());
            let (stop, next) = (stop.clone(), next.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let body = encoded(agent_trace(next.fetch_add(1, Ordering::Relaxed)));
                    let post = client.post(&url).bearer_auth(&key).header("content-type", "application/x-protobuf");
                    let answer = post.body(body).send().await.expect("nobody is refused or cut off");
                    assert_eq!(answer.status(), 200, "nobody is told to come again");
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
        })
        .collect();
    for _ in 0..RESTARTS {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let before = next.load(Ordering::Relaxed);
        let status = tokio::task::block_in_place(|| collector.stop());
        assert!(status.success(), "{status}: {}", collector.log());
        // Requests wait in the socket meanwhile.
        tokio::time::sleep(Duration::from_millis(200)).await;
        collector.restart().await;
        let end = Instant::now() + PATIENCE;
        while next.load(Ordering::Relaxed) < before + 20 {
            assert!(Instant::now() < end, "senders go on: {}", collector.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    for number in 0..next.load(Ordering::Relaxed) {
        let (status, run) = collector.get(&format!("/runs/{}", run_id(number))).await;
        assert_eq!((status, &run["stats"]["total_steps"]), (200, &json!(3)), "{number}");
    }
}
on_both_stores!(restarts_are_not_noticed_by_clients_that_never_try_again);

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_while_the_old_process_ends_is_answered_by_the_next() {
    let mut collector = Collector::start_on_kept_sockets(OWN_FILE, &[]).await;
    let body = encoded(agent_trace(0));
    let mut half = TcpStream::connect(collector.http).await.unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        collector.key,
        body.len()
    );
    half.write_all(head.as_bytes()).await.unwrap();
    half.write_all(&body[..50]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    collector.terminate();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let mut late = tokio::spawn(reqwest::get(collector.url("/healthz")));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut late).await;
    assert!(early.is_err(), "the old process takes no more clients: {early:?}");
    half.write_all(&body[50..]).await.unwrap();
    let mut answer = [0; 12];
    half.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200", "what is under way is taken");
    let status = tokio::task::block_in_place(|| collector.stop());
    assert!(status.success() && !late.is_finished(), "{status}");
    collector.restart().await;
    assert_eq!(late.await.unwrap().unwrap().status(), 200);
    assert_eq!(collector.get(&format!("/runs/{}", run_id(0))).await.0, 200);
}

/// Status and standard error of a program that does not start.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let done = command.arg("serve").current_dir(&folder).stderr(Stdio::piped()).spawn().unwrap();
    let done = done.wait_with_output().unwrap();
    (done.status.code(), String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_socket_that_no_setting_names_is_an_error() {
    let (http, other) = (TcpListener::bind(free_address()).unwrap(), TcpListener::bind(free_address()).unwrap());
    let mut command = program_on(&http, &other);
    command.env("VECTOROS_SERVER__HTTP", http.local_addr().unwrap().to_string());
    command.env("VECTOROS_SERVER__GRPC", free_address().to_string());
    let (code, error) = refused(command);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains(&other.local_addr().unwrap().to_string()) && error.contains("server.grpc"), "{error}");
}

#[test]
fn what_is_no_listening_socket_is_an_error() {
    let http = TcpListener::bind(free_address()).unwrap();
    let connection = std::net::TcpStream::connect(http.local_addr().unwrap()).unwrap();
    let (code, error) = refused(program_on(&http, &TcpListener::from(OwnedFd::from(connection))));
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("socket 1") && error.contains("not listening"), "{error}");
}

#[test]
fn a_unix_socket_is_taken_over_and_its_file_stays() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otlp.sock");
    let kept = std::os::unix::net::UnixListener::bind(&path).unwrap();
    // One descriptor is enough to tell, and nobody says for which process it is: so do tools other than systemd.
    let mut command = Command::new("sh");
    command.args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_FDS=1 exec "$0" "$@""#]).arg(program().get_program());
    command.stdin(Stdio::from(OwnedFd::from(kept.try_clone().unwrap())));
    command.env("VECTOROS_SERVER__UNIX", &path).env("DATABASE_URL", OWN_FILE).current_dir(&folder);
    command.env("VECTOROS_SERVER__HTTP", free_address().to_string());
    command.env("VECTOROS_SERVER__GRPC", free_address().to_string());
    let mut child = command.arg("serve").stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // It waits in the socket until the program is there.
    let mut asking = UnixStream::connect(&path).unwrap();
    asking.set_read_timeout(Some(PATIENCE)).unwrap();
    asking.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    let read = asking.read_to_string(&mut answer);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(read.is_ok() && answer.starts_with("HTTP/1.1 200"), "{read:?} {answer}");
    assert!(path.exists(), "whoever opened it keeps it");
}
