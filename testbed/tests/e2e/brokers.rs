//! Brokers that go away and come back in the worst order: nothing acknowledged is lost, and no candle suffers.

use candles_testbed::servers::{Worker, shared};

use crate::consumer_faults::says;
use crate::pipeline::Pipeline;
use crate::two_producers::{Market, START_MS, SYMBOLS};
use crate::whole::connect;

#[tokio::test]
async fn two_of_three_and_then_all_brokers_go_down_and_come_back_and_no_candle_suffers() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "brokers-down", 3, &SYMBOLS).await;
    let market = Market::start(12, 6.0).await;
    connect(&mut pipeline, &market.sim, "candles: {intervals: [1m]}\nproducer: {backfill: 5m}\n");
    let producer = pipeline.worker("producer", "producer").await;
    let consumers: [Worker; 2] =
        [pipeline.start("consumer", "consumer-1"), pipeline.start("consumer", "consumer-2")];
    market.until(2).await;
    // min.insync.replicas is 2: nothing can be acknowledged.
    bed.kafka.kill(2).unwrap();
    bed.kafka.kill(3).unwrap();
    says(&producer, &["kafka: ", "no record delivered for over 5 s", "records wait"]).await;
    bed.heal().await.unwrap();
    producer.wait_ready().await.unwrap();
    market.until(8).await;
    // The first to go is the first to come back: it has seen least.
    for broker in [1, 2, 3] {
        bed.kafka.kill(broker).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
    for broker in [1, 2, 3] {
        bed.kafka.broker(broker).start().unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    bed.heal().await.unwrap();
    market.expect_exact(&pipeline, 1, START_MS - 4 * 60_000).await;
    producer.wait_ready().await.unwrap();
    for worker in consumers.iter().chain([&producer]) {
        worker.stop().await.unwrap();
    }
}
