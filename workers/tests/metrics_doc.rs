//! `docs/metrics.md` lists what `/metrics` shows: name, type, labels and help of each metric that is registered.
//! `UPDATE=1 make test` rewrites it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use candles_core::symbol::Symbol;
use candles_workers::exchange::{Interruption, InvalidReason};
use candles_workers::producer::feed::{FeedState, GapReason};
use candles_workers::sink::influxdb::Outcome;
use candles_workers::{consumer, producer};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
/// The generated part follows this line.
const MARKER: &str = "<!-- From here on made by workers/tests/metrics_doc.rs: UPDATE=1 make test -->\n";

/// A producer's metrics with every family seen once: one without a series is not shown.
fn of_producer() -> Registry {
    let mut registry = Registry::default();
    let metrics = producer::metrics::Metrics::new(&mut registry);
    let symbol = metrics.symbol(&Symbol::new("tBTCUSD").unwrap());
    metrics.state(&symbol, FeedState::Live);
    metrics.gap(&symbol, GapReason::HistoryUnavailable);
    metrics.interruption(Interruption::Disconnected);
    metrics.invalid(InvalidReason::Frame);
    metrics.mark("until");
    metrics.delivered("acknowledged", 1);
    metrics.dead_letter("delivered");
    metrics.history_request("page");
    registry
}

/// The same of a consumer.
fn of_consumer() -> Registry {
    let mut registry = Registry::default();
    let metrics = consumer::metrics::Metrics::new(&mut registry);
    metrics.lag.get_or_create(&consumer::metrics::PartitionLabel { partition: 0 }).set(0);
    metrics.candle("1m".to_owned(), true);
    metrics.dead_letter("invalid_mark");
    metrics.write_request(&Outcome::Stored, Duration::ZERO);
    metrics.live_request("stored");
    registry
}

/// Rows of a table, sorted by name.
fn rows(registry: &Registry) -> BTreeSet<String> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let row = |(name, help): (&str, &str)| {
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} "))).unwrap();
        let ending = if kind == "counter" { "_total" } else { "" };
        format!("| `{name}{ending}` | {kind} | {} | {help} |", labels(&text, name))
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

fn generated() -> String {
    let mut text = String::new();
    for (title, registry) in [("Producer", of_producer()), ("Consumer", of_consumer())] {
        write!(text, "\n## {title}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n").unwrap();
        for row in rows(&registry) {
            writeln!(text, "{row}").unwrap();
        }
    }
    text
}

#[test]
fn metrics_document_lists_what_is_registered() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (head, old) = document.split_once(MARKER).expect("the marker line stands in the document");
    let new = generated();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(DOCUMENT, format!("{head}{MARKER}{new}")).unwrap();
    } else {
        assert!(old == new, "docs/metrics.md is not what the code says; run UPDATE=1 make test");
    }
}

/// A family without a series is not in the text: this finds one that [`of_producer`] or [`of_consumer`] forgets.
#[test]
fn every_registered_metric_is_listed() {
    let registered = |source: &str| source.matches(".register(").count();
    assert_eq!(rows(&of_producer()).len(), registered(include_str!("../src/producer/metrics.rs")));
    assert_eq!(rows(&of_consumer()).len(), registered(include_str!("../src/consumer/metrics.rs")));
}
