//! What the database must hold, as the judge of the testbed computes it from the exchange's own account.

use std::collections::BTreeMap;

use candles_testbed::exchange::TrueTrade;
use candles_testbed::judge::truth;

/// Candles by (symbol, window start in ms): open, high, low, close, volume, and count.
pub type Candles = BTreeMap<(String, i64), ([f64; 5], u64)>;

/// The candles of windows of so many minutes that start in `from_ms..` and end in `..=to_ms`.
pub fn candles(trades: &[TrueTrade], minutes: i64, from_ms: i64, to_ms: i64) -> Candles {
    truth::candles(trades, &[minutes * 60_000])
        .into_iter()
        .filter(|(window, _)| window.start_ms >= from_ms && window.end_ms() <= to_ms)
        .map(|(window, candle)| ((window.symbol, window.start_ms), (candle.ohlcv(), candle.count)))
        .collect()
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
