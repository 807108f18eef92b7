//! Closing one gap: pages of history and buffered live trades in, trades in order out. Part of `feed`.
//!
//! The gap is closed when the history has reached the oldest trade of the live side: from there on the snapshot
//! and the buffer hold everything. History before that trade is published page by page; what overlaps the live
//! side waits and is published with it, sorted by (time, id).

use std::{collections::HashSet, time::Duration};

use candles_core::trade::Trade;

use super::{
    feed::{Effect, GapReason, Log, Source},
    limits::{BUFFER_TRADES_MAX, LAG_RETRY, LAG_TRIES_MAX, OUTAGE_MAX},
};
use crate::exchange::{HistoryRequest, Page, Stage};

/// One gap being closed.
#[derive(Debug)]
pub(super) struct Fill {
    /// Trades are wanted from here on (ms); the log holds the earlier ones.
    need_ms: i64,
    /// Next page of history: where the last one ended (ms).
    cursor_ms: i64,
    /// (time, id) that the history must reach; `None`: the exchange has shown no trade at all.
    live_from: Option<(i64, i64)>,
    /// The exchange's latest time (ms).
    server_ms: i64,
    snapshot: Vec<Trade>,
    buffer: Vec<(Trade, Source)>,
    buffered_ids: HashSet<i64>,
    /// Newest time that was in the buffer, forgotten ones included.
    buffer_newest_ms: i64,
    /// The first page of a ms that is longer than a page; the other end of it has been asked for.
    long_ms: Option<Vec<Trade>>,
    lag_tries: u32,
    published: u64,
}

impl Fill {
    pub fn new(need_ms: i64, snapshot: Vec<Trade>, server_ms: i64) -> Self {
        Self {
            need_ms,
            cursor_ms: need_ms,
            live_from: snapshot.first().map(Trade::order),
            server_ms,
            snapshot,
            buffer: Vec::new(),
            buffered_ids: HashSet::new(),
            buffer_newest_ms: i64::MIN,
            long_ms: None,
            lag_tries: 0,
            published: 0,
        }
    }

    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Keeps a live trade for later.
    pub fn hold(&mut self, stage: Stage, trade: Trade, server_ms: i64, out: &mut Vec<Effect>) {
        self.server_ms = self.server_ms.max(server_ms);
        if !self.buffered_ids.insert(trade.id) {
            return;
        }
        if self.buffer.len() >= BUFFER_TRADES_MAX {
            self.forget(out);
        }
        let source = if stage == Stage::Executed { Source::Executed } else { Source::Stored };
        self.buffer_newest_ms = self.buffer_newest_ms.max(trade.time_ms);
        self.buffer.push((trade, source));
    }

    /// Forgets the live side: the history has those trades as well, and must now reach beyond them.
    pub fn forget(&mut self, out: &mut Vec<Effect>) {
        if self.buffer.is_empty() {
            return;
        }
        out.push(Effect::Overflow(self.buffer.len()));
        self.live_from = Some((self.buffer_newest_ms + 1, 0));
        self.buffer = Vec::new();
        self.buffered_ids = HashSet::new();
        self.snapshot = Vec::new();
    }

    pub fn request(&self, delay: Duration) -> Effect {
        let request = if self.long_ms.is_some() {
            HistoryRequest { start_ms: self.cursor_ms, end_ms: Some(self.cursor_ms), newest_first: true }
        } else {
            HistoryRequest { start_ms: self.cursor_ms, end_ms: None, newest_first: false }
        };
        Effect::Fetch(request, delay)
    }

    /// Some: the gap is closed (or marked), and these trades of the page belong to the live side.
    pub fn on_page(&mut self, page: Page, log: &mut Log, out: &mut Vec<Effect>) -> Option<Vec<Trade>> {
        let Page { mut trades, full, .. } = page;
        if let Some(first_page) = self.long_ms.take() {
            self.on_other_end(first_page, trades, full, log, out);
            out.push(self.request(Duration::ZERO));
            return None;
        }
        // A page holds what was asked for; an exchange that sends more cannot move us back.
        trades.retain(|trade| trade.time_ms >= self.cursor_ms);
        // Without a snapshot the live side begins with the buffer, if there is one.
        let buffered = || self.buffer.iter().map(|(trade, _)| trade.order()).min();
        let live_from = self.live_from.or_else(buffered).unwrap_or((i64::MAX, 0));
        // A full page may cut the very ms: what is missing of it stands on the next one.
        let overlaps = trades
            .last()
            .is_some_and(|last| last.order() >= live_from && !(full && last.time_ms == live_from.0));
        // An exchange that has shown no trade has no more than this page, even if its history lags.
        let ends = self.live_from.is_none() && !full;
        if overlaps || ends {
            let rest = trades.split_off(trades.partition_point(|trade| trade.order() < live_from));
            self.publish(trades, log, out);
            return Some(rest);
        }
        match trades.last() {
            Some(last) if full => {
                let last_ms = last.time_ms;
                self.lag_tries = 0;
                self.on_full_page(last_ms, trades, log, out);
                out.push(self.request(Duration::ZERO));
                None
            }
            _ => self.on_short_page(trades, log, out),
        }
    }

    /// More follows. The rows of the last ms may be cut: the next page starts with that ms.
    fn on_full_page(&mut self, last_ms: i64, mut trades: Vec<Trade>, log: &mut Log, out: &mut Vec<Effect>) {
        if trades.first().is_some_and(|first| first.time_ms == last_ms) {
            self.cursor_ms = last_ms;
            self.long_ms = Some(trades);
            return;
        }
        trades.truncate(trades.partition_point(|trade| trade.time_ms < last_ms));
        self.publish(trades, log, out);
        self.cursor_ms = last_ms;
    }

    /// Both ends of one long ms: complete if they meet.
    fn on_other_end(
        &mut self,
        first_page: Vec<Trade>,
        other_end: Vec<Trade>,
        full: bool,
        log: &mut Log,
        out: &mut Vec<Effect>,
    ) {
        let ids: HashSet<i64> = first_page.iter().map(|trade| trade.id).collect();
        let met = !full || other_end.iter().any(|trade| ids.contains(&trade.id));
        let next_ms = self.cursor_ms + 1;
        if !met {
            self.gap(next_ms, GapReason::MillisecondTooLong, log, out);
        }
        let in_ms = other_end.into_iter().filter(|t| t.time_ms == self.cursor_ms && !ids.contains(&t.id));
        let mut trades = first_page;
        trades.extend(in_ms);
        trades.sort_unstable_by_key(Trade::order);
        self.publish(trades, log, out);
        self.cursor_ms = next_ms;
    }

    /// The history ends before the live side begins: it lags, or does not hold what is missing.
    fn on_short_page(
        &mut self,
        trades: Vec<Trade>,
        log: &mut Log,
        out: &mut Vec<Effect>,
    ) -> Option<Vec<Trade>> {
        self.lag_tries += 1;
        if self.lag_tries < LAG_TRIES_MAX {
            out.push(self.request(LAG_RETRY));
            return None;
        }
        self.publish(trades, log, out);
        self.gap(self.live_complete_from_ms(), GapReason::HistoryEndsEarly, log, out);
        Some(Vec::new())
    }

    /// True: given up, and marked.
    pub fn on_failure(&mut self, outage: Duration, log: &mut Log, out: &mut Vec<Effect>) -> bool {
        if outage < OUTAGE_MAX {
            out.push(self.request(Duration::ZERO));
            return false;
        }
        self.gap(self.live_complete_from_ms(), GapReason::HistoryUnavailable, log, out);
        true
    }

    /// First ms whose trades the live side holds completely: of the oldest ms of a snapshot some may be missing.
    fn live_complete_from_ms(&self) -> i64 {
        self.live_from.map_or(self.server_ms, |(time_ms, _)| time_ms + 1)
    }

    fn gap(&self, to_ms: i64, reason: GapReason, log: &mut Log, out: &mut Vec<Effect>) {
        let from_ms = log.covered_ms.unwrap_or(self.cursor_ms);
        out.push(Effect::Gap { from_ms, to_ms, reason });
        log.mark_from(to_ms, out);
    }

    fn publish(&mut self, trades: Vec<Trade>, log: &mut Log, out: &mut Vec<Effect>) {
        for trade in trades {
            self.published += u64::from(log.publish(trade, Source::History, self.server_ms, out));
        }
    }

    /// Publishes the live side: the rest of the history, the snapshot and the buffer. Returns how many trades the
    /// gap had.
    pub fn release(mut self, rest: Vec<Trade>, log: &mut Log, out: &mut Vec<Effect>) -> u64 {
        let need_ms = self.need_ms;
        let rest = rest.into_iter().map(|trade| (trade, Source::History));
        let snapshot =
            self.snapshot.drain(..).filter(|t| t.time_ms >= need_ms).map(|t| (t, Source::Snapshot));
        let mut all: Vec<(Trade, Source)> = rest.chain(snapshot).collect();
        all.append(&mut self.buffer);
        all.sort_by_key(|(trade, _)| trade.order());
        for (trade, source) in all {
            let fresh = log.publish(trade, source, self.server_ms, out);
            self.published += u64::from(fresh && matches!(source, Source::History | Source::Snapshot));
        }
        self.published
    }
}
