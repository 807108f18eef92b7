//! All servers of the data path at once, and where it is asked for a Kubernetes control plane: options in, a running set
//! out. Starts them side by side.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::error::Result;
use super::influxdb::{self, InfluxDb};
use super::kafka::{Cluster, Options};
use super::kubernetes::ControlPlane;
use super::registry::{self, Registry};
use super::rundir::RunDir;
use super::server::{Server, State};

/// Limit for replicas to catch up after faults.
const IN_SYNC_LIMIT: Duration = Duration::from_secs(90);

/// Three brokers, two registries and InfluxDB. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Testbed {
    /// The Kafka cluster.
    pub kafka: Cluster,
    /// Apicurio, under a path prefix.
    pub apicurio: Registry,
    /// AxonOps, without a path prefix.
    pub axonops: Registry,
    /// InfluxDB 2.
    pub influxdb: InfluxDb,
    /// The control plane, if it was asked for.
    pub kubernetes: Option<ControlPlane>,
    /// How long each start took.
    pub start_times: Vec<(&'static str, Duration)>,
    run: RunDir,
}

/// Options of a [`Testbed`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until it is started"]
pub struct Builder {
    name: String,
    kafka: Options,
    kubernetes: bool,
}

impl Builder {
    /// Other options of the Kafka cluster.
    pub fn kafka(mut self, options: Options) -> Self {
        self.kafka = options;
        self
    }

    /// A Kubernetes control plane too.
    pub fn kubernetes(mut self, wanted: bool) -> Self {
        self.kubernetes = wanted;
        self
    }

    /// Installs what is missing and starts all; an error of one ends the others.
    pub async fn start(self) -> Result<Testbed> {
        // Five starts side by side make a future too large for the stack of whoever awaits it.
        Box::pin(self.start_all()).await
    }

    async fn start_all(self) -> Result<Testbed> {
        let run = RunDir::new(&self.name)?;
        let control_plane =
            async { if self.kubernetes { ControlPlane::start(&run).await.map(Some) } else { Ok(None) } };
        let (kafka, apicurio, axonops, influxdb, kubernetes) = tokio::try_join!(
            timed(Cluster::start(self.kafka, &run)),
            timed(registry::start_apicurio(&run)),
            timed(registry::start_axonops(&run)),
            timed(influxdb::start(&run)),
            timed(control_plane),
        )?;
        let mut start_times = vec![
            ("kafka", kafka.1),
            ("apicurio", apicurio.1),
            ("axonops", axonops.1),
            ("influxdb", influxdb.1),
        ];
        if kubernetes.0.is_some() {
            start_times.push(("kubernetes", kubernetes.1));
        }
        Ok(Testbed {
            kafka: kafka.0,
            apicurio: apicurio.0,
            axonops: axonops.0,
            influxdb: influxdb.0,
            kubernetes: kubernetes.0,
            start_times,
            run,
        })
    }
}

async fn timed<T>(start: impl Future<Output = Result<T>>) -> Result<(T, Duration)> {
    let begun = Instant::now();
    Ok((start.await?, begun.elapsed()))
}

impl Testbed {
    /// A testbed whose run folder starts with `name`.
    pub fn builder(name: &str) -> Builder {
        Builder { name: name.to_owned(), kafka: Options::default(), kubernetes: false }
    }

    /// The run's folder.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Every server: `broker-1` to `broker-3`, `apicurio`, `axonops`, `influxdb`, and those of
    /// [`ControlPlane::servers`].
    pub fn servers(&self) -> Vec<&Server> {
        let others: [&Server; 3] = [&self.apicurio, &self.axonops, &self.influxdb];
        let control_plane = self.kubernetes.iter().flat_map(ControlPlane::servers);
        self.kafka.brokers().iter().chain(others).chain(control_plane).collect()
    }

    /// The server of that name; `broker 2` and `kafka-2` are understood too.
    pub fn server(&self, name: &str) -> Option<&Server> {
        let name = name.replace([' ', '_'], "-").replace("kafka-", "broker-");
        self.servers().into_iter().find(|server| server.name() == name)
    }

    /// Thaws what is frozen, starts what is down, and waits until every server is ready and every partition is in
    /// sync: what a test does after its faults, and before the next one.
    pub async fn heal(&self) -> Result<()> {
        for server in self.servers() {
            match server.state() {
                State::Frozen => server.thaw()?,
                State::Down => server.start()?,
                State::Running => {}
            }
        }
        futures_util::future::try_join_all(self.servers().into_iter().map(Server::wait_ready)).await?;
        self.kafka.wait_in_sync(IN_SYNC_LIMIT).await
    }

    /// Where everything is and how to log in, for people and scripts.
    pub fn addresses(&self) -> Value {
        let login = self.kafka.login();
        let servers = self
            .servers()
            .into_iter()
            .map(|server| json!({"name": server.name(), "pid": server.pid(), "log": server.log_path()}));
        json!({
            "pid": std::process::id(),
            "run_dir": self.run.path(),
            "kafka": {
                "bootstrap": self.kafka.bootstrap(),
                "bootstrap_external": self.kafka.bootstrap_external(),
                "bootstrap_wrong_host": self.kafka.bootstrap_wrong_host(),
                "user": login.user,
                "password": login.password,
                "ca_pem": self.kafka.ca_pem_path(),
                "other_ca_pem": self.kafka.other_ca_pem_path(),
            },
            "apicurio": {"url": self.apicurio.url()},
            "axonops": {"url": self.axonops.url()},
            "influxdb": {
                "url": self.influxdb.url(),
                "org": self.influxdb.org(),
                "bucket": self.influxdb.bucket(),
                "token": self.influxdb.token(),
            },
            "kubernetes": self.kubernetes.as_ref().map(ControlPlane::addresses),
            "servers": servers.collect::<Vec<_>>(),
        })
    }

    /// Declares success and ends everything at once; logs and data go.
    pub fn finish(self) {
        self.run.finish();
    }
}
