//! One symbol's part of the builder: its watermark, how far the log covers it, and its open windows.

use super::{
    frontier::Frontier,
    ids::{Ids, bucket_ms},
};
use crate::{
    candle::Candle,
    checkpoint::{Entry, Settings},
    decimal::Quantities,
    interval::Interval,
    mark::Signed,
    symbol::Symbol,
    trade::Trade,
};

/// What became of a trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TradeOutcome {
    /// In a candle of every interval.
    Counted,
    /// Too late for the candles of some intervals, in those of others.
    PartlyLate,
    /// Too late for all of its candles.
    Late,
    /// In its candles before.
    Duplicate,
}

/// Whether an open window can become final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveState {
    /// The log covers it from its start.
    Forming,
    /// The log does not.
    Incomplete,
}

#[derive(Debug)]
pub(super) struct SymbolState {
    symbol: Symbol,
    bucket_ms: i64,
    frontier: Frontier,
    ids: Ids,
    series: Box<[Series]>,
    /// Earliest end of an open window: until the watermark gets there, nothing is to be closed.
    next_close_ms: i64,
    /// When the watermark gets there, more ids are old enough to be packed.
    next_pack_ms: i64,
}

#[derive(Debug)]
struct Series {
    interval: Interval,
    /// Open windows, by start. Usually one or two.
    windows: Vec<Window>,
}

#[derive(Debug)]
struct Window {
    start_ms: i64,
    first_offset: i64,
    candle: Candle,
    changed: bool,
}

impl SymbolState {
    pub(super) fn new(symbol: Symbol, settings: &Settings, frontier: Frontier) -> Self {
        let longest_ms = settings.intervals.iter().map(|i| i.length_ms()).max().unwrap_or(0);
        Self {
            symbol,
            bucket_ms: bucket_ms(longest_ms),
            frontier,
            ids: Ids::default(),
            series: settings
                .intervals
                .iter()
                .map(|&interval| Series { interval, windows: Vec::new() })
                .collect(),
            next_close_ms: i64::MAX,
            next_pack_ms: i64::MIN,
        }
    }

    /// Of a checkpoint at `head`.
    pub(super) fn restored(settings: &Settings, entry: &Entry, head: i64) -> Self {
        let frontier = Frontier::restored(settings.lateness_ms, entry, head);
        Self::new(entry.symbol.clone(), settings, frontier)
    }

    pub(super) fn symbol(&self) -> &Symbol {
        &self.symbol
    }

    pub(super) fn watermark_ms(&self) -> Option<i64> {
        self.frontier.watermark_ms()
    }

    pub(super) fn open_trades(&self) -> u64 {
        self.series.iter().flat_map(|s| &s.windows).map(|w| w.candle.count()).sum()
    }

    /// Records of the past are gone; the next one is a first record.
    pub(super) fn lose_coverage(&mut self) {
        self.frontier.lose();
    }

    /// Largest time (ms) that the log shows of this symbol.
    pub(super) fn seen_ms(&self) -> Option<i64> {
        self.frontier.seen_ms()
    }

    /// Forgets open windows that nothing has come for: as if the records were gone.
    pub(super) fn give_up(&mut self) {
        self.series.iter_mut().for_each(|series| series.windows.clear());
        self.ids = Ids::default();
        self.next_close_ms = i64::MAX;
        self.frontier.lose();
    }

    pub(super) fn add(&mut self, exchange: &str, trade: &Trade, offset: i64) -> TradeOutcome {
        if self.frontier.is_given_up(offset) {
            return TradeOutcome::Late;
        }
        let watermark_ms = self.watermark_ms().unwrap_or(i64::MIN);
        let late = self.series.iter().filter(|s| s.is_final(trade.time_ms, watermark_ms)).count();
        if late == self.series.len() {
            return if late == 0 { TradeOutcome::Counted } else { TradeOutcome::Late };
        }
        let fresh = self.ids.insert(exchange, trade.id, trade.time_ms, self.bucket_ms);
        #[cfg(feature = "planted-bugs")]
        let fresh = fresh || crate::planted::is(crate::planted::Bug::CountTwice);
        if !fresh {
            return TradeOutcome::Duplicate;
        }
        let quantities = Quantities::new(trade.price, trade.amount.abs());
        for series in &mut self.series {
            if late == 0 || !series.is_final(trade.time_ms, watermark_ms) {
                let end_ms = series.add(trade, &quantities, offset);
                self.next_close_ms = self.next_close_ms.min(end_ms);
            }
        }
        if late == 0 { TradeOutcome::Counted } else { TradeOutcome::PartlyLate }
    }

    /// A trade of `ms` stands in the log.
    #[inline]
    pub(super) fn see(&mut self, ms: i64, offset: i64) {
        if self.frontier.trade(ms, offset) {
            self.coverage_changed();
        }
    }

    /// A mark stands in the log.
    pub(super) fn mark(&mut self, signed: &Signed, offset: i64) {
        if self.frontier.mark(signed, offset) {
            self.coverage_changed();
        }
    }

    #[cold]
    fn coverage_changed(&mut self) {
        self.series.iter_mut().flat_map(|s| &mut s.windows).for_each(|w| w.changed = true);
    }

    /// Hands out the windows that the watermark has passed, and forgets them.
    pub(super) fn close(&mut self, mut closed: impl FnMut(&Symbol, Interval, i64, &Candle, bool)) {
        let Some(watermark_ms) = self.watermark_ms() else { return };
        if watermark_ms >= self.next_close_ms {
            self.close_windows(watermark_ms, &mut closed);
        }
        if watermark_ms >= self.next_pack_ms {
            self.ids.expire(self.earliest_open_ms(watermark_ms), watermark_ms, self.bucket_ms);
            self.next_pack_ms = watermark_ms + self.bucket_ms;
        }
    }

    fn close_windows(
        &mut self,
        watermark_ms: i64,
        closed: &mut impl FnMut(&Symbol, Interval, i64, &Candle, bool),
    ) {
        self.next_close_ms = i64::MAX;
        for series in &mut self.series {
            let (interval, length_ms) = (series.interval, series.interval.length_ms());
            let open = series.windows.partition_point(|w| w.start_ms + length_ms <= watermark_ms);
            for window in series.windows.drain(..open) {
                let complete = self.frontier.covers(window.start_ms, window.start_ms + length_ms);
                closed(&self.symbol, interval, window.start_ms, &window.candle, complete);
            }
            if let Some(window) = series.windows.first() {
                self.next_close_ms = self.next_close_ms.min(window.start_ms + interval.length_ms());
            }
        }
    }

    pub(super) fn changed(&mut self, mut live: impl FnMut(&Symbol, Interval, i64, &Candle, LiveState)) {
        for series in &mut self.series {
            let length_ms = series.interval.length_ms();
            for window in series.windows.iter_mut().filter(|w| w.changed) {
                window.changed = false;
                let complete = self.frontier.covers(window.start_ms, window.start_ms + length_ms);
                let state = if complete { LiveState::Forming } else { LiveState::Incomplete };
                live(&self.symbol, series.interval, window.start_ms, &window.candle, state);
            }
        }
    }

    /// First offset that holds a trade of an open window.
    pub(super) fn first_open_offset(&self) -> Option<i64> {
        self.series.iter().flat_map(|s| &s.windows).map(|w| w.first_offset).min()
    }

    /// What reading from `reread` on cannot tell about this symbol, and the offset from which it could.
    pub(super) fn entry(&self, reread: i64) -> Option<(Entry, i64)> {
        let open_from_ms = match self.watermark_ms() {
            Some(watermark_ms) => Some(self.earliest_open_ms(watermark_ms)),
            None if self.series.is_empty() => Some(i64::MAX),
            None => None,
        };
        self.frontier.entry(&self.symbol, reread, open_from_ms)
    }

    /// Start of the earliest window that is not final at this watermark.
    fn earliest_open_ms(&self, watermark_ms: i64) -> i64 {
        self.series.iter().map(|s| s.interval.window_start_ms(watermark_ms)).min().unwrap_or(watermark_ms)
    }
}

impl Series {
    fn holds(&self, window: &Window, time_ms: i64) -> bool {
        (window.start_ms..window.start_ms + self.interval.length_ms()).contains(&time_ms)
    }

    /// Whether the window of `time_ms` is closed. Windows that are there are open.
    fn is_final(&self, time_ms: i64, watermark_ms: i64) -> bool {
        time_ms < watermark_ms
            && !self.windows.last().is_some_and(|w| self.holds(w, time_ms))
            && self.interval.window_start_ms(time_ms) + self.interval.length_ms() <= watermark_ms
    }

    /// Adds a trade to its window, which may be new. Returns the end of the window.
    fn add(&mut self, trade: &Trade, quantities: &Quantities, offset: i64) -> i64 {
        let length_ms = self.interval.length_ms();
        let index = match self.windows.last() {
            Some(last) if self.holds(last, trade.time_ms) => self.windows.len() - 1,
            _ => {
                let start_ms = self.interval.window_start_ms(trade.time_ms);
                let index = self.windows.partition_point(|w| w.start_ms < start_ms);
                if self.windows.get(index).is_none_or(|w| w.start_ms != start_ms) {
                    let candle = Candle::new(trade, quantities);
                    self.windows
                        .insert(index, Window { start_ms, first_offset: offset, candle, changed: true });
                    return start_ms + length_ms;
                }
                index
            }
        };
        let window = &mut self.windows[index];
        window.candle.add(trade, quantities);
        window.changed = true;
        window.start_ms + length_ms
    }
}
