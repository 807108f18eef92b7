//! A recording in, its trades out, with their own ids and times.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::super::decimal::Dec;
use super::super::row::{Num, Row};

/// Rows per chunk; rows of one millisecond stay together.
const CHUNK_ROWS: usize = 64;
/// A recording beyond this many bytes after decompression is refused.
const BYTES_MAX: u64 = 1 << 30;

/// A recorded market.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    rows: Arc<[Row]>,
}

impl Replay {
    pub fn new(mut rows: Vec<Row>, shift_ms: i64) -> Self {
        for row in &mut rows {
            row.ms += shift_ms;
            row.arrival_ms = row.ms;
        }
        rows.sort_by_key(Row::key);
        Self { rows: rows.into() }
    }

    pub fn chunk(&self, from_ms: i64, out: &mut Vec<Row>) -> Option<i64> {
        let start = self.rows.partition_point(|r| r.ms < from_ms);
        let last = self.rows.get((start + CHUNK_ROWS).min(self.rows.len()).checked_sub(1)?)?;
        let end = self.rows.partition_point(|r| r.ms <= last.ms);
        out.extend_from_slice(self.rows.get(start..end)?);
        self.rows.get(end).map(|next| next.ms)
    }

    pub fn chunk_back(&self, to_ms: i64, out: &mut Vec<Row>) -> Option<i64> {
        let end = self.rows.partition_point(|r| r.ms < to_ms);
        let first = self.rows.get(end.saturating_sub(CHUNK_ROWS))?;
        let start = self.rows.partition_point(|r| r.ms < first.ms);
        out.extend_from_slice(self.rows.get(start..end)?);
        (start > 0).then_some(first.ms)
    }

    pub fn id_floor(&self, ms: i64) -> Option<i64> {
        self.rows.get(self.rows.partition_point(|r| r.ms < ms)).map(|r| r.id)
    }
}

type BinanceRow<'a> = (i64, String, IgnoredAny, String, &'a RawValue, &'a RawValue, IgnoredAny);

/// Reads `trades.json.gz`: rows `[ms, id, null, side, price, amount, cost]`.
pub(crate) fn load_binance(path: &Path) -> anyhow::Result<Vec<Row>> {
    let file = std::fs::File::open(path).with_context(|| format!("open recording {}", path.display()))?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .take(BYTES_MAX)
        .read_to_string(&mut text)
        .with_context(|| format!("decompress recording {}", path.display()))?;
    let rows: Vec<BinanceRow<'_>> =
        serde_json::from_str(&text).with_context(|| format!("parse recording {}", path.display()))?;
    rows.into_iter().enumerate().map(|(i, row)| row_of(row).with_context(|| format!("row {i}"))).collect()
}

fn row_of((ms, id, _, side, price, amount, _): BinanceRow<'_>) -> anyhow::Result<Row> {
    ensure!(matches!(side.as_str(), "buy" | "sell"), "side {side:?} is neither buy nor sell");
    let price = Dec::parse(price.get()).with_context(|| format!("price {price}"))?;
    let amount = Dec::parse(amount.get()).with_context(|| format!("amount {amount}"))?;
    let sign = if side == "sell" { -1 } else { 1 };
    Ok(Row {
        id: id.parse().with_context(|| format!("id {id:?}"))?,
        ms,
        arrival_ms: ms,
        amount: Num::Dec(Dec::new(sign * amount.mantissa, amount.scale)),
        price: Num::Dec(price),
    })
}
