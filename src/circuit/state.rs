//! The circuit as a function of what happens and when.

use std::fmt::{self, Display};
use std::time::Duration;

use tokio::time::Instant;

/// Failed tries in a row after which the database counts as away.
pub(super) const FAILURES_MAX: u32 = 3;
/// Pauses between probes, each twice the one before, shortened by chance to between half and all of it.
const PROBE_PAUSE_MIN: Duration = Duration::from_millis(100);
const PROBE_PAUSE_MAX: Duration = Duration::from_secs(2);
/// A disagreement is told for so long after it was seen last. Who is told sends elsewhere, and then nothing would ever show
/// that it is over.
const DISAGREEMENT_TOLD: Duration = Duration::from_secs(30);

/// The database is there, and refuses what the program says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// SQLSTATE or SQLite's code. The database's own text may quote values.
    pub code: String,
}

impl Disagreement {
    /// Undefined tables, columns and their like (SQLSTATE class 42); SQLite says of them only that they are an error.
    /// Then the database's text names them, and no values.
    pub fn is_of_the_schema(&self) -> bool {
        self.code.starts_with("42") || self.code == "1"
    }

    /// Postgres's data_corrupted and index_corrupted, SQLite's CORRUPT and NOTADB.
    fn is_of_damage(&self) -> bool {
        matches!(self.code.as_str(), "XX001" | "XX002" | "11" | "26")
    }
}

impl Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database refuses the program's statements (code {})", self.code)?;
        if self.is_of_the_schema() {
            f.write_str(
                ": its schema is not the one of this version, run `vectoros migrate` or undo what was changed by hand",
            )?;
        } else if self.is_of_damage() {
            f.write_str(": something that it stored is damaged, its own log says what")?;
        }
        Ok(())
    }
}

/// `chance` is between 0 and 1.
#[derive(Clone, Debug)]
pub(super) struct State {
    stall_max: Duration,
    phase: Phase,
    /// Writers with jobs in their hands.
    pub busy: usize,
    /// Since when they wait for a commit.
    waiting_since: Instant,
    commits: u64,
    /// What the last failure said, and when, if it was not that the database is away.
    disagreement: Option<(Disagreement, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// With so many failed tries since the last commit.
    Closed { failures: u32 },
    /// After `probe_at` the database is asked; when it does not answer, again after a longer pause.
    Open { probe_at: Instant, pause: Duration },
    /// A probe was answered: requests go to the writers again, and the first failure opens it once more.
    HalfOpen { pause: Duration },
}

impl State {
    pub fn new(stall_max: Duration, now: Instant) -> State {
        let phase = Phase::Closed { failures: 0 };
        State { stall_max, phase, busy: 0, waiting_since: now, commits: 0, disagreement: None }
    }

    pub fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open { .. })
    }

    pub fn is_closed(&self) -> bool {
        matches!(self.phase, Phase::Closed { .. })
    }

    pub fn is_probe_due(&self, now: Instant) -> bool {
        matches!(self.phase, Phase::Open { probe_at, .. } if probe_at <= now)
    }

    pub fn disagreement(&self, now: Instant) -> Option<Disagreement> {
        let (disagreement, seen) = self.disagreement.as_ref().filter(|_| !self.is_closed())?;
        (now.saturating_duration_since(*seen) < DISAGREEMENT_TOLD).then(|| disagreement.clone())
    }

    /// How many commits there were.
    pub fn begin(&mut self, now: Instant) -> u64 {
        if self.busy == 0 {
            self.waiting_since = now;
        }
        self.busy += 1;
        self.commits
    }

    pub fn end(&mut self) {
        self.busy = self.busy.saturating_sub(1);
    }

    pub fn committed(&mut self, now: Instant) {
        self.phase = Phase::Closed { failures: 0 };
        self.waiting_since = now;
        self.commits += 1;
        self.disagreement = None;
    }

    /// Since there were so many `commits`.
    pub fn disagreed(&mut self, commits: u64, disagreement: Disagreement, now: Instant, chance: f64) {
        if self.commits == commits {
            self.failed(now, chance);
            self.disagreement = Some((disagreement, now));
        }
    }

    pub fn failed(&mut self, now: Instant, chance: f64) {
        self.disagreement = None;
        match self.phase {
            Phase::Closed { failures } if failures + 1 < FAILURES_MAX => {
                self.phase = Phase::Closed { failures: failures + 1 };
            }
            Phase::Closed { .. } => self.open(PROBE_PAUSE_MIN, now, chance),
            Phase::HalfOpen { pause } => self.open(longer(pause), now, chance),
            Phase::Open { .. } => {}
        }
    }

    /// Opens when nothing was committed for too long.
    pub fn check(&mut self, now: Instant, chance: f64) {
        if self.busy == 0 || now.saturating_duration_since(self.waiting_since) < self.stall_max {
            return;
        }
        match self.phase {
            Phase::Closed { .. } => {
                self.disagreement = None;
                self.open(PROBE_PAUSE_MIN, now, chance);
            }
            Phase::HalfOpen { pause } => self.open(longer(pause), now, chance),
            Phase::Open { .. } => {}
        }
    }

    pub fn probed(&mut self, is_there: bool, now: Instant, chance: f64) {
        // Somebody may have committed meanwhile.
        let Phase::Open { pause, .. } = self.phase else { return };
        if is_there {
            self.phase = Phase::HalfOpen { pause };
            self.waiting_since = now;
        } else {
            self.open(longer(pause), now, chance);
        }
    }

    fn open(&mut self, pause: Duration, now: Instant, chance: f64) {
        let probe_at = now + pause.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0);
        self.phase = Phase::Open { probe_at, pause };
    }
}

fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PROBE_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STALL: Duration = Duration::from_secs(3);

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Begin,
        End,
        Committed,
        Failed,
        Checked,
        Probed(bool),
        Later(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Begin),
            2 => Just(Event::End),
            1 => Just(Event::Committed),
            4 => Just(Event::Failed),
            3 => Just(Event::Checked),
            2 => any::<bool>().prop_map(Event::Probed),
            3 => (0u64..4000).prop_map(Event::Later),
        ]
    }

    proptest! {
        /// Against a model that remembers everything since the last commit.
        #[test]
        fn it_opens_for_a_reason_and_closes_at_a_commit(
            events in prop::collection::vec((event(), 0.0..1.0f64), 1..200),
        ) {
            let mut now = Instant::now();
            let mut state = State::new(STALL, now);
            let (mut failures, mut busy, mut waiting_since, mut has_opened, mut is_half) = (0, 0usize, now, false, false);
            for (event, chance) in events {
                let was_open = state.is_open();
                match event {
                    Event::Begin => {
                        if busy == 0 {
                            waiting_since = now;
                        }
                        busy += 1;
                        state.begin(now);
                    }
                    Event::End => {
                        busy = busy.saturating_sub(1);
                        state.end();
                    }
                    Event::Committed => {
                        (failures, waiting_since, has_opened, is_half) = (0, now, false, false);
                        state.committed(now);
                        prop_assert!(!state.is_open(), "a commit closes it");
                    }
                    Event::Failed => {
                        failures += 1;
                        state.failed(now, chance);
                        let must = was_open || is_half || !has_opened && failures >= FAILURES_MAX;
                        prop_assert_eq!(state.is_open(), must);
                    }
                    Event::Checked => {
                        state.check(now, chance);
                        let is_stalled = busy > 0 && now - waiting_since >= STALL;
                        prop_assert_eq!(state.is_open(), was_open || is_stalled);
                    }
                    Event::Probed(is_there) => {
                        state.probed(is_there, now, chance);
                        prop_assert_eq!(state.is_open(), was_open && !is_there);
                        if was_open && is_there {
                            (is_half, waiting_since) = (true, now);
                        }
                    }
                    Event::Later(ms) => now += Duration::from_millis(ms),
                }
                if state.is_open() {
                    (has_opened, is_half) = (true, false);
                }
                if let Phase::Open { probe_at, pause } = state.phase {
                    prop_assert!((PROBE_PAUSE_MIN..=PROBE_PAUSE_MAX).contains(&pause));
                    prop_assert!(probe_at <= now + pause, "the next probe is never far away");
                }
            }
        }
    }

    #[test]
    fn probes_come_more_rarely_until_there_is_a_commit() {
        let mut now = Instant::now();
        let mut state = State::new(STALL, now);
        for _ in 0..FAILURES_MAX {
            state.failed(now, 1.0);
        }
        let mut pauses = Vec::new();
        for _ in 0..7 {
            let Phase::Open { probe_at, .. } = state.phase else { panic!("{state:?}") };
            pauses.push((probe_at - now).as_millis());
            now = probe_at;
            assert!(state.is_probe_due(now));
            // Every other one is answered, and then the writers fail all the same.
            state.probed(pauses.len() % 2 == 0, now, 1.0);
            if pauses.len() % 2 == 0 {
                assert!(!state.is_open());
                state.failed(now, 1.0);
            }
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 2000, 2000]);
        state.committed(now);
        for _ in 0..FAILURES_MAX {
            assert!(!state.is_open());
            state.failed(now, 0.0);
        }
        assert!(matches!(state.phase, Phase::Open { pause: PROBE_PAUSE_MIN, .. }), "{state:?}");
    }

    #[test]
    fn a_disagreement_is_told_until_a_commit_another_failure_or_silence() {
        let mut now = Instant::now();
        let mut state = State::new(STALL, now);
        let said = || Disagreement { code: "42703".into() };
        let disagree = |state: &mut State, now| {
            for _ in 0..FAILURES_MAX {
                assert_eq!(state.disagreement(now), None, "not for the first failures");
                let commits = state.begin(now);
                state.disagreed(commits, said(), now, 1.0);
                state.end();
            }
            assert!(state.is_open());
        };
        let told = Some(said());
        disagree(&mut state, now);
        now += PROBE_PAUSE_MIN;
        state.probed(true, now, 1.0);
        assert_eq!((state.is_open(), state.disagreement(now)), (false, told.clone()), "a ping is no commit");
        state.committed(now);
        assert_eq!(state.disagreement(now), None);

        disagree(&mut state, now);
        assert_eq!(state.disagreement(now + DISAGREEMENT_TOLD - Duration::from_millis(1)), told);
        assert_eq!(state.disagreement(now + DISAGREEMENT_TOLD), None);
        state.failed(now, 1.0);
        assert_eq!(state.disagreement(now), None, "it is away by now");

        let commits = state.begin(now);
        state.committed(now);
        for _ in 0..FAILURES_MAX {
            state.disagreed(commits, said(), now, 1.0);
        }
        assert!(state.is_closed(), "others commit");
    }
    #[test]
    fn what_is_told_names_the_code_and_what_to_do() {
        let told = |code: &str| Disagreement { code: code.into() }.to_string();
        assert!(told("42P01").contains("42P01") && told("42P01").contains("`vectoros migrate`"));
        assert!(!told("26000").contains("migrate"));
        assert!(told("XX001").contains("damaged") && told("11").contains("damaged"));
    }
}
