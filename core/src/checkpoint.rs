//! How to rebuild a builder at an offset: the metadata string of a commit.
//!
//! A [`Checkpoint`] in, a text of at most [`METADATA_BYTES_MAX`] out, and back. The text:
//! `c2;<origin>;<reread>;<last offset>:<last ms>;<lateness ms>;<intervals>;<entries>`, where entries is `fresh` or a list of
//! `<symbol>=<seen ms>/<covered from ms>`, either of which may be empty; where producers are ahead of the frontier,
//! `/<reach ms>/<producer>:<from ms>:<until ms>+...` follows. While windows before a gap are open, the last part of an
//! entry is `/<from ms>:<until ms>+...`, the stretches before gaps; a release that does not know this part refuses the
//! text, as it does any that is not its own. `c1` of an earlier release is read too.
//!
//! - A text reads back as written, and a broken one is refused. (`a_checkpoint_reads_back_as_written`)

use std::num::ParseIntError;

use crate::{interval::Interval, mark::ProducerId, symbol::Symbol};

/// Longest metadata that a broker keeps by default (`offset.metadata.max.bytes`).
pub const METADATA_BYTES_MAX: usize = 4_096;
const VERSION: &str = "c2";
/// Its entries hold only what records before `reread` said.
const VERSION_1: &str = "c1";
/// Longest text of a [`LastRecord`]: it is added when all else is known to fit.
const LAST_BYTES_MAX: usize = 41;
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
    /// The record before the head, by which a log that was made anew under the same name is told from this one.
    pub last: Option<LastRecord>,
    /// The log from `origin` on tells everything, and nothing less does.
    pub fresh: bool,
    /// What the log from `reread` on cannot tell.
    pub entries: Vec<Entry>,
}

/// A record of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRecord {
    /// Its offset.
    pub offset: i64,
    /// When it was published (ms).
    pub timestamp_ms: i64,
}

/// Where one symbol stands at the offset of the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub symbol: Symbol,
    /// Time (ms) up to which the log's claims have no hole: the watermark's source.
    pub seen_ms: Option<i64>,
    /// Windows that start before this (ms) are incomplete. `i64::MAX`: the next record will say.
    pub covered_from_ms: Option<i64>,
    /// Producers beyond a hole.
    pub ahead: Option<Ahead>,
    /// What is covered before that, too.
    pub earlier: Vec<Stretch>,
    /// Records up to the head have nothing to add.
    pub whole: bool,
}

/// A time without a hole, before a gap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Windows that start here (ms) or later,
    pub from_ms: i64,
    /// and end here (ms) or earlier are complete.
    pub until_ms: i64,
}

/// Producers whose claims start beyond the frontier of a symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ahead {
    /// The largest time (ms) that anybody said.
    pub reach_ms: i64,
    /// By the start of what they claim; not empty.
    pub islands: Vec<Island>,
}

/// What one producer claims beyond a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Island {
    /// Which.
    pub producer: ProducerId,
    /// It has shown every trade from here (ms) on,
    pub from_ms: i64,
    /// up to here (ms), as far as its marks say.
    pub until_ms: Option<i64>,
}

/// The metadata of a commit is not ours: another program, an administrator's reset, or another release.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("commit metadata {0:?} is no checkpoint of this release")]
pub struct CheckpointError(String);

impl Checkpoint {
    /// Whether the text is short enough for a broker.
    pub fn fits(&self) -> bool {
        let last_bytes = if self.last.is_some() { 0 } else { LAST_BYTES_MAX };
        self.encode().len() + last_bytes <= METADATA_BYTES_MAX
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
        let last = self.last.map(|last| format!("{}:{}", last.offset, last.timestamp_ms)).unwrap_or_default();
        format!("{VERSION};{origin};{reread};{last};{lateness_ms};{};{entries}", intervals.join(","))
    }

    /// Reads what [`Checkpoint::encode`] wrote.
    pub fn decode(text: &str) -> Result<Self, CheckpointError> {
        Self::parse(text).ok_or_else(|| CheckpointError(text.chars().take(64).collect()))
    }

    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.split(';').collect();
        let (whole, origin, reread, last, lateness_ms, intervals, entries) = match *fields.as_slice() {
            [VERSION, origin, reread, last, lateness_ms, intervals, entries] => {
                (true, origin, reread, last, lateness_ms, intervals, entries)
            }
            [VERSION_1, origin, reread, lateness_ms, intervals, entries] => {
                (false, origin, reread, "", lateness_ms, intervals, entries)
            }
            _ => return None,
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
            last: if last.is_empty() { None } else { Some(LastRecord::parse(last)?) },
            fresh,
            entries: list(entries).map(|text| Entry::parse(text, whole)).collect::<Option<_>>()?,
        };
        (0 <= checkpoint.origin && checkpoint.origin <= checkpoint.reread).then_some(checkpoint)
    }
}

impl LastRecord {
    fn parse(text: &str) -> Option<Self> {
        let (offset, timestamp_ms) = text.split_once(':')?;
        Some(Self { offset: offset.parse().ok()?, timestamp_ms: timestamp_ms.parse().ok()? })
    }
}

impl Entry {
    fn encode(&self) -> String {
        let mut parts = vec![text(self.seen_ms), text(self.covered_from_ms)];
        if let Some(ahead) = &self.ahead {
            let islands: Vec<String> = ahead.islands.iter().map(Island::encode).collect();
            parts.extend([ahead.reach_ms.to_string(), islands.join("+")]);
        }
        if !self.earlier.is_empty() {
            let earlier: Vec<String> = self.earlier.iter().map(Stretch::encode).collect();
            parts.push(earlier.join("+"));
        }
        format!("{}={}", self.symbol, parts.join("/"))
    }

    fn parse(text: &str, whole: bool) -> Option<Self> {
        let (symbol, rest) = text.split_once('=')?;
        let parts: Vec<&str> = rest.split('/').collect();
        let (seen, covered, ahead, earlier) = match *parts.as_slice() {
            [seen, covered] => (seen, covered, None, None),
            [seen, covered, earlier] if whole => (seen, covered, None, Some(earlier)),
            [seen, covered, reach, islands] if whole => (seen, covered, Some((reach, islands)), None),
            [seen, covered, reach, islands, earlier] if whole => {
                (seen, covered, Some((reach, islands)), Some(earlier))
            }
            _ => return None,
        };
        let ahead = match ahead {
            Some((reach, islands)) => Some(Ahead {
                reach_ms: reach.parse().ok()?,
                islands: islands.split('+').map(Island::parse).collect::<Option<_>>()?,
            }),
            None => None,
        };
        let earlier = earlier.into_iter().flat_map(|text| text.split('+'));
        Some(Self {
            symbol: Symbol::new(symbol).ok()?,
            seen_ms: number(seen).ok()?,
            covered_from_ms: number(covered).ok()?,
            ahead,
            earlier: earlier.map(Stretch::parse).collect::<Option<_>>()?,
            whole,
        })
    }
}

impl Stretch {
    /// Without a start where nothing limits it.
    fn encode(&self) -> String {
        let from_ms = (self.from_ms > i64::MIN).then_some(self.from_ms);
        format!("{}:{}", text(from_ms), self.until_ms)
    }

    fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once(':')?;
        Some(Self { from_ms: number(from).ok()?.unwrap_or(i64::MIN), until_ms: until.parse().ok()? })
    }
}

impl Island {
    fn encode(&self) -> String {
        format!("{}:{}:{}", self.producer, self.from_ms, text(self.until_ms))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        Some(Self {
            producer: parts.next()?.parse().ok()?,
            from_ms: parts.next()?.parse().ok()?,
            until_ms: number(parts.next()?).ok()?,
        })
    }
}

fn text(ms: Option<i64>) -> String {
    ms.map(|ms| ms.to_string()).unwrap_or_default()
}

fn number(text: &str) -> Result<Option<i64>, ParseIntError> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symbol(text: &str) -> Symbol {
        Symbol::new(text).unwrap()
    }

    fn entry(seen_ms: Option<i64>, covered_from_ms: Option<i64>, ahead: Option<Ahead>) -> Entry {
        Entry { symbol: symbol("tBTCUSD"), seen_ms, covered_from_ms, ahead, earlier: Vec::new(), whole: true }
    }

    fn checkpoint() -> Checkpoint {
        let island = Island { producer: ProducerId::new(0xbeef), from_ms: 7, until_ms: None };
        let ahead = Ahead { reach_ms: 9, islands: vec![island] };
        let stretch = Stretch { from_ms: i64::MIN, until_ms: 4 };
        let later = Stretch { from_ms: -1, until_ms: 6 };
        Checkpoint {
            settings: Settings {
                intervals: vec!["1m".parse().unwrap(), "2m".parse().unwrap()],
                lateness_ms: 10_000,
            },
            origin: 3,
            reread: 4_711,
            last: Some(LastRecord { offset: 4_800, timestamp_ms: 1_570_752_000_500 }),
            fresh: false,
            entries: vec![
                entry(Some(1_570_752_000_000), None, None),
                Entry { symbol: symbol("tAVAX:USD"), ..entry(None, Some(1_570_752_000_001), None) },
                Entry { earlier: vec![stretch], ..entry(Some(5), Some(7), None) },
                Entry { earlier: vec![stretch, later], ..entry(None, None, Some(ahead)) },
                entry(Some(5), Some(i64::MAX), Some(Ahead { reach_ms: 9, islands: vec![island, island] })),
            ],
        }
    }

    #[test]
    fn a_checkpoint_reads_back_as_written() {
        let named = checkpoint();
        assert_eq!(
            named.encode(),
            "c2;3;4711;4800:1570752000500;10000;1m,2m;tBTCUSD=1570752000000/,tAVAX:USD=/1570752000001,\
             tBTCUSD=5/7/:4,tBTCUSD=//9/beef:7:/:4+-1:6,tBTCUSD=5/9223372036854775807/9/beef:7:+beef:7:",
            "the text is a contract with running groups"
        );
        let fresh = Checkpoint { fresh: true, entries: Vec::new(), ..checkpoint() };
        let empty = Checkpoint { entries: Vec::new(), last: None, ..checkpoint() };
        for checkpoint in [named, fresh, empty] {
            assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
        }
    }

    #[test]
    fn an_earlier_releases_text_is_read() {
        let read = Checkpoint::decode("c1;3;4711;10000;1m;tBTCUSD=1570752000000/").unwrap();
        assert_eq!(read.entries, [Entry { whole: false, ..entry(Some(1_570_752_000_000), None, None) }]);
    }

    #[test]
    fn a_foreign_text_is_refused() {
        let good = checkpoint().encode();
        let bad = [
            "",
            "hello",
            "c3;3;4711;;10000;1m;",
            "c2;3;4711;;10000;1x;",
            "c2;5;4;;0;1m;",
            "c2;0;1;;0;1m;t=1",
            "c2;0;1;7;0;1m;",
            "c1;0;1;0;1m;tBTCUSD=1//2/a:1:",
            "c1;0;1;0;1m;tBTCUSD=1//:1",
            "c2;0;1;;0;1m;tBTCUSD=1//",
            "c2;0;1;;0;1m;tBTCUSD=1//1:",
        ];
        for text in bad.into_iter().chain([&good[..good.len() - 5], &format!("{good};x")]) {
            assert!(Checkpoint::decode(text).is_err(), "{text}");
        }
    }
}
