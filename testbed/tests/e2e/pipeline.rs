//! What the tests share: configurations, records written by another client, and what the database holds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candles_core::avro::{TRADE_SCHEMA_JSON, TradeEncoder};
use candles_core::trade::Trade;
pub use candles_testbed::expect::{PATIENCE, eventually};
use candles_testbed::servers::{Testbed, Worker, worker};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};
use serde_json::json;

use crate::golden;

const TOKEN_VARIABLE: &str = "INFLUX_TOKEN";
/// Holds the password of the external listener.
pub const PASSWORD_VARIABLE: &str = "KAFKA_PASSWORD";
/// Partition of the golden symbol's records.
pub const PARTITION: i32 = 1;

/// One pipeline of one test: topic, bucket and configuration of its own on shared servers.
pub struct Pipeline<'a> {
    pub bed: &'a Testbed,
    pub topic: String,
    pub bucket: String,
    pub symbols: Vec<&'static str>,
    /// Extra YAML by top-level key, at two spaces.
    pub exchange: String,
    pub influxdb: String,
    /// Instead of InfluxDB's own address: a proxy before it.
    pub influxdb_url: Option<String>,
    /// Brokers and login, as the whole of `kafka`.
    pub kafka: String,
    pub registry: String,
    pub token: String,
    /// Extra YAML at top level.
    pub more: String,
}

impl<'a> Pipeline<'a> {
    /// With a topic of `partitions` (RF 3, min.insync 2), its dead letter topic, and a bucket.
    pub async fn new(bed: &'a Testbed, name: &str, partitions: i32, symbols: &[&'static str]) -> Self {
        let rf3 = [("min.insync.replicas", "2")];
        bed.kafka.create_topic(name, partitions, 3, &rf3).await.unwrap();
        bed.kafka.create_topic(&format!("{name}-dlq"), 1, 3, &rf3).await.unwrap();
        bed.influxdb.create_bucket(name).await.unwrap();
        Self {
            bed,
            topic: name.to_owned(),
            bucket: name.to_owned(),
            symbols: symbols.to_vec(),
            exchange: String::new(),
            influxdb: String::new(),
            influxdb_url: None,
            kafka: format!("{{bootstrapServers: '{}'}}", bed.kafka.bootstrap()),
            registry: bed.apicurio.url().to_owned(),
            token: bed.influxdb.token().to_owned(),
            more: String::new(),
        }
    }

    /// The configuration file.
    pub fn yaml(&self) -> String {
        format!(
            "exchange:\n  name: bitfinex\n  symbols: {symbols:?}\n{exchange}\
             kafka: {kafka}\n\
             schemaRegistry:\n  url: {registry}\n\
             topic:\n  name: {topic}\n\
             influxdb:\n  url: {influxdb}\n  organization: {org}\n  bucket: {bucket}\n  token: {{env: {TOKEN_VARIABLE}}}\n\
             {more_influxdb}{more}",
            symbols = self.symbols,
            exchange = self.exchange,
            kafka = self.kafka,
            registry = self.registry,
            topic = self.topic,
            influxdb = self.influxdb_url.as_deref().unwrap_or_else(|| self.bed.influxdb.url()),
            org = self.bed.influxdb.org(),
            bucket = self.bucket,
            more_influxdb = self.influxdb,
            more = self.more,
        )
    }

    /// Starts a worker and waits until it is ready.
    pub async fn worker(&self, binary: &str, name: &str) -> Worker {
        let worker = self.start(binary, name);
        worker.wait_ready().await.unwrap();
        worker
    }

    /// Starts a worker.
    pub fn start(&self, binary: &str, name: &str) -> Worker {
        let path = worker::binary(binary).unwrap();
        let name = format!("{}-{name}", self.topic);
        let env = [
            (TOKEN_VARIABLE, self.token.clone()),
            (PASSWORD_VARIABLE, self.bed.kafka.login().password.clone()),
        ];
        Worker::start(&path, &name, &self.yaml(), &env, self.bed.run_dir()).unwrap()
    }

    /// Final candles of an interval by window start (ms).
    pub async fn candles(&self, symbol: &str, interval: &str) -> BTreeMap<i64, ([f64; 5], u64)> {
        let filter = format!(
            r#"r._measurement == "candles" and r.symbol == "{symbol}" and r.interval == "{interval}""#
        );
        let rows = self.rows(&filter).await;
        let row = |row: &BTreeMap<String, String>| {
            let value = |name: &str| row[name].parse::<f64>().unwrap();
            let values = ["open", "high", "low", "close", "volume"].map(value);
            (time_ns(row) / 1_000_000, (values, row["count"].parse().unwrap()))
        };
        rows.iter().map(row).collect()
    }

    /// Points that a filter selects, with one column for each field.
    pub async fn rows(&self, filter: &str) -> Vec<BTreeMap<String, String>> {
        let query = format!(
            r#"from(bucket: "{}") |> range(start: 0) |> filter(fn: (r) => {filter})
               |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
               |> map(fn: (r) => ({{r with time_ns: int(v: r._time)}}))"#,
            self.bucket
        );
        self.bed.influxdb.query_rows(&query).await.unwrap()
    }

    /// Number of raw points.
    pub async fn raw_points(&self) -> usize {
        self.rows(r#"r._measurement == "trades""#).await.len()
    }

    /// Waits for the golden result: every raw point, every final candle, and nothing else.
    pub async fn expect_golden(&self) {
        let golden = golden::folded(2);
        eventually("raw points", 12_477, async || self.raw_points().await).await;
        eventually("2m candles", golden.len(), async || self.candles(golden::SYMBOL, "2m").await.len()).await;
        assert_eq!(self.candles(golden::SYMBOL, "2m").await, golden);
    }

    /// Waits until the group has committed the whole topic, with metadata that a broker keeps.
    pub async fn expect_committed(&self) {
        eventually("lag", Some(0), async || self.lag().await).await;
        let (_, metadata) = self.committed(PARTITION);
        assert!(metadata.starts_with("c2;") && metadata.len() <= 4_096, "{metadata:?}");
    }

    /// Offset and metadata that the group has committed.
    pub fn committed(&self, partition: i32) -> (Option<i64>, String) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.topic, partition);
        let committed = self.reader().committed_offsets(list, Duration::from_secs(30)).unwrap();
        let element = &committed.elements()[0];
        let offset = if let Offset::Offset(offset) = element.offset() { Some(offset) } else { None };
        (offset, element.metadata().to_owned())
    }

    /// Commits for the (empty) group as an administrator would: without metadata.
    pub fn reset_offset(&self, partition: i32, offset: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).unwrap();
        self.reader().commit(&list, CommitMode::Sync).unwrap();
    }

    /// Removes the records of a partition before an offset.
    pub async fn delete_records(&self, partition: i32, before: i64) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.bed.kafka.bootstrap()).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition, Offset::Offset(before)).unwrap();
        let result = admin.delete_records(&list, &AdminOptions::new()).await.unwrap();
        result.elements()[0].error().unwrap();
    }

    /// Waits for as many dead letters: class, offset and value of each, by offset.
    pub async fn dead_letters(&self, count: usize) -> Vec<(String, i64, Vec<u8>)> {
        let reader = self.reader();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&format!("{}-dlq", self.topic), 0, Offset::Beginning).unwrap();
        reader.assign(&list).unwrap();
        let (begun, mut found) = (Instant::now(), Vec::new());
        while found.len() < count {
            assert!(begun.elapsed() < PATIENCE, "{} dead letters instead of {count}", found.len());
            if let Some(Ok(message)) = reader.poll(Duration::from_millis(100)) {
                let headers = message.headers().unwrap();
                let header = |name: &str| {
                    let found = headers.iter().find(|header| header.key == name).unwrap();
                    String::from_utf8(found.value.unwrap().to_vec()).unwrap()
                };
                let value = message.payload().unwrap_or_default().to_vec();
                found.push((header("error"), header("offset").parse().unwrap(), value));
            }
            tokio::task::yield_now().await;
        }
        found.sort_by_key(|(_, offset, _)| *offset);
        found
    }

    fn reader(&self) -> BaseConsumer {
        ClientConfig::new()
            .set("bootstrap.servers", self.bed.kafka.bootstrap())
            .set("group.id", format!("candles-{}", self.topic))
            .set("enable.auto.commit", "false")
            .create()
            .unwrap()
    }

    /// Offsets that the group has committed, summed over partitions.
    pub async fn lag(&self) -> Option<i64> {
        let bootstrap = self.bed.kafka.bootstrap();
        let group = format!("candles-{}", self.topic);
        let args = ["--bootstrap-server", &bootstrap, "--describe", "--group", &group];
        let tool = self.bed.kafka.tool("org.apache.kafka.tools.consumer.group.ConsumerGroupCommand");
        let output = tool.args(args).run().await.unwrap().stdout;
        // GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...
        let lags =
            output.lines().filter(|line| line.starts_with(&group)).map(|line| line.split_whitespace().nth(5));
        lags.map(|lag| lag.and_then(|text| text.parse::<i64>().ok()))
            .collect::<Option<Vec<_>>>()
            .map(|l| l.iter().sum())
    }
}

/// Time of a row of [`Pipeline::rows`].
pub fn time_ns(row: &BTreeMap<String, String>) -> i64 {
    row["time_ns"].parse().unwrap()
}

/// A client that is not the producer: registers the schema over REST and writes records of its own making.
pub struct OtherClient {
    producer: BaseProducer,
    topic: String,
    pub schema_id: u32,
}

impl OtherClient {
    pub async fn new(pipeline: &Pipeline<'_>) -> Self {
        let url = format!("{}/subjects/{}-value/versions", pipeline.registry, pipeline.topic);
        let answer = reqwest::Client::new()
            .post(url)
            .header("Content-Type", "application/vnd.schemaregistry.v1+json")
            .body(json!({ "schema": TRADE_SCHEMA_JSON }).to_string())
            .send()
            .await
            .unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        let schema_id = u32::try_from(answer["id"].as_u64().unwrap()).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", pipeline.bed.kafka.bootstrap())
            .set("acks", "all")
            .set("message.max.bytes", "8000000")
            .set("linger.ms", "20")
            .create()
            .unwrap();
        Self { producer, topic: pipeline.topic.clone(), schema_id }
    }

    pub fn trades(&self, partition: i32, symbol: &str, trades: &[Trade]) {
        self.trades_unflushed(partition, symbol, trades);
        self.flush();
    }

    /// As [`OtherClient::trades`], without waiting for the brokers.
    pub fn trades_unflushed(&self, partition: i32, symbol: &str, trades: &[Trade]) {
        let encoder = TradeEncoder::new(self.schema_id, "bitfinex", symbol);
        let mut value = Vec::new();
        for trade in trades {
            encoder.encode(trade, &mut value);
            self.value(partition, symbol, &value);
        }
    }

    /// The whole recording, in `slices` with a pause after each; `between` is called with the number of each slice.
    pub async fn golden(&self, slices: usize, mut between: impl AsyncFnMut(usize)) {
        self.mark(PARTITION, golden::SYMBOL, "from", golden::START_MS);
        let trades = golden::trades();
        for (number, slice) in trades.chunks(trades.len().div_ceil(slices)).enumerate() {
            self.trades(PARTITION, golden::SYMBOL, slice);
            tokio::time::sleep(Duration::from_millis(300)).await;
            between(number).await;
        }
        self.mark(PARTITION, golden::SYMBOL, "until", golden::END_MS + 10_000);
    }

    pub fn value(&self, partition: i32, key: &str, value: &[u8]) {
        loop {
            let record = BaseRecord::to(&self.topic).partition(partition).key(key).payload(value);
            if self.producer.send(record).is_ok() {
                return;
            }
            self.producer.poll(Duration::from_millis(50));
        }
    }

    /// `until` or `from`.
    pub fn mark(&self, partition: i32, symbol: &str, name: &str, ms: i64) {
        let headers = OwnedHeaders::new().insert(Header { key: name, value: Some(&ms.to_string()) });
        let record =
            BaseRecord::<str, [u8]>::to(&self.topic).partition(partition).key(symbol).headers(headers);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.flush();
    }

    pub fn flush(&self) {
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }
}
