//! The producer's metrics: name, type and help of each stand here and nowhere else.

use std::sync::Arc;

use candles_core::symbol::Symbol;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::feed::{FeedState, GapReason, Source};
use crate::exchange::{Interruption, InvalidReason};

/// One label `symbol`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SymbolLabel {
    symbol: String,
}

/// `symbol` and one more label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    symbol: String,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    symbol: String,
    state: FeedState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GapLabels {
    symbol: String,
    reason: GapReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InterruptionLabel {
    reason: Interruption,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InvalidLabel {
    reason: InvalidReason,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// Values of labels in one place: snake case, a closed set each.
macro_rules! label_value {
    ($type:ty { $($variant:ident => $text:literal),* $(,)? }) => {
        impl EncodeLabelValue for $type {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
                match self { $(Self::$variant => $text),* }.encode(encoder)
            }
        }
    };
}
label_value!(Source { Executed => "executed", Stored => "stored", Snapshot => "snapshot", History => "history" });
label_value!(FeedState { Down => "down", Filling => "filling", Live => "live" });
label_value!(GapReason {
    HistoryUnavailable => "history_unavailable",
    HistoryEndsEarly => "history_ends_early",
    MillisecondTooLong => "millisecond_too_long",
});
label_value!(Interruption {
    Disconnected => "disconnected",
    SequenceHole => "sequence_hole",
    Restart => "restart",
    Maintenance => "maintenance",
    Unsubscribed => "unsubscribed",
});
label_value!(InvalidReason {
    Frame => "frame",
    Oversize => "oversize",
    Row => "row",
    Value => "value",
    Future => "future",
    UnknownChannel => "unknown_channel",
});

/// Counters of one symbol, resolved once.
#[derive(Debug)]
pub struct SymbolMetrics {
    symbol: String,
    /// By source, in the order of the enum.
    published: [Counter; 4],
    last_trade_ms: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// All metrics of a producer.
#[derive(Debug)]
pub struct Metrics {
    /// Frames of all connections.
    pub frames: Counter,
    /// Bytes of those frames.
    pub frame_bytes: Counter,
    /// Connections made and lost.
    pub reconnects: Counter,
    /// Holes in sequence numbers.
    pub sequence_holes: Counter,
    /// Frames missing in them.
    pub frames_missing: Counter,
    /// Buffered trades that were forgotten.
    pub buffer_overflows: Counter,
    /// Live trades held back.
    pub buffered_trades: Gauge,
    /// Records handed to the Kafka client and not acknowledged.
    pub queued_records: Gauge,
    /// Symbols that the exchange refuses.
    pub rejected_symbols: Gauge,
    /// Partitions of the topic.
    pub partitions: Gauge,
    /// Times that the Kafka client was made anew.
    pub client_rebuilds: Counter,
    /// From publishing to the delivery report, sampled.
    pub delivery_seconds: Histogram,
    published: Family<SourceLabels, Counter>,
    states: Family<StateLabels, Gauge>,
    last_trade: Family<SymbolLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    gaps: Family<GapLabels, Counter>,
    interruptions: Family<InterruptionLabel, Counter>,
    invalid: Family<InvalidLabel, Counter>,
    marks: Family<KindLabel, Counter>,
    deliveries: Family<ResultLabel, Counter>,
    dead_letters: Family<ResultLabel, Counter>,
    history_requests: Family<ResultLabel, Counter>,
}

impl Metrics {
    /// Registers all under `candles_producer_`.
    pub fn new(registry: &mut Registry) -> Arc<Self> {
        let metrics = Self {
            frames: Counter::default(),
            frame_bytes: Counter::default(),
            reconnects: Counter::default(),
            sequence_holes: Counter::default(),
            frames_missing: Counter::default(),
            buffer_overflows: Counter::default(),
            buffered_trades: Gauge::default(),
            queued_records: Gauge::default(),
            rejected_symbols: Gauge::default(),
            partitions: Gauge::default(),
            client_rebuilds: Counter::default(),
            delivery_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
            published: Family::default(),
            states: Family::default(),
            last_trade: Family::default(),
            gaps: Family::default(),
            interruptions: Family::default(),
            invalid: Family::default(),
            marks: Family::default(),
            deliveries: Family::default(),
            dead_letters: Family::default(),
            history_requests: Family::default(),
        };
        metrics.register(registry.sub_registry_with_prefix("candles_producer"));
        Arc::new(metrics)
    }

    fn register(&self, registry: &mut Registry) {
        let m = self;
        registry.register("frames", "Frames received from the exchange", m.frames.clone());
        registry.register("frame_bytes", "Bytes of those frames", m.frame_bytes.clone());
        registry.register("invalid", "Frames and rows that are no trades, by reason", m.invalid.clone());
        registry.register("reconnects", "Connections to the exchange that were lost", m.reconnects.clone());
        registry.register(
            "sequence_holes",
            "Holes in the sequence numbers of a connection",
            m.sequence_holes.clone(),
        );
        registry.register(
            "frames_missing",
            "Sequence numbers missing in those holes",
            m.frames_missing.clone(),
        );
        registry.register(
            "interruptions",
            "Interrupted flows of symbols, by reason",
            m.interruptions.clone(),
        );
        registry.register(
            "trades_published",
            "Trades published, by symbol and where they were found",
            m.published.clone(),
        );
        registry.register("marks_published", "Marks published: from or until", m.marks.clone());
        registry.register("gaps", "Gaps that could not be filled, by symbol and reason", m.gaps.clone());
        registry.register(
            "history_requests",
            "Requests for trade history by result",
            m.history_requests.clone(),
        );
        registry.register(
            "buffered_trades",
            "Live trades held back while history is fetched",
            m.buffered_trades.clone(),
        );
        registry.register(
            "buffer_overflows",
            "Live trades forgotten from full buffers; history has them",
            m.buffer_overflows.clone(),
        );
        registry.register("records_delivered", "Delivery reports of records by result", m.deliveries.clone());
        registry.register(
            "delivery_seconds",
            "Time from publishing to the delivery report, sampled",
            m.delivery_seconds.clone(),
        );
        registry.register(
            "queued_records",
            "Records that no delivery report has come for yet",
            m.queued_records.clone(),
        );
        registry.register(
            "dead_letters",
            "Invalid frames sent to the dead letter topic by result",
            m.dead_letters.clone(),
        );
        registry.register(
            "client_rebuilds",
            "Times that the Kafka client was made anew after a permanent error",
            m.client_rebuilds.clone(),
        );
        registry.register(
            "symbol_state",
            "1 for the state that a symbol is in: down, filling or live",
            m.states.clone(),
        );
        registry.register(
            "last_trade_time_seconds",
            "Exchange time of the last published trade of a symbol",
            m.last_trade.clone(),
        );
        registry.register(
            "rejected_symbols",
            "Symbols that the exchange refuses",
            m.rejected_symbols.clone(),
        );
        registry.register("partitions", "Partitions of the topic", m.partitions.clone());
    }

    /// The counters of one symbol.
    pub fn symbol(&self, symbol: &Symbol) -> SymbolMetrics {
        let name = symbol.as_str().to_owned();
        let of = |source| self.published.get_or_create_owned(&SourceLabels { symbol: name.clone(), source });
        let published = [of(Source::Executed), of(Source::Stored), of(Source::Snapshot), of(Source::History)];
        let last_trade_ms = self.last_trade.get_or_create_owned(&SymbolLabel { symbol: name.clone() });
        SymbolMetrics { symbol: name, published, last_trade_ms }
    }

    /// The state of a symbol.
    pub fn state(&self, symbol: &SymbolMetrics, now: FeedState) {
        for state in [FeedState::Down, FeedState::Filling, FeedState::Live] {
            let labels = StateLabels { symbol: symbol.symbol.clone(), state };
            self.states.get_or_create(&labels).set(i64::from(state == now));
        }
    }

    /// A gap that could not be filled.
    pub fn gap(&self, symbol: &SymbolMetrics, reason: GapReason) {
        self.gaps.get_or_create(&GapLabels { symbol: symbol.symbol.clone(), reason }).inc();
    }

    /// The flow of a symbol was interrupted.
    pub fn interruption(&self, reason: Interruption) {
        self.interruptions.get_or_create(&InterruptionLabel { reason }).inc();
    }

    /// Something that is no trade came.
    pub fn invalid(&self, reason: InvalidReason) {
        self.invalid.get_or_create(&InvalidLabel { reason }).inc();
    }

    /// A mark was published: `from` or `until`.
    pub fn mark(&self, kind: &'static str) {
        self.marks.get_or_create(&KindLabel { kind }).inc();
    }

    /// So many delivery reports came, with this result.
    pub fn delivered(&self, result: &'static str, records: u64) {
        self.deliveries.get_or_create(&ResultLabel { result }).inc_by(records);
    }

    /// An invalid frame was handed to the dead letter topic, or not.
    pub fn dead_letter(&self, result: &'static str) {
        self.dead_letters.get_or_create(&ResultLabel { result }).inc();
    }

    /// A request for history is over.
    pub fn history_request(&self, result: &'static str) {
        self.history_requests.get_or_create(&ResultLabel { result }).inc();
    }
}

impl SymbolMetrics {
    /// A trade was published.
    #[inline]
    pub fn published(&self, source: Source) {
        self.published[source as usize].inc();
    }

    /// Exchange time (ms) of the newest published trade.
    pub fn last_trade(&self, time_ms: i64) {
        self.last_trade_ms.set(time_ms as f64 / 1000.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions_of_prometheus() {
        let mut registry = Registry::default();
        let metrics = Metrics::new(&mut registry);
        let symbol = metrics.symbol(&Symbol::new("tAVAX:USD").expect("a symbol"));
        symbol.published(Source::History);
        metrics.state(&symbol, FeedState::Live);
        metrics.gap(&symbol, GapReason::HistoryEndsEarly);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encodes");
        for line in [
            "candles_producer_trades_published_total{symbol=\"tAVAX:USD\",source=\"history\"} 1",
            "candles_producer_symbol_state{symbol=\"tAVAX:USD\",state=\"live\"} 1",
            "candles_producer_symbol_state{symbol=\"tAVAX:USD\",state=\"down\"} 0",
            "candles_producer_gaps_total{symbol=\"tAVAX:USD\",reason=\"history_ends_early\"} 1",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
