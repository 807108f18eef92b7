//! Every query of the shipped dashboards, as the files have it: Flux and InfluxQL on the real InfluxDB, SQL on the engine
//! of InfluxDB 3. The candles that they show are the golden ones.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use candles_core::trade::Trade;
use candles_testbed::servers::{datafusion, shared};
use serde_json::Value;

use super::grafana::View;
use crate::golden;
use crate::pipeline::{OtherClient, PARTITION, Pipeline, eventually};

/// Column to text, one for each row of an answer. Times are ns since 1970, in `time`.
type Rows = Vec<BTreeMap<String, String>>;

const INTERVALS: [&str; 2] = ["1m", "2m"];
/// A trade after the recording, in windows that stay open.
const FORMING: Trade =
    Trade { id: 9_000_000, time_ms: golden::END_MS + 15_000, price: 0.0016, amount: -3.0, received_us: 0 };
const VALUES: [&str; 5] = ["open", "high", "low", "close", "volume"];

/// A language, with its dashboard and the names of its variables.
struct Language {
    file: &'static str,
    interval: &'static str,
}

const FLUX: Language = Language { file: "candles.json", interval: "interval" };
const INFLUXQL: Language = Language { file: "candles-influxql.json", interval: "candle_interval" };
const SQL: Language = Language { file: "v3/candles-sql.json", interval: "interval" };

/// Open, high, low, close and volume by window start (ms).
type Candles = BTreeMap<i64, [f64; 5]>;

fn expected(interval: &str) -> Candles {
    let minutes = interval.trim_end_matches('m').parse().unwrap();
    golden::folded(minutes).into_iter().map(|(start_ms, (values, _))| (start_ms, values)).collect()
}

fn dashboard(language: &Language) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/candles-stack/files/dashboards");
    serde_json::from_str(&std::fs::read_to_string(format!("{folder}/{}", language.file)).unwrap()).unwrap()
}

#[tokio::test]
async fn every_query_of_the_dashboards_shows_the_golden_candles() {
    let bed = shared::lease().await.unwrap();
    let mut pipeline = Pipeline::new(&bed, "dashboards", 2, &[golden::SYMBOL]).await;
    pipeline.more = format!("candles: {{intervals: [{}]}}\n", INTERVALS.join(", "));
    let client = OtherClient::new(&pipeline).await;
    client.golden(1, async |_| ()).await;
    client.trades(PARTITION, golden::SYMBOL, &[FORMING]);
    let consumer = pipeline.worker("consumer", "consumer").await;
    eventually("raw points", 12_478, async || pipeline.raw_points().await).await;
    for interval in INTERVALS {
        let stored = async || pipeline.candles(golden::SYMBOL, interval).await.len();
        eventually(&format!("{interval} candles"), expected(interval).len(), stored).await;
        let live = format!(r#"r._measurement == "candles_live" and r.interval == "{interval}""#);
        eventually("the forming candle", true, async || {
            pipeline.rows(&live).await.iter().any(|row| row["time_ns"] == ns(golden::END_MS))
        })
        .await;
    }
    consumer.stop().await.unwrap();

    check("Flux", &FLUX, async |target, view| flux(&pipeline, text(target, "query"), &view).await).await;
    check("InfluxQL", &INFLUXQL, async |target, view| {
        influxql(&pipeline, &view.influxql(text(target, "query"))).await
    })
    .await;
    let tables = Tables::of(&pipeline).await;
    check("SQL", &SQL, async |target, view| tables.ask(&pipeline, text(target, "rawSql"), &view).await).await;
}

/// The three panels and the two variables of a dashboard.
async fn check(name: &str, language: &Language, ask: impl AsyncFn(&Value, View<'_>) -> Rows) {
    let dashboard = dashboard(language);
    for (variable, values) in [("symbol", &[golden::SYMBOL][..]), (language.interval, &INTERVALS)] {
        let all = dashboard["templating"]["list"].as_array().unwrap();
        let found = all.iter().find(|one| one["name"] == variable).unwrap();
        // A data source takes it from where its own queries have their text.
        let query = serde_json::json!({"query": found["query"]["query"], "rawSql": found["query"]["query"]});
        let rows = ask(&query, view(&[], golden::END_MS)).await;
        let mut listed: Vec<&str> = rows.iter().map(value_of).collect();
        listed.sort_unstable();
        assert_eq!(listed, values, "{name}: variable {variable}");
    }
    for interval in INTERVALS {
        let variables = [("symbol", golden::SYMBOL), (language.interval, interval)];
        let panel = async |id: usize, to_ms: i64| {
            let panel = &dashboard["panels"][id - 1];
            assert_eq!((&panel["id"], panel["targets"].as_array().unwrap().len()), (&id.into(), 1));
            // The columns that a candlestick panel looks for.
            if panel["type"] == "candlestick" {
                let wanted: BTreeMap<_, _> = VALUES.map(|name| (name, name)).into();
                assert_eq!(panel["options"]["fields"], serde_json::to_value(wanted).unwrap());
            }
            ask(&panel["targets"][0], view(&variables, to_ms)).await
        };
        let expected = expected(interval);
        // A candle within the range is one that starts in it.
        let last_ms = golden::END_MS - 1;
        assert_eq!(candles(&panel(1, last_ms).await), expected, "{name}: final {interval} candles");
        let mut live = expected.clone();
        live.insert(golden::END_MS, [0.0016, 0.0016, 0.0016, 0.0016, 3.0]);
        let end_ms = golden::END_MS + 60_000;
        assert_eq!(candles(&panel(1, end_ms).await), expected, "{name}: the forming one is not final");
        assert_eq!(candles(&panel(2, end_ms).await), live, "{name}: {interval} candles from trades");
        let newest = panel(3, end_ms).await;
        assert_eq!(newest.len(), 1, "{name}: {newest:?}");
        assert_eq!(candles(&newest), live.split_off(&golden::END_MS), "{name}: the forming candle");
        assert_eq!((&*newest[0]["state"], &*newest[0]["count"]), ("forming", "1"), "{name}");
    }
}

fn view<'a>(variables: &'a [(&'a str, &'a str)], to_ms: i64) -> View<'a> {
    View { variables, from_ms: golden::START_MS, to_ms }
}

fn text<'a>(target: &'a Value, key: &str) -> &'a str {
    target[key].as_str().unwrap()
}

/// The column of an answer that Grafana takes the values of a variable from.
fn value_of(row: &BTreeMap<String, String>) -> &str {
    ["_value", "value", "symbol", "interval"].iter().find_map(|name| row.get(*name)).unwrap()
}

fn candles(rows: &[BTreeMap<String, String>]) -> Candles {
    let candle = |row: &BTreeMap<String, String>| {
        let time_ns: i64 = row["time"].parse().unwrap();
        assert_eq!(time_ns % 1_000_000, 0);
        (time_ns / 1_000_000, VALUES.map(|name| row[name].parse().unwrap()))
    };
    let candles: Candles = rows.iter().map(candle).collect();
    assert_eq!(candles.len(), rows.len(), "two candles at one time");
    candles
}

fn ns(ms: i64) -> String {
    (ms * 1_000_000).to_string()
}

async fn flux(pipeline: &Pipeline<'_>, query: &str, view: &View<'_>) -> Rows {
    let query = view.flux(query, &pipeline.bucket);
    let rows = pipeline.bed.influxdb.query_rows(&query).await.unwrap();
    let row = |mut row: BTreeMap<String, String>| {
        if let Some(time) = row.remove("_time") {
            let time: jiff::Timestamp = time.parse().unwrap();
            row.insert("time".to_owned(), time.as_nanosecond().to_string());
        }
        row
    };
    rows.into_iter().map(row).collect()
}

/// As Grafana asks, by the database that a bucket's name stands for.
async fn influxql(pipeline: &Pipeline<'_>, query: &str) -> Rows {
    let influxdb = &pipeline.bed.influxdb;
    let answer = reqwest::Client::new()
        .get(format!("{}/query", influxdb.url()))
        .query(&[("db", pipeline.bucket.as_str()), ("epoch", "ns"), ("q", query)])
        .header("Authorization", format!("Token {}", influxdb.token()))
        .send()
        .await
        .unwrap();
    let answer: Value = answer.json().await.unwrap();
    let result = &answer["results"][0];
    assert!(result["error"].is_null(), "{query}: {result}");
    let mut rows = Rows::new();
    for series in result["series"].as_array().unwrap_or(&Vec::new()) {
        let columns = series["columns"].as_array().unwrap();
        for values in series["values"].as_array().unwrap() {
            let cell = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let cells = columns.iter().zip(values.as_array().unwrap());
            rows.push(cells.map(|(name, value)| (name.as_str().unwrap().to_owned(), cell(value))).collect());
        }
    }
    rows
}

/// What InfluxDB 3 would hold, by measurement: CSV.
struct Tables(BTreeMap<&'static str, String>);

impl Tables {
    async fn of(pipeline: &Pipeline<'_>) -> Self {
        let candle = &["time", "symbol", "interval", "open", "high", "low", "close", "volume", "count"][..];
        let columns = [
            ("trades", vec!["time", "symbol", "price", "amount"]),
            ("candles", candle.to_vec()),
            ("candles_live", [candle, &["state"]].concat()),
        ];
        let mut tables = BTreeMap::new();
        for (measurement, columns) in columns {
            let mut csv = columns.join(",") + "\n";
            for row in pipeline.rows(&format!(r#"r._measurement == "{measurement}""#)).await {
                let cell = |name: &&str| row[if *name == "time" { "time_ns" } else { name }].as_str();
                writeln!(csv, "{}", columns.iter().map(cell).collect::<Vec<_>>().join(",")).unwrap();
            }
            tables.insert(measurement, csv);
        }
        Self(tables)
    }

    async fn ask(&self, pipeline: &Pipeline<'_>, query: &str, view: &View<'_>) -> Rows {
        let from = query.split("FROM ").nth(1).unwrap().split_whitespace().next().unwrap();
        // Answers have a column `time`; those for variables get one.
        let has_time = !query.contains("DISTINCT");
        let mut query = view.sql(query);
        if !has_time {
            query = format!("SELECT now() AS time, answer.* FROM ({query}) AS answer");
        }
        let answer = datafusion::query(pipeline.bed.run_dir(), from, &self.0[from], &query).await.unwrap();
        let mut lines =
            answer.lines().map(|line| line.split(',').map(|cell| cell.trim_matches('"').to_owned()));
        let header: Vec<String> = lines.next().unwrap().collect();
        lines.map(|cells| header.iter().cloned().zip(cells).collect()).collect()
    }
}
