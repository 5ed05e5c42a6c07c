//! Money in whole picodollars: no price of the table and no sum of costs is rounded on the way.

use std::ops::Add;

/// Prices have up to six digits after the point, so that a token costs whole picodollars.
const PICO: f64 = 1e12;
/// Digits that a price in USD per million tokens may have.
const PER_MILLION: f64 = 1e6;
/// The highest price that is believed, in USD per million tokens.
pub const PRICE_MAX_USD: f64 = 1e6;
/// The highest cost that is believed, in USD: sums of many fit an `i128` of picodollars.
const COST_MAX_USD: f64 = 1e18;

/// An amount of money.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd {
    pico: i128,
}

impl Usd {
    pub const ZERO: Usd = Usd { pico: 0 };

    /// `None` for what is no cost: not finite, negative, or more than anybody has.
    pub fn from_f64(usd: f64) -> Option<Usd> {
        (usd.is_finite() && (0.0..COST_MAX_USD).contains(&usd)).then(|| Usd { pico: (usd * PICO).round() as i128 })
    }

    pub fn to_f64(self) -> f64 {
        self.pico as f64 / PICO
    }

    pub fn pico(self) -> i128 {
        self.pico
    }

    pub fn saturating_add(self, other: Usd) -> Usd {
        Usd { pico: self.pico.saturating_add(other.pico) }
    }
}

impl Add for Usd {
    type Output = Usd;

    fn add(self, other: Usd) -> Usd {
        self.saturating_add(other)
    }
}

/// What one token costs, in picodollars: millionths of a dollar per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(u64);

impl Rate {
    pub const ZERO: Rate = Rate(0);

    /// From USD per million tokens. `None` for what is no price, or has more digits than are kept.
    pub fn per_million(usd: f64) -> Option<Rate> {
        if !usd.is_finite() || !(0.0..=PRICE_MAX_USD).contains(&usd) {
            return None;
        }
        let micro = (usd * PER_MILLION).round();
        // Equal up to what floating point does to a decimal number.
        ((usd * PER_MILLION - micro).abs() <= 1e-6 * micro.max(1e-3)).then_some(Rate(micro as u64))
    }

    pub fn usd_per_million(self) -> f64 {
        self.0 as f64 / PER_MILLION
    }

    /// What `tokens` cost.
    pub fn times(self, tokens: i64) -> Usd {
        Usd { pico: i128::from(self.0) * i128::from(tokens.max(0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_are_whole_picodollars_a_token() {
        for (usd, pico) in [(0.15, 150_000), (3.0, 3_000_000), (0.003625, 3_625), (0.000001, 1), (0.0, 0)] {
            assert_eq!(Rate::per_million(usd), Some(Rate(pico)), "{usd}");
            assert_eq!(Rate(pico).usd_per_million(), usd);
        }
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 0.1234567, 0.0000001, 1e7] {
            assert_eq!(Rate::per_million(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn money_comes_back_as_it_was_written() {
        for usd in [0.0000657, 0.0053352, 12.34, 0.0, 0.000_000_000_001] {
            assert_eq!(Usd::from_f64(usd).map(Usd::to_f64), Some(usd));
        }
        for wrong in [-0.1, f64::NAN, f64::NEG_INFINITY, 1e19] {
            assert_eq!(Usd::from_f64(wrong), None);
        }
        assert_eq!(Rate(u64::MAX).times(i64::MAX).pico(), i128::from(u64::MAX) * i128::from(i64::MAX));
    }
}
