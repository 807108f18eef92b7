//! The exchange's own candles, from the same trades: rows `[MTS,OPEN,CLOSE,HIGH,LOW,VOLUME]`, none for a
//! window without a trade. For cross-checks; computed on request, never kept.

use std::collections::BTreeMap;

use super::decimal::{Dec, write_scale_12};
use super::market::{Range, Symbol};
use super::row::{Num, Row};

/// Trades that one request looks at; candles beyond them are missing.
pub(crate) const TRADES_MAX: usize = 500_000;

/// Width of a timeframe that the exchange has (fixed widths only).
pub(crate) fn width_ms(timeframe: &str) -> Option<i64> {
    let minutes = match timeframe {
        "1m" => 1,
        "5m" => 5,
        "15m" => 15,
        "30m" => 30,
        "1h" => 60,
        "3h" => 180,
        "6h" => 360,
        "12h" => 720,
        "1D" => 1_440,
        "1W" => 10_080,
        "14D" => 20_160,
        _ => return None,
    };
    Some(minutes * 60_000)
}

struct Candle {
    open: i128,
    close: i128,
    high: i128,
    low: i128,
    volume: i128,
}

fn exact(num: &Num) -> Option<i128> {
    num.dec().and_then(Dec::at_scale_12)
}

/// The candles that start in a range as JSON, at most `limit`.
pub(crate) fn page(symbol: &Symbol, asked: &Range, width_ms: i64, limit: usize) -> String {
    // 1W counts from a Monday: 1970-01-05.
    let phase = if width_ms.rem_euclid(604_800_000) == 0 { 4 * 86_400_000 } else { 0 };
    let start = |ms: i64| ms - (ms.saturating_sub(phase)).rem_euclid(width_ms);
    // Whole windows: a candle is in the answer if its start is in the range.
    let range = Range {
        start_ms: start(asked.start_ms.max(0).saturating_add(width_ms - 1)),
        end_ms: start(asked.end_ms.min(asked.seen_until_ms)) + width_ms - 1,
        ..*asked
    };
    let mut rows = symbol.history(&range);
    rows.sort_by_key(Row::key);
    let mut candles: BTreeMap<i64, Candle> = BTreeMap::new();
    for row in &rows {
        let (Some(price), Some(amount)) = (exact(&row.price), exact(&row.amount)) else {
            continue;
        };
        let new = Candle { open: price, close: price, high: price, low: price, volume: 0 };
        let candle = candles.entry(start(row.ms)).or_insert(new);
        candle.close = price;
        candle.high = candle.high.max(price);
        candle.low = candle.low.min(price);
        candle.volume += amount.abs();
    }
    let text = |(ms, c): (&i64, &Candle)| {
        let mut out = format!("[{ms}");
        for value in [c.open, c.close, c.high, c.low, c.volume] {
            out.push(',');
            write_scale_12(value, &mut out);
        }
        out + "]"
    };
    let texts: Vec<String> = if asked.newest_first {
        candles.iter().rev().take(limit).map(text).collect()
    } else {
        candles.iter().take(limit).map(text).collect()
    };
    format!("[{}]", texts.join(","))
}
