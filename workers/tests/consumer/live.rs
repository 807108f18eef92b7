//! Forming candles: only in their own measurement, and only where they are wanted.

use crate::golden;
use crate::world::{PARTITION, World, eventually};

fn states(world: &World) -> Vec<String> {
    let mut states: Vec<_> =
        world.influxdb.points("candles_live").into_values().map(|fields| fields["state"].clone()).collect();
    states.sort();
    states.dedup();
    states
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forming_candle_is_in_the_live_measurement_only() {
    let world = World::new().await;
    let consumer = world.consumer();
    consumer.ready().await;
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    // Twelve trades of the first window.
    world.trades(&golden::trades()[..5]);
    eventually("forming", vec!["\"forming\"".to_owned()], async || states(&world)).await;
    world.trades(&golden::trades()[5..10]);
    eventually("count", "10i".to_owned(), async || {
        let points = world.influxdb.points("candles_live");
        points.into_values().next().map(|fields| fields["count"].clone()).unwrap_or_default()
    })
    .await;
    assert_eq!(world.influxdb.points("candles").len(), 0);
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn live_writing_can_be_switched_off() {
    let mut world = World::new().await;
    world.influxdb_yaml = "  candles: {live: false}\n".to_owned();
    let consumer = world.consumer();
    consumer.ready().await;
    world.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
    let trades = golden::trades();
    world.trades(&trades[..5]);
    eventually("raw points", 5, async || world.raw_points()).await;
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    world.trades(&trades[5..]);
    world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    world.expect_golden().await;
    assert_eq!(states(&world), Vec::<String>::new());
    consumer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_that_the_log_does_not_cover_are_incomplete_and_never_final() {
    let world = World::new().await;
    // Without a `from` mark: the first window is not covered.
    world.trades(&golden::trades());
    world.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    let consumer = world.consumer();
    eventually("candles", 1_572, async || world.candles("2m").len()).await;
    let mut expected = golden::folded(2);
    expected.pop_first();
    assert_eq!(world.candles("2m"), expected);
    assert_eq!(states(&world), ["\"incomplete\""]);
    consumer.stop().await;
}
