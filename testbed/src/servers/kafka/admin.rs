//! Topics of the cluster, through librdkafka's admin client on the local listener: no Java start for each call.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;

use crate::servers::error::{Error, Result};

/// Limit of one request to the cluster.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Limit for a created topic to have its leaders.
const TOPIC_LIMIT: Duration = Duration::from_secs(30);

/// State of one partition, as one broker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Topic.
    pub topic: String,
    /// Number in the topic.
    pub id: i32,
    /// Node id of its leader; `None` while it has none.
    pub leader: Option<i32>,
    /// Node ids of its replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the replicas that are in sync.
    pub in_sync: Vec<i32>,
}

impl Partition {
    fn is_whole(&self) -> bool {
        self.leader.is_some() && self.in_sync.len() == self.replicas.len()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Admin {
    pub(crate) bootstrap: String,
}

impl Admin {
    fn client(&self) -> Result<AdminClient<DefaultClientContext>> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("client.id", "candles-testbed");
        config.create().map_err(unreachable("make an admin client"))
    }

    pub(crate) async fn create_topic(
        &self,
        name: &str,
        partitions: i32,
        replication: i32,
        configs: &[(&str, &str)],
    ) -> Result<()> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replication));
        for (key, value) in configs {
            topic = topic.set(key, value);
        }
        let action = format!("create topic {name}");
        let options = AdminOptions::new().request_timeout(Some(REQUEST_LIMIT));
        let results = self.client()?.create_topics([&topic], &options).await;
        for result in results.map_err(unreachable(&action))? {
            result.map_err(|(_, code)| refused(&action, code))?;
        }
        let count = usize::try_from(partitions).unwrap_or_default();
        let what = format!("topic {name} has {partitions} partitions with all replicas in sync");
        self.wait(&what, TOPIC_LIMIT, Some(name), |found| {
            found.len() == count && found.iter().all(Partition::is_whole)
        })
        .await
    }

    pub(crate) async fn delete_topic(&self, name: &str) -> Result<()> {
        let action = format!("delete topic {name}");
        let options = AdminOptions::new().request_timeout(Some(REQUEST_LIMIT));
        let results = self.client()?.delete_topics(&[name], &options).await;
        for result in results.map_err(unreachable(&action))? {
            result.map_err(|(_, code)| refused(&action, code))?;
        }
        Ok(())
    }

    pub(crate) async fn add_partitions(&self, name: &str, count: i32) -> Result<()> {
        let action = format!("add partitions to topic {name}");
        let options = AdminOptions::new().request_timeout(Some(REQUEST_LIMIT));
        let new = NewPartitions::new(name, usize::try_from(count).unwrap_or_default());
        let results = self.client()?.create_partitions([&new], &options).await;
        for result in results.map_err(unreachable(&action))? {
            result.map_err(|(_, code)| refused(&action, code))?;
        }
        let what = format!("topic {name} has {count} partitions with all replicas in sync");
        let count = usize::try_from(count).unwrap_or_default();
        self.wait(&what, TOPIC_LIMIT, Some(name), |found| {
            found.len() == count && found.iter().all(Partition::is_whole)
        })
        .await
    }

    pub(crate) async fn wait_in_sync(&self, limit: Duration) -> Result<()> {
        let what = "every partition has a leader and all replicas in sync";
        self.wait(what, limit, None, |found| found.iter().all(Partition::is_whole)).await
    }

    pub(crate) async fn partitions(&self, topic: Option<&str>) -> Result<Vec<Partition>> {
        let (admin, topic) = (self.clone(), topic.map(str::to_owned));
        let work = tokio::task::spawn_blocking(move || metadata(&admin.client()?, topic.as_deref()));
        work.await.map_err(|error| Error::io("read metadata")(error.into()))?
    }

    async fn wait(
        &self,
        what: &str,
        limit: Duration,
        topic: Option<&str>,
        mut holds: impl FnMut(&[Partition]) -> bool,
    ) -> Result<()> {
        let begun = Instant::now();
        loop {
            let found = self.partitions(topic).await;
            if found.as_ref().is_ok_and(|found| holds(found)) {
                return Ok(());
            }
            if begun.elapsed() > limit {
                return Err(Error::Timeout { what: what.to_owned(), limit, seen: describe(found) });
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn describe(found: Result<Vec<Partition>>) -> String {
    match found {
        Ok(found) => {
            let lacking = found.iter().filter(|partition| !partition.is_whole());
            format!("{} partitions, of which not whole: {:?}", found.len(), lacking.collect::<Vec<_>>())
        }
        Err(error) => crate::servers::error::chain(&error),
    }
}

fn metadata(client: &AdminClient<DefaultClientContext>, topic: Option<&str>) -> Result<Vec<Partition>> {
    let metadata = client.inner().fetch_metadata(topic, REQUEST_LIMIT);
    let metadata = metadata.map_err(unreachable("read metadata"))?;
    let mut found = Vec::new();
    for topic in metadata.topics() {
        found.extend(topic.partitions().iter().map(|partition| Partition {
            topic: topic.name().to_owned(),
            id: partition.id(),
            leader: Some(partition.leader()).filter(|leader| *leader >= 0),
            replicas: partition.replicas().to_vec(),
            in_sync: partition.isr().to_vec(),
        }));
    }
    Ok(found)
}

fn unreachable(action: &str) -> impl FnOnce(KafkaError) -> Error {
    let action = action.to_owned();
    move |source| Error::Unreachable { server: "kafka".to_owned(), action, source: Box::new(source) }
}

fn refused(action: &str, code: rdkafka::types::RDKafkaErrorCode) -> Error {
    Error::Refused {
        server: "kafka".to_owned(),
        action: action.to_owned(),
        status: format!("{code:?}"),
        body: code.to_string(),
    }
}
