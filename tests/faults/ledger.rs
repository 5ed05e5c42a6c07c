//! What became of every step that was sent, kept outside of whatever a fault hits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::content::Content;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// On its way, or given up: it may be stored or not.
    Sent,
    Acknowledged,
    /// Refused by name in an answer that took its neighbours.
    Rejected,
    /// Its sender gave up, or was told that trying again cannot help.
    Failed,
}

#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub fate: Fate,
    pub is_native: bool,
    /// When it was acknowledged first.
    pub acknowledged_at: Option<Instant>,
}

/// Answers other than yes, as clients saw them; each was followed by another try.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// 429, 502, 503, 504; UNAVAILABLE and its like.
    pub refused: u64,
    /// Connections refused, cut or silent for too long.
    pub broken: u64,
    /// Answers that say that trying again cannot help: never right here.
    pub permanent: u64,
    /// Requests whose sender gave up.
    pub given_up: u64,
}

impl Trouble {
    pub fn all(self) -> u64 {
        self.refused + self.broken + self.permanent
    }

    pub fn since(self, earlier: Trouble) -> Trouble {
        Trouble {
            refused: self.refused - earlier.refused,
            broken: self.broken - earlier.broken,
            permanent: self.permanent - earlier.permanent,
            given_up: self.given_up - earlier.given_up,
        }
    }
}

pub struct Ledger {
    pub content: Content,
    started: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    entries: HashMap<u64, Entry>,
    trouble: Trouble,
    /// The first few of what broke, of what was refused and of what was permanent.
    examples: Vec<String>,
    last_acknowledgement: Option<Instant>,
    acknowledged_requests: u64,
    /// The longest that a request that was acknowledged at once took, in the present window.
    slowest: Duration,
    file: Option<BufWriter<File>>,
}

impl Ledger {
    /// `file`: for runs so long that one wants to look into them, a line for every event.
    pub fn new(seed: u64, file: Option<&Path>) -> anyhow::Result<Ledger> {
        let open = |path: &Path| File::options().create(true).append(true).open(path);
        let file = file.map(open).transpose()?.map(BufWriter::new);
        let inner = Mutex::new(Inner { file, ..Inner::default() });
        Ok(Ledger { content: Content { seed }, started: Instant::now(), inner })
    }

    pub fn sent(&self, numbers: &[u64], is_native: bool) {
        let mut inner = self.lock();
        for number in numbers {
            let entry = Entry { fate: Fate::Sent, is_native, acknowledged_at: None };
            inner.entries.entry(*number).or_insert(entry);
        }
        inner.note(self.started, "sent", numbers);
    }

    pub fn acknowledged(&self, numbers: &[u64], took: Duration) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.turn(numbers, Fate::Acknowledged, Some(now));
        inner.last_acknowledgement = Some(now);
        inner.acknowledged_requests += 1;
        inner.slowest = inner.slowest.max(took);
        inner.note(self.started, "acknowledged", numbers);
    }

    pub fn rejected(&self, numbers: &[u64]) {
        let mut inner = self.lock();
        inner.turn(numbers, Fate::Rejected, None);
        inner.note(self.started, "rejected", numbers);
    }

    pub fn given_up(&self, numbers: &[u64]) {
        let mut inner = self.lock();
        inner.turn(numbers, Fate::Failed, None);
        inner.trouble.given_up += 1;
        inner.note(self.started, "failed", numbers);
    }

    pub fn refused(&self, text: &str) {
        let mut inner = self.lock();
        inner.trouble.refused += 1;
        inner.example("refused", text);
    }

    pub fn broken(&self, text: &str) {
        let mut inner = self.lock();
        inner.trouble.broken += 1;
        inner.example("broken", text);
    }

    pub fn permanent(&self, text: &str) {
        let mut inner = self.lock();
        inner.trouble.permanent += 1;
        inner.example("permanent", text);
    }

    pub fn trouble(&self) -> Trouble {
        self.lock().trouble
    }

    pub fn examples(&self) -> Vec<String> {
        self.lock().examples.clone()
    }

    pub fn last_acknowledgement(&self) -> Option<Instant> {
        self.lock().last_acknowledgement
    }

    pub fn acknowledged_requests(&self) -> u64 {
        self.lock().acknowledged_requests
    }

    /// The slowest acknowledgement since the last time somebody asked.
    pub fn take_slowest(&self) -> Duration {
        std::mem::take(&mut self.lock().slowest)
    }

    pub fn entries(&self) -> HashMap<u64, Entry> {
        self.lock().entries.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Inner {
    /// An acknowledgement stands whatever a copy of the request is told later.
    fn turn(&mut self, numbers: &[u64], fate: Fate, acknowledged_at: Option<Instant>) {
        for number in numbers {
            if let Some(entry) = self.entries.get_mut(number)
                && entry.fate != Fate::Acknowledged
            {
                entry.fate = fate;
                entry.acknowledged_at = acknowledged_at;
            }
        }
    }

    fn example(&mut self, class: &str, text: &str) {
        const OF_A_CLASS_MAX: usize = 3;
        if self.examples.iter().filter(|example| example.starts_with(class)).count() < OF_A_CLASS_MAX {
            self.examples.push(format!("{class}: {text}"));
        }
    }

    fn note(&mut self, started: Instant, word: &str, numbers: &[u64]) {
        if let Some(file) = &mut self.file {
            let at = started.elapsed().as_secs_f64();
            for number in numbers {
                // A full disk of the runner must not end the run: memory has it all.
                let _ = writeln!(file, "{at:.6} {word} {number:016x}");
            }
        }
    }
}
