//! Candles from the exchange's own account of what happened, by decimal arithmetic.

use std::collections::BTreeMap;
use std::fmt;

use bigdecimal::{BigDecimal, Zero as _};

use crate::exchange::TrueTrade;

/// One candle's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Window {
    /// Symbol.
    pub symbol: String,
    /// Length, ms.
    pub length_ms: i64,
    /// Start, ms.
    pub start_ms: i64,
}

impl Window {
    /// First ms after it.
    pub fn end_ms(&self) -> i64 {
        self.start_ms + self.length_ms
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} s at {}", self.symbol, self.length_ms / 1_000, self.start_ms)
    }
}

/// The numbers of a candle.
#[derive(Debug, Clone, Copy, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of every candle")]
pub struct Candle {
    pub open: f64,
    pub high: f64,
    pub low: f64,
    pub close: f64,
    pub volume: f64,
    pub quote_volume: f64,
    pub buy_volume: f64,
    pub vwap: f64,
    pub count: u64,
}

impl Candle {
    /// Open, high, low, close and volume.
    pub fn ohlcv(&self) -> [f64; 5] {
        [self.open, self.high, self.low, self.close, self.volume]
    }
}

/// Candles by place.
pub type Candles = BTreeMap<Window, Candle>;

/// The candles of every window that has a trade. Lengths divide a day, so that windows start at multiples of them.
pub fn candles(truth: &[TrueTrade], lengths_ms: &[i64]) -> Candles {
    let mut windows: BTreeMap<Window, Vec<&TrueTrade>> = BTreeMap::new();
    for trade in truth {
        for &length_ms in lengths_ms {
            let start_ms = trade.ms - trade.ms.rem_euclid(length_ms);
            let window = Window { symbol: trade.symbol.clone(), length_ms, start_ms };
            windows.entry(window).or_default().push(trade);
        }
    }
    windows.into_iter().map(|(window, trades)| (window, fold(trades))).collect()
}

fn fold(mut trades: Vec<&TrueTrade>) -> Candle {
    trades.sort_by_key(|trade| (trade.ms, trade.id));
    let price = |trade: &TrueTrade| number(&trade.price);
    let mut candle = Candle {
        open: price(trades[0]),
        high: f64::MIN,
        low: f64::MAX,
        close: price(trades[trades.len() - 1]),
        volume: 0.0,
        quote_volume: 0.0,
        buy_volume: 0.0,
        vwap: 0.0,
        count: trades.len() as u64,
    };
    let (mut base, mut quote, mut bought) = (BigDecimal::zero(), BigDecimal::zero(), BigDecimal::zero());
    for trade in trades {
        candle.high = candle.high.max(price(trade));
        candle.low = candle.low.min(price(trade));
        let (exact, amount) = (decimal(&trade.price), decimal(&trade.amount));
        if amount > BigDecimal::zero() {
            bought += &amount;
        }
        quote += exact * amount.abs();
        base += amount.abs();
    }
    candle.vwap = if base.is_zero() { 0.0 } else { nearest(&(&quote / &base)) };
    candle.volume = nearest(&base);
    candle.quote_volume = nearest(&quote);
    candle.buy_volume = nearest(&bought);
    candle
}

/// Whether a trade is stored with these numbers: time, price, amount.
pub fn same(trade: &TrueTrade, (ms, price, amount): (i64, f64, f64)) -> bool {
    trade.ms == ms && number(&trade.price) == price && number(&trade.amount) == amount
}

fn number(text: &str) -> f64 {
    text.parse().unwrap_or(f64::NAN)
}

fn decimal(text: &str) -> BigDecimal {
    // Not a number: then no candle equals this one.
    text.parse().unwrap_or_else(|_| BigDecimal::from(i64::MAX))
}

fn nearest(decimal: &BigDecimal) -> f64 {
    number(&decimal.to_string())
}
