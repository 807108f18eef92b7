//! Brokers made of maps: they refuse what Kafka refuses, show defaults as inherited, and may show news late.

use std::{collections::BTreeMap, sync::Arc};

use candles_operator::{
    kafka::{Address, KafkaError, Lag, NewTopic, Refusal, TopicAdmin},
    topic::{Live, LiveValue, Replicas},
};
use serde_json::{Value, json};

use crate::world::{Call, Fate, Fault, World};

const DEFAULTS: [(&str, &str); 5] = [
    ("min.insync.replicas", "1"),
    ("retention.ms", "604800000"),
    ("segment.ms", "604800000"),
    ("cleanup.policy", "delete"),
    ("compression.type", "producer"),
];

#[derive(Debug, Clone)]
pub struct Topic {
    pub id: String,
    pub partitions: usize,
    pub replication_factor: usize,
    pub in_sync: usize,
    pub config: BTreeMap<String, String>,
    /// Looks until it shows.
    pub hidden: usize,
}

#[derive(Debug)]
pub struct Brokers {
    pub topics: BTreeMap<String, Topic>,
    pub down: bool,
    pub count: usize,
    /// Topics ever made, and ever deleted, by name.
    pub made: Vec<String>,
    pub deleted: Vec<String>,
    /// Looks until a new topic shows.
    pub late: usize,
    /// What is refused, and how.
    pub refuses: Option<(&'static str, Refusal)>,
}

impl Default for Brokers {
    fn default() -> Self {
        Self {
            topics: BTreeMap::new(),
            down: false,
            count: 3,
            made: Vec::new(),
            deleted: Vec::new(),
            late: 0,
            refuses: None,
        }
    }
}

impl Brokers {
    /// Somebody else makes a topic.
    pub fn make(&mut self, name: &str, partitions: usize, replication_factor: usize) {
        self.made.push(name.to_owned());
        let topic = Topic {
            id: format!("id-{}", self.made.len()),
            partitions,
            replication_factor,
            in_sync: replication_factor,
            config: BTreeMap::new(),
            hidden: self.late,
        };
        self.topics.insert(name.to_owned(), topic);
    }

    pub fn end_state(&self) -> Value {
        let topic = |topic: &Topic| json!([topic.partitions, topic.replication_factor, topic.config]);
        self.topics
            .iter()
            .map(|(name, found)| (name.clone(), topic(found)))
            .collect::<serde_json::Map<_, _>>()
            .into()
    }

    fn find(&mut self, name: &str) -> Result<&mut Topic, KafkaError> {
        self.topics.get_mut(name).ok_or_else(|| refused(Refusal::Unknown, "no such topic"))
    }

    fn create(&mut self, new: &NewTopic) -> Result<(), KafkaError> {
        if self.topics.contains_key(&new.name) {
            return Err(refused(Refusal::Exists, "topic exists"));
        }
        if new.replication_factor > self.count {
            return Err(refused(Refusal::Other, "replication factor is larger than available brokers"));
        }
        check(&new.config)?;
        self.make(&new.name, new.partitions, new.replication_factor);
        self.find(&new.name)?.config = new.config.clone();
        Ok(())
    }

    fn grow(&mut self, name: &str, partitions: usize) -> Result<(), KafkaError> {
        let topic = self.find(name)?;
        if partitions <= topic.partitions {
            return Err(refused(Refusal::Other, "topic already has that many partitions"));
        }
        topic.partitions = partitions;
        Ok(())
    }

    fn alter(&mut self, name: &str, changes: &BTreeMap<String, Option<String>>) -> Result<(), KafkaError> {
        let set = changes.iter().filter_map(|(key, value)| Some((key.clone(), value.clone()?))).collect();
        check(&set)?;
        let topic = self.find(name)?;
        topic.config.extend(set);
        topic.config.retain(|key, _| changes.get(key) != Some(&None));
        Ok(())
    }

    fn delete(&mut self, name: &str) -> Result<(), KafkaError> {
        self.find(name)?;
        self.topics.remove(name);
        self.deleted.push(name.to_owned());
        Ok(())
    }

    fn look(&mut self, name: &str) -> Option<Live> {
        let topic = self.topics.get_mut(name)?;
        if topic.hidden > 0 {
            topic.hidden -= 1;
            return None;
        }
        let replicas = Replicas {
            has_leader: topic.in_sync > 0,
            total: topic.replication_factor,
            in_sync: topic.in_sync,
        };
        let inherited = DEFAULTS.iter().map(|(key, value)| ((*key).to_owned(), shown(value, false)));
        let set = topic.config.iter().map(|(key, value)| (key.clone(), shown(value, true)));
        Some(Live {
            id: Some(topic.id.clone()),
            partitions: vec![replicas; topic.partitions],
            config: inherited.chain(set).collect(),
        })
    }
}

fn shown(value: &str, is_set: bool) -> LiveValue {
    LiveValue { value: Some(value.to_owned()), is_set }
}

fn check(config: &BTreeMap<String, String>) -> Result<(), KafkaError> {
    match config.keys().find(|key| !DEFAULTS.iter().any(|(known, _)| known == key)) {
        Some(key) => Err(refused(Refusal::Policy, &format!("unknown topic config name: {key}"))),
        None => Ok(()),
    }
}

fn refused(refusal: Refusal, text: &str) -> KafkaError {
    KafkaError::Refused { refusal, text: text.to_owned() }
}

impl World {
    async fn kafka<R>(
        &self,
        verb: &'static str,
        topic: &str,
        act: impl FnOnce(&mut Brokers) -> Result<R, KafkaError>,
    ) -> Result<R, KafkaError> {
        let writes = !matches!(verb, "describe" | "lag");
        let call = Call { verb, resource: "kafka".to_owned(), name: topic.to_owned(), writes };
        let lost = || KafkaError::Unreachable("kafka:9092: no answer in time".to_owned());
        match self.fate(call) {
            Fate::Done => {}
            Fate::Fails(Fault::CrashBefore) => self.die().await,
            Fate::Fails(Fault::CrashAfter) => {
                drop(act(&mut self.lock().brokers));
                self.die().await;
            }
            Fate::Fails(Fault::LostAfter) => {
                drop(act(&mut self.lock().brokers));
                return Err(lost());
            }
            Fate::Fails(Fault::Status(_) | Fault::Silence) => return Err(lost()),
        }
        let mut state = self.lock();
        let brokers = &mut state.brokers;
        if brokers.down {
            return Err(lost());
        }
        if let Some((_, refusal)) = brokers.refuses.filter(|(refused, _)| *refused == verb) {
            return Err(refused(refusal, "not by the rules of this cluster"));
        }
        act(brokers)
    }
}

/// The brokers, as an operator reaches them.
pub struct Reach(pub Arc<World>);

impl TopicAdmin for Reach {
    async fn describe(&self, _: &Address, topics: &[String]) -> Result<Vec<Option<Live>>, KafkaError> {
        self.0
            .kafka("describe", &topics.join(","), |brokers| {
                Ok(topics.iter().map(|t| brokers.look(t)).collect())
            })
            .await
    }

    async fn create(&self, _: &Address, topic: &NewTopic) -> Result<(), KafkaError> {
        self.0.kafka("create", &topic.name, |brokers| brokers.create(topic)).await
    }

    async fn grow(&self, _: &Address, topic: &str, partitions: usize) -> Result<(), KafkaError> {
        self.0.kafka("grow", topic, |brokers| brokers.grow(topic, partitions)).await
    }

    async fn alter(
        &self,
        _: &Address,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), KafkaError> {
        self.0.kafka("alter", topic, |brokers| brokers.alter(topic, changes)).await
    }

    async fn delete(&self, _: &Address, topic: &str) -> Result<(), KafkaError> {
        self.0.kafka("delete", topic, |brokers| brokers.delete(topic)).await
    }

    async fn lag(&self, _: &Address, topic: &str, _: &str, _: usize) -> Result<Option<Lag>, KafkaError> {
        self.0.kafka("lag", topic, |_| Ok(Some(Lag { sum: 0, max: 0 }))).await
    }

    fn cluster_id(&self, _: &Address) -> Option<String> {
        Some("cluster".to_owned())
    }
}
