//! The release binary as a child process, and what Linux tells about it.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

const BINARY: &str = env!("CARGO_BIN_EXE_vectoros");
const READY_DEADLINE: Duration = Duration::from_secs(30);

pub struct Collector {
    child: Child,
    /// Serves both protocols.
    pub port: u16,
    pub key: String,
}

impl Collector {
    /// Prepares the database, makes a key without limits, starts the collector on free ports and waits until it is ready.
    pub async fn start(database_url: &str, directory: &Path) -> anyhow::Result<Collector> {
        migrate(database_url, directory).await?;
        let unlimited = "requests=unlimited,steps=unlimited,bytes=unlimited";
        let key = make_key(database_url, directory, "bench", unlimited).await?;

        let (port, other_port) = (free_port()?, free_port()?);
        let child = command(database_url, directory)
            .arg("serve")
            .env("VECTOROS_SERVER__HTTP", format!("127.0.0.1:{port}"))
            .env("VECTOROS_SERVER__GRPC", format!("127.0.0.1:{other_port}"))
            .env("VECTOROS_LOG__LEVEL", "warn")
            .stdout(Stdio::null())
            .spawn()
            .context("starting the collector")?;
        let mut collector = Collector { child, port, key };
        collector.wait_until_ready().await?;
        Ok(collector)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{}/readyz", self.port);
        let deadline = Instant::now() + READY_DEADLINE;
        loop {
            let seen = match reqwest::get(&url).await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => format!("{} {}", answer.status(), answer.text().await.unwrap_or_default()),
                Err(error) => error.to_string(),
            };
            if let Some(status) = self.child.try_wait()? {
                bail!("the collector stopped at start: {status}");
            }
            if Instant::now() > deadline {
                bail!("the collector is not ready after {READY_DEADLINE:?}; last seen: {seen}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The most memory it ever had resident.
    pub fn peak_rss_mib(&self) -> anyhow::Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?))?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM in /proc/PID/status")?;
        let kib: f64 = line.split_whitespace().nth(1).context("VmHWM without a number")?.parse()?;
        Ok(kib / 1024.0)
    }

    pub fn pid(&self) -> anyhow::Result<u32> {
        self.child.id().context("the collector has stopped")
    }

    /// Kills it: what it has acknowledged is in the database already.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// A key with a quota in the spelling of `keys create`.
pub async fn make_key(database_url: &str, directory: &Path, project: &str, quota: &str) -> anyhow::Result<String> {
    let words = ["keys", "create", "--project", project, "--quota", quota, "--json"];
    let created = run(database_url, directory, &words).await?;
    let created: serde_json::Value = serde_json::from_str(&created).context("what `keys create --json` printed")?;
    Ok(created["key"].as_str().context("`keys create --json` printed no key")?.to_owned())
}

/// Applies the schema to an empty database.
pub async fn migrate(database_url: &str, directory: &Path) -> anyhow::Result<()> {
    run(database_url, directory, &["migrate"]).await.map(|_| ())
}

async fn run(database_url: &str, directory: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = command(database_url, directory).args(arguments).output().await?;
    if !output.status.success() {
        bail!("vectoros {} failed: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
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
