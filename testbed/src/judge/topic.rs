//! Records of the topic in, trades and marks out, and what their order says. The value is decoded by `apache-avro`
//! with the schema that the registry gives: nothing of the workers is used, so that an error of theirs is seen.

use std::collections::{BTreeMap, HashMap};

use apache_avro::Schema;
use apache_avro::reader::datum::GenericDatumReader;
use apache_avro::types::Value;

use super::truth::Window;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct LogRecord {
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// What it is.
    pub entry: Entry,
}

/// What a record is.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A trade.
    Trade(LogTrade),
    /// Coverage of the symbol starts at this time (ms).
    From(String, i64),
    /// Every trade of the symbol before this time (ms) has been shown.
    Until(String, i64),
    /// Nothing that a pipeline writes: what somebody injected.
    Other,
}

/// A trade as a record has it.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "the fields are those of the schema")]
pub struct LogTrade {
    pub symbol: String,
    pub id: i64,
    pub ms: i64,
    pub price: f64,
    pub amount: f64,
}

/// Decodes a value of Confluent's framing with `schema`, which is the one that the header names.
pub fn trade(value: &[u8], schema: &Schema) -> Option<LogTrade> {
    let mut body = value.get(5..)?;
    let reader = GenericDatumReader::builder(schema).build().ok()?;
    let Value::Record(fields) = reader.read_value(&mut body).ok()? else { return None };
    let mut found: HashMap<String, Value> = fields.into_iter().collect();
    let (Value::String(symbol), Value::Long(id)) = (found.remove("symbol")?, found.remove("id")?) else {
        return None;
    };
    let (Value::Double(price), Value::Double(amount)) = (found.remove("price")?, found.remove("amount")?)
    else {
        return None;
    };
    let Value::TimestampMillis(ms) = found.remove("time")? else { return None };
    body.is_empty().then_some(LogTrade { symbol, id, ms, price, amount })
}

/// Reads the headers of a record without a value.
pub fn mark<'a>(symbol: &str, headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Entry {
    let time = |value: &[u8]| std::str::from_utf8(value).ok()?.parse::<i64>().ok();
    for (name, value) in headers {
        match (name, time(value)) {
            ("from", Some(ms)) => return Entry::From(symbol.to_owned(), ms),
            ("until", Some(ms)) => return Entry::Until(symbol.to_owned(), ms),
            _ => {}
        }
    }
    Entry::Other
}

/// The first record of a trade.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seen<'a> {
    pub trade: &'a LogTrade,
}

/// What the order of the records says.
#[derive(Debug, Default)]
pub(super) struct Log<'a> {
    /// By (symbol, id).
    pub first: BTreeMap<(&'a str, i64), Seen<'a>>,
    /// Every place of a trade: partition and offset.
    pub places: HashMap<(&'a str, i64), Vec<(i32, i64)>>,
    /// Time of the first `from` mark of each symbol.
    pub first_from_ms: HashMap<&'a str, i64>,
    /// Trades that first came behind the watermark.
    pub late: Vec<String>,
    late_at: Vec<(&'a str, i64)>,
    /// Offsets that do not rise.
    pub disordered: Vec<String>,
    /// Symbols in more than one partition.
    pub moved: Vec<String>,
    /// Records that repeat a trade.
    pub duplicates: usize,
}

/// One symbol while its records are read.
#[derive(Debug, Default)]
struct Progress {
    partition: Option<i32>,
    seen_ms: Option<i64>,
}

impl<'a> Log<'a> {
    /// Reads records, each partition's in the order of offsets.
    pub fn read(records: &'a [LogRecord], lateness_ms: i64) -> Self {
        let mut log = Self::default();
        let mut symbols: HashMap<&str, Progress> = HashMap::new();
        let mut ends: HashMap<i32, i64> = HashMap::new();
        for record in records {
            let end = ends.insert(record.partition, record.offset);
            if end.is_some_and(|end| end >= record.offset) {
                log.disordered
                    .push(format!("partition {}: offset {} twice", record.partition, record.offset));
            }
            let symbol = match &record.entry {
                Entry::Trade(trade) => &trade.symbol,
                Entry::From(symbol, _) | Entry::Until(symbol, _) => symbol,
                Entry::Other => continue,
            };
            let progress = symbols.entry(symbol).or_default();
            let partition = progress.partition.replace(record.partition).unwrap_or(record.partition);
            if partition != record.partition {
                log.moved.push(format!("{symbol}: in partitions {partition} and {}", record.partition));
                // What was seen there says nothing about the order here.
                progress.seen_ms = None;
            }
            match &record.entry {
                Entry::Trade(trade) => log.trade(record, trade, progress, lateness_ms),
                Entry::From(_, ms) => {
                    log.first_from_ms.entry(symbol).or_insert(*ms);
                }
                Entry::Until(_, ms) => progress.seen_ms = progress.seen_ms.max(Some(*ms)),
                Entry::Other => {}
            }
        }
        log
    }

    fn trade(&mut self, record: &LogRecord, trade: &'a LogTrade, progress: &mut Progress, lateness_ms: i64) {
        let key = (trade.symbol.as_str(), trade.id);
        self.places.entry(key).or_default().push((record.partition, record.offset));
        if self.first.contains_key(&key) {
            self.duplicates += 1;
            return;
        }
        self.first.insert(key, Seen { trade });
        if let Some(seen_ms) = progress.seen_ms.filter(|seen_ms| trade.ms < seen_ms - lateness_ms) {
            let text =
                format!("{} {} at {}: first in the topic after {seen_ms}", trade.symbol, trade.id, trade.ms);
            self.late.push(text);
            self.late_at.push((&trade.symbol, trade.ms));
        }
        progress.seen_ms = progress.seen_ms.max(Some(trade.ms));
    }

    /// Says how many late trades a window has.
    pub fn late_in(&self, window: &Window) -> Option<String> {
        let inside = |(symbol, ms): &&(&str, i64)| {
            *symbol == window.symbol && (window.start_ms..window.end_ms()).contains(ms)
        };
        match self.late_at.iter().filter(inside).count() {
            0 => None,
            late => Some(format!(" ({late} came late)")),
        }
    }
}
