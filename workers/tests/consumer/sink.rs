//! Whatever the database does: every point is stored once, none is rewritten with other values, none is dropped.

use std::time::Duration;

use candles_testbed::doubles::influxdb::Misbehaviour::{
    Cut, CutAfterStoring, Foreign, LoseAnswer, RetryAfter, Slow, Status,
};

use crate::golden;
use crate::world::{PARTITION, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn busy_lost_cut_and_slow_answers_lose_and_change_nothing() {
    let world = World::new().await;
    let ways = [
        Status(503),
        LoseAnswer,
        Cut,
        RetryAfter(503, 1),
        CutAfterStoring,
        Slow(Duration::from_millis(800)),
        Status(500),
        LoseAnswer,
        Status(502),
        CutAfterStoring,
    ];
    world.influxdb.misbehave(ways);
    world.golden_trades();
    let consumer = world.consumer();
    world.expect_golden().await;
    assert!(world.influxdb.behaves(), "all of it happened");
    consumer.ready().await;
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let world = World::new().await;
    world.influxdb.misbehave([RetryAfter(429, 2)]);
    let consumer = world.consumer();
    consumer.ready().await;
    let times = world.influxdb.request_times();
    assert!(times[1] - times[0] >= Duration::from_secs(2), "{:?}", times[1] - times[0]);
    consumer.stop().await;
}

/// One poisoned raw point; text of the line that is refused.
async fn poisoned(world: &World) -> usize {
    let victim = golden::trades()[6_000];
    world.influxdb.poison(&format!(",id={}i ", victim.id));
    world.golden_trades();
    let consumer = world.consumer();
    let dead = world.dead_letters(1).await;
    // The mark is offset 0.
    assert_eq!(dead[0].place(), ("point_rejected", 6_001));
    let line = String::from_utf8(dead[0].value.clone().unwrap()).unwrap();
    assert!(
        line.starts_with("trades,symbol=tXRPETH price=") && line.contains(&victim.id.to_string()),
        "{line}"
    );
    assert!(dead[0].headers["reason"].contains("poisoned"), "{dead:?}");
    eventually("raw points", 12_476, async || world.raw_points()).await;
    eventually("candles", golden::folded(2), async || world.candles("2m")).await;
    world.expect_nothing_rewritten();
    eventually("stored", 14_049.0, async || consumer.metric("candles_consumer_points_stored_total").await)
        .await;
    consumer.ready().await;
    consumer.stop().await;
    world.influxdb.requests()
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_isolates_a_poisoned_line_by_cutting_the_batch() {
    let mut world = World::new().await;
    world.influxdb_yaml = "  candles: {live: false}\n".to_owned();
    let requests = poisoned(&world).await;
    assert!(requests < 60, "{requests} requests are more than cutting needs");
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_isolates_a_poisoned_line_that_the_server_names() {
    let mut world = World::new().await;
    world.influxdb_yaml = "  api: v3\n  candles: {live: false}\n".to_owned();
    let requests = poisoned(&world).await;
    assert!(requests < 30, "{requests} requests are more than naming needs");
}

/// More bad lines than one answer of InfluxDB 3 names.
async fn many_poisoned(api: &str) {
    let mut world = World::new().await;
    world.influxdb_yaml = format!("  api: {api}\n  candles: {{live: false}}\n");
    let all = golden::trades();
    // Ids are dense.
    let bad = all[..4_000].iter().filter(|trade| trade.id % 10 == 7).count();
    world.influxdb.poison("7i ");
    world.golden_trades();
    let consumer = world.consumer();
    let bad_in_all = all.iter().filter(|trade| trade.id % 10 == 7).count();
    let bad_candles = golden::folded(2).values().filter(|(_, count)| count % 10 == 7).count();
    assert!(bad > 300);
    world.dead_letters(bad_in_all + bad_candles).await;
    eventually("raw points", all.len() - bad_in_all, async || world.raw_points()).await;
    eventually("candles", 1_573 - bad_candles, async || world.candles("2m").len()).await;
    world.expect_nothing_rewritten();
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_isolates_more_than_a_thousand_bad_lines() {
    many_poisoned("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v3_isolates_more_bad_lines_than_one_answer_names() {
    many_poisoned("v3").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_are_too_large_are_halved() {
    let world = World::new().await;
    world.influxdb.set_bytes_max(10_000);
    world.golden_trades();
    let consumer = world.consumer();
    world.expect_golden().await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_request_that_no_influxdb_has_answered_drops_nothing() {
    let world = World::new().await;
    let consumer = world.consumer();
    consumer.ready().await;
    // For example a TLS port that is spoken to in plain HTTP.
    // Several, since requests go side by side and the success of one says that all is well.
    world.influxdb.misbehave([400, 422, 400, 400, 422, 400].map(Foreign));
    world.golden_trades();
    consumer.unready_because(&["influxdb: ", "this is no answer of InfluxDB", "nothing dropped"]).await;
    world.expect_golden().await;
    assert!(consumer.metric("candles_consumer_dead_letters_total").await < 0.5);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_token_file_is_read_without_a_restart() {
    let world = World::new().await;
    world.golden_trades();
    world.influxdb.set_token("rotated");
    let consumer = world.consumer();
    let reasons = consumer.unready_because(&["401", "for the token in file", "nothing dropped"]).await;
    assert!(reasons.contains(&world.influxdb.url()) && reasons.contains("bucket \"candles\""), "{reasons}");
    eventually("paused or waiting", 0, async || world.raw_points()).await;
    world.write_token("rotated\n");
    world.expect_golden().await;
    consumer.ready().await;
    assert!(consumer.metric("candles_consumer_dead_letters_total").await < 0.5);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_and_missing_places_hold_the_data_until_they_are_mended() {
    for status in [403, 404] {
        let world = World::new().await;
        world.influxdb.set_outage(Some(status));
        world.golden_trades();
        let consumer = world.consumer();
        consumer.unready_because(&[&status.to_string(), "bucket", "nothing dropped"]).await;
        assert_eq!(world.committed(PARTITION).0, None);
        world.influxdb.set_outage(None);
        world.expect_golden().await;
        assert!(consumer.metric("candles_consumer_dead_letters_total").await < 0.5);
        consumer.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_is_bounded_while_the_sink_is_down_and_all_is_stored_afterwards() {
    let world = World::new().await;
    world.influxdb.set_outage(Some(503));
    // Two partitions of four megabytes each: far more than may be pending.
    let trades = golden::trades();
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    for round in 0..4_i64 {
        // The same trades again, with other ids: points of their own.
        let shifted: Vec<_> = trades
            .iter()
            .map(|trade| candles_core::trade::Trade { id: trade.id + round * 100_000, ..*trade })
            .collect();
        world.trades(&shifted);
    }
    let consumer = world.consumer();
    eventually("paused", true, async || consumer.metric("candles_consumer_paused").await > 0.5).await;
    let pending = consumer.metric("candles_consumer_pending_bytes").await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let later = consumer.metric("candles_consumer_pending_bytes").await;
    assert!(later < 6.0 * 1024.0 * 1024.0, "{pending} then {later}");
    world.influxdb.set_outage(None);
    eventually("raw points", 4 * trades.len(), async || world.raw_points()).await;
    eventually("goes on", false, async || consumer.metric("candles_consumer_paused").await > 0.5).await;
    world.expect_nothing_rewritten();
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_within_seconds_while_the_sink_is_down_and_the_next_run_loses_nothing() {
    let world = World::new().await;
    world.golden_trades();
    world.influxdb.set_outage(Some(503));
    let consumer = world.consumer();
    consumer.unready_because(&["503"]).await;
    let took = consumer.stop().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    world.influxdb.set_outage(None);
    let consumer = world.consumer();
    world.expect_golden().await;
    consumer.stop().await;
}
