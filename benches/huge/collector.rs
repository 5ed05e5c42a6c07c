//! The release binary as a child process, asked over HTTP.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use tokio::process::{Child, Command};

const BINARY: &str = env!("CARGO_BIN_EXE_vectoros");
const READY_DEADLINE: Duration = Duration::from_secs(30);

pub struct Collector {
    child: Child,
    url: String,
    key: String,
    client: reqwest::Client,
}

impl Collector {
    /// Makes a key without limits, starts the collector on free ports and waits until it is ready.
    pub async fn start(database_url: &str, directory: &Path) -> anyhow::Result<Collector> {
        let unlimited = "requests=unlimited,steps=unlimited,bytes=unlimited";
        let made = command(database_url, directory)
            .args(["keys", "create", "--project", "bench", "--quota", unlimited, "--json"])
            .output()
            .await?;
        ensure!(made.status.success(), "no key: {}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).context("what `keys create --json` printed")?;
        let key = made["key"].as_str().context("`keys create --json` printed no key")?.to_owned();

        let (http, grpc) = (free_port()?, free_port()?);
        let child = command(database_url, directory)
            .arg("serve")
            .env("VECTOROS_SERVER__HTTP", format!("127.0.0.1:{http}"))
            .env("VECTOROS_SERVER__GRPC", format!("127.0.0.1:{grpc}"))
            .env("VECTOROS_LOG__LEVEL", "warn")
            .stdout(Stdio::null())
            .spawn()
            .context("starting the collector")?;
        let url = format!("http://127.0.0.1:{http}");
        let mut collector = Collector { child, url, key, client: reqwest::Client::new() };
        collector.wait_until_ready().await?;
        Ok(collector)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            if let Ok(answer) = self.client.get(format!("{}/readyz", self.url)).send().await
                && answer.status().is_success()
            {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the collector stopped at start: {status}");
            }
            ensure!(Instant::now() < deadline, "the collector is not ready after {READY_DEADLINE:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends an OTLP request: the status of the answer, which must be empty when it is good.
    pub async fn post(&self, body: Vec<u8>) -> anyhow::Result<u16> {
        let request = self.client.post(format!("{}/v1/traces", self.url)).bearer_auth(&self.key);
        let answer = request.header("content-type", "application/x-protobuf").body(body).send().await?;
        let status = answer.status().as_u16();
        let text = answer.bytes().await?;
        ensure!(status != 200 || text.is_empty(), "acknowledged only in part: {}", String::from_utf8_lossy(&text));
        Ok(status)
    }

    pub async fn get(&self, path: &str) -> anyhow::Result<reqwest::Response> {
        let answer = self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.key).send().await?;
        Ok(answer.error_for_status()?)
    }

    /// The row of the run that started last, as lists show it; null when there is none.
    pub async fn newest_run(&self) -> anyhow::Result<Value> {
        let mut page: Value = self.get("/runs?limit=1").await?.json().await?;
        Ok(page["items"][0].take())
    }

    /// The most memory it ever had resident.
    pub fn peak_rss_mib(&self) -> anyhow::Result<f64> {
        let pid = self.child.id().context("the collector has stopped")?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM in /proc/PID/status")?;
        let kib: f64 = line.split_whitespace().nth(1).context("VmHWM without a number")?.parse()?;
        Ok(kib / 1024.0)
    }
}

/// Settings of the caller's own environment must not change what is measured.
fn command(database_url: &str, directory: &Path) -> Command {
    let mut command = Command::new(BINARY);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VECTOROS_") || name == "API_KEY" {
            command.env_remove(name);
        }
    }
    command.env("DATABASE_URL", database_url).current_dir(directory).kill_on_drop(true);
    command
}

/// A port that was free a moment ago.
fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
