//! Senders, queue, writers and circuit over a store that fails in every way at once: by seed, thousands of them, in a time
//! that is not waited for. Whatever was acknowledged is stored, once, and everything comes to rest.
//!
//! `VECTOROS_SEEDS=17` runs one seed, `VECTOROS_SEEDS=0..100000` many.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::model::{Faults, Model, POISON, TRANSACTION_MAX, Try, UNFIT, content, id};
use super::*;

const SEEDS: Range<u64> = 0..2_000;
/// An exporter gives up after this.
const PATIENCE: Duration = Duration::from_secs(10);

/// Taking six steps apart takes so long at most: eleven tries, of which no one hangs.
const APART_MAX: Duration = Duration::from_secs(11 * 4);

/// What one sender wants stored.
struct Request {
    project: ProjectId,
    numbers: Vec<u64>,
}

impl Request {
    fn some(random: &mut StdRng, projects: i64, kinds: &[u64]) -> Request {
        let project = ProjectId(random.random_range(1..=projects));
        // From few numbers, so that senders send copies of each other's steps too.
        let mut number = || random.random_range(0..400) | kinds[random.random_range(0..kinds.len())];
        let numbers: BTreeSet<u64> = (0..6).map(|_| number()).collect();
        let few = random.random_range(1..=numbers.len());
        Request { project, numbers: numbers.into_iter().take(few).collect() }
    }

    fn poison(&self) -> u64 {
        self.numbers.iter().filter(|number| **number & POISON != 0).count() as u64
    }
}

/// Sends as an exporter does, and looks at once whether what was acknowledged is there. True when it was.
async fn export(site: &Site, request: &Request, random: &mut StdRng) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let answers = match random.random_range(0..10) {
            // Goes away early and comes again, or does not.
            0 => {
                let leaves = Duration::from_millis(random.random_range(0..3_000));
                let left = tokio::time::timeout(leaves, site.send(request.project, &request.numbers)).await;
                if left.is_err() && random.random_bool(0.3) {
                    return false;
                }
                left.into_iter().collect()
            }
            1 => {
                let send = || site.send(request.project, &request.numbers);
                let (one, other) = tokio::join!(send(), send());
                vec![one, other]
            }
            _ => vec![site.send(request.project, &request.numbers).await],
        };
        let is_acknowledged = answers.iter().any(Result::is_ok);
        for answer in answers.into_iter().flatten() {
            let (written, rejected) = (answer.written, answer.rejections.count);
            assert_eq!(written.inserted + written.duplicates + rejected, request.numbers.len() as u64);
            assert_eq!(rejected, request.poison());
            let state = site.model.state();
            for number in request.numbers.iter().filter(|number| **number & POISON == 0) {
                let stored = state.steps.get(&(request.project, id(*number)));
                assert_eq!(stored, Some(&content(*number)), "acknowledged and not stored");
            }
        }
        if is_acknowledged {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(1_000..2_000))).await;
    }
    false
}

/// What a seed has shown, so that the whole can be seen to show all.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    acknowledged: u64,
    given_up: u64,
    panics: u64,
    letters: u64,
    duplicates: u64,
}

async fn simulate(seed: u64) -> Seen {
    let mut random = StdRng::seed_from_u64(seed);
    let (writers, projects) = (random.random_range(1..=3), random.random_range(1..=3));
    let model = Model::new(seed ^ 0xfa_17, Faults::some(&mut random));
    let site = Arc::new(Site::start(model.clone(), writers));
    let kinds: &[u64] = match random.random_range(0..6) {
        0 => &[0, POISON],
        1 => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, POISON],
        2 => &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, UNFIT],
        3 => &[0, 0, 0, 0, 0, 0, 0, 0, UNFIT, POISON],
        _ => &[0],
    };
    let mut senders = Vec::new();
    let mut sent: BTreeSet<(ProjectId, String)> = BTreeSet::new();
    for _ in 0..random.random_range(2..=6) {
        let mut own = StdRng::seed_from_u64(random.random());
        let requests: Vec<Request> =
            (0..own.random_range(1..=4)).map(|_| Request::some(&mut own, projects, kinds)).collect();
        let steps = requests.iter().flat_map(|request| request.numbers.iter().map(|number| (request.project, *number)));
        sent.extend(steps.filter(|(_, number)| number & (POISON | UNFIT) == 0).map(|(project, at)| (project, id(at))));
        let site = site.clone();
        senders.push(tokio::spawn(async move {
            let mut seen = Seen::default();
            for request in requests {
                tokio::time::sleep(Duration::from_millis(own.random_range(0..500))).await;
                match export(&site, &request, &mut own).await {
                    true => seen.acknowledged += 1,
                    false => seen.given_up += 1,
                }
            }
            seen
        }));
    }
    tokio::time::sleep(Duration::from_secs(random.random_range(1..12))).await;
    model.state().faults = Faults { delay_max: Duration::from_millis(5), ..Faults::default() };
    let mut seen = Seen::default();
    for sender in senders {
        let sender = sender.await.unwrap();
        seen.acknowledged += sender.acknowledged;
        seen.given_up += sender.given_up;
    }
    while site.ends.lock().unwrap().len() < site.deadlines.lock().unwrap().len() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let begin = Instant::now();
    let healed = site.send(ProjectId(1), &[1_000_000]).await;
    assert!(healed.is_ok() && begin.elapsed() < Duration::from_secs(1), "a good store is not used");
    sent.insert((ProjectId(1), id(1_000_000)));
    assert!(site.circuit.is_closed() && !site.circuit.is_open() && site.circuit.disagreement().is_none());
    assert_eq!(site.counters.queue_bytes.get(), 0, "room is given back");
    assert!(site.budget.reserve(BUDGET_BYTES, Instant::now() + HOLD).await.is_ok());

    let mut site = Arc::try_unwrap(site).unwrap_or_else(|_| panic!("somebody still sends"));
    site.end().await;
    let state = model.state();
    if state.panics == 0 {
        assert_eq!(site.dropped(), 0, "only a panic takes jobs with it");
    }
    for (key, stored) in &state.steps {
        assert!(sent.contains(key), "{key:?} was not to be stored: {stored}");
    }
    assert_eq!(state.counts.stored, state.steps.len() as u64, "counts are a recount");
    every_job_ends_in_time(&site, &state.tries);
    if writers == 1 {
        tenants_keep_their_order(&state.commits);
    }
    Seen { panics: state.panics, letters: state.letters, duplicates: state.counts.duplicate, ..seen }
}

fn every_job_ends_in_time(site: &Site, tries: &[Try]) {
    let (deadlines, ends) = (site.deadlines.lock().unwrap(), site.ends.lock().unwrap());
    let ended: BTreeSet<u64> = ends.iter().map(|end| end.job).collect();
    assert_eq!((ends.len(), ended.len()), (deadlines.len(), deadlines.len()), "each is answered once");
    let deadline = |job: u64| deadlines[job as usize - 1];
    let mut tried = BTreeSet::new();
    for attempt in tries {
        for (_, job) in &attempt.jobs {
            assert!(!tried.insert(*job) || attempt.began < deadline(*job), "job {job} is tried when nobody waits");
        }
    }
    for end in ends.iter() {
        assert!(end.at <= deadline(end.job) + TRANSACTION_MAX + APART_MAX, "job {} is held too long", end.job);
    }
}

/// Of one tenant, who comes first is committed first. Jobs are numbered as they come.
fn tenants_keep_their_order(commits: &[(ProjectId, u64)]) {
    let mut latest: BTreeMap<ProjectId, u64> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for (project, job) in commits {
        if seen.insert(*job) {
            let before = latest.insert(*project, *job);
            assert!(before < Some(*job), "job {job} of {project:?} after {before:?}");
        }
    }
}

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("VECTOROS_SEEDS") else { return SEEDS };
    let number = |text: &str| text.parse().expect("VECTOROS_SEEDS is a number, or two with .. between them");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

struct Told(u64);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("seed {} fails; alone: VECTOROS_SEEDS={} cargo test --lib simulation", self.0, self.0);
        }
    }
}

#[test]
fn what_is_acknowledged_is_stored_once_whatever_fails() {
    let seeds = seeds();
    let is_whole = seeds.end - seeds.start >= SEEDS.end;
    let mut sum = Seen::default();
    for seed in seeds {
        let _told = Told(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let seen = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(3600), simulate(seed)).await });
        let seen = seen.expect("it does not come to rest");
        sum.acknowledged += seen.acknowledged;
        sum.given_up += seen.given_up;
        sum.panics += seen.panics;
        sum.letters += seen.letters;
        sum.duplicates += seen.duplicates;
    }
    println!("{sum:?}");
    if is_whole {
        let least = sum.given_up.min(sum.panics).min(sum.letters).min(sum.duplicates);
        assert!(sum.acknowledged > 10_000 && least > 500, "not much was tried: {sum:?}");
    }
}
