//! The consumer's hot path in nanoseconds: decode, candles of four intervals, line of the raw point.
//! `cargo bench -p candles-workers --bench consumer`. Prints; asserts nothing.

#![allow(missing_docs, reason = "criterion's macro makes a function")]

use std::hint::black_box;

use candles_core::{
    avro::{self, TRADE_SCHEMA_JSON, TradeEncoder, TradeSchema},
    builder::Builder,
    checkpoint::Settings,
    config::TradePoints,
    symbol::Symbol,
    trade::Trade,
};
use candles_workers::sink::line::TradeLines;
use criterion::{Criterion, criterion_group, criterion_main};

const SYMBOL: &str = "tBTCUSD";

/// The `i`-th trade of a market that trades a thousand times a second.
fn trade(i: i64) -> Trade {
    Trade {
        id: 1_000_000_000 + i * 3,
        time_ms: 1_767_225_600_000 + i,
        price: 60_000.0 + (i % 1_000) as f64 / 10.0,
        amount: (1 + i % 500) as f64 / 1e4,
        received_us: 1_767_225_600_000_000 + i * 1_000,
    }
}

fn decode(c: &mut Criterion) {
    let mut value = Vec::new();
    TradeEncoder::new(1, "bitfinex", SYMBOL).encode(&trade(0), &mut value);
    let schema = TradeSchema::parse(TRADE_SCHEMA_JSON).expect("our schema");
    c.bench_function("decode", |b| {
        b.iter(|| {
            let (_, body) = avro::split(black_box(&value)).expect("a header");
            schema.decode(body, |record| record.trade.id)
        });
    });
}

fn build(c: &mut Criterion) {
    let intervals = ["1m", "2m", "5m", "1h"].map(|text| text.parse().expect("an interval"));
    let mut builder = Builder::new(Settings { intervals: intervals.into(), lateness_ms: 10_000 }, 0);
    let mut i = 0;
    c.bench_function("builder, 4 intervals", |b| {
        b.iter(|| {
            i += 1;
            builder.trade(i, "bitfinex", SYMBOL, &trade(i), |closed| {
                black_box(closed.start_ms);
            })
        });
    });
}

fn line(c: &mut Criterion) {
    let lines = TradeLines::new(&TradePoints::default(), &Symbol::new(SYMBOL).expect("a symbol"));
    let (mut out, mut i) = (Vec::with_capacity(256), 0);
    c.bench_function("line", |b| {
        b.iter(|| {
            i += 1;
            out.clear();
            lines.write(&trade(i), &mut out);
            black_box(out.len())
        });
    });
}

criterion_group!(benches, decode, build, line);
criterion_main!(benches);
