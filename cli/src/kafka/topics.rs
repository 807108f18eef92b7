//! Topics with their partitions, replicas, offsets and configurations.

use std::time::Instant;

use anyhow::{anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigSource, ResourceSpecifier};
use rdkafka::consumer::Consumer as _;
use serde::Serialize;

use super::{CALL, Cluster, LastWords};

/// Partitions whose offsets are asked for at once; each costs two requests.
const COUNTED_MAX: usize = 500;

/// A topic as the brokers describe it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Topic {
    /// Its name.
    pub name: String,
    /// Kafka's own: offsets and transactions.
    pub internal: bool,
    /// In order of their numbers.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Partition {
    /// Its number.
    pub id: i32,
    /// Broker; `None` while there is none.
    pub leader: Option<i32>,
    /// Brokers.
    pub replicas: Vec<i32>,
    /// Those of them that are in sync.
    pub in_sync: Vec<i32>,
    /// Oldest offset; `None` when not asked for, or not answered.
    pub first: Option<i64>,
    /// Offset of the next record.
    pub end: Option<i64>,
}

impl Topic {
    /// Offsets in use: an upper bound of the number of records. `None` if any is unknown.
    pub fn records(&self) -> Option<i64> {
        self.partitions.iter().map(|partition| Some(partition.end? - partition.first?)).sum()
    }

    /// Replicas that are not in sync, over all partitions.
    pub fn out_of_sync(&self) -> usize {
        self.partitions.iter().map(|p| p.replicas.len().saturating_sub(p.in_sync.len())).sum()
    }

    /// Least number of replicas of a partition.
    pub fn replication(&self) -> usize {
        self.partitions.iter().map(|partition| partition.replicas.len()).min().unwrap_or(0)
    }
}

/// One setting of a topic.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value; `None` for secrets.
    pub value: Option<String>,
    /// Set for this topic, not a default.
    pub own: bool,
}

impl Cluster {
    /// All topics in order of their names; offsets of those that are not Kafka's own.
    pub fn topics(&self) -> anyhow::Result<Vec<Topic>> {
        let metadata = self.consumer.fetch_metadata(None, CALL).map_err(|e| self.failed(&e))?;
        let mut topics: Vec<Topic> = metadata.topics().iter().map(described).collect();
        topics.sort_by(|a, b| a.name.cmp(&b.name));
        self.count(&mut topics);
        Ok(topics)
    }

    /// One topic.
    pub fn topic(&self, name: &str) -> anyhow::Result<Topic> {
        let metadata = self.consumer.fetch_metadata(Some(name), CALL).map_err(|e| self.failed(&e))?;
        let found = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none());
        let Some(found) = found.filter(|topic| !topic.partitions().is_empty()) else {
            bail!(
                "kafka {}: there is no topic {name}; `candlectl topics` lists those that exist",
                self.servers
            );
        };
        let mut topics = [described(found)];
        self.count(&mut topics);
        let [topic] = topics;
        Ok(topic)
    }

    /// Asks for the offsets of each partition that has a leader, for as long as a call may take altogether.
    fn count(&self, topics: &mut [Topic]) {
        let begun = Instant::now();
        let counted = topics.iter_mut().filter(|topic| !topic.internal);
        let partitions = counted.flat_map(|topic| {
            let name = topic.name.clone();
            topic.partitions.iter_mut().map(move |partition| (name.clone(), partition))
        });
        for (topic, partition) in partitions.filter(|(_, p)| p.leader.is_some()).take(COUNTED_MAX) {
            let left = CALL.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return;
            }
            if let Ok((first, end)) = self.consumer.fetch_watermarks(&topic, partition.id, left) {
                (partition.first, partition.end) = (Some(first), Some(end));
            }
        }
    }

    /// Settings of a topic in order of their names. Needs a runtime of tokio.
    pub async fn settings(&self, topic: &str) -> anyhow::Result<Vec<Setting>> {
        if self.stand_in {
            bail!("these brokers tell no settings; `candlectl demo --real` has some that do");
        }
        let admin: AdminClient<LastWords> = self.settings.create_with_context(LastWords::default())?;
        let options = AdminOptions::new().request_timeout(Some(CALL));
        let answer = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await;
        let answer = answer.map_err(|e| self.failed(&e))?.pop();
        let resource = answer
            .ok_or_else(|| anyhow!("kafka {}: no answer about topic {topic}", self.servers))?
            .map_err(|code| anyhow!("kafka {}: settings of topic {topic}: {code}", self.servers))?;
        let mut settings: Vec<Setting> = resource
            .entries
            .into_iter()
            .map(|entry| Setting {
                own: entry.source == ConfigSource::DynamicTopic,
                value: entry.value.filter(|_| !entry.is_sensitive),
                name: entry.name,
            })
            .collect();
        settings.sort_by(|a, b| b.own.cmp(&a.own).then_with(|| a.name.cmp(&b.name)));
        Ok(settings)
    }
}

fn described(topic: &rdkafka::metadata::MetadataTopic) -> Topic {
    let mut partitions: Vec<Partition> = topic
        .partitions()
        .iter()
        .map(|partition| Partition {
            id: partition.id(),
            leader: (partition.leader() >= 0).then_some(partition.leader()),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
            first: None,
            end: None,
        })
        .collect();
    partitions.sort_by_key(|partition| partition.id);
    Topic { name: topic.name().to_owned(), internal: topic.name().starts_with("__"), partitions }
}
