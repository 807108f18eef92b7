//! The ground truth, determinism, and the admin endpoints.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::super::*;
use super::client::*;

const SYMBOLS: [&str; 4] = ["tBTCUSD", "tETHUSD", "tAVAX:USD", "tDOGE:BTC"];

fn seeded(seed: u64) -> SimConfig {
    SimConfig { seed, ..SimConfig::manual(T0) }.synthetic(&SYMBOLS, 50.0)
}

/// symbol and row text of a truth entry, as on the wire.
fn row(t: &TrueTrade) -> String {
    format!("{} [{},{},{},{}]", t.symbol, t.id, t.ms, t.amount, t.price)
}

#[tokio::test]
async fn truth_equals_what_was_sent() {
    let sim = Simulator::start(seeded(7)).await.unwrap();
    let mut client = Client::connect(&sim).await;
    let mut names = BTreeMap::new();
    for symbol in SYMBOLS {
        names.insert(client.trades(symbol).await.0.to_string(), symbol);
    }
    for _ in 0..10 {
        sim.advance(Duration::from_secs(3));
        sim.pause_market();
        sim.advance(Duration::from_secs(1));
        sim.resume_market();
    }
    sim.pause_market();
    sim.advance(Duration::from_secs(3));
    let frames = client.drain_text().await;
    assert_eq!(sim.trades_happened(), sim.truth().len() as u64);
    // What happened in the first ms is in the snapshots.
    for tag in [",\"te\",", ",\"tu\","] {
        let of = |f: &String| {
            let (chan, row) = f.strip_suffix(']')?.split_once(tag)?;
            Some(format!("{} {row}", names[chan.strip_prefix('[')?]))
        };
        let later = |row: &String| !row.contains(&format!(",{T0},"));
        let mut sent: Vec<String> = frames.iter().filter_map(of).filter(later).collect();
        let mut truth: Vec<String> = sim.truth().iter().filter(|t| t.ms > T0).map(row).collect();
        assert!(truth.len() > 4_000, "{}", truth.len());
        sent.sort();
        truth.sort();
        let missing: Vec<&String> = truth.iter().filter(|t| !sent.contains(t)).collect();
        assert!(missing.is_empty(), "not sent as {tag} {missing:?}");
        assert!(sent == truth, "{tag}: sent {} trades, {} happened", sent.len(), truth.len());
    }
    sim.stop().await;
}

#[tokio::test]
async fn same_seed_same_market() {
    let mut texts = Vec::new();
    for (seed, steps) in [(7, 1), (7, 20), (8, 1)] {
        let sim = Simulator::start(seeded(seed)).await.unwrap();
        for _ in 0..steps {
            sim.advance(Duration::from_secs(20) / steps);
        }
        texts.push(sim.truth());
        sim.stop().await;
    }
    assert_eq!(texts[0], texts[1], "whatever the steps of the clock");
    assert_ne!(texts[0], texts[2]);
}

#[tokio::test]
async fn a_trade_of_a_symbol_does_not_depend_on_the_other_symbols_or_the_start() {
    let alone = Simulator::start(SimConfig::manual(T0 + 10_000).synthetic(&["tBTCUSD"], 50.0)).await.unwrap();
    let among = Simulator::start(seeded(1)).await.unwrap();
    alone.advance(Duration::from_secs(10));
    among.advance(Duration::from_secs(20));
    let query =
        TruthQuery { symbol: Some("tBTCUSD".into()), start_ms: Some(T0 + 5_000), ..TruthQuery::default() };
    let numbers = |sim: &Simulator| {
        let trades = sim.truth_of(&query).unwrap();
        trades.into_iter().map(|t| (t.ms, t.price, t.amount)).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&alone), numbers(&among));
    alone.stop().await;
    among.stop().await;
}

#[tokio::test]
async fn synthetic_trades_look_like_the_recorded_ones() {
    let sim = Simulator::start(seeded(3)).await.unwrap();
    let mut client = Client::connect(&sim).await;
    for symbol in SYMBOLS {
        client.trades(symbol).await;
    }
    sim.advance(Duration::from_secs(60));
    let truth = sim.truth();
    let per_s = truth.len() / 60 / SYMBOLS.len();
    assert!((40..60).contains(&per_s), "{per_s} trades per s and symbol");
    let ids: std::collections::BTreeSet<i64> = truth.iter().map(|t| t.id).collect();
    assert_eq!(ids.len(), truth.len(), "unique over the exchange");
    let mut times: Vec<(&str, i64)> = truth.iter().map(|t| (t.symbol.as_str(), t.ms)).collect();
    times.sort_unstable();
    let repeated = times.windows(2).filter(|w| w[0] == w[1]).count();
    assert!(repeated * 10 > truth.len(), "several trades per ms: {repeated} of {}", truth.len());
    let distinct: std::collections::BTreeSet<(&str, i64, i64)> =
        truth.iter().map(|t| (t.symbol.as_str(), t.ms, t.id % 1_000_000)).collect();
    assert_eq!(distinct.len(), truth.len(), "ids of one ms differ in their last six digits");
    assert!(truth.iter().any(|t| !t.amount.contains('.')) && truth.iter().any(|t| t.amount.contains("e-")));
    let frames = client.drain().await;
    let sent: Vec<i64> = tagged(&frames, "te").iter().map(|f| f[2][0].as_i64().unwrap()).collect();
    let swaps = sent.windows(2).filter(|w| w[0] > w[1]).count();
    assert!(swaps > 0 && swaps * 10 < sent.len(), "{swaps} swaps of {}", sent.len());
    sim.stop().await;
}

#[tokio::test]
async fn history_before_the_start_is_in_the_truth_when_asked_for() {
    let sim = Simulator::start(seeded(1)).await.unwrap();
    let query = TruthQuery { start_ms: Some(T0 - 60_000), ..TruthQuery::default() };
    assert!(sim.truth_of(&query).unwrap().len() > 5_000);
    assert!(sim.truth().len() < 10);
    sim.stop().await;
}

#[tokio::test]
async fn trade_until_leaves_heartbeats_only() {
    let sim = Simulator::start(seeded(1)).await.unwrap();
    sim.trade_until(T0 + 5_000);
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    sim.advance(Duration::from_secs(8));
    client.drain().await;
    sim.advance(Duration::from_mins(1));
    let frames = client.drain().await;
    assert_eq!(frames.len(), 4);
    assert_eq!(tagged(&frames, "hb").len(), 4);
    assert!(sim.truth().iter().all(|t| t.ms < T0 + 5_000));
    sim.stop().await;
}

#[tokio::test]
async fn the_log_file_holds_every_trade() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("truth.jsonl");
    let sim = Simulator::start(SimConfig { truth_log: Some(log.clone()), ..seeded(1) }).await.unwrap();
    sim.advance(Duration::from_secs(10));
    sim.pause_market();
    sim.advance(Duration::from_secs(1));
    let text = std::fs::read_to_string(&log).unwrap();
    let mut logged: Vec<TrueTrade> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    logged.sort_by_key(|t| (t.ms, t.id));
    assert_eq!(logged, sim.truth());
    sim.stop().await;
}

#[tokio::test]
async fn published_trades_have_ids_of_their_own() {
    let sim = Simulator::start(seeded(1)).await.unwrap();
    sim.advance(Duration::from_secs(1));
    for _ in 0..500 {
        sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    }
    let ids: Vec<i64> = sim.truth().iter().map(|t| t.id).collect();
    let distinct: std::collections::BTreeSet<i64> = ids.iter().map(|id| id % 1_000_000).collect();
    assert!(ids.len() > 600);
    assert_eq!(ids.iter().collect::<std::collections::BTreeSet<_>>().len(), ids.len());
    assert!(distinct.len() > 500);
    sim.stop().await;
}

#[tokio::test]
async fn another_process_drives_it_over_http() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    let trade = json!({"symbol": "tBTCUSD", "price": "101.5", "amount": "-2", "id": 7});
    assert_eq!(post(&sim, "/publish", &trade).await, (200, json!({"id": 7, "ms": T0})));
    assert_eq!(client.json().await[2], json!([7, T0, -2, 101.5]));
    assert_eq!(post(&sim, "/advance?ms=1500", &json!(null)).await, (200, json!({"ms": T0 + 1_500})));
    let (_, truth) = get(&format!("{}/truth?symbol=tBTCUSD", sim.admin_url())).await;
    let truth: Value = serde_json::from_str(truth.trim()).unwrap();
    assert_eq!((&truth["id"], &truth["history"]), (&json!(7), &json!(true)));
    let (_, clock) = get(&format!("{}/clock", sim.admin_url())).await;
    assert!(clock.contains("\"trades_happened\":1"), "{clock}");
    let (_, connections) = get(&format!("{}/connections", sim.admin_url())).await;
    assert!(connections.contains("\"tBTCUSD\""), "{connections}");
    let fault = json!({"fault": "delist", "symbol": "tBTCUSD"});
    assert_eq!(post(&sim, "/fault", &fault).await.0, 200);
    assert_eq!(sim.faults(), [(T0 + 1_500, Fault::Delist { symbol: "tBTCUSD".into() })]);
    for wrong in
        [json!({"fault": "nope"}), json!({"fault": "halt", "symbol": "tX"}), json!({"fault": "halt", "x": 1})]
    {
        let (status, answer) = post(&sim, "/fault", &wrong).await;
        assert!(status == 400 && answer["error"].is_string(), "{answer}");
    }
    let (status, answer) =
        post(&sim, "/publish", &json!({"symbol": "tBTCUSD", "price": "x", "amount": "1"})).await;
    assert_eq!((status, answer["error"].as_str().unwrap().contains("price")), (400, true));
    sim.stop().await;
}
