//! Puts a producer together and runs it: configuration in, exit when told to stop.
//!
//! A session = schema registered, topic known, end of the log read, then the engine. It starts anew after a
//! permanent error of the Kafka client. Whatever is missing at the start is waited for, loudly.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use candles_core::{
    avro::{TRADE_SCHEMA_JSON, TradeSchema},
    config::{Partitioner, PipelineConfig},
    mark::ProducerId,
};
use prometheus_client::registry::Registry as MetricsRegistry;
use tokio::{runtime::Handle, task::spawn_blocking};
use tokio_util::sync::CancellationToken;

use super::{
    engine::{self, End, Engine, Prepared, partition_of},
    limits::{FLUSH, KAFKA_CALL, START_BACKOFF},
    metrics::Metrics,
    publisher::{self, Publisher},
    sockets::Sockets,
    tail::{self, Schemas, Search, SymbolTail},
};
use crate::{
    exchange::{bitfinex::rest::History, budget::SharedBudget},
    kafka,
    registry::{Registry, RegistryError},
    runtime::{backoff::Backoff, chain, health::Health, http},
};

const REGISTRY: &str = "registry";
const TOPIC: &str = "topic";
/// An incompatible schema stays so until somebody acts.
const INCOMPATIBLE_RETRY: Duration = Duration::from_secs(60);

/// What is not in the configuration.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `/healthz`, `/readyz` and `/metrics` are.
    pub http_address: SocketAddr,
}

/// What lives as long as the process.
struct Producer {
    config: Arc<PipelineConfig>,
    metrics: Arc<Metrics>,
    health: Arc<Health>,
    registry: Registry,
    history: History,
    connects: SharedBudget,
    history_requests: SharedBudget,
}

/// Runs until `stop`; then delivers what is queued.
pub async fn run(config: PipelineConfig, options: Options, stop: CancellationToken) -> anyhow::Result<()> {
    let listener = http::bind(options.http_address).await?;
    tracing::info!(address = %listener.local_addr()?, "health and metrics");
    let mut registry = MetricsRegistry::default();
    let metrics = Metrics::new(&mut registry);
    let health = Arc::new(Health::starting(&[REGISTRY, TOPIC, engine::EXCHANGE]));
    let server_stop = CancellationToken::new();
    let server = tokio::spawn(http::serve(
        listener,
        Arc::clone(&health),
        Arc::new(registry),
        server_stop.clone().cancelled_owned(),
    ));
    let limits = &config.exchange.limits;
    let producer = Producer {
        registry: Registry::new(&config.schema_registry)?,
        history: History::new(&config.exchange)?,
        connects: SharedBudget::new(limits.connects_per_minute),
        history_requests: SharedBudget::new(limits.history_requests_per_minute),
        config: Arc::new(config),
        metrics,
        health,
    };
    producer.sessions(&stop).await;
    tracing::info!("producer stopped");
    server_stop.cancel();
    server.await??;
    Ok(())
}

impl Producer {
    /// One session after the other until `stop`.
    async fn sessions(&self, stop: &CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(1), INCOMPATIBLE_RETRY);
        loop {
            let started = Instant::now();
            let End::Rebuild(reason) = self.session(stop).await else { return };
            if started.elapsed() > INCOMPATIBLE_RETRY {
                backoff.reset();
            }
            let pause = backoff.next_delay();
            tracing::error!(
                reason,
                retry_in_ms = pause.as_millis() as u64,
                "starting anew from the end of the topic"
            );
            self.metrics.client_rebuilds.inc();
            self.health.fails(TOPIC, format!("{reason}; starting anew"));
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                () = self.beat() => {}
            }
        }
    }

    async fn session(&self, stop: &CancellationToken) -> End {
        let prepared = tokio::select! {
            () = stop.cancelled() => return End::Stop,
            prepared = self.prepare() => prepared,
            () = self.beat() => return End::Stop,
        };
        let publisher = Arc::clone(&prepared.publisher);
        let (sockets, inbox) = Sockets::start(&self.config.exchange, self.connects.clone());
        let engine = Engine::new(
            Arc::clone(&self.config),
            prepared,
            sockets,
            self.history.clone(),
            self.history_requests.clone(),
            Arc::clone(&self.metrics),
            Arc::clone(&self.health),
        );
        let end = engine.run(inbox, stop.clone()).await;
        if end == End::Stop {
            let left = spawn_blocking(move || publisher.flush(FLUSH)).await.unwrap_or_default();
            if left > 0 {
                tracing::warn!(records = left, "not delivered in time; the next start finds them in history");
            }
        }
        end
    }

    /// The process lives while it waits for others.
    async fn beat(&self) {
        loop {
            self.health.beat();
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn prepare(&self) -> Prepared {
        let (schema_id, (publisher, partitions)) = tokio::join!(self.register(), self.connect());
        let tails = self.read_tail(schema_id, partitions).await;
        let id = ProducerId::new(rand::random());
        tracing::info!(producer = %id, "signs its marks");
        Prepared { publisher, partitions, schema_id, tails, id }
    }

    async fn register(&self) -> u32 {
        let subject = format!("{}-value", self.config.topic.name.as_str());
        let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
        loop {
            let error = match self.registry.register(&subject, TRADE_SCHEMA_JSON).await {
                Ok(id) => {
                    tracing::info!(subject, id, "schema registered");
                    self.health.works(REGISTRY);
                    return id;
                }
                Err(error) => error,
            };
            self.complain(REGISTRY, &chain(&error));
            let incompatible = matches!(error, RegistryError::Incompatible { .. });
            tokio::time::sleep(if incompatible { INCOMPATIBLE_RETRY } else { backoff.next_delay() }).await;
        }
    }

    /// A client, and the number of partitions of the topic. A new client for each try: secrets may have changed.
    async fn connect(&self) -> (Arc<Publisher>, i32) {
        let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
        loop {
            match self.try_connect().await {
                Ok(connected) => {
                    self.health.works(TOPIC);
                    return connected;
                }
                Err(problem) => self.complain(TOPIC, &problem),
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn try_connect(&self) -> Result<(Arc<Publisher>, i32), String> {
        let (topic, brokers) = (&self.config.topic.name, self.config.kafka.bootstrap_servers.as_str());
        let client = self.client_config().map_err(|e| format!("kafka.sasl.password: {e}"))?;
        let settings = publisher::settings(client, self.config.producer.acks);
        let publisher = Publisher::new(&settings, topic.as_str(), topic.dlq(), Arc::clone(&self.metrics))
            .map(Arc::new)
            .map_err(|e| format!("kafka client: {e}; see kafka"))?;
        let asking = Arc::clone(&publisher);
        let partitions = spawn_blocking(move || asking.partitions(KAFKA_CALL))
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| format!("topic {} at {brokers}: {e}; trying again", topic.as_str()))?;
        let beyond = self.config.exchange.symbols.iter().find(|symbol| {
            let partition = partition_of(&self.config, symbol, partitions);
            partition >= partitions
        });
        match beyond {
            Some(symbol) => Err(format!(
                "producer.partitions: {symbol} goes to partition {}, and topic {} has {partitions}; partitions count from 0",
                partition_of(&self.config, symbol, partitions),
                topic.as_str(),
            )),
            None => Ok((publisher, partitions)),
        }
    }

    fn client_config(&self) -> Result<rdkafka::ClientConfig, crate::runtime::secret::SecretError> {
        kafka::client_config(&self.config.kafka, &kafka::unique_client_id("producer"))
    }

    async fn read_tail(&self, schema_id: u32, partitions: i32) -> Vec<Option<SymbolTail>> {
        let mut backoff = Backoff::new(START_BACKOFF.0, START_BACKOFF.1);
        loop {
            let problem = match self.try_read_tail(schema_id, partitions).await {
                Ok(tails) => {
                    self.health.works(TOPIC);
                    return tails;
                }
                Err(problem) => problem,
            };
            self.complain(
                TOPIC,
                &format!("end of topic {} not read: {problem}", self.config.topic.name.as_str()),
            );
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn try_read_tail(
        &self,
        schema_id: u32,
        partitions: i32,
    ) -> Result<Vec<Option<SymbolTail>>, String> {
        let everywhere = self.config.producer.partitioner == Partitioner::RoundRobin;
        let symbols = self.config.exchange.symbols.iter().map(|symbol| {
            let partition = partition_of(&self.config, symbol, partitions);
            (symbol.as_str().to_owned(), (!everywhere).then_some(partition))
        });
        let ours = TradeSchema::parse(TRADE_SCHEMA_JSON).map_err(|e| e.to_string())?;
        let (registry, runtime) = (self.registry.clone(), Handle::current());
        let fetch = move |id: u32| match runtime.block_on(registry.schema(id)) {
            Ok(schema) => TradeSchema::parse(&schema).ok(),
            Err(error) => {
                tracing::warn!(id, error = %chain(&error), "records with this schema are passed over");
                None
            }
        };
        let search = Search {
            config: self.client_config().map_err(|e| e.to_string())?,
            topic: self.config.topic.name.as_str().to_owned(),
            exchange: self.config.exchange.name.as_str(),
            symbols: symbols.collect(),
            partitions,
            backfill: self.config.producer.backfill.as_std(),
            schemas: Schemas { known: HashMap::from([(schema_id, Some(ours))]), fetch: Box::new(fetch) },
        };
        spawn_blocking(move || tail::read(search))
            .await
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())
    }

    fn complain(&self, part: &'static str, problem: &str) {
        if self.health.fails(part, problem) {
            tracing::error!(part, "{problem}");
        }
    }
}
