//! One symbol's way into the log: what its feed and its history say in, [`Effect`]s out. Synchronous and pure: no
//! clock, no I/O; every time is the exchange's.
//!
//! Down (no subscription in force) -> Filling (live trades buffered, history fetched) -> Live (published at once).
//! - Every trade since the last published one is published, history in (time, id) order before anything newer.
//!   (`nothing_is_lost_and_history_is_in_order`)
//! - Live only after the history met the live trades; else a `from` mark says what may be missing.
//!   (`a_from_mark_says_what_is_missing`, `what_is_missing_lies_in_a_marked_gap`)
//! - `until` marks of heartbeats only in Live (`only_a_live_quiet_symbol_is_marked`); a busy symbol is marked with its
//!   own trades' times, history included (`a_busy_symbol_is_marked_by_its_own_trades`).
//! - Two producers together: `what_one_of_two_producers_saw_is_no_gap`,
//!   `two_producers_with_any_faults_give_no_false_final_candle`.
//! - A producer's first word about a symbol is since when it shows every trade. (`a_restart_says_where_it_goes_on`)

use std::time::Duration;

#[cfg(feature = "planted-bugs")]
use candles_core::planted::{self, Bug};
use candles_core::{mark::Mark, trade::Trade};

use super::{
    fill::Fill,
    limits::{BUFFER_TRADES_MAX, DISORDER_MS, MARK_EVERY_MS, OVERLAP_MS, QUIET_MS},
    recent::RecentIds,
};
use crate::exchange::{HistoryRequest, Interruption, Page, Stage};

/// Where a published trade was found: label of the counter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Sent live as executed.
    Executed,
    /// Sent live as stored, and its executed frame never came.
    Stored,
    /// In a snapshot.
    Snapshot,
    /// In the history.
    History,
}

/// Why trades may be missing from the log for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// History could not be had for too long.
    HistoryUnavailable,
    /// History does not reach the live trades.
    HistoryEndsEarly,
    /// One ms has more trades than two pages.
    MillisecondTooLong,
}

/// What is to be done, in order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Effect {
    /// Append the trade to the log.
    Publish(Trade, Source),
    /// Append the mark to the log.
    Mark(Mark),
    /// Append the mark of a producer that goes on where it found the log to end.
    Resume {
        /// It shows every trade from here (ms) on that the log does not hold.
        since_ms: i64,
        /// The log ends here (ms).
        until_ms: i64,
    },
    /// Fetch a page and hand it to [`Feed::on_page`], not before the delay is over. Replaces an earlier request.
    Fetch(HistoryRequest, Duration),
    /// No page is needed any more.
    CancelFetch,
    /// Tell people: trades between these times (ms) may be missing.
    Gap {
        /// Up to here everything is in the log.
        from_ms: i64,
        /// From here on everything is in the log again.
        to_ms: i64,
        /// Why.
        reason: GapReason,
    },
    /// Tell people: live again, after publishing so many trades that the live feed had not shown.
    Filled {
        /// Trades of history and snapshot.
        trades: u64,
    },
    /// Count: so many buffered trades were forgotten; they are fetched as history.
    Overflow(usize),
}

/// Where a symbol stands.
#[derive(Debug)]
enum State {
    /// No subscription in force. Trades that come before the snapshot are kept.
    Down(Vec<Trade>),
    Filling(Box<Fill>),
    Live,
}

/// One symbol. See the module.
#[derive(Debug)]
pub struct Feed {
    state: State,
    pub(super) log: Log,
    start: Start,
    /// A mark has said since when this producer shows every trade.
    announced: bool,
}

/// What is known of the symbol's part of the log.
#[derive(Debug)]
pub(super) struct Log {
    /// Marks are of use: the symbol's trades are all in one partition.
    pub marks: bool,
    /// Everything before is in the log, but for disorder within [`OVERLAP_MS`]; `None`: nothing is known.
    pub covered_ms: Option<i64>,
    /// Trades before this are not wanted: the log's coverage starts here.
    pub floor_ms: i64,
    /// Time of the newest published trade.
    pub newest_ms: i64,
    /// A trade that comes up to here (ms) is followed by an `until` mark, for a busy symbol's sake.
    pub next_mark_ms: i64,
    pub recent: RecentIds,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    /// So long before the first snapshot (ms).
    Backfill(i64),
    At(i64),
}

impl Log {
    /// Publishes a trade that the log does not hold yet. False: it holds it.
    #[inline]
    pub fn publish(&mut self, trade: Trade, source: Source, server_ms: i64, out: &mut Vec<Effect>) -> bool {
        if !self.recent.insert(trade.id, trade.time_ms) {
            return false;
        }
        // A time from the future must not hide a gap.
        let reached_ms = trade.time_ms.min(server_ms);
        self.covered_ms = Some(self.covered_ms.map_or(reached_ms, |covered| covered.max(reached_ms)));
        self.newest_ms = self.newest_ms.max(trade.time_ms);
        #[cfg(feature = "planted-bugs")]
        if trade.id % 101 == 0 && planted::is(Bug::SkipPublishing) {
            return true;
        }
        out.push(Effect::Publish(trade, source));
        if reached_ms >= self.next_mark_ms {
            self.mark_busy(reached_ms, out);
        }
        true
    }

    /// A trade does not name its producer: only marks tell who covers what another one missed.
    #[cold]
    fn mark_busy(&mut self, reached_ms: i64, out: &mut Vec<Effect>) {
        let first = self.next_mark_ms == i64::MIN;
        self.next_mark_ms = if self.marks { reached_ms.saturating_add(MARK_EVERY_MS) } else { i64::MAX };
        if self.marks && !first {
            out.push(Effect::Mark(Mark::Until(reached_ms)));
        }
    }

    /// Coverage starts anew.
    pub fn mark_from(&mut self, from_ms: i64, out: &mut Vec<Effect>) {
        self.floor_ms = from_ms;
        self.covered_ms = Some(from_ms);
        if self.marks {
            out.push(Effect::Mark(Mark::From(from_ms)));
        }
    }

    /// History is needed from here on.
    fn needed_from_ms(&self, covered_ms: i64, server_ms: i64) -> i64 {
        (covered_ms.min(server_ms) - OVERLAP_MS).max(self.floor_ms)
    }
}

impl Feed {
    /// A symbol of which nothing is known. `marks`: whether marks are written for it.
    pub fn new(backfill_ms: i64, marks: bool) -> Self {
        Self {
            state: State::Down(Vec::new()),
            log: Log {
                marks,
                covered_ms: None,
                floor_ms: i64::MIN,
                newest_ms: i64::MIN,
                next_mark_ms: i64::MIN,
                recent: RecentIds::default(),
            },
            start: Start::Backfill(backfill_ms),
            announced: false,
        }
    }

    /// What the topic's tail says: covered up to `covered_ms`, coverage started at or before `floor_ms`, with the
    /// (id, time) of the last trades.
    pub fn resume(&mut self, covered_ms: i64, floor_ms: i64, ids: impl IntoIterator<Item = (i64, i64)>) {
        self.log.covered_ms = Some(covered_ms);
        self.log.floor_ms = floor_ms;
        for (id, time_ms) in ids {
            self.log.recent.insert(id, time_ms);
            self.log.newest_ms = self.log.newest_ms.max(time_ms);
        }
    }

    /// The symbol's log is in another partition; in this one coverage starts at `from_ms`.
    pub fn moved(&mut self, from_ms: i64) {
        self.start = Start::At(from_ms);
    }

    /// The symbol's trades go to another partition from now on, where nothing of it is. A new subscription and
    /// its snapshot must follow.
    pub fn start_anew(&mut self, from_ms: i64, out: &mut Vec<Effect>) {
        self.start = Start::At(from_ms);
        self.log.covered_ms = None;
        self.log.floor_ms = i64::MIN;
        self.log.newest_ms = i64::MIN;
        self.log.next_mark_ms = i64::MIN;
        self.log.recent.clear();
        self.on_interrupted(Interruption::Unsubscribed, out);
    }

    /// A live trade.
    #[inline]
    pub fn on_trade(&mut self, stage: Stage, trade: Trade, server_ms: i64, out: &mut Vec<Effect>) {
        match &mut self.state {
            State::Live => {
                let source = match stage {
                    Stage::Executed => Source::Executed,
                    Stage::Stored => Source::Stored,
                };
                self.log.publish(trade, source, server_ms, out);
            }
            State::Filling(fill) => fill.hold(stage, trade, server_ms, out),
            State::Down(early) => {
                if early.len() < BUFFER_TRADES_MAX {
                    early.push(trade);
                }
            }
        }
    }

    /// The subscription is in force: these are the latest trades before the live ones, oldest first.
    pub fn on_snapshot(&mut self, trades: Vec<Trade>, server_ms: i64, out: &mut Vec<Effect>) {
        let State::Down(early) = &mut self.state else { return };
        let early = std::mem::take(early);
        let covered_ms = self.log.covered_ms;
        if covered_ms.is_none() {
            let from_ms = match self.start {
                Start::Backfill(ms) => server_ms - ms,
                Start::At(ms) => ms,
            };
            self.log.mark_from(from_ms, out);
        }
        let until_ms = self.log.covered_ms.unwrap_or(server_ms);
        let need_ms = self.log.needed_from_ms(until_ms, server_ms);
        let announced = std::mem::replace(&mut self.announced, true);
        if !announced && covered_ms.is_some() && self.log.marks {
            out.push(Effect::Resume { since_ms: need_ms, until_ms });
        }
        let proven = trades.first().is_some_and(|oldest| {
            oldest.time_ms < need_ms
                || (self.log.recent.contains(oldest.id)
                    && covered_ms
                        .is_some_and(|covered| oldest.time_ms + DISORDER_MS < covered.min(server_ms)))
        });
        #[cfg(feature = "planted-bugs")]
        let proven = proven || (covered_ms.is_some() && planted::is(Bug::SkipHistory));
        let mut fill = Fill::new(need_ms, trades, server_ms);
        for trade in early {
            fill.hold(Stage::Executed, trade, server_ms, out);
        }
        if proven {
            self.go_live(fill, Vec::new(), out);
        } else {
            out.push(fill.request(Duration::ZERO));
            self.state = State::Filling(Box::new(fill));
        }
    }

    /// The symbol's feed has shown everything before `server_ms`.
    pub fn on_heartbeat(&mut self, server_ms: i64, out: &mut Vec<Effect>) {
        if !matches!(self.state, State::Live) {
            return;
        }
        let log = &mut self.log;
        if log.marks && log.newest_ms.saturating_add(QUIET_MS) <= server_ms {
            #[cfg(feature = "planted-bugs")]
            let server_ms = server_ms + if planted::is(Bug::PromiseTooMuch) { 30_000 } else { 0 };
            out.push(Effect::Mark(Mark::Until(server_ms)));
            log.next_mark_ms = server_ms.saturating_add(MARK_EVERY_MS);
        }
        log.covered_ms = log.covered_ms.max(Some(server_ms));
    }

    /// The flow of trades stopped; what is buffered is in the history too.
    pub fn on_interrupted(&mut self, _why: Interruption, out: &mut Vec<Effect>) {
        if matches!(self.state, State::Filling(_)) {
            out.push(Effect::CancelFetch);
        }
        self.state = State::Down(Vec::new());
    }

    /// The page of the last [`Effect::Fetch`].
    pub fn on_page(&mut self, page: Page, out: &mut Vec<Effect>) {
        let State::Filling(fill) = &mut self.state else { return };
        if let Some(rest) = fill.on_page(page, &mut self.log, out) {
            self.finish(rest, out);
        }
    }

    /// The last [`Effect::Fetch`] failed, as every request for `outage`.
    pub fn on_history_failed(&mut self, outage: Duration, out: &mut Vec<Effect>) {
        let State::Filling(fill) = &mut self.state else { return };
        if fill.on_failure(outage, &mut self.log, out) {
            self.finish(Vec::new(), out);
        }
    }

    /// The buffer must shrink: all symbols together hold too much.
    pub fn forget_buffer(&mut self, out: &mut Vec<Effect>) {
        if let State::Filling(fill) = &mut self.state {
            fill.forget(out);
        }
    }

    fn finish(&mut self, rest: Vec<Trade>, out: &mut Vec<Effect>) {
        if let State::Filling(fill) = std::mem::replace(&mut self.state, State::Live) {
            self.go_live(*fill, rest, out);
        }
    }

    fn go_live(&mut self, fill: Fill, rest: Vec<Trade>, out: &mut Vec<Effect>) {
        let trades = fill.release(rest, &mut self.log, out);
        out.push(Effect::Filled { trades });
        self.state = State::Live;
    }

    /// Name of the state: label of the gauge.
    pub fn state(&self) -> FeedState {
        match self.state {
            State::Down(_) => FeedState::Down,
            State::Filling(_) => FeedState::Filling,
            State::Live => FeedState::Live,
        }
    }

    /// Live trades held back.
    pub fn buffered(&self) -> usize {
        match &self.state {
            State::Down(early) => early.len(),
            State::Filling(fill) => fill.buffered(),
            State::Live => 0,
        }
    }

    /// Time (ms) up to which the log is known to hold everything.
    pub fn covered_ms(&self) -> Option<i64> {
        self.log.covered_ms
    }
}

/// States of a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FeedState {
    /// No subscription in force.
    Down,
    /// History is being fetched.
    Filling,
    /// Trades are published as they come.
    Live,
}

#[cfg(test)]
mod pair_tests;
#[cfg(test)]
mod tests;
