//! One listed symbol: its source, when it traded, what was published by hand, which history is missing.
//! Answers "what happened, what does the exchange admit" for any range; sends nothing.

use std::sync::Arc;

use super::super::row::Row;
use super::Source;

/// Published trades kept per symbol; the oldest go first.
const PUBLISHED_MAX: usize = 200_000;
/// Trading intervals kept per symbol; further pauses are refused.
const INTERVALS_MAX: usize = 10_000;
/// Id resets kept; further ones are ignored.
const ID_RESETS_MAX: usize = 100;
/// Chunks looked at in one query, whatever it asks for.
const CHUNKS_MAX: usize = 2_000_000;

/// A range of time asked for, both ends inclusive, as the exchange's REST has it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub start_ms: i64,
    pub end_ms: i64,
    pub limit: usize,
    pub newest_first: bool,
    /// Rows that arrived after this are not there yet.
    pub seen_until_ms: i64,
    /// Leave out what a history hole covers.
    pub holes: bool,
}

#[derive(Debug)]
pub(crate) struct Symbol {
    pub name: Arc<str>,
    pub source: Source,
    pub listed: bool,
    /// The market's own start: what is older is history and has no disorder.
    start_ms: i64,
    /// When it traded: `[from, to)`, rising.
    trading: Vec<(i64, i64)>,
    published: Vec<Row>,
    /// History that REST and snapshots do not have: `[start, end]`.
    pub holes: Vec<(i64, i64)>,
    /// From this time on ids are lower by so much; rising in time.
    id_shifts: Vec<(i64, i64)>,
}

impl Symbol {
    pub fn new(name: &str, source: Source, start_ms: i64) -> Self {
        Self {
            name: name.into(),
            source,
            listed: true,
            start_ms,
            trading: vec![(i64::MIN, i64::MAX)],
            published: Vec::new(),
            holes: Vec::new(),
            id_shifts: Vec::new(),
        }
    }

    /// `BTCUSD` of `tBTCUSD`.
    pub fn pair(&self) -> &str {
        self.name.get(1..).unwrap_or_default()
    }

    /// No trade at or after `ms`.
    pub fn stop_at(&mut self, ms: i64) {
        self.trading.retain(|&(from, _)| from < ms);
        if let Some(last) = self.trading.last_mut() {
            last.1 = last.1.min(ms);
        }
    }

    /// Trades again from `ms` on. False when it would be the 10,000th interval.
    pub fn start_at(&mut self, ms: i64) -> bool {
        let full = self.trading.len() >= INTERVALS_MAX;
        match self.trading.last_mut() {
            Some(last) if last.1 >= ms => last.1 = i64::MAX,
            _ if full => return false,
            _ => self.trading.push((ms, i64::MAX)),
        }
        true
    }

    /// Whether a trade of its source may still happen after `ms`.
    pub fn trades_after(&self, ms: i64) -> bool {
        let open = self.trading.last().is_some_and(|last| last.1 > ms);
        open && !matches!(self.source, Source::Quiet)
    }

    pub fn traded_at(&self, ms: i64) -> bool {
        let after = self.trading.partition_point(|&(from, _)| from <= ms);
        after > 0 && ms < self.trading[after - 1].1
    }

    /// From `ms` on ids restart near `base`.
    pub fn reset_ids(&mut self, ms: i64, base: i64) {
        if let Some(next) = self.source.id_floor(ms)
            && self.id_shifts.len() < ID_RESETS_MAX
        {
            self.id_shifts.push((ms, next - base));
        }
    }

    /// The row as the exchange gives it out: after id resets, without disorder before the start.
    pub fn admit(&self, mut row: Row) -> Row {
        if let Some(&(_, shift)) = self.id_shifts.iter().rev().find(|&&(from, _)| row.ms >= from) {
            row.id -= shift;
        }
        if row.ms < self.start_ms {
            row.arrival_ms = row.ms;
        }
        row
    }

    /// Adds a trade made by hand.
    pub fn publish(&mut self, row: Row) {
        let at = self.published.partition_point(|r| r.key() <= row.key());
        self.published.insert(at, row);
        if self.published.len() > PUBLISHED_MAX {
            self.published.remove(0);
        }
    }

    pub fn in_history(&self, ms: i64) -> bool {
        !self.holes.iter().any(|&(from, to)| from <= ms && ms <= to)
    }

    /// What happened in a range, in the order asked for.
    pub fn history(&self, range: &Range) -> Vec<Row> {
        let mut rows = self.sourced(range);
        let published = self.published.iter().filter(|r| self.asked(r, range));
        if range.newest_first {
            rows.extend(published.rev().take(range.limit).cloned());
            rows.sort_by_key(|r| std::cmp::Reverse(r.key()));
        } else {
            rows.extend(published.take(range.limit).cloned());
            rows.sort_by_key(Row::key);
        }
        rows.truncate(range.limit);
        rows
    }

    fn asked(&self, row: &Row, range: &Range) -> bool {
        row.ms >= range.start_ms
            && row.ms <= range.end_ms
            && row.arrival_ms <= range.seen_until_ms
            && (!range.holes || self.in_history(row.ms))
    }

    fn sourced(&self, range: &Range) -> Vec<Row> {
        let mut rows = Vec::new();
        let end = range.end_ms.min(range.seen_until_ms).saturating_add(1);
        let mut chunks = 0;
        let mut spans: Vec<(i64, i64)> = self
            .trading
            .iter()
            .map(|&(a, b)| (a.max(range.start_ms), b.min(end)))
            .filter(|(a, b)| a < b)
            .collect();
        if range.newest_first {
            spans.reverse();
        }
        for (from, to) in spans {
            let mut at = Some(if range.newest_first { to } else { from });
            while let Some(edge) = at
                && from <= edge
                && edge <= to
                && rows.len() < range.limit
                && chunks < CHUNKS_MAX
            {
                chunks += 1;
                at = self.one_chunk(edge, (from, to), range, &mut rows);
            }
        }
        rows
    }

    /// Adds one chunk's wanted rows and returns the next edge, if it moved.
    fn one_chunk(
        &self,
        edge: i64,
        (from, to): (i64, i64),
        range: &Range,
        rows: &mut Vec<Row>,
    ) -> Option<i64> {
        let mut chunk = Vec::new();
        let next = if range.newest_first {
            self.source.chunk_back(edge, &mut chunk)
        } else {
            self.source.chunk(edge, &mut chunk)
        };
        let wanted = chunk.into_iter().map(|r| self.admit(r));
        let wanted = wanted.filter(|r| r.ms >= from && r.ms < to && self.asked(r, range));
        if range.newest_first {
            let mut wanted: Vec<Row> = wanted.collect();
            wanted.reverse();
            rows.append(&mut wanted);
        } else {
            rows.extend(wanted);
        }
        next.filter(|&n| n != edge)
    }
}
