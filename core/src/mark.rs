//! Marks: control records that carry completeness in the log, in order with the trades they speak of.
//!
//! Headers of a record with a null value in, a [`Signed`] mark out, and back. A mark stands in the partition of its
//! symbol (record key) and holds a header `until` or `from`: decimal ms since 1970-01-01 UTC by the exchange's
//! clock; and `producer`: who says so, in hexadecimal digits. A producer's first `until` also holds `since`.
//! Source: design, section 3.

use std::{fmt, str::FromStr};

use crate::trade::{TIME_MS_MAX, TIME_MS_MIN};

/// One run of a producer. A restarted one is another: what it claims starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProducerId(u64);

impl ProducerId {
    /// Of random bits. 32 are enough to tell the producers of a topic apart, and short in a commit's metadata.
    pub fn new(random: u32) -> Self {
        Self(random.into())
    }
}

impl fmt::Display for ProducerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

impl FromStr for ProducerId {
    type Err = MarkError;

    fn from_str(text: &str) -> Result<Self, MarkError> {
        let digits = (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        let id = if digits { u64::from_str_radix(text, 16).ok() } else { None };
        id.map(Self).ok_or_else(|| MarkError::Producer(text.chars().take(32).collect()))
    }
}

/// A mark and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// What is claimed.
    pub mark: Mark,
    /// By which producer; `None`: by one of a release that did not say.
    pub producer: Option<ProducerId>,
    /// With `until`, a producer's first mark: it goes on where it found the log to end. It shows every trade from
    /// here (ms) on, but for those that stood in the log before.
    pub since_ms: Option<i64>,
}

impl From<Mark> for Signed {
    fn from(mark: Mark) -> Self {
        Self { mark, producer: None, since_ms: None }
    }
}

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
    /// Both, or a header twice.
    #[error("record has more than one `until` or `from` header, or another of a mark's headers twice")]
    Ambiguous,
    /// Not 1 to 16 hexadecimal digits.
    #[error("header producer = {0:?} is no producer")]
    Producer(String),
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

    /// As [`Signed::from_headers`], whoever signed.
    pub fn from_headers<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, MarkError> {
        Signed::from_headers(headers).map(|signed| signed.mark)
    }
}

impl Signed {
    /// Reads the headers of a record without a value. Headers with other names are ignored.
    pub fn from_headers<'a>(
        headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self, MarkError> {
        let (mut found, mut producer, mut since_ms) = (None, None, None);
        for (name, value) in headers {
            let twice = match name {
                "until" => found.replace(Mark::Until(time_ms("until", value)?)).is_some(),
                "from" => found.replace(Mark::From(time_ms("from", value)?)).is_some(),
                "since" => since_ms.replace(time_ms("since", value)?).is_some(),
                "producer" => producer.replace(String::from_utf8_lossy(value).parse()?).is_some(),
                _ => continue,
            };
            if twice {
                return Err(MarkError::Ambiguous);
            }
        }
        Ok(Self { mark: found.ok_or(MarkError::NoHeader)?, producer, since_ms })
    }

    /// Header names and values to publish.
    pub fn headers(&self) -> impl Iterator<Item = (&'static str, String)> {
        let since = self.since_ms.map(|ms| ("since", ms.to_string()));
        let producer = self.producer.map(|producer| ("producer", producer.to_string()));
        [Some(self.mark.header()), since, producer].into_iter().flatten()
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
            let signed =
                Signed { mark, producer: Some(ProducerId::new(0xbeef)), since_ms: Some(1_570_751_990_000) };
            let headers: Vec<(&str, String)> = signed.headers().collect();
            let read = headers.iter().map(|(name, value)| (*name, value.as_bytes()));
            assert_eq!(Signed::from_headers(read), Ok(signed));
            assert_eq!(headers[2], ("producer", "beef".to_owned()));
        }
    }

    #[test]
    fn rejects_headers_that_say_nothing_or_too_much() {
        let until = ("until", &b"1570752000000"[..]);
        for producer in [&b""[..], b"+1", b"xyz", b"11112222333344445"] {
            let read = Signed::from_headers([until, ("producer", producer)]);
            assert!(matches!(read, Err(MarkError::Producer(_))), "{producer:?}");
        }
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
