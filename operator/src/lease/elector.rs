//! What to do about a lease: what it was like at each look in, the next step out. Pure, but for the time that it is told.

use std::time::Duration;

use tokio::time::Instant;

use crate::limits::LEASE_DURATION;

/// A lease as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Who holds it; `None` when it was given back.
    pub holder: Option<String>,
    /// After how long without a change it is free, as its holder wrote it.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
    /// Changes with each write.
    pub version: String,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Somebody else holds it.
    Wait,
    /// There is none: make this one.
    Create(Record),
    /// It is free, or ours: write this one.
    Take(Record),
}

/// What one process knows about the lease.
#[derive(Debug)]
pub struct Elector {
    identity: String,
    /// What it was like, and since when it has been so as far as we saw.
    seen: Option<(Record, Instant)>,
    /// As we last wrote it, if that is the latest that we know.
    own: Option<Record>,
}

impl Elector {
    /// Knows nothing yet.
    pub fn new(identity: String) -> Self {
        Self { identity, seen: None, own: None }
    }

    /// Who we are.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The lease with a sign of life, if we hold it.
    pub fn renewal(&self) -> Option<Record> {
        self.own.clone()
    }

    /// The lease without a holder, if we hold it.
    pub fn release(&mut self) -> Option<Record> {
        self.own.take().map(|own| Record { holder: None, duration: Duration::from_secs(1), ..own })
    }

    /// We wrote it, and this is what was kept.
    pub fn written(&mut self, record: Record) {
        self.own = Some(record);
        self.seen = None;
    }

    /// A write failed: somebody else may have written.
    pub fn forget(&mut self) {
        self.own = None;
    }

    /// What follows from a look at the lease.
    pub fn look(&mut self, found: Option<Record>, now: Instant) -> Step {
        let Some(found) = found else {
            self.seen = None;
            return Step::Create(self.record(0, String::new()));
        };
        let since = match &self.seen {
            Some((seen, since)) if *seen == found => *since,
            _ => now,
        };
        // Nobody's duration is trusted to be shorter than ours: its holder may be an operator of another version.
        let expired = now.duration_since(since) > found.duration.max(LEASE_DURATION);
        let ours = found.holder.as_ref() == Some(&self.identity);
        let step = if ours {
            Step::Take(self.record(found.transitions, found.version.clone()))
        } else if found.holder.is_none() || expired {
            Step::Take(self.record(found.transitions.saturating_add(1), found.version.clone()))
        } else {
            Step::Wait
        };
        self.seen = Some((found, since));
        step
    }

    fn record(&self, transitions: i32, version: String) -> Record {
        Record { holder: Some(self.identity.clone()), duration: LEASE_DURATION, transitions, version }
    }
}
