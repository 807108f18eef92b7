//! The pipeline on the testbed's real servers: three brokers, registries, InfluxDB, and the project's own programs.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use candles_testbed::servers::{Testbed, Worker, control, worker};
use tokio::task::JoinHandle;

use super::servers::{Addresses, CONSUMERS, PARTITIONS, TOPIC};

/// Running servers, and the workers once they are started.
pub struct Real {
    pub(super) addresses: Addresses,
    workers: Vec<Worker>,
    bed: Arc<Testbed>,
    /// Answers `testbed kill broker-2` of another shell.
    control: JoinHandle<()>,
}

impl Real {
    /// Starts the servers and creates the topics.
    pub async fn start() -> anyhow::Result<Self> {
        // Boxed: starting all servers is a large future.
        let bed = Box::pin(Testbed::builder("demo").start()).await?;
        let settings = [("min.insync.replicas", "2")];
        bed.kafka.create_topic(TOPIC, PARTITIONS, 3, &settings).await?;
        bed.kafka.create_topic(&format!("{TOPIC}-dlq"), 1, 3, &settings).await?;
        let token_file = bed.run_dir().path().join("token");
        std::fs::write(&token_file, bed.influxdb.token())?;
        let addresses = Addresses {
            kafka: bed.kafka.bootstrap(),
            registry: bed.apicurio.url().to_owned(),
            influxdb: bed.influxdb.url().to_owned(),
            organization: bed.influxdb.org().to_owned(),
            bucket: bed.influxdb.bucket().to_owned(),
            token_file,
        };
        let bed = Arc::new(bed);
        let served = Arc::clone(&bed);
        let control = tokio::spawn(async move {
            // Without it the demo runs all the same.
            let _ = control::serve(served).await;
        });
        Ok(Self { addresses, workers: Vec::new(), bed, control })
    }

    pub(super) fn folder(&self) -> &Path {
        self.bed.run_dir().path()
    }

    pub(super) fn describe(&self) -> String {
        let times =
            self.bed.start_times.iter().map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64()));
        format!(
            "real servers: three Kafka brokers, registries, InfluxDB ({}); topic of {PARTITIONS} partitions, 3 replicas",
            times.collect::<Vec<_>>().join(", ")
        )
    }

    pub(super) async fn start_workers(&mut self, yaml: &str) -> anyhow::Result<()> {
        let start = |binary: &str, name: &str| {
            Worker::start(&worker::binary(binary)?, name, yaml, &[], self.bed.run_dir())
        };
        let mut workers = vec![start("producer", "producer")?];
        for index in 1..=CONSUMERS {
            workers.push(start("consumer", &format!("consumer-{index}"))?);
        }
        self.workers = workers;
        for worker in &self.workers {
            worker.wait_ready().await?;
        }
        Ok(())
    }

    pub(super) fn worker_urls(&self) -> Vec<String> {
        self.workers.iter().map(|worker| worker.url().to_owned()).collect()
    }

    pub(super) fn check_workers(&self) -> anyhow::Result<()> {
        for worker in &self.workers {
            let log = || format!("{} ended; its log is {}", worker.name(), worker.log_path().display());
            worker.pid().with_context(log)?;
        }
        Ok(())
    }

    pub(super) async fn stored(&self, from_ms: i64) -> anyhow::Result<u64> {
        let query = format!(
            r#"from(bucket: "{}") |> range(start: time(v: {}), stop: 2200-01-01T00:00:00Z)
               |> filter(fn: (r) => r._measurement == "trades" and r._field == "id") |> group() |> count()"#,
            self.bed.influxdb.bucket(),
            from_ms * 1_000_000,
        );
        let rows = self.bed.influxdb.query_rows(&query).await?;
        rows.first().map_or(Ok(0), |row| Ok(row["_value"].parse()?))
    }

    pub(super) async fn stop_workers(&mut self) -> anyhow::Result<()> {
        for worker in self.workers.drain(..).rev() {
            worker.stop().await?;
        }
        Ok(())
    }

    pub(super) async fn end(self) {
        self.control.abort();
        // Its copies of the handle must be gone before the servers can end.
        let _ = self.control.await;
        self.bed.run_dir().finish();
    }
}
