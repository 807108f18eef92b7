//! Records in, delivery reports counted: the producer's Kafka client.
//!
//! Every record names its partition: the client never chooses. A full queue is told, nothing is dropped. When a record
//! may go is the `outbox`'s matter. Never waits, except for [`Publisher::flush`] and the metadata calls, which are for
//! blocking threads.
//! - acks=all is idempotent; acks 0 and 1 are not. (`idempotent_only_with_all_acks`)

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use candles_core::{config::Acks, mark::Signed};
use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext},
    util::Timeout,
};

use super::{limits, metrics::Metrics};
use crate::kafka;

/// What a delivery report is about: the word that travels with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ticket {
    /// A record of this partition, published so many ms after the start.
    Record {
        partition: i32,
        at_ms: u64,
    },
    DeadLetter,
}

impl Ticket {
    const PARTITION_BITS: u32 = 24;
    const DEAD_LETTER: usize = usize::MAX;

    fn word(self) -> usize {
        match self {
            Self::DeadLetter => Self::DEAD_LETTER,
            Self::Record { partition, at_ms } => {
                (at_ms as usize) << Self::PARTITION_BITS
                    | (partition as usize & ((1 << Self::PARTITION_BITS) - 1))
            }
        }
    }

    fn from_word(word: usize) -> Self {
        match word {
            Self::DEAD_LETTER => Self::DeadLetter,
            _ => Self::Record {
                partition: (word & ((1 << Self::PARTITION_BITS) - 1)) as i32,
                at_ms: (word >> Self::PARTITION_BITS) as u64,
            },
        }
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The queue is full: poll, wait, try again.
    Full,
    /// The client is of no more use: make a new one.
    Broken(String),
}

/// A Kafka client for one topic and its dead letter topic.
pub struct Publisher {
    producer: BaseProducer<Reports>,
    topic: String,
    dead_letter_topic: String,
    metrics: Arc<Metrics>,
    started: Instant,
}

/// What delivery reports and the client's errors leave behind.
#[derive(Default)]
struct Reports {
    /// Delivered records by partition, since they were last taken.
    delivered: Mutex<Vec<usize>>,
    dead_letters_failed: AtomicU64,
    /// ms since the start at which one of the last reported records was published; 0: none.
    sample_ms: AtomicU64,
    broken: Mutex<Option<String>>,
    last_error: Mutex<Option<(Instant, String)>>,
}

impl Reports {
    /// Moves the counts of delivered records; returns their sum.
    fn take_delivered(&self, to: &mut Vec<usize>) -> usize {
        let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
        if to.len() < delivered.len() {
            to.resize(delivered.len(), 0);
        }
        let mut sum = 0;
        for (to, delivered) in to.iter_mut().zip(delivered.iter_mut()) {
            sum += *delivered;
            *to += std::mem::take(delivered);
        }
        sum
    }

    fn set_broken(&self, reason: String) {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        kafka::log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, advice = kafka::advice(reason), "kafka client error: {reason}");
        let mut last = self.last_error.lock().unwrap_or_else(PoisonError::into_inner);
        // "All brokers down" follows every cause and would hide it.
        let is_consequence = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        let is_known = last.as_ref().is_some_and(|(at, _)| at.elapsed() < Duration::from_secs(30));
        if !(is_consequence && is_known) {
            *last = Some((Instant::now(), reason.to_owned()));
        }
        drop(last);
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.set_broken(format!("fatal error of the client: {reason}"));
        }
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, word: usize) {
        match (result, Ticket::from_word(word)) {
            (Ok(_), Ticket::Record { partition, at_ms }) => {
                let mut delivered = self.delivered.lock().unwrap_or_else(PoisonError::into_inner);
                let partition = partition as usize;
                if partition >= delivered.len() {
                    delivered.resize(partition + 1, 0);
                }
                delivered[partition] += 1;
                self.sample_ms.store(at_ms, Ordering::Relaxed);
            }
            (Ok(_), Ticket::DeadLetter) => {}
            (Err((error, message)), Ticket::DeadLetter) => {
                self.dead_letters_failed.fetch_add(1, Ordering::Relaxed);
                let topic = rdkafka::Message::topic(message);
                tracing::warn!(topic, %error, "dead letter not delivered; create the topic to keep invalid frames");
            }
            (Err((error, _)), Ticket::Record { partition, .. }) => {
                self.set_broken(format!("a record for partition {partition} was not delivered: {error}"));
            }
        }
    }
}

/// Settings of the client on top of those that all clients share. Reasons: `streaming.md`, section 1.
pub fn settings(mut config: ClientConfig, acks: Acks) -> ClientConfig {
    config
        .set("acks", acks.as_str())
        .set("enable.idempotence", (acks == Acks::All).to_string())
        // A record is never given up: the queue fills, and the sockets are not read.
        .set("message.timeout.ms", "0")
        .set("queue.buffering.max.messages", limits::QUEUE_RECORDS_MAX.to_string())
        .set("queue.buffering.max.kbytes", limits::QUEUE_KBYTES_MAX.to_string())
        .set("linger.ms", limits::LINGER_MS.to_string())
        .set("compression.type", "lz4")
        .set("batch.num.messages", "10000")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("delivery.report.only.error", "false");
    config
}

impl Publisher {
    /// Connects in the background.
    pub fn new(
        config: &ClientConfig,
        topic: &str,
        dead_letter_topic: String,
        metrics: Arc<Metrics>,
    ) -> Result<Self, KafkaError> {
        let producer = config.create_with_context(Reports::default())?;
        Ok(Self { producer, topic: topic.to_owned(), dead_letter_topic, metrics, started: Instant::now() })
    }

    /// Appends a trade's record value.
    #[inline]
    pub fn trade(&self, partition: i32, key: &[u8], value: &[u8], published: Instant) -> Result<(), Refused> {
        let record = BaseRecord::with_opaque_to(&self.topic, self.ticket(partition, published))
            .partition(partition)
            .key(key)
            .payload(value);
        self.producer.send(record).map_err(|(error, _)| refused(&error))
    }

    /// Appends a mark: headers, no value.
    pub fn mark(&self, partition: i32, key: &[u8], mark: &Signed, published: Instant) -> Result<(), Refused> {
        let headers = mark.headers().fold(OwnedHeaders::new_with_capacity(3), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(&value) })
        });
        let record: BaseRecord<'_, [u8], [u8], usize> =
            BaseRecord::with_opaque_to(&self.topic, self.ticket(partition, published))
                .partition(partition)
                .key(key)
                .headers(headers);
        self.producer.send(record).map_err(|(error, _)| refused(&error))
    }

    fn ticket(&self, partition: i32, published: Instant) -> usize {
        let at_ms = published.saturating_duration_since(self.started).as_millis() as u64;
        Ticket::Record { partition, at_ms }.word()
    }

    /// Keeps what was no trade. Best effort: a full queue or a missing topic does not hold trades.
    pub fn dead_letter(&self, symbol: &str, error: &str, raw: &[u8]) {
        let headers = OwnedHeaders::new_with_capacity(3)
            .insert(Header { key: "error", value: Some("invalid_frame") })
            .insert(Header { key: "reason", value: Some(error) })
            .insert(Header { key: "symbol", value: Some(symbol) });
        let record = BaseRecord::with_opaque_to(&self.dead_letter_topic, Ticket::DeadLetter.word())
            .key(symbol.as_bytes())
            .payload(raw)
            .headers(headers);
        let result = if self.producer.send(record).is_ok() { "sent" } else { "refused" };
        self.metrics.dead_letter(result);
    }

    /// Takes delivery reports that are there; adds to `delivered`, by partition.
    pub fn poll(&self, delivered: &mut Vec<usize>) {
        let reports = self.producer.context();
        let mut sum = 0;
        // One poll takes the reports of one request. They must go as fast as they come: the queue counts them.
        for _ in 0..limits::REPORT_POLLS_MAX {
            self.producer.poll(Timeout::After(Duration::ZERO));
            match reports.take_delivered(delivered) {
                0 => break,
                more => sum += more,
            }
        }
        if sum > 0 {
            self.metrics.delivered("delivered", sum as u64);
            let sample_ms = reports.sample_ms.swap(0, Ordering::Relaxed);
            if sample_ms > 0 {
                let now_ms = self.started.elapsed().as_millis() as u64;
                self.metrics.delivery_seconds.observe(now_ms.saturating_sub(sample_ms) as f64 / 1000.0);
            }
        }
        let failed = reports.dead_letters_failed.swap(0, Ordering::Relaxed);
        if failed > 0 {
            self.metrics.delivered("dead_letter_failed", failed);
        }
    }

    /// Why the client must be made anew, if it must.
    pub fn broken(&self) -> Option<String> {
        self.producer.context().broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The client's last complaint of the last minute, with advice where there is any.
    pub fn last_error(&self) -> Option<String> {
        let last = self.producer.context().last_error.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, text) = last.as_ref().filter(|(at, _)| at.elapsed() < Duration::from_secs(60))?;
        Some(kafka::advice(text).map_or_else(|| text.clone(), |advice| format!("{advice} ({text})")))
    }

    /// Number of partitions of the topic. Blocks for up to `timeout`.
    pub fn partitions(&self, timeout: Duration) -> Result<i32, String> {
        let metadata = self.producer.client().fetch_metadata(Some(&self.topic), timeout);
        // The client tells the cause, for example a wrong password, apart from the call.
        self.producer.poll(Timeout::After(Duration::ZERO));
        let metadata = metadata.map_err(|error| self.last_error().unwrap_or_else(|| error.to_string()))?;
        let Some(topic) = metadata.topics().first() else {
            return Err("brokers tell nothing about it".to_owned());
        };
        match topic.error().map(RDKafkaErrorCode::from) {
            None if topic.partitions().is_empty() => Err("it does not exist; create it".to_owned()),
            None => Ok(topic.partitions().len() as i32),
            Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
                Err("it does not exist; create it".to_owned())
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Err("access denied; allow Describe and Write for the user of kafka.sasl".to_owned())
            }
            Some(code) => Err(KafkaError::MetadataFetch(code).to_string()),
        }
    }

    /// Waits until every record is delivered. Blocks for up to `timeout`.
    pub fn flush(&self, timeout: Duration) -> usize {
        let _ = self.producer.flush(timeout);
        self.poll(&mut Vec::new());
        usize::try_from(self.producer.in_flight_count()).unwrap_or_default()
    }
}

fn refused(error: &KafkaError) -> Refused {
    match error.rdkafka_error_code() {
        // A partition that was just added is known a moment later.
        Some(RDKafkaErrorCode::QueueFull | RDKafkaErrorCode::UnknownPartition) => Refused::Full,
        _ => Refused::Broken(format!("the client refuses a record: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idempotent_only_with_all_acks() {
        for (acks, idempotent) in [(Acks::All, "true"), (Acks::One, "false"), (Acks::Zero, "false")] {
            let settings = settings(ClientConfig::new(), acks);
            assert_eq!(settings.get("enable.idempotence"), Some(idempotent));
            // The client itself refuses what contradicts.
            settings.create::<BaseProducer>().expect("the settings go together");
        }
    }
}
