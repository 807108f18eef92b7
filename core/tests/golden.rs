//! Real trades of exchanges in, the candles that belong to them out, equal to the last bit.
//!
//! Data: `shared/data` beside the checkout, or the folder that `CANDLES_SHARED_DATA` names.

use std::{
    collections::BTreeMap,
    io::{BufReader, Read as _},
    path::PathBuf,
};

use candles_core::{
    builder::Builder,
    candle::{Candle, CandleValues},
    checkpoint::Settings,
    decimal::Quantities,
    interval::Interval,
    mark::Mark,
    trade::Trade,
};

const SYMBOL: &str = "tXRPETH";

fn data(path: &str) -> PathBuf {
    let folder = std::env::var_os("CANDLES_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let path = folder.join(path);
    assert!(
        path.exists(),
        "{} is missing; set CANDLES_SHARED_DATA to the folder of recordings",
        path.display()
    );
    path
}

/// Rows `[ms, id, null, side, price, amount, cost]`.
fn xrp_eth_trades() -> Vec<Trade> {
    type Row = (i64, String, Option<()>, String, f64, f64, f64);
    let file = std::fs::File::open(data("binance-xrp-eth/trades.json.gz")).unwrap();
    let rows: Vec<Row> = serde_json::from_reader(BufReader::new(flate2::read::GzDecoder::new(file))).unwrap();
    let trade = |(time_ms, id, _, side, price, amount, _): Row| {
        let id = id.parse().unwrap();
        let amount = if side == "buy" { amount } else { -amount };
        Trade { id, time_ms, price, amount, received_us: 0 }
    };
    rows.into_iter().map(trade).collect()
}

/// Final candles of `interval` by window start (ms).
fn candles(trades: &[Trade], interval: &str) -> BTreeMap<i64, CandleValues> {
    let settings = Settings { intervals: vec![interval.parse().unwrap()], lateness_ms: 10_000 };
    let mut builder = Builder::new(settings, 0);
    let mut candles = BTreeMap::new();
    let mut log = trades.iter().enumerate();
    let start_ms = trades.iter().map(|t| t.time_ms).min().unwrap();
    builder.mark(0, SYMBOL, Mark::From(start_ms - 86_400_000), |_| ());
    let mut closed = |closed: candles_core::builder::Closed<'_>| {
        assert!(closed.complete);
        let before = candles.insert(closed.start_ms, closed.candle.values());
        assert_eq!(before, None, "a final candle is written once");
    };
    for (offset, trade) in &mut log {
        builder.trade(offset as i64 + 1, "binance", SYMBOL, trade, &mut closed);
    }
    builder.mark(i64::MAX, SYMBOL, Mark::Until(4_000_000_000_000), &mut closed);
    candles
}

/// Rows `start_ms,open,high,low,close,volume`.
fn csv(path: &str) -> BTreeMap<i64, [f64; 5]> {
    let text = std::fs::read_to_string(data(path)).unwrap();
    let row = |line: &str| {
        let (start, rest) = line.split_once(',').unwrap();
        let values: Vec<f64> = rest.split(',').map(|text| text.parse().unwrap()).collect();
        (start.parse().unwrap(), values.try_into().unwrap())
    };
    text.lines().skip(1).map(row).collect()
}

fn ohlcv(values: &CandleValues) -> [f64; 5] {
    [values.open, values.high, values.low, values.close, values.volume]
}

#[test]
fn two_minute_candles_of_xrp_eth_equal_the_golden_ones() {
    let trades = xrp_eth_trades();
    assert_eq!(trades.len(), 12_477);
    let candles = candles(&trades, "2m");
    assert_eq!(candles.len(), 1_573);
    let (first, last) = (candles.first_key_value().unwrap(), candles.last_key_value().unwrap());
    assert_eq!(
        (*first.0, ohlcv(first.1), first.1.count),
        (1_570_752_000_000, [0.00141342, 0.00141658, 0.00141266, 0.00141658, 2004.0], 12)
    );
    assert_eq!(
        (*last.0, ohlcv(last.1), last.1.count),
        (1_570_965_480_000, [0.0015256, 0.00152871, 0.0015256, 0.00152787, 4427.0], 10)
    );
    assert_eq!(candles.values().map(|c| c.volume).sum::<f64>(), 5_545_735.0);
    assert_eq!(candles.values().map(|c| c.count).sum::<u64>(), 12_477);
}

#[test]
fn one_and_five_minute_candles_of_xrp_eth_equal_the_recorded_ones() {
    let trades = xrp_eth_trades();
    for (interval, file, rows) in
        [("1m", "binance-xrp-eth/candles_1m.csv", 2_469), ("5m", "binance-xrp-eth/candles_5m.csv", 706)]
    {
        let built: BTreeMap<i64, [f64; 5]> =
            candles(&trades, interval).iter().map(|(start, values)| (*start, ohlcv(values))).collect();
        let recorded = csv(file);
        assert_eq!(recorded.len(), rows);
        assert_eq!(built, recorded, "{interval}");
    }
}

/// Rows `ms_since_midnight,open,high,low,close,volume` with prices as decimals.
fn bars(path: &str) -> BTreeMap<i64, [f64; 5]> {
    let mut archive = zip::ZipArchive::new(std::fs::File::open(data(path)).unwrap()).unwrap();
    let mut text = String::new();
    archive.by_index(0).unwrap().read_to_string(&mut text).unwrap();
    let row = |line: &str| {
        let values: Vec<f64> = line.split(',').map(|text| text.trim().parse().unwrap()).collect();
        (values[0] as i64, values[1..].try_into().unwrap())
    };
    text.lines().map(row).collect()
}

/// A bar as the candle of four trades at its open, high, low and close; the volume is that of the first.
fn bar_candle(start_ms: i64, [open, high, low, close, volume]: [f64; 5]) -> Candle {
    let trade = |nth, price| Trade { id: nth, time_ms: start_ms + nth, price, amount: 1.0, received_us: 0 };
    let mut candle = Candle::new(&trade(0, open), &Quantities::new(open, volume));
    for (nth, price) in [(1, high), (2, low), (3, close)] {
        candle.add(&trade(nth, price), &Quantities::new(price, 0.0));
    }
    candle
}

#[test]
fn second_bars_of_coinbase_roll_up_to_its_minute_bars() {
    let minute: Interval = "1m".parse().unwrap();
    let mut minutes = 0;
    for day in ["20161007", "20161008", "20161009"] {
        let mut rolled: BTreeMap<i64, Candle> = BTreeMap::new();
        for (start_ms, bar) in bars(&format!("coinbase-btc-usd/second_{day}.zip")) {
            let second = bar_candle(start_ms, bar);
            rolled
                .entry(minute.window_start_ms(start_ms))
                .and_modify(|candle| candle.merge(&second))
                .or_insert(second);
        }
        let rolled: BTreeMap<i64, [f64; 5]> =
            rolled.iter().map(|(ms, c)| (*ms, ohlcv(&c.values()))).collect();
        let recorded = bars(&format!("coinbase-btc-usd/minute_{day}.zip"));
        assert_eq!(rolled, recorded, "{day}");
        minutes += recorded.len();
    }
    assert_eq!(minutes, 4_216);
}
