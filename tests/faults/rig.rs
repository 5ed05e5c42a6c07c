//! One fault's own collector, database, senders and ledger; and what must hold after every fault.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tempfile::TempDir;

use crate::cluster::{Cluster, Template, run};
use crate::collector::{Collector, Launch, last_lines};
use crate::join::{Database, join};
use crate::ledger::{Ledger, Trouble};
use crate::pooler::PgBouncer;
use crate::report::Row;
use crate::sender::{Client, Load, Senders, Target, Way};
use crate::wire::Wire;

/// Three times the queue, and what a process has when it is idle with it.
const MEMORY_MAX_MIB: f64 = 3.0 * 64.0 + 64.0;
/// Ready again, after the fault is gone.
const READY_MAX: Duration = Duration::from_secs(10);
/// What the slowest request of a second takes at most on a machine that has time.
const CALM_MAX: Duration = Duration::from_millis(500);
const ACKNOWLEDGED_MAX: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Sqlite,
    Postgres,
}

/// What a fault is told by the runner.
#[derive(Clone)]
pub struct Context {
    pub id: &'static str,
    pub store: Kind,
    pub seed: u64,
    /// The forms that take longer.
    pub is_long: bool,
    pub kill_cycles: u32,
    pub postgres_kills: u32,
    pub soak: Duration,
    pub ledger_file: Option<PathBuf>,
    pub template: Option<Arc<Template>>,
}

impl Context {
    /// By tier.
    pub fn pick<T>(&self, short: T, long: T) -> T {
        if self.is_long { long } else { short }
    }
}

/// How the parts of a rig are made.
#[derive(Clone, Default)]
pub struct Setup {
    pub launch: Launch,
    pub load: Load,
    /// The collector reaches Postgres by a wire that can be disturbed.
    pub has_wire: bool,
    /// So do the senders the collector, each protocol by one of its own.
    pub has_client_wires: bool,
    /// Postgres has a standby, and the collector knows both.
    pub has_standby: bool,
    /// The collector reaches Postgres by PgBouncer.
    pub has_pooler: bool,
    /// The collector knows the server by this name.
    pub server_name: Option<&'static str>,
    pub postgres: Vec<&'static str>,
    /// The database has a file system of its own, of so many MiB.
    pub disk_mib: Option<u32>,
}

pub struct Rig {
    pub context: Context,
    pub random: StdRng,
    // Dropped in this order: senders, collector, then what it needs.
    senders: Option<Senders>,
    pub collector: Collector,
    pub ledger: Arc<Ledger>,
    pub database: Database,
    pooler: Option<PgBouncer>,
    standby: Option<Standby>,
    cluster: Option<Cluster>,
    wire: Option<Wire>,
    pub client_wires: Vec<Wire>,
    file: Option<SqliteFolder>,
    load: Load,
    target: Target,
    /// Step ids that the fault itself sent.
    pub foreign: Vec<String>,
    pub notes: Vec<String>,
    /// Panics that say this are what the fault wanted.
    pub pardoned: Option<&'static str>,
    problems: Vec<String>,
    ready: Option<Duration>,
    acknowledged: Option<Duration>,
    begin: Instant,
}

impl Rig {
    /// Starts everything and waits until the load flows.
    pub async fn start(context: &Context, setup: Setup) -> anyhow::Result<Rig> {
        let begin = Instant::now();
        let (mut cluster, mut file, mut wire, mut standby, mut pooler) = (None, None, None, None, None);
        let database = match context.store {
            Kind::Postgres => {
                let template = context.template.as_ref().context("no Postgres server was found")?;
                let made = cluster.insert(Cluster::start(template, &setup.postgres, setup.disk_mib).await?);
                Database::Postgres(made.url())
            }
            Kind::Sqlite => {
                let made = file.insert(SqliteFolder::make(setup.disk_mib).await?);
                Database::Sqlite(made.path().join("vectoros.db"))
            }
        };
        let mut url = database.url();
        if let (true, Some(cluster)) = (setup.has_wire, &cluster) {
            let made = wire.insert(Wire::to(format!("127.0.0.1:{}", cluster.port), context.seed).await?);
            url = made.instead_of(&url)?;
        }
        if let (Some(cluster), Some(template)) = (&cluster, &context.template) {
            if setup.has_standby {
                let made = standby.insert(Standby::follow(cluster, template, context.seed).await?);
                url = made.url_of_both(cluster);
            }
            if setup.has_pooler {
                url = pooler.insert(PgBouncer::start(template, cluster.port).await?).url();
            }
        }
        if let Some(name) = setup.server_name {
            url = url.replace("127.0.0.1", name);
        }
        let collector = Collector::start(&url, setup.launch).await?;
        let ledger = Arc::new(Ledger::new(context.seed, context.ledger_file.as_deref())?);
        let (mut target, mut client_wires) = (collector.target(), Vec::new());
        if setup.has_client_wires {
            for address in [&mut target.http, &mut target.grpc] {
                let wire = Wire::to(address.to_string(), context.seed).await?;
                *address = wire.address;
                client_wires.push(wire);
            }
        }
        let mut rig = Rig {
            context: context.clone(),
            random: StdRng::seed_from_u64(context.seed),
            senders: None,
            collector,
            ledger,
            database,
            pooler,
            standby,
            cluster,
            wire,
            client_wires,
            file,
            load: setup.load.clone(),
            target,
            foreign: Vec::new(),
            notes: Vec::new(),
            pardoned: None,
            problems: Vec::new(),
            ready: None,
            acknowledged: None,
            begin,
        };
        if setup.load.senders > 0 {
            rig.load(setup.load);
            rig.flow(40).await?;
        }
        Ok(rig)
    }

    pub fn load(&mut self, load: Load) {
        self.senders = Some(Senders::start(&load, &self.target, &self.ledger));
        self.load = load;
    }

    pub async fn stop_load(&mut self) -> anyhow::Result<()> {
        match self.senders.take() {
            Some(senders) => senders.stop().await,
            None => Ok(()),
        }
    }

    /// Waits until so many requests more are acknowledged.
    pub async fn flow(&self, requests: u64) -> anyhow::Result<()> {
        let wanted = self.ledger.acknowledged_requests() + requests;
        let begin = Instant::now();
        while self.ledger.acknowledged_requests() < wanted {
            if begin.elapsed() > Duration::from_secs(30) {
                bail!("no load: {:?} {:?}", self.ledger.trouble(), self.ledger.examples());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Waits for trouble of the wanted kind; whether it came.
    pub async fn until(&self, limit: Duration, wanted: impl Fn(Trouble) -> bool) -> bool {
        let begin = Instant::now();
        while begin.elapsed() < limit {
            if wanted(self.ledger.trouble()) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    pub async fn pause(&mut self, ms: std::ops::Range<u64>) {
        let ms = self.random.random_range(ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    pub fn cluster(&self) -> anyhow::Result<&Cluster> {
        self.cluster.as_ref().context("this fault is one of Postgres")
    }

    pub fn pooler(&self) -> anyhow::Result<&PgBouncer> {
        self.pooler.as_ref().context("this fault needs a pooler")
    }

    /// The way from the standby to its primary.
    pub fn replication(&self) -> anyhow::Result<&Wire> {
        Ok(&self.standby.as_ref().context("this fault needs a standby")?.wire)
    }

    /// From now on the standby is the server, and the primary of before is gone.
    pub async fn promote_standby(&mut self) -> anyhow::Result<()> {
        let standby = self.standby.take().context("this fault needs a standby")?;
        standby.cluster.promote().await?;
        self.database = Database::Postgres(standby.cluster.url());
        self.cluster = Some(standby.cluster);
        Ok(())
    }

    pub fn wire(&self) -> anyhow::Result<&Wire> {
        self.wire.as_ref().context("this fault needs a wire")
    }

    /// The folder, or the file system, of the data.
    pub fn disk(&self) -> anyhow::Result<PathBuf> {
        match (&self.cluster, &self.file) {
            (Some(cluster), _) => Ok(cluster.disk()),
            (_, Some(file)) => Ok(file.path()),
            _ => bail!("no database"),
        }
    }

    /// A client beside the senders.
    pub fn client(&self, way: Way) -> Client {
        Client::new(way, &self.target, self.load.attempt_max)
    }

    pub fn expect(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }

    /// No client saw anything but yes since then. A machine that is too busy to answer quickly without any fault cannot
    /// show that, and says so.
    pub async fn expect_no_trouble_since(&mut self, before: Trouble) {
        let seen = self.ledger.trouble().since(before);
        self.ledger.take_slowest();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let slowest = self.ledger.take_slowest();
        if slowest > CALM_MAX {
            let text = format!("machine too busy to tell ({:.1} s without a fault), {seen:?}", slowest.as_secs_f64());
            return self.notes.push(text);
        }
        let examples = self.ledger.examples();
        self.expect(seen.all() == 0, || format!("clients saw it: {seen:?} {examples:?}"));
    }

    /// Whatever clients saw, trying again helped within seconds.
    pub fn expect_nobody_gave_up_since(&mut self, before: Trouble) {
        let seen = self.ledger.trouble().since(before);
        let examples = self.ledger.examples();
        self.expect(seen.given_up == 0, || format!("clients gave up: {seen:?} {examples:?}"));
    }

    /// A collector that was killed, again.
    pub async fn restart_collector(&mut self) -> anyhow::Result<Duration> {
        self.collector.spawn()?;
        self.collector.wait_until_ready(Duration::from_secs(30)).await
    }

    /// The fault is gone now: how long until it is ready, and until a client hears yes.
    pub async fn recover(&mut self) -> anyhow::Result<()> {
        let begin = Instant::now();
        let ready = self.collector.wait_until_ready(READY_MAX * 6).await?;
        self.expect(ready <= READY_MAX, || format!("ready again only after {ready:?}"));
        self.ready = self.ready.max(Some(ready));
        if self.senders.is_some() {
            loop {
                if let Some(at) = self.ledger.last_acknowledgement().filter(|at| *at > begin) {
                    let took = at - begin;
                    self.expect(took <= ACKNOWLEDGED_MAX, || format!("acknowledged again only after {took:?}"));
                    self.acknowledged = self.acknowledged.max(Some(took));
                    break;
                }
                if begin.elapsed() > ACKNOWLEDGED_MAX * 3 {
                    bail!("nothing is acknowledged any more: {:?}", self.ledger.examples());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        Ok(())
    }

    /// Recovery, the end of the load, the join, and what must hold always.
    pub async fn finish(mut self) -> anyhow::Result<Row> {
        self.recover().await?;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.stop_load().await?;
        let mut joined = join(&self.database, &self.ledger.entries(), self.ledger.content, &self.foreign).await?;
        let mut problems = std::mem::take(&mut self.problems);
        problems.append(&mut joined.problems);
        let trouble = self.ledger.trouble();
        if trouble.permanent > 0 {
            problems.push(format!(
                "{} answers that forbid to try again: {:?}",
                trouble.permanent,
                self.ledger.examples()
            ));
        }
        let log = self.collector.log();
        let panic = log.lines().zip(log.lines().skip(1)).find(|(place, words)| {
            place.contains("panicked") && !self.pardoned.is_some_and(|pardoned| words.contains(pardoned))
        });
        if let Some((place, words)) = panic {
            problems.push(format!("a panic: {place} {words}"));
        }
        if self.collector.key.get(13..45).is_some_and(|secret| log.contains(secret)) {
            problems.push("the key stands in the log".to_owned());
        }
        if self.collector.has_ended() {
            problems.push(format!("the collector ended by itself: {}", last_lines(&log, 3)));
        }
        let peak_mib = self.collector.peak_mib();
        if peak_mib > MEMORY_MAX_MIB {
            problems.push(format!("{peak_mib:.0} MiB resident, {MEMORY_MAX_MIB} are the bound"));
        }
        Ok(Row {
            fault: self.context.id,
            store: self.context.store,
            seed: self.context.seed,
            joined,
            trouble,
            peak_mib,
            ready: self.ready,
            acknowledged: self.acknowledged,
            took: self.begin.elapsed(),
            notes: self.notes,
            problems,
        })
    }
}

/// A second server, and the wire by which it follows the first.
struct Standby {
    cluster: Cluster,
    wire: Wire,
}

impl Standby {
    async fn follow(primary: &Cluster, template: &Arc<Template>, seed: u64) -> anyhow::Result<Standby> {
        let wire = Wire::to(format!("127.0.0.1:{}", primary.port), seed).await?;
        let cluster = Cluster::standby(template, wire.address.port()).await?;
        Ok(Standby { cluster, wire })
    }

    fn url_of_both(&self, primary: &Cluster) -> String {
        let host = format!("127.0.0.1:{}", primary.port);
        primary.url().replace(&host, &format!("{host},127.0.0.1:{}", self.cluster.port))
            + "?target_session_attrs=read-write"
    }
}

/// The folder of a SQLite file, on a file system of its own if it has a size.
struct SqliteFolder {
    folder: TempDir,
    is_mounted: bool,
}

impl SqliteFolder {
    async fn make(mib: Option<u32>) -> anyhow::Result<SqliteFolder> {
        let folder = TempDir::new()?;
        if let Some(mib) = mib {
            let size = format!("size={mib}m");
            let mut mount = tokio::process::Command::new("mount");
            run(mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path())).await?;
        }
        Ok(SqliteFolder { folder, is_mounted: mib.is_some() })
    }

    fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }
}

impl Drop for SqliteFolder {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.folder.path()).status();
        }
    }
}
