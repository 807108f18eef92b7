//! The types in, the CustomResourceDefinition out, with what the derive cannot say.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt as _;
use serde_json::json;

use super::{CandlePipeline, rules};

/// The CustomResourceDefinition, as `crds/` holds it.
pub fn crd() -> CustomResourceDefinition {
    let mut crd = CandlePipeline::crd();
    for version in &mut crd.spec.versions {
        if let Some(root) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut()) {
            tidy(root);
            root.x_kubernetes_validations =
                serde_json::from_value(json!([rules::name_leaves_room_for_suffixes()])).ok();
            default_observed_generation(root);
        }
    }
    crd
}

/// [`crd`] as `crds/candlepipelines.candles.dev.yaml` holds it.
pub fn crd_yaml() -> anyhow::Result<String> {
    // Through a value: its keys are sorted, so the file changes only where the definition does.
    let yaml = serde_yaml::to_string(&serde_json::to_value(crd())?)?;
    Ok(format!("# Made by `operator crd`.\n{yaml}"))
}

/// Optional means that a field may be absent. With `nullable` a written null would be kept, and neither be defaulted
/// nor be absent for the rules; without it the API server drops nulls first. Lines of comments are those of the source:
/// `kubectl explain` has its own.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    if let Some(description) = &mut schema.description {
        let paragraphs = description.split("\n\n").map(|paragraph| paragraph.replace('\n', " "));
        *description = paragraphs.collect::<Vec<_>>().join("\n\n");
    }
    if let Some(choices) = &mut schema.enum_ {
        choices.retain(|choice| !choice.0.is_null());
    }
    schema.properties.iter_mut().flat_map(|properties| properties.values_mut()).for_each(tidy);
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(items)) => tidy(items),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(tidy),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

/// Without any status, kstatus takes an object for ready. A status that begins with generation -1 is in progress.
fn default_observed_generation(root: &mut JSONSchemaProps) {
    let Some(status) = root.properties.as_mut().and_then(|properties| properties.get_mut("status")) else {
        return;
    };
    status.default = Some(JSON(json!({"observedGeneration": -1})));
    if let Some(generation) = status.properties.as_mut().and_then(|p| p.get_mut("observedGeneration")) {
        generation.default = Some(JSON((-1).into()));
    }
}
