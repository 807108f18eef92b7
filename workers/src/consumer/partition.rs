//! Records of one partition in, lines and dead records in a batch out. Synchronous: no client, no clock, no waiting.
//!
//! - While windows are rebuilt, nothing is written. (`rereading_writes_nothing`)
//! - A record that cannot be read goes to the dead letters with its bytes as they were. (`unreadable_records_are_dead`)
//! - Forming candles are written only when all that a predecessor may have written is read.
//!   (`live_candles_wait_for_what_a_predecessor_may_have_written`)

use hashbrown::HashMap;

use candles_core::{
    avro::{self, DecodeError, TradeSchema},
    builder::{Builder, Closed, LiveState, TradeOutcome},
    checkpoint::{Checkpoint, LastRecord},
    mark::{MarkError, Signed},
    symbol::Symbol,
    trade::TradeRecord,
};

#[cfg(feature = "planted-bugs")]
use candles_core::planted::{self, Bug};

use super::metrics::Metrics;
use crate::sink::{
    batch::{Batch, DeadRecord, Origin},
    line::{CandleLines, TradeLines},
};

/// One record as the client shows it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    pub origin: Origin,
    pub timestamp_ms: Option<i64>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
}

/// What all partitions share.
pub struct Shared {
    /// Symbols of the configuration: records of others are not this pipeline's.
    pub trade_lines: HashMap<Symbol, TradeLines>,
    pub candle_lines: CandleLines,
    pub metrics: std::sync::Arc<Metrics>,
}

/// One owned partition.
pub struct Partition {
    builder: Builder,
    /// Offset of the next record.
    next: i64,
    /// Before this offset, windows are rebuilt.
    head: i64,
    /// From this offset on, forming candles are newer than any that a predecessor can have written.
    live_from: i64,
    /// Metadata of the commit at `head`.
    resumed_from: String,
    /// The record before `next`.
    last: Option<LastRecord>,
    /// A record that was read before the last look at the log's identity, or the first one: what has come since may be
    /// another log's already.
    anchor: Option<LastRecord>,
    /// The record that stands at its offset if this is the log of the commit.
    expected: Option<LastRecord>,
    /// Doubts about that are settled for good.
    trusted: bool,
    /// Records before this offset are read for the sake of `expected` only.
    rebuild_from: i64,
}

impl Partition {
    /// Will read from `start`, which is before `head` when windows are to be rebuilt.
    pub fn new(builder: Builder, start: i64, head: i64, live_from: i64) -> Self {
        Self {
            builder,
            next: start,
            head,
            live_from,
            resumed_from: String::new(),
            last: None,
            anchor: None,
            expected: None,
            trusted: false,
            rebuild_from: start,
        }
    }

    /// Remembers the metadata that was committed at the head.
    pub fn resumed_from(self, metadata: &str) -> Self {
        Self { resumed_from: metadata.to_owned(), ..self }
    }

    /// Looks at the last record before the head first, if the log still holds it (it starts at `low`): is it the one
    /// that the commit names?
    pub fn expecting(self, last: Option<LastRecord>, low: i64) -> Self {
        match last.filter(|last| last.offset >= low) {
            Some(last) => Self { expected: Some(last), next: self.next.min(last.offset), ..self },
            None => self,
        }
    }

    /// A record by which the log can be told from another. `None` where that is being done, or is settled.
    pub fn to_verify(&self) -> Option<LastRecord> {
        self.anchor.filter(|_| self.expected.is_none() && !self.trusted)
    }

    /// The log is the one that was read so far.
    pub fn verified(&mut self) {
        self.anchor = self.last;
    }

    /// The next look at the record that is expected settles all doubts: clocks that were set back would raise the same
    /// one for ever.
    pub fn trust(&mut self) {
        self.trusted = true;
    }

    /// Takes note of a record that is about to be handled. False: this log is another one than that of the commit.
    pub fn is_same_log(&mut self, record: &Record<'_>) -> bool {
        let offset = record.origin.offset;
        let last = record.timestamp_ms.map(|timestamp_ms| LastRecord { offset, timestamp_ms });
        self.last = last;
        self.anchor = self.anchor.or(last);
        match self.expected {
            // Offsets may be missing in a log: then nobody can tell.
            Some(expected) if offset >= expected.offset => {
                self.expected = None;
                offset > expected.offset || last == Some(expected)
            }
            _ => true,
        }
    }

    /// Whether the record at `offset` is of no more use. Goes on then.
    pub fn passes_over(&mut self, offset: i64) -> bool {
        let passed = offset < self.rebuild_from;
        if passed {
            self.next = offset + 1;
        }
        passed
    }

    /// Offset of the next record.
    pub fn next(&self) -> i64 {
        self.next
    }

    /// What to commit: the offset of the next record that has not been handled, and how to resume there. `None`
    /// while windows are rebuilt: what is committed already is further.
    pub fn commit(&self) -> Option<(i64, String)> {
        #[cfg(feature = "planted-bugs")]
        if planted::is(Bug::ForgetMetadata) {
            return Some((self.next, String::new()));
        }
        (self.next >= self.head).then(|| {
            let checkpoint = Checkpoint { last: self.last, ..self.builder.checkpoint(self.next) };
            (self.next, checkpoint.encode())
        })
    }

    /// Offset and metadata with which another would come to this state: what was committed, while windows are rebuilt.
    pub fn checkpoint(&self) -> (i64, String) {
        self.commit().unwrap_or_else(|| (self.head, self.resumed_from.clone()))
    }

    /// A record with an Avro value.
    pub fn value(
        &mut self,
        record: &Record<'_>,
        schema: &TradeSchema,
        body: &[u8],
        shared: &Shared,
        batch: &mut Batch,
    ) {
        let result = schema.decode(body, |trade| self.trade(record.origin, &trade, shared, batch));
        if let Err(error) = result {
            let class =
                if matches!(error, DecodeError::Invalid(_)) { "invalid_trade" } else { "undecodable" };
            self.dead(record, class, error.to_string(), batch);
        }
        self.next = record.origin.offset + 1;
    }

    /// A record without a value.
    pub fn mark(
        &mut self,
        record: &Record<'_>,
        mark: Result<Signed, MarkError>,
        shared: &Shared,
        batch: &mut Batch,
    ) {
        let offset = record.origin.offset;
        #[cfg(feature = "planted-bugs")]
        if planted::is(Bug::ForgetMarks) {
            self.next = offset + 1;
            return;
        }
        match (mark, record.key.map(std::str::from_utf8)) {
            (Ok(mark), Some(Ok(symbol))) => {
                if shared.trade_lines.contains_key(symbol) {
                    shared.metrics.marks.inc();
                    let origin = record.origin;
                    self.builder
                        .mark(offset, symbol, mark, |closed| write_closed(&closed, origin, shared, batch));
                } else {
                    shared.metrics.records_foreign.inc();
                }
            }
            (Err(error), _) => self.dead(record, "invalid_mark", error.to_string(), batch),
            (Ok(_), _) => {
                self.dead(record, "invalid_mark", "mark without a symbol as its key".to_owned(), batch);
            }
        }
        self.next = offset + 1;
    }

    /// A record that can never be read.
    pub fn unreadable(&mut self, record: &Record<'_>, class: &'static str, error: String, batch: &mut Batch) {
        self.dead(record, class, error, batch);
        self.next = record.origin.offset + 1;
    }

    /// Appends forming and incomplete candles that have changed since the last call.
    pub fn live(&mut self, shared: &Shared, out: &mut Vec<u8>) {
        if self.next >= self.live_from.max(self.head) {
            self.builder.live(|live| {
                let values = live.candle.values();
                #[cfg(feature = "planted-bugs")]
                if planted::is(Bug::LiveIntoFinal) {
                    let (lines, symbol) = (&shared.candle_lines, live.symbol);
                    return lines.write_final(symbol, live.interval, live.start_ms, &values, out);
                }
                shared.candle_lines.write_live(
                    live.symbol,
                    live.interval,
                    live.start_ms,
                    &values,
                    live.state,
                    out,
                );
            });
        }
    }

    fn trade(&mut self, origin: Origin, record: &TradeRecord<'_>, shared: &Shared, batch: &mut Batch) {
        let Some(lines) = shared.trade_lines.get(record.symbol) else {
            shared.metrics.records_foreign.inc();
            return;
        };
        #[cfg(feature = "planted-bugs")]
        if origin.offset % 300 == 299 && planted::is(Bug::SkipOne) {
            return;
        }
        let metrics = &shared.metrics;
        let rereading = origin.offset < self.head;
        if !rereading {
            batch.line(origin, |out| lines.write(&record.trade, out));
        }
        let outcome =
            self.builder.trade(origin.offset, record.exchange, record.symbol, &record.trade, |closed| {
                write_closed(&closed, origin, shared, batch);
            });
        match outcome {
            _ if rereading => metrics.records_reread.inc(),
            Some(TradeOutcome::Counted) => metrics.trades_counted.inc(),
            Some(TradeOutcome::PartlyLate) => metrics.trades_partly_late.inc(),
            Some(TradeOutcome::Late) => metrics.trades_late.inc(),
            Some(TradeOutcome::Duplicate) | None => metrics.trades_duplicate.inc(),
        };
    }

    fn dead(&self, record: &Record<'_>, class: &'static str, error: String, batch: &mut Batch) {
        if record.origin.offset >= self.head {
            batch.dead(DeadRecord {
                origin: record.origin,
                timestamp_ms: record.timestamp_ms,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                class,
                error,
            });
        }
    }
}

/// Splits a value into schema id and body, or says why it is unreadable.
pub fn split(value: &[u8]) -> Result<(u32, &[u8]), (&'static str, String)> {
    avro::split(value).map_err(|error| ("undecodable", error.to_string()))
}

fn write_closed(closed: &Closed<'_>, origin: Origin, shared: &Shared, batch: &mut Batch) {
    let &Closed { symbol, interval, start_ms, candle, complete } = closed;
    let values = candle.values();
    shared.metrics.candle(interval.to_string(), complete);
    if complete {
        tracing::info!(%symbol, %interval, start_ms, trades = values.count, close = values.close, "candle final");
        batch.line(origin, |out| shared.candle_lines.write_final(symbol, interval, start_ms, &values, out));
    } else {
        tracing::info!(%symbol, %interval, start_ms, trades = values.count, "candle incomplete");
        batch.live_line(origin, |out| {
            shared.candle_lines.write_live(symbol, interval, start_ms, &values, LiveState::Incomplete, out);
        });
    }
}

#[cfg(test)]
mod tests {
    use candles_core::{
        avro::{TRADE_SCHEMA_JSON, TradeEncoder},
        checkpoint::Settings,
        config::{CandlePoints, TradePoints},
        trade::Trade,
    };

    use super::*;

    const SYMBOL: &str = "tBTCUSD";
    const BASE_MS: i64 = 1_570_752_000_000;

    fn settings() -> Settings {
        Settings { intervals: vec!["1m".parse().unwrap()], lateness_ms: 10_000 }
    }

    fn shared() -> Shared {
        let symbol = Symbol::new(SYMBOL).unwrap();
        let lines = TradeLines::new(&TradePoints::default(), &symbol);
        Shared {
            trade_lines: HashMap::from([(symbol, lines)]),
            candle_lines: CandleLines::new(&CandlePoints::default()),
            metrics: Metrics::new(&mut prometheus_client::registry::Registry::default()),
        }
    }

    /// Feeds records (time after the base time, in ms) from an offset on; returns the lines written.
    fn feed(partition: &mut Partition, shared: &Shared, times_ms: &[i64], from: i64) -> String {
        let schema = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
        let encoder = TradeEncoder::new(1, "bitfinex", SYMBOL);
        let (mut batch, mut value) = (Batch::default(), Vec::new());
        for (offset, &ms) in (from..).zip(&times_ms[from as usize..]) {
            let trade = Trade { id: offset, time_ms: BASE_MS + ms, price: 1.5, amount: 2.0, received_us: 0 };
            encoder.encode(&trade, &mut value);
            let origin = Origin { partition: 0, offset };
            let record =
                Record { origin, timestamp_ms: None, key: Some(SYMBOL.as_bytes()), value: Some(&value) };
            let (_, body) = split(&value).unwrap();
            partition.value(&record, &schema, body, shared, &mut batch);
        }
        let (dead, lines) = batch.into_parts();
        assert!(dead.is_empty());
        String::from_utf8(lines.slice(&(0..lines.len())).to_vec()).unwrap()
    }

    #[test]
    fn rereading_writes_nothing() {
        let shared = shared();
        let times = [0, 60_000, 61_000, 119_000, 131_000];
        let mut first = Partition::new(Builder::new(settings(), 0), 0, 0, 0);
        let written = feed(&mut first, &shared, &times[..4], 0);
        assert_eq!(written.lines().filter(|line| line.starts_with("trades,")).count(), 4);
        let (head, metadata) = first.commit().unwrap();
        let checkpoint = Checkpoint::decode(&metadata).unwrap();
        assert_eq!((head, checkpoint.reread), (4, 1));
        let mut second = Partition::new(Builder::restore(settings(), &checkpoint, head), 1, head, 0);
        assert_eq!(feed(&mut second, &shared, &times[..4], 1), "");
        let written = feed(&mut second, &shared, &times, 4);
        assert!(written.contains("candles,symbol=tBTCUSD,interval=1m open=1.5"), "{written}");
        assert!(written.contains("count=3i"), "{written}");
    }

    #[test]
    fn nothing_is_committed_while_windows_are_rebuilt() {
        let checkpoint = Builder::new(settings(), 0).checkpoint(0);
        let partition = Partition::new(Builder::restore(settings(), &checkpoint, 10), 0, 10, 0);
        assert_eq!(partition.commit(), None);
    }

    #[test]
    fn live_candles_wait_for_what_a_predecessor_may_have_written() {
        let shared = shared();
        let mut partition = Partition::new(Builder::new(settings(), 0), 0, 0, 2);
        let mut out = Vec::new();
        feed(&mut partition, &shared, &[0], 0);
        partition.live(&shared, &mut out);
        assert!(out.is_empty());
        feed(&mut partition, &shared, &[0, 1], 1);
        partition.live(&shared, &mut out);
        assert!(String::from_utf8(out).unwrap().contains("count=2i,state=\"incomplete\""));
    }

    #[test]
    fn unreadable_records_are_dead() {
        let shared = shared();
        let mut partition = Partition::new(Builder::new(settings(), 0), 0, 0, 0);
        let schema = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
        let mut batch = Batch::default();
        let bytes = [0, 0, 0, 0, 1, 0xff];
        let record = Record {
            origin: Origin { partition: 0, offset: 0 },
            timestamp_ms: Some(5),
            key: None,
            value: Some(&bytes),
        };
        partition.value(&record, &schema, &bytes[5..], &shared, &mut batch);
        partition.mark(&Record { value: None, ..record }, Err(MarkError::NoHeader), &shared, &mut batch);
        let (dead, lines) = batch.into_parts();
        assert!(lines.is_empty());
        assert_eq!(dead.iter().map(|d| d.class).collect::<Vec<_>>(), ["undecodable", "invalid_mark"]);
        assert_eq!(dead[0].value.as_deref(), Some(&bytes[..]));
        assert_eq!(partition.next(), 1);
    }
}
