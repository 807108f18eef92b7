//! Whether the process lives and whether it works: written by the parts, read by `/healthz` and `/readyz`.
//!
//! Live means that the main loop turns; it never depends on another server, since a restart would not mend that.
//! Ready means that no part has a reason why it does not work.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// The main loop turns at least every second; this long without a turn means that it is stuck.
const BEAT_AGE_MAX: Duration = Duration::from_secs(60);

/// Shared by all parts of a worker.
#[derive(Debug)]
pub struct Health {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_beat: Instant,
    reasons: BTreeMap<&'static str, String>,
}

impl Health {
    /// Live, and not ready because each of `parts` is still starting.
    pub fn starting(parts: &[&'static str]) -> Self {
        let reasons = parts.iter().map(|&part| (part, "starting".to_owned())).collect();
        Self { state: Mutex::new(State { last_beat: Instant::now(), reasons }) }
    }

    /// The main loop has turned.
    pub fn beat(&self) {
        self.lock().last_beat = Instant::now();
    }

    /// `part` works. Returns whether that is news.
    pub fn works(&self, part: &'static str) -> bool {
        self.lock().reasons.remove(part).is_some()
    }

    /// `part` does not work, and why: what, where, what is done about it. Returns whether that is news.
    pub fn fails(&self, part: &'static str, reason: impl Into<String>) -> bool {
        let reason = reason.into();
        self.lock().reasons.insert(part, reason.clone()) != Some(reason)
    }

    /// Whether the main loop turns.
    pub fn is_live(&self) -> bool {
        self.lock().last_beat.elapsed() < BEAT_AGE_MAX
    }

    /// One line for each part that does not work; empty when ready.
    pub fn reasons(&self) -> Vec<String> {
        self.lock().reasons.iter().map(|(part, reason)| format!("{part}: {reason}")).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_when_no_part_has_a_reason() {
        let health = Health::starting(&["kafka", "registry"]);
        assert_eq!(health.reasons(), ["kafka: starting", "registry: starting"]);
        assert!(health.works("kafka"));
        assert!(!health.works("kafka"), "no news");
        assert!(health.fails("registry", "401 for the token"));
        assert!(!health.fails("registry", "401 for the token"), "no news");
        assert_eq!(health.reasons(), ["registry: 401 for the token"]);
        assert!(health.is_live());
    }
}
