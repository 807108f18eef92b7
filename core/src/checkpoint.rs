//! How to rebuild a builder at an offset: the metadata string of a commit.
//!
//! A [`Checkpoint`] in, a text of at most [`METADATA_BYTES_MAX`] out, and back. The text:
//! `c1;<origin>;<reread>;<lateness ms>;<intervals>;<entries>`, where entries is `fresh` or a list of
//! `<symbol>=<seen ms>/<covered from ms>`, either of which may be empty.
//!
//! - A text reads back as written, and a broken one is refused. (`a_checkpoint_reads_back_as_written`)

use crate::{interval::Interval, symbol::Symbol};

/// Longest metadata that a broker keeps by default (`offset.metadata.max.bytes`).
pub const METADATA_BYTES_MAX: usize = 4_096;
const VERSION: &str = "c1";
const FRESH: &str = "fresh";

/// What the candles of a log depend on besides the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Distinct lengths. None: no candles.
    pub intervals: Vec<Interval>,
    /// How far the watermark stays behind the largest time seen, ms.
    pub lateness_ms: i64,
}

/// How to rebuild the state of a builder at an offset H, with which it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Candles of other settings need other records.
    pub settings: Settings,
    /// First offset that was ever read without any state before it.
    pub origin: i64,
    /// R: no open window has a trade before it.
    pub reread: i64,
    /// The log from `origin` on tells everything, and nothing less does.
    pub fresh: bool,
    /// What the log from `reread` on cannot tell.
    pub entries: Vec<Entry>,
}

/// What records before `reread` said about one symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub symbol: Symbol,
    /// Largest trade time or `until` mark, ms.
    pub seen_ms: Option<i64>,
    /// Windows that start before this (ms) are incomplete.
    pub covered_from_ms: Option<i64>,
}

/// The metadata of a commit is not ours: another program, an administrator's reset, or another release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commit metadata {0:?} is no checkpoint of this release")]
pub struct CheckpointError(String);

impl Checkpoint {
    /// Whether the text is short enough for a broker.
    pub fn fits(&self) -> bool {
        self.encode().len() <= METADATA_BYTES_MAX
    }

    /// The text.
    pub fn encode(&self) -> String {
        let intervals: Vec<String> = self.settings.intervals.iter().map(Interval::to_string).collect();
        let entries = if self.fresh {
            FRESH.to_owned()
        } else {
            self.entries.iter().map(Entry::encode).collect::<Vec<_>>().join(",")
        };
        let (origin, reread, lateness_ms) = (self.origin, self.reread, self.settings.lateness_ms);
        format!("{VERSION};{origin};{reread};{lateness_ms};{};{entries}", intervals.join(","))
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, CheckpointError> {
        Self::parse(text).ok_or_else(|| CheckpointError(text.chars().take(64).collect()))
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(';').collect();
        let &[VERSION, origin, reread, lateness_ms, intervals, entries] = fields.as_slice() else {
            return None;
        };
        let fresh = entries == FRESH;
        let entries = if fresh { "" } else { entries };
        let settings = Settings {
            intervals: list(intervals).map(|text| text.parse().ok()).collect::<Option<_>>()?,
            lateness_ms: lateness_ms.parse().ok()?,
        };
        let checkpoint = Self {
            settings,
            origin: origin.parse().ok()?,
            reread: reread.parse().ok()?,
            fresh,
            entries: list(entries).map(Entry::parse).collect::<Option<_>>()?,
        };
        (0 <= checkpoint.origin && checkpoint.origin <= checkpoint.reread).then_some(checkpoint)
    }
}

impl Entry {
    fn encode(&self) -> String {
        let number = |ms: Option<i64>| ms.map(|ms| ms.to_string()).unwrap_or_default();
        format!("{}={}/{}", self.symbol, number(self.seen_ms), number(self.covered_from_ms))
    }

    fn parse(text: &str) -> Option<Self> {
        let (symbol, times) = text.split_once('=')?;
        let (seen, covered) = times.split_once('/')?;
        let number = |text: &str| if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) };
        Some(Self {
            symbol: Symbol::new(symbol).ok()?,
            seen_ms: number(seen)?,
            covered_from_ms: number(covered)?,
        })
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        let symbol = |text| Symbol::new(text).unwrap();
        Checkpoint {
            settings: Settings {
                intervals: vec!["1m".parse().unwrap(), "2m".parse().unwrap()],
                lateness_ms: 10_000,
            },
            origin: 3,
            reread: 4_711,
            fresh: false,
            entries: vec![
                Entry { symbol: symbol("tBTCUSD"), seen_ms: Some(1_570_752_000_000), covered_from_ms: None },
                Entry {
                    symbol: symbol("tAVAX:USD"),
                    seen_ms: None,
                    covered_from_ms: Some(1_570_752_000_001),
                },
            ],
        }
    }

    #[test]
    fn a_checkpoint_reads_back_as_written() {
        let named = checkpoint();
        assert_eq!(
            named.encode(),
            "c1;3;4711;10000;1m,2m;tBTCUSD=1570752000000/,tAVAX:USD=/1570752000001",
            "the text is a contract with running groups"
        );
        let fresh = Checkpoint { fresh: true, entries: Vec::new(), ..checkpoint() };
        let empty = Checkpoint { entries: Vec::new(), ..checkpoint() };
        for checkpoint in [named, fresh, empty] {
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
    }

    #[test]
    fn a_foreign_text_is_refused() {
        let good = checkpoint().encode();
        let bad =
            ["", "hello", "c2;3;4711;10000;1m;", "c1;3;4711;10000;1x;", "c1;5;4;0;1m;", "c1;0;1;0;1m;t=1"];
        for text in bad.into_iter().chain([&good[..good.len() - 20], &format!("{good};x")]) {
            assert!(Checkpoint::decode(text).is_err(), "{text}");
        }
    }
}
