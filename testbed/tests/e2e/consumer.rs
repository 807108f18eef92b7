//! The consumer on records that another client wrote.

use candles_testbed::servers::shared;

use crate::golden;
use crate::pipeline::{OtherClient, Pipeline, eventually};

#[tokio::test]
async fn recorded_trades_become_the_golden_candles() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "golden", 2, &[golden::SYMBOL]).await;
    pipeline.more = "candles: {intervals: [1m, 2m, 5m]}\n".to_owned();
    let client = OtherClient::new(&pipeline).await;
    client.mark(1, golden::SYMBOL, "from", golden::START_MS);
    client.trades(1, golden::SYMBOL, &golden::trades());
    client.mark(1, golden::SYMBOL, "until", golden::END_MS + 10_000);

    let consumer = pipeline.worker("consumer", "consumer").await;
    eventually("raw points", 12_477, async || pipeline.raw_points().await).await;
    eventually("2m candles", 1_573, async || pipeline.candles(golden::SYMBOL, "2m").await.len()).await;
    assert_eq!(pipeline.candles(golden::SYMBOL, "2m").await, golden::folded(2));
    for interval in ["1m", "5m"] {
        let candles = pipeline.candles(golden::SYMBOL, interval).await;
        let values = candles.into_iter().map(|(start_ms, (values, _))| (start_ms, values)).collect();
        assert_eq!(golden::candles(interval), values, "{interval}");
    }
    eventually("lag", Some(0), async || pipeline.lag().await).await;
    consumer.stop().await.unwrap();
    assert!(consumer.log().contains("consumer stopped"), "{}", consumer.log());
}
