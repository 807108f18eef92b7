//! The recorded trades and candles of `binance-xrp-eth`, as truth.

use std::collections::BTreeMap;
use std::io::BufReader;
use std::path::PathBuf;

use candles_core::trade::Trade;

pub const SYMBOL: &str = "tXRPETH";
/// First window of the recording.
pub const START_MS: i64 = 1_570_752_000_000;
/// After its last window.
pub const END_MS: i64 = 1_570_965_600_000;

pub fn data(path: &str) -> PathBuf {
    let folder = std::env::var_os("CANDLES_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    folder.join(path)
}

/// Rows `[ms, id, null, side, price, amount, cost]`.
pub fn trades() -> Vec<Trade> {
    type Line = (i64, String, Option<()>, String, f64, f64, f64);
    let file = std::fs::File::open(data("binance-xrp-eth/trades.json.gz")).unwrap();
    let lines: Vec<Line> =
        serde_json::from_reader(BufReader::new(flate2::read::GzDecoder::new(file))).unwrap();
    let trade = |(time_ms, id, _, side, price, amount, _): Line| {
        let id = id.parse().unwrap();
        let amount = if side == "buy" { amount } else { -amount };
        Trade { id, time_ms, price, amount, received_us: 0 }
    };
    lines.into_iter().map(trade).collect()
}

/// Recorded candles of `1m` or `5m`, which carry no count.
pub fn candles(interval: &str) -> BTreeMap<i64, [f64; 5]> {
    let text = std::fs::read_to_string(data(&format!("binance-xrp-eth/candles_{interval}.csv"))).unwrap();
    let row = |line: &str| {
        let (start, rest) = line.split_once(',').unwrap();
        let values: Vec<f64> = rest.split(',').map(|text| text.parse().unwrap()).collect();
        (start.parse().unwrap(), values.try_into().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

/// Candles of any whole number of minutes, by sorting and folding the recorded trades. Amounts of this recording are
/// whole numbers, so that plain sums are exact.
pub fn folded(minutes: i64) -> BTreeMap<i64, ([f64; 5], u64)> {
    let mut trades = trades();
    trades.sort_by_key(Trade::order);
    let mut candles: BTreeMap<i64, ([f64; 5], u64)> = BTreeMap::new();
    for trade in trades {
        let start_ms = trade.time_ms - trade.time_ms % (minutes * 60_000);
        let ([_, high, low, close, volume], count) =
            candles.entry(start_ms).or_insert(([trade.price, trade.price, trade.price, trade.price, 0.0], 0));
        *high = high.max(trade.price);
        *low = low.min(trade.price);
        *close = trade.price;
        *volume += trade.amount.abs();
        *count += 1;
    }
    candles
}

#[test]
#[allow(clippy::unreadable_literal, reason = "prices as recorded")]
fn folding_gives_the_golden_values_of_the_recording() {
    let two = folded(2);
    assert_eq!(two.len(), 1_573);
    assert_eq!(
        two.first_key_value().unwrap(),
        (&1_570_752_000_000, &([0.00141342, 0.00141658, 0.00141266, 0.00141658, 2004.0], 12))
    );
    assert_eq!(
        two.last_key_value().unwrap(),
        (&1_570_965_480_000, &([0.0015256, 0.00152871, 0.0015256, 0.00152787, 4427.0], 10))
    );
}
