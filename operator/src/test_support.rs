//! Pipelines for tests: the shortest useful example, with what matters changed.

use serde_json::{Value, json};

use crate::{
    api::CandlePipeline,
    plan::WorkerSettings,
    validate::{ValidPipeline, validate},
};

const MINIMAL: &str = include_str!("../../examples/candlepipeline.yaml");
const FULL: &str = include_str!("../../examples/candlepipeline-full.yaml");

/// The shortest example as it comes from an API server, changed by `(path, value)`; null removes.
pub(crate) fn pipeline(changes: &[(&str, Value)]) -> CandlePipeline {
    from(MINIMAL, changes)
}

/// The long example, likewise.
pub(crate) fn full_pipeline(changes: &[(&str, Value)]) -> CandlePipeline {
    from(FULL, changes)
}

fn from(yaml: &str, changes: &[(&str, Value)]) -> CandlePipeline {
    let mut value: Value = serde_yaml::from_str(yaml).unwrap();
    value["metadata"]["namespace"] = json!("markets");
    value["metadata"]["uid"] = json!("b6a3ff6e-0001");
    value["metadata"]["generation"] = json!(1);
    for (path, change) in changes {
        let keys: Vec<&str> = path.split('.').collect();
        let (last, parents) = keys.split_last().unwrap();
        let parent = parents.iter().fold(&mut value, |value, key| &mut value[*key]);
        if change.is_null() {
            parent.as_object_mut().unwrap().remove(*last);
        } else {
            parent[*last] = change.clone();
        }
    }
    serde_json::from_value(value).unwrap()
}

/// [`pipeline`], checked.
pub(crate) fn valid(changes: &[(&str, Value)]) -> ValidPipeline {
    validate(&pipeline(changes)).unwrap()
}

/// [`full_pipeline`], checked.
pub(crate) fn full(changes: &[(&str, Value)]) -> ValidPipeline {
    validate(&full_pipeline(changes)).unwrap()
}

/// What an operator is started with.
pub(crate) fn settings() -> WorkerSettings {
    WorkerSettings {
        producer_image: "registry.example.com/candles-producer:1".to_owned(),
        consumer_image: "registry.example.com/candles-consumer:1".to_owned(),
        pull_policy: "IfNotPresent".to_owned(),
        pull_secrets: vec![],
    }
}
