//! Records of one partition in log order in; final, incomplete and forming candles out.
//!
//! The builder is a pure function of the log: the same records from the same start give the same candles, whoever
//! reads them and however often. It knows no clock; time comes from trades and `until` marks.
//!
//! - Any order of arrival within the lateness, and any duplicate, gives the same final candles.
//!   (`order_and_duplicates_do_not_matter`)
//! - A window that the log does not cover from its start is never final. (`uncovered_windows_are_incomplete`)
//! - What one producer missed and another saw is no gap. (`coverage_is_the_union_of_the_producers`)
//! - A trade whose window is final changes nothing. (`late_trade_is_not_in_its_candle`)
//! - Windows of a symbol that nothing comes for are given up after a day.
//!   (`a_delisted_symbol_does_not_hold_the_others_log_for_ever`)
//! - A builder restored from a [`Checkpoint`] behaves like one that read the whole log.
//!   (`restored_builder_behaves_like_one_that_read_the_whole_log`)

mod frontier;
mod ids;
mod symbol;

use hashbrown::HashMap;

pub use self::symbol::{LiveState, TradeOutcome};
use self::{frontier::Frontier, symbol::SymbolState};
use crate::{
    candle::Candle,
    checkpoint::{Checkpoint, Entry, Settings},
    interval::Interval,
    mark::{Mark, Signed},
    symbol::Symbol,
    trade::Trade,
};

/// Windows that nothing comes for are kept for this long (ms of the other symbols' time), and their own length.
const GIVE_UP_MS: i64 = 86_400_000;
/// How often (ms) it is looked for them.
const SWEEP_MS: i64 = 3_600_000;

/// Builds the candles of the symbols of one partition.
#[derive(Debug)]
pub struct Builder {
    settings: Settings,
    /// First offset that was read without any state before it.
    origin: i64,
    /// Before this offset, windows are rebuilt and nothing comes out.
    head: i64,
    /// How far a symbol is covered that is met for the first time before `head`.
    rereading: Rereading,
    symbols: Vec<SymbolState>,
    /// When a trade comes up to this (ms), it is looked for symbols that nothing comes for any more.
    sweep_at_ms: i64,
    by_symbol: HashMap<Symbol, usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rereading {
    /// From where no state existed: a new symbol is new.
    FromOrigin,
    /// From a checkpoint that names every symbol whose coverage still matters: a new symbol is covered.
    FromCheckpoint,
}

/// What is known of a symbol before its first record.
#[derive(Debug, Clone, Copy)]
enum First {
    /// Nothing is missing.
    Covered,
    /// Nothing; and the record speaks of this time (ms).
    Record(i64),
}

/// A window that the watermark has passed.
#[derive(Debug, Clone, Copy)]
pub struct Closed<'a> {
    /// Whose.
    pub symbol: &'a Symbol,
    /// How long.
    pub interval: Interval,
    /// Start of the window, ms.
    pub start_ms: i64,
    /// Its trades.
    pub candle: &'a Candle,
    /// Whether the log covers the window from its start. If not, it is no final candle.
    pub complete: bool,
}

/// A window that is still open.
#[derive(Debug, Clone, Copy)]
pub struct Live<'a> {
    /// Whose.
    pub symbol: &'a Symbol,
    /// How long.
    pub interval: Interval,
    /// Start of the window, ms.
    pub start_ms: i64,
    /// Its trades so far.
    pub candle: &'a Candle,
    /// Whether it can become final.
    pub state: LiveState,
}

impl Builder {
    /// A builder without a past, which starts to read at offset `origin`.
    pub fn new(settings: Settings, origin: i64) -> Self {
        let (symbols, by_symbol) = (Vec::new(), HashMap::new());
        Self {
            settings,
            origin,
            head: origin,
            rereading: Rereading::FromOrigin,
            symbols,
            sweep_at_ms: i64::MIN,
            by_symbol,
        }
    }

    /// A builder that is to read the log from [`Builder::start_offset`] of this checkpoint, and says nothing until
    /// it reaches `head`. A checkpoint of other settings tells where the log began, and no more.
    pub fn restore(settings: Settings, checkpoint: &Checkpoint, head: i64) -> Self {
        if checkpoint.fresh || checkpoint.settings != settings {
            return Self { head, ..Self::new(settings, checkpoint.origin) };
        }
        let rereading = Rereading::FromCheckpoint;
        let mut builder = Self { head, rereading, ..Self::new(settings, checkpoint.origin) };
        for entry in &checkpoint.entries {
            builder.insert(SymbolState::restored(&builder.settings, entry, head));
        }
        builder
    }

    /// Where to start reading for [`Builder::restore`].
    pub fn start_offset(settings: &Settings, checkpoint: &Checkpoint) -> i64 {
        if checkpoint.fresh || checkpoint.settings != *settings {
            checkpoint.origin
        } else {
            checkpoint.reread
        }
    }

    /// Records before the offset that was asked for are gone from the log: what is read from `offset` on has no
    /// known past, except for the watermarks, which never fall.
    pub fn lost_until(&mut self, offset: i64) {
        self.origin = offset;
        self.head = self.head.max(offset);
        self.rereading = Rereading::FromOrigin;
        for state in &mut self.symbols {
            state.lose_coverage();
        }
    }

    /// Takes the trade at `offset`; `closed` is told of each window that the watermark passes by it.
    pub fn trade(
        &mut self,
        offset: i64,
        exchange: &str,
        symbol: &str,
        trade: &Trade,
        closed: impl FnMut(Closed<'_>),
    ) -> Option<TradeOutcome> {
        let silent = offset < self.head;
        if trade.time_ms >= self.sweep_at_ms && !silent {
            self.sweep(trade.time_ms);
        }
        let first = self.first(silent, trade.time_ms);
        let state = self.state(symbol, first)?;
        let outcome = state.add(exchange, trade, offset);
        state.see(trade.time_ms, offset);
        Self::close(state, silent, closed);
        Some(outcome)
    }

    /// Takes the mark at `offset`; `closed` is told of each window that the watermark passes by it.
    pub fn mark(
        &mut self,
        offset: i64,
        symbol: &str,
        mark: impl Into<Signed>,
        closed: impl FnMut(Closed<'_>),
    ) {
        let signed = mark.into();
        let silent = offset < self.head;
        let first = match signed.mark {
            // A first record that says where coverage starts needs no further margin.
            Mark::From(_) => First::Covered,
            Mark::Until(ms) => self.first(silent, ms),
        };
        let Some(state) = self.state(symbol, first) else { return };
        state.mark(&signed, offset);
        Self::close(state, silent, closed);
    }

    /// Tells `live` of each open window that has changed since the last call.
    pub fn live(&mut self, mut live: impl FnMut(Live<'_>)) {
        for state in &mut self.symbols {
            state.changed(|symbol, interval, start_ms, candle, state| {
                live(Live { symbol, interval, start_ms, candle, state });
            });
        }
    }

    /// Event time (ms) before which no trade of `symbol` is outstanding: the largest trade time or `until` mark in
    /// the log, less the lateness. Never falls. `None` before the first.
    pub fn watermark_ms(&self, symbol: &str) -> Option<i64> {
        self.by_symbol.get(symbol).and_then(|&index| self.symbols[index].watermark_ms())
    }

    /// Trades in open windows, counted once for each interval.
    pub fn open_trades(&self) -> u64 {
        self.symbols.iter().map(SymbolState::open_trades).sum()
    }

    /// How to rebuild this state at `head`, the next offset to read. Meaningless before the head of a restored one.
    pub fn checkpoint(&self, head: i64) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            settings: self.settings.clone(),
            origin: self.origin,
            reread: self
                .symbols
                .iter()
                .filter_map(SymbolState::first_open_offset)
                .min()
                .unwrap_or(head)
                .min(head),
            last: None,
            fresh: false,
            entries: Vec::new(),
        };
        loop {
            let needed = self.symbols.iter().filter_map(|state| state.entry(checkpoint.reread));
            let mut needed: Vec<(Entry, i64)> = needed.collect();
            needed.sort_unstable_by(|(a, x), (b, y)| y.cmp(x).then_with(|| a.symbol.cmp(&b.symbol)));
            let latest = needed.first().map(|(_, offset)| *offset);
            checkpoint.entries = needed.into_iter().map(|(entry, _)| entry).collect();
            match latest {
                Some(offset) if !checkpoint.fits() => {
                    if offset < self.origin {
                        return Checkpoint {
                            reread: self.origin,
                            fresh: true,
                            entries: Vec::new(),
                            ..checkpoint
                        };
                    }
                    // Reading the record again costs less than naming what it said.
                    checkpoint.reread = offset;
                }
                _ => return checkpoint,
            }
        }
    }

    /// Gives up the open windows of symbols that have been behind most others for a day and more: those of a symbol
    /// that was delisted, or has moved to another partition, would keep the log from being left behind for ever.
    #[cold]
    fn sweep(&mut self, now_ms: i64) {
        self.sweep_at_ms = now_ms.saturating_add(SWEEP_MS);
        let longest_ms = self.settings.intervals.iter().map(|i| i.length_ms()).max().unwrap_or(0);
        let mut seen: Vec<i64> = self.symbols.iter().filter_map(SymbolState::seen_ms).collect();
        seen.sort_unstable();
        // The middle one: a few trades with absurd times decide nothing.
        let Some(&middle_ms) = seen.get(seen.len().saturating_sub(1) / 2) else { return };
        let behind_ms = middle_ms.saturating_sub(longest_ms).saturating_sub(GIVE_UP_MS);
        for state in &mut self.symbols {
            if state.open_trades() > 0 && state.seen_ms().is_some_and(|seen_ms| seen_ms < behind_ms) {
                state.give_up();
            }
        }
    }

    /// What a symbol starts with whose first record speaks of `time_ms`.
    fn first(&self, silent: bool, time_ms: i64) -> First {
        if silent && self.rereading == Rereading::FromCheckpoint {
            First::Covered
        } else {
            First::Record(time_ms)
        }
    }

    /// `None` for a text that is no symbol.
    fn state(&mut self, symbol: &str, first: First) -> Option<&mut SymbolState> {
        let known = self.by_symbol.get(symbol).copied();
        let index = if let Some(index) = known { index } else { self.begin(symbol, first)? };
        Some(&mut self.symbols[index])
    }

    #[cold]
    fn begin(&mut self, symbol: &str, first: First) -> Option<usize> {
        let lateness_ms = self.settings.lateness_ms;
        let frontier = match first {
            First::Covered => Frontier::unlimited(lateness_ms),
            First::Record(time_ms) => Frontier::of_first_record(lateness_ms, time_ms),
        };
        Some(self.insert(SymbolState::new(Symbol::new(symbol).ok()?, &self.settings, frontier)))
    }

    fn insert(&mut self, state: SymbolState) -> usize {
        let index = self.symbols.len();
        self.by_symbol.insert(state.symbol().clone(), index);
        self.symbols.push(state);
        index
    }

    fn close(state: &mut SymbolState, silent: bool, mut closed: impl FnMut(Closed<'_>)) {
        state.close(|symbol, interval, start_ms, candle, complete| {
            if !silent {
                closed(Closed { symbol, interval, start_ms, candle, complete });
            }
        });
    }
}

#[cfg(test)]
mod tests;
