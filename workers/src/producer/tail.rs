//! Where the log of each symbol ends: the end of the topic in, a [`SymbolTail`] for each symbol out.
//!
//! Read backwards in growing steps until every symbol was seen, at most as far as `backfill` by record timestamp.
//! A mark counts as well as a trade: a quiet symbol has no trades, but marks every few seconds. Records of others
//! and records that cannot be decoded are passed over. Runs on a blocking thread, without joining a consumer group.
//! - The end of a symbol's log is its newest trade or mark; ids only of the overlap. (`newest_trade_or_mark_ends_the_log`)
//! - Where a topic has grown, a symbol's log may end in another partition than its own.
//!   (`a_symbol_that_moved_while_no_producer_ran_starts_at_its_open_windows` in `tests/producer.rs`)

use std::{
    collections::HashMap,
    time::{Duration, Instant, SystemTime},
};

use candles_core::{
    avro::{self, TradeSchema},
    mark::Mark,
};
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers as _},
};

use super::limits::{KAFKA_CALL, OVERLAP_MS, TAIL_IDS_MAX, TAIL_RECORDS_FIRST, TAIL_RECORDS_MAX, TAIL_STALL};
use crate::{exchange::SymbolIndex, kafka::Logging};

/// The end of one symbol's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolTail {
    /// Everything before this (ms) is in the log, but for disorder.
    pub covered_ms: i64,
    /// Coverage starts here (ms); `i64::MIN`: before the part that was read.
    pub floor_ms: i64,
    /// (id, time) of the trades of the last [`OVERLAP_MS`].
    pub ids: Vec<(i64, i64)>,
    /// It is in a partition that is no longer the symbol's: the topic has grown.
    pub elsewhere: bool,
}

/// What is looked for, and where.
pub struct Search {
    /// Settings that all clients share.
    pub config: ClientConfig,
    /// The topic.
    pub topic: String,
    /// Name of the exchange in the records.
    pub exchange: &'static str,
    /// Symbols and their partitions; `None`: in any of them.
    pub symbols: Vec<(String, Option<i32>)>,
    /// How many partitions there are.
    pub partitions: i32,
    /// How far back, by record timestamp.
    pub backfill: Duration,
    /// Schemas by id.
    pub schemas: Schemas,
}

/// Writer schemas by id, and how to get more.
pub struct Schemas {
    /// Known ones; `None`: its records cannot be read.
    pub known: HashMap<u32, Option<TradeSchema>>,
    /// Asks the registry. Blocks.
    pub fetch: Box<dyn FnMut(u32) -> Option<TradeSchema> + Send>,
}

/// What is found in one partition for one symbol.
#[derive(Debug, Default)]
struct Found {
    newest_trade_ms: Option<i64>,
    newest_until_ms: Option<i64>,
    /// Offset and time of the last `from` mark.
    from: Option<(i64, i64)>,
    newest_timestamp_ms: i64,
    ids: Vec<(i64, i64)>,
}

impl Found {
    fn trade(&mut self, id: i64, time_ms: i64) {
        self.newest_trade_ms = self.newest_trade_ms.max(Some(time_ms));
        self.ids.push((id, time_ms));
        if self.ids.len() > 2 * TAIL_IDS_MAX {
            self.forget_old_ids();
        }
    }

    fn forget_old_ids(&mut self) {
        let since_ms = self.newest_trade_ms.map_or(i64::MIN, |newest| newest - OVERLAP_MS);
        self.ids.retain(|&(_, time_ms)| time_ms >= since_ms);
        self.ids.sort_unstable_by_key(|&(_, time_ms)| std::cmp::Reverse(time_ms));
        self.ids.truncate(TAIL_IDS_MAX);
    }

    fn mark(&mut self, mark: Mark, offset: i64) {
        match mark {
            Mark::Until(ms) => self.newest_until_ms = self.newest_until_ms.max(Some(ms)),
            Mark::From(ms) => self.from = self.from.max(Some((offset, ms))),
        }
    }

    fn covered_ms(&self) -> Option<i64> {
        self.newest_trade_ms.max(self.newest_until_ms).max(self.from.map(|(_, ms)| ms))
    }
}

/// The symbol's log in several partitions, with the records of each apart: covered is what all of them cover.
fn combine(parts: Vec<Found>) -> Option<SymbolTail> {
    let covered_ms = parts.iter().filter_map(Found::covered_ms).min()?;
    let floor_ms = parts.iter().filter_map(|part| part.from).max().map_or(i64::MIN, |(_, ms)| ms);
    let mut ids: Vec<(i64, i64)> = parts.into_iter().flat_map(|part| part.ids).collect();
    ids.retain(|&(_, time_ms)| time_ms >= covered_ms - OVERLAP_MS);
    ids.sort_unstable_by_key(|&(_, time_ms)| time_ms);
    let skipped = ids.len().saturating_sub(TAIL_IDS_MAX);
    ids.drain(..skipped);
    Some(SymbolTail { covered_ms, floor_ms, ids, elsewhere: false })
}

/// One partition, read from its end backwards.
#[derive(Debug)]
struct Backwards {
    partition: i32,
    low: i64,
    /// The step under way: `[start, end)`.
    start: i64,
    end: i64,
    step: i64,
    first_timestamp_ms: Option<i64>,
    records: i64,
    done: bool,
}

impl Backwards {
    fn new(partition: i32, low: i64, high: i64) -> Self {
        let start = (high - TAIL_RECORDS_FIRST).max(low);
        let step = TAIL_RECORDS_FIRST;
        Self {
            partition,
            low,
            start,
            end: high,
            step,
            first_timestamp_ms: None,
            records: 0,
            done: start >= high,
        }
    }

    /// Goes on to the step before. False: there is nothing more to read.
    fn step_back(&mut self, oldest_wanted_ms: i64) -> bool {
        let too_old = self.first_timestamp_ms.is_some_and(|first| first < oldest_wanted_ms);
        if self.start <= self.low || too_old || self.records >= TAIL_RECORDS_MAX {
            return false;
        }
        self.step *= 8;
        self.end = self.start;
        self.start = (self.end - self.step).max(self.low);
        self.done = false;
        true
    }
}

struct Reader {
    search: Search,
    consumer: BaseConsumer<Logging>,
    symbols: HashMap<String, SymbolIndex>,
    found: HashMap<(SymbolIndex, i32), Found>,
    oldest_wanted_ms: i64,
    /// In search of symbols that their own partitions do not hold.
    elsewhere: bool,
}

/// Reads the tail: one entry for each symbol, `None` where nothing was found.
pub fn read(search: Search) -> Result<Vec<Option<SymbolTail>>, KafkaError> {
    let mut config = search.config.clone();
    config
        // The client wants a name before it assigns partitions by hand. Nothing is joined or committed.
        .set("group.id", "candles-producer-tail")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("fetch.wait.max.ms", "20")
        .set("fetch.message.max.bytes", "262144")
        .set("queued.max.messages.kbytes", "1024")
        .set("queued.min.messages", "2000");
    let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |t| t.as_millis() as i64);
    let symbols = search.symbols.iter().enumerate().map(|(i, (symbol, _))| (symbol.clone(), i)).collect();
    let mut reader = Reader {
        consumer: config.create_with_context(Logging)?,
        symbols,
        found: HashMap::new(),
        oldest_wanted_ms: now_ms.saturating_sub(search.backfill.as_millis() as i64),
        search,
        elsewhere: false,
    };
    reader.read_all(reader.wanted_partitions())?;
    if reader.look_elsewhere() {
        reader.read_all((0..reader.search.partitions).collect())?;
    }
    Ok(reader.result())
}

impl Reader {
    fn read_all(&mut self, partitions: Vec<i32>) -> Result<(), KafkaError> {
        let started = Instant::now();
        let mut open = Vec::new();
        for partition in partitions {
            let (low, high) = self.consumer.fetch_watermarks(&self.search.topic, partition, KAFKA_CALL)?;
            open.push(Backwards::new(partition, low, high));
        }
        let mut records = 0;
        while !open.is_empty() {
            self.read_step(&mut open)?;
            records = open.iter().map(|part| part.records).sum::<i64>().max(records);
            open.retain_mut(|part| !self.is_complete(part) && part.step_back(self.oldest_wanted_ms));
            if started.elapsed() > Duration::from_secs(2) {
                tracing::info!(records, partitions_open = open.len(), "searching the end of the topic");
            }
        }
        Ok(())
    }

    fn wanted_partitions(&self) -> Vec<i32> {
        let holds =
            |partition: &i32| self.search.symbols.iter().any(|(_, of)| of.is_none_or(|p| p == *partition));
        (0..self.search.partitions).filter(holds).collect()
    }

    /// A symbol whose own partition holds nothing of it may have been in another one before the topic grew: only such
    /// symbols are searched from now on. False: there is none.
    fn look_elsewhere(&mut self) -> bool {
        let (symbols, found) = (&self.search.symbols, &self.found);
        self.symbols.retain(|_, &mut symbol| {
            symbols[symbol].1.is_some_and(|partition| !found.contains_key(&(symbol, partition)))
        });
        self.elsewhere = !self.symbols.is_empty();
        self.elsewhere
    }

    /// Every symbol of the partition was seen, and its overlap was read.
    fn is_complete(&self, part: &Backwards) -> bool {
        let Some(first_ms) = part.first_timestamp_ms else { return part.start <= part.low };
        if self.elsewhere {
            // Which partition had a symbol last is known when all have been searched.
            return false;
        }
        let mut symbols = (0..self.search.symbols.len())
            .filter(|&symbol| self.search.symbols[symbol].1.is_none_or(|p| p == part.partition));
        symbols.all(|symbol| {
            self.found
                .get(&(symbol, part.partition))
                .is_some_and(|found| found.newest_timestamp_ms - 2 * OVERLAP_MS > first_ms)
        })
    }

    fn read_step(&mut self, open: &mut [Backwards]) -> Result<(), KafkaError> {
        let mut list = TopicPartitionList::new();
        for part in open.iter().filter(|part| !part.done) {
            list.add_partition_offset(&self.search.topic, part.partition, Offset::Offset(part.start))?;
        }
        self.consumer.assign(&list)?;
        let mut last_progress = Instant::now();
        while open.iter().any(|part| !part.done) {
            // The consumer is taken apart from the rest: a message borrows it.
            let Self { search, consumer, symbols, found, oldest_wanted_ms, elsewhere } = self;
            match consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => {
                    let Some(part) = open.iter_mut().find(|part| part.partition == message.partition())
                    else {
                        continue;
                    };
                    if part.done || message.offset() >= part.end {
                        part.done = true;
                        continue;
                    }
                    part.records += 1;
                    part.done = message.offset() + 1 >= part.end;
                    let timestamp_ms = message.timestamp().to_millis().unwrap_or_default();
                    if message.offset() < part.start + 1 || part.first_timestamp_ms.is_none() {
                        part.first_timestamp_ms = Some(timestamp_ms);
                    }
                    let ours = *elsewhere || is_at_home(search, symbols, &message);
                    if timestamp_ms >= *oldest_wanted_ms && ours {
                        take(search, symbols, found, &message, timestamp_ms);
                    }
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.iter_mut()
                        .filter(|part| part.partition == partition)
                        .for_each(|part| part.done = true);
                }
                // Of no use here, so not needed.
                Some(Err(KafkaError::MessageConsumption(RDKafkaErrorCode::GroupAuthorizationFailed))) => {
                    continue;
                }
                Some(Err(error)) => return Err(error),
                None if last_progress.elapsed() > TAIL_STALL => {
                    return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut));
                }
                None => continue,
            }
            last_progress = Instant::now();
        }
        Ok(())
    }

    fn result(mut self) -> Vec<Option<SymbolTail>> {
        let mut by_symbol: Vec<Vec<Found>> = self.search.symbols.iter().map(|_| Vec::new()).collect();
        let mut elsewhere: Vec<Option<i64>> = vec![None; by_symbol.len()];
        for ((symbol, partition), mut found) in self.found.drain() {
            found.forget_old_ids();
            if self.search.symbols[symbol].1.is_none_or(|p| p == partition) {
                by_symbol[symbol].push(found);
            } else {
                elsewhere[symbol] = elsewhere[symbol].max(found.covered_ms());
            }
        }
        let moved = |covered_ms| SymbolTail { covered_ms, floor_ms: i64::MIN, ids: vec![], elsewhere: true };
        by_symbol.into_iter().map(combine).zip(elsewhere).map(|(here, old)| here.or(old.map(moved))).collect()
    }
}

/// Whether a record's symbol belongs into its partition.
fn is_at_home(
    search: &Search,
    symbols: &HashMap<String, SymbolIndex>,
    message: &BorrowedMessage<'_>,
) -> bool {
    let symbol = message.key().and_then(|key| std::str::from_utf8(key).ok()).and_then(|key| symbols.get(key));
    symbol.is_some_and(|&symbol| search.symbols[symbol].1.is_none_or(|p| p == message.partition()))
}

/// One record, if it is about one of our symbols.
fn take(
    search: &mut Search,
    symbols: &HashMap<String, SymbolIndex>,
    found: &mut HashMap<(SymbolIndex, i32), Found>,
    message: &BorrowedMessage<'_>,
    timestamp_ms: i64,
) {
    let Some(key) = message.key().and_then(|key| std::str::from_utf8(key).ok()) else { return };
    let Some(&symbol) = symbols.get(key) else { return };
    let place = (symbol, message.partition());
    if let Some(value) = message.payload() {
        let Ok((id, body)) = avro::split(value) else { return };
        let Schemas { known, fetch } = &mut search.schemas;
        let Some(schema) = known.entry(id).or_insert_with(|| fetch(id)) else { return };
        let exchange = search.exchange;
        let trade = schema.decode(body, |record| {
            (record.exchange == exchange && record.symbol == key).then_some(record.trade)
        });
        let Ok(Some(trade)) = trade else { return };
        let found = found.entry(place).or_default();
        found.trade(trade.id, trade.time_ms);
        found.newest_timestamp_ms = found.newest_timestamp_ms.max(timestamp_ms);
    } else if let Some(headers) = message.headers() {
        let pairs = headers.iter().map(|header| (header.key, header.value.unwrap_or_default()));
        let Ok(mark) = Mark::from_headers(pairs) else { return };
        let found = found.entry(place).or_default();
        found.mark(mark, message.offset());
        found.newest_timestamp_ms = found.newest_timestamp_ms.max(timestamp_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_trade_or_mark_ends_the_log() {
        let mut found = Found::default();
        for (id, time_ms) in [(1, 50_000), (2, 100_000), (3, 99_995)] {
            found.trade(id, time_ms);
        }
        found.mark(Mark::From(7), 3);
        found.mark(Mark::From(9), 2);
        found.mark(Mark::Until(105_000), 4);
        found.forget_old_ids();
        let tail = combine(vec![found]).unwrap();
        assert_eq!(
            tail,
            SymbolTail {
                covered_ms: 105_000,
                floor_ms: 7,
                ids: vec![(3, 99_995), (2, 100_000)],
                elsewhere: false
            }
        );
        assert_eq!(combine(vec![]), None);
    }

    #[test]
    fn spread_over_partitions_only_what_all_cover_is_covered() {
        let mut parts = [Found::default(), Found::default()];
        parts[0].trade(1, 100_000);
        parts[1].trade(2, 60_000);
        let tail = combine(parts.into()).unwrap();
        assert_eq!((tail.covered_ms, tail.ids.len()), (60_000, 2));
    }

    #[test]
    fn steps_grow_until_the_start_of_the_partition() {
        let mut part = Backwards::new(0, 500, 20_000);
        assert_eq!((part.start, part.end), (19_000, 20_000));
        assert!(part.step_back(0));
        assert_eq!((part.start, part.end), (11_000, 19_000));
        assert!(part.step_back(0));
        assert_eq!((part.start, part.end), (500, 11_000));
        assert!(!part.step_back(0));
        assert!(Backwards::new(0, 0, 0).done);
    }
}
