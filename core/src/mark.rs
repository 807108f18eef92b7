//! Marks: control records that carry completeness in the log, in order with the trades they speak of.
//!
//! Headers of a record with a null value in, a [`Mark`] out, and back. A mark stands in the partition of its
//! symbol (record key) and holds a header `until` or `from`: decimal ms since 1970-01-01 UTC by the exchange's
//! clock. Source: design, section 3.

use crate::trade::{TIME_MS_MAX, TIME_MS_MIN};

/// What the producer knows about the completeness of one symbol's trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The feed has shown every trade of this symbol before this time (ms).
    Until(i64),
    /// Coverage starts at this time (ms): trades before it, since the last that the log holds, may be missing.
    From(i64),
}

/// Why a record with a null value is no mark.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MarkError {
    /// Neither `until` nor `from`: a tombstone of somebody else.
    #[error("record without value has neither an `until` nor a `from` header")]
    NoHeader,
    /// Both, or one of them twice.
    #[error("record has more than one `until` or `from` header")]
    Ambiguous,
    /// Not a number of ms between 2009 and 2100.
    #[error("header {name} = {value:?} is no time in ms between 2009 and 2100")]
    Time {
        /// Name of the header.
        name: &'static str,
        /// What it held, lossily and cut to 32 characters.
        value: String,
    },
}

impl Mark {
    /// Header name and value to publish.
    pub fn header(self) -> (&'static str, String) {
        match self {
            Self::Until(ms) => ("until", ms.to_string()),
            Self::From(ms) => ("from", ms.to_string()),
        }
    }

    /// Reads the headers of a record without a value. Headers with other names are ignored.
    pub fn from_headers<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, MarkError> {
        let mut found = None;
        for (name, value) in headers {
            let mark = match name {
                "until" => Self::Until(time_ms("until", value)?),
                "from" => Self::From(time_ms("from", value)?),
                _ => continue,
            };
            if found.replace(mark).is_some() {
                return Err(MarkError::Ambiguous);
            }
        }
        found.ok_or(MarkError::NoHeader)
    }
}

fn time_ms(name: &'static str, value: &[u8]) -> Result<i64, MarkError> {
    std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok())
        .filter(|ms| (TIME_MS_MIN..TIME_MS_MAX).contains(ms))
        .ok_or_else(|| MarkError::Time {
            name,
            value: String::from_utf8_lossy(value).chars().take(32).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_as_written() {
        for mark in [Mark::Until(1_570_752_000_000), Mark::From(1_570_752_000_001)] {
            let (name, value) = mark.header();
            assert_eq!(Mark::from_headers([("trace", &b"x"[..]), (name, value.as_bytes())]), Ok(mark));
        }
    }

    #[test]
    fn rejects_headers_that_say_nothing_or_too_much() {
        let until = ("until", &b"1570752000000"[..]);
        assert_eq!(Mark::from_headers([]), Err(MarkError::NoHeader));
        assert_eq!(Mark::from_headers([until, ("from", &b"1570752000000"[..])]), Err(MarkError::Ambiguous));
        for value in [&b""[..], b"1e3", b"-1", b"99999999999999999999", b"9223372036854775807", b"\xff"] {
            assert!(
                matches!(Mark::from_headers([("from", value)]), Err(MarkError::Time { .. })),
                "{value:?}"
            );
        }
    }
}
