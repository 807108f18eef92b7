//! Rows of the database's answers in, candles and raw points out.

use std::collections::{BTreeMap, BTreeSet};

use super::truth::{Candle, Candles, Window};
use crate::exchange::TrueTrade;

/// A row as the database's client returns it: column to text.
pub type Row = BTreeMap<String, String>;

/// One stored trade.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the point")]
pub struct RawPoint {
    pub symbol: String,
    pub time_ns: i64,
    pub id: i64,
    pub price: f64,
    pub amount: f64,
}

impl RawPoint {
    /// Whether this is that trade, at its place.
    pub fn is(&self, trade: &TrueTrade) -> bool {
        let time_ns = trade.ms * 1_000_000 + trade.id.rem_euclid(1_000_000);
        self.time_ns == time_ns && super::truth::same(trade, (trade.ms, self.price, self.amount))
    }
}

/// Length of an interval by its tag: `10s`, `1m`.
pub fn length_ms(tag: &str) -> Option<i64> {
    let (number, unit) = tag.split_at(tag.len().checked_sub(1)?);
    let unit_ms = match unit {
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return None,
    };
    Some(number.parse::<i64>().ok()? * unit_ms)
}

/// Reads raw points; `Err` names the row that is none.
pub fn raw_points(rows: &[Row]) -> Result<Vec<RawPoint>, String> {
    let point = |row: &Row| {
        Some(RawPoint {
            symbol: row.get("symbol")?.clone(),
            time_ns: value(row, "time_ns")?,
            id: value(row, "id")?,
            price: value(row, "price")?,
            amount: value(row, "amount")?,
        })
    };
    rows.iter().map(|row| point(row).ok_or_else(|| format!("no raw point: {row:?}"))).collect()
}

/// Reads final candles; `Err` names the row that is none.
pub fn candles(rows: &[Row]) -> Result<Candles, String> {
    let candle = |row: &Row| {
        let candle = Candle {
            open: value(row, "open")?,
            high: value(row, "high")?,
            low: value(row, "low")?,
            close: value(row, "close")?,
            volume: value(row, "volume")?,
            quote_volume: value(row, "quote_volume")?,
            buy_volume: value(row, "buy_volume")?,
            vwap: value(row, "vwap")?,
            count: value(row, "count")?,
        };
        Some((window(row)?, candle))
    };
    rows.iter().map(|row| candle(row).ok_or_else(|| format!("no candle: {row:?}"))).collect()
}

/// Windows of the live measurement that are marked as incomplete.
pub fn incomplete(rows: &[Row]) -> BTreeSet<Window> {
    let marked = rows.iter().filter(|row| row.get("state").is_some_and(|state| state == "incomplete"));
    marked.filter_map(window).collect()
}

fn window(row: &Row) -> Option<Window> {
    Some(Window {
        symbol: row.get("symbol")?.clone(),
        length_ms: length_ms(row.get("interval")?)?,
        start_ms: value::<i64>(row, "time_ns")? / 1_000_000,
    })
}

fn value<T: std::str::FromStr>(row: &Row, name: &str) -> Option<T> {
    row.get(name)?.parse().ok()
}
