//! What the database must hold, from the exchange's own account of what happened, by decimal arithmetic.

use std::collections::BTreeMap;

use bigdecimal::{BigDecimal, Zero as _};
use candles_testbed::exchange::TrueTrade;

/// Candles by (symbol, window start in ms): open, high, low, close, volume, and count.
pub type Candles = BTreeMap<(String, i64), ([f64; 5], u64)>;

/// The candles of windows of so many minutes that start in `from_ms..` and end in `..=to_ms`.
pub fn candles(truth: &[TrueTrade], minutes: i64, from_ms: i64, to_ms: i64) -> Candles {
    let length_ms = minutes * 60_000;
    let mut windows: BTreeMap<(String, i64), Vec<&TrueTrade>> = BTreeMap::new();
    for trade in truth {
        let start_ms = trade.ms - trade.ms.rem_euclid(length_ms);
        if start_ms >= from_ms && start_ms + length_ms <= to_ms {
            windows.entry((trade.symbol.clone(), start_ms)).or_default().push(trade);
        }
    }
    windows.into_iter().map(|(key, trades)| (key, fold(trades))).collect()
}

fn fold(mut trades: Vec<&TrueTrade>) -> ([f64; 5], u64) {
    trades.sort_by_key(|trade| (trade.ms, trade.id));
    let price = |trade: &TrueTrade| trade.price.parse::<f64>().unwrap();
    let prices = trades.iter().map(|trade| price(trade));
    let (high, low) = prices.fold((f64::MIN, f64::MAX), |(high, low), p| (high.max(p), low.min(p)));
    let volume = trades.iter().map(|trade| trade.amount.parse::<BigDecimal>().unwrap().abs());
    let volume = volume.fold(BigDecimal::zero(), |a, b| a + b);
    let nearest = volume.to_string().parse::<f64>().unwrap();
    ([price(trades[0]), high, low, price(trades[trades.len() - 1]), nearest], trades.len() as u64)
}

/// The first differences in words, or nothing when both are equal.
pub fn differences(truth: &Candles, stored: &Candles) -> Vec<String> {
    let lost = truth
        .iter()
        .filter(|(key, _)| !stored.contains_key(*key))
        .map(|(key, c)| format!("missing {key:?}: {c:?}"));
    let wrong = stored.iter().filter(|(key, candle)| truth.get(*key) != Some(*candle));
    let wrong = wrong.map(|(key, candle)| format!("stored {key:?}: {candle:?}, true: {:?}", truth.get(key)));
    lost.chain(wrong).take(20).collect()
}
