//! What all collectors together took of one rate: a sliding window of two counters. Pure; stores keep it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::model::quota::{Limit, Measure, Window};

/// The count of one rate of one key. Times are those of the store's clock, one for all collectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub opened_at: DateTime<Utc>,
    /// In the window that opened then, and in the one before it.
    pub taken: u64,
    pub taken_before: u64,
}

/// A collector asks for a part of a rate, to hand it out without asking for each request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    pub measure: Measure,
    pub limit: Limit,
    /// What is needed now, and what would be welcome.
    pub least: u64,
    pub most: u64,
    /// Of an earlier grant, not needed any more.
    pub returned: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Less than [`Ask::least`] when there is not more.
    pub tokens: u64,
    /// What others can take after it, now.
    pub left: u64,
    /// Until the whole amount is there again if nothing is taken.
    pub resets_in: Duration,
    /// Until what is missing of [`Ask::least`] is there; zero when nothing is.
    pub wait: Duration,
}

impl Usage {
    pub fn opened(now: DateTime<Utc>) -> Usage {
        Usage { opened_at: now, taken: 0, taken_before: 0 }
    }

    /// False when it counts for nothing any more.
    pub fn matters(&self, window: Window, now: DateTime<Utc>) -> bool {
        now - self.opened_at < length(window, now) * 2
    }

    /// Takes what is asked for, or as much as there is.
    pub fn lease(&mut self, ask: &Ask, now: DateTime<Utc>) -> Grant {
        let window = length(ask.limit.window, now);
        self.advance(window, now);
        let of_this_window = ask.returned.min(self.taken);
        self.taken -= of_this_window;
        self.taken_before = self.taken_before.saturating_sub(ask.returned - of_this_window);
        let room = ask.limit.amount.saturating_sub(self.weight(window, now));
        let tokens = ask.most.max(ask.least).min(room);
        self.taken += tokens;
        let missing = ask.least.saturating_sub(tokens);
        let wait = if missing == 0 { TimeDelta::zero() } else { self.until(ask.limit.amount, missing, window, now) };
        let resets_in = match (self.taken, self.taken_before) {
            (0, 0) => TimeDelta::zero(),
            (0, _) => self.opened_at + window - now,
            _ => self.opened_at + window * 2 - now,
        };
        let duration = |delta: TimeDelta| delta.to_std().unwrap_or_default();
        Grant { tokens, left: room - tokens, resets_in: duration(resets_in), wait: duration(wait) }
    }

    /// Windows follow each other without a gap while they are used. A clock that steps back stays in its window.
    fn advance(&mut self, window: TimeDelta, now: DateTime<Utc>) {
        let elapsed = now - self.opened_at;
        if elapsed >= window * 2 {
            *self = Usage::opened(now);
        } else if elapsed >= window {
            *self = Usage { opened_at: self.opened_at + window, taken: 0, taken_before: self.taken };
        } else if elapsed < -window {
            // The clock was wrong when the window opened.
            self.opened_at = now;
        }
    }

    /// What counts against the amount: this window's, and of the one before what has not faded yet, in whole units. Rounded
    /// up, a limit of one would let in one in two windows.
    fn weight(&self, window: TimeDelta, now: DateTime<Utc>) -> u64 {
        let (whole_us, gone_us) = (micros(window), micros(now - self.opened_at).min(micros(window)));
        let faded = u128::from(self.taken_before) * (whole_us - gone_us);
        self.taken.saturating_add(u64::try_from(faded / whole_us.max(1)).unwrap_or(u64::MAX))
    }

    /// How long until `missing` more can be taken, if nobody takes any before.
    fn until(&self, amount: u64, missing: u64, window: TimeDelta, now: DateTime<Utc>) -> TimeDelta {
        // The weight must have come down to this.
        let goal = amount.saturating_sub(missing);
        let (end, part) = match goal.checked_sub(self.taken) {
            // While the window before fades …
            Some(rest) => (self.opened_at + window, fraction(rest, self.taken_before, window)),
            // … or this one in the next.
            None => (self.opened_at + window * 2, fraction(goal, self.taken, window)),
        };
        // Until less than one unit more than that has not faded.
        (end - part + TimeDelta::microseconds(1) - now).max(TimeDelta::milliseconds(1))
    }
}

fn length(window: Window, now: DateTime<Utc>) -> TimeDelta {
    TimeDelta::from_std(window.length(now)).unwrap_or(TimeDelta::zero())
}

/// `window × (rest + 1) ÷ whole`, at most the window.
fn fraction(rest: u64, whole: u64, window: TimeDelta) -> TimeDelta {
    let part_us = micros(window) * u128::from(rest.saturating_add(1).min(whole)) / u128::from(whole.max(1));
    TimeDelta::microseconds(i64::try_from(part_us).unwrap_or(i64::MAX))
}

fn micros(delta: TimeDelta) -> u128 {
    delta.to_std().unwrap_or_default().as_micros()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE_100: Limit = Limit { amount: 100, window: Window::Minute };

    fn at(seconds: f64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::microseconds(1_700_000_000_000_000 + (seconds * 1e6) as i64)
    }

    fn ask(least: u64, most: u64, returned: u64) -> Ask {
        Ask { measure: Measure::Steps, limit: MINUTE_100, least, most, returned }
    }

    #[test]
    fn a_first_window_holds_the_amount_at_once_and_no_more() {
        let mut usage = Usage::opened(at(0.0));
        let first = usage.lease(&ask(1, 60, 0), at(0.0));
        assert_eq!((first.tokens, first.left, first.wait), (60, 40, Duration::ZERO));
        let rest = usage.lease(&ask(41, 60, 0), at(1.0));
        assert_eq!((rest.tokens, rest.left), (40, 0), "as much as there is");
        // One more: after the end of the first window, which begins to fade then, a hundredth in 0.6 s.
        assert_eq!(rest.wait, Duration::from_micros(59_000_001));
        assert_eq!(usage.lease(&ask(1, 1, 0), at(60.0)).tokens, 0);
        let later = usage.lease(&ask(2, 9, 0), at(60.1));
        assert_eq!((later.tokens, later.wait), (1, Duration::from_micros(500_001)));
        assert_eq!(usage.lease(&ask(1, 9, 0), at(60.601)).tokens, 1);
    }

    #[test]
    fn a_greedy_sender_is_let_in_at_an_even_pace_after_that() {
        let mut usage = Usage::opened(at(0.0));
        assert_eq!(usage.lease(&ask(1, 100, 0), at(0.0)).tokens, 100);
        for second in 1..600 {
            let tokens = usage.lease(&ask(1, 100, 0), at(second as f64)).tokens;
            let bounds = if second <= 60 { 0..=0 } else { 1..=2 };
            assert!(bounds.contains(&tokens), "second {second}: {tokens}");
        }
    }

    #[test]
    fn small_amounts_come_back_as_fast_as_large_ones() {
        for amount in [1, 2, 3, 7] {
            let limit = Limit { amount, window: Window::Second };
            let (mut usage, mut taken) = (Usage::opened(at(0.0)), 0);
            for millisecond in 0..10_000 {
                taken += usage.lease(&Ask { limit, ..ask(1, 1, 0) }, at(f64::from(millisecond) / 1e3)).tokens;
            }
            assert!((10 * amount..=10 * amount + 1).contains(&taken), "{amount}/s: {taken} in 10 s");
        }
    }

    #[test]
    fn after_two_idle_windows_everything_is_there_again() {
        let mut usage = Usage::opened(at(0.0));
        assert_eq!(usage.lease(&ask(1, 100, 0), at(0.0)).resets_in, Duration::from_secs(120));
        assert_eq!(usage.lease(&ask(100, 100, 0), at(120.0)).tokens, 100);
    }

    #[test]
    fn what_is_returned_can_be_taken_again() {
        let mut usage = Usage::opened(at(0.0));
        usage.lease(&ask(1, 100, 0), at(0.0));
        assert_eq!(usage.lease(&ask(1, 20, 30), at(1.0)), {
            let (resets_in, wait) = (Duration::from_secs(119), Duration::ZERO);
            Grant { tokens: 20, left: 10, resets_in, wait }
        });
        // Of the window before when this one has not so much.
        usage.lease(&ask(0, 0, 90), at(60.0));
        assert_eq!((usage.taken, usage.taken_before), (0, 0));
    }

    #[test]
    fn a_clock_that_steps_back_gives_nothing_away_and_does_not_stick() {
        let mut usage = Usage::opened(at(0.0));
        usage.lease(&ask(1, 100, 0), at(0.0));
        assert_eq!(usage.lease(&ask(1, 1, 0), at(-30.0)).tokens, 0);
        let later = usage.lease(&ask(1, 1, 0), at(-86_400.0));
        assert!(later.wait <= Duration::from_secs(62), "{later:?}");
    }

    #[test]
    fn an_amount_of_any_size_is_exact() {
        let limit = Limit { amount: i64::MAX as u64, window: Window::Second };
        let ask = Ask { limit, least: limit.amount, most: u64::MAX, ..ask(0, 0, 0) };
        let mut usage = Usage::opened(at(0.0));
        assert_eq!(usage.lease(&ask, at(0.0)).tokens, limit.amount);
        assert_eq!(usage.lease(&ask, at(0.1)).tokens, 0);
    }

    proptest! {
        /// Whoever asks, whenever and for whatever: from an idle start a window never holds more than the amount, and
        /// the wait that is told is enough and hardly more.
        #[test]
        fn no_first_window_holds_more_than_the_amount(asks in prop::collection::vec((0.0..130.0f64, 1..90u64), 1..80)) {
            let mut asks = asks;
            asks.sort_by(|a, b| a.0.total_cmp(&b.0));
            let start = asks[0].0;
            let mut usage = Usage::opened(at(start));
            let (mut first, mut second) = (0, 0);
            for (seconds, want) in asks {
                let grant = usage.lease(&ask(want, want, 0), at(seconds));
                *(if seconds - start < 60.0 { &mut first } else { &mut second }) += grant.tokens;
                prop_assert_eq!(grant.wait.is_zero(), grant.tokens == want);
                if grant.tokens < want {
                    let missing = want - grant.tokens;
                    let then = seconds + grant.wait.as_secs_f64();
                    let mut later = usage;
                    prop_assert_eq!(later.lease(&ask(missing, missing, 0), at(then + 1e-5)).tokens, missing);
                    if grant.wait > Duration::from_millis(20) {
                        let mut sooner = usage;
                        let tokens = sooner.lease(&ask(missing, missing, 0), at(then - 0.02)).tokens;
                        prop_assert!(tokens < missing, "{} before {}", tokens, then);
                    }
                }
            }
            prop_assert!(first <= 100, "{}", first);
            // The third window may have begun by then.
            prop_assert!(second <= 200, "{}", second);
        }
    }
}
