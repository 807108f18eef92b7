//! Successive reads of the final candles in, every one that changed or vanished out.

use std::fmt;

use super::truth::{Candle, Candles, Window};

/// A final candle that did not stay.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Which.
    pub window: Window,
    /// As it was first read.
    pub before: Candle,
    /// As it was read later; `None`: gone.
    pub after: Option<Candle>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.after {
            Some(after) => write!(f, "{} was {:?}, then {after:?}", self.window, self.before),
            None => write!(f, "{} was {:?}, then gone", self.window, self.before),
        }
    }
}

/// Remembers what was read.
#[derive(Debug, Default)]
pub struct Watch {
    seen: Candles,
    changes: Vec<Change>,
}

impl Watch {
    /// Takes one read of everything.
    pub fn read(&mut self, now: &Candles) {
        for (window, before) in &mut self.seen {
            let after = now.get(window);
            if after != Some(before) {
                let window = window.clone();
                self.changes.push(Change { window, before: *before, after: after.copied() });
                // Told once: from now on the new value is the known one.
                if let Some(after) = after {
                    *before = *after;
                }
            }
        }
        let gone = |window: &Window| !now.contains_key(window);
        self.seen.retain(|window, _| !gone(window));
        for (window, candle) in now {
            self.seen.entry(window.clone()).or_insert(*candle);
        }
    }

    /// What did not stay.
    pub fn changes(self) -> Vec<Change> {
        self.changes
    }
}
