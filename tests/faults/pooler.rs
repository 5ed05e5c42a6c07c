//! A PgBouncer of one fault's own, on 127.0.0.1.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::cluster::{Template, USER, run};
use crate::collector::signal;
use crate::ports::free_address;

/// Since this version it knows the statements that its clients prepared.
const KNOWS_STATEMENTS: (u32, u32) = (1, 21);

pub struct PgBouncer {
    template: Arc<Template>,
    program: PathBuf,
    folder: TempDir,
    port: u16,
}

impl PgBouncer {
    /// How to get it, if it is not here.
    pub fn is_missing() -> Option<&'static str> {
        find().is_none().then_some("PgBouncer was not found (Debian: apt-get install pgbouncer)")
    }

    /// In transaction mode if it knows prepared statements, otherwise in session mode, as the README says.
    pub async fn mode() -> anyhow::Result<&'static str> {
        let program = find().context(PgBouncer::is_missing().unwrap_or_default())?;
        let output = tokio::process::Command::new(program).arg("--version").output().await?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split_whitespace().nth(1).unwrap_or_default().split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            anyhow::bail!("PgBouncer tells no version: {text}");
        };
        Ok(if (major, minor) >= KNOWS_STATEMENTS { "transaction mode" } else { "session mode" })
    }

    pub async fn start(template: &Arc<Template>, server_port: u16) -> anyhow::Result<PgBouncer> {
        let program = find().context(PgBouncer::is_missing().unwrap_or_default())?;
        let folder = TempDir::new()?;
        template.give(folder.path()).await?;
        let port = free_address().port();
        let path = folder.path().display();
        let mode = match PgBouncer::mode().await? {
            "transaction mode" => "pool_mode = transaction\nmax_prepared_statements = 200",
            _ => "pool_mode = session",
        };
        let settings = format!(
            "[databases]\npostgres = host=127.0.0.1 port={server_port} dbname=postgres user={USER}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n\
             {mode}\ndefault_pool_size = 30\nserver_login_retry = 1\nlogfile = {path}/log\npidfile = {path}/pid\n"
        );
        std::fs::write(folder.path().join("settings"), settings)?;
        let pooler = PgBouncer { template: template.clone(), program, folder, port };
        pooler.begin().await?;
        Ok(pooler)
    }

    pub fn url(&self) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/postgres", self.port)
    }

    /// Starts it and waits until it listens.
    pub async fn begin(&self) -> anyhow::Result<()> {
        let mut command = self.template.command(self.folder.path(), &self.program.display().to_string());
        run(command.args(["-d", "settings"]).stdout(Stdio::null())).await?;
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("PgBouncer does not listen")
    }

    /// SIGKILL, and the end of it.
    pub async fn kill(&self) -> anyhow::Result<()> {
        let pid = self.pid().context("PgBouncer does not run")?;
        signal("KILL", &[pid]).await?;
        for _ in 0..100 {
            if !Path::new(&format!("/proc/{pid}/cmdline")).exists() || cmdline_is_empty(pid) {
                std::fs::remove_file(self.folder.path().join("pid")).ok();
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        ensure!(false, "PgBouncer lives on after SIGKILL");
        Ok(())
    }

    fn pid(&self) -> Option<u32> {
        std::fs::read_to_string(self.folder.path().join("pid")).ok()?.trim().parse().ok()
    }
}

/// A process that ended and that nobody has asked about yet has none.
fn cmdline_is_empty(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| words.is_empty())
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        if let Some(pid) = self.pid() {
            let _ = std::process::Command::new("kill").args(["-KILL", &pid.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join("pgbouncer")).find(|program| program.is_file())
}
