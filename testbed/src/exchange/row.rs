//! One trade as the exchange knows it, and its wire text `[ID,MTS,AMOUNT,PRICE]`.

use std::fmt::Write as _;
use std::sync::Arc;

use super::decimal::Dec;

/// A number of a trade: computed, or text that a test handed in and that is served untouched.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Num {
    Dec(Dec),
    Text(Arc<str>),
}

impl Num {
    pub fn write_to(&self, out: &mut String) {
        match self {
            Self::Dec(d) => d.write_to(out),
            Self::Text(t) => out.push_str(t),
        }
    }

    pub fn text(&self) -> String {
        let mut out = String::with_capacity(16);
        self.write_to(&mut out);
        out
    }

    pub fn dec(&self) -> Option<Dec> {
        match self {
            Self::Dec(d) => Some(*d),
            Self::Text(t) => Dec::parse(t),
        }
    }
}

/// A trade. `arrival_ms` is when its `te` is due: `ms`, or a few ms later where arrivals swap.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    pub id: i64,
    pub ms: i64,
    pub arrival_ms: i64,
    pub amount: Num,
    pub price: Num,
}

impl Row {
    pub fn key(&self) -> (i64, i64) {
        (self.ms, self.id)
    }

    /// `[ID,MTS,AMOUNT,PRICE` + `extra` + `]`.
    pub fn write_to(&self, extra: &str, out: &mut String) {
        let mut buffer = itoa::Buffer::new();
        out.push('[');
        out.push_str(buffer.format(self.id));
        out.push(',');
        out.push_str(buffer.format(self.ms));
        out.push(',');
        self.amount.write_to(out);
        out.push(',');
        self.price.write_to(out);
        out.push_str(extra);
        out.push(']');
    }

    pub fn text(&self, extra: &str) -> Arc<str> {
        let mut out = String::with_capacity(56);
        self.write_to(extra, &mut out);
        out.into()
    }
}

/// `[row,row,..]`, each with `extra` appended.
pub(crate) fn rows_text(rows: &[Row], extra: &str) -> String {
    let mut out = String::with_capacity(2 + rows.len() * 56);
    out.push('[');
    for (i, row) in rows.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        row.write_to(extra, &mut out);
    }
    out.push(']');
    out
}

/// A trade that a caller makes happen by hand ([`super::Simulator::publish`]).
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewTrade {
    /// Absent: the next id of the exchange at that time.
    pub id: Option<i64>,
    /// Exchange time of the trade in ms; absent: now. May lie in the past (a late trade).
    pub ms: Option<i64>,
    /// JSON number text, served untouched.
    pub price: String,
    /// JSON number text, negative for a taker who sold; served untouched.
    pub amount: String,
}

impl NewTrade {
    /// A trade of `amount` at `price`, now, with the next id.
    pub fn new(price: &str, amount: &str) -> Self {
        Self { id: None, ms: None, price: price.into(), amount: amount.into() }
    }

    /// The same trade at exchange time `ms`.
    #[must_use]
    pub fn at_ms(mut self, ms: i64) -> Self {
        self.ms = Some(ms);
        self
    }

    /// The same trade with this id.
    #[must_use]
    pub fn id(mut self, id: i64) -> Self {
        self.id = Some(id);
        self
    }
}

/// Price and amount as wire numbers; the error names the field that is not a number's text.
pub(crate) fn numbers_of(trade: &NewTrade) -> Result<(Num, Num), String> {
    let num = |name: &str, text: &str| {
        let legal = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        if text.is_empty() || text.len() > 64 || !text.chars().all(legal) {
            let mut message = String::new();
            let _ = write!(message, "{name}: {text:?} is not a number's text of at most 64 characters");
            return Err(message);
        }
        Ok(Num::Text(text.into()))
    };
    Ok((num("price", &trade.price)?, num("amount", &trade.amount)?))
}
