//! One candle: trades of a window in, open, high, low, close and exact sums out.
//!
//! - The order of arrival does not matter. (`order_and_duplicates_do_not_matter`)
//! - A candle merged from shorter ones equals the one built directly. (`rolled_up_candles_equal_direct_ones`)

use crate::{
    decimal::{BaseSum, Quantities, QuoteSum, ratio},
    trade::Trade,
};

/// The trades of one window, folded. Holds at least one trade.
#[derive(Debug, Clone, PartialEq)]
pub struct Candle {
    /// First trade by (time, id).
    first: Edge,
    /// Last trade by (time, id).
    last: Edge,
    high: f64,
    low: f64,
    volume: BaseSum,
    buy_volume: BaseSum,
    quote_volume: QuoteSum,
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Edge {
    order: (i64, i64),
    price: f64,
}

/// The numbers of a candle as they are written: each exact value rounded once to the nearest double.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CandleValues {
    /// Price of the first trade by (time, id), in quote currency.
    pub open: f64,
    /// Highest price.
    pub high: f64,
    /// Lowest price.
    pub low: f64,
    /// Price of the last trade by (time, id).
    pub close: f64,
    /// Sum of |amount|, in base currency.
    pub volume: f64,
    /// Sum of price * |amount|, in quote currency.
    pub quote_volume: f64,
    /// The part of `volume` where the taker bought.
    pub buy_volume: f64,
    /// Volume-weighted average price: `quote_volume / volume`.
    pub vwap: f64,
    /// Number of trades.
    pub count: u64,
}

impl Candle {
    /// A candle of one trade; `quantities` are those of the same trade.
    pub fn new(trade: &Trade, quantities: &Quantities) -> Self {
        let edge = Edge { order: trade.order(), price: trade.price };
        let mut candle = Self {
            first: edge,
            last: edge,
            high: trade.price,
            low: trade.price,
            volume: BaseSum::default(),
            buy_volume: BaseSum::default(),
            quote_volume: QuoteSum::default(),
            count: 0,
        };
        candle.sum(trade, quantities);
        candle
    }

    /// Adds a trade, in any order. Whether it is there already is the caller's to know.
    pub fn add(&mut self, trade: &Trade, quantities: &Quantities) {
        let edge = Edge { order: trade.order(), price: trade.price };
        self.stretch(edge, edge, trade.price, trade.price);
        self.sum(trade, quantities);
    }

    /// Adds the trades of another candle, of a window inside this one's.
    pub fn merge(&mut self, other: &Self) {
        self.stretch(other.first, other.last, other.high, other.low);
        self.volume.merge(&other.volume);
        self.buy_volume.merge(&other.buy_volume);
        self.quote_volume.merge(&other.quote_volume);
        self.count += other.count;
    }

    /// The numbers to write.
    pub fn values(&self) -> CandleValues {
        CandleValues {
            open: self.first.price,
            high: self.high,
            low: self.low,
            close: self.last.price,
            volume: self.volume.to_f64(),
            quote_volume: self.quote_volume.to_f64(),
            buy_volume: self.buy_volume.to_f64(),
            vwap: ratio(&self.quote_volume, &self.volume),
            count: self.count,
        }
    }

    /// Number of trades.
    pub fn count(&self) -> u64 {
        self.count
    }

    fn stretch(&mut self, first: Edge, last: Edge, high: f64, low: f64) {
        if first.order < self.first.order {
            self.first = first;
        }
        if last.order > self.last.order {
            self.last = last;
        }
        self.high = self.high.max(high);
        self.low = self.low.min(low);
    }

    fn sum(&mut self, trade: &Trade, quantities: &Quantities) {
        self.volume.add(&quantities.base);
        if trade.amount > 0.0 {
            self.buy_volume.add(&quantities.base);
        }
        self.quote_volume.add(&quantities.quote);
        self.count += 1;
    }
}
