//! The exact result whatever happens to the members of the group.

use std::time::Duration;

use candles_core::trade::Trade;
use candles_testbed::servers::shared;

use crate::golden;
use crate::pipeline::{OtherClient, PARTITION, Pipeline, eventually};

/// Members 1 -> 3 -> 2; one is killed, another frozen beyond the session timeout and thawed.
async fn members_come_and_go(name: &str, assignor: &str) {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, name, 3, &[golden::SYMBOL]).await;
    pipeline.more = format!("candles: {{intervals: [2m]}}\nconsumer: {{assignor: {assignor}}}\n");
    let client = OtherClient::new(&pipeline).await;
    let mut members = vec![pipeline.worker("consumer", "a").await];
    client
        .golden(8, async |slice| match slice {
            0 => {
                members.push(pipeline.worker("consumer", "b").await);
                members.push(pipeline.worker("consumer", "c").await);
            }
            // Killed as it is, whatever it was doing, when it has the busy partition or not.
            2 => members.remove(0).kill().unwrap(),
            4 => members[0].freeze().unwrap(),
            5 => {
                // Longer than the session timeout of 15 s (6 s where the broker decides).
                tokio::time::sleep(Duration::from_secs(17)).await;
                members[0].thaw().unwrap();
            }
            _ => {}
        })
        .await;
    pipeline.expect_golden().await;
    pipeline.expect_committed().await;
    for member in members {
        member.stop().await.unwrap();
        assert!(member.log().contains("consumer stopped"), "{}", member.log());
    }
    // Nothing that was given away by the way is written later.
    pipeline.expect_golden().await;
}

#[tokio::test]
async fn members_come_and_go_with_cooperative_sticky() {
    members_come_and_go("members-sticky", "CooperativeSticky").await;
}

#[tokio::test]
async fn members_come_and_go_with_range() {
    members_come_and_go("members-range", "Range").await;
}

#[tokio::test]
async fn members_come_and_go_with_round_robin() {
    members_come_and_go("members-robin", "RoundRobin").await;
}

#[tokio::test]
async fn members_come_and_go_where_the_broker_assigns() {
    members_come_and_go("members-broker", "Broker").await;
}

#[tokio::test]
async fn an_administrators_reset_overwrites_no_final_candle() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "reset", 2, &[golden::SYMBOL]).await;
    pipeline.more = "candles: {intervals: [2m]}\n".to_owned();
    let client = OtherClient::new(&pipeline).await;
    client.golden(1, async |_| ()).await;
    let consumer = pipeline.worker("consumer", "first").await;
    pipeline.expect_golden().await;
    pipeline.expect_committed().await;
    consumer.stop().await.unwrap();
    for (name, offset) in [("earliest", 0), ("middle", 4_321)] {
        pipeline.reset_offset(PARTITION, offset);
        let consumer = pipeline.worker("consumer", name).await;
        pipeline.expect_committed().await;
        pipeline.expect_golden().await;
        consumer.stop().await.unwrap();
    }
    let incomplete = pipeline.rows(r#"r._measurement == "candles_live" and r.interval == "2m""#).await;
    assert!(
        incomplete.iter().any(|row| row.get("state").is_some_and(|s| s == "incomplete")),
        "{incomplete:?}"
    );
}

#[tokio::test]
async fn records_that_are_deleted_unread_give_no_wrong_candle() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "deleted", 2, &[golden::SYMBOL]).await;
    pipeline.more = "candles: {intervals: [2m]}\n".to_owned();
    let client = OtherClient::new(&pipeline).await;
    let trades = golden::trades();
    client.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    client.trades(PARTITION, golden::SYMBOL, &trades[..3_000]);
    let consumer = pipeline.worker("consumer", "first").await;
    eventually("raw points", 3_000, async || pipeline.raw_points().await).await;
    pipeline.expect_committed().await;
    consumer.stop().await.unwrap();
    client.trades(PARTITION, golden::SYMBOL, &trades[3_000..]);
    client.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    // One more than trades: the mark.
    pipeline.delete_records(PARTITION, 5_001).await;
    let consumer = pipeline.worker("consumer", "second").await;
    eventually("raw points", 10_477, async || pipeline.raw_points().await).await;
    pipeline.expect_committed().await;
    let lost = consumer.metric("candles_consumer_records_lost_total").await;
    assert_eq!(lost, Some(2_000.0));
    consumer.stop().await.unwrap();
    let (golden, candles) = (golden::folded(2), pipeline.candles(golden::SYMBOL, "2m").await);
    for (start_ms, candle) in &candles {
        assert_eq!(candle, &golden[start_ms], "{start_ms}");
    }
    assert!((1_000..1_573).contains(&candles.len()), "{}", candles.len());
}

#[tokio::test]
async fn a_topic_that_is_deleted_and_made_again_is_read_from_its_start() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "again", 2, &[golden::SYMBOL]).await;
    pipeline.more = "candles: {intervals: [2m]}\n".to_owned();
    let client = OtherClient::new(&pipeline).await;
    let trades = golden::trades();
    client.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    client.trades(PARTITION, golden::SYMBOL, &trades);
    let consumer = pipeline.worker("consumer", "consumer").await;
    eventually("raw points", 12_477, async || pipeline.raw_points().await).await;
    bed.kafka.delete_topic("again").await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    bed.kafka.create_topic("again", 2, 3, &[]).await.unwrap();
    let later: Vec<_> =
        trades[..50].iter().map(|trade| Trade { time_ms: trade.time_ms + 604_800_000, ..*trade }).collect();
    let client = OtherClient::new(&pipeline).await;
    client.trades(PARTITION, golden::SYMBOL, &later);
    eventually("raw points", 12_527, async || pipeline.raw_points().await).await;
    consumer.stop().await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_made_again_and_is_longer_than_before_is_read_from_its_start() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "longer", 2, &[golden::SYMBOL]).await;
    pipeline.more = "candles: {intervals: [2m]}\n".to_owned();
    let client = OtherClient::new(&pipeline).await;
    let trades = golden::trades();
    let week_later = |trade: &Trade| Trade { time_ms: trade.time_ms + 604_800_000, ..*trade };
    let later: Vec<_> = trades.iter().map(week_later).collect();
    client.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    client.trades(PARTITION, golden::SYMBOL, &later[..50]);
    let consumer = pipeline.worker("consumer", "consumer").await;
    eventually("raw points", 50, async || pipeline.raw_points().await).await;
    pipeline.expect_committed().await;
    // While the consumer runs, and too fast for it to see the topic missing.
    consumer.freeze().unwrap();
    bed.kafka.delete_topic("longer").await.unwrap();
    eventually("partitions", 0, async || bed.kafka.partitions("longer").await.unwrap_or_default().len())
        .await;
    bed.kafka.create_topic("longer", 2, 3, &[]).await.unwrap();
    let client = OtherClient::new(&pipeline).await;
    client.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    client.trades(PARTITION, golden::SYMBOL, &trades);
    client.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    consumer.thaw().unwrap();
    eventually("raw points", 12_527, async || pipeline.raw_points().await).await;
    let golden = golden::folded(2);
    // Those of the old topic stay: they are a week later.
    let of_the_new_topic = async || {
        let mut candles = pipeline.candles(golden::SYMBOL, "2m").await;
        candles.retain(|start_ms, _| *start_ms < golden::END_MS);
        candles
    };
    eventually("2m candles", golden, of_the_new_topic).await;
    consumer.stop().await.unwrap();
}
