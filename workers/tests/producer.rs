//! The producer as a whole, against the exchange simulator, librdkafka's mock cluster and a small registry.
//!
//! What the simulator made happen is compared with what the topic holds. The same behaviours on real servers are
//! the testbed's.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use candles_core::{
    avro::{TRADE_SCHEMA_JSON, TradeSchema, split},
    config::PipelineConfig,
    mark::{Mark, Signed},
    partitioner::key_hash_partition,
    trade::Trade,
};
use candles_testbed::{
    doubles::registry::Registry,
    exchange::{CutHow, Fault, GarbageKind, Limits, NewTrade, SimConfig, Simulator, TradeFrame, TruthQuery},
};
use candles_workers::producer;
use rdkafka::{
    ClientConfig, Message as _, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Header, Headers as _, OwnedHeaders},
    mocking::MockCluster,
    producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const TOPIC: &str = "trades";
const PARTITIONS: i32 = 3;
/// Everything that a test waits for happens within this, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(40);

/// Exchange, brokers and registry.
struct Bed {
    sim: Simulator,
    cluster: MockCluster<'static, DefaultProducerContext>,
    registry: Registry,
    symbols: Vec<String>,
    channels_per_connection: u16,
    partitioner: &'static str,
}

struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    stop: CancellationToken,
    http: SocketAddr,
}

/// One record of the topic.
#[derive(Debug, Clone)]
struct Entry {
    partition: i32,
    symbol: String,
    content: Content,
    signed: Option<Signed>,
}

#[derive(Debug, Clone)]
enum Content {
    Trade(Trade),
    Mark(Mark),
    Other(Vec<u8>),
}

impl Bed {
    async fn new(sim: SimConfig, symbols: &[&str]) -> Self {
        let bed = Self::without_topic(sim, symbols).await;
        bed.cluster.create_topic(TOPIC, PARTITIONS, 3).unwrap();
        bed
    }

    async fn without_topic(sim: SimConfig, symbols: &[&str]) -> Self {
        Self {
            sim: Simulator::start(sim).await.unwrap(),
            cluster: MockCluster::new(3).unwrap(),
            registry: Registry::start().await.unwrap(),
            symbols: symbols.iter().map(|&s| s.to_owned()).collect(),
            channels_per_connection: 25,
            partitioner: "KeyHash",
        }
    }

    fn config(&self) -> PipelineConfig {
        let symbols: Vec<String> = self.symbols.iter().map(|symbol| format!("\"{symbol}\"")).collect();
        let intervals = if self.partitioner == "RoundRobin" { "[]" } else { "[1m]" };
        let text = format!(
            r"
exchange:
  name: bitfinex
  symbols: [{symbols}]
  websocketUrl: {ws}
  restUrl: {rest}
  limits: {{silence: 2s, connectsPerMinute: 1000, historyRequestsPerMinute: 1000, channelsPerConnection: {channels}}}
kafka: {{bootstrapServers: '{brokers}'}}
schemaRegistry: {{url: '{registry}'}}
topic: {{name: {TOPIC}}}
producer: {{backfill: 2m, partitioner: {partitioner}}}
candles: {{intervals: {intervals}}}
",
            symbols = symbols.join(", "),
            ws = self.sim.ws_url(),
            rest = self.sim.rest_url(),
            channels = self.channels_per_connection,
            brokers = self.cluster.bootstrap_servers(),
            registry = self.registry.url(),
            partitioner = self.partitioner,
        );
        PipelineConfig::from_yaml(&text).unwrap()
    }

    fn start(&self) -> Running {
        let http = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let stop = CancellationToken::new();
        let options = producer::Options { http_address: http };
        let task = tokio::spawn(producer::run(self.config(), options, stop.clone()));
        Running { task, stop, http }
    }

    /// The whole topic.
    async fn log(&self, topic: &'static str, partitions: i32) -> Vec<Entry> {
        let brokers = self.cluster.bootstrap_servers();
        tokio::task::spawn_blocking(move || read(&brokers, topic, partitions)).await.unwrap()
    }

    async fn entries(&self) -> Vec<Entry> {
        self.log(TOPIC, PARTITIONS).await
    }

    /// Ids of what happened to a symbol since `since_ms`.
    fn truth(&self, symbol: &str, since_ms: i64) -> BTreeSet<i64> {
        let query =
            TruthQuery { symbol: Some(symbol.to_owned()), start_ms: Some(since_ms), ..TruthQuery::default() };
        self.sim.truth_of(&query).unwrap().into_iter().map(|trade| trade.id).collect()
    }

    /// Stops the market and waits until the topic holds all that happened since each symbol's only `from` mark.
    async fn expect_complete(&self) -> Vec<Entry> {
        self.sim.pause_market();
        let deadline = Instant::now() + PATIENCE;
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let entries = self.entries().await;
            let starts = starts(&entries);
            assert!(starts.values().all(|froms| froms.len() == 1), "a gap is marked: {starts:?}");
            let mut missing = self.symbols.len() - starts.len();
            for (symbol, froms) in &starts {
                let published: BTreeSet<i64> = ids(&entries, symbol).into_iter().collect();
                missing += self.truth(symbol, froms[0]).difference(&published).count();
            }
            if missing == 0 {
                return entries;
            }
            assert!(Instant::now() < deadline, "{missing} trades or symbols are missing");
        }
    }
}

fn read(brokers: &str, topic: &str, partitions: i32) -> Vec<Entry> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", "judge")
        .set("enable.partition.eof", "true")
        .set("enable.auto.commit", "false")
        .create()
        .unwrap();
    let mut list = TopicPartitionList::new();
    for partition in 0..partitions {
        list.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&list).unwrap();
    let (mut open, mut entries) = (partitions, Vec::new());
    let deadline = Instant::now() + PATIENCE;
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => entries.push(entry(&message)),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => panic!("{error}"),
            None => assert!(Instant::now() < deadline, "topic not readable"),
        }
    }
    entries
}

fn entry(message: &BorrowedMessage<'_>) -> Entry {
    let mut signed = None;
    let content = if let Some(value) = message.payload() {
        let schema = TradeSchema::parse(TRADE_SCHEMA_JSON).unwrap();
        let trade = split(value).and_then(|(_, body)| schema.decode(body, |record| record.trade));
        trade.map_or_else(|_| Content::Other(value.to_vec()), Content::Trade)
    } else {
        let headers = message.headers().unwrap();
        let pairs = headers.iter().map(|header| (header.key, header.value.unwrap_or_default()));
        let mark = signed.insert(Signed::from_headers(pairs).unwrap()).mark;
        Content::Mark(mark)
    };
    let symbol = String::from_utf8(message.key().unwrap_or_default().to_vec()).unwrap();
    Entry { partition: message.partition(), symbol, content, signed }
}

/// Ids of the trades of a symbol, in the order of the log.
fn ids(entries: &[Entry], symbol: &str) -> Vec<i64> {
    let id = |entry: &Entry| match &entry.content {
        Content::Trade(trade) if entry.symbol == symbol => Some(trade.id),
        _ => None,
    };
    entries.iter().filter_map(id).collect()
}

/// Times of the `from` marks of each symbol.
fn starts(entries: &[Entry]) -> BTreeMap<String, Vec<i64>> {
    let mut starts: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for entry in entries {
        if let Content::Mark(Mark::From(ms)) = entry.content {
            starts.entry(entry.symbol.clone()).or_default().push(ms);
        }
    }
    starts
}

impl Running {
    async fn get(&self, path: &str) -> (u16, String) {
        for _ in 0..200 {
            if let Ok(answer) = reqwest::get(format!("http://{}{path}", self.http)).await {
                return (answer.status().as_u16(), answer.text().await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no answer from {path}");
    }

    /// Waits until what `path` answers satisfies `wanted`.
    async fn wait(&self, path: &str, what: &str, wanted: impl Fn(u16, &str) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (status, body) = self.get(path).await;
            if wanted(status, &body) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} never comes: {body}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn wait_ready(&self) {
        self.wait("/readyz", "readiness", |status, _| status == 200).await;
    }

    async fn wait_reason(&self, text: &str) {
        self.wait("/readyz", text, |status, body| status == 503 && body.contains(text)).await;
    }

    /// Waits until the metric, summed over its labels, has at least this value.
    async fn wait_metric(&self, name: &str, at_least: f64) {
        self.wait("/metrics", name, |_, text| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() >= at_least
        })
        .await;
    }

    async fn stop(self) {
        let asked = Instant::now();
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        assert!(asked.elapsed() < Duration::from_secs(10), "stops within seconds");
    }
}

fn market() -> SimConfig {
    SimConfig { limits: Limits::without_rates(), ..SimConfig::default() }
}

#[tokio::test]
async fn every_trade_is_published_in_its_partition_and_history_in_order() {
    let symbols = ["tBTCUSD", "tETHUSD", "tAVAX:USD"];
    let bed = Bed::new(market().synthetic(&symbols, 40.0), &symbols).await;
    let producer = bed.start();
    producer.wait_ready().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let entries = bed.expect_complete().await;
    let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
    for entry in &entries {
        assert_eq!(
            entry.partition,
            key_hash_partition(entry.symbol.as_bytes(), PARTITIONS),
            "{}",
            entry.symbol
        );
        if let Content::Trade(trade) = &entry.content {
            let newest = newest.entry(&entry.symbol).or_default();
            assert!(trade.time_ms + 1_000 > *newest, "{trade:?} comes late");
            *newest = trade.time_ms.max(*newest);
        }
    }
    let live = "candles_producer_symbol_state{symbol=\"tBTCUSD\",state=\"live\"} 1";
    producer.wait("/metrics", live, |_, text| text.contains(live)).await;
    producer.stop().await;
}

#[tokio::test]
async fn a_restart_goes_on_where_the_log_ends() {
    let symbols = ["tBTCUSD", "tETHUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 30.0), &symbols).await;
    let first = bed.start();
    first.wait_ready().await;
    first.wait_metric("candles_producer_trades_published_total", 200.0).await;
    first.stop().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let second = bed.start();
    second.wait_ready().await;
    let entries = bed.expect_complete().await;
    for symbol in symbols {
        let ids = ids(&entries, symbol);
        let distinct: BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), distinct.len(), "the overlap is known from the log");
    }
    second.stop().await;
}

#[tokio::test]
async fn lost_frames_cuts_and_restarts_of_the_exchange_are_repaired() {
    let symbols = ["tBTCUSD", "tETHUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 100.0), &symbols).await;
    let producer = bed.start();
    producer.wait_ready().await;
    let lose = Fault::Lose { frame: TradeFrame::Both, symbol: None, conn: None, count: 20 };
    let omit = Fault::Omit { frame: TradeFrame::Te, symbol: None, conn: None, count: 3 };
    let cut = Fault::Cut { conn: None, how: CutHow::Reset };
    let maintenance = Fault::Maintenance { for_ms: 1_500, halt: false };
    for fault in [lose, omit, cut, Fault::Info { code: 20_051 }, maintenance] {
        bed.sim.fault(&fault).unwrap();
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    producer.wait_metric("candles_producer_sequence_holes_total", 1.0).await;
    producer.wait_metric("candles_producer_reconnects_total", 2.0).await;
    bed.expect_complete().await;
    producer.stop().await;
}

#[tokio::test]
async fn a_silent_connection_is_dead_and_made_anew() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 20.0), &symbols).await;
    let producer = bed.start();
    producer.wait_ready().await;
    let conn = bed.sim.connections()[0].conn;
    bed.sim.fault(&Fault::Silence { conn: Some(conn), for_ms: 600_000 }).unwrap();
    producer.wait_metric("candles_producer_reconnects_total", 1.0).await;
    producer.wait_ready().await;
    bed.expect_complete().await;
    producer.stop().await;
}

#[tokio::test]
async fn hostile_frames_become_dead_letters_and_nothing_is_lost() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 50.0), &symbols).await;
    bed.cluster.create_topic("trades-dlq", 1, 3).unwrap();
    let producer = bed.start();
    producer.wait_ready().await;
    for kind in GarbageKind::ALL {
        bed.sim.fault(&Fault::Garbage { kind, symbol: None, count: 1, replace: false }).unwrap();
        tokio::time::sleep(Duration::from_millis(700)).await;
    }
    bed.expect_complete().await;
    producer.wait_metric("candles_producer_invalid_total", 10.0).await;
    let dead = bed.log("trades-dlq", 1).await;
    let raw = |entry: &Entry| matches!(&entry.content, Content::Other(raw) if raw.starts_with(b"{\"event\":\"info\", oops"));
    assert!(dead.iter().any(raw), "raw bytes are kept: {dead:?}");
    producer.stop().await;
}

#[tokio::test]
async fn a_quiet_symbol_is_marked_and_resumes_from_its_mark() {
    let mut config = market().quiet(&["tBTCUSD"]);
    (config.heartbeat_ms, config.heartbeat_phase_ms) = (500, 0);
    let bed = Bed::new(config, &["tBTCUSD"]).await;
    let first = bed.start();
    first.wait_metric("candles_producer_marks_published_total{kind=\"until\"}", 2.0).await;
    first.stop().await;
    bed.sim.publish("tBTCUSD", &NewTrade::new("101.5", "2e-8")).unwrap();
    let second = bed.start();
    second.wait_metric("candles_producer_trades_published_total", 1.0).await;
    let entries = bed.expect_complete().await;
    assert_eq!(ids(&entries, "tBTCUSD").len(), 1);
    second.stop().await;
}

/// A mark in a partition that is not the symbol's.
fn mark_elsewhere(bed: &Bed, symbol: &str, until_ms: i64) -> i32 {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", bed.cluster.bootstrap_servers()).create().unwrap();
    let elsewhere = (key_hash_partition(symbol.as_bytes(), PARTITIONS) + 1) % PARTITIONS;
    let (name, value) = Mark::Until(until_ms).header();
    let headers = OwnedHeaders::new().insert(Header { key: name, value: Some(&value) });
    let record = BaseRecord::<str, [u8]>::to(TOPIC).partition(elsewhere).key(symbol).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    elsewhere
}

#[tokio::test]
async fn a_symbol_that_moved_while_no_producer_ran_starts_at_its_open_windows() {
    let symbols = ["tBTCUSD", "tETHUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 20.0), &symbols).await;
    // Longer ago than the backfill: what was open then has to be filled all the same.
    let covered_ms = bed.sim.clock_ms() - 10 * 60_000;
    mark_elsewhere(&bed, "tBTCUSD", covered_ms);
    let producer = bed.start();
    producer.wait_ready().await;
    let entries = bed.expect_complete().await;
    let open_ms = covered_ms - 11_000;
    assert_eq!(starts(&entries)["tBTCUSD"], [open_ms - open_ms.rem_euclid(60_000)]);
    assert!(starts(&entries)["tETHUSD"][0] > covered_ms, "the other one is new");
    producer.stop().await;
}

#[tokio::test]
async fn symbols_are_added_and_removed_and_each_log_goes_on_or_begins() {
    let all = ["tBTCUSD", "tETHUSD"];
    let mut bed = Bed::new(market().synthetic(&all, 30.0), &all).await;
    for symbols in [&all[..1], &all[..], &all[1..], &all[..]] {
        bed.symbols = symbols.iter().map(|&symbol| symbol.to_owned()).collect();
        let producer = bed.start();
        producer.wait_ready().await;
        producer.wait_metric("candles_producer_trades_published_total", 60.0).await;
        producer.stop().await;
    }
    let producer = bed.start();
    producer.wait_ready().await;
    // One `from` mark for each: what happened while a symbol was not followed is there too.
    bed.expect_complete().await;
    producer.stop().await;
}

#[tokio::test]
async fn every_mark_is_signed_and_a_restart_says_where_it_goes_on() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 30.0), &symbols).await;
    let mut runs = BTreeSet::new();
    for run in 0..3 {
        let producer = bed.start();
        producer.wait_ready().await;
        producer.wait_metric("candles_producer_trades_published_total", 30.0).await;
        producer.stop().await;
        let entries = bed.entries().await;
        let signed: Vec<Signed> = entries.iter().filter_map(|entry| entry.signed).collect();
        runs.extend(signed.iter().map(|signed| signed.producer.unwrap()));
        assert_eq!(runs.len(), run + 1, "each run signs with a name of its own");
        let resumed = signed.iter().filter(|signed| signed.since_ms.is_some()).count();
        assert_eq!(resumed, run, "all but the first go on");
        assert_eq!(signed.iter().filter(|signed| matches!(signed.mark, Mark::From(_))).count(), 1);
    }
}

#[tokio::test]
async fn rows_of_history_that_are_no_trades_are_dead_letters() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 20.0), &symbols).await;
    bed.cluster.create_topic("trades-dlq", 1, 3).unwrap();
    // It stays in the history, whence the producer fetches it at its start.
    bed.sim.publish("tBTCUSD", &NewTrade::new("0", "1.5")).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let producer = bed.start();
    producer.wait_ready().await;
    producer.wait_metric("candles_producer_invalid_total", 1.0).await;
    producer.wait_metric("candles_producer_trades_published_total", 60.0).await;
    producer.stop().await;
    let dead = bed.log("trades-dlq", 1).await;
    let row =
        |entry: &Entry| matches!(&entry.content, Content::Other(raw) if raw.starts_with(b"history row"));
    assert!(dead.iter().any(row), "{dead:?}");
}

#[tokio::test]
async fn rejected_symbols_are_reported_and_full_connections_relieved() {
    let listed = ["tBTCUSD", "tETHUSD", "tLTCUSD", "tXRPUSD", "tEOSUSD"];
    let mut config = market().synthetic(&listed, 20.0);
    config.limits.channels = 2;
    let mut bed = Bed::new(config, &listed).await;
    bed.channels_per_connection = 4;
    bed.symbols.push("tXXXYYY".to_owned());
    let producer = bed.start();
    producer.wait_metric("candles_producer_rejected_symbols", 1.0).await;
    producer.wait_ready().await;
    bed.symbols.pop();
    bed.expect_complete().await;
    let channels: Vec<usize> = bed.sim.connections().iter().map(|c| c.channels.len()).collect();
    assert!(channels.iter().all(|&n| n <= 2) && channels.iter().sum::<usize>() == 5, "{channels:?}");
    producer.stop().await;
}

#[tokio::test]
async fn brokers_that_go_away_are_waited_for_and_nothing_is_lost() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 200.0), &symbols).await;
    let producer = bed.start();
    producer.wait_ready().await;
    for broker in 1..=3 {
        bed.cluster.broker_down(broker).unwrap();
    }
    producer.wait_reason("no record delivered").await;
    for broker in 1..=3 {
        bed.cluster.broker_up(broker).unwrap();
    }
    producer.wait_ready().await;
    bed.expect_complete().await;
    producer.stop().await;
}

#[tokio::test]
async fn an_incompatible_schema_stops_publishing_and_says_so() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::new(market().synthetic(&symbols, 20.0), &symbols).await;
    bed.registry
        .put("trades-value", r#"{"type":"record","name":"Other","fields":[{"name":"x","type":"int"}]}"#);
    let producer = bed.start();
    producer.wait_reason("SchemaIncompatible").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(bed.entries().await.len(), 0);
    producer.stop().await;
}

#[tokio::test]
async fn a_missing_topic_and_a_registry_that_is_down_are_waited_for() {
    let symbols = ["tBTCUSD"];
    let bed = Bed::without_topic(market().synthetic(&symbols, 20.0), &symbols).await;
    bed.registry.set_unavailable(true);
    let producer = bed.start();
    producer.wait_reason("registry:").await;
    bed.registry.set_unavailable(false);
    bed.cluster.create_topic(TOPIC, PARTITIONS, 3).unwrap();
    producer.wait_ready().await;
    bed.expect_complete().await;
    producer.stop().await;
}

#[tokio::test]
async fn round_robin_uses_every_partition_and_writes_no_marks() {
    let symbols = ["tBTCUSD"];
    let mut bed = Bed::new(market().synthetic(&symbols, 50.0), &symbols).await;
    bed.partitioner = "RoundRobin";
    let producer = bed.start();
    producer.wait_metric("candles_producer_trades_published_total", 100.0).await;
    producer.stop().await;
    let entries = bed.entries().await;
    let partitions: BTreeSet<i32> = entries.iter().map(|entry| entry.partition).collect();
    assert_eq!(partitions.len(), PARTITIONS as usize);
    assert!(entries.iter().all(|entry| matches!(entry.content, Content::Trade(_))));
}
