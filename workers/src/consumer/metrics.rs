//! The consumer's metrics: name, type and help of each stand here and nowhere else.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::sink::influxdb::Outcome;

/// One label `result`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    result: &'static str,
}

/// One label `partition`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PartitionLabel {
    /// Partition of the topic.
    pub partition: i32,
}

/// One label `interval`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CandleLabel {
    interval: String,
    state: CandleState,
}

/// What a closed window became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
enum CandleState {
    Final,
    Incomplete,
}

/// Counters of the hot path are resolved once.
#[derive(Debug)]
pub struct Metrics {
    /// Trades in the candles of all intervals.
    pub trades_counted: Counter,
    /// Trades too late for some intervals.
    pub trades_partly_late: Counter,
    /// Trades too late for all intervals.
    pub trades_late: Counter,
    /// Trades that were in their candles before.
    pub trades_duplicate: Counter,
    /// Records read again to rebuild windows.
    pub records_reread: Counter,
    /// Records of symbols that are not in the configuration.
    pub records_foreign: Counter,
    /// Marks.
    pub marks: Counter,
    /// Points that the database has stored.
    pub points_stored: Counter,
    /// Bytes of batches that are not done.
    pub pending_bytes: Gauge,
    /// 1 while partitions are paused.
    pub paused: Gauge,
    /// Partitions that this member owns.
    pub assigned_partitions: Gauge,
    /// Assignments and revocations.
    pub rebalances: Counter,
    /// Clients that were given up for another one.
    pub client_rebuilds: Counter,
    /// Records that were gone before they were read.
    pub records_lost: Counter,
    /// Failed commits.
    pub commits_failed: Counter,
    /// Records between the end of a partition and the committed offset.
    pub lag: Family<PartitionLabel, Gauge>,
    candles: Family<CandleLabel, Counter>,
    dead_letters: Family<ResultLabel, Counter>,
    write_requests: Family<ResultLabel, Counter>,
    live_requests: Family<ResultLabel, Counter>,
    write_seconds: Histogram,
}

impl Metrics {
    /// Registers all under `candles_consumer_`.
    pub fn new(registry: &mut Registry) -> Arc<Self> {
        let registry = registry.sub_registry_with_prefix("candles_consumer");
        let trades = Family::<ResultLabel, Counter>::default();
        let records = Family::<ResultLabel, Counter>::default();
        let of = |family: &Family<ResultLabel, Counter>, result| {
            family.get_or_create_owned(&ResultLabel { result })
        };
        let metrics = Self {
            trades_counted: of(&trades, "counted"),
            trades_partly_late: of(&trades, "partly_late"),
            trades_late: of(&trades, "late"),
            trades_duplicate: of(&trades, "duplicate"),
            records_reread: of(&records, "reread"),
            records_foreign: of(&records, "foreign_symbol"),
            marks: of(&records, "mark"),
            points_stored: Counter::default(),
            pending_bytes: Gauge::default(),
            paused: Gauge::default(),
            assigned_partitions: Gauge::default(),
            rebalances: Counter::default(),
            client_rebuilds: Counter::default(),
            records_lost: Counter::default(),
            commits_failed: Counter::default(),
            lag: Family::default(),
            candles: Family::default(),
            dead_letters: Family::default(),
            write_requests: Family::default(),
            live_requests: Family::default(),
            write_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
        };
        registry.register(
            "trades",
            "Trades by what became of them: counted, partly_late, late or duplicate",
            trades,
        );
        registry.register(
            "records",
            "Other records: marks, reread to rebuild windows, of symbols not configured",
            records,
        );
        registry.register(
            "points_stored",
            "Points that the database has stored",
            metrics.points_stored.clone(),
        );
        registry.register(
            "pending_bytes",
            "Bytes of batches that are not stored yet",
            metrics.pending_bytes.clone(),
        );
        registry.register(
            "paused",
            "1 while partitions are paused for the sink or the registry",
            metrics.paused.clone(),
        );
        registry.register(
            "assigned_partitions",
            "Partitions that this member owns",
            metrics.assigned_partitions.clone(),
        );
        registry.register(
            "rebalances",
            "Assignments and revocations of partitions",
            metrics.rebalances.clone(),
        );
        registry.register(
            "client_rebuilds",
            "Times that the Kafka client was made anew because it was outside of its group for too long",
            metrics.client_rebuilds.clone(),
        );
        registry.register(
            "records_lost",
            "Records that retention removed before they were read",
            metrics.records_lost.clone(),
        );
        registry.register(
            "commits_failed",
            "Commits that the broker refused; the next one repeats them",
            metrics.commits_failed.clone(),
        );
        registry.register(
            "lag_records",
            "Records between the end of a partition and its committed offset",
            metrics.lag.clone(),
        );
        registry.register(
            "candles",
            "Closed windows by interval and state: Final or Incomplete",
            metrics.candles.clone(),
        );
        registry.register(
            "dead_letters",
            "Records and points sent to the dead letter topic, by kind of error",
            metrics.dead_letters.clone(),
        );
        registry.register("write_requests", "Write requests by result", metrics.write_requests.clone());
        registry.register(
            "live_requests",
            "Write requests for forming candles by result",
            metrics.live_requests.clone(),
        );
        registry.register(
            "write_seconds",
            "Time from a write request to its answer",
            metrics.write_seconds.clone(),
        );
        Arc::new(metrics)
    }

    /// A window was closed.
    pub fn candle(&self, interval: String, complete: bool) {
        let state = if complete { CandleState::Final } else { CandleState::Incomplete };
        self.candles.get_or_create(&CandleLabel { interval, state }).inc();
    }

    /// A record or point is in the dead letter topic.
    pub fn dead_letter(&self, class: &'static str) {
        self.dead_letters.get_or_create(&ResultLabel { result: class }).inc();
    }

    /// A write request was answered, or not.
    pub fn write_request(&self, outcome: &Outcome, took: Duration) {
        let result = match outcome {
            Outcome::Stored => "stored",
            Outcome::Transient { .. } => "transient",
            Outcome::Config(_) => "configuration",
            Outcome::TooLarge => "too_large",
            Outcome::Rejected(_) => "rejected",
        };
        self.write_requests.get_or_create(&ResultLabel { result }).inc();
        self.write_seconds.observe(took.as_secs_f64());
    }

    /// A write request for forming candles is over.
    pub fn live_request(&self, result: &'static str) {
        self.live_requests.get_or_create(&ResultLabel { result }).inc();
    }
}
