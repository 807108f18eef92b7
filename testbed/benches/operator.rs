//! Speed and memory of the operator on a real API server and a real broker: numbers out, nothing asserted on time.
//!
//! `cargo bench -p candles-testbed --bench operator` after `cargo build --release -p candles-operator`.
//! BENCH_PIPELINES=1,500,5000 names the sizes, BENCH_STEADY_S=600 how long steady state is watched.
//! Times of requests are those of the API server's audit log. Pipelines of the crowd have no replicas and observe one
//! shared topic, so that neither pods nor ten thousand partitions are what is measured; probes have a topic each.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use candles_testbed::servers::kafka::{Cluster, Options};
use candles_testbed::servers::kubernetes::{Api, AuditLog};
use candles_testbed::servers::{ControlPlane, RunDir, Worker, worker};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

const NAMESPACE: &str = "bench";
/// Of an operator that has no competitor; and of one that has.
const USERS: [&str; 2] = ["bench-operator-a", "bench-operator-b"];
/// Nothing is on its way any more when nothing was written for this long.
const QUIET: Duration = Duration::from_secs(20);
/// Pipelines made one after the other, of which first writes are timed.
const PROBES: usize = 50;
const DEFINITION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/candlepipelines.candles.dev.yaml");

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let bench = Bench::start().await?;
        let sizes = std::env::var("BENCH_PIPELINES").unwrap_or_else(|_| "1,500,5000".to_owned());
        let sizes: Vec<usize> = sizes.split(',').map(str::parse).collect::<Result<_, _>>()?;
        let operator = bench.operator(USERS[0])?;
        operator.wait_ready().await?;
        let mut count = 0;
        for size in sizes {
            bench.crowd(count, size).await?;
            count = count.max(size);
            bench.probe(&operator, size).await?;
        }
        bench.steady(&operator, count).await?;
        bench.restart(&operator, count).await?;
        bench.failover(operator).await?;
        bench.run.finish();
        anyhow::Ok(())
    })
}

struct Bench {
    kubernetes: ControlPlane,
    kafka: Cluster,
    api: Api,
    run: RunDir,
}

impl Bench {
    async fn start() -> anyhow::Result<Self> {
        let run = RunDir::new("bench-operator")?;
        let options = Options { brokers: 1, heap_mib_max: 1_024, jvm_args: vec![], ..Options::default() };
        let (kubernetes, kafka) = tokio::try_join!(ControlPlane::start(&run), Cluster::start(options, &run))?;
        let api = kubernetes.api();
        kubernetes.kubectl(["apply", "--server-side", "--filename", DEFINITION]).run().await?.success()?;
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        api.create("/api/v1/namespaces", &namespace).await?;
        let collection = collection();
        until("pipelines are known", async || api.get(&collection).await.is_ok()).await;
        for topic in ["shared", "shared-dlq"] {
            kafka.create_topic(topic, 1, 1, &[("min.insync.replicas", "1")]).await?;
        }
        Ok(Self { kubernetes, kafka, api, run })
    }

    fn operator(&self, user: &str) -> anyhow::Result<Worker> {
        let kubeconfig = self.kubernetes.kubeconfig(user, Some("system:masters"))?;
        let args = |address: &str| {
            let args =
                ["run", "--namespace", NAMESPACE, "--lease-namespace", NAMESPACE, "--http-address", address];
            args.map(str::to_owned).to_vec()
        };
        let env = [("KUBECONFIG", kubeconfig.display().to_string()), ("POD_NAME", user.to_owned())];
        Ok(Worker::start_with(&program()?, user, args, &env, &self.run)?)
    }

    fn pipeline(&self, name: &str, topic: &Value) -> Value {
        json!({
            "apiVersion": "candles.dev/v1alpha1", "kind": "CandlePipeline", "metadata": {"name": name},
            "spec": {
                "exchange": {"symbols": ["tBTCUSD", "tETHUSD"]},
                "kafka": {"bootstrapServers": self.kafka.bootstrap()},
                "schemaRegistry": {"url": "http://registry.invalid:8081"},
                "topic": topic,
                "producer": {"replicas": 0}, "consumer": {"replicas": 0},
                "influxdb": {
                    "url": "http://influxdb.invalid:8086", "organization": "o", "bucket": "b",
                    "tokenSecretRef": {"name": "influxdb", "key": "token"},
                },
            },
        })
    }

    /// Fills up to `to` pipelines and waits until the operator has looked at each.
    async fn crowd(&self, from: usize, to: usize) -> anyhow::Result<()> {
        let topic = json!({
            "name": "shared", "management": "Observe", "partitions": 1, "replicationFactor": 1, "minInSyncReplicas": 1,
        });
        let begun = Instant::now();
        let makes = (from..to).map(|i| {
            let (api, object) = (self.api.clone(), self.pipeline(&format!("crowd-{i:05}"), &topic));
            async move { api.create(&collection(), &object).await.map(drop) }
        });
        let mut makes = futures_util::stream::iter(makes).buffer_unordered(8);
        while let Some(made) = makes.next().await {
            made?;
        }
        let made = begun.elapsed();
        let settled = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let items = self.api.list(&collection()).await.unwrap_or_default();
            let seen = |item: &&Value| item["status"]["observedGeneration"] == item["metadata"]["generation"];
            items.len() >= to && items.iter().filter(seen).count() == items.len()
        };
        until("every pipeline is seen", settled).await;
        println!(
            "operator {to} pipelines: {} made in {:.1} s, all of them reconciled {:.1} s after the first",
            to - from,
            made.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    /// Time from the creation of a pipeline to the operator's first write for it.
    async fn probe(&self, operator: &Worker, size: usize) -> anyhow::Result<()> {
        let mut times_ms = Vec::new();
        let topic = json!({"partitions": 1, "replicationFactor": 1, "minInSyncReplicas": 1, "deletionPolicy": "Delete"});
        for i in 0..PROBES {
            let name = format!("probe-{size}-{i}");
            let log = self.kubernetes.audit_log();
            self.api.create(&collection(), &self.pipeline(&name, &topic)).await?;
            until("the first write", async || first_write_ms(&log, &name).is_some()).await;
            times_ms.extend(first_write_ms(&log, &name));
            self.api.delete(&format!("{}/{name}", collection())).await?;
        }
        println!(
            "operator {size} pipelines: first write after create p50 {:.0} ms, p99 {:.0} ms of {PROBES}; RSS {:.1} MiB",
            percentile(&mut times_ms, 0.5),
            percentile(&mut times_ms, 0.99),
            rss_mib(operator)
        );
        Ok(())
    }

    async fn steady(&self, operator: &Worker, size: usize) -> anyhow::Result<()> {
        let begun = Instant::now();
        let quiet = async || {
            let log = self.kubernetes.audit_log();
            tokio::time::sleep(QUIET).await;
            writes(&log, USERS[0]) == 0
        };
        until("nothing is written any more", quiet).await;
        let settled = begun.elapsed().saturating_sub(QUIET);
        println!("operator {size} pipelines: settled {:.0} s after the last probe", settled.as_secs_f64());
        let seconds = std::env::var("BENCH_STEADY_S").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
        let log = self.kubernetes.audit_log();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        println!(
            "operator {size} pipelines: {} writes in {seconds} s of steady state; RSS {:.1} MiB",
            writes(&log, USERS[0]),
            rss_mib(operator)
        );
        Ok(())
    }

    /// Passes over all pipelines after a start.
    async fn restart(&self, operator: &Worker, size: usize) -> anyhow::Result<()> {
        let log = self.kubernetes.audit_log();
        let begun = Instant::now();
        operator.stop().await?;
        operator.start()?;
        let passes = async || operator.metric("candles_operator_reconcile_total").await.unwrap_or(0.0);
        until("a pass over each", async || passes().await >= size as f64).await;
        println!(
            "operator {size} pipelines: settled {:.1} s after a restart, with {} writes; RSS {:.1} MiB",
            begun.elapsed().as_secs_f64(),
            writes(&log, USERS[0]),
            rss_mib(operator)
        );
        Ok(())
    }

    async fn failover(&self, first: Worker) -> anyhow::Result<()> {
        let second = self.operator(USERS[1])?;
        second.wait_ready().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let log = self.kubernetes.audit_log();
        let begun = Instant::now();
        first.kill()?;
        self.edit_until(&log, USERS[1]).await?;
        println!(
            "operator failover, killed: {:.1} s to the other one's first write",
            begun.elapsed().as_secs_f64()
        );
        first.start()?;
        first.wait_ready().await?;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let log = self.kubernetes.audit_log();
        let begun = Instant::now();
        second.stop().await?;
        self.edit_until(&log, USERS[0]).await?;
        println!("operator failover, graceful: {:.1} s from SIGTERM", begun.elapsed().as_secs_f64());
        Ok(())
    }

    /// Changes a pipeline and waits for a write of `user`.
    async fn edit_until(&self, log: &AuditLog, user: &str) -> anyhow::Result<()> {
        let path = format!("{}/crowd-00000", collection());
        let symbols = json!(["tBTCUSD", format!("tA{}:USD", Timestamp::now().as_second())]);
        self.api.merge(&path, &json!({"spec": {"exchange": {"symbols": symbols}}})).await?;
        until("the other one writes", async || writes(log, user) > 0).await;
        Ok(())
    }
}

fn collection() -> String {
    format!("/apis/candles.dev/v1alpha1/namespaces/{NAMESPACE}/candlepipelines")
}

/// The release build, beside this program or above it.
fn program() -> anyhow::Result<PathBuf> {
    Ok(worker::binary("operator")?)
}

/// Writes of an operator but those of its lease.
fn writes(log: &AuditLog, user: &str) -> usize {
    let writes = log.writes_of(user).unwrap_or_default();
    writes.iter().filter(|write| write.resource != "leases").count()
}

/// From the answer to whoever created a pipeline to the answer to the operator's first write for it.
fn first_write_ms(log: &AuditLog, name: &str) -> Option<f64> {
    let requests = log.requests().ok()?;
    let time = |text: &str| text.parse::<Timestamp>().ok();
    let created = requests.iter().find(|r| {
        r.verb == "create" && r.resource == "candlepipelines" && r.body["metadata"]["name"] == name
    })?;
    let concerns =
        |object: &str| object == name || object.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    let written = requests.iter().find(|r| r.is_write() && r.user == USERS[0] && concerns(&r.name))?;
    let between = time(&written.time)?.duration_since(time(&created.time)?);
    Some(between.as_secs_f64() * 1e3)
}

fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

fn rss_mib(operator: &Worker) -> f64 {
    let pid = operator.pid().unwrap_or_default();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1_024.0
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(1_800), "{what} takes more than half an hour");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
