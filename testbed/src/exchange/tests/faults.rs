//! Each fault does what it says, and what was lost is still in the truth.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::super::*;
use super::client::*;

/// A client with a sequence and one channel.
async fn subscribed() -> (Simulator, Client, i64) {
    let config = SimConfig { limits: Limits::without_rates(), ..quiet() };
    let sim = Simulator::start(config).await.unwrap();
    let mut client = Client::with_flags(&sim, 65_536).await;
    let (chan, _) = client.trades("tBTCUSD").await;
    (sim, client, chan)
}

fn fault(sim: &Simulator, fault: Value) {
    sim.fault(&serde_json::from_value(fault).unwrap()).unwrap();
}

/// Publishes `n` trades with ids from 1, lets their tu pass and returns (tag, id, seq) of every frame.
async fn trade(sim: &Simulator, client: &mut Client, n: i64) -> Vec<(String, i64, i64)> {
    for id in 1..=n {
        sim.publish("tBTCUSD", &NewTrade::new("100.5", "1").id(id)).unwrap();
    }
    sim.advance(Duration::from_secs(2));
    let frames = client.drain().await;
    let number = |v: &Value| v.as_i64().unwrap();
    let frames = frames.iter().filter(|f| f[1] != "hb");
    frames.map(|f| (f[1].as_str().unwrap().into(), number(&f[2][0]), number(&f[3]))).collect()
}

fn ids(frames: &[(String, i64, i64)], tag: &str) -> Vec<i64> {
    let mut ids: Vec<i64> = frames.iter().filter(|f| f.0 == tag).map(|f| f.1).collect();
    ids.sort_unstable();
    ids
}

fn seqs(frames: &[(String, i64, i64)]) -> Vec<i64> {
    frames.iter().map(|f| f.2).collect()
}

#[tokio::test]
async fn a_lost_frame_takes_its_number_and_stays_in_the_truth() {
    for (frame, te, tu, seq) in [
        ("te", [2, 3].as_slice(), [1, 2, 3].as_slice(), 3),
        ("tu", &[1, 2, 3], &[2, 3], 2),
        ("both", &[2, 3], &[2, 3], 3),
    ] {
        let (sim, mut client, _) = subscribed().await;
        fault(&sim, json!({"fault": "lose", "frame": frame, "symbol": "tBTCUSD", "count": 1}));
        let frames = trade(&sim, &mut client, 3).await;
        assert_eq!((ids(&frames, "te"), ids(&frames, "tu")), (te.to_vec(), tu.to_vec()), "{frame}");
        assert_eq!(seqs(&frames)[0], seq, "{frame}");
        let last = *seqs(&frames).last().unwrap();
        let missing = last - 1 - frames.len() as i64;
        // A tu that is the last frame of all leaves its hole only when something follows.
        assert!(missing >= 1 || frame == "tu", "{frame}: {frames:?}");
        let truth = sim.truth();
        assert_eq!(truth.len(), 3);
        assert_eq!((truth[0].te_lost, truth[0].tu_lost), (frame != "tu", frame != "te"));
        assert_eq!(rows(&sim, "/trades/tBTCUSD/hist").await.len(), 3);
        sim.stop().await;
    }
}

#[tokio::test]
async fn an_omitted_frame_leaves_no_hole() {
    for (frame, te, tu) in [("te", 2, 3), ("tu", 3, 2), ("both", 2, 2)] {
        let (sim, mut client, _) = subscribed().await;
        fault(&sim, json!({"fault": "omit", "frame": frame, "count": 1}));
        let frames = trade(&sim, &mut client, 3).await;
        assert_eq!((ids(&frames, "te").len(), ids(&frames, "tu").len()), (te, tu), "{frame}");
        assert_eq!(seqs(&frames), (2..2 + frames.len() as i64).collect::<Vec<_>>());
        sim.stop().await;
    }
}

#[tokio::test]
async fn duplicates_have_their_own_number_or_the_same() {
    for (same_seq, expected) in [(false, [2, 3, 4]), (true, [2, 2, 3])] {
        let (sim, mut client, _) = subscribed().await;
        fault(&sim, json!({"fault": "duplicate", "frame": "te", "count": 1, "same_seq": same_seq}));
        let frames = trade(&sim, &mut client, 1).await;
        assert_eq!(seqs(&frames), expected);
        assert_eq!(ids(&frames, "te"), [1, 1]);
        sim.stop().await;
    }
}

#[tokio::test]
async fn reorder_and_delay_change_the_arrival_not_the_trade() {
    let (sim, mut client, _) = subscribed().await;
    fault(&sim, json!({"fault": "reorder", "within_ms": 500, "count": 20}));
    let frames = trade(&sim, &mut client, 20).await;
    let order: Vec<i64> = frames.iter().filter(|f| f.0 == "te").map(|f| f.1).collect();
    assert!(!order.is_sorted() && order.len() == 20, "{order:?}");
    assert_eq!(sim.truth().len(), 20);
    fault(&sim, json!({"fault": "delay", "by_ms": 30_000, "count": 1}));
    sim.publish("tBTCUSD", &NewTrade::new("1", "1").id(99)).unwrap();
    sim.advance(Duration::from_millis(29_999));
    assert!(tagged(&client.drain().await, "te").is_empty());
    sim.advance(Duration::from_millis(1));
    let late = client.drain().await;
    assert_eq!(tagged(&late, "te")[0][2][0], 99);
    sim.stop().await;
}

#[tokio::test]
async fn cuts_end_connections_each_in_its_way() {
    for how in ["close", "reset", "drop"] {
        let (sim, mut client, _) = subscribed().await;
        fault(&sim, json!({"fault": "cut", "conn": null, "how": how}));
        let end = client.message().await;
        match (how, &end) {
            ("close", Some(Ok(Message::Close(Some(frame))))) => assert_eq!(u16::from(frame.code), 1_012),
            ("reset" | "drop", Some(Err(_)) | None) => {}
            other => panic!("{other:?}"),
        }
        let mut again = Client::connect(&sim).await;
        again.trades("tBTCUSD").await;
        assert_eq!(sim.connections().len(), 1);
        sim.stop().await;
    }
}

#[tokio::test]
async fn silence_keeps_the_socket_and_loses_what_it_hides() {
    let (sim, mut client, _) = subscribed().await;
    fault(&sim, json!({"fault": "silence", "conn": null, "for_ms": 10_000}));
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    client.send(&json!({"event": "ping", "cid": 1})).await;
    assert!(client.is_silent().await);
    let pending = tokio::time::timeout(Duration::from_millis(100), Client::try_connect(&sim));
    assert!(pending.await.is_err(), "new connections get no answer either");
    sim.advance(Duration::from_secs(10));
    let frames = client.drain().await;
    assert_eq!(frames[0]["event"], "pong", "{frames:?}");
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    let after = client.json().await;
    assert!(after[3].as_i64().unwrap() > 3, "a hole in the sequence: {after}");
    assert!(sim.truth()[0].te_lost);
    sim.stop().await;
}

#[tokio::test]
async fn an_old_snapshot_comes_again() {
    let (sim, mut client, chan) = subscribed().await;
    trade(&sim, &mut client, 2).await;
    sim.advance(Duration::from_secs(10));
    sim.publish("tBTCUSD", &NewTrade::new("1", "1").id(3)).unwrap();
    client.drain().await;
    fault(&sim, json!({"fault": "old_snapshot", "symbol": "tBTCUSD", "age_ms": 5_000}));
    let frame = client.json().await;
    assert_eq!(frame[0], chan);
    let ids: Vec<i64> = frame[1].as_array().unwrap().iter().map(|r| r[0].as_i64().unwrap()).collect();
    assert_eq!(ids, [2, 1]);
    sim.stop().await;
}

#[tokio::test]
async fn maintenance_is_mute_until_resubscription() {
    let (sim, mut client, chan) = subscribed().await;
    fault(&sim, json!({"fault": "info", "code": 20_051}));
    assert_eq!(client.json().await["code"], 20_051);
    fault(&sim, json!({"fault": "maintenance", "for_ms": 20_000, "halt": true}));
    assert_eq!(client.json().await["code"], 20_060);
    assert_eq!(rows(&sim, "/platform/status").await, [json!(0)]);
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    sim.advance(Duration::from_secs(20));
    assert_eq!(client.json().await["code"], 20_061);
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    sim.advance(Duration::from_secs(30));
    assert!(client.drain().await.is_empty(), "old channels stay mute");
    client.ask(&json!({"event": "unsubscribe", "chanId": chan})).await;
    let (_, snapshot) = client.trades("tBTCUSD").await;
    assert_eq!(snapshot[1].as_array().unwrap().len(), 2);
    sim.stop().await;
}

#[tokio::test]
async fn connections_are_refused_so_many_times_or_so_long() {
    let (sim, _client, _) = subscribed().await;
    fault(&sim, json!({"fault": "refuse", "count": 2, "for_ms": null, "how": "close"}));
    assert!(Client::try_connect(&sim).await.is_err());
    assert!(Client::try_connect(&sim).await.is_err());
    Client::connect(&sim).await;
    fault(&sim, json!({"fault": "refuse", "count": null, "for_ms": 5_000, "how": "reset"}));
    assert!(Client::try_connect(&sim).await.is_err());
    sim.advance(Duration::from_secs(5));
    Client::connect(&sim).await;
    sim.stop().await;
}

#[tokio::test]
async fn rest_misbehaves_for_so_many_requests() {
    let (sim, mut client, _) = subscribed().await;
    trade(&sim, &mut client, 2).await;
    let page = format!("{}/trades/tBTCUSD/hist", sim.rest_url());
    let right = get(&page).await;
    for (kind, status, starts) in [
        ("rate_limit", 429, "[\"error\",11010"),
        ("legacy_rate_limit", 429, "{\"error\""),
        ("http500", 500, "[\"error\",10001"),
        ("garbage", 200, "<html>"),
        ("empty", 200, "[]"),
        ("error_array", 200, "[\"error\",10000"),
        ("maintenance", 500, "[\"error\",20060"),
        ("truncated", 200, "[["),
        ("slow", 200, "[["),
    ] {
        fault(&sim, json!({"fault": "rest", "kind": kind, "count": 1, "path": "trades/", "slow_ms": 50}));
        assert_eq!(rows(&sim, "/platform/status").await, [json!(1)], "other paths are untouched");
        let (found, body) = get(&page).await;
        assert!(found == status && body.starts_with(starts), "{kind}: {found} {body}");
        assert_eq!(serde_json::from_str::<Value>(&body).is_err(), ["garbage", "truncated"].contains(&kind));
        assert_eq!(get(&page).await, right, "once only");
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_history_hole_is_told_by_the_truth() {
    let (sim, mut client, _) = subscribed().await;
    trade(&sim, &mut client, 1).await;
    trade(&sim, &mut client, 1).await;
    fault(&sim, json!({"fault": "history_hole", "symbol": "tBTCUSD", "start_ms": T0, "end_ms": T0 + 1_000}));
    assert_eq!(rows(&sim, "/trades/tBTCUSD/hist").await.len(), 1);
    let obtainable: Vec<bool> = sim.truth().iter().map(|t| t.history).collect();
    assert_eq!(obtainable, [false, true]);
    sim.stop().await;
}

#[tokio::test]
async fn garbage_of_every_kind_arrives() {
    let (sim, mut client, _) = subscribed().await;
    for kind in GarbageKind::ALL {
        fault(
            &sim,
            json!({"fault": "garbage", "kind": kind, "symbol": "tBTCUSD", "count": 1, "replace": false}),
        );
        let good = |text: &str| match serde_json::from_str::<Value>(text) {
            Ok(frame) => {
                let row = &frame[2];
                row[0].is_i64()
                    && row[1].as_i64().is_some_and(|ms| ms < 2_000_000_000_000)
                    && row[2].as_f64().is_some_and(|amount| amount != 0.0)
                    && row[3].as_f64().is_some_and(|price| price > 0.0)
                    && frame[0].as_i64().is_some_and(|chan| chan < 900_000)
                    && text.len() < 1 << 20
            }
            Err(_) => false,
        };
        match client.message().await {
            Some(Ok(Message::Text(text))) => assert!(!good(&text), "{kind:?}: {text}"),
            Some(Ok(Message::Binary(_))) => assert_eq!(kind, GarbageKind::Binary),
            // The client library refuses the frame and with it the connection.
            Some(Err(_)) => {
                assert_eq!(kind, GarbageKind::BadUtf8);
                client = Client::with_flags(&sim, 65_536).await;
                client.trades("tBTCUSD").await;
            }
            other => panic!("{kind:?}: {other:?}"),
        }
    }
    assert!(sim.truth().is_empty(), "garbage is no trade");
    fault(&sim, json!({"fault": "garbage", "kind": "zero_price", "count": 1, "replace": true}));
    sim.publish("tBTCUSD", &NewTrade::new("5", "1").id(8)).unwrap();
    sim.advance(Duration::from_secs(2));
    let frames = client.drain().await;
    let (te, tu) = (tagged(&frames, "te"), tagged(&frames, "tu"));
    assert_eq!((&te[0][2][0], &te[0][2][3], &tu[0][2][3]), (&json!(8), &json!(0), &json!(5)));
    sim.stop().await;
}

#[tokio::test]
async fn a_delisted_symbol_is_unknown_and_a_halted_one_quiet() {
    let config = SimConfig::manual(T0).synthetic(&["tBTCUSD", "tETHUSD"], 20.0);
    let sim = Simulator::start(config).await.unwrap();
    let mut client = Client::connect(&sim).await;
    let (btc, _) = client.trades("tBTCUSD").await;
    let (eth, _) = client.trades("tETHUSD").await;
    fault(&sim, json!({"fault": "delist", "symbol": "tBTCUSD"}));
    sim.advance(Duration::from_secs(5));
    let frames = client.drain().await;
    let late = |f: &&Value| f[0] == btc && f[2][1].as_i64().is_some_and(|ms| ms > T0);
    assert_eq!(frames.iter().filter(late).count(), 0);
    assert!(frames.iter().any(|f| f[0] == eth));
    let mut other = Client::connect(&sim).await;
    let subscribe = json!({"event": "subscribe", "channel": "trades", "symbol": "tBTCUSD"});
    assert_eq!(other.ask(&subscribe).await["code"], 10_001);
    assert_eq!(rows(&sim, "/conf/pub:list:pair:exchange").await, [json!(["ETHUSD"])]);
    fault(&sim, json!({"fault": "relist", "symbol": "tBTCUSD"}));
    assert_eq!(other.ask(&subscribe).await["event"], "subscribed");
    fault(&sim, json!({"fault": "halt", "symbol": "tETHUSD"}));
    let before =
        sim.truth_of(&TruthQuery { symbol: Some("tETHUSD".into()), ..TruthQuery::default() }).unwrap().len();
    sim.advance(Duration::from_secs(5));
    let after =
        sim.truth_of(&TruthQuery { symbol: Some("tETHUSD".into()), ..TruthQuery::default() }).unwrap().len();
    assert!(after - before <= 3, "only what was under way: {before} {after}");
    sim.stop().await;
}

#[tokio::test]
async fn ids_restart_and_history_agrees() {
    let sim = Simulator::start(SimConfig::manual(T0).synthetic(&["tBTCUSD", "tETHUSD"], 20.0)).await.unwrap();
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    sim.advance(Duration::from_millis(5_003));
    client.drain().await;
    fault(&sim, json!({"fault": "id_reset", "base": 1_000}));
    sim.advance(Duration::from_secs(5));
    let frames = client.drain().await;
    let te = tagged(&frames, "te");
    let reset: Vec<i64> = te
        .iter()
        .filter(|f| f[2][1].as_i64().unwrap() > T0 + 5_003)
        .map(|f| f[2][0].as_i64().unwrap())
        .collect();
    assert!(reset.len() > 20 && reset.iter().all(|&id| (1_000..100_000_000).contains(&id)), "{reset:?}");
    let truth: std::collections::BTreeSet<i64> = sim.truth().iter().map(|t| t.id).collect();
    assert_eq!(truth.len(), sim.truth().len());
    assert!(reset.iter().all(|id| truth.contains(id)));
    sim.stop().await;
}

#[tokio::test]
async fn extra_elements_are_appended_where_asked() {
    let (sim, mut client, _) = subscribed().await;
    for (frames, rows, length, seq_at) in
        [("none", true, 4, 3), ("before_sequence", false, 5, 4), ("at_end", true, 5, 3)]
    {
        fault(&sim, json!({"fault": "extra_elements", "rows": rows, "frames": frames}));
        sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
        let frame = client.json().await;
        assert_eq!(frame.as_array().unwrap().len(), length, "{frame}");
        assert_eq!(frame[2].as_array().unwrap().len(), 4 + usize::from(rows), "{frame}");
        assert!(frame[seq_at].is_i64(), "{frame}");
    }
    assert_eq!(rows(&sim, "/trades/tBTCUSD/hist").await[0].as_array().unwrap().len(), 5);
    fault(&sim, json!({"fault": "heal"}));
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    assert_eq!(client.json().await.as_array().unwrap().len(), 4);
    sim.stop().await;
}

#[tokio::test]
async fn a_trickle_is_slow_and_complete() {
    let (sim, mut client, _) = subscribed().await;
    fault(&sim, json!({"fault": "trickle", "conn": null, "bytes": 10, "every_ms": 20}));
    let started = std::time::Instant::now();
    sim.publish("tBTCUSD", &NewTrade::new("1", "1")).unwrap();
    assert_eq!(client.json().await[1], "te");
    assert!(started.elapsed() > Duration::from_millis(60), "{:?}", started.elapsed());
    sim.stop().await;
}

#[tokio::test]
async fn a_reader_that_never_reads_is_cut() {
    let config = SimConfig { unread_bytes_max: 1 << 20, ..SimConfig::manual(T0) };
    let sim = Simulator::start(config.synthetic(&["tBTCUSD"], 1_000.0)).await.unwrap();
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    sim.advance(Duration::from_mins(2));
    let gone = async {
        while !sim.connections().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), gone).await.unwrap();
    sim.stop().await;
}

#[tokio::test]
async fn a_schedule_repeats_with_its_seed() {
    let mut runs = Vec::new();
    for seed in [1, 1, 2] {
        let schedule = Some(Schedule::new(seed, 10_000));
        let sim = Simulator::start(SimConfig { schedule, ..quiet() }).await.unwrap();
        sim.advance(Duration::from_mins(10));
        runs.push(sim.faults());
        sim.stop().await;
    }
    assert!((40..90).contains(&runs[0].len()), "{}", runs[0].len());
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
}

/// A hostile TCP client of each listener: bytes that are no HTTP, and a request that never ends.
#[tokio::test]
async fn hostile_bytes_do_no_harm() {
    use tokio::io::AsyncWriteExt as _;
    let (sim, mut client, _) = subscribed().await;
    for addr in [sim.ws_addr, sim.rest_addr] {
        for bytes in
            [b"\x00\xff\x16\x03\x01".as_slice(), b"GET / HTTP/1.1\r\n", b"GET /v2/%ff%fe HTTP/1.1\r\n\r\n"]
        {
            let mut tcp = tokio::net::TcpStream::connect(addr).await.unwrap();
            tcp.write_all(bytes).await.unwrap();
        }
    }
    let mut rude = Client::connect(&sim).await;
    let tokio_tungstenite::MaybeTlsStream::Plain(tcp) = rude.socket.get_mut() else { panic!() };
    // An unmasked frame with a reserved opcode.
    tcp.write_all(&[0x8f, 0x05, 1, 2, 3, 4, 5]).await.unwrap();
    assert_eq!(trade(&sim, &mut client, 1).await.len(), 2);
    sim.stop().await;
}

#[tokio::test]
async fn the_exchange_outlives_every_scheduled_fault() {
    let all = GarbageKind::ALL.map(|kind| Fault::Garbage { kind, symbol: None, count: 2, replace: true });
    let faults = Schedule::survivable().into_iter().chain(all).collect();
    let schedule = Some(Schedule { faults, until_ms: Some(T0 + 60_000), ..Schedule::new(5, 1_000) });
    let config = SimConfig { schedule, limits: Limits::without_rates(), ..SimConfig::manual(T0) };
    let sim = Simulator::start(config.synthetic(&["tBTCUSD", "tETHUSD"], 20.0)).await.unwrap();
    for _ in 0..60 {
        let visit = async {
            let (mut socket, _) = tokio_tungstenite::connect_async(sim.ws_url()).await.ok()?;
            let subscribe = r#"{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}"#;
            socket.send(Message::text(subscribe)).await.ok()?;
            for _ in 0..8 {
                sim.advance(Duration::from_millis(500));
                socket.next().await?.ok()?;
            }
            Some(())
        };
        let _ = tokio::time::timeout(Duration::from_millis(50), visit).await;
        sim.advance(Duration::from_secs(1));
    }
    assert!(sim.faults().len() > 30, "{}", sim.faults().len());
    fault(&sim, json!({"fault": "heal"}));
    let mut client = Client::connect(&sim).await;
    client.trades("tBTCUSD").await;
    sim.advance(Duration::from_secs(4));
    assert!(!tagged(&client.drain().await, "te").is_empty());
    assert!(sim.truth().iter().all(|t| t.history));
    assert!(sim.truth().iter().any(|t| t.te_lost));
    sim.stop().await;
}
