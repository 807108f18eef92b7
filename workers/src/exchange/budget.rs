//! How many requests or connects per minute: time in, permission or a wait out. Pure; [`SharedBudget`] waits.
//!
//! - Never more than the allowed number within any minute, in bursts too. (`no_minute_holds_more_than_allowed`)

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A minute, and a little for the way to the exchange: it counts arrivals.
const WINDOW: Duration = Duration::from_millis(60_500);

/// A sliding minute of grants.
#[derive(Debug)]
pub struct Budget {
    per_minute: usize,
    grants: VecDeque<Instant>,
    paused_until: Option<Instant>,
}

impl Budget {
    /// `per_minute` is at least 1.
    pub fn new(per_minute: u16) -> Self {
        Self { per_minute: usize::from(per_minute.max(1)), grants: VecDeque::new(), paused_until: None }
    }

    /// Takes one, or says how long to wait.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        match self.wait(now) {
            Duration::ZERO => {
                self.grants.push_back(now);
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// How long until one can be taken.
    pub fn wait(&mut self, now: Instant) -> Duration {
        if let Some(until) = self.paused_until.filter(|&until| until > now) {
            return until.duration_since(now);
        }
        while self.grants.front().is_some_and(|&at| now.duration_since(at) >= WINDOW) {
            self.grants.pop_front();
        }
        match self.grants.front() {
            Some(&oldest) if self.grants.len() >= self.per_minute => {
                WINDOW.saturating_sub(now.duration_since(oldest))
            }
            _ => Duration::ZERO,
        }
    }

    /// Grants nothing before `now + pause`.
    pub fn pause(&mut self, now: Instant, pause: Duration) {
        self.paused_until = self.paused_until.max(Some(now + pause));
    }
}

/// A budget that many tasks wait on.
#[derive(Debug, Clone)]
pub struct SharedBudget(Arc<Mutex<Budget>>);

impl SharedBudget {
    /// `per_minute` is at least 1.
    pub fn new(per_minute: u16) -> Self {
        Self(Arc::new(Mutex::new(Budget::new(per_minute))))
    }

    /// Takes one, or says how long to wait.
    pub fn try_take(&self, now: Instant) -> Result<(), Duration> {
        self.lock().take(now)
    }

    /// Grants nothing before `now + pause`.
    pub fn pause(&self, now: Instant, pause: Duration) {
        self.lock().pause(now, pause);
    }

    fn lock(&self) -> MutexGuard<'_, Budget> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until one is granted. Dropping the future takes none.
    pub async fn take(&self) {
        loop {
            let taken = self.try_take(Instant::now());
            match taken {
                Ok(()) => return,
                Err(wait) => {
                    tokio::time::sleep(wait + Duration::from_millis(rand::random_range(1..200))).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_minute_holds_more_than_allowed(
            per_minute in 1_u16..20,
            gaps_ms in proptest::collection::vec(0_u64..20_000, 1..200),
        ) {
            let start = Instant::now();
            let (mut now, mut granted) = (start, Vec::new());
            let mut budget = Budget::new(per_minute);
            for gap in gaps_ms {
                now += Duration::from_millis(gap);
                match budget.take(now) {
                    Ok(()) => granted.push(now),
                    Err(wait) => {
                        now += wait;
                        prop_assert!(budget.take(now).is_ok(), "the wait was long enough");
                        granted.push(now);
                    }
                }
            }
            for pair in granted.windows(usize::from(per_minute) + 1) {
                prop_assert!(pair[pair.len() - 1] - pair[0] >= Duration::from_secs(60));
            }
        }
    }

    #[test]
    fn a_pause_holds_everything() {
        let now = Instant::now();
        let mut budget = Budget::new(10);
        budget.pause(now, Duration::from_secs(60));
        assert_eq!(budget.take(now), Err(Duration::from_secs(60)));
        assert_eq!(budget.take(now + Duration::from_secs(60)), Ok(()));
    }
}
