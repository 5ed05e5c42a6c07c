//! A Postgres server of one fault's own, which it may stop, kill and starve. On 127.0.0.1 only, gone with the value.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sqlx::Connection;
use tempfile::TempDir;
use tokio::process::Command;

use crate::collector::{last_lines, signal};
use crate::ports::free_address;

pub const USER: &str = "vectoros";

/// What every cluster begins as: made once, copied for each.
pub struct Template {
    bin: PathBuf,
    /// Postgres refuses to run as root: whose it is then.
    owner: Option<&'static str>,
    folder: TempDir,
}

impl Template {
    pub async fn make() -> anyhow::Result<Template> {
        let bin = find_postgres().context(
            "no Postgres server found: install one (Debian: apt-get install postgresql) or put initdb and pg_ctl into PATH",
        )?;
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
        let has_user = std::fs::read_to_string("/etc/passwd").is_ok_and(|users| users.contains("\npostgres:"));
        let owner = is_root.then_some(if has_user { "postgres" } else { "nobody" });
        let template = Template { bin, owner, folder: TempDir::new()? };
        template.give(template.folder.path()).await?;
        let data = template.folder.path().join("data").display().to_string();
        let words = ["-D", &data, "-U", USER, "--auth=trust", "-E", "UTF8", "--locale=C", "--no-sync"];
        let made = template.command(template.folder.path(), "initdb").args(words).output().await?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        Ok(template)
    }

    /// A program of Postgres as its owner, in a folder that it may enter.
    pub fn command(&self, folder: &Path, name: &str) -> Command {
        let program = self.bin.join(name);
        let mut command = match self.owner {
            None => Command::new(program),
            Some(owner) => {
                let mut command = Command::new("runuser");
                command.args(["-u", owner, "--"]).arg(program);
                command
            }
        };
        command.current_dir(folder).stdin(Stdio::null());
        command
    }

    pub async fn give(&self, folder: &Path) -> anyhow::Result<()> {
        if let Some(owner) = self.owner {
            run(Command::new("chown").arg(owner).arg(folder)).await?;
        }
        Ok(())
    }
}

pub struct Cluster {
    template: Arc<Template>,
    folder: TempDir,
    mount: Option<PathBuf>,
    data: PathBuf,
    pub port: u16,
    settings: String,
}

impl Cluster {
    /// Started, with settings like `max_connections=30`; `mib`: its data on a file system of its own, of that size.
    pub async fn start(template: &Arc<Template>, settings: &[&str], mib: Option<u32>) -> anyhow::Result<Cluster> {
        let folder = TempDir::new()?;
        template.give(folder.path()).await?;
        let home = folder.path().join("disk");
        std::fs::create_dir(&home)?;
        let mount = match mib {
            None => None,
            Some(mib) => {
                let size = format!("size={mib}m");
                run(Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&home)).await?;
                Some(home.clone())
            }
        };
        template.give(&home).await?;
        let data = home.join("data");
        run(Command::new("cp").arg("-a").arg(template.folder.path().join("data")).arg(&data)).await?;
        let settings: String = settings.iter().map(|setting| format!(" -c {setting}")).collect();
        let mut cluster = Cluster { template: template.clone(), folder, mount, data, port: 0, settings };
        // A port that is free now may be taken a moment later.
        for attempt in 0..3 {
            cluster.port = free_address().port();
            match cluster.begin().await {
                Err(error) if attempt == 2 => return Err(error),
                Err(_) => {}
                Ok(()) => break,
            }
        }
        Ok(cluster)
    }

    /// A standby that follows the server at `port`, under the name `standby`.
    pub async fn standby(template: &Arc<Template>, port: u16) -> anyhow::Result<Cluster> {
        let folder = TempDir::new()?;
        template.give(folder.path()).await?;
        let data = folder.path().join("data");
        let primary = format!("host=127.0.0.1 port={port} user={USER} application_name=standby");
        // Beside the real `initdb`, where the PATH may hold a link to that alone.
        let initdb = std::fs::canonicalize(template.bin.join("initdb"))?;
        let mut copy = template.command(folder.path(), &initdb.with_file_name("pg_basebackup").display().to_string());
        copy.args(["-d", &primary, "-X", "stream", "-c", "fast", "-R", "--no-sync", "-D"]).arg(&data);
        run(&mut copy).await?;
        let port = free_address().port();
        let standby = Cluster { template: template.clone(), folder, mount: None, data, port, settings: String::new() };
        standby.begin().await?;
        Ok(standby)
    }

    /// Makes a standby the primary.
    pub async fn promote(&self) -> anyhow::Result<()> {
        let mut command = self.template.command(self.folder.path(), "pg_ctl");
        run(command.arg("-D").arg(&self.data).args(["-t", "60", "-w", "promote"])).await
    }

    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// The disk of its data.
    pub fn disk(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    /// Starts a stopped server and waits until it answers.
    pub async fn begin(&self) -> anyhow::Result<()> {
        let folder = self.folder.path();
        let settings = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c recovery_init_sync_method=syncfs{}",
            self.port,
            folder.display(),
            self.settings
        );
        let log = folder.join("log");
        let mut command = self.template.command(folder, "pg_ctl");
        command.arg("-D").arg(&self.data).arg("-l").arg(&log).args(["-o", &settings, "-t", "60", "-w", "start"]);
        let started = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await?;
        let text = || last_lines(&std::fs::read_to_string(&log).unwrap_or_default(), 5);
        ensure!(started.success(), "Postgres did not start:\n{}", text());
        Ok(())
    }

    /// `fast` or `immediate`.
    pub async fn stop(&self, mode: &str) -> anyhow::Result<()> {
        let mut command = self.template.command(self.folder.path(), "pg_ctl");
        command.arg("-D").arg(&self.data).args(["-m", mode, "-t", "60", "-w", "stop"]);
        let stopped = command.stdout(Stdio::null()).stderr(Stdio::null()).status().await?;
        ensure!(stopped.success(), "Postgres did not stop");
        Ok(())
    }

    /// The first process of the server and those that serve connections.
    pub fn processes(&self) -> anyhow::Result<(u32, Vec<u32>)> {
        let text = std::fs::read_to_string(self.data.join("postmaster.pid"))?;
        let first: u32 = text.lines().next().context("an empty postmaster.pid")?.trim().parse()?;
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children")).unwrap_or_default();
        Ok((first, children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()))
    }

    /// Stops time for all of it.
    pub async fn freeze(&self) -> anyhow::Result<Vec<u32>> {
        let (first, children) = self.processes()?;
        signal("STOP", &[first]).await?;
        let all: Vec<u32> = std::iter::once(first).chain(children).collect();
        signal("STOP", &all).await?;
        Ok(all)
    }

    pub async fn thaw(&self, processes: &[u32]) -> anyhow::Result<()> {
        signal("CONT", processes).await
    }

    /// Waits until it takes connections after a crash, once it has noticed that.
    pub async fn wait(&self) -> anyhow::Result<()> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        for _ in 0..600 {
            if let Ok(connection) = sqlx::PgConnection::connect(&self.url()).await {
                return Ok(connection.close().await?);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("Postgres does not come back")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Whatever state it is in: frozen ones take no other signal.
        if let Ok((first, children)) = self.processes() {
            let pids: Vec<String> = std::iter::once(first).chain(children).map(|pid| pid.to_string()).collect();
            let _ = std::process::Command::new("kill").arg("-KILL").args(&pids).stderr(Stdio::null()).status();
        }
        if let Some(mount) = &self.mount {
            let _ = std::process::Command::new("umount").arg("-l").arg(mount).status();
        }
    }
}

/// A command that must succeed.
pub async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().await?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// The folder with `initdb` and `pg_ctl`: of the PATH, then the newest of those where packages put them.
fn find_postgres() -> Option<PathBuf> {
    let has_both = |folder: &Path| folder.join("initdb").is_file() && folder.join("pg_ctl").is_file();
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(|folder| has_both(folder)) {
        return Some(found);
    }
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    for root in ["/usr/lib/postgresql", "/usr", "/opt/homebrew/opt", "/usr/local/opt"] {
        for entry in std::fs::read_dir(root).into_iter().flatten().flatten() {
            let bin = entry.path().join("bin");
            if has_both(&bin) {
                let version =
                    entry.file_name().to_string_lossy().chars().filter(char::is_ascii_digit).collect::<String>();
                found.push((version.parse().unwrap_or_default(), bin));
            }
        }
    }
    found.into_iter().max_by_key(|(version, _)| *version).map(|(_, bin)| bin)
}
