//! One run's pipeline: a simulated exchange, proxies before everything, workers, a topic and a bucket of their own.
//! A stage, a lane and a schedule in; a running world out, and what it left behind as evidence.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;

use super::group::Admin;
use super::schedule::Schedule;
use super::stage::{Lane, Stage, address, through};
use super::tap::Tap;
use crate::exchange::{
    ClockMode, Limits, Market, SimConfig, Simulator, SyntheticSymbol, TrueTrade, TruthQuery,
};
use crate::judge::{Case, Evidence, Gap, Verdict, database, judge};
use crate::proxy::Proxy;
use crate::servers::{Worker, worker};

/// Seconds of the exchange for each second.
pub const SPEED: f64 = 10.0;
/// When the exchange's clock starts: 2026-01-01.
pub const START_MS: i64 = 1_767_225_600_000;
/// How far back coverage begins, in exchange time.
pub const BACKFILL_MS: i64 = 120_000;
/// How long windows wait, in exchange time: a trade whose first frame is missing comes 2 s late, and what is 6 s there
/// is 0.6 s on a busy machine.
pub const LATENESS_MS: i64 = 8_000;
/// Lengths of the candles.
pub const LENGTHS_MS: [i64; 3] = [5_000, 10_000, 60_000];
/// Partitions of the topic.
pub const PARTITIONS: i32 = 3;
/// Symbols and how many trades each has in a second of the exchange: busy ones, and quiet ones that need marks.
pub const SYMBOLS: [(&str, f64); 5] =
    [("tBTCUSD", 8.0), ("tETHUSD", 5.0), ("tXRPUSD", 2.0), ("tAVAX:USD", 0.3), ("tLTCUSD", 0.02)];
/// Rows of a page of history, at most: short, so that paging is part of every run.
const PAGE_ROWS: usize = 500;
const TOKEN_VARIABLE: &str = "INFLUX_TOKEN";
/// Tells a build with planted bugs which one to have.
const PLANTED_VARIABLE: &str = "CANDLES_PLANTED";
/// Tells it which worker to be.
const ROLE_VARIABLE: &str = "CANDLES_PLANTED_ROLE";

/// The exchange as one producer reaches it.
pub struct Exchange {
    /// Before the socket.
    pub socket: Proxy,
    /// Before history.
    pub history: Proxy,
}

/// Workers that may come and go while others look at them.
#[derive(Default)]
pub struct Workers(Mutex<Vec<Arc<Worker>>>);

impl Workers {
    /// All of them.
    pub fn all(&self) -> Vec<Arc<Worker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One of the first so many, by chance: the same one whoever has come since.
    pub fn first(&self, count: usize, chance: u64) -> Option<Arc<Worker>> {
        self.all().get((chance % count.max(1) as u64) as usize).cloned()
    }

    fn push(&self, worker: Worker) -> Arc<Worker> {
        let worker = Arc::new(worker);
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&worker));
        worker
    }
}

/// What a run has made unavailable on purpose.
#[derive(Default)]
pub struct Excuses {
    /// Gaps that nobody can fill.
    pub gaps: Vec<Gap>,
    /// Parts of the log that were removed unread.
    pub removed: Vec<(i32, i64, i64)>,
    /// Offsets of foreign records.
    pub poison: Vec<i64>,
}

/// A running pipeline.
pub struct World<'a> {
    /// Shared servers.
    pub stage: &'a Stage,
    /// Its own servers.
    pub lane: &'a Lane,
    /// The exchange.
    pub sim: Simulator,
    /// One for each producer.
    pub exchanges: Vec<Exchange>,
    /// Before the registry.
    pub registry: Proxy,
    /// Before the database.
    pub influxdb: Proxy,
    /// Producers.
    pub producers: Workers,
    /// Consumers.
    pub consumers: Workers,
    /// Of its topic and group.
    pub admin: Admin,
    /// What must not be expected.
    pub excuses: Mutex<Excuses>,
    /// Everything that is in the topic.
    pub tap: tokio::sync::Mutex<Tap>,
    /// Name of topic, bucket and files.
    pub name: String,
    /// Consumers that faults may pick.
    pub consumers_at_start: usize,
    planted: Option<String>,
    assignor: &'static str,
}

impl<'a> World<'a> {
    /// Makes topic, bucket, exchange and proxies; starts no worker. `attempt` keeps the names of repeated seeds apart.
    pub async fn new(
        stage: &'a Stage,
        lane: &'a Lane,
        schedule: &Schedule,
        attempt: usize,
        planted: Option<&str>,
    ) -> anyhow::Result<Self> {
        let name = format!("s{}-{attempt}", schedule.seed);
        let in_sync = [("min.insync.replicas", "2")];
        stage.kafka.create_topic(&name, PARTITIONS, 3, &in_sync).await?;
        stage.kafka.create_topic(&format!("{name}-dlq"), 1, 3, &in_sync).await?;
        lane.influxdb.create_bucket(&name).await?;
        let sim = Simulator::start(exchange(schedule.seed)).await?;
        let mut exchanges = Vec::new();
        for _ in 0..schedule.producers {
            let socket = Proxy::start(Some(address(&sim.ws_url())?)).await?;
            let history = Proxy::start(Some(address(&sim.rest_url())?)).await?;
            exchanges.push(Exchange { socket, history });
        }
        let bootstrap = stage.kafka.bootstrap();
        let tap = Tap::start(&bootstrap, &name, 0..PARTITIONS, stage.registry.url())?;
        Ok(Self {
            stage,
            lane,
            sim,
            exchanges,
            registry: Proxy::start(Some(address(stage.registry.url())?)).await?,
            influxdb: Proxy::start(Some(address(lane.influxdb.url())?)).await?,
            producers: Workers::default(),
            consumers: Workers::default(),
            admin: Admin { bootstrap, topic: name.clone(), partitions: Arc::new(PARTITIONS.into()) },
            excuses: Mutex::default(),
            tap: tokio::sync::Mutex::new(tap),
            name,
            consumers_at_start: schedule.consumers,
            planted: planted.map(str::to_owned),
            assignor: schedule.assignor,
        })
    }

    /// Starts one more producer.
    pub fn start_producer(&self) -> anyhow::Result<Arc<Worker>> {
        let number = self.producers.all().len();
        Ok(self.producers.push(self.start("producer", number, &self.exchanges[number])?))
    }

    /// Starts one more consumer.
    pub fn start_consumer(&self) -> anyhow::Result<Arc<Worker>> {
        let number = self.consumers.all().len();
        Ok(self.consumers.push(self.start("consumer", number, &self.exchanges[0])?))
    }

    fn start(&self, role: &str, number: usize, exchange: &Exchange) -> anyhow::Result<Worker> {
        let mut env = vec![(TOKEN_VARIABLE, self.lane.influxdb.token().to_owned())];
        if let Some(bug) = &self.planted {
            env.extend([(PLANTED_VARIABLE, bug.clone()), (ROLE_VARIABLE, role.to_owned())]);
        }
        let name = format!("{}-{role}-{}", self.name, number + 1);
        // Both workers are in the build with planted bugs.
        let binary = worker::binary(if self.planted.is_some() { "planted" } else { role })?;
        Ok(Worker::start(&binary, &name, &self.yaml(exchange)?, &env, &self.lane.run)?)
    }

    fn yaml(&self, exchange: &Exchange) -> anyhow::Result<String> {
        let symbols: Vec<&str> = SYMBOLS.iter().map(|(symbol, _)| *symbol).collect();
        Ok(format!(
            "exchange:\n  name: bitfinex\n  symbols: {symbols:?}\n  websocketUrl: {socket}\n  restUrl: {history}\n  \
             limits: {{historyRequestsPerMinute: 6000, connectsPerMinute: 600, historyRows: {PAGE_ROWS}, silence: 4s}}\n\
             kafka: {{bootstrapServers: '{bootstrap}'}}\n\
             schemaRegistry: {{url: {registry}}}\n\
             topic: {{name: {name}}}\n\
             producer: {{backfill: {backfill}s}}\n\
             consumer: {{assignor: {assignor}}}\n\
             candles: {{intervals: [5s, 10s, 1m], lateness: {lateness}s}}\n\
             influxdb: {{url: {influxdb}, organization: {org}, bucket: {name}, token: {{env: {TOKEN_VARIABLE}}}}}\n",
            socket = through(&self.sim.ws_url(), &exchange.socket)?,
            history = through(&self.sim.rest_url(), &exchange.history)?,
            bootstrap = self.lane.bootstrap(),
            registry = through(self.stage.registry.url(), &self.registry)?,
            name = self.name,
            backfill = BACKFILL_MS / 1_000,
            assignor = self.assignor,
            lateness = LATENESS_MS / 1_000,
            influxdb = through(self.lane.influxdb.url(), &self.influxdb)?,
            org = self.lane.influxdb.org(),
        ))
    }

    /// Every worker that was ever started.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        let mut all = self.producers.all();
        all.extend(self.consumers.all());
        all
    }

    /// What the database holds as final now.
    pub async fn finals(&self) -> anyhow::Result<crate::judge::Candles> {
        database::candles(&self.rows(r#"r._measurement == "candles""#).await?).map_err(anyhow::Error::msg)
    }

    async fn rows(&self, filter: &str) -> anyhow::Result<Vec<database::Row>> {
        let query = format!(
            r#"from(bucket: "{}") |> range(start: 0) |> filter(fn: (r) => {filter})
               |> pivot(rowKey: ["_time"], columnKey: ["_field"], valueColumn: "_value") |> group()
               |> map(fn: (r) => ({{r with time_ns: int(v: r._time)}}))"#,
            self.name
        );
        Ok(self.lane.influxdb.query_rows(&query).await?)
    }

    /// Everything that the judge needs, as it is now.
    pub async fn evidence(&self) -> anyhow::Result<Evidence> {
        let log = self.tap.lock().await.records().await?.to_vec();
        let raw = database::raw_points(&self.rows(r#"r._measurement == "trades""#).await?);
        let live = self.rows(r#"r._measurement == "candles_live" and r._field == "state""#).await?;
        Ok(Evidence {
            log,
            raw: raw.map_err(anyhow::Error::msg)?,
            finals: self.finals().await?,
            incomplete: database::incomplete(&live),
            changes: Vec::new(),
        })
    }

    /// Every trade that happened since long before coverage could begin.
    pub fn truth(&self) -> anyhow::Result<Vec<TrueTrade>> {
        let start_ms = Some(START_MS - BACKFILL_MS - 2 * LENGTHS_MS[2]);
        self.sim.truth_of(&TruthQuery { start_ms, ..TruthQuery::default() })
    }

    /// The judge's answer about this evidence.
    pub fn verdict(&self, evidence: &Evidence, covered_by_ms: i64, end_ms: i64) -> anyhow::Result<Verdict> {
        let truth = self.truth()?;
        let excuses = self.excuses.lock().unwrap_or_else(PoisonError::into_inner);
        let case = Case {
            truth: &truth,
            lengths_ms: &LENGTHS_MS,
            lateness_ms: LATENESS_MS,
            covered_by_ms,
            end_ms,
            gaps: &excuses.gaps,
            grows: self.admin.partitions.load(Ordering::Relaxed) > PARTITIONS,
            removed: &excuses.removed,
        };
        Ok(judge(&case, evidence))
    }

    /// Lets the topic grow to so many partitions.
    pub async fn grow(&self, count: i32) -> anyhow::Result<()> {
        self.stage.kafka.add_partitions(&self.name, count).await?;
        self.tap.lock().await.read_also(&self.admin.bootstrap, &self.name, PARTITIONS..count)?;
        self.admin.partitions.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// Highest time of each symbol before these offsets, by trade or `until` mark, and the first at or after them.
    pub async fn times_around(
        &self,
        offsets: &HashMap<i32, (i64, i64)>,
    ) -> anyhow::Result<HashMap<String, (i64, i64)>> {
        let mut tap = self.tap.lock().await;
        let mut found: HashMap<String, (i64, i64)> = HashMap::new();
        for record in tap.records().await? {
            use crate::judge::Entry::{From, Other, Trade, Until};
            let (symbol, ms) = match &record.entry {
                Trade(trade) => (&trade.symbol, trade.ms),
                Until(symbol, ms) => (symbol, *ms),
                From(..) | Other => continue,
            };
            let Some((before, after)) = offsets.get(&record.partition) else { continue };
            let times = found.entry(symbol.clone()).or_insert((i64::MIN, i64::MAX));
            if record.offset < *before {
                times.0 = times.0.max(ms);
            }
            if record.offset >= *after {
                times.1 = times.1.min(ms);
            }
        }
        Ok(found)
    }

    /// Removes topic and bucket of a run that went well.
    pub async fn remove(&self) -> anyhow::Result<()> {
        self.stage.kafka.delete_topic(&self.name).await?;
        self.stage.kafka.delete_topic(&format!("{}-dlq", self.name)).await?;
        self.lane.influxdb.delete_bucket(&self.name).await.context("delete the bucket")
    }

    /// Waits until every worker that runs is ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        for worker in self.workers() {
            if worker.pid().is_some() {
                worker.wait_ready().await?;
            }
        }
        Ok(())
    }

    /// Seconds of the exchange that pass in this time.
    pub fn exchange_ms(time: Duration) -> i64 {
        (time.as_secs_f64() * SPEED * 1_000.0) as i64
    }
}

fn exchange(seed: u64) -> SimConfig {
    let market = |(symbol, rate): &(&str, f64)| Market::Synthetic(SyntheticSymbol::new(symbol, *rate));
    SimConfig {
        seed,
        clock: ClockMode::Speed(SPEED),
        start_ms: Some(START_MS),
        limits: Limits { page_rows: PAGE_ROWS, ..Limits::without_rates() },
        history_lag_ms: 1_000,
        markets: SYMBOLS.iter().map(market).collect(),
        ..SimConfig::default()
    }
}
