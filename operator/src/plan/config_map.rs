//! The workers' configuration as a ConfigMap, and the hashes that roll their pods.

use std::collections::BTreeMap;

use candles_core::config::PipelineConfig;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;

use super::{CONFIG_FILE, Child, ChildId, ChildKind, Role, child::hash_of, names};
use crate::validate::ValidPipeline;

/// Annotation of a pod with the hash of the configuration that it was started with.
pub const CONFIG_HASH: &str = "candles.dev/config-hash";

pub(super) fn name(pipeline: &ValidPipeline) -> String {
    format!("{}-config", pipeline.name)
}

pub(super) fn config_map(pipeline: &ValidPipeline) -> Child {
    let object = ConfigMap {
        metadata: names::metadata(pipeline, name(pipeline), None),
        data: Some(BTreeMap::from([(CONFIG_FILE.to_owned(), yaml(&pipeline.config))])),
        ..ConfigMap::default()
    };
    let child = Child::new(ChildKind::ConfigMap, &object);
    debug_assert_eq!(child.id, ChildId { kind: ChildKind::ConfigMap, name: name(pipeline) });
    child
}

/// The file as the workers read it.
fn yaml(config: &PipelineConfig) -> String {
    let text = serde_yaml::to_string(config).expect("a configuration is YAML: its keys are text");
    format!("# Written by the operator from the CandlePipeline; edits are reverted.\n{text}")
}

/// Hash of the part of the configuration that a role reads: another interval restarts the consumers, not the producer.
pub(super) fn hash(config: &PipelineConfig, role: Role) -> String {
    let mut value = serde_json::to_value(config).expect("a configuration is JSON: its keys are text");
    let foreign: &[&[&str]] = match role {
        Role::Producer => &[&["consumer"], &["candles"], &["influxdb"]],
        Role::Consumer => {
            &[&["producer"], &["exchange", "limits"], &["exchange", "websocketUrl"], &["exchange", "restUrl"]]
        }
    };
    for path in foreign {
        remove(&mut value, path);
    }
    hash_of(&value)
}

fn remove(value: &mut Value, path: &[&str]) {
    let Some((last, parents)) = path.split_last() else { return };
    let parent = parents.iter().try_fold(value, |value, key| value.get_mut(key));
    if let Some(map) = parent.and_then(Value::as_object_mut) {
        map.remove(*last);
    }
}
