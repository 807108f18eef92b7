//! The whole pipeline: simulated exchange, producer, Kafka, consumers, InfluxDB, while things are scaled and killed.

use std::collections::BTreeMap;
use std::time::Duration;

use candles_testbed::exchange::{ClockMode, Limits, Schedule, SimConfig, Simulator, TruthQuery};
use candles_testbed::servers::{Worker, shared};

use crate::golden;
use crate::judge;
use crate::pipeline::{Pipeline, eventually};

/// Exchange time runs this much faster, and with it everything that is limited per minute of it.
const SPEED: f64 = 3_000.0;

/// Lets a pipeline read from a simulator; `settings` is the rest of the configuration.
pub fn connect(pipeline: &mut Pipeline<'_>, sim: &Simulator, settings: &str) {
    pipeline.exchange = format!(
        "  websocketUrl: {}\n  restUrl: {}\n  limits: {{historyRequestsPerMinute: 600, connectsPerMinute: 60}}\n",
        sim.ws_url(),
        sim.rest_url()
    );
    pipeline.more = settings.to_owned();
}

/// Waits until the exchange's clock has come so far through the recording, in percent.
async fn until_percent(sim: &Simulator, percent: i64) {
    let target_ms = golden::START_MS + (golden::END_MS - golden::START_MS) * percent / 100;
    while sim.clock_ms() < target_ms {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_golden(pipeline: &Pipeline<'_>) {
    eventually("raw points", 12_477, async || pipeline.raw_points().await).await;
    eventually("2m candles", 1_573, async || pipeline.candles(golden::SYMBOL, "2m").await.len()).await;
    assert_eq!(pipeline.candles(golden::SYMBOL, "2m").await, golden::folded(2));
    for interval in ["1m", "5m"] {
        let values: BTreeMap<i64, [f64; 5]> = pipeline
            .candles(golden::SYMBOL, interval)
            .await
            .into_iter()
            .map(|(start_ms, (values, _))| (start_ms, values))
            .collect();
        assert_eq!(golden::candles(interval), values, "{interval}");
    }
}

#[tokio::test]
async fn golden_candles_while_workers_are_scaled_and_killed_and_a_broker_dies() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "whole", 3, &[golden::SYMBOL]).await;
    let config = SimConfig {
        clock: ClockMode::Speed(SPEED),
        start_ms: Some(golden::START_MS - 3_600_000),
        ..SimConfig::default()
    };
    let sim =
        Simulator::start(config.recorded(golden::SYMBOL, golden::data("binance-xrp-eth/trades.json.gz")))
            .await
            .unwrap();
    connect(&mut pipeline, &sim, "candles: {intervals: [1m, 2m, 5m]}\nproducer: {backfill: 3d}\n");

    let producer = pipeline.worker("producer", "producer").await;
    let first = pipeline.worker("consumer", "consumer-1").await;
    until_percent(&sim, 10).await;
    // 1 -> 3
    let second = pipeline.worker("consumer", "consumer-2").await;
    let third = pipeline.start("consumer", "consumer-3");
    until_percent(&sim, 25).await;
    producer.kill().unwrap();
    until_percent(&sim, 30).await;
    producer.start().unwrap();
    until_percent(&sim, 45).await;
    bed.kafka.kill(2).unwrap();
    until_percent(&sim, 60).await;
    bed.kafka.restart(2).await.unwrap();
    // The member that owns the symbol's partition is among the first two: kill one, stop the other later.
    first.kill().unwrap();
    until_percent(&sim, 75).await;
    first.start().unwrap();
    second.stop().await.unwrap();
    // 3 -> 2
    until_percent(&sim, 100).await;
    assert_golden(&pipeline).await;
    // Its heartbeats would go on, three thousand times as fast as the real exchange's.
    producer.stop().await.unwrap();
    eventually("lag", Some(0), async || pipeline.lag().await).await;
    for worker in [&first, &third] {
        worker.stop().await.unwrap();
    }
    sim.stop().await;
}

#[tokio::test]
async fn a_first_start_fills_the_past_from_history() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "past", 2, &[golden::SYMBOL]).await;
    let config = SimConfig { start_ms: Some(golden::END_MS), ..SimConfig::default() };
    let sim =
        Simulator::start(config.recorded(golden::SYMBOL, golden::data("binance-xrp-eth/trades.json.gz")))
            .await
            .unwrap();
    connect(&mut pipeline, &sim, "candles: {intervals: [1m, 2m, 5m]}\nproducer: {backfill: 3d}\n");
    let producer = pipeline.worker("producer", "producer").await;
    let consumer = pipeline.worker("consumer", "consumer").await;
    assert_golden(&pipeline).await;
    producer.stop().await.unwrap();
    consumer.stop().await.unwrap();
    sim.stop().await;
}

/// Many symbols, several trades in a millisecond, arrivals out of order, connections cut and frames lost.
#[tokio::test]
async fn candles_equal_the_truth_of_a_faulty_exchange() {
    let symbols = ["tBTCUSD", "tETHUSD", "tXRPUSD", "tSOLUSD", "tAVAX:USD", "tLTCUSD"];
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "faulty", 3, &symbols).await;
    let start_ms = 1_767_225_600_000;
    let config = SimConfig {
        seed: 7,
        clock: ClockMode::Speed(15.0),
        start_ms: Some(start_ms),
        limits: Limits::without_rates(),
        history_lag_ms: 2_000,
        schedule: Some(Schedule { until_ms: Some(start_ms + 11 * 60_000), ..Schedule::new(11, 60_000) }),
        trade_until_ms: Some(start_ms + 12 * 60_000),
        ..SimConfig::default()
    };
    let sim = Simulator::start(config.synthetic(&symbols, 5.0)).await.unwrap();
    connect(&mut pipeline, &sim, "candles: {intervals: [1m]}\nproducer: {backfill: 10m}\n");
    let producer = pipeline.worker("producer", "producer").await;
    let consumers: [Worker; 2] =
        [pipeline.start("consumer", "consumer-1"), pipeline.start("consumer", "consumer-2")];
    let end_ms = start_ms + 12 * 60_000;
    while sim.clock_ms() < end_ms + 60_000 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // Coverage began ten minutes before the first subscription, somewhere in the first minute.
    let from_ms = start_ms - 8 * 60_000;
    let query = TruthQuery { start_ms: Some(from_ms), ..TruthQuery::default() };
    let truth = judge::candles(&sim.truth_of(&query).unwrap(), 1, from_ms, end_ms);
    let stored = async || {
        let mut all = judge::Candles::new();
        for symbol in symbols {
            let candles =
                pipeline.candles(symbol, "1m").await.into_iter().filter(|(start, _)| *start >= from_ms);
            all.extend(candles.map(|(start, candle)| ((symbol.to_owned(), start), candle)));
        }
        all
    };
    eventually("candles", truth.len(), async || stored().await.len()).await;
    assert_eq!(judge::differences(&truth, &stored().await), Vec::<String>::new());
    producer.stop().await.unwrap();
    for consumer in consumers {
        consumer.stop().await.unwrap();
    }
    sim.stop().await;
}
