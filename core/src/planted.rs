//! Bugs on purpose, for the test of the judge: `make chaos-planted` runs each of them until the judge sees it.
//!
//! Exists only with the feature `planted-bugs`, which no default and no other feature turns on and which does not compile
//! without debug assertions: no release can have it. Without a call of [`plant`] nothing is wrong.

use std::sync::OnceLock;

static PLANTED: OnceLock<Bug> = OnceLock::new();

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bug {
    /// The consumer passes over a record now and then.
    SkipOne,
    /// Trades are not told apart by their ids.
    CountTwice,
    /// Forming candles are written as final ones.
    LiveIntoFinal,
    /// Offsets are committed when a batch was sent, not when it was stored.
    CommitEarly,
    /// The consumer ignores marks.
    ForgetMarks,
    /// Offsets are committed without what a successor needs to rebuild open windows.
    ForgetMetadata,
    /// The producer passes over a trade now and then.
    SkipPublishing,
    /// The producer goes live after an interruption without asking history.
    SkipHistory,
    /// `until` marks promise more than the feed has shown.
    PromiseTooMuch,
}

impl Bug {
    /// All by name.
    pub const ALL: &[(&str, Self)] = &[
        ("skip-one", Self::SkipOne),
        ("count-twice", Self::CountTwice),
        ("live-into-final", Self::LiveIntoFinal),
        ("commit-early", Self::CommitEarly),
        ("forget-marks", Self::ForgetMarks),
        ("forget-metadata", Self::ForgetMetadata),
        ("skip-publishing", Self::SkipPublishing),
        ("skip-history", Self::SkipHistory),
        ("promise-too-much", Self::PromiseTooMuch),
    ];

    /// By name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, bug)| *bug)
    }
}

/// From now on this is wrong, until the process ends.
pub fn plant(bug: Bug) {
    // A second one changes nothing.
    let _ = PLANTED.set(bug);
}

/// Whether this is wrong.
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(&bug)
}
