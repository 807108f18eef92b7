//! `docs/operator-metrics.md` lists what `/metrics` shows: name, type, labels and help of each metric that is registered.
//! `UPDATE=1 make test` rewrites it.

use std::fmt::Write as _;
use std::time::Duration;

use candles_operator::metrics::{ApiLabels, Metrics, PipelineLabels};
use candles_testbed::documents::{is_generated, metric_rows};
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

#[test]
fn operator_metrics_document_lists_what_is_registered() {
    let mut new = "\n| metric | type | labels | meaning |\n|---|---|---|---|\n".to_owned();
    for row in metric_rows(&shown()) {
        writeln!(new, "{row}").unwrap();
    }
    is_generated(DOCUMENT.as_ref(), MARKER, &new);
}

/// A family without a series is not in the text: this finds one that [`shown`] forgets.
#[test]
fn every_metric_of_the_operator_is_listed() {
    let registered = include_str!("../src/metrics.rs").matches("registry.register(").count();
    assert_eq!(metric_rows(&shown()).len(), registered);
}
