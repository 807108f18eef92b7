//! Records and points that can never be processed in, delivered records of the dead letter topic out.
//!
//! Value: the bytes as they were, never re-encoded. Headers: `error`, `reason`, `topic`, `partition`, `offset`,
//! `timestamp`, `version`, and `cut` (the whole length in bytes) where only the start of the value is there.
//!
//! - A value that the topic does not take is cut: one record must not stop a partition for ever.
//!   (`records_larger_than_any_trade_reach_the_dead_letters_and_the_others_go_on` in `tests/consumer`)

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt as _;
use rdkafka::{
    ClientConfig,
    error::KafkaResult,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
    util::Timeout,
};

use super::batch::DeadRecord;
use crate::{
    kafka::{self, Logging},
    runtime::backoff::Backoff,
};

/// How long one try may take; then it is said loudly and tried again.
const DELIVERY_TIMEOUT_MS: &str = "30000";

/// Longest value that is tried whole, in bytes. The default limit of brokers is about 1 MB.
const VALUE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What is left of a value that is cut.
const CUT_BYTES: usize = 64 * 1024;
/// Records under way at the same time.
const IN_FLIGHT_MAX: usize = 200;

/// The dead letter topic of a pipeline. Connects with the first record.
pub struct DeadLetters {
    config: ClientConfig,
    source: String,
    topic: String,
    producer: Mutex<Option<FutureProducer<Logging>>>,
}

/// Why a record was not delivered.
enum Undelivered {
    TooLarge,
    Problem(String),
}

impl DeadLetters {
    /// `config` is the common configuration of a client; records come from topic `source`.
    pub fn new(mut config: ClientConfig, source: &str, topic: String) -> Self {
        config
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("message.max.bytes", (2 * VALUE_BYTES_MAX).to_string())
            .set("queue.buffering.max.kbytes", (2 * VALUE_BYTES_MAX / 1024).to_string());
        Self { config, source: source.to_owned(), topic, producer: Mutex::default() }
    }

    /// Delivers records, however long it takes: source offsets are committed only when this has returned. `waiting`
    /// is told what stands in the way, `delivered` of each record that is there.
    pub async fn deliver(
        &self,
        records: &[DeadRecord],
        waiting: impl Fn(String),
        delivered: impl Fn(&DeadRecord),
    ) {
        let (waiting, delivered) = (&waiting, &delivered);
        let one = async |record: &DeadRecord| {
            self.deliver_one(record, waiting).await;
            delivered(record);
        };
        futures_util::stream::iter(records).for_each_concurrent(IN_FLIGHT_MAX, one).await;
    }

    async fn deliver_one(&self, record: &DeadRecord, waiting: impl Fn(String)) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        let mut whole = record.value.as_ref().is_none_or(|value| value.len() <= VALUE_BYTES_MAX);
        loop {
            match self.try_deliver(record, whole).await {
                Ok(()) => return,
                Err(Undelivered::TooLarge) if whole => whole = false,
                Err(Undelivered::TooLarge) => {
                    waiting(self.problem("takes no records of 64 KiB; raise its max.message.bytes"));
                }
                Err(Undelivered::Problem(problem)) => {
                    waiting(self.problem(&format!("{problem}; create the topic or fix access")));
                }
            }
            if !whole || backoff.attempt() > 0 {
                tokio::time::sleep(backoff.next_delay()).await;
            }
        }
    }

    fn problem(&self, problem: &str) -> String {
        format!("dead letter topic {}: {problem}; nothing is dropped, partitions wait", self.topic)
    }

    async fn try_deliver(&self, record: &DeadRecord, whole: bool) -> Result<(), Undelivered> {
        let producer = self.producer().map_err(|error| Undelivered::Problem(error.to_string()))?;
        let mut headers = self.headers(record);
        let mut value = record.value.as_deref();
        if let (false, Some(all)) = (whole, value) {
            headers = headers.insert(Header { key: "cut", value: Some(&all.len().to_string()) });
            value = Some(&all[..all.len().min(CUT_BYTES)]);
        }
        let mut message = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        message.key = record.key.as_deref();
        message.payload = value;
        match producer.send(message, Timeout::Never).await {
            Ok(_) => Ok(()),
            Err((error, _)) if !kafka::is_transient(&error) => Err(Undelivered::TooLarge),
            Err((error, _)) => {
                let text = error.to_string();
                let advice = kafka::advice(&text).map(|advice| format!(" ({advice})")).unwrap_or_default();
                Err(Undelivered::Problem(text + &advice))
            }
        }
    }

    /// The producer; a new one after a fatal error.
    fn producer(&self) -> KafkaResult<FutureProducer<Logging>> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = producer.as_ref().filter(|producer| producer.client().fatal_error().is_none())
        {
            return Ok(producer.clone());
        }
        Ok(producer.insert(self.config.create_with_context(Logging)?).clone())
    }

    fn headers(&self, record: &DeadRecord) -> OwnedHeaders {
        let pairs = [
            ("error", record.class.to_owned()),
            ("reason", record.error.clone()),
            ("topic", self.source.clone()),
            ("partition", record.origin.partition.to_string()),
            ("offset", record.origin.offset.to_string()),
            ("timestamp", record.timestamp_ms.map(|ms| ms.to_string()).unwrap_or_default()),
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        pairs.iter().fold(OwnedHeaders::new_with_capacity(pairs.len()), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(value) })
        })
    }

    /// Waits for what is under way, at most `deadline`.
    pub fn close(&self, deadline: Duration) {
        if let Some(producer) = &*self.producer.lock().unwrap_or_else(PoisonError::into_inner) {
            // Undelivered ones were not acknowledged, so their offsets are not committed either.
            let _ = producer.flush(deadline);
        }
    }
}
