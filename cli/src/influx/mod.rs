//! Reads candles of a symbol and interval from InfluxDB: settings of the pipeline in, rows in order of time out.
//!
//! Flux for `api: v2`, SQL for `api: v3`. Both answer CSV, whose size is limited.

mod query;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};
use candles_core::candle::CandleValues;
use candles_core::config::{InfluxApi, InfluxdbConfig, PointName};
use candles_core::interval::Interval;
use candles_workers::runtime::{self, chain, secret};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::json;

use self::query::Series;

/// Longest answer that is read: 100,000 candles have about 20 MB.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);
const NS_PER_MS: i64 = 1_000_000;
/// 2200-01-01: the end of ranges without one. The exchange's clock may be ahead of the database's.
pub const FAR_MS: i64 = 7_258_118_400_000;

/// What is known about a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It will never change.
    Final,
    /// It is still open.
    Forming,
    /// The log does not cover it from its start: it is no candle of the whole window.
    Incomplete,
}

/// A candle as the database holds it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Start of the window, ms since 1970-01-01 UTC.
    pub start_ms: i64,
    /// Its numbers.
    pub values: CandleValues,
    /// Whether it may still change.
    pub state: State,
}

/// A reader of one bucket.
#[derive(Debug, Clone)]
pub struct Reader {
    config: InfluxdbConfig,
    client: reqwest::Client,
}

/// Windows `[from_ms, to_ms)` of a symbol and interval.
#[derive(Debug, Clone, Copy)]
pub struct Range {
    /// First start, ms.
    pub from_ms: i64,
    /// Starts are before this, ms.
    pub to_ms: i64,
}

impl Reader {
    /// Reads the CA file, if there is one; connects on the first request.
    pub fn new(config: &InfluxdbConfig) -> anyhow::Result<Self> {
        let client = runtime::http_client(config.ca_file.as_deref())?.timeout(REQUEST_TIMEOUT).build()?;
        Ok(Self { config: config.clone(), client })
    }

    /// Final candles of a range.
    pub async fn final_candles(
        &self,
        symbol: &str,
        interval: Interval,
        range: Range,
    ) -> anyhow::Result<Vec<Row>> {
        self.read(&self.config.candles.measurement, symbol, interval, range, false).await
    }

    /// Final candles of a range, and where there is none, what is known about the window.
    pub async fn candles(&self, symbol: &str, interval: Interval, range: Range) -> anyhow::Result<Vec<Row>> {
        let live = &self.config.candles.live_measurement;
        let (live, done) = futures_util::future::try_join(
            self.read(live, symbol, interval, range, true),
            self.final_candles(symbol, interval, range),
        )
        .await?;
        let by_start = live.into_iter().chain(done).map(|row| (row.start_ms, row));
        Ok(by_start.collect::<BTreeMap<_, _>>().into_values().collect())
    }

    /// Start (ms) of the newest window that anything is known about. No clock is asked: a replayed or simulated market
    /// has one of its own.
    pub async fn newest_ms(&self, symbol: &str, interval: Interval) -> anyhow::Result<Option<i64>> {
        let names = &self.config.candles;
        for measurement in [&names.measurement, &names.live_measurement] {
            let interval = interval.to_string();
            let series = self.series(measurement, symbol, &interval);
            let text = match self.config.api {
                InfluxApi::V2 => {
                    self.ask_flux(&series.newest_flux(Range { from_ms: 0, to_ms: FAR_MS })).await?
                }
                InfluxApi::V3 => self.ask_sql(&series.newest_sql()).await?,
            };
            let cells = |text: &str| -> anyhow::Result<Option<i64>> {
                let mut newest = None;
                tables(text, |cells| {
                    newest = newest.max(cells.get("time_ns").and_then(|cell| cell.parse::<i64>().ok()));
                    Ok(())
                })?;
                Ok(newest)
            };
            if let Some(newest_ns) = cells(&text)? {
                return Ok(Some(newest_ns.div_euclid(NS_PER_MS)));
            }
        }
        Ok(None)
    }

    /// The newest `count` windows.
    pub async fn newest(&self, symbol: &str, interval: Interval, count: u32) -> anyhow::Result<Vec<Row>> {
        let Some(newest_ms) = self.newest_ms(symbol, interval).await? else { return Ok(Vec::new()) };
        let from_ms =
            newest_ms.saturating_sub(interval.length_ms() * i64::from(count.saturating_sub(1))).max(0);
        let mut rows = self.candles(symbol, interval, Range { from_ms, to_ms: FAR_MS }).await?;
        // Windows that are still open are newer than the newest final one.
        rows.drain(..rows.len().saturating_sub(count as usize));
        Ok(rows)
    }

    async fn read(
        &self,
        measurement: &PointName,
        symbol: &str,
        interval: Interval,
        range: Range,
        live: bool,
    ) -> anyhow::Result<Vec<Row>> {
        let interval = interval.to_string();
        let series = self.series(measurement, symbol, &interval);
        let text = match self.config.api {
            InfluxApi::V2 => self.ask_flux(&series.flux(range)).await?,
            InfluxApi::V3 => self.ask_sql(&series.sql(range, live)).await?,
        };
        self.rows(&text).with_context(|| format!("what influxdb {} answered", self.config.url))
    }

    fn series<'a>(&'a self, measurement: &'a PointName, symbol: &'a str, interval: &'a str) -> Series<'a> {
        Series { bucket: &self.config.bucket, names: &self.config.candles, measurement, symbol, interval }
    }

    async fn ask_flux(&self, query: &str) -> anyhow::Result<String> {
        let url = self.config.url.join(&["api", "v2", "query"]);
        let request =
            self.client.post(url).query(&[("org", self.config.organization.as_deref().unwrap_or_default())]);
        let body = json!({"query": query, "type": "flux", "dialect": {"header": true, "annotations": []}});
        self.ask(request.json(&body), "Token").await
    }

    async fn ask_sql(&self, query: &str) -> anyhow::Result<String> {
        let url = self.config.url.join(&["api", "v3", "query_sql"]);
        let body = json!({"db": self.config.bucket, "q": query, "format": "csv"});
        match self.ask(self.client.post(url).json(&body), "Bearer").await {
            // InfluxDB 3 knows no table before its first row.
            Err(error) if error.to_string().contains("table") && error.to_string().contains("not found") => {
                Ok(String::new())
            }
            answer => answer,
        }
    }

    async fn ask(&self, request: reqwest::RequestBuilder, scheme: &str) -> anyhow::Result<String> {
        let url = &self.config.url;
        // Read each time: it may have been rotated.
        let token = secret::read(&self.config.token).context("influxdb.token")?;
        let request = request
            .header("Authorization", format!("{scheme} {}", token.expose()))
            .header("Accept", "application/csv");
        let answer = request.send().await.map_err(|e| {
            anyhow::anyhow!("influxdb {url}: {}; is it running? see influxdb.url", chain(&e.without_url()))
        })?;
        let status = answer.status();
        let body = runtime::read_body(answer, ANSWER_BYTES_MAX)
            .await
            .map_err(|problem| anyhow::anyhow!("influxdb {url}: {problem}"))?;
        let text = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() {
            return Ok(text);
        }
        let words: String = text.chars().filter(|c| !c.is_control()).take(300).collect();
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                bail!(
                    "influxdb {url}: {status} for the token in {}; it must be allowed to read",
                    self.config.token
                )
            }
            StatusCode::NOT_FOUND => {
                bail!("influxdb {url}: {status} {words}; check influxdb.url, .organization and .bucket")
            }
            _ => bail!("influxdb {url}: {status} {words}"),
        }
    }

    fn rows(&self, text: &str) -> anyhow::Result<Vec<Row>> {
        let mut rows = Vec::new();
        tables(text, |cells| {
            rows.push(self.row(cells)?);
            Ok(())
        })?;
        Ok(rows)
    }

    fn row(&self, cells: &BTreeMap<&str, &str>) -> anyhow::Result<Row> {
        let fields = &self.config.candles.fields;
        let cell = |name: &str| *cells.get(name).unwrap_or(&"");
        let number = |name: &PointName| {
            let text = cell(name.as_str());
            text.parse::<f64>().with_context(|| format!("a candle with {} = {text:?}", name.as_str()))
        };
        let state = match cell(fields.state.as_str()) {
            "" => State::Final,
            "forming" => State::Forming,
            _ => State::Incomplete,
        };
        let time_ns: i64 = cell("time_ns").parse().context("a candle without a time")?;
        Ok(Row {
            start_ms: time_ns.div_euclid(NS_PER_MS),
            values: CandleValues {
                open: number(&fields.open)?,
                high: number(&fields.high)?,
                low: number(&fields.low)?,
                close: number(&fields.close)?,
                volume: number(&fields.volume)?,
                quote_volume: number(&fields.quote_volume)?,
                buy_volume: number(&fields.buy_volume)?,
                vwap: number(&fields.vwap)?,
                count: number(&fields.count)? as u64,
            },
            state,
        })
    }
}

/// Rows of a CSV answer by column name. A Flux answer may hold several tables, each with a header of its own.
fn tables(
    text: &str,
    mut row: impl FnMut(&BTreeMap<&str, &str>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut header: Option<csv::StringRecord> = None;
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    for record in reader.records() {
        let record = record?;
        if record.iter().any(|cell| cell == "time_ns") {
            header = Some(record);
            continue;
        }
        // An error in the middle of an answer is a table of its own, after a header that we do not know.
        if record.iter().any(|cell| cell == "error") {
            bail!("the query failed on its way; try a shorter range");
        }
        if let Some(names) = header.as_ref().filter(|names| names.len() == record.len()) {
            row(&names.iter().zip(record.iter()).collect())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader() -> Reader {
        let text = "exchange: {name: bitfinex, symbols: [tBTCUSD]}\nkafka: {bootstrapServers: 'x:1'}\n\
                    schemaRegistry: {url: 'http://x'}\ntopic: {name: t}\n\
                    influxdb: {url: 'http://x', organization: o, bucket: b, token: {env: X}}\n";
        let config = candles_core::config::PipelineConfig::from_yaml(text).unwrap();
        Reader::new(&config.influxdb.unwrap()).unwrap()
    }

    const HEADER: &str =
        ",result,table,time_ns,open,high,low,close,volume,quote_volume,buy_volume,vwap,count,state";

    #[test]
    fn rows_of_an_answer_are_candles() {
        let text = format!("{HEADER}\r\n,_result,0,60000000000,1,4,0.5,2,10,15,3,1.5,7,forming\r\n\r\n");
        let rows = reader().rows(&text).unwrap();
        assert_eq!((rows[0].start_ms, rows[0].values.count, rows[0].state), (60_000, 7, State::Forming));
        assert!(reader().rows("\r\n").unwrap().is_empty());
        let error = reader().rows(&format!("{HEADER}\r\n,_result,0,6,x,4,0.5,2,10,15,3,1.5,7,\r\n"));
        assert!(format!("{:#}", error.unwrap_err()).contains("open = \"x\""));
        assert!(reader().rows("error,reference\r\nfailed to x,897\r\n").is_err());
    }
}
