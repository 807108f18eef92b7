//! REST: pages, order, limits, errors, lag, symbol list.

use serde_json::{Value, json};

use super::super::*;
use super::client::*;

fn unlimited() -> SimConfig {
    let config = SimConfig { limits: Limits::without_rates(), ..SimConfig::manual(T0) };
    config.synthetic(&["tBTCUSD", "tAVAX:USD"], 20.0)
}

fn ms(row: &Value) -> i64 {
    row[1].as_i64().unwrap()
}

#[tokio::test]
async fn history_is_newest_first_by_default_and_bounds_are_inclusive() {
    let sim = Simulator::start(unlimited()).await.unwrap();
    let newest = rows(&sim, "/trades/tBTCUSD/hist").await;
    assert_eq!(newest.len(), 125);
    assert!(newest.is_sorted_by(|a, b| (ms(a), a[0].as_i64()) > (ms(b), b[0].as_i64())));
    assert!(newest.iter().all(|r| ms(r) <= T0));
    let (from, to) = (ms(&newest[100]), ms(&newest[20]));
    let oldest = rows(&sim, &format!("/trades/tBTCUSD/hist?start={from}&end={to}&sort=1&limit=1000")).await;
    assert_eq!((ms(&oldest[0]), ms(oldest.last().unwrap())), (from, to));
    let mut same: Vec<Value> = newest.iter().filter(|r| (from..=to).contains(&ms(r))).cloned().collect();
    same.reverse();
    assert_eq!(oldest, same);
    sim.stop().await;
}

#[tokio::test]
async fn overlapping_pages_give_the_truth() {
    let sim = Simulator::start(unlimited()).await.unwrap();
    let (from, mut start) = (T0 - 600_000, T0 - 600_000);
    let mut ids = std::collections::BTreeSet::new();
    loop {
        let page = rows(&sim, &format!("/trades/tAVAX%3AUSD/hist?start={start}&sort=1&limit=500")).await;
        ids.extend(page.iter().map(|r| r[0].as_i64().unwrap()));
        if page.len() < 500 {
            break;
        }
        start = ms(page.last().unwrap());
    }
    let query =
        TruthQuery { symbol: Some("tAVAX:USD".into()), start_ms: Some(from), ..TruthQuery::default() };
    let truth = sim.truth_of(&query).unwrap();
    assert!(truth.len() > 10_000, "{}", truth.len());
    assert_eq!(ids, truth.iter().map(|t| t.id).collect());
    sim.stop().await;
}

#[tokio::test]
async fn history_reaches_back_to_any_depth() {
    let sim = Simulator::start(unlimited()).await.unwrap();
    let year = 365 * 86_400_000_i64;
    let old = rows(&sim, &format!("/trades/tBTCUSD/hist?end={}&limit=10000", T0 - 5 * year)).await;
    assert_eq!(old.len(), 10_000);
    assert!(rows(&sim, "/trades/tBTCUSD/hist?end=1000000000000").await.is_empty());
    sim.stop().await;
}

#[tokio::test]
async fn bad_requests_are_error_arrays() {
    let sim = Simulator::start(unlimited()).await.unwrap();
    for (path, status, code) in [
        ("/trades/tNOPE/hist", 500, 10_020),
        ("/trades/tBTCUSD/hist?limit=x", 500, 10_020),
        ("/trades/tBTCUSD/hist?limit=10001", 500, 10_020),
        ("/trades/tBTCUSD/hist?limit=0", 500, 10_020),
        ("/trades/tBTCUSD/hist?sort=7", 500, 10_020),
        ("/trades/tBTCUSD/hist?start=2&end=1", 500, 10_020),
        ("/candles/trade:2m:tBTCUSD/hist", 500, 10_020),
        ("/candles/trade:1m/hist", 500, 10_020),
        ("/trades/tBTCUSD", 404, 10_000),
        ("/nothing", 404, 10_000),
    ] {
        let (found, body) = get(&format!("{}{path}", sim.rest_url())).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((found, &body[0], &body[1]), (status, &json!("error"), &json!(code)), "{path}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_16th_page_of_a_minute_blocks_every_call_for_60_s() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let page = format!("{}/trades/tBTCUSD/hist", sim.rest_url());
    for _ in 0..15 {
        assert_eq!(get(&page).await.0, 200);
    }
    let refused = (429, r#"["error",11010,"ratelimit: error"]"#.to_owned());
    assert_eq!(get(&page).await, refused);
    assert_eq!(get(&format!("{}/platform/status", sim.rest_url())).await, refused);
    sim.advance(Duration::from_secs(59));
    assert_eq!(get(&page).await.0, 429);
    sim.advance(Duration::from_secs(1));
    assert_eq!(get(&page).await.0, 200);
    sim.stop().await;
}

#[tokio::test]
async fn history_lags_behind_the_socket_when_configured() {
    let config = SimConfig { history_lag_ms: 5_000, ..quiet() };
    let sim = Simulator::start(config).await.unwrap();
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    sim.advance(Duration::from_millis(4_999));
    assert!(rows(&sim, "/trades/tBTCUSD/hist").await.is_empty());
    sim.advance(Duration::from_millis(1));
    assert_eq!(rows(&sim, "/trades/tBTCUSD/hist").await.len(), 1);
    sim.stop().await;
}

#[tokio::test]
async fn status_pairs_and_tickers_are_answered() {
    let sim = Simulator::start(unlimited()).await.unwrap();
    assert_eq!(rows(&sim, "/platform/status").await, [json!(1)]);
    assert_eq!(rows(&sim, "/conf/pub:list:pair:exchange").await, [json!(["BTCUSD", "AVAX:USD"])]);
    let tickers = rows(&sim, "/tickers?symbols=tBTCUSD").await;
    assert_eq!(tickers.len(), 1);
    assert_eq!(tickers[0].as_array().unwrap().len(), 11);
    let candles = rows(&sim, "/candles/trade:1m:tBTCUSD/hist?limit=3").await;
    assert_eq!(candles.len(), 3);
    let n = |i: usize| candles[1][i].as_f64().unwrap();
    assert!(n(3) >= n(1).max(n(2)) && n(4) <= n(1).min(n(2)), "MTS,O,C,H,L,V: {}", candles[1]);
    sim.stop().await;
}
