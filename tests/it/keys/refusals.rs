//! What is wrong with a refused key cannot be told from outside, not by the time of the answer either.

use std::time::{Duration, Instant};

use vectoros::auth::REFUSED_AFTER;
use vectoros::auth::secret;

use super::endpoints::wait_until_refused;
use crate::collector::{Collector, OWN_FILE};
use crate::conformance::client::{Http1, JSON, TRACES, request_bytes};

const ROUNDS: usize = 31;
/// No two kinds of wrong keys differ by more than this in the middle.
const DIFFERENCE_MAX: Duration = Duration::from_millis(5);

/// Makes a wrong key.
type Kind = Box<dyn Fn() -> String + Send>;

#[tokio::test(flavor = "multi_thread")]
async fn every_wrong_key_is_answered_after_the_same_time() {
    let collector = Collector::start(OWN_FILE, &[]).await;
    let revoked = collector.make_key("default", &[]);
    let expired = collector.make_key("default", &[]);
    for key in [&revoked, &expired] {
        assert_eq!(collector.get_with(key, "/runs").await.0, 200, "in memory");
    }
    collector.command(&["keys", "revoke", &revoked[4..12]]);
    collector.command(&["keys", "expire", &expired[4..12], "--in", "0s"]);
    for key in [&revoked, &expired] {
        wait_until_refused(&collector, key).await;
    }
    // Another secret, or another id, each time: an attacker does not repeat himself.
    let id = collector.key[4..12].to_owned();
    let kinds: [(&str, Kind); 5] = [
        ("unknown", Box::new(|| secret::generate().0)),
        ("wrong secret", Box::new(move || secret::generate_for(&id))),
        ("revoked", Box::new(move || revoked.clone())),
        ("expired", Box::new(move || expired.clone())),
        ("malformed", Box::new(|| format!("{}x", secret::generate().0))),
    ];
    // Side by side, so that whatever else the machine does, it does to all of them.
    let address = collector.http;
    let asking = kinds.map(|(kind, key)| {
        tokio::spawn(async move {
            let mut times = Vec::with_capacity(ROUNDS);
            for _ in 0..ROUNDS {
                let bearer = format!("Bearer {}", key());
                let request =
                    request_bytes("POST", TRACES, &[("authorization", &bearer), ("content-type", JSON)], b"{}");
                // A connection whose request was refused, and its body left, is closed.
                let mut connection = Http1::connect(address).await;
                let asked = Instant::now();
                let answer = connection.ask(&request).await;
                times.push(asked.elapsed());
                assert_eq!(answer.status, 401, "{kind}");
            }
            (kind, median(times))
        })
    });
    let mut medians = Vec::new();
    for kind in asking {
        medians.push(kind.await.unwrap());
    }
    println!("medians: {medians:?}");
    let of = |pick: fn(std::vec::IntoIter<Duration>) -> Option<Duration>| {
        pick(medians.iter().map(|(_, median)| *median).collect::<Vec<_>>().into_iter()).unwrap()
    };
    let (least, most) = (of(Iterator::min), of(Iterator::max));
    assert!(least >= REFUSED_AFTER, "{medians:?}");
    assert!(most - least <= DIFFERENCE_MAX, "{medians:?}");
    // Who sends no key at all guesses nothing.
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let mut connection = Http1::connect(address).await;
        let asked = Instant::now();
        assert_eq!(connection.ask(&request_bytes("POST", TRACES, &[("content-type", JSON)], b"{}")).await.status, 401);
        times.push(asked.elapsed());
    }
    let without = median(times);
    assert!(without < REFUSED_AFTER / 2, "{without:?}");
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
