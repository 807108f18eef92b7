//! Counters and gauges of the operator, named as those of other controllers. Listed in `docs/operator-metrics.md`.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// A request to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiLabels {
    /// As RBAC names it.
    pub verb: &'static str,
    /// Plural, with the subresource: `deployments`, `candlepipelines/status`.
    pub resource: String,
    /// Status of the answer, or `error`, `timeout`, `fenced`.
    pub code: String,
}

/// An admin call to brokers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct KafkaLabels {
    /// `describe`, `create`, `grow`, `alter`, `delete` or `lag`.
    pub call: &'static str,
    /// `ok`, `unreachable`, `no_access` or `refused`.
    pub result: &'static str,
}

/// How a pass ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ResultLabel {
    /// `success`, `requeue_after` or `error`.
    pub result: &'static str,
}

/// A pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PipelineLabels {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A condition of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ConditionLabels {
    /// Namespace of the pipeline.
    pub namespace: String,
    /// Name of the pipeline.
    pub name: String,
    /// Type of the condition.
    pub condition: &'static str,
}

/// Everything that `/metrics` shows.
#[derive(Debug, Clone)]
pub struct Metrics {
    api_requests: Family<ApiLabels, Counter>,
    api_seconds: Histogram,
    kafka_calls: Family<KafkaLabels, Counter>,
    reconciles: Family<ResultLabel, Counter>,
    reconcile_seconds: Histogram,
    /// Passes under way.
    pub active: Gauge,
    /// Pipelines that exist.
    pub pipelines: Gauge,
    /// 1 while this process may write.
    pub leader: Gauge,
    /// Objects that could not be read.
    pub unreadable: Counter,
    /// Broken watches.
    pub watch_errors: Counter,
    lag_sum: Family<PipelineLabels, Gauge>,
    lag_max: Family<PipelineLabels, Gauge>,
    partitions: Family<PipelineLabels, Gauge>,
    conditions: Family<ConditionLabels, Gauge>,
}

impl Metrics {
    /// Registers all of them.
    pub fn new(registry: &mut Registry) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 4.0, 8));
        let m = Self {
            api_requests: Family::default(),
            api_seconds: seconds(),
            kafka_calls: Family::default(),
            reconciles: Family::default(),
            reconcile_seconds: seconds(),
            active: Gauge::default(),
            pipelines: Gauge::default(),
            leader: Gauge::default(),
            unreadable: Counter::default(),
            watch_errors: Counter::default(),
            lag_sum: Family::default(),
            lag_max: Family::default(),
            partitions: Family::default(),
            conditions: Family::default(),
        };
        let registry = registry.sub_registry_with_prefix("candles_operator");
        let help = "Requests to the API server by verb, resource and code";
        registry.register("api_requests", help, m.api_requests.clone());
        registry.register(
            "api_request_seconds",
            "Time to the answer of such a request",
            m.api_seconds.clone(),
        );
        registry.register("kafka_calls", "Admin calls to brokers by call and result", m.kafka_calls.clone());
        registry.register("reconcile", "Passes over a pipeline by result", m.reconciles.clone());
        registry.register("reconcile_seconds", "Time of a pass", m.reconcile_seconds.clone());
        registry.register("active_workers", "Passes under way", m.active.clone());
        registry.register("pipelines", "Pipelines that exist", m.pipelines.clone());
        registry.register("leader", "1 while this process holds the lease", m.leader.clone());
        registry.register("unreadable", "Resources that could not be read at all", m.unreadable.clone());
        registry.register("watch_errors", "Watches that broke; they are made anew", m.watch_errors.clone());
        let help = "Records that a pipeline's consumers are behind, all partitions together";
        registry.register("lag_sum_records", help, m.lag_sum.clone());
        let help = "Records that a pipeline's consumers are behind, in the worst partition";
        registry.register("lag_max_records", help, m.lag_max.clone());
        registry.register("partitions", "Partitions of a pipeline's topic", m.partitions.clone());
        let help = "Conditions of a pipeline: 1 true, 0 false, -1 unknown";
        registry.register("condition", help, m.conditions.clone());
        m
    }

    /// A request to the API server has ended; with its time, unless it was a watch or was not sent.
    pub fn api(&self, labels: &ApiLabels, time: Option<Duration>) {
        self.api_requests.get_or_create(labels).inc();
        if let Some(time) = time {
            self.api_seconds.observe(time.as_secs_f64());
        }
    }

    /// An admin call has ended.
    pub fn kafka(&self, call: &'static str, result: &'static str) {
        self.kafka_calls.get_or_create(&KafkaLabels { call, result }).inc();
    }

    /// A pass has ended.
    pub fn reconciled(&self, result: &'static str, time: Duration) {
        self.reconciles.get_or_create(&ResultLabel { result }).inc();
        self.reconcile_seconds.observe(time.as_secs_f64());
    }

    /// How far a pipeline is behind.
    pub fn lag(&self, of: &PipelineLabels, sum: u64, max: u64) {
        self.lag_sum.get_or_create(of).set(i64::try_from(sum).unwrap_or(i64::MAX));
        self.lag_max.get_or_create(of).set(i64::try_from(max).unwrap_or(i64::MAX));
    }

    /// How many partitions a pipeline's topic has.
    pub fn partitions(&self, of: &PipelineLabels, partitions: i64) {
        self.partitions.get_or_create(of).set(partitions);
    }

    /// What a condition of a pipeline says.
    pub fn condition(&self, of: &PipelineLabels, condition: &'static str, status: &str) {
        let value = match status {
            "True" => 1,
            "False" => 0,
            _ => -1,
        };
        let labels = ConditionLabels { namespace: of.namespace.clone(), name: of.name.clone(), condition };
        self.conditions.get_or_create(&labels).set(value);
    }

    /// A pipeline is gone: its series go.
    pub fn forget(&self, of: &PipelineLabels, conditions: &[&'static str]) {
        self.lag_sum.remove(of);
        self.lag_max.remove(of);
        self.partitions.remove(of);
        for condition in conditions {
            let (namespace, name) = (of.namespace.clone(), of.name.clone());
            self.conditions.remove(&ConditionLabels { namespace, name, condition });
        }
    }
}
