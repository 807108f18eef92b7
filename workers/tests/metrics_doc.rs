//! `docs/metrics.md` lists what `/metrics` shows: name, type, labels and help of each metric that is registered.
//! `UPDATE=1 make test` rewrites it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use candles_core::symbol::Symbol;
use candles_testbed::documents::{is_generated, metric_rows};
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
    metric_rows(&text)
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
    is_generated(DOCUMENT.as_ref(), MARKER, &generated());
}

/// A family without a series is not in the text: this finds one that [`of_producer`] or [`of_consumer`] forgets.
#[test]
fn every_registered_metric_is_listed() {
    let registered = |source: &str| source.matches("registry.register(").count();
    assert_eq!(rows(&of_producer()).len(), registered(include_str!("../src/producer/metrics.rs")));
    assert_eq!(rows(&of_consumer()).len(), registered(include_str!("../src/consumer/metrics.rs")));
}
