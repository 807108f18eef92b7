//! The servers of all runs, started once: a Kafka cluster with a lane of proxied listeners for each run that may be
//! under way, a registry, and for each lane a database of its own.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;

use crate::proxy::Proxy;
use crate::servers::influxdb::{self, InfluxDb};
use crate::servers::kafka::{Cluster, Options};
use crate::servers::registry::{self, Registry};
use crate::servers::{RunDir, Server, State};

/// How long brokers may take to be whole again.
const IN_SYNC_MAX: Duration = Duration::from_secs(90);

/// Servers for runs side by side.
pub struct Stage {
    /// Three brokers.
    pub kafka: Cluster,
    /// Apicurio, which keeps its schemas in a file.
    pub registry: Registry,
    /// One for each run that may be under way.
    pub lanes: Vec<Lane>,
    run: RunDir,
}

/// What one run has for itself.
pub struct Lane {
    /// Before each broker; the brokers advertise them on this lane's listeners.
    pub brokers: Vec<Proxy>,
    /// A database.
    pub influxdb: InfluxDb,
    /// Logs and data.
    pub run: RunDir,
}

impl Lane {
    /// For `bootstrap.servers` of workers.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.brokers.iter().map(|proxy| proxy.addr().to_string()).collect();
        addresses.join(",")
    }
}

impl Stage {
    /// Starts everything.
    pub async fn start(lanes: usize) -> anyhow::Result<Self> {
        let run = RunDir::new("chaos")?;
        let mut proxies = Vec::new();
        for _ in 0..lanes {
            let mut brokers = Vec::new();
            for _ in 0..3 {
                brokers.push(Proxy::start(None).await.context("start a proxy")?);
            }
            proxies.push(brokers);
        }
        let ports = |brokers: &Vec<Proxy>| brokers.iter().map(|proxy| proxy.addr().port()).collect();
        let properties = [
            // A zombie must be one within a run.
            ("group.consumer.session.timeout.ms", "3000"),
            ("group.consumer.heartbeat.interval.ms", "300"),
            ("log.retention.check.interval.ms", "3600000"),
        ];
        let options = Options {
            lanes: proxies.iter().map(ports).collect(),
            properties: properties.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
            ..Options::default()
        };
        let mut lane_runs = Vec::new();
        for number in 1..=lanes {
            lane_runs.push(RunDir::new(&format!("chaos-lane-{number}"))?);
        }
        let databases = futures_util::future::try_join_all(lane_runs.iter().map(influxdb::start));
        let (kafka, registry, databases) =
            tokio::try_join!(Cluster::start(options, &run), registry::start_apicurio(&run), databases)?;
        let mut lanes = Vec::new();
        for (number, ((brokers, influxdb), run)) in
            proxies.into_iter().zip(databases).zip(lane_runs).enumerate()
        {
            for (proxy, broker) in brokers.iter().zip(kafka.lane(number)) {
                proxy.lead_to(broker);
            }
            lanes.push(Lane { brokers, influxdb, run });
        }
        Ok(Self { kafka, registry, lanes, run })
    }

    /// Brokers as they were before a fault of theirs.
    pub async fn heal(&self) -> anyhow::Result<()> {
        self.kafka.brokers().iter().try_for_each(revive)?;
        self.kafka.wait_ready().await?;
        Ok(self.kafka.wait_in_sync(IN_SYNC_MAX).await?)
    }

    /// Everything went well: logs and data go.
    pub fn finish(&self) {
        self.run.finish();
        self.lanes.iter().for_each(|lane| lane.run.finish());
    }
}

/// Host and port of a URL of one of our servers.
pub fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().parse().with_context(|| format!("{url}: no address"))
}

/// The same URL with another host and port.
pub fn through(url: &str, proxy: &Proxy) -> anyhow::Result<String> {
    Ok(url.replacen(&address(url)?.to_string(), &proxy.addr().to_string(), 1))
}

/// Thaws what is frozen and starts what is down.
pub fn revive(server: &Server) -> anyhow::Result<()> {
    match server.state() {
        State::Frozen => server.thaw()?,
        State::Down => server.start()?,
        State::Running => {}
    }
    Ok(())
}
