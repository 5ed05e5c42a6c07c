//! A rate such as `600/min`, `2GiB/min` or `unlimited`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer};

/// `None`: unlimited. Else an amount (requests, steps or bytes) for each period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Option<Limit>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// At least 1.
    pub amount: u64,
    pub window: Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    Second,
    Minute,
    Hour,
    Day,
}

impl Window {
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Window::Second => 1,
            Window::Minute => 60,
            Window::Hour => 3600,
            Window::Day => 86_400,
        })
    }

    pub fn word(self) -> &'static str {
        match self {
            Window::Second => "second",
            Window::Minute => "minute",
            Window::Hour => "hour",
            Window::Day => "day",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no rate: expected a number or size for each second, minute, hour or day, such as 600/min or 2GiB/min, or unlimited"
)]
pub struct RateError(String);

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Rate, RateError> {
        if text.trim() == "unlimited" {
            return Ok(Rate(None));
        }
        let wrong = || RateError(text.to_owned());
        let (amount, window) = text.split_once('/').ok_or_else(wrong)?;
        let amount = amount.trim().parse::<ByteSize>().map_err(|_| wrong())?.as_u64();
        let window = match window.trim() {
            "s" | "sec" | "second" => Window::Second,
            "min" | "minute" => Window::Minute,
            "h" | "hour" => Window::Hour,
            "d" | "day" => Window::Day,
            _ => return Err(wrong()),
        };
        if amount == 0 {
            return Err(wrong());
        }
        Ok(Rate(Some(Limit { amount, window })))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unlimited"),
            Some(Limit { amount, window }) => write!(f, "{amount}/{}", window.word()),
        }
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Rate, D::Error> {
        String::deserialize(input)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_every_spelling() {
        for (text, amount, window) in [
            ("6000/min", 6000, Window::Minute),
            ("2GiB/min", 2 << 30, Window::Minute),
            ("5000000/day", 5_000_000, Window::Day),
            ("10 / s", 10, Window::Second),
            ("7/hour", 7, Window::Hour),
        ] {
            assert_eq!(text.parse(), Ok(Rate(Some(Limit { amount, window }))), "{text}");
        }
        assert_eq!("unlimited".parse(), Ok(Rate(None)));
    }

    #[test]
    fn what_is_no_rate_is_refused_with_an_example() {
        for text in ["", "600", "600/fortnight", "0/min", "-1/min", "many/min", "/min"] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            assert!(error.contains("600/min"), "{text}: {error}");
        }
    }
}
