//! Questions of the pages in, JSON out. A part that does not answer is named, with what to do.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use candles_core::interval::Interval;
use candles_workers::runtime::chain;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{App, Shared, members};
use crate::influx::{self, Row};
use crate::kafka::{Cluster, groups, topics};

/// Candles in one answer.
pub(super) const CANDLES_MAX: u32 = 2_000;
/// Subjects whose versions are shown.
const SUBJECTS_MAX: usize = 100;
/// Versions of a subject that are shown, the newest.
const VERSIONS_MAX: usize = 20;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    part: &'static str,
    text: String,
}

impl Problem {
    /// Another server does not answer as it should.
    pub(super) fn of(part: &'static str, error: &anyhow::Error) -> Self {
        Self { status: StatusCode::BAD_GATEWAY, part, text: format!("{error:#}") }
    }

    /// The question makes no sense.
    pub(super) fn question(text: String) -> Self {
        Self { status: StatusCode::BAD_REQUEST, part: "question", text }
    }

    /// Too much at once.
    pub(super) fn busy() -> Self {
        let text = "too many pages are open; close one and reload".to_owned();
        Self { status: StatusCode::SERVICE_UNAVAILABLE, part: "candlectl", text }
    }

    pub(super) fn json(&self) -> Value {
        json!({ "part": self.part, "problem": self.text })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(self.json())).into_response()
    }
}

type Answer<T> = Result<Json<T>, Problem>;

/// What the chart is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct CandlesQuery {
    symbol: String,
    interval: String,
    #[serde(default = "default_count")]
    pub(super) count: u32,
}

fn default_count() -> u32 {
    300
}

impl CandlesQuery {
    /// A symbol and an interval of the pipeline.
    pub(super) fn check(&self, app: &App) -> Result<(String, Interval), Problem> {
        let config = &app.config;
        let symbol = config.exchange.symbols.iter().find(|symbol| symbol.as_str() == self.symbol);
        let symbol = symbol
            .ok_or_else(|| Problem::question(format!("the pipeline has no symbol {:?}", self.symbol)))?;
        let interval = config.candles.intervals.iter().find(|interval| interval.to_string() == self.interval);
        let interval = interval
            .ok_or_else(|| Problem::question(format!("the pipeline has no interval {:?}", self.interval)))?;
        Ok((symbol.as_str().to_owned(), *interval))
    }
}

/// A candle for the chart.
pub(super) fn candle(row: &Row) -> Value {
    let v = &row.values;
    json!({
        "time": row.start_ms / 1_000, "open": v.open, "high": v.high, "low": v.low, "close": v.close,
        "volume": v.volume, "buyVolume": v.buy_volume, "vwap": v.vwap, "count": v.count, "state": row.state,
    })
}

/// The reader of the database, if the pipeline has one.
pub(super) fn influxdb(app: &App) -> Result<&influx::Reader, Problem> {
    app.influxdb.as_ref().ok_or_else(|| Problem {
        status: StatusCode::BAD_GATEWAY,
        part: "InfluxDB",
        text: "the configuration has no influxdb section; add one to see candles".to_owned(),
    })
}

/// Calls the brokers on a thread that may block.
pub(super) async fn ask<T: Send + 'static>(
    app: &App,
    question: impl FnOnce(&Cluster) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Problem> {
    let cluster = Arc::clone(&app.cluster);
    let answer = tokio::task::spawn_blocking(move || question(&cluster)).await;
    answer.map_err(anyhow::Error::from).and_then(|answer| answer).map_err(|e| Problem::of("Kafka", &e))
}

pub(super) async fn pipeline(State(app): Shared) -> Json<Value> {
    let config = &app.config;
    let names = |intervals: &[Interval]| intervals.iter().map(Interval::to_string).collect::<Vec<_>>();
    Json(json!({
        "version": env!("CARGO_PKG_VERSION"),
        "note": app.about.note,
        "symbols": config.exchange.symbols,
        "intervals": names(&config.candles.intervals),
        "latenessMs": config.candles.lateness.as_ms(),
        "topic": config.topic.name.as_str(),
        "group": config.group_id(),
        // The page does not ask what is never answered.
        "settings": !app.about.stand_in,
    }))
}

fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Each part: where it is, and whether it answers.
pub(super) async fn status(State(app): Shared) -> Json<Value> {
    let config = &app.config;
    let (kafka, registry, influxdb) = tokio::join!(
        ask(&app, |cluster| cluster.brokers().map(|count| counted(count, "broker"))),
        async {
            let subjects = app.registry.subjects().await;
            subjects.map(|subjects| counted(subjects.len(), "subject")).map_err(|e| chain(&e))
        },
        async {
            let reader = influxdb(&app).map_err(|problem| problem.text)?;
            let symbol = config.exchange.symbols[0].as_str();
            let Some(interval) = config.candles.intervals.first() else {
                return Ok("no candles configured".into());
            };
            let newest = reader.newest_ms(symbol, *interval).await.map_err(|e| format!("{e:#}"))?;
            Ok(if newest.is_some() { "answers" } else { "answers; it holds no candles yet" }.to_owned())
        },
    );
    let part = |name: &str, address: &str, state: Result<String, String>| {
        let ok = state.is_ok();
        json!({ "name": name, "address": address, "ok": ok, "text": state.unwrap_or_else(|problem| problem) })
    };
    let address = config.influxdb.as_ref().map(|influxdb| influxdb.url.to_string()).unwrap_or_default();
    Json(json!([
        part("Kafka", config.kafka.bootstrap_servers.as_str(), kafka.map_err(|problem| problem.text)),
        part("Schema registry", &config.schema_registry.url.to_string(), registry),
        part("InfluxDB", &address, influxdb),
    ]))
}

pub(super) async fn candles(State(app): Shared, Query(query): Query<CandlesQuery>) -> Answer<Vec<Value>> {
    let (symbol, interval) = query.check(&app)?;
    let rows = influxdb(&app)?.newest(&symbol, interval, query.count.clamp(1, CANDLES_MAX)).await;
    let rows = rows.map_err(|e| Problem::of("InfluxDB", &e))?;
    Ok(Json(rows.iter().map(candle).collect()))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TopicAnswer {
    #[serde(flatten)]
    topic: topics::Topic,
    records: Option<i64>,
    out_of_sync: usize,
}

pub(super) async fn topics(State(app): Shared) -> Answer<Vec<TopicAnswer>> {
    let topics = ask(&app, Cluster::topics).await?;
    let answer = |topic: topics::Topic| {
        let (records, out_of_sync) = (topic.records(), topic.out_of_sync());
        TopicAnswer { topic, records, out_of_sync }
    };
    Ok(Json(topics.into_iter().map(answer).collect()))
}

pub(super) async fn topic_settings(
    State(app): Shared,
    Path(topic): Path<String>,
) -> Answer<Vec<topics::Setting>> {
    app.cluster.settings(&topic).await.map(Json).map_err(|e| Problem::of("Kafka", &e))
}

/// The pipeline's group with its lag first, and what the brokers tell about all groups.
pub(super) async fn groups(State(app): Shared) -> Answer<Value> {
    let (group, topic) = (app.config.group_id(), app.config.topic.name.as_str().to_owned());
    let positions = ask(&app, move |cluster| cluster.positions(&cluster.topic(&topic)?)).await;
    let mut all: Result<Vec<groups::Group>, Problem> = ask(&app, Cluster::groups).await;
    if all.is_err() && !app.about.consumers.is_empty() {
        all = Ok(vec![members::group(&group, app.config.topic.name.as_str(), &app.about.consumers).await]);
    }
    let told = |problem: Problem| problem.text;
    let (positions, no_positions) =
        positions.map_or_else(|p| (Vec::new(), Some(told(p))), |found| (found, None));
    let (all, no_groups) = all.map_or_else(|p| (Vec::new(), Some(told(p))), |found| (found, None));
    Ok(Json(json!({
        "group": group, "topic": app.config.topic.name.as_str(), "positions": positions,
        "positionsProblem": no_positions, "groups": all, "groupsProblem": no_groups,
    })))
}

/// Subjects with their newest versions, each with its text.
pub(super) async fn schemas(State(app): Shared) -> Answer<Vec<Value>> {
    let failed = |e| Problem { status: StatusCode::BAD_GATEWAY, part: "Schema registry", text: chain(&e) };
    let mut answer = Vec::new();
    for subject in app.registry.subjects().await.map_err(failed)?.into_iter().take(SUBJECTS_MAX) {
        let compatibility = app.registry.compatibility(&subject).await.map_err(failed)?;
        let mut versions = Vec::new();
        for version in
            app.registry.versions(&subject).await.map_err(failed)?.into_iter().rev().take(VERSIONS_MAX)
        {
            if let Some(found) = app.registry.version(&subject, version).await.map_err(failed)? {
                versions.push(json!({ "version": found.version, "id": found.id, "schema": found.schema }));
            }
        }
        answer.push(json!({ "subject": subject, "compatibility": compatibility, "versions": versions }));
    }
    Ok(Json(answer))
}
