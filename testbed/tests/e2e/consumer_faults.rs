//! The exact result whatever happens to the servers, and clear words meanwhile.

use std::time::Duration;

use candles_core::trade::Trade;
use candles_testbed::servers::Worker;
use candles_testbed::servers::influxdb::Access;
use candles_testbed::servers::shared;

use crate::golden;
use crate::pipeline::{OtherClient, PARTITION, Pipeline, eventually};

const CANDLES: &str = "candles: {intervals: [2m]}\n";

/// Waits until `/readyz` or the log holds all of these texts.
pub async fn says(worker: &Worker, texts: &[&str]) {
    eventually(&format!("{texts:?}"), String::new(), async || {
        let (status, page) = worker.get("/readyz").await.unwrap_or_default();
        let said = status == 503 && texts.iter().all(|text| page.contains(text));
        if said { String::new() } else { format!("{status} {page}") }
    })
    .await;
}

#[tokio::test]
async fn a_broker_is_killed_and_comes_back() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "broker-killed", 3, &[golden::SYMBOL]).await;
    pipeline.more = CANDLES.to_owned();
    let client = OtherClient::new(&pipeline).await;
    let consumers = [pipeline.worker("consumer", "a").await, pipeline.worker("consumer", "b").await];
    // The leader of the busy partition.
    let leader = bed.kafka.partitions("broker-killed").await.unwrap()[PARTITION as usize].leader.unwrap();
    let leader = usize::try_from(leader).unwrap();
    client
        .golden(6, async |slice| match slice {
            1 => bed.kafka.kill(leader).unwrap(),
            4 => bed.kafka.restart(leader).await.unwrap(),
            _ => {}
        })
        .await;
    pipeline.expect_golden().await;
    pipeline.expect_committed().await;
    for consumer in consumers {
        consumer.wait_ready().await.unwrap();
        consumer.stop().await.unwrap();
    }
}

#[tokio::test]
async fn the_database_and_the_registry_are_killed_and_come_back() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "others-killed", 2, &[golden::SYMBOL]).await;
    pipeline.more = CANDLES.to_owned();
    let client = OtherClient::new(&pipeline).await;
    bed.apicurio.kill().unwrap();
    let consumer = pipeline.start("consumer", "consumer");
    client
        .golden(6, async |slice| match slice {
            0 => {
                says(&consumer, &["registry: schema registry", "will try again"]).await;
                bed.apicurio.restart().await.unwrap();
                consumer.wait_ready().await.unwrap();
            }
            1 => {
                // Known schemas need no registry.
                bed.apicurio.kill().unwrap();
                bed.influxdb.kill().unwrap();
            }
            2 => says(&consumer, &["influxdb: ", "nothing dropped, next try in"]).await,
            4 => bed.influxdb.restart().await.unwrap(),
            _ => {}
        })
        .await;
    pipeline.expect_golden().await;
    pipeline.expect_committed().await;
    consumer.wait_ready().await.unwrap();
    consumer.stop().await.unwrap();
}

#[tokio::test]
async fn a_consumer_stops_in_time_while_everything_is_frozen_and_the_next_goes_on() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "all-frozen", 2, &[golden::SYMBOL]).await;
    pipeline.more = CANDLES.to_owned();
    let client = OtherClient::new(&pipeline).await;
    let consumer = pipeline.worker("consumer", "first").await;
    client
        .golden(4, async |slice| {
            if slice == 1 {
                for server in bed.servers() {
                    server.freeze().unwrap();
                }
                // SIGKILL after 20 s otherwise.
                consumer.stop().await.unwrap();
                for server in bed.servers() {
                    server.thaw().unwrap();
                }
            }
        })
        .await;
    assert!(consumer.log().contains("consumer stopped"), "{}", consumer.log());
    bed.heal().await.unwrap();
    let consumer = pipeline.worker("consumer", "second").await;
    pipeline.expect_golden().await;
    consumer.stop().await.unwrap();
}

#[tokio::test]
async fn wrong_token_and_missing_bucket_hold_the_data_until_they_are_mended() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "wrong-place", 2, &[golden::SYMBOL]).await;
    pipeline.more = CANDLES.to_owned();
    let client = OtherClient::new(&pipeline).await;
    let token = bed.influxdb.create_token("wrong-place", Access::Write).await.unwrap();
    bed.influxdb.set_token_active(&token, false).await.unwrap();
    pipeline.token.clone_from(&token.token);
    let consumer = pipeline.start("consumer", "consumer");
    client.golden(1, async |_| ()).await;
    says(
        &consumer,
        &["influxdb: ", "bucket \"wrong-place\"", "environment variable INFLUX_TOKEN", "nothing dropped"],
    )
    .await;
    bed.influxdb.set_token_active(&token, true).await.unwrap();
    pipeline.expect_golden().await;
    pipeline.expect_committed().await;
    consumer.stop().await.unwrap();

    // The bucket goes while the consumer runs, and comes back empty.
    pipeline.token = bed.influxdb.token().to_owned();
    let consumer = pipeline.worker("consumer", "second").await;
    bed.influxdb.delete_bucket("wrong-place").await.unwrap();
    let trades: Vec<_> = golden::trades()[..100]
        .iter()
        .map(|trade| Trade { time_ms: trade.time_ms + 604_800_000, ..*trade })
        .collect();
    client.trades(PARTITION, golden::SYMBOL, &trades);
    says(&consumer, &["404", "bucket \"wrong-place\"", "nothing dropped"]).await;
    bed.influxdb.create_bucket("wrong-place").await.unwrap();
    eventually("raw points", 100, async || pipeline.raw_points().await).await;
    assert_eq!(consumer.metric("candles_consumer_dead_letters_total").await, None);
    consumer.stop().await.unwrap();
}

#[tokio::test]
async fn what_the_database_can_never_store_is_isolated() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "isolated", 2, &[golden::SYMBOL]).await;
    pipeline.more = CANDLES.to_owned();
    // Takes larger records than its dead letter topic.
    bed.kafka.create_topic("isolated-2", 2, 3, &[("max.message.bytes", "4000000")]).await.unwrap();
    bed.kafka.create_topic("isolated-2-dlq", 1, 3, &[]).await.unwrap();
    pipeline.topic = "isolated-2".to_owned();
    let client = OtherClient::new(&pipeline).await;
    let trades = golden::trades();
    // A type is fixed for each shard: a foreign text in the field `price` of a later week refuses trades there.
    let week_later = golden::START_MS + 1_209_600_000;
    bed.influxdb
        .write_lines("isolated", format!("trades,symbol=other price=\"text\" {}", week_later * 1_000_000))
        .await
        .unwrap();
    let bad = Trade { time_ms: week_later + 5, ..trades[0] };
    client.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    client.value(PARTITION, golden::SYMBOL, &vec![0; 1_200_000]);
    client.trades(PARTITION, golden::SYMBOL, &trades);
    client.trades(PARTITION, golden::SYMBOL, &[bad]);
    let consumer = pipeline.worker("consumer", "consumer").await;
    let dead = pipeline.dead_letters(2).await;
    assert_eq!((dead[0].0.as_str(), dead[0].1, dead[0].2.len()), ("undecodable", 1, 65_536), "cut");
    assert_eq!((dead[1].0.as_str(), dead[1].1), ("point_rejected", 12_479));
    let line = String::from_utf8(dead[1].2.clone()).unwrap();
    assert!(line.starts_with("trades,symbol=tXRPETH price="), "{line}");
    eventually("2m candles", 1_573, async || pipeline.candles(golden::SYMBOL, "2m").await.len()).await;
    assert_eq!(pipeline.candles(golden::SYMBOL, "2m").await, golden::folded(2));
    pipeline.expect_committed().await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    consumer.stop().await.unwrap();
}
