//! What the tests share: stand-ins with a log and candles in them, and `candlectl` processes.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use candles_core::avro::{TRADE_SCHEMA_JSON, TradeEncoder};
use candles_core::builder::{Builder, Closed};
use candles_core::checkpoint::Settings;
use candles_core::mark::{Mark, ProducerId, Signed};
use candles_core::symbol::Symbol;
use candles_core::trade::Trade;
use candles_testbed::doubles::influxdb::{self, Influxdb};
use candles_testbed::doubles::registry::Registry;
use candles_workers::sink::line::CandleLines;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tempfile::TempDir;

pub const TOPIC: &str = "trades";
pub const SYMBOL: &str = "tBTCUSD";
/// 2026-11-23, a whole minute.
pub const START_MS: i64 = 1_795_392_000_000;

/// A record of the log.
enum Entry {
    Trade(Trade),
    Mark(Signed),
}

/// One every ten seconds.
fn trade(n: i64) -> Trade {
    Trade {
        id: n,
        time_ms: START_MS + n * 10_000,
        price: 100.0 + (n % 7) as f64,
        amount: if n % 2 == 0 { 0.1 } else { -0.2 },
        received_us: 0,
    }
}

/// Stand-ins.
pub struct World {
    _cluster: MockCluster<'static, DefaultProducerContext>,
    pub brokers: String,
    pub registry: Registry,
    pub influxdb: Influxdb,
    producer: BaseProducer,
    schema_id: u32,
    folder: TempDir,
}

impl World {
    /// With a topic of two partitions, and nothing in it.
    pub async fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic(TOPIC, 2, 1).unwrap();
        let brokers = cluster.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
        let registry = Registry::start().await.unwrap();
        let schema_id = registry.put("trades-value", TRADE_SCHEMA_JSON);
        let influxdb = Influxdb::start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("token"), influxdb::TOKEN).unwrap();
        let world = Self { _cluster: cluster, brokers, registry, influxdb, producer, schema_id, folder };
        world.write_config(&world.brokers, &world.influxdb.url());
        world
    }

    /// Writes the configuration with other servers.
    pub fn write_config(&self, brokers: &str, influxdb: &str) -> PathBuf {
        let text = format!(
            "exchange: {{name: bitfinex, symbols: [{SYMBOL}, tETHUSD]}}\n\
             kafka: {{bootstrapServers: '{brokers}'}}\n\
             schemaRegistry: {{url: '{}'}}\n\
             topic: {{name: {TOPIC}}}\n\
             candles: {{intervals: [1m], lateness: 0s}}\n\
             influxdb: {{url: '{influxdb}', organization: {}, bucket: {}, token: {{file: '{}'}}}}\n",
            self.registry.url(),
            influxdb::ORGANIZATION,
            influxdb::BUCKET,
            self.folder.path().join("token").display(),
        );
        std::fs::write(self.config(), text).unwrap();
        self.config()
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("pipeline.yaml")
    }

    /// A trade every ten seconds for so many minutes, after the mark that says where coverage starts: the log, and
    /// what a consumer that has finished it would have stored and committed.
    pub async fn minutes_of_trades(&self, minutes: i64) {
        let trades = (0..=minutes * 6).map(|n| Entry::Trade(trade(n)));
        self.log(std::iter::once(Entry::Mark(Mark::From(START_MS).into())).chain(trades)).await;
    }

    /// Four minutes, which one producer saw all of. Another one began in between, ahead of what the log covered then.
    pub async fn signed_marks_of_two_producers(&self) {
        let signed = |producer: u32, mark| {
            Entry::Mark(Signed { mark, producer: Some(ProducerId::new(producer)), since_ms: None })
        };
        let trades = |range: std::ops::RangeInclusive<i64>| range.map(|n| Entry::Trade(trade(n)));
        let entries = std::iter::once(signed(0xa, Mark::From(START_MS)))
            .chain(trades(0..=6))
            .chain([signed(0xb, Mark::From(START_MS + 90_000))])
            .chain(trades(7..=10))
            .chain([signed(0xa, Mark::Until(START_MS + 100_000))])
            .chain(trades(11..=24));
        self.log(entries).await;
    }

    async fn log(&self, entries: impl IntoIterator<Item = Entry>) {
        let settings = Settings { intervals: vec!["1m".parse().unwrap()], lateness_ms: 0 };
        let (mut builder, mut lines) = (Builder::new(settings, 0), Vec::new());
        let symbol = Symbol::new(SYMBOL).unwrap();
        let config = candles_core::config::CandlePoints::default();
        let writer = CandleLines::new(&config);
        let mut head = 0;
        for entry in entries {
            let closed = |closed: Closed<'_>| {
                let values = closed.candle.values();
                let (interval, start_ms) = (closed.interval, closed.start_ms);
                if closed.complete {
                    writer.write_final(&symbol, interval, start_ms, &values, &mut lines);
                }
            };
            match entry {
                Entry::Trade(trade) => {
                    self.trade(&trade);
                    builder.trade(head, "bitfinex", SYMBOL, &trade, closed);
                }
                Entry::Mark(mark) => {
                    self.mark(SYMBOL, mark);
                    builder.mark(head, SYMBOL, mark, closed);
                }
            }
            head += 1;
        }
        builder.live(|live| {
            let values = live.candle.values();
            writer.write_live(&symbol, live.interval, live.start_ms, &values, live.state, &mut lines);
        });
        self.write(&String::from_utf8(lines).unwrap()).await;
        self.commit(head, &builder.checkpoint(head).encode());
    }

    pub fn trade(&self, trade: &Trade) {
        let mut value = Vec::new();
        TradeEncoder::new(self.schema_id, "bitfinex", SYMBOL).encode(trade, &mut value);
        self.record(SYMBOL.as_bytes(), Some(&value), &[]);
    }

    fn mark(&self, symbol: &str, mark: Signed) {
        let headers: Vec<(&str, String)> = mark.headers().collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.record(symbol.as_bytes(), None, &headers);
    }

    /// Any record, in partition 0.
    pub fn record(&self, key: &[u8], value: Option<&[u8]>, headers: &[(&str, &str)]) {
        let mut list = OwnedHeaders::new();
        for (key, value) in headers {
            list = list.insert(Header { key, value: Some(*value) });
        }
        let mut record = BaseRecord::to(TOPIC).partition(0).key(key).headers(list);
        record.payload = value;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(Duration::from_secs(30)).unwrap();
    }

    /// What the pipeline's group has finished.
    fn commit(&self, offset: i64, metadata: &str) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "candles-trades")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(TOPIC, 0, Offset::Offset(offset)).unwrap();
        list.elements()[0].set_metadata(metadata);
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    /// Points in line protocol.
    pub async fn write(&self, lines: &str) {
        let url = format!(
            "{}/api/v2/write?org={}&bucket={}&precision=ns",
            self.influxdb.url(),
            influxdb::ORGANIZATION,
            influxdb::BUCKET
        );
        let token = format!("Token {}", influxdb::TOKEN);
        let request = reqwest::Client::new().post(url).header("Authorization", token);
        assert!(request.body(lines.to_owned()).send().await.unwrap().status().is_success());
    }

    /// `candlectl ARGUMENTS --config FILE`, run to its end.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = candlectl(arguments);
        command.arg("--config").arg(self.config());
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }
}

/// `candlectl ARGUMENTS`, not started. It finds no configuration by itself.
pub fn candlectl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlectl"));
    command.args(arguments).env_remove("CANDLES_CONFIG").stdin(Stdio::null());
    command
}

/// Text of a stream.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `candlectl ui` on a free port, until it is dropped.
pub struct Pages {
    process: Child,
    /// Without a slash at the end.
    pub url: String,
    pub client: reqwest::Client,
}

impl Pages {
    pub fn start(config: &std::path::Path) -> Self {
        let mut command = candlectl(&["ui", "--address", "127.0.0.1:0", "--config"]);
        let mut process = command.arg(config).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().trim_end_matches('/').to_owned();
        Self { process, url, client: reqwest::Client::new() }
    }

    /// Status and JSON.
    pub async fn json(&self, path: &str) -> (u16, serde_json::Value) {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
    }

    /// Follows an event stream.
    pub async fn events(&self, path: &str) -> Events {
        let answer = self.client.get(format!("{}{path}", self.url)).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        Events { answer, buffer: String::new() }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// An open event stream.
pub struct Events {
    answer: reqwest::Response,
    buffer: String,
}

impl Events {
    /// Name and data of the next event.
    pub async fn next(&mut self) -> (String, serde_json::Value) {
        loop {
            if let Some((event, rest)) = self.buffer.split_once("\n\n") {
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
                let (name, data) = (field("event: ").to_owned(), field("data: ").to_owned());
                self.buffer = rest.to_owned();
                if !name.is_empty() {
                    return (name, serde_json::from_str(&data).unwrap());
                }
                continue;
            }
            let chunk = tokio::time::timeout(Duration::from_secs(60), self.answer.chunk()).await;
            self.buffer.push_str(&text(&chunk.expect("an event").unwrap().expect("the stream goes on")));
        }
    }
}

/// Feeds standard input.
pub fn run_with_input(mut command: Command, input: &str) -> Output {
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}
