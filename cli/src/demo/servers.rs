//! What the pipeline of the demo runs on: the testbed's real servers with the project's own programs, or stand-ins and
//! the same producer and consumer inside this process. Started, asked and stopped in the same way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::embedded::Embedded;
use super::real::Real;
use crate::ui::Consumer;

/// Topic of the trades.
pub const TOPIC: &str = "trades";
/// Its partitions.
pub const PARTITIONS: i32 = 3;
/// Members of the consumer group.
pub const CONSUMERS: usize = 2;
/// How long a worker may take until it is ready: everything it needs is there.
pub const READY_MAX: Duration = Duration::from_secs(60);

/// Where everything is.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// `host:port` of the brokers.
    pub kafka: String,
    /// URL of the schema registry.
    pub registry: String,
    /// URL of InfluxDB.
    pub influxdb: String,
    /// Its organization.
    pub organization: String,
    /// Its bucket.
    pub bucket: String,
    /// Holds its token.
    pub token_file: PathBuf,
}

/// Running servers.
pub enum Servers {
    /// Stand-ins in this process.
    Embedded(Box<Embedded>),
    /// The testbed's.
    Real(Box<Real>),
}

impl Servers {
    /// Where they are.
    pub fn addresses(&self) -> &Addresses {
        match self {
            Self::Embedded(embedded) => &embedded.addresses,
            Self::Real(real) => &real.addresses,
        }
    }

    /// The folder for configuration and logs.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Embedded(embedded) => embedded.folder(),
            Self::Real(real) => real.folder(),
        }
    }

    /// What they are, in a few words.
    pub fn describe(&self) -> String {
        match self {
            Self::Embedded(_) => {
                "embedded stand-ins: librdkafka's mock cluster of three brokers, a small schema registry \
                                  and a small InfluxDB, all in this process"
                    .to_owned()
            }
            Self::Real(real) => real.describe(),
        }
    }

    /// Starts a producer and the consumers, and waits until all are ready.
    pub async fn start_workers(&mut self, yaml: &str) -> anyhow::Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.start_workers(yaml).await,
            Self::Real(real) => real.start_workers(yaml).await,
        }
    }

    /// Where their health and metrics are.
    pub fn worker_urls(&self) -> Vec<String> {
        match self {
            Self::Embedded(embedded) => embedded.worker_urls(),
            Self::Real(real) => real.worker_urls(),
        }
    }

    /// Consumers that must be asked themselves, where the brokers list no groups.
    pub fn consumers(&self) -> Vec<Consumer> {
        match self {
            Self::Embedded(embedded) => embedded.consumers(),
            Self::Real(_) => Vec::new(),
        }
    }

    /// An error if a worker has ended.
    pub fn check_workers(&self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.check_workers(),
            Self::Real(real) => real.check_workers(),
        }
    }

    /// Raw points of trades at or after a time.
    pub async fn stored(&self, from_ms: i64) -> anyhow::Result<u64> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.stored(from_ms)),
            Self::Real(real) => real.stored(from_ms).await,
        }
    }

    /// Stops the workers cleanly.
    pub async fn stop_workers(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Embedded(embedded) => embedded.stop_workers().await,
            Self::Real(real) => real.stop_workers().await,
        }
    }

    /// Ends the servers and removes what they kept.
    pub async fn end(self) {
        match self {
            Self::Embedded(_) => {}
            Self::Real(real) => real.end().await,
        }
    }
}
