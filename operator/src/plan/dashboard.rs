//! A Grafana dashboard with the candlesticks of a pipeline, as a ConfigMap that Grafana's sidecar finds.
//!
//! Names of measurements, tags and fields are the user's: they are quoted for the query language, and cannot become
//! part of a query or of a variable of Grafana.

use std::collections::BTreeMap;

use candles_core::{
    config::{CandlePoints, InfluxApi, InfluxdbConfig},
    symbol::Symbol,
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::{Value, json};

use super::{Child, ChildId, ChildKind, child::hash_of, names};
use crate::validate::ValidPipeline;

pub(super) fn id(pipeline: &ValidPipeline) -> ChildId {
    ChildId { kind: ChildKind::ConfigMap, name: format!("{}-dashboard", pipeline.name) }
}

pub(super) fn config_map(pipeline: &ValidPipeline) -> Child {
    let mut metadata = names::metadata(pipeline, id(pipeline).name, None);
    metadata.labels.get_or_insert_default().insert("grafana_dashboard".to_owned(), "1".to_owned());
    let file = format!("{}-{}.json", pipeline.namespace, pipeline.name);
    let text = serde_json::to_string_pretty(&dashboard(pipeline)).expect("a JSON value is JSON text");
    let object = ConfigMap { metadata, data: Some(BTreeMap::from([(file, text)])), ..ConfigMap::default() };
    Child::new(ChildKind::ConfigMap, &object)
}

fn dashboard(pipeline: &ValidPipeline) -> Value {
    let influxdb = pipeline.config.influxdb.as_ref();
    let (datasource_kind, query) = influxdb.map(query).unwrap_or_default();
    let title = format!("Candles: {}/{}", pipeline.namespace, pipeline.name);
    let symbols: Vec<&str> = pipeline.config.exchange.symbols.iter().map(Symbol::as_str).collect();
    let intervals: Vec<String> = pipeline.config.candles.intervals.iter().map(ToString::to_string).collect();
    let intervals: Vec<&str> = intervals.iter().map(String::as_str).collect();
    let datasource = json!({"type": "influxdb", "uid": "${datasource}"});
    json!({
        "uid": hash_of(&json!([pipeline.namespace, pipeline.name])),
        "title": title,
        "tags": ["candles"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": [
            {
                "name": "datasource",
                "label": "InfluxDB",
                "type": "datasource",
                "query": "influxdb",
                "description": format!("A data source of type InfluxDB, language {datasource_kind}"),
            },
            choice("symbol", "Symbol", &symbols),
            choice("interval", "Interval", &intervals),
        ]},
        "panels": [{
            "id": 1,
            "type": "candlestick",
            "title": "$symbol, $interval",
            "gridPos": {"x": 0, "y": 0, "w": 24, "h": 18},
            "datasource": datasource,
            "targets": [target(datasource_kind, &query, &datasource)],
            "options": {
                "mode": "candles+volume",
                "candleStyle": "candles",
                "colorStrategy": "open-close",
                "includeAllFields": false,
                "fields": {
                    "open": "open", "high": "high", "low": "low", "close": "close", "volume": "volume",
                },
                "legend": {"showLegend": false, "displayMode": "list", "placement": "bottom"},
            },
        }],
    })
}

fn choice(name: &str, label: &str, values: &[&str]) -> Value {
    let first = values.first().copied().unwrap_or_default();
    let options: Vec<Value> = values
        .iter()
        .map(|value| json!({"text": value, "value": value, "selected": *value == first}))
        .collect();
    json!({
        "name": name,
        "label": label,
        "type": "custom",
        // A comma or a colon in a value would be Grafana's own.
        "query": values.iter().map(|value| value.replace(':', "\\:")).collect::<Vec<_>>().join(","),
        "current": {"text": first, "value": first},
        "options": options,
    })
}

fn target(kind: &str, query: &str, datasource: &Value) -> Value {
    if kind == "SQL" {
        json!({"refId": "A", "datasource": datasource, "rawSql": query, "rawQuery": true, "format": "table"})
    } else {
        json!({"refId": "A", "datasource": datasource, "query": query})
    }
}

/// The language, and a query of one sorted table with the columns that the panel maps by name.
fn query(influxdb: &InfluxdbConfig) -> (&'static str, String) {
    match influxdb.api {
        InfluxApi::V2 => ("Flux", flux(&influxdb.bucket, &influxdb.candles)),
        InfluxApi::V3 => ("SQL", sql(&influxdb.candles)),
    }
}

fn fields(points: &CandlePoints) -> [(&'static str, &str); 5] {
    let fields = &points.fields;
    [
        ("open", fields.open.as_str()),
        ("high", fields.high.as_str()),
        ("low", fields.low.as_str()),
        ("close", fields.close.as_str()),
        ("volume", fields.volume.as_str()),
    ]
}

fn flux(bucket: &str, points: &CandlePoints) -> String {
    let columns: Vec<String> =
        fields(points).map(|(column, field)| format!("{column}: r[{}]", flux_text(field))).into();
    format!(
        "from(bucket: {})\n  \
           |> range(start: v.timeRangeStart, stop: v.timeRangeStop)\n  \
           |> filter(fn: (r) => r._measurement == {} and r[{}] == \"${{symbol}}\" and r[{}] == \"${{interval}}\")\n  \
           |> pivot(rowKey: [\"_time\"], columnKey: [\"_field\"], valueColumn: \"_value\")\n  \
           |> group()\n  \
           |> map(fn: (r) => ({{time: r._time, {}}}))\n  \
           |> sort(columns: [\"time\"])",
        flux_text(bucket),
        flux_text(points.measurement.as_str()),
        flux_text(points.symbol_tag.as_str()),
        flux_text(points.interval_tag.as_str()),
        columns.join(", "),
    )
}

fn sql(points: &CandlePoints) -> String {
    let columns: Vec<String> =
        fields(points).map(|(column, field)| format!("{} AS \"{column}\"", sql_name(field))).into();
    format!(
        "SELECT time, {}\nFROM {}\nWHERE $__timeFilter(time) AND {} = '${{symbol}}' AND {} = '${{interval}}'\nORDER BY time",
        columns.join(", "),
        sql_name(points.measurement.as_str()),
        sql_name(points.symbol_tag.as_str()),
        sql_name(points.interval_tag.as_str()),
    )
}

/// A text of Flux. Names hold neither backslash nor control characters; a dollar would begin an expression of Flux or a
/// variable of Grafana, so it is written as its code.
fn flux_text(text: &str) -> String {
    format!(
        "\"{}\"",
        text.replace('\\', "\\\\").replace('"', "\\\"").replace('$', "\\x24").replace("[[", "\\x5b[")
    )
}

/// A name of SQL. It cannot carry a dollar past Grafana: such names are shown as they are, and find nothing.
fn sql_name(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}
