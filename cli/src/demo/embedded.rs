//! The pipeline in this process: librdkafka's mock cluster, a small registry and a small InfluxDB, and the producer and
//! the consumers as the library that their programs are made of.
//!
//! The mock cluster keeps the newest 5 MB or 100,000 records of a partition, which is hours of the demo's market; older
//! ones go as by retention. The small InfluxDB keeps every point and the simulator every trade: together they grew by 45 MB
//! in an hour of the market.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, bail};
use candles_core::config::PipelineConfig;
use candles_testbed::doubles::{influxdb, registry};
use candles_workers::{consumer, producer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::ui::Consumer;

use super::servers::{Addresses, CONSUMERS, PARTITIONS, READY_MAX, TOPIC};

const BROKERS: i32 = 3;

/// Stand-ins, and the workers once they are started.
pub struct Embedded {
    pub(super) addresses: Addresses,
    // Fields are dropped in this order: workers before what they talk to.
    workers: Vec<Worker>,
    /// Where the producer and the consumers will tell their health and metrics.
    http: Vec<SocketAddr>,
    influxdb: influxdb::Influxdb,
    _registry: registry::Registry,
    _cluster: MockCluster<'static, DefaultProducerContext>,
    folder: TempDir,
}

/// A producer or consumer in this process.
struct Worker {
    name: String,
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Embedded {
    /// Starts the stand-ins, with the topics, and logs to a file.
    pub async fn start() -> anyhow::Result<Self> {
        let folder =
            tempfile::Builder::new().prefix("candles-demo-").tempdir().context("a folder for the demo")?;
        log_to(&folder.path().join("demo.log"))?;
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, influxdb::TOKEN)?;
        let cluster = MockCluster::new(BROKERS)?;
        cluster.create_topic(TOPIC, PARTITIONS, BROKERS)?;
        cluster.create_topic(&format!("{TOPIC}-dlq"), 1, BROKERS)?;
        let (registry, influxdb) = (registry::Registry::start().await?, influxdb::Influxdb::start().await?);
        let addresses = Addresses {
            kafka: cluster.bootstrap_servers(),
            registry: registry.url(),
            influxdb: influxdb.url(),
            organization: influxdb::ORGANIZATION.to_owned(),
            bucket: influxdb::BUCKET.to_owned(),
            token_file,
        };
        let http = (0..=CONSUMERS).map(|_| free_address()).collect::<std::io::Result<_>>()?;
        Ok(Self {
            addresses,
            workers: Vec::new(),
            http,
            influxdb,
            _registry: registry,
            _cluster: cluster,
            folder,
        })
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(super) async fn start_workers(&mut self, yaml: &str) -> anyhow::Result<()> {
        let config = PipelineConfig::from_yaml(yaml)?;
        for (index, &http_address) in self.http.iter().enumerate() {
            let stop = CancellationToken::new();
            let (config, stopped) = (config.clone(), stop.clone());
            let (name, task) = if index == 0 {
                let options = producer::Options { http_address };
                ("producer".to_owned(), tokio::spawn(producer::run(config, options, stopped)))
            } else {
                let options = consumer::Options { http_address };
                (consumer_name(index), tokio::spawn(consumer::run(config, options, stopped)))
            };
            self.workers.push(Worker { name, address: http_address, stop, task });
        }
        let client = reqwest::Client::new();
        for worker in &self.workers {
            worker.wait_ready(&client).await?;
        }
        Ok(())
    }

    pub(super) fn worker_urls(&self) -> Vec<String> {
        self.http.iter().map(|address| format!("http://{address}")).collect()
    }

    /// The mock cluster lists no groups: the members are asked themselves.
    pub(super) fn consumers(&self) -> Vec<Consumer> {
        let urls = self.worker_urls().into_iter().enumerate().skip(1);
        urls.map(|(index, url)| Consumer { name: consumer_name(index), url }).collect()
    }

    pub(super) fn check_workers(&self) -> anyhow::Result<()> {
        match self.workers.iter().find(|worker| worker.task.is_finished()) {
            Some(worker) => {
                bail!("{} ended; the log is {}", worker.name, self.folder().join("demo.log").display())
            }
            None => Ok(()),
        }
    }

    pub(super) fn stored(&self, from_ms: i64) -> u64 {
        self.influxdb.count_since("trades", from_ms.saturating_mul(1_000_000)) as u64
    }

    /// Consumers first, so that they commit what they have.
    pub(super) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        for worker in self.workers.drain(..).rev() {
            worker.stop.cancel();
            worker.task.await?.with_context(|| format!("{} did not stop cleanly", worker.name))?;
        }
        Ok(())
    }
}

impl Worker {
    async fn wait_ready(&self, client: &reqwest::Client) -> anyhow::Result<()> {
        let begun = Instant::now();
        loop {
            let answer = client.get(format!("http://{}/readyz", self.address)).send().await;
            let reason = match answer {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => answer.text().await.unwrap_or_default(),
                Err(error) => error.to_string(),
            };
            if self.task.is_finished() || begun.elapsed() > READY_MAX {
                bail!("{} is not ready: {reason}", self.name);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Their threads would hold the process.
        self.workers.iter().for_each(|worker| worker.stop.cancel());
    }
}

fn consumer_name(index: usize) -> String {
    format!("consumer-{index}")
}

/// A free port of the loopback interface: free now, at least.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind(("127.0.0.1", 0))?.local_addr()
}

/// The workers log as in their own processes, to a file.
fn log_to(path: &Path) -> anyhow::Result<()> {
    let file = std::fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    // Somebody else's subscriber is as good.
    let _ = builder.with_writer(std::sync::Mutex::new(file)).try_init();
    Ok(())
}
