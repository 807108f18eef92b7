//! Final candles in, each of them out once, in the order of their windows; and as lines of a table.

use std::collections::{BTreeMap, BTreeSet};

use candles_core::interval::Interval;

use crate::chart::coloured;
use crate::influx::{FAR_MS, Range, Reader, Row};
use crate::output::clock;

/// A window that was closed this long before the newest one is not asked for again: longer than any of the demo's
/// windows together with its lateness.
const AGE_MS_MAX: i64 = 10 * 60_000;

/// Window start (ms), interval, symbol.
type Key = (i64, Interval, String);

/// What was seen, and what to ask for next.
#[derive(Debug)]
pub struct Seen {
    from_ms: i64,
    count: usize,
    recent: BTreeSet<Key>,
}

impl Seen {
    /// Of windows that start at `from_ms` or later.
    pub fn new(from_ms: i64) -> Self {
        Self { from_ms, count: 0, recent: BTreeSet::new() }
    }

    /// How many candles were seen.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Asks for every final candle that may be new, and returns those that are.
    pub async fn look(
        &mut self,
        reader: &Reader,
        series: &[(String, Interval)],
    ) -> anyhow::Result<Vec<(Key, Row)>> {
        let mut found = Vec::new();
        for (symbol, interval) in series {
            let range = Range { from_ms: self.from_ms, to_ms: FAR_MS };
            let rows = reader.final_candles(symbol, *interval, range).await?;
            found.extend(rows.into_iter().map(|row| ((row.start_ms, *interval, symbol.clone()), row)));
        }
        Ok(self.take(found))
    }

    fn take(&mut self, found: Vec<(Key, Row)>) -> Vec<(Key, Row)> {
        let new: BTreeMap<Key, Row> =
            found.into_iter().filter(|(key, _)| !self.recent.contains(key)).collect();
        self.count += new.len();
        self.recent.extend(new.keys().cloned());
        if let Some((newest_ms, ..)) = self.recent.last() {
            self.from_ms = self.from_ms.max(newest_ms - AGE_MS_MAX);
            self.recent.retain(|(start_ms, ..)| *start_ms >= self.from_ms);
        }
        new.into_iter().collect()
    }
}

/// Names of the columns.
pub fn header() -> String {
    format!(
        "{:<10} {:<8} {:>8} {:>12} {:>12} {:>12} {:>12} {:>14} {:>7}",
        "UTC", "symbol", "interval", "open", "high", "low", "close", "volume", "trades"
    )
}

/// A candle in those columns.
pub fn line((start_ms, interval, symbol): &Key, row: &Row, colours: bool) -> String {
    let v = &row.values;
    let line = format!(
        "{:<10} {symbol:<8} {:>8} {:>12} {:>12} {:>12} {:>12} {:>14} {:>7}",
        clock(*start_ms),
        interval.to_string(),
        v.open,
        v.high,
        v.low,
        v.close,
        v.volume,
        v.count
    );
    if colours { coloured(&line, if v.close >= v.open { 32 } else { 31 }) } else { line }
}

#[cfg(test)]
mod tests {
    use candles_core::candle::CandleValues;

    use super::*;
    use crate::influx::State;

    fn found(start_ms: i64, symbol: &str) -> (Key, Row) {
        let values = CandleValues {
            open: 2.0,
            high: 4.0,
            low: 1.0,
            close: 3.5,
            volume: 10.0,
            quote_volume: 1.0,
            buy_volume: 1.0,
            vwap: 1.0,
            count: 7,
        };
        ((start_ms, "1m".parse().unwrap(), symbol.to_owned()), Row { start_ms, values, state: State::Final })
    }

    #[test]
    fn each_candle_is_shown_once_in_order_of_its_window() {
        let mut seen = Seen::new(0);
        let new = seen.take(vec![found(60_000, "tETHUSD"), found(0, "tXRPUSD"), found(0, "tBTCUSD")]);
        let order: Vec<_> =
            new.iter().map(|((start_ms, _, symbol), _)| (*start_ms, symbol.as_str())).collect();
        assert_eq!(order, [(0, "tBTCUSD"), (0, "tXRPUSD"), (60_000, "tETHUSD")]);
        assert_eq!(seen.take(vec![found(0, "tBTCUSD"), found(60_000, "tBTCUSD")]).len(), 1);
        assert_eq!(seen.count(), 4);
    }

    #[test]
    fn what_is_old_is_forgotten_and_not_asked_for_again() {
        let mut seen = Seen::new(0);
        seen.take(vec![found(0, "tBTCUSD"), found(AGE_MS_MAX + 1_000, "tBTCUSD")]);
        assert_eq!((seen.recent.len(), seen.from_ms), (1, 1_000));
    }

    #[test]
    fn a_line_has_the_columns_of_the_header() {
        let (key, row) = found(61_000, "tBTCUSD");
        let text = line(&key, &row, false);
        assert_eq!(text.split_whitespace().count(), header().split_whitespace().count());
        assert!(text.starts_with("00:01:01   tBTCUSD        1m            2            4"), "{text}");
        assert!(line(&key, &row, true).starts_with("\x1b[32m00:01:01"));
    }
}
