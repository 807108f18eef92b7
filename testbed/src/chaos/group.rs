//! What an administrator can see and do: ends of partitions, committed offsets, resets, deletions, foreign records.
//! Through a listener that no trouble is made on. Every call blocks its own thread, not the caller's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

/// Limit of one call.
const CALL: Duration = Duration::from_secs(5);
/// Limit of its repetitions: the next leader may be elected meanwhile.
const INSIST: Duration = Duration::from_secs(40);
/// Pause between two tries.
const PAUSE: Duration = Duration::from_millis(300);

/// An administrator of one topic and its group.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Untroubled listeners.
    pub bootstrap: String,
    /// The topic.
    pub topic: String,
    /// How many partitions it has.
    pub partitions: Arc<AtomicI32>,
}

impl Admin {
    /// Runs what may be repeated until it succeeds: brokers may be coming and going meanwhile.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl Fn(&Self) -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let (admin, begun) = (self.clone(), Instant::now());
        let insist = move || loop {
            match act(&admin) {
                Err(_) if begun.elapsed() < INSIST => std::thread::sleep(PAUSE),
                result => return result,
            }
        };
        tokio::task::spawn_blocking(insist).await?
    }

    fn partitions(&self) -> i32 {
        self.partitions.load(Ordering::Relaxed)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    fn reader(&self) -> anyhow::Result<BaseConsumer> {
        let mut config = self.config();
        config.set("group.id", format!("candles-{}", self.topic)).set("enable.auto.commit", "false");
        config.create().context("make an administrator's client")
    }

    /// First offset and offset of the next record of each partition.
    pub async fn ends(&self) -> anyhow::Result<Vec<(i32, i64, i64)>> {
        self.blocking(|admin| {
            let reader = admin.reader()?;
            let end = |partition| {
                let (low, high) = reader.fetch_watermarks(&admin.topic, partition, CALL)?;
                Ok((partition, low, high))
            };
            (0..admin.partitions()).map(end).collect()
        })
        .await
    }

    /// Committed offset of each partition.
    pub async fn committed(&self) -> anyhow::Result<Vec<(i32, Option<i64>)>> {
        self.blocking(|admin| {
            let mut list = TopicPartitionList::new();
            (0..admin.partitions()).for_each(|partition| {
                list.add_partition(&admin.topic, partition);
            });
            let committed = admin.reader()?.committed_offsets(list, CALL)?;
            let offset = |offset| if let Offset::Offset(offset) = offset { Some(offset) } else { None };
            Ok(committed.elements().iter().map(|e| (e.partition(), offset(e.offset()))).collect())
        })
        .await
    }

    /// Records that are not committed, summed over partitions; `None`: nothing is committed somewhere.
    pub async fn lag(&self) -> anyhow::Result<Option<i64>> {
        let (ends, committed) = (self.ends().await?, self.committed().await?);
        let of =
            |partition: i32| committed.iter().find(|(p, _)| *p == partition).and_then(|(_, offset)| *offset);
        let lag = |(partition, low, high): &(i32, i64, i64)| match of(*partition) {
            Some(offset) => Some(high - offset),
            // An empty partition needs no commit.
            None => (low == high).then_some(0),
        };
        Ok(ends.iter().map(lag).sum())
    }

    /// Commits for the empty group as an administrator does: without metadata.
    pub async fn reset(&self, offsets: Vec<(i32, i64)>) -> anyhow::Result<()> {
        self.blocking(move |admin| {
            let mut list = TopicPartitionList::new();
            for (partition, offset) in &offsets {
                list.add_partition_offset(&admin.topic, *partition, Offset::Offset(*offset))?;
            }
            admin.reader()?.commit(&list, CommitMode::Sync).context("reset offsets")
        })
        .await
    }

    /// Removes the records of each partition before an offset.
    pub async fn delete(&self, before: &[(i32, i64)]) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.config().create()?;
        let mut list = TopicPartitionList::new();
        for (partition, offset) in before {
            list.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))?;
        }
        let done = admin.delete_records(&list, &AdminOptions::new()).await.context("delete records")?;
        done.elements().iter().try_for_each(TopicPartitionListElem::error).context("delete records")
    }

    /// Appends values of a foreign client to partition 0, once.
    pub async fn append(&self, values: Vec<Vec<u8>>) -> anyhow::Result<()> {
        let admin = self.clone();
        let append = move || {
            let mut config = admin.config();
            let producer: BaseProducer = config.set("enable.idempotence", "true").create()?;
            for value in &values {
                let record = BaseRecord::to(&admin.topic).partition(0).key("tBTCUSD").payload(value);
                producer.send(record).map_err(|(error, _)| error).context("append a foreign record")?;
            }
            producer.flush(INSIST).context("append foreign records")
        };
        tokio::task::spawn_blocking(append).await?
    }

    /// Offsets in partition 0 of the records that dead letters speak of, each once.
    pub async fn dead_letters(&self) -> anyhow::Result<BTreeSet<i64>> {
        self.blocking(|admin| {
            let (reader, topic) = (admin.reader()?, format!("{}-dlq", admin.topic));
            let (low, high) = reader.fetch_watermarks(&topic, 0, CALL)?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(&topic, 0, Offset::Offset(low))?;
            reader.assign(&list)?;
            let (mut found, mut next) = (BTreeSet::new(), low);
            while next < high {
                let message = reader.poll(CALL).context("read dead letters: no answer")??;
                next = message.offset() + 1;
                let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
                let offset = headers.filter(|header| header.key == "offset").find_map(|header| header.value);
                // Those of frames of the exchange name no offset.
                found.extend(offset.and_then(|text| std::str::from_utf8(text).ok()?.parse::<i64>().ok()));
            }
            Ok(found)
        })
        .await
    }
}
