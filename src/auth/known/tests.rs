use std::collections::HashSet;
use std::sync::atomic::AtomicUsize;

use chrono::TimeDelta;

use super::*;
use crate::model::id::ProjectId;
use crate::model::key::{PreviousSecret, Scopes};
use crate::model::quota::Quota;

const SECRET: [u8; 32] = [1; 32];
const OTHER: [u8; 32] = [2; 32];

/// Keys in memory behind a wire whose delay is set; it counts who asks.
#[derive(Default)]
struct Keys {
    by_id: Mutex<HashMap<String, ApiKey>>,
    asked: AtomicUsize,
    is_away: AtomicBool,
    /// For ids that exist, and for those that do not.
    delays: Mutex<(Duration, Duration)>,
    asking: Mutex<HashSet<String>>,
}

impl Keys {
    fn with(ids: &[&str]) -> Arc<Keys> {
        let keys = Keys::default();
        for id in ids {
            keys.by_id.lock().unwrap().insert(id.to_string(), key(id));
        }
        Arc::new(keys)
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut ApiKey)) {
        change(self.by_id.lock().unwrap().get_mut(id).unwrap());
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn key(id: &str) -> ApiKey {
    ApiKey {
        id: id.into(),
        name: None,
        project: ProjectId(1),
        project_name: "p".into(),
        scopes: Scopes::INGEST_AND_READ,
        quota: Quota::default(),
        secret_hash: SECRET,
        previous: None,
        created_at: DateTime::UNIX_EPOCH,
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
        last_user_agent: None,
    }
}

async fn is_admitted(known: &Arc<KnownKeys<Arc<Keys>>>, id: &str, secret: [u8; 32]) -> bool {
    known.admitted(id, &secret).await.expect("the store has a word").is_some()
}

fn known(keys: &Arc<Keys>) -> Arc<KnownKeys<Arc<Keys>>> {
    Arc::new(KnownKeys::new(keys.clone(), TIMES.stale_grace))
}

/// The same in a fifth of the times.
fn hurried(keys: &Arc<Keys>) -> Arc<KnownKeys<Arc<Keys>>> {
    let times = Times {
        fresh: TIMES.fresh / HURRY,
        renewed_after: TIMES.renewed_after / HURRY,
        stale_grace: Duration::from_secs(2),
        answer_max: TIMES.answer_max / HURRY,
        away_answer_max: TIMES.away_answer_max / HURRY,
    };
    Arc::new(KnownKeys::with(keys.clone(), times))
}

const HURRY: u32 = 5;

#[tokio::test]
async fn many_clients_cost_one_look_up() {
    let keys = Keys::with(&["a"]);
    keys.delays.lock().unwrap().0 = Duration::from_millis(20);
    let known = known(&keys);
    let clients: Vec<_> = (0..64)
        .map(|_| {
            tokio::spawn({
                let known = known.clone();
                async move { is_admitted(&known, "a", SECRET).await }
            })
        })
        .collect();
    for client in clients {
        assert!(client.await.unwrap());
    }
    assert_eq!(keys.asked(), 1);
    // Whoever guesses waits in the same row: one look-up at a time, each for all who came before it.
    let guesses: Vec<_> = (0..64)
        .map(|_| {
            tokio::spawn({
                let known = known.clone();
                async move { is_admitted(&known, "a", OTHER).await }
            })
        })
        .collect();
    for guess in guesses {
        assert!(!guess.await.unwrap());
    }
    assert!(keys.asked() <= 3, "{}", keys.asked());
    assert!(known.flights.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_revocation_is_seen_within_five_seconds() {
    // The store's delay and the pause between requests.
    let cases = [(0, 10), (0, 780), (60, 10), (60, 900), (60, 2_000)];
    let watching = cases.map(|(delay, pause)| {
        tokio::spawn(async move {
            let keys = Keys::with(&["a"]);
            keys.delays.lock().unwrap().0 = Duration::from_millis(delay);
            let known = hurried(&keys);
            assert!(is_admitted(&known, "a", SECRET).await);
            keys.change("a", |key| key.revoked_at = Some(Utc::now()));
            let revoked_at = Instant::now();
            let mut refused = 0;
            while refused < 2 {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                let age = revoked_at.elapsed() * HURRY;
                match is_admitted(&known, "a", SECRET).await {
                    true => assert!(age <= Duration::from_secs(5), "accepted after {age:?}, store in {delay} ms"),
                    false => refused += 1,
                }
            }
        })
    });
    for watched in watching {
        watched.await.unwrap();
    }
}

#[tokio::test]
async fn a_revocation_is_seen_by_a_crowd_that_no_memory_has_room_for() {
    let keys = Keys::with(&["a"]);
    keys.delays.lock().unwrap().0 = Duration::from_millis(10);
    let mut known = hurried(&keys);
    Arc::get_mut(&mut known).unwrap().good = Cache::new(0);
    let revoked_at = Instant::now() + Duration::from_millis(200);
    let crowd = [(); 8].map(|()| {
        let known = known.clone();
        tokio::spawn(async move {
            loop {
                let age = Instant::now().saturating_duration_since(revoked_at) * HURRY;
                match is_admitted(&known, "a", SECRET).await {
                    true => assert!(age <= Duration::from_secs(5), "accepted after {age:?}"),
                    false => return,
                }
            }
        })
    });
    tokio::time::sleep_until(revoked_at).await;
    keys.change("a", |key| key.revoked_at = Some(Utc::now()));
    for client in crowd {
        client.await.unwrap();
    }
}

#[tokio::test]
async fn while_the_store_is_away_a_known_key_works_for_a_while_and_nobody_is_refused() {
    let keys = Keys::with(&["a", "b"]);
    let known = hurried(&keys);
    assert!(is_admitted(&known, "a", SECRET).await);
    let begun = Instant::now();
    keys.is_away.store(true, Ordering::SeqCst);
    let (mut accepted, mut last) = (0, Duration::ZERO);
    while let (asked, Ok(key)) = (begun.elapsed(), known.admitted("a", &SECRET).await) {
        assert!(key.is_some(), "after {asked:?}");
        (accepted, last) = (accepted + 1, asked);
        for (id, secret) in [("b", SECRET), ("a", OTHER), ("nobody", SECRET)] {
            assert!(matches!(known.admitted(id, &secret).await, Err(NoWord::Store(_))), "{id}");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(accepted > 5 && last <= known.times.stale_grace, "{accepted} times, last after {last:?}");
    keys.is_away.store(false, Ordering::SeqCst);
    assert!(is_admitted(&known, "a", SECRET).await);
    assert!(!is_admitted(&known, "nobody", SECRET).await);
}

#[tokio::test]
async fn a_new_secret_works_at_once_and_the_old_one_until_its_time() {
    let keys = Keys::with(&["a"]);
    let known = known(&keys);
    assert!(is_admitted(&known, "a", SECRET).await);
    let until = Utc::now() + TimeDelta::milliseconds(60);
    keys.change("a", |key| {
        key.secret_hash = OTHER;
        key.previous = Some(PreviousSecret { hash: SECRET, until });
    });
    assert!(is_admitted(&known, "a", OTHER).await, "although the key was in memory with another secret");
    assert!(is_admitted(&known, "a", SECRET).await);
    // The wall clock does not stand still.
    std::thread::sleep(Duration::from_millis(70));
    assert!(!is_admitted(&known, "a", SECRET).await);
    assert!(is_admitted(&known, "a", OTHER).await);
    assert!(!is_admitted(&known, "a", NO_HASH).await);
}

#[tokio::test]
async fn a_key_in_memory_expires() {
    let keys = Keys::with(&["a"]);
    keys.change("a", |key| key.expires_at = Some(Utc::now() + TimeDelta::milliseconds(60)));
    let known = known(&keys);
    assert!(is_admitted(&known, "a", SECRET).await);
    std::thread::sleep(Duration::from_millis(70));
    assert!(!is_admitted(&known, "a", SECRET).await);
    keys.change("a", |key| key.expires_at = None);
    assert!(is_admitted(&known, "a", SECRET).await, "it was given more time");
}

#[tokio::test]
async fn made_up_ids_push_no_key_out() {
    let ids: Vec<String> = (0..100).map(|number| format!("real{number:04}")).collect();
    let keys = Keys::with(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let known = known(&keys);
    for id in &ids {
        assert!(is_admitted(&known, id, SECRET).await);
    }
    let made_up = KEYS_MAX as usize + 10_000;
    for number in 0..made_up {
        assert!(!is_admitted(&known, &format!("{number:08}"), SECRET).await);
    }
    known.good.run_pending_tasks();
    assert_eq!((known.good.entry_count(), known.flights.lock().unwrap().len()), (100, 0));
    assert_eq!(keys.asked(), 100 + made_up);
    for id in &ids {
        assert!(is_admitted(&known, id, SECRET).await);
    }
    assert_eq!(keys.asked(), 100 + made_up, "every real key was still in memory");
}

#[tokio::test]
async fn a_crowd_of_strangers_holds_no_known_key_up() {
    let keys = Keys::with(&["a"]);
    let known = hurried(&keys);
    assert!(is_admitted(&known, "a", SECRET).await);
    keys.delays.lock().unwrap().1 = Duration::from_secs(2);
    let crowd: Vec<_> = (0..50)
        .map(|number| {
            let known = known.clone();
            // Some of them guess at the very key.
            let (id, secret) = if number % 5 == 4 { ("a".to_owned(), OTHER) } else { (format!("{number:08}"), SECRET) };
            tokio::spawn(async move { known.admitted(&id, &secret).await.map(|key| key.is_some()) })
        })
        .collect();
    keys.change("a", |key| key.revoked_at = Some(Utc::now()));
    tokio::time::sleep(known.times.fresh).await;
    // The word on a key that was good is asked at once; only its refusal waits for a turn.
    let word = known.admitted("a", &SECRET).await;
    assert!(!matches!(word, Ok(Some(_))), "accepted 4 s after it was revoked");
    for stranger in crowd {
        assert!(!matches!(stranger.await.unwrap(), Ok(true)));
    }
}

#[async_trait]
impl Registry for Arc<Keys> {
    async fn key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        assert!(self.asking.lock().unwrap().insert(id.to_owned()), "{id} is looked up twice at a time");
        let key = self.by_id.lock().unwrap().get(id).cloned();
        let (known, unknown) = *self.delays.lock().unwrap();
        let delay = if key.is_some() { known } else { unknown };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        self.asking.lock().unwrap().remove(id);
        match self.is_away.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)),
            false => Ok(key),
        }
    }
}
