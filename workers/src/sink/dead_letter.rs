//! Records and points that can never be processed in, delivered records of the dead letter topic out.
//!
//! Value: the bytes as they were, never re-encoded. Headers: `error`, `reason`, `topic`, `partition`, `offset`,
//! `timestamp`, `version`.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    message::{Header, OwnedHeaders},
    producer::{FutureProducer, FutureRecord, Producer as _},
    util::Timeout,
};
use tokio::sync::OnceCell;

use super::batch::DeadRecord;
use crate::{
    kafka::{self, Logging},
    runtime::backoff::Backoff,
};

/// How long one try may take; then it is said loudly and tried again.
const DELIVERY_TIMEOUT_MS: &str = "30000";

/// The dead letter topic of a pipeline. Connects with the first record.
pub struct DeadLetters {
    config: ClientConfig,
    source: String,
    topic: String,
    producer: OnceCell<FutureProducer<Logging>>,
}

impl DeadLetters {
    /// `config` is the common configuration of a client; records come from topic `source`.
    pub fn new(mut config: ClientConfig, source: &str, topic: String) -> Self {
        config
            .set("enable.idempotence", "true")
            .set("message.timeout.ms", DELIVERY_TIMEOUT_MS)
            .set("queue.buffering.max.kbytes", "2048");
        Self { config, source: source.to_owned(), topic, producer: OnceCell::new() }
    }

    /// Delivers a record, however long it takes: a source offset is committed only when this has returned.
    pub async fn deliver(&self, record: &DeadRecord, waiting: impl Fn(String)) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30));
        while let Err(problem) = self.try_deliver(record).await {
            waiting(format!(
                "dead letter topic {}: {problem}; nothing is dropped, partitions wait; create the topic or fix access",
                self.topic
            ));
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn try_deliver(&self, record: &DeadRecord) -> Result<(), String> {
        let connect = async || self.config.create_with_context(Logging);
        let producer = self.producer.get_or_try_init(connect).await.map_err(|e| e.to_string())?;
        let headers = self.headers(record);
        let mut message = FutureRecord::<[u8], [u8]>::to(&self.topic).headers(headers);
        message.key = record.key.as_deref();
        message.payload = record.value.as_deref();
        match producer.send(message, Timeout::Never).await {
            Ok(_) => Ok(()),
            Err((error, _)) => {
                let text = error.to_string();
                Err(kafka::advice(&text).map_or_else(|| text.clone(), |advice| format!("{text} ({advice})")))
            }
        }
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
        if let Some(producer) = self.producer.get() {
            // Undelivered ones were not acknowledged, so their offsets are not committed either.
            let _ = producer.flush(deadline);
        }
    }
}
