//! Everything that is ever in a topic, as a reader of its own sees it: records in, [`LogRecord`]s out.
//! Reads through a listener that no trouble is made on, from the topic's birth, outside any group.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use apache_avro::Schema;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::judge::topic;
use crate::judge::{Entry, LogRecord};

struct Raw {
    partition: i32,
    offset: i64,
    key: String,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Vec<u8>)>,
}

/// A running reader; it ends when dropped.
pub struct Tap {
    stop: Arc<AtomicBool>,
    arrivals: Receiver<Raw>,
    sender: Sender<Raw>,
    schemas: HashMap<u32, Option<Schema>>,
    registry: String,
    records: Vec<LogRecord>,
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Tap {
    /// Reads these partitions of `topic` from their beginning. `registry`: base of its API.
    pub fn start(
        bootstrap: &str,
        topic: &str,
        partitions: Range<i32>,
        registry: &str,
    ) -> anyhow::Result<Self> {
        let (sender, arrivals) = channel();
        let tap = Self {
            stop: Arc::default(),
            arrivals,
            sender,
            schemas: HashMap::new(),
            registry: registry.to_owned(),
            records: Vec::new(),
        };
        tap.read_also(bootstrap, topic, partitions)?;
        Ok(tap)
    }

    /// Reads more partitions from now on.
    pub fn read_also(&self, bootstrap: &str, topic: &str, partitions: Range<i32>) -> anyhow::Result<()> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "tap")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .create()
            .context("make the tap's client")?;
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition_offset(topic, partition, Offset::Beginning)?;
        }
        consumer.assign(&list).context("assign the tap's partitions")?;
        let (sender, until) = (self.sender.clone(), Arc::clone(&self.stop));
        let thread = std::thread::Builder::new().name("tap".to_owned());
        thread.spawn(move || read(&consumer, &sender, &until))?;
        Ok(())
    }

    /// What has been read so far, each partition in the order of its offsets.
    pub async fn records(&mut self) -> anyhow::Result<&[LogRecord]> {
        while let Ok(raw) = self.arrivals.try_recv() {
            let entry = match &raw.value {
                None => {
                    let headers = raw.headers.iter().map(|(name, value)| (name.as_str(), value.as_slice()));
                    topic::mark(&raw.key, headers)
                }
                Some(value) => match self.schema(value).await? {
                    Some(schema) => topic::trade(value, schema).map_or(Entry::Other, Entry::Trade),
                    None => Entry::Other,
                },
            };
            self.records.push(LogRecord { partition: raw.partition, offset: raw.offset, entry });
        }
        Ok(&self.records)
    }

    /// Reads on until it has come to these ends (offset of the next record), at most so long.
    pub async fn read_to(&mut self, ends: &[(i32, i64)], limit: Duration) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let records = self.records().await?;
            let next = |partition: i32| {
                let of_it = records.iter().rev().find(|record| record.partition == partition);
                of_it.map_or(0, |record| record.offset + 1)
            };
            if ends.iter().all(|(partition, end)| next(*partition) >= *end) {
                return Ok(());
            }
            anyhow::ensure!(begun.elapsed() < limit, "the tap did not come to {ends:?} in {limit:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The schema that a value names; `None`: the registry knows none, or the value names none.
    async fn schema(&mut self, value: &[u8]) -> anyhow::Result<Option<&Schema>> {
        let [0, a, b, c, d, ..] = value else { return Ok(None) };
        let id = u32::from_be_bytes([*a, *b, *c, *d]);
        if !self.schemas.contains_key(&id) {
            let url = format!("{}/schemas/ids/{id}", self.registry);
            let answer = reqwest::Client::builder().no_proxy().build()?.get(&url).send().await?;
            let schema = if answer.status().is_success() {
                let body: serde_json::Value = answer.json().await?;
                Some(Schema::parse_str(body["schema"].as_str().unwrap_or_default())?)
            } else {
                None
            };
            self.schemas.insert(id, schema);
        }
        Ok(self.schemas.get(&id).and_then(Option::as_ref))
    }
}

fn read(consumer: &BaseConsumer, arrivals: &Sender<Raw>, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        // Errors are those of brokers that are down: the client goes on by itself.
        let Some(Ok(message)) = consumer.poll(Duration::from_millis(100)) else { continue };
        let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
        let raw = Raw {
            partition: message.partition(),
            offset: message.offset(),
            key: String::from_utf8_lossy(message.key().unwrap_or_default()).into_owned(),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|h| (h.key.to_owned(), h.value.unwrap_or_default().to_vec())).collect(),
        };
        if arrivals.send(raw).is_err() {
            return;
        }
    }
}
