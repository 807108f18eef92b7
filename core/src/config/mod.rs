//! The pipeline configuration: one YAML file that the operator writes and both workers read.
//!
//! YAML text in, a checked [`PipelineConfig`] out, or an error that names the key and the line. Unknown keys are
//! errors. Secrets never stand in it: [`SecretRef`] names an environment variable or a mounted file. Reading
//! files and the environment is the worker's job.

mod influxdb;
mod kafka;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use self::{
    influxdb::{CandleFields, CandlePoints, InfluxApi, InfluxdbConfig, TradePoints},
    kafka::{
        BasicAuth, BearerAuth, KafkaConfig, SaslConfig, SaslMechanism, SchemaRegistryAuth,
        SchemaRegistryConfig, TlsConfig, TopicConfig,
    },
    values::{
        Acks, BootstrapServers, Duration, HttpUrl, PointName, SecretRef, TopicName, ValueError, WebSocketUrl,
    },
};
use crate::{interval::Interval, symbol::Symbol};

/// Longest configuration text that is parsed, in bytes.
pub const CONFIG_BYTES_MAX: usize = 1024 * 1024;
/// Most symbols of one pipeline.
pub const SYMBOLS_MAX: usize = 500;
/// Most intervals of one pipeline.
pub const INTERVALS_MAX: usize = 16;
/// Longest lateness: it delays every final candle and holds its windows in memory.
pub const LATENESS_MS_MAX: i64 = 3_600_000;

/// Everything that a producer and its consumers need to know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PipelineConfig {
    /// Where trades come from.
    pub exchange: ExchangeConfig,
    /// The brokers.
    pub kafka: KafkaConfig,
    /// Where the schema of the records is registered.
    pub schema_registry: SchemaRegistryConfig,
    /// The topic that is the log of this pipeline. It must exist.
    pub topic: TopicConfig,
    /// How trades enter the topic.
    #[serde(default)]
    pub producer: ProducerConfig,
    /// How trades leave the topic.
    #[serde(default)]
    pub consumer: ConsumerConfig,
    /// Which candles are built.
    #[serde(default)]
    pub candles: CandlesConfig,
    /// Where points are written. The producer does not need it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub influxdb: Option<InfluxdbConfig>,
}

/// Where trades come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExchangeConfig {
    /// The exchange.
    pub name: ExchangeName,
    /// 1 to 500 distinct trading pairs, as the exchange writes them: `tBTCUSD`, `tAVAX:USD`.
    pub symbols: Vec<Symbol>,
    /// WebSocket endpoint; change it for a proxy or a test.
    #[serde(default = "default_websocket_url")]
    pub websocket_url: WebSocketUrl,
    /// REST endpoint; change it for a proxy or a test.
    #[serde(default = "default_rest_url")]
    pub rest_url: HttpUrl,
    /// Limits of the exchange, which it changes without notice.
    #[serde(default)]
    pub limits: ExchangeLimits,
}

/// The exchanges that a producer can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeName {
    /// Bitfinex, API version 2.
    Bitfinex,
}

impl ExchangeName {
    /// The name in records and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bitfinex => "bitfinex",
        }
    }
}

/// What the exchange allows. Defaults: `facts/exchange.md` of the project, Bitfinex v2.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ExchangeLimits {
    /// Subscriptions on one WebSocket connection.
    pub channels_per_connection: u16,
    /// WebSocket connections opened per minute, from this address.
    pub connects_per_minute: u16,
    /// Requests for trade history per minute, from this address.
    pub history_requests_per_minute: u16,
    /// Rows in one answer to a request for trade history.
    pub history_rows: u16,
    /// A connection without any frame for this long is dead. Bitfinex sends a heartbeat every 15 s.
    pub silence: Duration,
}

impl Default for ExchangeLimits {
    fn default() -> Self {
        Self {
            channels_per_connection: 25,
            connects_per_minute: 15,
            history_requests_per_minute: 15,
            history_rows: 10_000,
            silence: Duration::from_ms(40_000),
        }
    }
}

/// How trades enter the topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProducerConfig {
    /// How many brokers must have a record before it counts as published: `all`, 1 or 0. Idempotent with `all`.
    pub acks: Acks,
    /// How the partition of a record is chosen.
    pub partitioner: Partitioner,
    /// The partition of each symbol, for `partitioner: Explicit` only.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub partitions: BTreeMap<Symbol, u16>,
    /// How far back trades are fetched on the first start, and how far back the topic is searched on a restart.
    pub backfill: Duration,
}

impl Default for ProducerConfig {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            partitioner: Partitioner::KeyHash,
            partitions: BTreeMap::new(),
            backfill: Duration::from_ms(3_600_000),
        }
    }
}

/// How the partition of a record is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioner {
    /// murmur2 of the symbol, as Java clients do: all trades of a symbol in one partition.
    KeyHash,
    /// One partition after the other: trades of a symbol everywhere, so no candles.
    RoundRobin,
    /// As `producer.partitions` says.
    Explicit,
}

/// How trades leave the topic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// Consumer group; `candles-<topic>` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<String>,
    /// How partitions are shared among the members of the group.
    pub assignor: Assignor,
    /// Where a group without a committed offset starts.
    pub offset_reset: OffsetReset,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self { group_id: None, assignor: Assignor::CooperativeSticky, offset_reset: OffsetReset::Earliest }
    }
}

/// How partitions are shared among the members of a group. Changing between `CooperativeSticky` and the eager
/// ones (`Range`, `RoundRobin`) needs a full stop of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Assignor {
    /// Moves as few partitions as possible, without stopping the others.
    CooperativeSticky,
    /// Contiguous ranges.
    Range,
    /// One after the other.
    RoundRobin,
    /// The broker assigns (KIP-848, brokers from 4.0).
    Broker,
}

/// Where a group without a committed offset starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OffsetReset {
    /// At the oldest record.
    Earliest,
    /// At the end: only records published from now on.
    Latest,
}

/// Which candles are built.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CandlesConfig {
    /// At most 16 distinct lengths, 1s to 1d, and 1w. Empty: raw points only.
    pub intervals: Vec<Interval>,
    /// How long after its end (exchange time) a window stays open for trades that arrive out of order.
    pub lateness: Duration,
}

impl Default for CandlesConfig {
    fn default() -> Self {
        Self {
            intervals: vec!["1m".parse().expect("1m is an interval")],
            lateness: Duration::from_ms(10_000),
        }
    }
}

fn default_websocket_url() -> WebSocketUrl {
    "wss://api-pub.bitfinex.com/ws/2".to_owned().try_into().expect("the default is a WebSocket URL")
}

fn default_rest_url() -> HttpUrl {
    "https://api-pub.bitfinex.com/v2".to_owned().try_into().expect("the default is an HTTP URL")
}

/// Why a text is no configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{message}", .line.map(|n| format!("line {n}: ")).unwrap_or_default())]
pub struct ConfigError {
    /// Line of the text, from 1, where it is known.
    pub line: Option<usize>,
    /// Key, what was found, what is allowed.
    pub message: String,
}

impl PipelineConfig {
    /// Reads and checks a configuration.
    pub fn from_yaml(text: &str) -> Result<Self, ConfigError> {
        if text.len() > CONFIG_BYTES_MAX {
            let message =
                format!("{} bytes are more than a configuration can have ({CONFIG_BYTES_MAX})", text.len());
            return Err(ConfigError { line: None, message });
        }
        let yaml = serde_yaml::Deserializer::from_str(text);
        let config: Self = serde_path_to_error::deserialize(yaml).map_err(|e| located(&e))?;
        config.check().map_err(|message| ConfigError { line: None, message })?;
        Ok(config)
    }

    /// The consumer group: as configured, else `candles-<topic>`.
    pub fn group_id(&self) -> String {
        self.consumer.group_id.clone().unwrap_or_else(|| format!("candles-{}", self.topic.name.as_str()))
    }

    /// What no single value can say. The message names the keys.
    fn check(&self) -> Result<(), String> {
        check_list("exchange.symbols", &self.exchange.symbols, 1, SYMBOLS_MAX)?;
        for (i, symbol) in self.exchange.symbols.iter().enumerate() {
            Symbol::bitfinex_pair(symbol.as_str()).map_err(|e| format!("exchange.symbols[{i}]: {e}"))?;
        }
        check_list("candles.intervals", &self.candles.intervals, 0, INTERVALS_MAX)?;
        if self.candles.lateness.as_ms() > LATENESS_MS_MAX {
            return Err(format!("candles.lateness: {} is more than 1h", self.candles.lateness));
        }
        self.check_limits()?;
        self.check_partitioner()?;
        if self.consumer.group_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > 255) {
            return Err("consumer.groupId: has no characters, or more than 255".to_owned());
        }
        self.influxdb.as_ref().map_or(Ok(()), InfluxdbConfig::check)
    }

    fn check_limits(&self) -> Result<(), String> {
        let limits = &self.exchange.limits;
        let counts = [
            ("channelsPerConnection", limits.channels_per_connection),
            ("connectsPerMinute", limits.connects_per_minute),
            ("historyRequestsPerMinute", limits.history_requests_per_minute),
            ("historyRows", limits.history_rows),
        ];
        if let Some((key, _)) = counts.into_iter().find(|&(_, n)| n == 0) {
            return Err(format!("exchange.limits.{key}: 0 would never let a trade through; write 1 or more"));
        }
        if limits.silence.as_ms() < 1_000 {
            return Err(format!("exchange.limits.silence: {} is less than 1s", limits.silence));
        }
        Ok(())
    }

    fn check_partitioner(&self) -> Result<(), String> {
        let producer = &self.producer;
        match producer.partitioner {
            Partitioner::RoundRobin if !self.candles.intervals.is_empty() => Err(
                "producer.partitioner: RoundRobin spreads the trades of a symbol over partitions, so no consumer \
                 could build its candles; set candles.intervals: [] for raw points only, or use KeyHash"
                    .to_owned(),
            ),
            Partitioner::Explicit => match self.exchange.symbols.iter().find(|s| !producer.partitions.contains_key(*s)) {
                Some(symbol) => Err(format!(
                    "producer.partitions: has no partition for {symbol}; partitioner: Explicit needs one for each symbol"
                )),
                None => Ok(()),
            },
            _ if !producer.partitions.is_empty() => {
                Err("producer.partitions: is for partitioner: Explicit only".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn check_list<T: Ord + std::fmt::Display>(
    key: &str,
    list: &[T],
    min: usize,
    max: usize,
) -> Result<(), String> {
    if !(min..=max).contains(&list.len()) {
        return Err(format!("{key}: has {} entries; allowed are {min} to {max}", list.len()));
    }
    let mut seen = BTreeSet::new();
    match list.iter().enumerate().find(|(_, entry)| !seen.insert(*entry)) {
        Some((i, entry)) => Err(format!("{key}[{i}]: {entry} stands there twice")),
        None => Ok(()),
    }
}

/// The parser's message with the whole path of the key; its own place becomes the line.
fn located(error: &serde_path_to_error::Error<serde_yaml::Error>) -> ConfigError {
    let path = error.path().to_string();
    let text = error.inner().to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    // The parser names the key too, but not always to its end.
    let message = match message.split_once(": ") {
        Some((prefix, rest)) if path.starts_with(prefix) => rest,
        _ => message,
    };
    let message = if path == "." { message.to_owned() } else { format!("{path}: {message}") };
    ConfigError { line: error.inner().location().map(|l| l.line()), message }
}

#[cfg(test)]
mod tests;
