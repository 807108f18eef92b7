//! Candles built anew from the topic: the pipeline's configuration and ranges of offsets in, candles out, final and not.
//!
//! The same builder as the consumer's, fed with the same records: what it calls final is what the database must hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use candles_core::avro::{self, TradeSchema};
use candles_core::builder::{Builder, Closed, LiveState};
use candles_core::candle::CandleValues;
use candles_core::checkpoint::{Checkpoint, Settings};
use candles_core::config::PipelineConfig;
use candles_core::interval::Interval;
use candles_core::mark::Signed;
use candles_workers::registry::{Registry, RegistryError};
use candles_workers::runtime::chain;
use rdkafka::Message as _;
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _};
use tokio::runtime::Handle;

use crate::influx::State;
use crate::kafka::groups::Position;
use crate::kafka::topics::Topic;
use crate::kafka::{CALL, Cluster, Offsets};
use crate::output::tell_in_place;

/// Symbol and interval.
pub type Series = (String, Interval);

/// What a topic says about candles.
#[derive(Debug, Default)]
pub struct Replayed {
    /// Final candles of each series by start (ms).
    pub candles: BTreeMap<Series, BTreeMap<i64, CandleValues>>,
    /// The other windows: still open at the end, or not covered from their start.
    pub others: BTreeMap<Series, BTreeMap<i64, (CandleValues, State)>>,
    /// Records that were read.
    pub records: u64,
}

/// Offsets of one partition: `[from, to)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Number of the partition.
    pub partition: i32,
    /// First offset.
    pub from: i64,
    /// Where to end.
    pub to: i64,
}

/// What the group has finished: each partition from where the group once began, or from where the topic still holds it,
/// to its committed offset. All that follows from those records is stored.
pub fn finished(topic: &Topic, positions: &[Position]) -> Vec<Stretch> {
    let stretch = |position: &Position| {
        let first = topic.partitions.iter().find(|p| p.id == position.partition)?.first?;
        let origin = Checkpoint::decode(&position.metadata).map_or(first, |checkpoint| checkpoint.origin);
        Some(Stretch { partition: position.partition, from: first.max(origin), to: position.committed? })
    };
    positions.iter().filter_map(stretch).filter(|stretch| stretch.from < stretch.to).collect()
}

/// The whole topic as it is now.
pub fn whole(topic: &Topic) -> anyhow::Result<Vec<Stretch>> {
    let stretch = |p: &crate::kafka::topics::Partition| {
        let (from, to) =
            p.first.zip(p.end).with_context(|| format!("partition {} does not tell its offsets", p.id))?;
        Ok(Stretch { partition: p.id, from, to })
    };
    let stretches: anyhow::Result<Vec<Stretch>> = topic.partitions.iter().map(stretch).collect();
    Ok(stretches?.into_iter().filter(|stretch| stretch.from < stretch.to).collect())
}

/// Reads the stretches to their ends. Blocks; not to be called from an asynchronous task.
pub fn replay(
    cluster: &Cluster,
    config: &PipelineConfig,
    topic: &Topic,
    stretches: &[Stretch],
) -> anyhow::Result<Replayed> {
    let settings = Settings {
        intervals: config.candles.intervals.clone(),
        lateness_ms: config.candles.lateness.as_ms(),
    };
    let mut replay = Replay {
        symbols: config.exchange.symbols.iter().map(|symbol| symbol.as_str().to_owned()).collect(),
        schemas: HashMap::new(),
        registry: Registry::new(&config.schema_registry)?,
        builders: stretches.iter().map(|s| (s.partition, Builder::new(settings.clone(), s.from))).collect(),
        result: Replayed::default(),
    };
    let starts: Offsets = stretches.iter().map(|s| (s.partition, s.from)).collect();
    let consumer = cluster.reader(&topic.name, &starts)?;
    let mut left: BTreeMap<i32, Stretch> = stretches.iter().map(|s| (s.partition, *s)).collect();
    let mut progress = Progress::new(stretches.iter().map(|s| s.to - s.from).sum());
    let mut quiet_since = Instant::now();
    while !left.is_empty() {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                quiet_since = Instant::now();
                let Some(stretch) = left.get(&message.partition()).copied() else { continue };
                if message.offset() < stretch.to {
                    replay.take(&message)?;
                }
                if message.offset() + 1 >= stretch.to {
                    left.remove(&stretch.partition);
                }
                progress.advance();
            }
            // The last offsets may be those of a transaction's markers, which are no records.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                left.remove(&partition);
            }
            Some(Err(error)) if quiet_since.elapsed() > CALL => {
                return Err(cluster.failed_of(&consumer, &error));
            }
            // A part of the topic must not pass for the whole.
            None if quiet_since.elapsed() > 2 * CALL => {
                bail!("topic {}: no records came for {} s; try again", topic.name, 2 * CALL.as_secs())
            }
            Some(Err(_)) | None => {}
        }
    }
    progress.end();
    replay.open_windows();
    Ok(replay.result)
}

struct Replay {
    symbols: HashSet<String>,
    /// By id; what is no trade's schema is `None`.
    schemas: HashMap<u32, Option<TradeSchema>>,
    registry: Registry,
    builders: HashMap<i32, Builder>,
    result: Replayed,
}

impl Replay {
    /// What the builders still hold at the end.
    fn open_windows(&mut self) {
        for builder in self.builders.values_mut() {
            builder.live(|live| {
                let state = match live.state {
                    LiveState::Forming => State::Forming,
                    LiveState::Incomplete => State::Incomplete,
                };
                let windows = self.result.others.entry((live.symbol.to_string(), live.interval)).or_default();
                windows.insert(live.start_ms, (live.candle.values(), state));
            });
        }
    }

    /// What the consumer would do with the record. Those that it sends to the dead letter topic change no candle.
    fn take(&mut self, message: &BorrowedMessage<'_>) -> anyhow::Result<()> {
        self.result.records += 1;
        let offset = message.offset();
        let Replayed { candles, others, .. } = &mut self.result;
        let Some(builder) = self.builders.get_mut(&message.partition()) else { return Ok(()) };
        let closed = |closed: Closed<'_>| {
            let (series, values) = ((closed.symbol.to_string(), closed.interval), closed.candle.values());
            if closed.complete {
                candles.entry(series).or_default().insert(closed.start_ms, values);
            } else {
                others.entry(series).or_default().insert(closed.start_ms, (values, State::Incomplete));
            }
        };
        let Some(value) = message.payload() else {
            let headers = message.headers();
            let pairs = headers.iter().flat_map(|headers| headers.iter());
            let mark = Signed::from_headers(pairs.map(|h| (h.key, h.value.unwrap_or_default())));
            let symbol = message.key().and_then(|key| std::str::from_utf8(key).ok());
            if let (Ok(mark), Some(symbol)) = (mark, symbol.filter(|symbol| self.symbols.contains(*symbol))) {
                builder.mark(offset, symbol, mark, closed);
            }
            return Ok(());
        };
        let Ok((id, body)) = avro::split(value) else { return Ok(()) };
        if !self.schemas.contains_key(&id) {
            self.schemas.insert(id, fetch(&self.registry, id)?);
        }
        let Some(Some(schema)) = self.schemas.get(&id) else { return Ok(()) };
        let symbols = &self.symbols;
        let _ = schema.decode(body, |record| {
            if symbols.contains(record.symbol) {
                builder.trade(offset, record.exchange, record.symbol, &record.trade, closed);
            }
        });
        Ok(())
    }
}

fn fetch(registry: &Registry, id: u32) -> anyhow::Result<Option<TradeSchema>> {
    match Handle::current().block_on(registry.schema(id)) {
        Ok(text) => Ok(TradeSchema::parse(&text).ok()),
        Err(RegistryError::UnknownId { .. }) => Ok(None),
        Err(error) => bail!("{}", chain(&error)),
    }
}

/// A line on standard error, if that is a terminal, about how far it is.
struct Progress {
    total: i64,
    done: i64,
    told: Instant,
    shown: bool,
}

impl Progress {
    fn new(total: i64) -> Self {
        Self { total, done: 0, told: Instant::now(), shown: false }
    }

    fn advance(&mut self) {
        self.done += 1;
        if self.told.elapsed() > Duration::from_millis(500) && std::io::stderr().is_terminal() {
            (self.told, self.shown) = (Instant::now(), true);
            let share = self.done * 100 / self.total.max(1);
            tell_in_place(format_args!("reading the topic: {share} % of {} records", self.total));
        }
    }

    fn end(&self) {
        if self.shown {
            tell_in_place(format_args!("read {} records\n", self.done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::topics::Partition;

    fn partition(id: i32, first: i64, end: i64) -> Partition {
        Partition {
            id,
            leader: Some(1),
            replicas: vec![1],
            in_sync: vec![1],
            first: Some(first),
            end: Some(end),
        }
    }

    fn position(partition: i32, committed: Option<i64>, metadata: &str) -> Position {
        Position { partition, committed, end: None, lag: None, metadata: metadata.to_owned() }
    }

    #[test]
    fn what_is_finished_begins_where_the_group_began_and_ends_where_it_committed() {
        let partitions =
            vec![partition(0, 5, 90), partition(1, 0, 90), partition(2, 0, 90), partition(3, 7, 90)];
        let topic = Topic { name: "t".to_owned(), internal: false, partitions };
        let positions = [
            position(0, Some(50), "c2;2;40;;0;1m;"),
            position(1, Some(50), "c1;20;40;0;1m;"),
            position(2, None, ""),
            position(3, Some(7), "somebody else's"),
        ];
        let expected =
            [Stretch { partition: 0, from: 5, to: 50 }, Stretch { partition: 1, from: 20, to: 50 }];
        assert_eq!(finished(&topic, &positions), expected);
    }
}
