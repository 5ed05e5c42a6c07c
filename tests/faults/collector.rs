//! The program under test as a child process, and what Linux tells about it.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use crate::ports::free_address;
use crate::sender::Target;

/// Bytes of requests in memory, by setting: the base of the bound on the memory of the process.
const QUEUE: &str = "64MiB";
const START_MAX: Duration = Duration::from_secs(30);

/// How the process is started.
#[derive(Clone, Default)]
pub struct Launch {
    pub environment: Vec<(String, String)>,
    /// A program and its arguments that start ours, such as `prlimit --nofile=64`.
    pub through: Vec<String>,
    /// Standard error goes into a pipe that nobody reads.
    pub is_deaf: bool,
}

impl Launch {
    pub fn with(mut self, name: &str, value: &str) -> Launch {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }
}

pub struct Collector {
    child: Option<Child>,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub key: String,
    pub database_url: String,
    pub launch: Launch,
    folder: TempDir,
    client: reqwest::Client,
    pid: Arc<AtomicU32>,
    peak_kib: Arc<AtomicU64>,
    sampler: JoinHandle<()>,
    /// The other end of the standard error of a deaf one.
    pipe: Option<tokio::process::ChildStderr>,
}

impl Collector {
    /// Starts and waits until it is ready; makes a key without limits.
    pub async fn start(database_url: &str, launch: Launch) -> anyhow::Result<Collector> {
        let mut collector = Collector::new(database_url, launch)?;
        collector.spawn()?;
        collector.wait_until_ready(START_MAX).await?;
        collector.key = collector.make_key("default").await?;
        Ok(collector)
    }

    /// Not started yet.
    pub fn new(database_url: &str, launch: Launch) -> anyhow::Result<Collector> {
        let (pid, peak_kib) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU64::new(0)));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(2)).no_proxy().build()?;
        Ok(Collector {
            child: None,
            http: free_address(),
            grpc: free_address(),
            key: String::new(),
            database_url: database_url.to_owned(),
            launch,
            folder: TempDir::new()?,
            client,
            sampler: tokio::spawn(sample_memory(pid.clone(), peak_kib.clone())),
            pid,
            peak_kib,
            pipe: None,
        })
    }

    /// The program, without arguments.
    fn command(&self) -> Command {
        match self.launch.through.split_first() {
            None => program(&binary(), &[]),
            Some((first, others)) => {
                let mut command = program(Path::new(first), others);
                command.arg(binary());
                command
            }
        }
    }

    pub fn spawn(&mut self) -> anyhow::Result<()> {
        let file = |name: &str| File::options().create(true).append(true).open(self.folder.path().join(name));
        let mut command = self.command();
        let stderr = if self.launch.is_deaf { Stdio::piped() } else { file("stderr")?.into() };
        command
            .arg("serve")
            .env("VECTOROS_INGEST__QUEUE_BYTES", QUEUE)
            .env("VECTOROS_SERVER__SHUTDOWN_DELAY", "0s")
            .envs(self.launch.environment.iter().map(|(name, value)| (name, value)))
            .env("DATABASE_URL", &self.database_url)
            .env("VECTOROS_SERVER__HTTP", self.http.to_string())
            .env("VECTOROS_SERVER__GRPC", self.grpc.to_string())
            .current_dir(self.folder.path())
            .stdout(file("stdout")?)
            .stderr(stderr)
            .kill_on_drop(true);
        let mut child = command.spawn().context("starting the collector")?;
        self.pid.store(child.id().unwrap_or_default(), Ordering::Relaxed);
        self.pipe = child.stderr.take();
        self.child = Some(child);
        Ok(())
    }

    /// How long that took.
    pub async fn wait_until_ready(&mut self, limit: Duration) -> anyhow::Result<Duration> {
        let begin = Instant::now();
        loop {
            if self.is_ready().await {
                return Ok(begin.elapsed());
            }
            if let Some(status) = self.child.as_mut().context("it was not started")?.try_wait()? {
                bail!("the collector ended with {status}:\n{}", last_lines(&self.log(), 10));
            }
            ensure!(
                begin.elapsed() < limit,
                "the collector is not ready after {limit:?}:\n{}",
                last_lines(&self.log(), 10)
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn is_ready(&self) -> bool {
        let asked = self.client.get(format!("http://{}/readyz", self.http)).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// The status and the body of an answer of the API.
    pub async fn get(&self, key: &str, path: &str) -> anyhow::Result<(u16, String)> {
        let answer = self.client.get(format!("http://{}{path}", self.http)).bearer_auth(key).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The sum of a metric over its labels.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        let (_, text) = self.get(&self.key, "/metrics").await?;
        let lines = text.lines().filter(|line| line.starts_with(name) && !line.starts_with('#'));
        Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
    }

    pub fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    /// SIGKILL, and the end of it.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child {
            child.kill().await?;
        }
        self.pid.store(0, Ordering::Relaxed);
        Ok(())
    }

    /// Its status, if it ends in time.
    pub async fn end(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("it was not started")?;
        let status = tokio::time::timeout(limit, child.wait()).await;
        Ok(status.with_context(|| format!("the collector still runs after {limit:?}"))??)
    }

    /// Whether it ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    pub fn target(&self) -> Target {
        Target { http: self.http, grpc: self.grpc, key: self.key.clone() }
    }

    /// Of all its lives.
    pub fn peak_mib(&self) -> f64 {
        self.peak_kib.load(Ordering::Relaxed) as f64 / 1024.0
    }

    /// Resident now, in MiB.
    pub fn resident_mib(&self) -> f64 {
        memory(self.pid(), "VmRSS:").unwrap_or_default() as f64 / 1024.0
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default()
    }

    /// A key without limits.
    pub async fn make_key(&self, project: &str) -> anyhow::Result<String> {
        let unlimited = "requests=unlimited,steps=unlimited,bytes=unlimited";
        let mut command = self.command();
        command.args(["keys", "create", "--project", project, "--quota", unlimited, "--json"]);
        let preloaded = self.launch.environment.iter().filter(|(name, _)| !name.starts_with("VECTOROS_"));
        command.envs(preloaded.map(|(name, value)| (name, value)));
        command.env("DATABASE_URL", &self.database_url).current_dir(self.folder.path());
        let output = command.output().await?;
        ensure!(output.status.success(), "keys create: {}", String::from_utf8_lossy(&output.stderr));
        let made: Value = serde_json::from_slice(&output.stdout)?;
        Ok(made["key"].as_str().context("keys create printed no key")?.to_owned())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

/// Signals of the command `kill`, such as `TERM`; several processes at once.
pub async fn signal(name: &str, pids: &[u32]) -> anyhow::Result<()> {
    ensure!(!pids.contains(&0), "there is no process to send SIG{name}");
    let words = pids.iter().map(u32::to_string);
    let status = Command::new("kill").arg(format!("-{name}")).args(words).stderr(Stdio::null()).status().await?;
    ensure!(status.success() || pids.len() > 1, "kill -{name} {pids:?} failed");
    Ok(())
}

pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The one that cargo built beside this program, unless `VECTOROS_FAULTS_BINARY` names another.
pub fn binary() -> PathBuf {
    let other = std::env::var_os("VECTOROS_FAULTS_BINARY");
    other.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_vectoros")), PathBuf::from)
}

/// No setting of the environment of the runner reaches it.
fn program(path: &Path, arguments: &[String]) -> Command {
    let mut command = Command::new(path);
    command.args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("VECTOROS_")) {
        command.env_remove(name);
    }
    command.env_remove("DATABASE_URL").env_remove("API_KEY").stdin(Stdio::null());
    command
}

async fn sample_memory(pid: Arc<AtomicU32>, peak_kib: Arc<AtomicU64>) {
    loop {
        if let Some(kib) = memory(pid.load(Ordering::Relaxed), "VmHWM:") {
            peak_kib.fetch_max(kib, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// A line of `/proc/PID/status`, in KiB.
fn memory(pid: u32, name: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find(|line| line.starts_with(name))?.split_whitespace().nth(1)?.parse().ok()
}
