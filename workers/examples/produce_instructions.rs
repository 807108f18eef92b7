//! The producer's work on one `te` frame, without socket and client. For counting instructions: run under callgrind
//! with two counts, and divide the difference.
//!
//! `produce_instructions STAGE COUNT`, stages: `make` (the frames
//! alone, to subtract from `all`), `parse` (text to row), `encode` (and to record value), `all` (sequence
//! check, route, feed and record value: everything between socket and client).

use std::time::Instant;

use candles_core::{avro::TradeEncoder, symbol::Symbol, trade::Trade};
use candles_workers::{
    exchange::{
        FeedEvent, Stage,
        bitfinex::{
            frame::{Frame, parse},
            protocol::{Output, Protocol},
        },
    },
    producer::feed::{Effect, Feed},
};

const FRAMES: usize = 4_096;
const START_MS: i64 = 1_767_225_600_000;

fn main() {
    let argument = |n: usize| std::env::args().nth(n);
    let stage = argument(1).unwrap_or_else(|| "all".to_owned());
    let count: usize = argument(2).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let bytes = match stage.as_str() {
        "make" => (0..count).map(|nth| frame(nth, nth + 1).len()).sum(),
        "all" => everything(count),
        _ => parse_and_encode(count, stage == "encode"),
    };
    println!("{stage}: {count} frames, {bytes} bytes");
}

/// Frames as the simulator sends them, with the sequence numbers from `first`.
fn frame(nth: usize, sequence: usize) -> String {
    let (id, ms) = (400_000_000 + nth * 3, START_MS + nth as i64);
    format!(
        r#"[200017,"te",[{id},{ms},{}0.{:08},{}.{}],{sequence},{}]"#,
        if nth.is_multiple_of(2) { "" } else { "-" },
        10_000 + nth * 7919 % 90_000_000,
        60_000 + nth % 500,
        nth % 10,
        ms + 3,
    )
}

fn parse_and_encode(count: usize, encode: bool) -> usize {
    let frames: Vec<String> = (0..FRAMES).map(|i| frame(i, i + 1)).collect();
    let encoder = TradeEncoder::new(1, "bitfinex", "tBTCUSD");
    let (mut value, mut bytes) = (Vec::new(), 0);
    for nth in 0..count {
        let Ok(Frame::Trade { row: Ok(row), .. }) = parse(&frames[nth % FRAMES]) else { return 0 };
        bytes += row.id as usize & 1;
        if encode {
            let trade = Trade {
                id: row.id,
                time_ms: row.time_ms,
                price: row.price,
                amount: row.amount,
                received_us: 7,
            };
            encoder.encode(&trade, &mut value);
            bytes += value.len();
        }
    }
    bytes
}

fn everything(count: usize) -> usize {
    let now = Instant::now();
    let symbols = [(0, Symbol::new("tBTCUSD").expect("a symbol"))];
    let (mut protocol, mut out) = (Protocol::new(0, &symbols, now), Output::default());
    for text in [
        r#"{"event":"info","version":2,"platform":{"status":1}}"#,
        r#"{"event":"conf","status":"OK","flags":98304}"#,
        r#"{"event":"subscribed","channel":"trades","chanId":200017,"symbol":"tBTCUSD"}"#,
    ] {
        protocol.on_text(text, 7, now, &mut out);
    }
    let (mut feed, mut effects) = (Feed::new(60_000, true), Vec::new());
    // A snapshot from long ago: live at once.
    let old = Trade { id: 1, time_ms: START_MS - 100_000, price: 1.0, amount: 1.0, received_us: 0 };
    feed.on_snapshot(vec![old], START_MS, &mut effects);
    effects.clear();
    let encoder = TradeEncoder::new(1, "bitfinex", "tBTCUSD");
    let (mut value, mut bytes, mut nth) = (Vec::new(), 0, 0);
    while nth < count {
        let frames: Vec<String> = (nth..(nth + FRAMES).min(count)).map(|i| frame(i, i + 1)).collect();
        for text in &frames {
            protocol.on_text(text, 7, now, &mut out);
            for event in out.events.drain(..) {
                if let FeedEvent::Trade { stage: Stage::Executed, trade, server_ms, .. } = event {
                    feed.on_trade(Stage::Executed, trade, server_ms, &mut effects);
                }
            }
            for effect in effects.drain(..) {
                if let Effect::Publish(trade, _) = effect {
                    encoder.encode(&trade, &mut value);
                    bytes += value.len();
                }
            }
        }
        nth += frames.len();
    }
    bytes
}
