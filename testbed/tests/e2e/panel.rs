//! The original system's Grafana panel on our raw points: the queries of `examples/`, as they stand there.

mod dashboards;
mod grafana;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use candles_core::config::PipelineConfig;
use candles_testbed::servers::{datafusion, shared};

use crate::golden;
use crate::pipeline::{OtherClient, Pipeline, eventually};

/// What the examples name, and what stands in the recording.
const EXAMPLE_SYMBOL: &str = "tBTCUSD";

/// Open, high, low and close by window start (ms).
type Candles = BTreeMap<i64, [f64; 4]>;

fn example(name: &str) -> String {
    let path = format!("{}/../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

fn golden() -> Candles {
    let candles = golden::folded(2).into_iter();
    candles.map(|(start_ms, ([open, high, low, close, _], _))| (start_ms, [open, high, low, close])).collect()
}

#[tokio::test]
async fn original_panel_shows_the_golden_candles_of_the_raw_points() {
    let bed = shared::lease().await.unwrap();
    let config = PipelineConfig::from_yaml(&example("criptomonedas666.yaml")).unwrap();
    let names = config.influxdb.unwrap().trades;
    let mut pipeline = Pipeline::new(&bed, "panel", 1, &[golden::SYMBOL]).await;
    pipeline.influxdb = format!(
        "  trades: {{measurement: {}, symbolTag: {}, priceField: {}}}\n",
        names.measurement.as_str(),
        names.symbol_tag.as_str(),
        names.price_field.as_str()
    );
    pipeline.more = "candles: {intervals: [2m]}\n".to_owned();
    let client = OtherClient::new(&pipeline).await;
    client.trades(0, golden::SYMBOL, &golden::trades());
    let consumer = pipeline.worker("consumer", "consumer").await;
    let points =
        format!(r#"r._measurement == "{}" and r._field == "close_price""#, names.measurement.as_str());
    eventually("raw points", 12_477, async || pipeline.rows(&points).await.len()).await;
    consumer.stop().await.unwrap();

    assert_eq!(flux(&pipeline).await, golden(), "Flux");
    assert_eq!(sql(&pipeline, &points, names.measurement.as_str()).await, golden(), "SQL");
}

/// Grafana's part is the range and the bucket; only the symbol is not the example's.
async fn flux(pipeline: &Pipeline<'_>) -> Candles {
    let variables = format!(
        r#"option v = {{defaultBucket: "{}", timeRangeStart: time(v: {}), timeRangeStop: time(v: {})}}"#,
        pipeline.bucket,
        golden::START_MS * 1_000_000,
        golden::END_MS * 1_000_000
    );
    let panel = example("original-panel.flux").replace(EXAMPLE_SYMBOL, golden::SYMBOL);
    // Times as numbers, so that the test needs no calendar.
    let query = format!("{variables}\n{panel}    |> map(fn: (r) => ({{r with time_ns: int(v: r._time)}}))\n");
    let rows = pipeline.bed.influxdb.query_rows(&query).await.unwrap();
    rows.iter().map(|row| candle(&row["time_ns"], |name| row[name].as_str())).collect()
}

async fn sql(pipeline: &Pipeline<'_>, points: &str, measurement: &str) -> Candles {
    let mut csv = "time,Coin,close_price\n".to_owned();
    for row in pipeline.rows(points).await {
        writeln!(csv, "{},{},{}", row["time_ns"], row["Coin"], row["close_price"]).unwrap();
    }
    let at = |ms: i64| format!("to_timestamp_millis({ms})");
    let panel = example("original-panel.sql")
        .replace(EXAMPLE_SYMBOL, golden::SYMBOL)
        .replace("$__timeFrom", &at(golden::START_MS))
        .replace("$__timeTo", &at(golden::END_MS));
    let answer = datafusion::query(pipeline.bed.run_dir(), measurement, &csv, &panel).await.unwrap();
    let mut lines = answer.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"')));
    let header: Vec<&str> = lines.next().unwrap().collect();
    assert_eq!(header, ["time", "open", "high", "low", "close"]);
    let row = |cells: BTreeMap<&str, &str>| candle(cells["time"], |name| cells[name]);
    lines.map(|cells| row(header.iter().copied().zip(cells).collect())).collect()
}

fn candle<'a>(time_ns: &str, cell: impl Fn(&'static str) -> &'a str) -> (i64, [f64; 4]) {
    let time_ns: i64 = time_ns.parse().unwrap();
    assert_eq!(time_ns % 1_000_000, 0);
    (time_ns / 1_000_000, ["open", "high", "low", "close"].map(|name| cell(name).parse().unwrap()))
}
