//! Brokers, groups and offsets, as far as the mock cluster goes; rebalances and brokers that fail are in e2e.

use std::time::Duration;

use candles_testbed::servers::{RunDir, Worker};
use rand::{Rng as _, SeedableRng as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::golden;
use crate::world::{PARTITION, World, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_goes_on_where_the_first_was_stopped() {
    let world = World::new().await;
    let trades = golden::trades();
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    let mut written = 0;
    for end in [3_001, 7_503, trades.len()] {
        world.trades(&trades[written..end]);
        written = end;
        if end == trades.len() {
            world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
        }
        let consumer = world.consumer();
        eventually("raw points", end, async || world.raw_points()).await;
        consumer.stop().await;
        let (offset, metadata) = world.committed(PARTITION);
        assert_eq!(offset, Some(world.end(PARTITION)));
        assert!(metadata.len() <= 4_096, "{metadata}");
    }
    world.expect_golden().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_at_any_moment_the_final_candles_are_the_same() {
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or_else(rand::random);
    println!("replay with SEED={seed}");
    let mut random = rand::rngs::StdRng::seed_from_u64(seed);
    let world = World::new().await;
    let trades = golden::trades();
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    let run = RunDir::new("consumer-kills").unwrap();
    let consumer = std::path::Path::new(env!("CARGO_BIN_EXE_consumer"));
    let mut written = 0;
    for life in 0..6 {
        let worker = Worker::start(consumer, &format!("life-{life}"), &world.config(), &[], &run).unwrap();
        let before = world.raw_points();
        let end = if life == 5 { trades.len() } else { trades.len() * (life + 1) / 6 };
        // The next life begins when something of this slice is stored, and ends at any moment after.
        for slice in trades[written..end].chunks(500) {
            world.trades(slice);
            tokio::time::sleep(Duration::from_millis(random.random_range(0..60))).await;
        }
        written = end;
        eventually("some progress", true, async || world.raw_points() > before).await;
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1_500))).await;
        worker.kill().unwrap();
    }
    world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    let worker = Worker::start(consumer, "last", &world.config(), &[], &run).unwrap();
    world.expect_golden().await;
    worker.stop().await.unwrap();
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
    run.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_commits_and_offset_queries_are_repeated() {
    use RDKafkaRespErr::{
        RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS as LOADING,
        RD_KAFKA_RESP_ERR_NOT_COORDINATOR as MOVED, RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT as TIMED_OUT,
        RD_KAFKA_RESP_ERR_UNKNOWN as UNKNOWN,
    };
    let world = World::new().await;
    world.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &[LOADING, UNKNOWN, TIMED_OUT]);
    world.cluster.request_errors(RDKafkaApiKey::ListOffsets, &[UNKNOWN, TIMED_OUT]);
    world.cluster.request_errors(RDKafkaApiKey::OffsetCommit, &[UNKNOWN, MOVED, TIMED_OUT, UNKNOWN]);
    world.golden_trades();
    let consumer = world.consumer();
    world.expect_golden().await;
    let end = world.end(PARTITION);
    eventually("committed", Some(end), async || {
        tokio::time::sleep(Duration::from_millis(500)).await;
        world.committed(PARTITION).0
    })
    .await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_removed_unread_are_counted_and_give_no_wrong_candle() {
    let world = World::new().await;
    let trades = golden::trades();
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    world.trades(&trades[..2_000]);
    let consumer = world.consumer();
    eventually("raw points", 2_000, async || world.raw_points()).await;
    consumer.stop().await;
    world.trades(&trades[2_000..4_000]);
    // The mock cluster keeps about 5 MB of a partition: these push the others out.
    for _ in 0..8 {
        world.value(PARTITION, "nobody", &vec![0; 900_000]);
        world.flush();
    }
    world.trades(&trades[4_000..]);
    world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    let consumer = world.consumer();
    eventually("raw points", trades.len() - 2_000, async || world.raw_points()).await;
    assert!(consumer.metric("candles_consumer_records_lost_total").await >= 2_000.0);
    consumer.stop().await;
    let golden = golden::folded(2);
    for (start, candle) in world.candles("2m") {
        assert_eq!(candle, golden[&start], "{start}");
    }
    world.expect_nothing_rewritten();
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_vanish_while_partitions_are_paused_do_not_stop_the_others() {
    let world = World::new().await;
    let trades = golden::trades();
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    world.trades(&trades[..2_000]);
    let consumer = world.consumer();
    eventually("raw points", 2_000, async || world.raw_points()).await;
    // A schema that the registry does not tell pauses every partition.
    world.registry.set_unavailable(true);
    let mut unknown = world.encoded(&trades[0]);
    unknown[1..5].copy_from_slice(&9_999_u32.to_be_bytes());
    world.value(PARTITION, golden::SYMBOL, &unknown);
    world.flush();
    eventually("paused", true, async || consumer.metric("candles_consumer_paused").await > 0.5).await;
    for _ in 0..8 {
        world.value(PARTITION, "nobody", &vec![0; 900_000]);
        world.flush();
    }
    world.trades(&trades[4_000..]);
    world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    world.registry.set_unavailable(false);
    eventually("raw points", trades.len() - 2_000, async || world.raw_points()).await;
    assert!(consumer.metric("candles_consumer_records_lost_total").await >= 1.0);
    consumer.stop().await;
    let golden = golden::folded(2);
    for (start, candle) in world.candles("2m") {
        assert_eq!(candle, golden[&start], "{start}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_within_seconds_while_brokers_tell_no_offsets() {
    let world = World::new().await;
    let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN; 10_000];
    world.cluster.request_errors(RDKafkaApiKey::OffsetFetch, &errors);
    let consumer = world.consumer();
    consumer.unready_because(&["kafka: cannot read committed offsets", "will try again"]).await;
    let took = consumer.stop().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn stops_within_seconds_while_brokers_are_frozen_and_the_next_run_loses_nothing() {
    let world = World::new().await;
    let consumer = world.consumer();
    consumer.ready().await;
    world.golden_trades();
    eventually("stored", true, async || world.raw_points() > 0).await;
    world.cluster.broker_round_trip_time(1, Duration::from_mins(5)).unwrap();
    let took = consumer.stop().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    world.cluster.broker_round_trip_time(1, Duration::ZERO).unwrap();
    let consumer = world.consumer();
    world.expect_golden().await;
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_went_while_it_was_paused_is_read_when_it_comes_back() {
    let world = World::new().await;
    let trade = golden::trades()[0];
    // A schema that the registry does not tell pauses every partition, whoever has it.
    world.registry.set_unavailable(true);
    let mut unknown = world.encoded(&trade);
    unknown[1..5].copy_from_slice(&9_999_u32.to_be_bytes());
    for partition in [0, 1] {
        world.value(partition, golden::SYMBOL, &unknown);
    }
    world.flush();
    let stays = world.consumer();
    eventually("paused", true, async || stays.metric("candles_consumer_paused").await > 0.5).await;
    let comes_and_goes = world.consumer();
    let owned = async || {
        let metric = "candles_consumer_assigned_partitions";
        (stays.metric(metric).await as u32, comes_and_goes.metric(metric).await as u32)
    };
    eventually("shared", (1, 1), owned).await;
    world.registry.set_unavailable(false);
    world.dead_letters(2).await;
    comes_and_goes.stop().await;
    eventually("back", true, async || stays.metric("candles_consumer_assigned_partitions").await > 1.5).await;
    for partition in [0, 1] {
        let other = candles_core::trade::Trade { id: trade.id + i64::from(partition), ..trade };
        world.value(partition, golden::SYMBOL, &world.encoded(&other));
    }
    world.flush();
    eventually("raw points", 2, async || world.raw_points()).await;
    stays.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stays_outside_of_its_group_is_replaced_and_nothing_is_lost() {
    use RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE as NOT_AVAILABLE;
    let mut world = World::new().await;
    world.yaml.push_str("consumer: {assignor: Broker}\n");
    world.cluster.request_errors(RDKafkaApiKey::FindCoordinator, &vec![NOT_AVAILABLE; 10_000]);
    world.golden_trades();
    let consumer = world.consumer();
    let rebuilds = async || consumer.metric("candles_consumer_client_rebuilds_total").await as u32;
    eventually("clients given up", 1, rebuilds).await;
    consumer.unready_because(&["kafka: no member of the group for 6", "though brokers answer"]).await;
    world.cluster.clear_request_errors(RDKafkaApiKey::FindCoordinator);
    world.expect_golden().await;
    consumer.ready().await;
    // A member is left alone.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(rebuilds().await, 1);
    consumer.stop().await;
    assert_eq!(world.committed(PARTITION).0, Some(world.end(PARTITION)));
}
