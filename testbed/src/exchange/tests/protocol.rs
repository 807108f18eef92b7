//! Socket: conf, snapshot, te and tu, heartbeats, sequence, errors, limits.

use serde_json::json;
use tokio_tungstenite::tungstenite::Error;

use super::super::*;
use super::client::*;

#[tokio::test]
async fn snapshot_is_newest_first_then_te_then_tu_with_the_same_row() {
    let sim = Simulator::start(SimConfig::manual(T0).synthetic(&["tBTCUSD"], 5.0)).await.unwrap();
    let mut client = Client::with_flags(&sim, 65_536).await;
    let (chan, snapshot) = client.trades("tBTCUSD").await;
    let rows = snapshot[1].as_array().unwrap();
    assert_eq!(rows.len(), 30);
    let ids: Vec<i64> = rows.iter().map(|r| r[0].as_i64().unwrap()).collect();
    assert!(ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    assert!(rows.iter().all(|r| r[1].as_i64().unwrap() <= T0));
    assert_eq!(snapshot[2], 1);

    sim.advance(Duration::from_secs(10));
    sim.pause_market();
    sim.advance(Duration::from_secs(3));
    let frames = client.drain().await;
    let (te, tu) = (tagged(&frames, "te"), tagged(&frames, "tu"));
    assert!(te.len() > 10, "{}", te.len());
    assert_eq!(te.len(), tu.len());
    for t in &te {
        assert_eq!(t[0], chan);
        assert!(tu.iter().any(|u| u[2] == t[2]), "no tu for {t}");
    }
    sim.stop().await;
}

#[tokio::test]
async fn sequence_and_time_end_each_frame_in_that_order() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut client = Client::with_flags(&sim, 65_536 + 32_768).await;
    let (chan, snapshot) = client.trades("tBTCUSD").await;
    assert_eq!(snapshot, json!([chan, [], 1, T0]));
    let (id, ms) = sim.publish("tBTCUSD", &NewTrade::new("2e-8", "-1500")).unwrap();
    assert_eq!(client.text().await, format!("[{chan},\"te\",[{id},{ms},-1500,2e-8],2,{T0}]"));
    sim.advance(Duration::from_secs(2));
    let tu = client.json().await;
    assert_eq!((&tu[1], &tu[3]), (&json!("tu"), &json!(3)));
    let at = tu[4].as_i64().unwrap() - T0;
    assert!((1_000..=2_000).contains(&at), "{at}");
    sim.stop().await;
}

#[tokio::test]
async fn time_alone_is_appended_without_sequence() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut client = Client::with_flags(&sim, 32_768).await;
    let (chan, snapshot) = client.trades("tBTCUSD").await;
    assert_eq!(snapshot, json!([chan, [], T0]));
    let mut plain = Client::connect(&sim).await;
    let (chan, snapshot) = plain.trades("tBTCUSD").await;
    assert_eq!(snapshot, json!([chan, []]));
    sim.stop().await;
}

#[tokio::test]
async fn heartbeats_come_by_the_manual_clock() {
    let sim = Simulator::start(SimConfig::manual(T0).synthetic(&["tBTCUSD", "tETHUSD"], 2.0)).await.unwrap();
    let mut client = Client::with_flags(&sim, 65_536 + 32_768).await;
    for symbol in ["tBTCUSD", "tETHUSD"] {
        client.trades(symbol).await;
    }
    sim.advance(Duration::from_secs(45));
    let frames = client.drain().await;
    // To all channels at once, every 15.0 s, whether or not they had data, as recorded.
    let times: Vec<i64> = tagged(&frames, "hb").iter().map(|f| f[3].as_i64().unwrap() - T0).collect();
    assert_eq!(times.len(), 6);
    assert!(times.chunks(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(times[2] - times[0], 15_000);
    assert_eq!(times[4] - times[2], 15_000);
    // One sequence over both channels, heartbeats included.
    let seqs: Vec<u64> =
        frames.iter().map(|f| f.as_array().unwrap().iter().rev().nth(1).unwrap().as_u64().unwrap()).collect();
    assert_eq!(seqs, (3..3 + frames.len() as u64).collect::<Vec<_>>());
    sim.stop().await;
}

#[tokio::test]
async fn only_quiet_channels_get_heartbeats_when_configured() {
    let config = SimConfig { heartbeat_quiet_only: true, heartbeat_phase_ms: T0, ..quiet() };
    let sim = Simulator::start(config).await.unwrap();
    let mut client = Client::connect(&sim).await;
    let (busy, _) = client.trades("tBTCUSD").await;
    let (idle, _) = client.trades("tETHUSD").await;
    sim.advance(Duration::from_secs(10));
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    sim.advance(Duration::from_secs(10));
    let frames = client.drain().await;
    let beats: Vec<i64> = tagged(&frames, "hb").iter().map(|f| f[0].as_i64().unwrap()).collect();
    assert_eq!(beats, [idle]);
    assert_ne!(busy, idle);
    sim.stop().await;
}

#[tokio::test]
async fn heartbeat_can_come_before_subscribed_as_recorded() {
    let config = SimConfig { subscribe_delay_ms: 10_000, ..quiet() };
    let sim = Simulator::start(config).await.unwrap();
    let mut client = Client::with_flags(&sim, 65_536).await;
    client.send(&json!({"event": "subscribe", "channel": "trades", "symbol": "tBTCUSD"})).await;
    client.drain().await;
    sim.advance(Duration::from_secs(11));
    let frames = client.drain().await;
    assert_eq!(frames[0][1], "hb");
    assert_eq!(frames[0][2], 1);
    assert_eq!(frames[1]["event"], "subscribed");
    assert_eq!(frames[1]["chanId"], frames[0][0]);
    assert_eq!(frames[2][2], 2);
    sim.stop().await;
}

#[tokio::test]
async fn subscribe_echoes_and_unsubscribe_ends_the_channel() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut client = Client::connect(&sim).await;
    let subscribe =
        json!({"event": "subscribe", "channel": "trades", "symbol": "tAVAX:USD", "subId": "x\"1"});
    let reply = client.ask(&subscribe).await;
    assert_eq!(reply["pair"], "AVAX:USD");
    assert_eq!(reply["subId"], "x\"1");
    client.json().await;
    let end = json!({"event": "unsubscribe", "chanId": reply["chanId"]});
    assert_eq!(
        client.ask(&end).await,
        json!({"event": "unsubscribed", "status": "OK", "chanId": reply["chanId"]})
    );
    sim.publish("tAVAX:USD", &NewTrade::new("1", "1")).unwrap();
    assert!(client.drain().await.is_empty());
    assert_eq!(client.ask(&end).await["code"], 10_401);
    sim.stop().await;
}

#[tokio::test]
async fn every_mistake_has_its_code() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    for (request, code) in [
        (json!({"event": "dance"}), 10_000),
        (json!({"event": "subscribe", "channel": "trades", "symbol": "tNOPE"}), 10_001),
        (json!({"event": "subscribe", "channel": "trades", "symbol": "t\"\u{7}é"}), 10_001),
        (json!({"event": "subscribe", "channel": "trades"}), 10_300),
        (json!({"event": "subscribe", "symbol": "tBTCUSD"}), 10_300),
        (json!({"event": "subscribe", "channel": "trades", "symbol": "tBTCUSD"}), 10_301),
        (json!({"event": "subscribe", "channel": "gossip", "symbol": "tBTCUSD"}), 10_302),
        (json!({"event": "unsubscribe", "chanId": "x"}), 10_400),
        (json!({"event": "unsubscribe", "chanId": 1}), 10_401),
        (json!([1, 2]), 10_000),
    ] {
        let reply = client.ask(&request).await;
        assert_eq!((&reply["event"], &reply["code"]), (&json!("error"), &json!(code)), "{request}");
    }
    for hostile in ["", "{", "null", &"[".repeat(50_000), &"x".repeat(70_000)] {
        client.send_text(hostile).await;
        assert_eq!(client.json().await["code"], 10_000);
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_26th_channel_is_refused() {
    let names: Vec<String> = (0..26).map(|i| format!("tC{i:02}USD")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let sim = Simulator::start(SimConfig::manual(T0).quiet(&names)).await.unwrap();
    let mut client = Client::connect(&sim).await;
    for name in &names[..25] {
        client.trades(name).await;
    }
    let reply = client.ask(&json!({"event": "subscribe", "channel": "trades", "symbol": names[25]})).await;
    assert_eq!(reply["code"], 10_305);
    sim.stop().await;
}

#[tokio::test]
async fn ticker_and_book_are_answered() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut client = Client::connect(&sim).await;
    for channel in ["ticker", "book"] {
        let reply = client.ask(&json!({"event": "subscribe", "channel": channel, "symbol": "tBTCUSD"})).await;
        assert_eq!(reply["event"], "subscribed");
        assert_eq!(client.json().await[0], reply["chanId"]);
    }
    sim.stop().await;
}

#[tokio::test]
async fn the_21st_connection_of_a_minute_gets_429() {
    let sim = Simulator::start(quiet()).await.unwrap();
    for _ in 0..20 {
        Client::connect(&sim).await;
    }
    match Client::try_connect(&sim).await.err() {
        Some(Error::Http(response)) => assert_eq!(response.status(), 429),
        other => panic!("{other:?}"),
    }
    sim.advance(Duration::from_secs(60));
    Client::connect(&sim).await;
    sim.stop().await;
}

#[tokio::test]
async fn channel_ids_of_the_next_connection_mean_other_symbols() {
    let sim = Simulator::start(quiet()).await.unwrap();
    let mut reused = false;
    let mut seen = std::collections::HashMap::new();
    for turn in 0..15 {
        let mut client = Client::connect(&sim).await;
        let mut symbols = ["tBTCUSD", "tETHUSD", "tAVAX:USD"];
        symbols.rotate_left(turn % 3);
        for symbol in symbols {
            let (chan, _) = client.trades(symbol).await;
            reused |= seen.insert(chan, symbol).is_some_and(|before| before != symbol);
        }
    }
    assert!(reused);
    sim.stop().await;
}

#[tokio::test]
async fn real_time_runs_by_itself() {
    let config = SimConfig { clock: ClockMode::Speed(100.0), ..quiet() };
    let sim = Simulator::start(config).await.unwrap();
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    assert_eq!(client.json().await[1], "hb");
    assert!(sim.clock_ms() > T0);
    sim.stop().await;
}
