//! Records that can never be read: each goes to the dead letters, the rest goes on.

use candles_core::trade::Trade;

use crate::golden;
use crate::world::{PARTITION, World, eventually};

const TRADE: Trade = Trade { id: 1, time_ms: golden::START_MS + 1, price: 0.5, amount: 2.0, received_us: 0 };

#[tokio::test(flavor = "multi_thread")]
async fn golden_trades_give_the_golden_candles_and_all_is_committed() {
    let mut world = World::new().await;
    world.yaml = "candles: {intervals: [1m, 2m, 5m]}\n".to_owned();
    world.golden_trades();
    let consumer = world.consumer();
    world.expect_golden().await;
    for interval in ["1m", "5m"] {
        let built: Vec<_> =
            world.candles(interval).into_iter().map(|(ms, (values, _))| (ms, values)).collect();
        assert_eq!(built, golden::candles(interval).into_iter().collect::<Vec<_>>(), "{interval}");
    }
    consumer.ready().await;
    consumer.stop().await;
    let (offset, metadata) = world.committed(PARTITION);
    assert_eq!(offset, Some(world.end(PARTITION)));
    assert!(metadata.starts_with("c2;"), "{metadata}");
}

#[tokio::test(flavor = "multi_thread")]
async fn unreadable_records_are_dead_letters_with_their_bytes_and_the_others_go_on() {
    let world = World::new().await;
    let good = world.encoded(&TRADE);
    let mut unknown_id = good.clone();
    unknown_id[1..5].copy_from_slice(&9_999_u32.to_be_bytes());
    let string_id = world.registry.put("other-value", "\"string\"");
    let mut no_trade = good.clone();
    no_trade[1..5].copy_from_slice(&string_id.to_be_bytes());
    let invalid = world.encoded(&Trade { price: -1.0, ..TRADE });
    let values: [(&str, &[u8]); 7] = [
        ("undecodable", b"{\"price\": 1}"),
        ("undecodable", b""),
        ("undecodable", &good[..good.len() - 3]),
        ("undecodable", &[0, 0, 0]),
        ("schema_unknown", &unknown_id),
        ("schema_unusable", &no_trade),
        ("invalid_trade", &invalid),
    ];
    for (_, value) in values {
        world.value(PARTITION, golden::SYMBOL, value);
    }
    world.mark(PARTITION, golden::SYMBOL, "until", -5);
    world.mark(PARTITION, golden::SYMBOL, "tombstone", 1);
    world.trades(&[TRADE]);

    let consumer = world.consumer();
    let dead = world.dead_letters(values.len() + 2).await;
    for (offset, (dead, (class, value))) in dead.iter().zip(values).enumerate() {
        assert_eq!(dead.place(), (class, offset as i64), "{dead:?}");
        assert_eq!(dead.value.as_deref().unwrap_or_default(), value, "{class}");
        assert_eq!(dead.key.as_deref(), Some(golden::SYMBOL));
        assert_eq!((dead.headers["topic"].as_str(), dead.headers["partition"].as_str()), ("trades", "1"));
        assert!(!dead.headers["reason"].is_empty() && !dead.headers["timestamp"].is_empty(), "{dead:?}");
    }
    for dead in &dead[values.len()..] {
        assert_eq!((dead.place().0, &dead.value), ("invalid_mark", &None), "{dead:?}");
    }
    eventually("the good one", 1, async || world.raw_points()).await;
    assert!((consumer.metric("candles_consumer_dead_letters_total").await - 9.0).abs() < 0.1);
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_larger_than_any_trade_reach_the_dead_letters_and_the_others_go_on() {
    let world = World::new().await;
    // One that is delivered whole, though larger than Kafka's default, and one that is not. The mock cluster keeps
    // no more than 5 MB of a partition: both must fit.
    let (large, huge) = (vec![1_u8; 1_500_000], vec![7_u8; 2_300_000]);
    let consumer = world.consumer();
    consumer.ready().await;
    world.value(PARTITION, golden::SYMBOL, &large);
    world.flush();
    let dead = world.dead_letters(1).await;
    assert_eq!(dead[0].place(), ("undecodable", 0));
    assert!(dead[0].value.as_ref() == Some(&large), "whole");
    world.value(PARTITION, golden::SYMBOL, &huge);
    world.flush();
    let dead = world.dead_letters(2).await;
    assert_eq!(dead[1].place(), ("undecodable", 1));
    assert!(dead[1].value.as_ref().is_some_and(|value| huge.starts_with(value)), "its start");
    assert_eq!(dead[1].headers["cut"], "2300000");
    world.trades(&[TRADE]);
    eventually("the good one", 1, async || world.raw_points()).await;
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn thousands_of_unreadable_records_do_not_stop_the_good_one_behind_them() {
    let world = World::new().await;
    for _ in 0..3_000 {
        world.value(PARTITION, golden::SYMBOL, b"not avro");
    }
    world.trades(&[TRADE]);
    let consumer = world.consumer();
    assert_eq!(world.dead_letters(3_000).await.last().unwrap().place(), ("undecodable", 2_999));
    eventually("the good one", 1, async || world.raw_points()).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_unknown_schemas_do_not_hold_up_the_good_one_behind_them() {
    let world = World::new().await;
    let good = world.encoded(&TRADE);
    for id in 0..600_u32 {
        let mut unknown = good.clone();
        unknown[1..5].copy_from_slice(&(100_000 + id).to_be_bytes());
        world.value(PARTITION, golden::SYMBOL, &unknown);
    }
    world.trades(&[TRADE]);
    let consumer = world.consumer();
    let dead = world.dead_letters(600).await;
    assert!(dead.iter().all(|dead| dead.place().0 == "schema_unknown"));
    eventually("the good one", 1, async || world.raw_points()).await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_down_at_the_start_holds_the_data_and_says_so() {
    let world = World::new().await;
    world.registry.set_unavailable(true);
    world.golden_trades();
    let consumer = world.consumer();
    let reasons = consumer.unready_because(&["registry: schema registry", "503", "will try again"]).await;
    assert!(reasons.contains(&world.registry.url()), "{reasons}");
    assert_eq!(world.raw_points(), 0);
    eventually("paused", true, async || consumer.metric("candles_consumer_paused").await > 0.5).await;
    world.registry.set_unavailable(false);
    world.expect_golden().await;
    consumer.ready().await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_registry_makes_no_dead_letters() {
    let mut world = World::new().await;
    world.registry_url = Some(world.influxdb.url());
    world.golden_trades();
    let consumer = world.consumer();
    consumer.unready_because(&["registry: schema registry", "check schemaRegistry.url"]).await;
    assert!((consumer.metric("candles_consumer_dead_letters_total").await).abs() < 0.1);
    consumer.stop().await;
    assert!(world.committed(PARTITION).0.unwrap_or(0) <= 1, "no trade is passed over");
    world.registry_url = None;
    let consumer = world.consumer();
    world.expect_golden().await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_goes_down_later_does_not_matter_to_known_schemas() {
    let world = World::new().await;
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    let trades = golden::trades();
    world.trades(&trades[..100]);
    let consumer = world.consumer();
    eventually("first raw points", 100, async || world.raw_points()).await;
    world.registry.set_unavailable(true);
    world.trades(&trades[100..]);
    world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    world.expect_golden().await;
    consumer.ready().await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_dead_letter_topic_holds_the_data_and_says_so() {
    let world = World::without_dead_letters().await;
    world.trades(&[TRADE]);
    world.value(PARTITION, golden::SYMBOL, b"not avro");
    world.trades(&[Trade { id: 2, ..TRADE }]);
    let consumer = world.consumer();
    consumer
        .unready_because(&["dead letter topic trades-dlq", "nothing is dropped", "create the topic"])
        .await;
    assert!(world.committed(PARTITION).0.unwrap_or(0) <= 1, "the unreadable record must not be committed");
    // Points of later records do not hide it.
    world.trades(&[Trade { id: 3, ..TRADE }]);
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    consumer.unready_because(&["dead letter topic trades-dlq"]).await;
    assert_eq!(consumer.get("/readyz").await.0, 503);
    world.cluster.create_topic(crate::world::DLQ, 1, 1).unwrap();
    assert_eq!(world.dead_letters(1).await[0].place(), ("undecodable", 1));
    consumer.ready().await;
    eventually("raw points", 3, async || world.raw_points()).await;
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}
