//! What `operator run` can be told, on the command line or by the environment.

use std::{net::SocketAddr, path::PathBuf};

use candles_workers::runtime::logs::LogFormat;
use clap::{Args, ValueEnum};

use crate::{controller::Scope, kafka::credentials::Credentials, plan::WorkerSettings};

/// For `--help`.
pub const AFTER_HELP: &str = "\
The API server is found by KUBECONFIG, or by the service account of the pod.
The pod's own name and namespace are taken from POD_NAME and POD_NAMESPACE, if set.
RUST_LOG sets the log level: error, warn, info (default), debug or trace.

--kafka-clusters names a YAML file with the clusters that the operator logs in to, since it may not read
the Secrets that pipelines name. An entry is used for pipelines all of whose brokers it lists:

  clusters:
  - bootstrapServers: kafka-0:9093,kafka-1:9093,kafka-2:9093
    tls: {caFile: /etc/candles-operator/ca.crt}
    sasl: {mechanism: SCRAM-SHA-512, username: candles-operator, password: {file: /etc/candles-operator/password}}

Exit codes:
  0    stopped by SIGTERM or SIGINT, everything finished
  1    an error that waiting does not mend, or an end that took too long; the log says which
  2    wrong arguments
  130  a second signal ended it at once";

/// Arguments of `operator run`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Namespaces whose pipelines are run; the operator's own when none is given. May be repeated, or separated by commas.
    #[arg(long = "namespace", value_name = "NAMESPACE", env = "WATCH_NAMESPACES", value_delimiter = ',')]
    pub namespaces: Vec<String>,
    /// Runs the pipelines of all namespaces. Needs the ClusterRole of `operator rbac --cluster`.
    #[arg(long, conflicts_with = "namespaces", env = "WATCH_ALL_NAMESPACES")]
    pub all_namespaces: bool,
    /// Image of the producers.
    #[arg(long, value_name = "IMAGE", env = "PRODUCER_IMAGE", default_value = concat!("candles-producer:", env!("CARGO_PKG_VERSION")))]
    pub producer_image: String,
    /// Image of the consumers.
    #[arg(long, value_name = "IMAGE", env = "CONSUMER_IMAGE", default_value = concat!("candles-consumer:", env!("CARGO_PKG_VERSION")))]
    pub consumer_image: String,
    /// When nodes fetch these images.
    #[arg(long, value_enum, env = "IMAGE_PULL_POLICY", default_value = "if-not-present")]
    pub image_pull_policy: PullPolicy,
    /// Secret for the image registry, in the namespace of each pipeline. May be repeated, or separated by commas.
    #[arg(
        long = "image-pull-secret",
        value_name = "NAME",
        env = "IMAGE_PULL_SECRETS",
        value_delimiter = ','
    )]
    pub image_pull_secrets: Vec<String>,
    /// Kafka clusters and the operator's own logins (YAML); see below.
    #[arg(long, value_name = "FILE", env = "KAFKA_CLUSTERS")]
    pub kafka_clusters: Option<PathBuf>,
    /// Connects to no cluster that --kafka-clusters does not list.
    #[arg(long, requires = "kafka_clusters", env = "KAFKA_LISTED_ONLY")]
    pub kafka_listed_only: bool,
    /// Secret that the operator may read, to say which one or which key a pipeline lacks. May be repeated, or separated
    /// by commas. Needs the right of `operator rbac --read-secret`; none is read by default.
    #[arg(long = "read-secret", value_name = "NAME", env = "READ_SECRETS", value_delimiter = ',')]
    pub read_secrets: Vec<String>,
    /// Name of the Lease with which one of several operators is chosen.
    #[arg(long, value_name = "NAME", env = "LEASE_NAME", default_value = "candles-operator")]
    pub lease_name: String,
    /// Namespace of that Lease; the operator's own by default.
    #[arg(long, value_name = "NAMESPACE", env = "LEASE_NAMESPACE")]
    pub lease_namespace: Option<String>,
    /// Where /healthz, /readyz and /metrics are served; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", env = "HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// How log events are written to standard error.
    #[arg(long, value_enum, env = "LOG_FORMAT", default_value = "auto")]
    pub log_format: LogFormat,
}

/// When nodes fetch images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// At every start of a pod.
    Always,
    /// When the node does not have it.
    IfNotPresent,
    /// Never: the image has to be on the node.
    Never,
}

impl Arguments {
    /// What is watched. `own` is the operator's own namespace.
    pub fn scope(&self, own: &str) -> Scope {
        scope(self.all_namespaces, &self.namespaces, own)
    }

    /// What children are made with.
    pub fn settings(&self) -> WorkerSettings {
        let pull_policy = match self.image_pull_policy {
            PullPolicy::Always => "Always",
            PullPolicy::IfNotPresent => "IfNotPresent",
            PullPolicy::Never => "Never",
        };
        let names = self.image_pull_secrets.iter().map(|name| name.trim().to_owned());
        WorkerSettings {
            producer_image: self.producer_image.clone(),
            consumer_image: self.consumer_image.clone(),
            pull_policy: pull_policy.to_owned(),
            pull_secrets: names.filter(|name| !name.is_empty()).collect(),
        }
    }

    /// How the operator logs in to brokers.
    pub fn credentials(&self) -> Credentials {
        Credentials { file: self.kafka_clusters.clone(), listed_only: self.kafka_listed_only }
    }
}

/// All namespaces, or those that are named, or the operator's own.
pub fn scope(all: bool, named: &[String], own: &str) -> Scope {
    let mut namespaces: Vec<String> =
        named.iter().map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect();
    namespaces.sort();
    namespaces.dedup();
    match (all, namespaces.is_empty()) {
        (true, _) => Scope::All,
        (false, true) => Scope::Namespaces(vec![own.to_owned()]),
        (false, false) => Scope::Namespaces(namespaces),
    }
}
