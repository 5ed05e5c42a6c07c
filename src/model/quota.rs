//! What a key may send: any set of limits, each an amount of requests, steps or bytes in a window of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use chrono::{DateTime, Datelike, Months, NaiveTime, TimeDelta, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Limits of one key; `None` where the configured default holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Quota {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<Rates>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Rates>,
}

impl Quota {
    pub fn of(&self, measure: Measure) -> Option<&Rates> {
        match measure {
            Measure::Requests => self.requests.as_ref(),
            Measure::Steps => self.steps.as_ref(),
            Measure::Bytes => self.bytes.as_ref(),
        }
    }

    /// What `changes` names, and for what it does not name, this.
    pub fn changed_by(self, changes: Quota) -> Quota {
        Quota {
            requests: changes.requests.or(self.requests),
            steps: changes.steps.or(self.steps),
            bytes: changes.bytes.or(self.bytes),
        }
    }
}

/// `requests=600/min,steps=100000/min,steps=5000000/day`.
impl FromStr for Quota {
    type Err = String;

    fn from_str(text: &str) -> Result<Quota, String> {
        let mut quota = Quota::default();
        for part in text.split(',') {
            let (what, rates) = part.split_once('=').ok_or_else(|| format!("{part:?}: expected WHAT=RATE"))?;
            let field = match what.trim() {
                "requests" => &mut quota.requests,
                "steps" => &mut quota.steps,
                "bytes" => &mut quota.bytes,
                other => return Err(format!("unknown quota {other:?}: expected requests, steps or bytes")),
            };
            let rates: Rates = rates.parse().map_err(|error: RateError| error.to_string())?;
            *field = Some(match field.take() {
                None => rates,
                Some(others) => others.and(rates).map_err(|error| format!("{}: {error}", what.trim()))?,
            });
        }
        Ok(quota)
    }
}

impl fmt::Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for measure in Measure::ALL {
            let Some(rates) = self.of(measure) else { continue };
            for rate in rates.texts() {
                write!(f, "{separator}{}={rate}", measure.word())?;
                separator = ",";
            }
        }
        Ok(())
    }
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Measure {
    Requests,
    /// Steps and log records that are really stored: copies cost nothing.
    Steps,
    /// Of bodies as they were sent, compressed or not.
    Bytes,
}

impl Measure {
    pub const ALL: [Measure; 3] = [Measure::Requests, Measure::Steps, Measure::Bytes];

    pub fn word(self) -> &'static str {
        match self {
            Measure::Requests => "requests",
            Measure::Steps => "steps",
            Measure::Bytes => "bytes",
        }
    }
}

/// So much of each measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    pub requests: u64,
    pub steps: u64,
    pub bytes: u64,
}

impl Amounts {
    pub fn of(self, measure: Measure) -> u64 {
        match measure {
            Measure::Requests => self.requests,
            Measure::Steps => self.steps,
            Measure::Bytes => self.bytes,
        }
    }
}

/// Limits that hold together, at most one for each window, the shortest window first. None: unlimited.
/// Written `600/min`, `100000/min,5000000/day` or `unlimited`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rates(Vec<Limit>);

impl Rates {
    pub fn limits(&self) -> &[Limit] {
        &self.0
    }

    fn and(self, more: Rates) -> Result<Rates, RateError> {
        let both = format!("{self},{more}");
        if self.0.is_empty() || more.0.is_empty() {
            return Err(RateError::Mixed(both));
        }
        let mut limits = [self.0, more.0].concat();
        limits.sort_by_key(|limit| limit.window);
        match limits.windows(2).any(|pair| pair[0].window == pair[1].window) {
            true => Err(RateError::Twice(both)),
            false => Ok(Rates(limits)),
        }
    }

    fn texts(&self) -> Vec<String> {
        match self.0.is_empty() {
            true => vec!["unlimited".to_owned()],
            false => self.0.iter().map(Limit::to_string).collect(),
        }
    }
}

impl FromStr for Rates {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rates, RateError> {
        if text.trim() == "unlimited" {
            return Ok(Rates::default());
        }
        let mut rates = text.split(',').map(|part| part.parse().map(|limit: Limit| Rates(vec![limit])));
        let first = rates.next().unwrap_or_else(|| Err(RateError::NoRate(text.to_owned())))?;
        rates.try_fold(first, |all, one| all.and(one?))
    }
}

impl fmt::Display for Rates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.texts().join(","))
    }
}

impl Serialize for Rates {
    fn serialize<S: Serializer>(&self, output: S) -> Result<S::Ok, S::Error> {
        output.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rates {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Rates, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

/// An amount (requests, steps or bytes) in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// 1 to `i64::MAX`, which is what a database column holds.
    pub amount: u64,
    pub window: Window,
}

impl FromStr for Limit {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Limit, RateError> {
        let wrong = || RateError::NoRate(text.to_owned());
        let (amount, window) = text.split_once('/').ok_or_else(wrong)?;
        let amount = amount.trim().parse::<ByteSize>().map_err(|_| wrong())?.as_u64();
        let window = match window.trim() {
            "s" | "sec" | "second" => Window::Second,
            "min" | "minute" => Window::Minute,
            "h" | "hour" => Window::Hour,
            "d" | "day" => Window::Day,
            "mon" | "month" => Window::Month,
            _ => return Err(wrong()),
        };
        if amount == 0 || i64::try_from(amount).is_err() {
            return Err(wrong());
        }
        Ok(Limit { amount, window })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let window = match self.window {
            Window::Second => "s",
            Window::Minute => "min",
            longer => longer.word(),
        };
        write!(f, "{}/{window}", self.amount)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    Second,
    Minute,
    Hour,
    /// Of the calendar, in UTC; as is the month.
    Day,
    Month,
}

impl Window {
    /// A budget is used up until its period of the calendar ends; a rate comes back all the time.
    pub fn is_budget(self) -> bool {
        matches!(self, Window::Day | Window::Month)
    }

    /// How long a rate's window is; of a budget, how long the period around `now` is.
    pub fn length(self, now: DateTime<Utc>) -> Duration {
        match self {
            Window::Second => Duration::from_secs(1),
            Window::Minute => Duration::from_secs(60),
            Window::Hour => Duration::from_secs(3600),
            Window::Day | Window::Month => {
                let (start, end) = self.period(now);
                (end - start).to_std().unwrap_or_default()
            }
        }
    }

    /// The day or month around `now`: its first moment, and that of the next one. Of a rate, the clock's window.
    pub fn period(self, now: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
        let midnight = |date: chrono::NaiveDate| date.and_time(NaiveTime::MIN).and_utc();
        let today = now.date_naive();
        match self {
            Window::Month => {
                let first = today.with_day(1).unwrap_or(today);
                let next = first.checked_add_months(Months::new(1)).unwrap_or(first);
                (midnight(first), midnight(next))
            }
            Window::Day => (midnight(today), midnight(today.succ_opt().unwrap_or(today))),
            Window::Second | Window::Minute | Window::Hour => {
                let seconds = self.length(now).as_secs() as i64;
                let start = now - TimeDelta::nanoseconds(now.timestamp_subsec_nanos().into());
                let start = start - TimeDelta::seconds(now.timestamp().rem_euclid(seconds));
                (start, start + TimeDelta::seconds(seconds))
            }
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Window::Second => "second",
            Window::Minute => "minute",
            Window::Hour => "hour",
            Window::Day => "day",
            Window::Month => "month",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    #[error(
        "{0:?} is no rate: expected a number or size for each second, minute, hour, day or month, such as 600/min or 2GiB/min, or unlimited"
    )]
    NoRate(String),
    #[error("{0:?} has two limits for one window: give one, such as 600/min,50000/day")]
    Twice(String),
    #[error("{0:?}: what is unlimited has no other limit")]
    Mixed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(amount: u64, window: Window) -> Limit {
        Limit { amount, window }
    }

    #[test]
    fn rates_are_read_in_every_spelling() {
        for (text, amount, window) in [
            ("6000/min", 6000, Window::Minute),
            ("2GiB/min", 2 << 30, Window::Minute),
            ("5000000/day", 5_000_000, Window::Day),
            ("10 / s", 10, Window::Second),
            ("7/hour", 7, Window::Hour),
            ("7/month", 7, Window::Month),
            ("9223372036854775807/s", i64::MAX as u64, Window::Second),
        ] {
            assert_eq!(text.parse(), Ok(Rates(vec![limit(amount, window)])), "{text}");
        }
        assert_eq!("unlimited".parse(), Ok(Rates::default()));
        let two: Rates = "5000000/day, 100000/min".parse().unwrap();
        assert_eq!(two.limits(), [limit(100_000, Window::Minute), limit(5_000_000, Window::Day)]);
        assert_eq!(two.to_string(), "100000/min,5000000/day");
    }

    #[test]
    fn what_is_no_rate_is_refused_with_an_example() {
        let wrong =
            ["", "600", "600/fortnight", "0/min", "-1/min", "many/min", "/min", "1/s,", "9223372036854775808/s"];
        for text in wrong.into_iter().chain(["1/s,2/s", "1/s,600"]) {
            let error = text.parse::<Rates>().unwrap_err().to_string();
            assert!(error.contains("600/min"), "{text}: {error}");
        }
        assert!(matches!("1/s,unlimited".parse::<Rates>(), Err(RateError::NoRate(_))));
    }

    #[test]
    fn a_quota_is_read_or_its_fault_is_named() {
        let text = "requests=600/min,steps=unlimited";
        let quota: Quota = text.parse().unwrap();
        assert_eq!(quota.requests.as_ref().unwrap().limits(), [limit(600, Window::Minute)]);
        assert_eq!((quota.steps.clone(), quota.bytes.clone()), (Some(Rates::default()), None));
        assert_eq!(quota.to_string().parse(), Ok(quota));
        let two: Quota = "steps=100000/min,steps=5000000/day,bytes=512MiB/min".parse().unwrap();
        assert_eq!(two.to_string(), "steps=100000/min,steps=5000000/day,bytes=536870912/min");
        for (text, named) in [
            ("requests", "requests"),
            ("apples=1/min", "apples"),
            ("steps=many", "many"),
            ("steps=1/s,steps=2/s", "two limits"),
            ("steps=1/s,steps=unlimited", "unlimited"),
        ] {
            assert!(text.parse::<Quota>().unwrap_err().contains(named), "{text}");
        }
    }

    #[test]
    fn a_quota_is_stored_as_texts_also_as_older_programs_wrote_it() {
        let old: Quota = serde_json::from_str(r#"{"requests":"600/min","steps":"unlimited"}"#).unwrap();
        assert_eq!(old, "requests=600/min,steps=unlimited".parse().unwrap());
        let text = serde_json::to_string(&old).unwrap();
        assert_eq!(text, r#"{"requests":"600/min","steps":"unlimited"}"#);
        let changed = old.changed_by("steps=5/s".parse().unwrap());
        assert_eq!(changed, "requests=600/min,steps=5/s".parse().unwrap());
    }

    #[test]
    fn periods_are_those_of_the_calendar_in_utc() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let now = at("2028-02-29T23:59:59.999Z");
        assert_eq!(Window::Day.period(now), (at("2028-02-29T00:00:00Z"), at("2028-03-01T00:00:00Z")));
        assert_eq!(Window::Month.period(now), (at("2028-02-01T00:00:00Z"), at("2028-03-01T00:00:00Z")));
        assert_eq!(Window::Month.period(at("2027-12-01T00:00:00Z")).1, at("2028-01-01T00:00:00Z"));
        assert_eq!(Window::Hour.period(now), (at("2028-02-29T23:00:00Z"), at("2028-03-01T00:00:00Z")));
        assert_eq!(Window::Month.length(now), Duration::from_secs(29 * 86_400));
    }
}
