//! A mock cluster, a registry, a database and consumers: what each test of this binary needs, with verbs.

use std::{
    collections::BTreeMap,
    io::Write as _,
    net::SocketAddr,
    time::{Duration, Instant},
};

use candles_core::{
    avro::{TRADE_SCHEMA_JSON, TradeEncoder},
    config::PipelineConfig,
    trade::Trade,
};
use candles_testbed::doubles::{
    influxdb::{self, Influxdb, Key},
    registry::Registry,
};
pub use candles_testbed::expect::{PATIENCE, eventually};
use candles_workers::consumer;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::{Header, Headers as _, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use tempfile::NamedTempFile;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::golden;

pub const TOPIC: &str = "trades";
pub const DLQ: &str = "trades-dlq";
pub const GROUP: &str = "candles-trades";
/// Partition of the golden symbol's records.
pub const PARTITION: i32 = 1;

/// Everything that a consumer talks to.
pub struct World {
    pub cluster: MockCluster<'static, DefaultProducerContext>,
    pub influxdb: Influxdb,
    pub registry: Registry,
    pub schema_id: u32,
    /// Instead of the registry's own address.
    pub registry_url: Option<String>,
    /// Extra YAML below `influxdb`, at two spaces.
    pub influxdb_yaml: String,
    /// Extra YAML at top level.
    pub yaml: String,
    token: NamedTempFile,
    producer: BaseProducer,
}

/// A dead letter.
#[derive(Debug, Clone)]
pub struct Dead {
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    pub headers: BTreeMap<String, String>,
}

impl Dead {
    /// Class and offset of the record.
    pub fn place(&self) -> (&str, i64) {
        (&self.headers["error"], self.headers["offset"].parse().unwrap())
    }
}

impl World {
    /// With a topic of two partitions and its dead letter topic.
    pub async fn new() -> Self {
        let world = Self::without_dead_letters().await;
        world.cluster.create_topic(DLQ, 1, 1).unwrap();
        world
    }

    /// With a topic of two partitions.
    pub async fn without_dead_letters() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // With RUST_LOG, a failing test tells what the consumer said.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        let registry = Registry::start().await.unwrap();
        let schema_id = registry.put("trades-value", TRADE_SCHEMA_JSON);
        let producer = ClientConfig::new()
            .set("bootstrap.servers", cluster.bootstrap_servers())
            .set("message.max.bytes", "80000000")
            .set("linger.ms", "5")
            .create()
            .unwrap();
        let mut token = NamedTempFile::new().unwrap();
        writeln!(token, "{}", influxdb::TOKEN).unwrap();
        Self {
            cluster,
            influxdb: Influxdb::start().await.unwrap(),
            registry,
            schema_id,
            registry_url: None,
            influxdb_yaml: String::new(),
            yaml: "candles: {intervals: [2m]}\n".to_owned(),
            token,
            producer,
        }
    }

    /// Changes the file that holds the token.
    pub fn write_token(&self, token: &str) {
        std::fs::write(self.token.path(), token).unwrap();
    }

    /// The configuration file.
    pub fn config(&self) -> String {
        format!(
            "exchange: {{name: bitfinex, symbols: [{symbol}, tETHUSD]}}\n\
             kafka: {{bootstrapServers: '{kafka}'}}\n\
             schemaRegistry: {{url: '{registry}'}}\n\
             topic: {{name: {TOPIC}}}\n\
             influxdb:\n  url: {influxdb}\n  organization: {org}\n  bucket: {bucket}\n  token: {{file: {token}}}\n\
             {more_influxdb}{more}",
            symbol = golden::SYMBOL,
            kafka = self.cluster.bootstrap_servers(),
            registry = self.registry_url.clone().unwrap_or_else(|| self.registry.url()),
            influxdb = self.influxdb.url(),
            org = influxdb::ORGANIZATION,
            bucket = influxdb::BUCKET,
            token = self.token.path().display(),
            more_influxdb = self.influxdb_yaml,
            more = self.yaml,
        )
    }

    /// Starts a consumer in this process.
    pub fn consumer(&self) -> Consumer {
        let config = PipelineConfig::from_yaml(&self.config()).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let stop = CancellationToken::new();
        let options = consumer::Options { http_address: address };
        let task = tokio::spawn(consumer::run(config, options, stop.clone()));
        Consumer { address, stop: stop.drop_guard(), task, client: reqwest::Client::new() }
    }

    /// The whole recording with its marks, so that every window is final.
    pub fn golden_trades(&self) {
        self.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
        self.trades(&golden::trades());
        self.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    }

    /// Trades of the golden symbol.
    pub fn trades(&self, trades: &[Trade]) {
        for trade in trades {
            self.value(PARTITION, golden::SYMBOL, &self.encoded(trade));
        }
        self.flush();
    }

    /// A record's value for a trade of the golden symbol.
    pub fn encoded(&self, trade: &Trade) -> Vec<u8> {
        let mut value = Vec::new();
        TradeEncoder::new(self.schema_id, "bitfinex", golden::SYMBOL).encode(trade, &mut value);
        value
    }

    pub fn value(&self, partition: i32, key: &str, value: &[u8]) {
        loop {
            let record = BaseRecord::to(TOPIC).partition(partition).key(key).payload(value);
            if self.producer.send(record).is_ok() {
                return;
            }
            self.producer.poll(Duration::from_millis(50));
        }
    }

    /// `until` or `from`, or any other header.
    pub fn mark(&self, partition: i32, symbol: &str, name: &str, ms: i64) {
        let headers = OwnedHeaders::new().insert(Header { key: name, value: Some(&ms.to_string()) });
        let record = BaseRecord::<str, [u8]>::to(TOPIC).partition(partition).key(symbol).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.flush();
    }

    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Final candles of an interval by window start (ms).
    pub fn candles(&self, interval: &str) -> BTreeMap<i64, ([f64; 5], u64)> {
        let tags = format!("symbol={},interval={interval}", golden::SYMBOL);
        let points = self.influxdb.points("candles").into_iter().filter(|((_, t, _), _)| *t == tags);
        let row = |((_, _, time_ns), fields): (Key, influxdb::Fields)| {
            let value = |name: &str| fields[name].parse::<f64>().unwrap();
            let values = ["open", "high", "low", "close", "volume"].map(value);
            (time_ns / 1_000_000, (values, fields["count"].trim_end_matches('i').parse().unwrap()))
        };
        points.map(row).collect()
    }

    /// Waits until the database holds the golden result, and checks that nothing in it was ever something else.
    pub async fn expect_golden(&self) {
        eventually("raw points", golden::trades().len(), async || self.raw_points()).await;
        let golden = golden::folded(2);
        eventually("2m candles", golden.len(), async || self.candles("2m").len()).await;
        assert_eq!(self.candles("2m"), golden);
        self.expect_nothing_rewritten();
    }

    /// No raw point and no final candle was ever written with other values.
    pub fn expect_nothing_rewritten(&self) {
        assert_eq!(self.influxdb.rewritten("trades"), []);
        assert_eq!(self.influxdb.rewritten("candles"), []);
    }

    pub fn raw_points(&self) -> usize {
        self.influxdb.points("trades").len()
    }

    /// Offset and metadata that the group has committed.
    pub fn committed(&self, partition: i32) -> (Option<i64>, String) {
        let reader = self.reader(GROUP);
        let mut list = TopicPartitionList::new();
        list.add_partition(TOPIC, partition);
        let committed = reader.committed_offsets(list, Duration::from_secs(10)).unwrap();
        let element = &committed.elements()[0];
        let offset = if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None };
        (offset, element.metadata().to_owned())
    }

    /// End of a partition of the topic.
    pub fn end(&self, partition: i32) -> i64 {
        self.reader("ends").fetch_watermarks(TOPIC, partition, Duration::from_secs(10)).unwrap().1
    }

    /// Waits until as many dead letters are there, in order of their offsets.
    pub async fn dead_letters(&self, count: usize) -> Vec<Dead> {
        let reader = self.reader("dead letters");
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(DLQ, 0, Offset::Beginning).unwrap();
        reader.assign(&list).unwrap();
        let begun = Instant::now();
        let mut found = Vec::new();
        // One second more than needed, so that too many are seen too.
        let mut complete: Option<Instant> = None;
        while complete.is_none_or(|since| since.elapsed() < Duration::from_secs(1)) {
            assert!(begun.elapsed() < PATIENCE, "{} dead letters instead of {count}", found.len());
            match reader.poll(Duration::ZERO) {
                Some(message) => found.push(dead(&message.unwrap().detach())),
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
            if found.len() >= count && complete.is_none() {
                complete = Some(Instant::now());
            }
        }
        assert_eq!(found.len(), count);
        found.sort_by_key(|dead| dead.place().1);
        found
    }

    fn reader(&self, group: &str) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.cluster.bootstrap_servers())
            .set("group.id", group)
            .set("enable.auto.commit", "false")
            .set("allow.auto.create.topics", "false")
            .create()
            .unwrap()
    }
}

fn dead(message: &rdkafka::message::OwnedMessage) -> Dead {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers = message.headers().unwrap();
    Dead {
        key: message.key().map(text),
        value: message.payload().map(<[u8]>::to_vec),
        headers: headers.iter().map(|h| (h.key.to_owned(), text(h.value.unwrap_or_default()))).collect(),
    }
}

/// A consumer in this process.
pub struct Consumer {
    address: SocketAddr,
    /// Also when a test fails: the polling thread would hold the runtime.
    stop: DropGuard,
    task: JoinHandle<anyhow::Result<()>>,
    client: reqwest::Client,
}

impl Consumer {
    /// Tells it to stop, waits until it has, and returns how long that took.
    pub async fn stop(self) -> Duration {
        let begun = Instant::now();
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.task).await.expect("stops").unwrap().unwrap();
        begun.elapsed()
    }

    /// Status and body of one of its pages; (0, "") while it does not answer.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let Ok(answer) = self.client.get(format!("http://{}{path}", self.address)).send().await else {
            return (0, String::new());
        };
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    /// Sum over all labels of one metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let (_, text) = self.get("/metrics").await;
        let of = |line: &str| {
            let (series, value) = line.rsplit_once(' ')?;
            let named = series == name || series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'));
            named.then(|| value.parse::<f64>().unwrap())
        };
        text.lines().filter_map(of).sum()
    }

    /// Waits until `/readyz` says ok.
    pub async fn ready(&self) {
        eventually("readyz", (200, "ok\n".to_owned()), async || self.get("/readyz").await).await;
    }

    /// Waits until `/readyz` holds all of these texts, and returns what it said.
    pub async fn unready_because(&self, texts: &[&str]) -> String {
        let begun = Instant::now();
        loop {
            let (status, body) = self.get("/readyz").await;
            if status == 503 && texts.iter().all(|text| body.contains(text)) {
                return body;
            }
            assert!(begun.elapsed() < PATIENCE, "{status} {body:?} instead of {texts:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
