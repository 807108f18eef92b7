//! The trade: what the exchange said, checked once, small enough to copy.

/// One public trade. Its symbol and exchange travel beside it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Trade {
    /// Id of the exchange, unique per exchange and symbol, never negative. Not dense.
    pub id: i64,
    /// Event time: when the exchange executed it, in ms since 1970-01-01 UTC by the exchange's clock.
    pub time_ms: i64,
    /// Price in quote currency, greater than 0: the double nearest to the exchange's decimal.
    pub price: f64,
    /// Amount in base currency, not 0: positive when the taker bought, negative when the taker sold.
    pub amount: f64,
    /// When the producer received it, in microseconds since 1970-01-01 UTC by the producer's clock.
    pub received_us: i64,
}

/// A trade with the exchange and the symbol it belongs to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TradeRecord<'a> {
    /// Exchange, for example `bitfinex`.
    pub exchange: &'a str,
    /// Symbol as the exchange writes it, for example `tBTCUSD`. Unchecked.
    pub symbol: &'a str,
    /// The trade itself.
    pub trade: Trade,
}

/// 2009-01-01: no crypto trade is older.
pub const TIME_MS_MIN: i64 = 1_230_768_000_000;
/// 2100-01-01.
pub const TIME_MS_MAX: i64 = 4_102_444_800_000;

/// Why a trade cannot be true. One such trade would spoil a candle, or every watermark after it.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum InvalidTrade {
    /// Zero, negative or not finite: it would become the low of its candle (ccxt issue 26946).
    #[error("price {0} is not a finite number above 0")]
    Price(f64),
    /// Zero or not finite.
    #[error("amount {0} is not a finite number other than 0")]
    Amount(f64),
    /// Negative.
    #[error("id {0} is negative")]
    Id(i64),
    /// Outside [`TIME_MS_MIN`]`..`[`TIME_MS_MAX`].
    #[error("time {0} ms is not between 2009 and 2100")]
    Time(i64),
}

impl Trade {
    /// Where two trades of one symbol stand: candles open and close by this order.
    pub fn order(&self) -> (i64, i64) {
        (self.time_ms, self.id)
    }

    /// Refuses what cannot be true by itself. Whether the time fits the moment is the producer's to say.
    pub fn check(&self) -> Result<(), InvalidTrade> {
        if !(self.price.is_finite() && self.price > 0.0) {
            return Err(InvalidTrade::Price(self.price));
        }
        if !self.amount.is_finite() || self.amount == 0.0 {
            return Err(InvalidTrade::Amount(self.amount));
        }
        if self.id < 0 {
            return Err(InvalidTrade::Id(self.id));
        }
        if !(TIME_MS_MIN..TIME_MS_MAX).contains(&self.time_ms) {
            return Err(InvalidTrade::Time(self.time_ms));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Trade =
        Trade { id: 1, time_ms: 1_570_752_011_620, price: 2e-8, amount: -1.5, received_us: 0 };

    #[test]
    fn rejects_what_cannot_be_true() {
        assert_eq!(GOOD.check(), Ok(()));
        let bad = [
            Trade { price: 0.0, ..GOOD },
            Trade { price: -1.0, ..GOOD },
            Trade { price: f64::INFINITY, ..GOOD },
            Trade { amount: 0.0, ..GOOD },
            Trade { amount: f64::NAN, ..GOOD },
            Trade { id: -1, ..GOOD },
            Trade { time_ms: 0, ..GOOD },
            Trade { time_ms: i64::MAX, ..GOOD },
        ];
        for trade in bad {
            assert!(trade.check().is_err(), "{trade:?}");
        }
    }
}
