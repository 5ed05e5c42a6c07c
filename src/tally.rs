//! Requests that were refused as a whole, counted in memory until the sweeper takes them to the store. A flood of
//! refusals costs counts, not rows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::model::id::ProjectId;
use crate::model::receipt::{RefusalKey, RefusalTally, hour_of};

/// Distinct rows between two takings. Beyond it a refusal is counted as one of nobody, where there are no more rows than
/// reasons.
const ROWS_MAX: usize = 4096;
/// User agents that are told apart in one hour for each project and reason.
const AGENTS_MAX: usize = 200;
/// User agents that are remembered in all, each once for every project and reason.
const REMEMBERED_MAX: usize = 16_384;
/// Stands for all user agents beyond these bounds.
const OTHER: &str = "other";
/// Of what the sender was told.
const DETAIL_BYTES_MAX: usize = 512;

/// One refusal.
#[derive(Clone, Copy, Debug)]
pub struct Note<'a> {
    /// Whose request it was, when that is known: the project and the id of the key.
    pub owner: Option<(ProjectId, &'a str)>,
    pub status: u16,
    pub reason: &'static str,
    pub transport: &'static str,
    pub user_agent: &'a str,
    pub detail: &'a str,
    pub at: DateTime<Utc>,
}

#[derive(Default)]
pub struct Tally(Mutex<State>);

#[derive(Default)]
struct State {
    rows: BTreeMap<RefusalKey, RefusalTally>,
    /// The hour whose user agents are remembered.
    hour: DateTime<Utc>,
    agents: HashMap<(ProjectId, &'static str), HashSet<String>>,
    remembered: usize,
}

impl Tally {
    pub fn note(&self, note: Note<'_>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (project, key_id) = note.owner.unwrap_or((ProjectId::NOBODY, ""));
        let hour = hour_of(note.at);
        let user_agent = state.told_apart(project, note.reason, hour, note.user_agent);
        let key = RefusalKey {
            project,
            key_id: key_id.to_owned(),
            hour,
            status: note.status,
            reason: note.reason,
            user_agent: user_agent.to_owned(),
        };
        let last_detail = note.detail[..note.detail.floor_char_boundary(DETAIL_BYTES_MAX)].to_owned();
        state.add(key, RefusalTally { count: 1, last_at: note.at, last_transport: note.transport, last_detail });
    }

    /// What was noted since the last call.
    pub fn take(&self) -> BTreeMap<RefusalKey, RefusalTally> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).rows)
    }

    /// Gives back what could not be stored.
    pub fn put_back(&self, rows: BTreeMap<RefusalKey, RefusalTally>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, tally) in rows {
            state.add(key, tally);
        }
    }
}

impl State {
    fn told_apart<'a>(
        &mut self,
        project: ProjectId,
        reason: &'static str,
        hour: DateTime<Utc>,
        user_agent: &'a str,
    ) -> &'a str {
        if hour != self.hour {
            (self.hour, self.remembered) = (hour, 0);
            self.agents.clear();
        }
        let known = self.agents.get(&(project, reason));
        if known.is_some_and(|known| known.contains(user_agent)) {
            return user_agent;
        }
        if self.remembered >= REMEMBERED_MAX || known.is_some_and(|known| known.len() >= AGENTS_MAX) {
            return OTHER;
        }
        self.remembered += 1;
        self.agents.entry((project, reason)).or_default().insert(user_agent.to_owned());
        user_agent
    }

    fn add(&mut self, mut key: RefusalKey, tally: RefusalTally) {
        if self.rows.len() >= ROWS_MAX && !self.rows.contains_key(&key) {
            key = RefusalKey { project: ProjectId::NOBODY, key_id: String::new(), user_agent: OTHER.to_owned(), ..key };
        }
        match self.rows.get_mut(&key) {
            Some(known) if known.last_at <= tally.last_at => {
                *known = RefusalTally { count: known.count + tally.count, ..tally }
            }
            Some(known) => known.count += tally.count,
            None => {
                self.rows.insert(key, tally);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn note(project: i64, user_agent: &str, minute: i64) -> Note<'_> {
        Note {
            owner: Some((ProjectId(project), "key")),
            status: 401,
            reason: "invalid_key",
            transport: "http",
            user_agent,
            detail: "told",
            at: DateTime::from_timestamp(minute * 60, 0).unwrap(),
        }
    }

    fn total(rows: &BTreeMap<RefusalKey, RefusalTally>) -> u64 {
        rows.values().map(|tally| tally.count).sum()
    }

    #[test]
    fn equal_refusals_are_one_row_that_shows_the_last() {
        let tally = Tally::default();
        tally.note(Note { detail: "later", ..note(1, "curl", 2) });
        tally.note(Note { detail: "earlier", ..note(1, "curl", 1) });
        tally.note(Note { owner: None, ..note(1, "curl", 1) });
        let rows = tally.take();
        let shown: Vec<_> =
            rows.iter().map(|(key, row)| (key.project.0, row.count, row.last_detail.as_str())).collect();
        assert_eq!(shown, [(0, 1, "told"), (1, 2, "later")]);
        assert!(tally.take().is_empty());
        tally.note(note(1, "curl", 3));
        tally.put_back(rows);
        assert_eq!(total(&tally.take()), 4);
    }

    #[test]
    fn user_agents_beyond_the_bound_are_others_until_the_next_hour() {
        let tally = Tally::default();
        let agents: Vec<String> = (0..AGENTS_MAX + 50).map(|number| format!("agent {number}")).collect();
        agents.iter().for_each(|agent| tally.note(note(1, agent, 0)));
        let rows = tally.take();
        assert_eq!((rows.len(), total(&rows)), (AGENTS_MAX + 1, (AGENTS_MAX + 50) as u64));
        tally.note(note(1, "agent 0", 1));
        tally.note(note(1, "agent 249", 1));
        tally.note(note(2, "agent 249", 1));
        tally.note(note(1, "agent 249", 60));
        let agents: Vec<_> = tally.take().into_keys().map(|key| (key.project.0, key.user_agent)).collect();
        let expected = [(1, "agent 0"), (1, "other"), (1, "agent 249"), (2, "agent 249")];
        assert_eq!(agents, expected.map(|(project, agent)| (project, agent.to_owned())));
    }

    #[test]
    fn a_long_detail_is_cut_on_a_character() {
        let tally = Tally::default();
        tally.note(Note { detail: &"é".repeat(DETAIL_BYTES_MAX), ..note(1, "curl", 0) });
        assert_eq!(tally.take().into_values().next().unwrap().last_detail.len(), DETAIL_BYTES_MAX);
    }

    #[test]
    fn a_flood_is_quick_and_bounded() {
        let (tally, started) = (Tally::default(), std::time::Instant::now());
        for number in 0..200_000 {
            tally.note(note(number % 5000, &format!("agent {number}"), number / 2000));
        }
        assert!(tally.0.lock().unwrap().remembered <= REMEMBERED_MAX);
        let rows = tally.take();
        assert!(rows.len() <= ROWS_MAX + 2 && total(&rows) == 200_000, "{}", rows.len());
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    proptest! {
        /// Whatever comes, in whatever order, no refusal is lost and the rows stay few.
        #[test]
        fn nothing_is_lost_and_everything_is_bounded(
            notes in prop::collection::vec((0_i64..3000, 0_u32..400, 0_i64..180, any::<bool>()), 0..6000),
        ) {
            let tally = Tally::default();
            for (project, agent, minute, fails) in &notes {
                tally.note(note(*project, &format!("agent {agent}"), *minute));
                if *fails && agent % 50 == 0 {
                    tally.put_back(tally.take());
                }
            }
            let state = tally.0.lock().unwrap();
            let remembered: usize = state.agents.values().map(HashSet::len).sum();
            prop_assert!(remembered <= REMEMBERED_MAX && state.agents.values().all(|known| known.len() <= AGENTS_MAX));
            prop_assert_eq!(total(&state.rows), notes.len() as u64);
            // One more for each hour, status and reason.
            prop_assert!(state.rows.len() <= ROWS_MAX + 3, "{}", state.rows.len());
        }
    }
}
