//! The producer's hot path in nanoseconds: parsing a frame, encoding a record. Nothing is asserted on time.

#![allow(missing_docs, reason = "criterion's macro makes a function")]

use std::hint::black_box;

use candles_core::{avro::TradeEncoder, trade::Trade};
use candles_workers::exchange::bitfinex::frame::{parse, rows};
use criterion::{Criterion, criterion_group, criterion_main};

const EXECUTED: &str =
    r#"[200017,"te",[382489563,1564617600709,0.00705845,10087.98969503],18,1564617600784]"#;
const HEARTBEAT: &str = r#"[200017,"hb",19,1564617600784]"#;
/// With a field that the fast path does not know.
const UNUSUAL: &str =
    r#"[200017,"te",[382489563,1564617600709,0.00705845,10087.98969503,null],18,1564617600784]"#;

fn frames(criterion: &mut Criterion) {
    for (name, text) in [("te", EXECUTED), ("hb", HEARTBEAT), ("te_with_a_new_field", UNUSUAL)] {
        criterion.bench_function(&format!("parse/{name}"), |b| b.iter(|| parse(black_box(text))));
    }
    let row = "[382489563,1564617600709,0.00705845,10087.98969503]";
    let page = format!("[{}]", vec![row; 1_000].join(","));
    criterion.bench_function("parse/page_of_1000", |b| b.iter(|| rows(black_box(&page))));
}

fn records(criterion: &mut Criterion) {
    let encoder = TradeEncoder::new(1, "bitfinex", "tBTCUSD");
    let trade = Trade {
        id: 382_489_563,
        time_ms: 1_564_617_600_709,
        price: 10_087.989_695_03,
        amount: 0.007_058_45,
        received_us: 1_564_617_600_790_000,
    };
    let mut value = Vec::new();
    criterion.bench_function("encode/trade", |b| b.iter(|| encoder.encode(black_box(&trade), &mut value)));
}

criterion_group!(benches, frames, records);
criterion_main!(benches);
