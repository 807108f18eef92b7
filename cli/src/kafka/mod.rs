//! What the brokers tell about topics, groups and records: settings of the pipeline in, plain values out. Reads only:
//! joins no group, commits nothing.
//!
//! Calls block for at most [`CALL`] each; callers that must not block put them on a thread for that.

pub mod groups;
pub mod records;
pub mod topics;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use candles_core::config::PipelineConfig;
use candles_workers::kafka;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};

/// How long one question may take. A broker that answers at all does so within milliseconds.
pub const CALL: Duration = Duration::from_secs(5);

/// Partitions with the offsets at which to start.
pub type Offsets = Vec<(i32, i64)>;

/// Keeps the client's last words instead of logging them: they say why a call failed.
#[derive(Debug, Default)]
pub struct LastWords(Mutex<Option<String>>);

impl LastWords {
    fn keep(&self, words: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(words.to_owned());
    }

    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ConsumerContext for LastWords {}

impl ClientContext for LastWords {
    fn log(&self, level: RDKafkaLogLevel, _facility: &str, line: &str) {
        // Information is kept where it says what a setting has to do with it, as a TLS port that hangs up.
        if level as i32 <= RDKafkaLogLevel::Warning as i32 || kafka::advice(line).is_some() {
            self.keep(line.split_once("]: ").map_or(line, |(_thread, words)| words));
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // That all are down says less than why each is.
        if error.rdkafka_error_code() != Some(rdkafka::error::RDKafkaErrorCode::AllBrokersDown) {
            self.keep(reason);
        }
    }
}

/// A client of the brokers.
pub struct Cluster {
    settings: ClientConfig,
    servers: String,
    consumer: BaseConsumer<LastWords>,
    stand_in: bool,
}

impl Cluster {
    /// Sets up a client, which connects with the first question. `stand_in`: the brokers are librdkafka's mock cluster,
    /// which never answers questions about settings.
    pub fn new(config: &PipelineConfig, stand_in: bool) -> anyhow::Result<Self> {
        let mut settings = kafka::client_config(&config.kafka, &kafka::unique_client_id("candlectl"))?;
        settings
            // Whose offsets are asked for. Nothing is joined or committed.
            .set("group.id", config.group_id())
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("socket.timeout.ms", CALL.as_millis().to_string())
            .set("socket.connection.setup.timeout.ms", "3000");
        let consumer = settings.create_with_context(LastWords::default())?;
        let servers = config.kafka.bootstrap_servers.as_str().to_owned();
        Ok(Self { settings, servers, consumer, stand_in })
    }

    /// Whether any broker answers, and how many there are.
    pub fn brokers(&self) -> anyhow::Result<usize> {
        let metadata = self.consumer.fetch_metadata(Some("__no_topic"), CALL).map_err(|e| self.failed(&e))?;
        Ok(metadata.brokers().len())
    }

    /// A client that reads these partitions of a topic from these offsets on.
    pub fn reader(&self, topic: &str, starts: &Offsets) -> anyhow::Result<BaseConsumer<LastWords>> {
        let consumer: BaseConsumer<LastWords> = self
            .settings
            .clone()
            .set("auto.offset.reset", "earliest")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "100")
            .set("queued.max.messages.kbytes", "4096")
            .create_with_context(LastWords::default())?;
        let mut list = TopicPartitionList::new();
        for &(partition, offset) in starts {
            list.add_partition_offset(topic, partition, Offset::Offset(offset))?;
        }
        consumer.assign(&list)?;
        Ok(consumer)
    }

    /// An error of a call with the client's own words and what to do.
    fn failed(&self, error: &KafkaError) -> anyhow::Error {
        self.failed_of(&self.consumer, error)
    }

    /// As [`Self::failed`], of another client.
    pub fn failed_of(&self, client: &BaseConsumer<LastWords>, error: &KafkaError) -> anyhow::Error {
        // Errors wait for a poll.
        let _ = client.poll(Duration::ZERO);
        let words = client.context().take().unwrap_or_else(|| error.to_string());
        let advice = kafka::advice(&words).unwrap_or("are the brokers running? see kafka.bootstrapServers");
        anyhow!("kafka {}: {}; {advice}", self.servers, words.trim())
    }
}
