//! The text of an interval in, windows of event time out.
//!
//! - A window is `[start, start + length)`; a trade on the boundary opens the next one.
//! - Starts are multiples of the length from 1970-01-01 UTC (as `DATE_BIN` with that origin); weeks start on Monday.

use std::{fmt, str::FromStr};

const SECOND_MS: i64 = 1_000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const WEEK_MS: i64 = 7 * DAY_MS;
/// 1970-01-05, the first Monday.
const FIRST_MONDAY_MS: i64 = 4 * DAY_MS;

/// Length of a candle: a whole number of seconds from 1s to 1d, or one week from Monday to Monday.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Interval {
    length_ms: i64,
}

/// Why a text is no interval.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntervalError {
    /// `7`.
    #[error("{0:?} has no unit; write {0}s, {0}m or {0}h")]
    NoUnit(String),
    /// `1x`, `abc`, `-1m`, `1.5h`.
    #[error("{0:?} is no interval; write a whole number and s, m, h, d or w, as in 30s, 2m, 1h, 1d or 1w")]
    Malformed(String),
    /// `0s`, `25h`, `2d`, `2w`.
    #[error("{0:?} is out of range; allowed are 1s to 1d, and 1w")]
    OutOfRange(String),
}

impl Interval {
    /// Length in ms.
    pub fn length_ms(self) -> i64 {
        self.length_ms
    }

    /// Start (ms) of the window that holds `time_ms`.
    pub fn window_start_ms(self, time_ms: i64) -> i64 {
        let origin_ms = if self.length_ms == WEEK_MS { FIRST_MONDAY_MS } else { 0 };
        time_ms - (time_ms - origin_ms).rem_euclid(self.length_ms)
    }

    /// First window start (ms) at or after `time_ms`.
    pub fn next_start_ms(self, time_ms: i64) -> i64 {
        let start = self.window_start_ms(time_ms);
        if start == time_ms { start } else { start + self.length_ms }
    }
}

impl FromStr for Interval {
    type Err = IntervalError;

    fn from_str(text: &str) -> Result<Self, IntervalError> {
        let malformed = || IntervalError::Malformed(text.chars().take(32).collect());
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(malformed());
        }
        let unit_ms = match unit {
            "s" => SECOND_MS,
            "m" => MINUTE_MS,
            "h" => HOUR_MS,
            "d" => DAY_MS,
            "w" => WEEK_MS,
            "" => return Err(IntervalError::NoUnit(text.chars().take(32).collect())),
            _ => return Err(malformed()),
        };
        let out_of_range = || IntervalError::OutOfRange(text.chars().take(32).collect());
        let length_ms =
            number.parse::<i64>().ok().and_then(|n| n.checked_mul(unit_ms)).ok_or_else(out_of_range)?;
        if (SECOND_MS..=DAY_MS).contains(&length_ms) || length_ms == WEEK_MS {
            Ok(Self { length_ms })
        } else {
            Err(out_of_range())
        }
    }
}

/// The shortest text: `60s` and `1m` are one interval, and its tag value is `1m`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(WEEK_MS, 'w'), (DAY_MS, 'd'), (HOUR_MS, 'h'), (MINUTE_MS, 'm')];
        let (unit_ms, unit) =
            units.into_iter().find(|(ms, _)| self.length_ms % ms == 0).unwrap_or((SECOND_MS, 's'));
        write!(f, "{}{unit}", self.length_ms / unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(text: &str) -> Interval {
        text.parse().unwrap()
    }

    #[test]
    fn equal_lengths_have_one_name() {
        for (text, name) in [
            ("1s", "1s"),
            ("60s", "1m"),
            ("120m", "2h"),
            ("24h", "1d"),
            ("7d", "1w"),
            ("1w", "1w"),
            ("90s", "90s"),
        ] {
            assert_eq!(interval(text).to_string(), name);
        }
    }

    #[test]
    fn rejects_what_it_does_not_know() {
        for text in ["", "m", "1x", "-1m", "1.5h", "1M", " 1m", "+1m"] {
            assert!(matches!(text.parse::<Interval>(), Err(IntervalError::Malformed(_))), "{text}");
        }
        assert_eq!(
            "7".parse::<Interval>().unwrap_err().to_string(),
            r#""7" has no unit; write 7s, 7m or 7h"#
        );
        for text in ["0s", "25h", "2d", "2w", "99999999999999999999s", "9223372036854775807w"] {
            assert!(matches!(text.parse::<Interval>(), Err(IntervalError::OutOfRange(_))), "{text}");
        }
    }

    #[test]
    fn weeks_start_on_monday() {
        // 2026-11-23 is a Monday.
        let monday_ms = 1_795_392_000_000;
        assert_eq!(interval("1w").window_start_ms(monday_ms), monday_ms);
        assert_eq!(interval("1w").window_start_ms(monday_ms - 1), monday_ms - WEEK_MS);
    }

    #[test]
    fn a_trade_on_the_boundary_opens_the_next_window() {
        let two_minutes = interval("2m");
        assert_eq!(two_minutes.window_start_ms(1_570_752_119_999), 1_570_752_000_000);
        assert_eq!(two_minutes.window_start_ms(1_570_752_120_000), 1_570_752_120_000);
        assert_eq!(two_minutes.next_start_ms(1_570_752_120_000), 1_570_752_120_000);
        assert_eq!(two_minutes.next_start_ms(1_570_752_120_001), 1_570_752_240_000);
    }
}
