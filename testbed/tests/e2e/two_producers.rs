//! Two producers at once: what one of them misses is no gap, and what both show is counted once.

use std::time::Duration;

use candles_testbed::exchange::{
    ClockMode, CutHow, Fault, Limits, RestFault, SimConfig, Simulator, TruthQuery,
};
use candles_testbed::servers::{Worker, shared};

use crate::judge;
use crate::pipeline::{Pipeline, eventually};
use crate::whole::connect;

/// Of each market here.
pub const SYMBOLS: [&str; 4] = ["tBTCUSD", "tETHUSD", "tAVAX:USD", "tLTCUSD"];
/// When each market begins.
pub const START_MS: i64 = 1_767_225_600_000;
const SPEED: f64 = 6.0;

/// A market and its minutes.
pub struct Market {
    pub sim: Simulator,
    pub end_ms: i64,
}

impl Market {
    /// That trades for so many minutes of its own time, once every symbol is subscribed.
    pub async fn start(minutes: i64, trades_per_s: f64) -> Self {
        let end_ms = START_MS + minutes * 60_000;
        let config = SimConfig {
            seed: 11,
            clock: ClockMode::Speed(SPEED),
            start_ms: Some(START_MS),
            hold_until_channels: SYMBOLS.len(),
            limits: Limits::without_rates(),
            trade_until_ms: Some(end_ms),
            ..SimConfig::default()
        };
        Self { sim: Simulator::start(config.synthetic(&SYMBOLS, trades_per_s)).await.unwrap(), end_ms }
    }

    /// Waits until the market is so far (minutes).
    pub async fn until(&self, minute: i64) {
        while self.sim.clock_ms() < START_MS + minute * 60_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until every candle of `interval_minutes` from `from_ms` on is there, and compares each with the truth.
    pub async fn expect_exact(&self, pipeline: &Pipeline<'_>, interval_minutes: i64, from_ms: i64) {
        self.until((self.end_ms - START_MS) / 60_000).await;
        let query = TruthQuery { start_ms: Some(from_ms), ..TruthQuery::default() };
        let truth =
            judge::candles(&self.sim.truth_of(&query).unwrap(), interval_minutes, from_ms, self.end_ms);
        let interval = format!("{interval_minutes}m");
        let stored = async || {
            let mut all = judge::Candles::new();
            for symbol in SYMBOLS {
                let candles = pipeline.candles(symbol, &interval).await.into_iter();
                let candles = candles.filter(|(start, _)| *start >= from_ms);
                all.extend(candles.map(|(start, candle)| ((symbol.to_owned(), start), candle)));
            }
            all
        };
        eventually("candles", truth.len(), async || stored().await.len()).await;
        assert_eq!(judge::differences(&truth, &stored().await), Vec::<String>::new());
    }
}

/// Windows that were said to be incomplete.
async fn incomplete(pipeline: &Pipeline<'_>, from_ms: i64) -> Vec<String> {
    let rows = pipeline.rows(r#"r._measurement == "candles_live""#).await;
    let rows = rows.iter().filter(|row| row.get("state").is_some_and(|state| state == "incomplete"));
    let rows = rows.filter(|row| crate::pipeline::time_ns(row) / 1_000_000 >= from_ms);
    rows.map(|row| format!("{row:?}")).collect()
}

#[tokio::test]
async fn one_of_two_producers_is_killed_frozen_and_cut_off_and_no_candle_suffers() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "hot-hot", 3, &SYMBOLS).await;
    let market = Market::start(11, 6.0).await;
    connect(&mut pipeline, &market.sim, "candles: {intervals: [1m]}\nproducer: {backfill: 5m}\n");
    let first = pipeline.worker("producer", "producer-1").await;
    let second = pipeline.worker("producer", "producer-2").await;
    let consumers: [Worker; 2] =
        [pipeline.start("consumer", "consumer-1"), pipeline.start("consumer", "consumer-2")];
    market.until(2).await;
    // Killed, and away for two minutes.
    first.kill().unwrap();
    market.until(4).await;
    first.start().unwrap();
    first.wait_ready().await.unwrap();
    // Frozen for nearly two minutes, then woken with what its sockets held. The history has none of these minutes.
    second.freeze().unwrap();
    let frozen_ms = market.sim.clock_ms();
    market.until(6).await;
    let hole =
        Fault::HistoryHole { symbol: None, start_ms: frozen_ms - 30_000, end_ms: market.sim.clock_ms() };
    market.sim.fault(&hole).unwrap();
    second.thaw().unwrap();
    market.until(7).await;
    // Cut off, with no history for anybody. The other one has never been away.
    let conn = market.sim.connections().iter().map(|conn| conn.conn).max();
    let (kind, for_ms) = (RestFault::Http500, Some(120_000));
    market.sim.fault(&Fault::Rest { kind, count: None, for_ms, path: None, slow_ms: None }).unwrap();
    market.sim.fault(&Fault::Cut { conn, how: CutHow::Reset }).unwrap();
    let from_ms = START_MS - 4 * 60_000;
    market.expect_exact(&pipeline, 1, from_ms).await;
    assert_eq!(incomplete(&pipeline, from_ms).await, Vec::<String>::new());
    for producer in [&first, &second] {
        producer.wait_ready().await.unwrap();
        producer.stop().await.unwrap();
    }
    for consumer in consumers {
        consumer.stop().await.unwrap();
    }
}

#[tokio::test]
async fn symbols_that_move_to_another_partition_keep_exact_candles() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "grows", 2, &SYMBOLS).await;
    let market = Market::start(10, 6.0).await;
    // Longer than the backfill: a moved symbol's open windows are filled from their start all the same.
    connect(
        &mut pipeline,
        &market.sim,
        "candles: {intervals: [1m, 5m]}\nproducer: {backfill: 2m}\nconsumer: {offsetReset: Latest}\n",
    );
    let consumers: [Worker; 2] =
        [pipeline.worker("consumer", "consumer-1").await, pipeline.worker("consumer", "consumer-2").await];
    let first = pipeline.worker("producer", "producer-1").await;
    let second = pipeline.worker("producer", "producer-2").await;
    market.until(1).await;
    // One producer learns of it when it starts again, the other one while it runs.
    second.kill().unwrap();
    bed.kafka.add_partitions("grows", 5).await.unwrap();
    second.start().unwrap();
    let from_ms = START_MS;
    market.expect_exact(&pipeline, 1, from_ms).await;
    market.expect_exact(&pipeline, 5, from_ms).await;
    assert!(first.log().contains("symbol moves to another partition"), "{}", first.log());
    assert_eq!(incomplete(&pipeline, from_ms).await, Vec::<String>::new());
    for worker in [&first, &second].into_iter().chain(&consumers) {
        worker.stop().await.unwrap();
    }
}
