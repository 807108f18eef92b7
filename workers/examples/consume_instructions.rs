//! The consumer's work on one trade, without clients: decode, candles of four intervals, line of the raw point.
//! For counting instructions: run under callgrind with two counts, and divide the difference.
//! `make instructions` does.

use candles_core::{
    avro::{self, TRADE_SCHEMA_JSON, TradeEncoder, TradeSchema},
    builder::Builder,
    checkpoint::Settings,
    config::TradePoints,
    symbol::Symbol,
    trade::Trade,
};
use candles_workers::sink::line::TradeLines;

const SYMBOLS: usize = 50;
/// Trades per encoded block, over all symbols: what is encoded once is decoded many times.
const BLOCK: usize = 10_000;

fn main() {
    let argument = |n: usize| std::env::args().nth(n);
    let stage = argument(1).unwrap_or_else(|| "all".to_owned());
    let count: usize = argument(2).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let names: Vec<Symbol> =
        (0..SYMBOLS).map(|i| Symbol::new(&format!("tAA{i:02}USD")).expect("a symbol")).collect();
    let values = encode(&names);
    let schema = TradeSchema::parse(TRADE_SCHEMA_JSON).expect("our schema");
    let intervals = ["1m", "2m", "5m", "1h"].map(|text| text.parse().expect("an interval"));
    let mut builder = Builder::new(Settings { intervals: intervals.into(), lateness_ms: 10_000 }, 0);
    let lines: Vec<TradeLines> =
        names.iter().map(|name| TradeLines::new(&TradePoints::default(), name)).collect();
    let (mut out, mut closed) = (Vec::with_capacity(1 << 20), 0_u64);
    for offset in 0..count {
        let (_, body) = avro::split(&values[offset % BLOCK]).expect("a header");
        let result = schema.decode(body, |record| {
            // A block later, the same trades are new ones.
            let round = (offset / BLOCK) as i64;
            let trade = Trade {
                id: record.trade.id + round * 1_000_000,
                time_ms: record.trade.time_ms + round * 500,
                ..record.trade
            };
            if stage != "decode" {
                builder.trade(offset as i64, record.exchange, record.symbol, &trade, |_| closed += 1);
            }
            if stage == "all" {
                lines[offset % SYMBOLS].write(&trade, &mut out);
            }
        });
        assert!(result.is_ok());
        if out.len() > 900_000 {
            out.clear();
        }
    }
    println!("{count} trades, {closed} windows closed");
}

fn encode(names: &[Symbol]) -> Vec<Vec<u8>> {
    let encoders: Vec<TradeEncoder> =
        names.iter().map(|name| TradeEncoder::new(1, "bitfinex", name.as_str())).collect();
    let encode = |i: usize| {
        let trade = Trade {
            id: 1_000_000_000 + i as i64 * 3,
            time_ms: 1_767_225_600_000 + i as i64 / 20,
            price: 60_000.0 + (i % 1_000) as f64 / 10.0,
            amount: (1 + i % 500) as f64 / 1e4,
            received_us: 1_767_225_600_000_000,
        };
        let mut value = Vec::new();
        encoders[i % SYMBOLS].encode(&trade, &mut value);
        value
    };
    (0..BLOCK).map(encode).collect()
}
