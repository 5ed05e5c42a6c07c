//! The real program, started as a user starts it, on free ports.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::ports::free_address;

/// How long anything may take before a test gives up waiting.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A SQLite file in the collector's own folder, gone with it.
pub const OWN_FILE: &str = "sqlite://vectoros.db";

/// A running collector; dropped, it is killed.
pub struct Collector {
    child: Child,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    /// A key of the project `default`.
    pub key: String,
    database_url: String,
    environment: Vec<(String, String)>,
    folder: TempDir,
    client: reqwest::Client,
    /// Sockets that stay open while the collector restarts.
    kept: Option<Kept>,
}

/// What systemd does for a socket unit: opens HTTP's and gRPC's sockets, keeps them, and hands them over at each start.
struct Kept {
    http: TcpListener,
    grpc: TcpListener,
}

impl Collector {
    /// Starts on `database_url` with settings like `("VECTOROS_RUNS__SETTLE", "0s")` and waits until it is ready.
    pub async fn start(database_url: &str, environment: &[(&str, &str)]) -> Collector {
        Collector::launch(database_url, environment).with_key().await
    }

    /// The same with sockets that are handed over to it, and stay open while it restarts.
    pub async fn start_on_kept_sockets(database_url: &str, environment: &[(&str, &str)]) -> Collector {
        let [http, grpc] = [free_address(), free_address()].map(|address| TcpListener::bind(address).unwrap());
        Collector::launch_on(database_url, environment, Some(Kept { http, grpc })).with_key().await
    }

    async fn with_key(mut self) -> Collector {
        self.wait_until_up().await;
        self.key = self.make_key("default", &[]);
        self
    }

    /// Starts without waiting: for a database that is not there.
    pub fn launch(database_url: &str, environment: &[(&str, &str)]) -> Collector {
        Collector::launch_on(database_url, environment, None)
    }

    fn launch_on(database_url: &str, environment: &[(&str, &str)], kept: Option<Kept>) -> Collector {
        let folder = TempDir::new().unwrap();
        let environment: Vec<_> =
            environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let (http, grpc) = match &kept {
            None => (free_address(), free_address()),
            Some(kept) => (kept.http.local_addr().unwrap(), kept.grpc.local_addr().unwrap()),
        };
        let child = spawn(database_url, &environment, http, grpc, folder.path(), kept.as_ref());
        let (database_url, key) = (database_url.to_owned(), String::new());
        Collector { child, http, grpc, key, database_url, environment, folder, client: reqwest::Client::new(), kept }
    }

    /// Starts the program again on the same database and ports, after [`Collector::kill`] or [`Collector::stop`].
    pub async fn restart(&mut self) {
        self.relaunch();
        self.wait_until_up().await;
    }

    /// The same without waiting: for a database that is not there.
    pub fn relaunch(&mut self) {
        let folder = self.folder.path();
        self.child = spawn(&self.database_url, &self.environment, self.http, self.grpc, folder, self.kept.as_ref());
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, then waits for the end.
    pub fn stop(&mut self) -> ExitStatus {
        self.terminate();
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the collector did not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Where it runs, and where its files are.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub fn client(&self) -> &reqwest::Client {
        &self.client
    }

    /// What it wrote on standard output and standard error so far.
    pub fn log(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}\n{}", read("stdout"), read("stderr"))
    }

    /// A key by the command line, while the collector runs.
    pub fn make_key(&self, project: &str, arguments: &[&str]) -> String {
        let mut all = vec!["keys", "create", "--project", project, "--json"];
        all.extend(arguments);
        let made: Value = serde_json::from_str(&self.command(&all)).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    /// Runs a command of the program on the same database and returns its standard output.
    pub fn command(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).unwrap()
    }

    /// The same of a command that fails: its standard error.
    pub fn failing_command(&self, arguments: &[&str]) -> String {
        let done = self.run(arguments);
        assert_eq!(done.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&done.stdout));
        String::from_utf8(done.stderr).unwrap()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = program();
        command.args(arguments).env("DATABASE_URL", &self.database_url).current_dir(self.folder.path());
        command.output().unwrap()
    }

    /// GET with the collector's key: status and JSON.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        self.get_with(&self.key, path).await
    }

    pub async fn get_with(&self, key: &str, path: &str) -> (u16, Value) {
        let response = self.client.get(self.url(path)).bearer_auth(key).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
    }

    /// POST of JSON with the collector's key: status and JSON.
    pub async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let response = self.client.post(self.url(path)).bearer_auth(&self.key).json(body).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("no JSON: {text}")))
    }

    /// POST of OTLP traces with the collector's key: status and bytes.
    pub async fn post_otlp(&self, content_type: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        self.post_to("/v1/traces", content_type, body).await
    }

    /// The same to any path.
    pub async fn post_to(&self, path: &str, content_type: &str, body: Vec<u8>) -> (u16, Vec<u8>) {
        let request = self.client.post(self.url(path)).bearer_auth(&self.key).header("content-type", content_type);
        let response = request.body(body).send().await.unwrap();
        (response.status().as_u16(), response.bytes().await.unwrap().to_vec())
    }

    /// Asks again until `wanted` says yes.
    pub async fn wait_for(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get(path).await;
            if status == 200 && wanted(&body) {
                return body;
            }
            assert!(Instant::now() < end, "{path} is still {status} {body:#}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_until_up(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(response) = self.client.get(self.url("/readyz")).send().await
                && response.status().is_success()
            {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the collector ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < end, "the collector did not become ready:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program, with no setting of the environment that runs the tests.
pub fn program() -> Command {
    let mut command = without_settings(Command::new(PROGRAM));
    command.stdin(Stdio::null());
    command
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_vectoros");

fn without_settings(mut command: Command) -> Command {
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("VECTOROS_")) {
        command.env_remove(name);
    }
    command.env_remove("DATABASE_URL").env_remove("API_KEY");
    command
}

/// The program with two sockets as its descriptors 3 and 4, as systemd starts it.
pub fn program_on(http: &TcpListener, grpc: &TcpListener) -> Command {
    const HAND_OVER: &str = r#"exec 3<&0 4<&1 0</dev/null 1>>stdout; LISTEN_PID=$$ LISTEN_FDS=2 exec "$0" "$@""#;
    let descriptor = |socket: &TcpListener| Stdio::from(OwnedFd::from(socket.try_clone().unwrap()));
    let mut command = without_settings(Command::new("sh"));
    command.args(["-c", HAND_OVER, PROGRAM]).stdin(descriptor(http)).stdout(descriptor(grpc));
    command
}

fn spawn(
    database_url: &str,
    environment: &[(String, String)],
    http: SocketAddr,
    grpc: SocketAddr,
    folder: &Path,
    kept: Option<&Kept>,
) -> Child {
    let file = |name: &str| File::options().create(true).append(true).open(folder.join(name)).unwrap();
    let mut command = match kept {
        Some(kept) => program_on(&kept.http, &kept.grpc),
        None => {
            let mut command = program();
            command.stdout(file("stdout"));
            command
        }
    };
    command
        .arg("serve")
        // Nobody balances load here.
        .env("VECTOROS_SERVER__SHUTDOWN_DELAY", "0s")
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .env("DATABASE_URL", database_url)
        .env("VECTOROS_SERVER__HTTP", http.to_string())
        .env("VECTOROS_SERVER__GRPC", grpc.to_string())
        .current_dir(folder)
        .stderr(file("stderr"))
        .spawn()
        .unwrap()
}
