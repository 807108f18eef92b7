//! [`TopicAdmin`] on real brokers: a client for each cluster, kept while pipelines name it.
//!
//! A cluster that does not answer costs one waiting call now and then, not one for each of its pipelines: after a
//! failure calls fail at once, with the same words, until it is time to try again. So pipelines of a dead cluster
//! cannot hold up those of others, and words that do not change cause no writes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use candles_workers::{
    kafka::{advice, client_config, log, unique_client_id},
    runtime::{backoff::Backoff, chain},
};
use rdkafka::{ClientContext, config::RDKafkaLogLevel};
use tokio::sync::Semaphore;

use super::{
    Address, KafkaError, Lag, NewTopic, Refusal, TopicAdmin,
    credentials::Credentials,
    native::{ConfigSource, DescribedConfig, DescribedTopic, Failure, Handle, Hears, OffsetAt, code},
};
use crate::{
    limits::{READ, WRITE},
    topic::{Live, LiveValue, Replicas},
};

/// Calls to one cluster at the same time. Brokers take admin calls one after the other anyway.
const CALLS_MAX: usize = 8;
/// Clusters at the same time: each costs threads and memory, and pipelines may name anything.
const CLUSTERS_MAX: usize = 64;
/// A client that nobody used for this long goes.
const IDLE_MAX: Duration = Duration::from_secs(600);
/// The first pause after a failure, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// All clusters that pipelines name.
#[derive(Debug)]
pub struct Clusters {
    credentials: Credentials,
    clusters: Mutex<HashMap<Address, Arc<Cluster>>>,
}

struct Cluster {
    calls: Semaphore,
    state: Mutex<State>,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cluster(..)")
    }
}

struct State {
    client: Option<Arc<Handle<Watch>>>,
    cluster_id: Option<String>,
    used: Instant,
    backoff: Backoff,
    /// Until when calls fail at once, and what they say.
    down: Option<(Instant, KafkaError)>,
}

impl Clusters {
    /// Connects to nothing yet.
    pub fn new(credentials: Credentials) -> Self {
        Self { credentials, clusters: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Address, Arc<Cluster>>> {
        self.clusters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cluster(&self, address: &Address) -> Result<Arc<Cluster>, KafkaError> {
        let mut clusters = self.lock();
        if let Some(cluster) = clusters.get(address) {
            return Ok(Arc::clone(cluster));
        }
        clusters.retain(|_, cluster| cluster.lock().used.elapsed() < IDLE_MAX);
        if clusters.len() >= CLUSTERS_MAX {
            return Err(KafkaError::NoAccess(format!(
                "the operator talks to {CLUSTERS_MAX} clusters already, as many as it can"
            )));
        }
        let state = State {
            client: None,
            cluster_id: None,
            used: Instant::now(),
            backoff: Backoff::new(PAUSE.0, PAUSE.1),
            down: None,
        };
        let cluster = Arc::new(Cluster { calls: Semaphore::new(CALLS_MAX), state: Mutex::new(state) });
        clusters.insert(address.clone(), Arc::clone(&cluster));
        Ok(cluster)
    }

    /// One call: in its turn, on a thread that may block, unless the cluster is known not to answer.
    async fn call<R: Send + 'static>(
        &self,
        address: &Address,
        work: impl FnOnce(&Handle<Watch>) -> Result<R, Failure> + Send + 'static,
    ) -> Result<R, KafkaError> {
        let cluster = self.cluster(address)?;
        let _turn = cluster.calls.acquire().await.map_err(|e| KafkaError::Unreachable(e.to_string()))?;
        let client = cluster.client(address, &self.credentials)?;
        let asking = Arc::clone(&client);
        let know_id = cluster.lock().cluster_id.is_none();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = work(&asking)?;
            Ok((answer, know_id.then(|| asking.cluster_id(READ)).flatten()))
        });
        let answer =
            answer.await.map_err(|e| KafkaError::Unreachable(format!("the call ended early: {e}")))?;
        match answer {
            Ok((answer, id)) => {
                cluster.answered(id);
                Ok(answer)
            }
            Err(failure) => Err(cluster.failed(address, &client, &failure)),
        }
    }
}

impl Cluster {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client, unless the cluster is paused after a failure. Whoever comes first after the pause tries; the others
    /// still fail at once until that try has ended.
    fn client(&self, address: &Address, credentials: &Credentials) -> Result<Arc<Handle<Watch>>, KafkaError> {
        let mut state = self.lock();
        state.used = Instant::now();
        if let Some((until, error)) = &mut state.down {
            if Instant::now() < *until {
                return Err(error.clone());
            }
            *until = Instant::now() + READ + WRITE;
        }
        if let Some(client) = &state.client {
            return Ok(Arc::clone(client));
        }
        let made = connect(address, credentials);
        match made {
            Ok(client) => {
                let client = Arc::new(client);
                state.client = Some(Arc::clone(&client));
                Ok(client)
            }
            Err(error) => {
                let pause = state.backoff.next_delay();
                state.down = Some((Instant::now() + pause, error.clone()));
                Err(error)
            }
        }
    }

    fn answered(&self, id: Option<String>) {
        let mut state = self.lock();
        state.down = None;
        state.backoff.reset();
        if id.is_some() {
            state.cluster_id = id;
        }
    }

    fn failed(&self, address: &Address, client: &Handle<Watch>, failure: &Failure) -> KafkaError {
        if !is_connection(failure.code) {
            self.answered(None);
            if failure.code == code::NOT_COORDINATOR {
                // A client remembers the old coordinator for minutes; the next one asks anew.
                self.lock().client = None;
            }
            return refused(failure);
        }
        let words = client.context().problem().unwrap_or_else(|| describe(&failure.text));
        let error = KafkaError::Unreachable(format!("{}: {words}", address.bootstrap_servers()));
        let mut state = self.lock();
        let pause = state.backoff.next_delay();
        state.down = Some((Instant::now() + pause, error.clone()));
        // Certificates and passwords are read when a client is made, and may have changed.
        state.client = None;
        error
    }
}

fn connect(address: &Address, credentials: &Credentials) -> Result<Handle<Watch>, KafkaError> {
    let settings = credentials.settings(address)?;
    let mut config = client_config(&settings, &unique_client_id("operator"))
        .map_err(|e| KafkaError::NoAccess(format!("--kafka-clusters: {}", chain(&e))))?;
    config.set("log.connection.close", "false").set("socket.connection.setup.timeout.ms", "4000");
    Handle::new(&config, Watch::default())
        .map_err(|e| KafkaError::NoAccess(format!("{}: {}", address.bootstrap_servers(), chain(&e))))
}

/// Whether the cluster as a whole is in trouble, rather than this request.
fn is_connection(code: i32) -> bool {
    code == code::SASL_AUTHENTICATION_FAILED
        || code < 0
            && !matches!(code, code::INVALID_ARGUMENT | code::BAD_MESSAGE | code::CRITICAL_SYSTEM_RESOURCE)
}

fn refused(failure: &Failure) -> KafkaError {
    let refusal = match failure.code {
        code::REQUEST_TIMED_OUT
        | code::NETWORK_EXCEPTION
        | code::NOT_CONTROLLER
        | code::THROTTLING_QUOTA_EXCEEDED => return KafkaError::Unreachable(failure.text.clone()),
        code::TOPIC_ALREADY_EXISTS => Refusal::Exists,
        code::UNKNOWN_TOPIC_OR_PARTITION | code::UNKNOWN_TOPIC_ID => Refusal::Unknown,
        code::TOPIC_AUTHORIZATION_FAILED
        | code::GROUP_AUTHORIZATION_FAILED
        | code::CLUSTER_AUTHORIZATION_FAILED => Refusal::Forbidden,
        code::POLICY_VIOLATION
        | code::INVALID_CONFIG
        | code::INVALID_TOPIC
        | code::TOPIC_DELETION_DISABLED => Refusal::Policy,
        _ => Refusal::Other,
    };
    KafkaError::Refused { refusal, text: failure.text.clone() }
}

/// What happens to a client's connections: its log lines in, the last trouble in lasting words out.
#[derive(Debug, Default)]
struct Watch(Mutex<Option<String>>);

impl Watch {
    fn problem(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Hears for Watch {
    fn hear(&self, line: &str) {
        // That all brokers are down follows from what was said before.
        if line.contains("brokers are down") {
            return;
        }
        tracing::info!(advice = advice(line), "kafka client: {line}");
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(describe(line));
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }
}

/// The client's lines hold durations and counts, which would make every status another one.
fn describe(line: &str) -> String {
    const KNOWN: [(&str, &str); 7] = [
        ("Connection refused", "connection refused"),
        ("Failed to resolve", "host name not known"),
        ("No route to host", "no route to the host"),
        ("Network is unreachable", "network is unreachable"),
        ("Disconnected", "the broker closed the connection"),
        ("timed out", "no answer in time"),
        ("Timed out", "no answer in time"),
    ];
    let known = || KNOWN.iter().find(|(text, _)| line.contains(text)).map(|(_, words)| *words);
    advice(line).or_else(known).unwrap_or("no answer").to_owned()
}

impl TopicAdmin for Clusters {
    async fn describe(&self, cluster: &Address, topics: &[String]) -> Result<Vec<Option<Live>>, KafkaError> {
        let names = topics.to_vec();
        self.call(cluster, move |client| described(client, &names)).await
    }

    async fn create(&self, cluster: &Address, topic: &NewTopic) -> Result<(), KafkaError> {
        let topic = topic.clone();
        self.call(cluster, move |client| {
            let (partitions, copies) = (number(topic.partitions), number(topic.replication_factor));
            client.create_topic(&topic.name, partitions, copies, &topic.config, WRITE)
        })
        .await
    }

    async fn grow(&self, cluster: &Address, topic: &str, partitions: usize) -> Result<(), KafkaError> {
        let topic = topic.to_owned();
        self.call(cluster, move |client| client.create_partitions(&topic, partitions, WRITE)).await
    }

    async fn alter(
        &self,
        cluster: &Address,
        topic: &str,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<(), KafkaError> {
        let (topic, changes) = (topic.to_owned(), changes.clone());
        self.call(cluster, move |client| client.alter_config(&topic, &changes, WRITE)).await
    }

    async fn delete(&self, cluster: &Address, topic: &str) -> Result<(), KafkaError> {
        let topic = topic.to_owned();
        self.call(cluster, move |client| client.delete_topic(&topic, WRITE)).await
    }

    async fn lag(
        &self,
        cluster: &Address,
        topic: &str,
        group: &str,
        partitions: usize,
    ) -> Result<Option<Lag>, KafkaError> {
        let (topic, group, partitions) = (topic.to_owned(), group.to_owned(), number(partitions));
        self.call(cluster, move |client| {
            let committed = client.committed(&group, &topic, partitions, READ)?;
            if committed.iter().all(Option::is_none) {
                return Ok(None);
            }
            let starts = client.offsets(&topic, partitions, OffsetAt::Start, READ)?;
            let ends = client.offsets(&topic, partitions, OffsetAt::End, READ)?;
            Ok(lag(&committed, &starts, &ends))
        })
        .await
    }

    fn cluster_id(&self, cluster: &Address) -> Option<String> {
        self.lock().get(cluster)?.lock().cluster_id.clone()
    }
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn described(client: &Handle<Watch>, names: &[String]) -> Result<Vec<Option<Live>>, Failure> {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut topics = HashMap::new();
    for (name, topic) in client.describe_topics(&names, READ)? {
        match topic {
            Ok(topic) => drop(topics.insert(name, topic)),
            Err(failure) if is_unknown(&failure) => {}
            Err(failure) => return Err(failure),
        }
    }
    let found: Vec<&str> = names.iter().copied().filter(|name| topics.contains_key(*name)).collect();
    let mut lives = HashMap::new();
    let configs = if found.is_empty() { Vec::new() } else { client.describe_configs(&found, READ)? };
    for (name, config) in configs {
        match (topics.remove(&name), config) {
            (Some(topic), Ok(config)) => drop(lives.insert(name, live(topic, config))),
            (_, Err(failure)) if !is_unknown(&failure) => return Err(failure),
            _ => {}
        }
    }
    Ok(names.iter().map(|name| lives.remove(*name)).collect())
}

fn is_unknown(failure: &Failure) -> bool {
    matches!(failure.code, code::UNKNOWN_TOPIC_OR_PARTITION | code::UNKNOWN_TOPIC_ID)
}

fn live(mut topic: DescribedTopic, config: Vec<DescribedConfig>) -> Live {
    topic.partitions.sort_by_key(|partition| partition.id);
    let partitions = topic.partitions.iter().map(|partition| Replicas {
        has_leader: partition.leader.is_some(),
        total: partition.replicas,
        in_sync: partition.in_sync,
    });
    let config = config.into_iter().map(|entry| {
        (entry.key, LiveValue { value: entry.value, is_set: entry.source == ConfigSource::Topic })
    });
    Live { id: topic.id, partitions: partitions.collect(), config: config.collect() }
}

/// What retention removed is not waited for: lag counts from the start of the log.
fn lag(committed: &[Option<i64>], starts: &[Option<i64>], ends: &[Option<i64>]) -> Option<Lag> {
    let mut lag = Lag { sum: 0, max: 0 };
    for ((committed, start), end) in committed.iter().zip(starts).zip(ends) {
        let (start, end) = ((*start)?, (*end)?);
        let behind = end.saturating_sub(committed.unwrap_or(start).max(start));
        let behind = u64::try_from(behind).unwrap_or(0);
        lag.sum = lag.sum.saturating_add(behind);
        lag.max = lag.max.max(behind);
    }
    Some(lag)
}

#[cfg(test)]
mod tests {
    use rdkafka::{
        mocking::MockCluster,
        types::{RDKafkaApiKey, RDKafkaRespErr},
    };

    use super::*;

    #[test]
    fn lag_counts_from_the_start_of_the_log_and_is_unknown_without_an_end() {
        let some = |offsets: &[i64]| offsets.iter().copied().map(Some).collect::<Vec<_>>();
        let committed = [Some(5), None, Some(90)];
        assert_eq!(
            lag(&committed, &some(&[10, 3, 0]), &some(&[20, 7, 80])),
            Some(Lag { sum: 14, max: 10 }),
            "retention passed the first, nothing is committed in the second, the third was cut"
        );
        assert_eq!(lag(&committed, &some(&[0, 0, 0]), &[Some(1), None, Some(1)]), None);
    }

    #[test]
    fn words_of_the_client_lose_what_changes() {
        let line = "kafka:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 3ms in state CONNECT, 2 identical error(s) suppressed)";
        assert_eq!(describe(line), "connection refused");
        assert!(
            describe("sasl_ssl://k:1: Authentication failed: no (after 9ms)").contains("user or password")
        );
        assert_eq!(describe("something that nobody foresaw after 7ms"), "no answer");
    }

    #[tokio::test]
    async fn a_dead_cluster_costs_one_wait_and_says_the_same_each_time() {
        // A port that nobody listens on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let clusters = Clusters::new(Credentials::default());
        let address = Address::new(&format!("127.0.0.1:{port}"), false, false);
        let topics = ["t".to_owned()];
        let first = clusters.describe(&address, &topics).await.unwrap_err();
        assert_eq!(first, KafkaError::Unreachable(format!("127.0.0.1:{port}: connection refused")));
        for _ in 0..100 {
            assert_eq!(clusters.describe(&address, &topics).await.unwrap_err(), first);
        }
    }

    #[tokio::test]
    async fn a_coordinator_that_has_moved_is_an_error_and_not_the_end() {
        let brokers = MockCluster::new(1).unwrap();
        brokers.create_topic("t", 1, 1).unwrap();
        let clusters = Clusters::new(Credentials::default());
        let address = Address::new(&brokers.bootstrap_servers(), false, false);
        assert_eq!(clusters.lag(&address, "t", "g", 1).await, Ok(None));
        for moved in [RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_COORDINATOR; 3] {
            brokers.request_errors(RDKafkaApiKey::OffsetFetch, &[moved]);
            let error = clusters.lag(&address, "t", "g", 1).await.unwrap_err();
            assert!(matches!(error, KafkaError::Refused { refusal: Refusal::Other, .. }), "{error:?}");
            assert_eq!(clusters.lag(&address, "t", "g", 1).await, Ok(None));
        }
    }

    #[tokio::test]
    async fn clusters_are_bounded() {
        let clusters = Clusters::new(Credentials::default());
        for nth in 0..CLUSTERS_MAX {
            clusters.cluster(&Address::new(&format!("k{nth}:1"), false, false)).unwrap();
        }
        assert!(matches!(
            clusters.cluster(&Address::new("more:1", false, false)),
            Err(KafkaError::NoAccess(_))
        ));
    }
}
