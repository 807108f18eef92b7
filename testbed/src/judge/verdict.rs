//! What the judge found, in words and counts.

use std::fmt;

use super::truth::Window;

/// Findings kept of each kind; the rest are counted.
const KEPT_MAX: usize = 12;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A trade or a candle that is not there, or a candle with fewer trades.
    Lost,
    /// A candle with more trades than happened, or a trade stored twice.
    Doubled,
    /// A candle or a point with other values.
    Wrong,
    /// A final candle that changed or vanished.
    Regressed,
    /// A candle without trades that came into the log behind the watermark.
    Late,
    /// A window that is incomplete without a reason.
    Incomplete,
    /// A trade or candle that never happened.
    Foreign,
    /// A symbol's records out of order, or in two partitions.
    Disordered,
    /// Something else that the run required: an exit code, dead letters, lag.
    Broken,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Lost,
        Self::Doubled,
        Self::Wrong,
        Self::Regressed,
        Self::Late,
        Self::Incomplete,
        Self::Foreign,
        Self::Disordered,
        Self::Broken,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Lost => "lost",
            Self::Doubled => "double-counted",
            Self::Wrong => "wrong",
            Self::Regressed => "regressed",
            Self::Late => "late",
            Self::Incomplete => "incomplete",
            Self::Foreign => "foreign",
            Self::Disordered => "disordered",
            Self::Broken => "broken",
        };
        f.write_str(text)
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// Where, what was found, what is true.
    pub text: String,
}

/// The judge's answer.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// The first findings of each kind.
    pub findings: Vec<Finding>,
    counts: [usize; Kind::ALL.len()],
    /// Incomplete or missing windows, each with the gap that explains it.
    pub explained: Vec<(Window, String)>,
    /// Trades that had to arrive.
    pub trades: usize,
    /// Final candles that are right.
    pub windows: usize,
    /// Records in the topic, and how many of them repeat a trade (legal there).
    pub records: usize,
    /// Records that repeat a trade.
    pub duplicates: usize,
    /// Trades that came into the log behind its newest time, and by more than the lateness. Their candles may have
    /// them all the same: a consumer waits for the slower one of two producers.
    pub behind: Vec<String>,
}

impl Verdict {
    /// Adds a finding.
    pub fn add(&mut self, kind: Kind, text: String) {
        let count = &mut self.counts[kind as usize];
        *count += 1;
        if *count <= KEPT_MAX {
            self.findings.push(Finding { kind, text });
        }
    }

    /// How many findings of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// Nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.counts.iter().all(|count| *count == 0)
    }

    /// Something is wrong that no time mends: what is missing may still come, what is there does not change.
    pub fn is_final(&self) -> bool {
        let mends = |kind: Kind| matches!(kind, Kind::Lost | Kind::Incomplete);
        Kind::ALL.into_iter().any(|kind| self.count(kind) > 0 && !mends(kind))
    }

    /// `ok`, or how many findings of each kind.
    pub fn summary(&self) -> String {
        let counted = Kind::ALL.into_iter().filter(|kind| self.count(*kind) > 0);
        let parts: Vec<String> = counted.map(|kind| format!("{} {kind}", self.count(kind))).collect();
        if parts.is_empty() { "ok".to_owned() } else { parts.join(", ") }
    }
}
