//! What the Prometheus operator needs to scrape the workers.

use std::collections::BTreeMap;

use serde_json::json;

use super::{Child, ChildId, ChildKind, names};
use crate::validate::ValidPipeline;

pub(super) fn id(pipeline: &ValidPipeline) -> ChildId {
    ChildId { kind: ChildKind::PodMonitor, name: pipeline.name.clone() }
}

pub(super) fn pod_monitor(pipeline: &ValidPipeline, labels: &BTreeMap<String, String>) -> Child {
    let mut metadata = names::metadata(pipeline, pipeline.name.clone(), None);
    let mut all = labels.clone();
    all.extend(metadata.labels.unwrap_or_default());
    metadata.labels = Some(all);
    let object = json!({
        "metadata": metadata,
        "spec": {
            "selector": {"matchLabels": names::pipeline_selector(&pipeline.name)},
            "podMetricsEndpoints": [{"port": "http", "path": "/metrics"}],
            "podTargetLabels": ["app.kubernetes.io/instance", "app.kubernetes.io/component"],
        },
    });
    Child::new(ChildKind::PodMonitor, &object)
}
