//! `docs/operator-metrics.md` lists what `/metrics` shows: name, type, labels and help of each metric that is registered.
//! `UPDATE=1 make test` rewrites it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use candles_operator::metrics::{ApiLabels, Metrics, PipelineLabels};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operator-metrics.md");
/// The generated part follows this line.
const MARKER: &str = "<!-- From here on made by operator/tests/metrics_doc.rs: UPDATE=1 make test -->\n";

/// The metrics with every family seen once: one without a series is not shown.
fn shown() -> String {
    let mut registry = Registry::default();
    let metrics = Metrics::new(&mut registry);
    let labels = ApiLabels { verb: "get", resource: "deployments".to_owned(), code: "200".to_owned() };
    metrics.api(&labels, Some(Duration::ZERO));
    metrics.kafka("describe", "ok");
    metrics.reconciled("success", Duration::ZERO);
    let pipeline = PipelineLabels { namespace: "ns".to_owned(), name: "demo".to_owned() };
    metrics.lag(&pipeline, 0, 0);
    metrics.partitions(&pipeline, 3);
    metrics.condition(&pipeline, "Ready", "True");
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn rows(text: &str) -> BTreeSet<String> {
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let row = |(name, help): (&str, &str)| {
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
        let ending = if kind == "counter" { "_total" } else { "" };
        format!("| `{name}{ending}` | {kind} | {} | {help} |", labels(text, name))
    };
    help.map(row).collect()
}

/// Names of the labels in the first series of a metric.
fn labels(text: &str, name: &str) -> String {
    let series = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let ending = rest.split(['{', ' ']).next()?;
        ["", "_total", "_bucket"].contains(&ending).then_some(rest)
    });
    let series = series.unwrap_or_else(|| panic!("{name}: no series"));
    let labels = series.split_once('{').map_or("", |(_, rest)| rest);
    let names = labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(label, _)| label);
    names.filter(|label| *label != "le").map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

#[test]
fn operator_metrics_document_lists_what_is_registered() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (head, old) = document.split_once(MARKER).expect("the marker line stands in the document");
    let mut new = "\n| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for row in rows(&shown()) {
        writeln!(new, "{row}").unwrap();
    }
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(DOCUMENT, format!("{head}{MARKER}{new}")).unwrap();
    } else {
        assert!(old == new, "docs/operator-metrics.md is not what the code says; run UPDATE=1 make test");
    }
}

/// A family without a series is not in the text: this finds one that [`shown`] forgets.
#[test]
fn every_metric_of_the_operator_is_listed() {
    let registered = include_str!("../src/metrics.rs").matches("registry.register(").count();
    assert_eq!(rows(&shown()).len(), registered);
}
