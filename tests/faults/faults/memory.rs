//! A machine with little memory.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::task::JoinSet;

use crate::collector::{Launch, last_lines};
use crate::content::STEPS_OF_TRACE_MAX;
use crate::report::Row;
use crate::rig::{Context, Rig, Setup};
use crate::sender::{Answer, Body, Client, Way};

/// What the program may have at most with the queue it is given here, and a little for the system.
const ENOUGH_MIB: u64 = 288;
const TOO_LITTLE_MIB: u64 = 40;

/// Memory that the system gives to a process and those it starts, and no more. Removed with the value.
struct Allowance {
    folder: PathBuf,
}

impl Allowance {
    fn make(mib: u64) -> anyhow::Result<Allowance> {
        let name = format!("vectoros-faults-{}", std::process::id());
        let folder = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
            .into_iter()
            .find_map(|(base, file)| {
                let folder = PathBuf::from(base).join(&name);
                std::fs::create_dir(&folder).ok()?;
                if folder.join(file).exists() {
                    return Some(folder);
                }
                let _ = std::fs::remove_dir(folder);
                None
            });
        let allowance = Allowance { folder: folder.context("this fault wants root and a cgroup for memory")? };
        allowance.set(mib)?;
        Ok(allowance)
    }

    fn set(&self, mib: u64) -> anyhow::Result<()> {
        let first = self.folder.join("memory.limit_in_bytes");
        let file = if first.exists() { first } else { self.folder.join("memory.max") };
        std::fs::write(&file, (mib << 20).to_string()).with_context(|| format!("{file:?}"))
    }

    /// Every process that is started so belongs to it.
    fn launch(&self) -> Launch {
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.folder.display());
        Launch { through: vec!["sh".to_owned(), "-c".to_owned(), join], ..Launch::default() }
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        // The processes in it are killed by now, and need a moment to be gone.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        eprintln!("{:?} is left behind", self.folder);
    }
}

const SENDERS: u64 = 6;
const TRACES_OF_REQUEST: u64 = 1_500;

/// Six senders of 9,000 spans a request, until the value is dropped. What was not acknowledged by then was sent at least.
fn send_much(rig: &Rig) -> JoinSet<()> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (ledger, client) =
            (rig.ledger.clone(), Client::new(Way::Protobuf, &rig.collector.target(), Duration::from_secs(20)));
        senders.spawn(async move {
            let mut trace = (1 << 44) | (sender << 28);
            loop {
                let traces = trace..trace + TRACES_OF_REQUEST;
                let numbers: Vec<u64> =
                    traces.flat_map(|trace| (0..6).map(move |at| trace * STEPS_OF_TRACE_MAX + at)).collect();
                trace += TRACES_OF_REQUEST;
                ledger.sent(&numbers, false);
                let request = client.encode(Body::Spans(ledger.content.export(&numbers)));
                let begin = Instant::now();
                match client.attempt(&request).await {
                    Answer::Yes { rejected: 0 } => ledger.acknowledged(&numbers, begin.elapsed()),
                    Answer::Permanent(text) => ledger.permanent(&text),
                    Answer::Yes { .. } | Answer::Later { .. } | Answer::Broken(_) => {
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                }
            }
        });
    }
    senders
}

/// Whether the collector ends by itself.
async fn ends(rig: &mut Rig, limit: Duration) -> bool {
    let begin = Instant::now();
    while !rig.collector.has_ended() && begin.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    rig.collector.has_ended()
}

pub async fn f08(context: Context) -> anyhow::Result<Row> {
    let allowance = Allowance::make(ENOUGH_MIB)?;
    let mut rig = Rig::start(&context, Setup { launch: allowance.launch(), ..Setup::default() }).await?;
    let large = send_much(&rig);
    let was_killed = ends(&mut rig, Duration::from_secs(context.pick(5, 20))).await;
    rig.expect(!was_killed, || format!("{ENOUGH_MIB} MiB were not enough"));
    let had_mib = rig.collector.peak_mib();

    // The system takes nothing back from a process that runs.
    rig.collector.kill().await?;
    allowance.set(TOO_LITTLE_MIB)?;
    rig.collector.spawn()?;
    let was_killed = ends(&mut rig, Duration::from_secs(20)).await;
    rig.expect(was_killed, || format!("{TOO_LITTLE_MIB} MiB were enough"));
    drop(large);
    rig.collector.kill().await?;
    allowance.set(ENOUGH_MIB)?;
    rig.restart_collector().await?;
    rig.notes.push(format!(
        "{had_mib:.0} MiB of {ENOUGH_MIB} under {SENDERS} senders of 9,000 spans a request; killed by the system with \
         {TOO_LITTLE_MIB}"
    ));
    rig.finish().await
}

/// Another allocator cannot be put in the program's way, but the system can refuse it memory. What is left is enough to
/// start and to answer small requests.
pub async fn f09(context: Context) -> anyhow::Result<Row> {
    const DATA_MIB: u64 = 64;
    let mut rig = Rig::start(&context, Setup::default()).await?;
    rig.collector.kill().await?;
    let free = std::mem::take(&mut rig.collector.launch.through);
    rig.collector.launch.through = vec!["prlimit".to_owned(), format!("--data={}", DATA_MIB << 20)];
    rig.restart_collector().await?;
    rig.flow(20).await?;
    // A thread that decodes wants a stack; without one its request is lost, and was not acknowledged.
    rig.pardoned = Some("OS can't spawn worker thread");
    let large = send_much(&rig);
    let has_ended = ends(&mut rig, Duration::from_secs(40)).await;
    rig.expect(has_ended, || format!("{DATA_MIB} MiB of data were enough"));
    drop(large);
    let log = last_lines(&rig.collector.log(), 3);
    rig.expect(log.contains("memory allocation of"), || format!("its last words are {log}"));
    rig.collector.kill().await?;
    rig.collector.launch.through = free;
    rig.restart_collector().await?;
    rig.notes.push(format!("ended for want of memory, with {DATA_MIB} MiB of data"));
    rig.finish().await
}
