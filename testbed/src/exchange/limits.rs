//! Rate limits: so many per minute, and a block after a breach. Pure: time is an argument.

use std::collections::VecDeque;

use super::config::Limits;

/// A sliding minute.
#[derive(Debug)]
pub(crate) struct Window {
    per_min: u32,
    times: VecDeque<i64>,
}

impl Window {
    pub fn new(per_min: u32) -> Self {
        Self { per_min, times: VecDeque::new() }
    }

    /// Counts one more, unless the minute is full. 0 per minute: no limit.
    pub fn take(&mut self, now_ms: i64) -> bool {
        if self.per_min == 0 {
            return true;
        }
        while self.times.front().is_some_and(|&t| t <= now_ms - 60_000) {
            self.times.pop_front();
        }
        let room = self.times.len() < self.per_min as usize;
        if room {
            self.times.push_back(now_ms);
        }
        room
    }
}

/// What a REST request counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Trades,
    Candles,
    Tickers,
    Status,
    Conf,
}

/// All REST limits of the one client address there is.
#[derive(Debug)]
pub(crate) struct RestLimits {
    windows: [Window; 5],
    blocked_until_ms: i64,
    block_ms: i64,
}

impl RestLimits {
    pub fn new(limits: &Limits) -> Self {
        let per_min = [
            limits.trades_per_min,
            limits.others_per_min,
            limits.tickers_per_min,
            limits.others_per_min,
            limits.others_per_min,
        ];
        Self { windows: per_min.map(Window::new), blocked_until_ms: i64::MIN, block_ms: limits.block_ms }
    }

    /// Whether a request may be answered. A breach blocks every endpoint.
    pub fn take(&mut self, endpoint: Endpoint, now_ms: i64) -> bool {
        if now_ms < self.blocked_until_ms {
            return false;
        }
        let granted = self.windows[endpoint as usize].take(now_ms);
        if !granted {
            self.blocked_until_ms = now_ms + self.block_ms;
        }
        granted
    }
}
