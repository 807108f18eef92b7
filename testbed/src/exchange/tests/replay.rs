//! Recordings: the frames verbatim, the trades of XRP/ETH as a market.

use serde_json::{Value, json};

use super::super::*;
use super::client::*;

/// Ms, id and the numbers of every recorded trade.
fn recorded() -> Vec<(i64, String, bool, f64, f64)> {
    let file = std::fs::File::open(shared_data("binance-xrp-eth/trades.json.gz")).unwrap();
    let rows: Vec<Value> = serde_json::from_reader(flate2::read::GzDecoder::new(file)).unwrap();
    let one = |r: &Value| {
        let sell = r[3] == "sell";
        (
            r[0].as_i64().unwrap(),
            r[1].as_str().unwrap().into(),
            sell,
            r[4].as_f64().unwrap(),
            r[5].as_f64().unwrap(),
        )
    };
    rows.iter().map(one).collect()
}

fn xrp(start_ms: i64, clock: ClockMode) -> SimConfig {
    let config = SimConfig { clock, limits: Limits::without_rates(), ..SimConfig::manual(start_ms) };
    config.recorded("tXRPETH", shared_data("binance-xrp-eth/trades.json.gz"))
}

#[allow(clippy::float_cmp, reason = "equal texts give equal floats")]
fn assert_is_recorded(rows: &[Value]) {
    let recorded = recorded();
    assert_eq!(rows.len(), 12_477);
    for (row, (ms, id, sell, price, amount)) in rows.iter().zip(recorded) {
        assert_eq!(row[0].to_string(), id);
        assert_eq!(row[1], ms);
        assert_eq!(row[2].as_f64().unwrap(), if sell { -amount } else { amount });
        assert_eq!(row[3].as_f64().unwrap(), price);
    }
}

#[tokio::test]
async fn xrp_eth_is_replayed_trade_by_trade_as_fast_as_the_socket_takes_it() {
    let sim = Simulator::start(xrp(1_570_752_000_000, ClockMode::Max)).await.unwrap();
    let mut client = Client::with_flags(&sim, 65_536).await;
    assert_eq!(sim.clock_ms(), 1_570_752_000_000, "the clock waits for a channel");
    client.trades("tXRPETH").await;
    let (mut rows, mut seq, mut updates) = (Vec::new(), 1, 0);
    while updates < 12_477 {
        let frame = client.json().await;
        seq += 1;
        assert_eq!(frame.as_array().unwrap().last().unwrap(), seq);
        updates += usize::from(frame[1] == "tu");
        if frame[1] == "te" {
            rows.push(frame[2].clone());
        }
    }
    assert_is_recorded(&rows);
    assert_eq!(sim.trades_happened(), 12_477);
    let ran_dry = sim.clock_ms();
    assert!(ran_dry < 1_570_752_000_000 + 3 * 86_400_000, "real time once nothing trades: {ran_dry}");
    sim.stop().await;
}

#[tokio::test]
async fn xrp_eth_history_pages_give_every_trade_once() {
    let sim = Simulator::start(xrp(1_571_000_000_000, ClockMode::Manual)).await.unwrap();
    let (mut all, mut start): (Vec<Value>, i64) = (Vec::new(), 0);
    loop {
        let page = rows(&sim, &format!("/trades/tXRPETH/hist?limit=1000&sort=1&start={start}")).await;
        let new = page.iter().filter(|r| !all.iter().rev().take(2_000).any(|k| k[0] == r[0]));
        let new: Vec<Value> = new.cloned().collect();
        all.extend(new);
        if page.len() < 1_000 {
            break;
        }
        start = page.last().unwrap()[1].as_i64().unwrap();
    }
    assert_is_recorded(&all);
    let newest = rows(&sim, "/trades/tXRPETH/hist").await;
    assert_eq!(newest.len(), 125);
    assert_eq!(newest[0], *all.last().unwrap());
    sim.stop().await;
}

#[allow(clippy::float_cmp, reason = "equal texts give equal floats")]
#[tokio::test]
async fn xrp_eth_candles_are_the_recorded_ones() {
    let sim = Simulator::start(xrp(1_571_000_000_000, ClockMode::Manual)).await.unwrap();
    let candles = rows(&sim, "/candles/trade:5m:tXRPETH/hist?limit=10000&sort=1").await;
    let csv = std::fs::read_to_string(shared_data("binance-xrp-eth/candles_5m.csv")).unwrap();
    let golden: Vec<Vec<f64>> =
        csv.lines().skip(1).map(|l| l.split(',').map(|n| n.parse().unwrap()).collect()).collect();
    assert_eq!(candles.len(), golden.len());
    for (candle, golden) in candles.iter().zip(&golden) {
        let number = |i: usize| candle[i].as_f64().unwrap();
        // MTS, OPEN, CLOSE, HIGH, LOW, VOLUME against start, open, high, low, close, volume.
        assert_eq!(
            [number(0), number(1), number(3), number(4), number(2), number(5)],
            golden[..6],
            "{candle}"
        );
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_recorded_connection_plays_verbatim_with_sequence_1_to_1670() {
    let path = shared_data("bitfinex/ws_capture.txt");
    let capture = std::fs::read_to_string(&path).unwrap();
    let received = capture.lines().filter(|l| !l.starts_with("wss://"));
    let frames: Vec<&str> = received.filter_map(|l| Some(l.split_once(": ")?.1)).collect();
    let recording = Recording { path, speed: None, wait_for_client: true };
    let config = SimConfig { recording: Some(recording), ..SimConfig::manual(T0) };
    let sim = Simulator::start(config).await.unwrap();
    let mut client = Client::try_connect(&sim).await.unwrap();
    let mut seq = 0;
    for (i, expected) in frames.iter().enumerate() {
        if i == 1 {
            client.send(&json!({"event": "conf", "flags": 65_536})).await;
        }
        let text = client.text().await;
        assert_eq!(text, *expected);
        if let Value::Array(array) = serde_json::from_str(&text).unwrap() {
            seq += 1;
            assert_eq!(*array.last().unwrap(), json!(seq));
        }
    }
    assert_eq!(seq, 1_670);
    sim.stop().await;
}
