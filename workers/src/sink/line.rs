//! Trades and candles in, lines of InfluxDB's line protocol out, appended to a caller's buffer.
//!
//! All that never changes (measurement, tags, field names) is escaped once. Types are fixed by the code: numbers are
//! floats, ids and counts integers.
//!
//! - No symbol and no name can end a line or leave its place. (`lines_read_back_as_written`)
//! - A trade's point is the same whenever it is written: time = ms * 10^6 + id mod 10^6. (`trade_is_one_line`)

use std::io::Write as _;

use candles_core::{
    builder::LiveState,
    candle::CandleValues,
    config::{CandlePoints, PointName, TradePoints},
    interval::Interval,
    symbol::Symbol,
    trade::Trade,
};

const NS_PER_MS: i64 = 1_000_000;
/// Doubles up to here with at most 8 decimals are written as fixed point.
const FIXED_MAX: f64 = 1e15;
const FIXED_SCALE: f64 = 1e8;
const FIXED_UNIT: u64 = 100_000_000;

/// Writes the raw points of one symbol.
#[derive(Debug, Clone)]
pub struct TradeLines {
    /// `measurement,tag=symbol price=`
    head: Box<[u8]>,
    /// `,amount=`
    amount: Box<[u8]>,
    /// `,id=`
    id: Box<[u8]>,
}

impl TradeLines {
    /// With the configured names.
    pub fn new(names: &TradePoints, symbol: &Symbol) -> Self {
        let mut head = series(&names.measurement, &[(&names.symbol_tag, symbol.as_str())]);
        head.push(b' ');
        escape(&mut head, names.price_field.as_str(), KEY);
        head.push(b'=');
        Self { head: head.into(), amount: field(b',', &names.amount_field), id: field(b',', &names.id_field) }
    }

    /// Appends the point of `trade` and a newline.
    pub fn write(&self, trade: &Trade, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.head);
        float(out, trade.price);
        out.extend_from_slice(&self.amount);
        float(out, trade.amount);
        out.extend_from_slice(&self.id);
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(trade.id).as_bytes());
        out.extend_from_slice(b"i ");
        let time_ns = trade.time_ms * NS_PER_MS + trade.id.rem_euclid(NS_PER_MS);
        out.extend_from_slice(digits.format(time_ns).as_bytes());
        out.push(b'\n');
    }
}

/// Writes the points of candles, final and live.
#[derive(Debug, Clone)]
pub struct CandleLines {
    names: CandlePoints,
}

impl CandleLines {
    /// With the configured names.
    pub fn new(names: &CandlePoints) -> Self {
        Self { names: names.clone() }
    }

    /// Appends the point of a final candle and a newline.
    pub fn write_final(
        &self,
        symbol: &Symbol,
        interval: Interval,
        start_ms: i64,
        v: &CandleValues,
        out: &mut Vec<u8>,
    ) {
        self.write(&self.names.measurement, symbol, interval, v, out);
        end(start_ms, out);
    }

    /// Appends the point of a forming or incomplete candle and a newline.
    pub fn write_live(
        &self,
        symbol: &Symbol,
        interval: Interval,
        start_ms: i64,
        values: &CandleValues,
        state: LiveState,
        out: &mut Vec<u8>,
    ) {
        self.write(&self.names.live_measurement, symbol, interval, values, out);
        out.push(b',');
        escape(out, self.names.fields.state.as_str(), KEY);
        out.extend_from_slice(match state {
            LiveState::Forming => b"=\"forming\"",
            LiveState::Incomplete => b"=\"incomplete\"",
        });
        end(start_ms, out);
    }

    fn write(
        &self,
        measurement: &PointName,
        symbol: &Symbol,
        interval: Interval,
        v: &CandleValues,
        out: &mut Vec<u8>,
    ) {
        let names = &self.names;
        let interval = interval.to_string();
        out.extend(series(
            measurement,
            &[(&names.symbol_tag, symbol.as_str()), (&names.interval_tag, &interval)],
        ));
        let fields = &names.fields;
        let floats = [
            (&fields.open, v.open),
            (&fields.high, v.high),
            (&fields.low, v.low),
            (&fields.close, v.close),
            (&fields.volume, v.volume),
            (&fields.quote_volume, v.quote_volume),
            (&fields.buy_volume, v.buy_volume),
            (&fields.vwap, v.vwap),
        ];
        let mut separator = b' ';
        for (name, value) in floats {
            out.push(separator);
            separator = b',';
            escape(out, name.as_str(), KEY);
            out.push(b'=');
            float(out, value);
        }
        out.push(separator);
        escape(out, fields.count.as_str(), KEY);
        write!(out, "={}i", v.count).expect("writing to memory");
    }
}

fn end(start_ms: i64, out: &mut Vec<u8>) {
    writeln!(out, " {}", start_ms * NS_PER_MS).expect("writing to memory");
}

/// `measurement,tag=value,...`
fn series(measurement: &PointName, tags: &[(&PointName, &str)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    escape(&mut out, measurement.as_str(), MEASUREMENT);
    for (name, value) in tags {
        out.push(b',');
        escape(&mut out, name.as_str(), KEY);
        out.push(b'=');
        escape(&mut out, value, KEY);
    }
    out
}

fn field(separator: u8, name: &PointName) -> Box<[u8]> {
    let mut out = vec![separator];
    escape(&mut out, name.as_str(), KEY);
    out.push(b'=');
    out.into()
}

/// Characters that a measurement escapes.
const MEASUREMENT: &[u8] = b", ";
/// Characters that tag keys, tag values and field keys escape.
const KEY: &[u8] = b", =";

/// `PointName` and `Symbol` hold neither control characters nor backslashes, so nothing else can end a place.
fn escape(out: &mut Vec<u8>, text: &str, special: &[u8]) {
    for &byte in text.as_bytes() {
        if special.contains(&byte) {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

/// The shortest text that reads as `x`. Prices and amounts of exchanges take the cheap way: up to 15 digits, up to 8
/// of them decimals.
fn float(out: &mut Vec<u8>, x: f64) {
    let scaled = x * FIXED_SCALE;
    let units = (scaled + 0.5_f64.copysign(scaled)) as i64;
    if scaled.abs() < FIXED_MAX && units as f64 / FIXED_SCALE == x {
        fixed(out, units);
    } else {
        out.extend_from_slice(ryu::Buffer::new().format(x).as_bytes());
    }
}

fn fixed(out: &mut Vec<u8>, units: i64) {
    if units < 0 {
        out.push(b'-');
    }
    let units = units.unsigned_abs();
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(units / FIXED_UNIT).as_bytes());
    let decimals = (units % FIXED_UNIT) as u32;
    if decimals != 0 {
        // The digit before the decimals keeps their leading zeros, and gives its place to the point.
        let text = digits.format(FIXED_UNIT as u32 + decimals).trim_end_matches('0').as_bytes();
        out.push(b'.');
        out.extend_from_slice(&text[1..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> PointName {
        text.to_owned().try_into().unwrap()
    }

    fn symbol() -> Symbol {
        Symbol::new("tAVAX:USD").unwrap()
    }

    const TRADE: Trade = Trade {
        id: 382_489_563,
        time_ms: 1_564_617_600_709,
        price: 10_087.989_695_03,
        amount: -0.00705845,
        received_us: 0,
    };

    fn line(names: &TradePoints, trade: &Trade) -> String {
        let mut out = Vec::new();
        TradeLines::new(names, &symbol()).write(trade, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn trade_is_one_line() {
        assert_eq!(
            line(&TradePoints::default(), &TRADE),
            "trades,symbol=tAVAX:USD price=10087.98969503,amount=-0.00705845,id=382489563i 1564617600709489563\n"
        );
        let original = TradePoints {
            measurement: name("criptomonedas666"),
            symbol_tag: name("Coin"),
            price_field: name("close_price"),
            ..TradePoints::default()
        };
        assert!(
            line(&original, &TRADE)
                .starts_with("criptomonedas666,Coin=tAVAX:USD close_price=10087.98969503,")
        );
    }

    #[test]
    fn candles_are_lines_of_their_own_measurements() {
        let values = CandleValues {
            open: 1.0,
            high: 2.5,
            low: 2e-8,
            close: 1e21,
            volume: 2004.0,
            quote_volume: 1e-9,
            buy_volume: 0.0,
            vwap: 0.1,
            count: 12,
        };
        let lines = CandleLines::new(&CandlePoints::default());
        let interval = "2m".parse().unwrap();
        let mut out = Vec::new();
        lines.write_final(&symbol(), interval, 1_570_752_000_000, &values, &mut out);
        lines.write_live(&symbol(), interval, 1_570_752_000_000, &values, LiveState::Incomplete, &mut out);
        let numbers = "open=1,high=2.5,low=0.00000002,close=1e21,volume=2004,quote_volume=1e-9,buy_volume=0,vwap=0.1,count=12i";
        let tags = "symbol=tAVAX:USD,interval=2m";
        assert_eq!(
            String::from_utf8(out).unwrap(),
            format!(
                "candles,{tags} {numbers} 1570752000000000000\n\
                 candles_live,{tags} {numbers},state=\"incomplete\" 1570752000000000000\n"
            )
        );
    }

    proptest! {
        #[test]
        fn floats_read_back_bit_for_bit(x in prop_oneof![
            any::<f64>().prop_filter("finite", |x| x.is_finite()),
            (any::<i32>(), 0..9_i32).prop_map(|(n, d)| f64::from(n) / 10_f64.powi(d)),
        ]) {
            let mut out = Vec::new();
            float(&mut out, x);
            let text = String::from_utf8(out).unwrap();
            prop_assert_eq!(text.parse::<f64>().unwrap(), x, "{}", text);
        }

        /// A reader that knows only the escaping rules finds the same parts again.
        #[test]
        fn lines_read_back_as_written(
            measurement in "[a-z ,=\"é$(){}]{1,12}", tag in "[a-z ,=\"é]{1,12}", field in "[a-z ,=\"é]{1,12}",
        ) {
            let names = TradePoints {
                measurement: name(&measurement),
                symbol_tag: name(&tag),
                price_field: name(&field),
                ..TradePoints::default()
            };
            let line = line(&names, &TRADE);
            prop_assert_eq!(line.matches('\n').count(), 1);
            let parts = split(line.trim_end(), ' ');
            prop_assert_eq!(parts.len(), 3, "{}", line);
            let key = split(&parts[0], ',');
            prop_assert_eq!(unescape(&key[0]), measurement);
            prop_assert_eq!(split(&key[1], '=').iter().map(|s| unescape(s)).collect::<Vec<_>>(), [tag, symbol().to_string()]);
            let fields = split(&parts[1], ',');
            prop_assert_eq!(fields.len(), 3);
            prop_assert_eq!(unescape(&split(&fields[0], '=')[0]), field);
        }
    }

    /// Splits at separators without a backslash before them.
    fn split(text: &str, separator: char) -> Vec<String> {
        let mut parts = vec![String::new()];
        let mut escaped = false;
        for c in text.chars() {
            if c == separator && !escaped {
                parts.push(String::new());
            } else {
                parts.last_mut().unwrap().push(c);
            }
            escaped = c == '\\' && !escaped;
        }
        parts
    }

    fn unescape(text: &str) -> String {
        text.replace("\\ ", " ").replace("\\,", ",").replace("\\=", "=")
    }
}
