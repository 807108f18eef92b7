//! `crds/` holds what the binary prints, and that is a definition as peers and tools expect it.

use candles_operator::api::{CandlePipelineStatus, crd, crd_yaml};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray,
};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../crds/candlepipelines.candles.dev.yaml");

fn root() -> JSONSchemaProps {
    crd().spec.versions.remove(0).schema.unwrap().open_api_v3_schema.unwrap()
}

#[test]
fn the_file_is_what_the_types_make() {
    let new = crd_yaml().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PATH, &new).unwrap();
    }
    let file = std::fs::read_to_string(PATH).unwrap_or_default();
    assert!(file == new, "{PATH} is not what the types say; run UPDATE=1 make test");
}

#[test]
fn the_definition_is_named_and_scaled_as_told() {
    let crd = crd();
    assert_eq!(crd.metadata.name.as_deref(), Some("candlepipelines.candles.dev"));
    assert_eq!(crd.spec.names.short_names, Some(vec!["cpl".to_owned()]));
    assert_eq!(crd.spec.names.categories, Some(vec!["candles".to_owned()]));
    assert_eq!(crd.spec.scope, "Namespaced");
    let version = &crd.spec.versions[0];
    let scale = version.subresources.as_ref().unwrap().scale.as_ref().unwrap();
    assert_eq!(scale.spec_replicas_path, ".spec.consumer.replicas");
    assert_eq!(scale.status_replicas_path, ".status.consumer.replicas");
    assert_eq!(scale.label_selector_path.as_deref(), Some(".status.consumer.selector"));
    let columns = version.additional_printer_columns.as_ref().unwrap();
    let names = |wide: bool| {
        let chosen = columns.iter().filter(|column| (column.priority == Some(1)) == wide);
        chosen.map(|column| column.name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names(false), ["Ready", "Reason", "Symbols", "Consumers", "Lag", "Age"]);
    assert_eq!(names(true), ["Topic", "Partitions", "Producers", "Suspended"]);
}

/// kstatus takes an object without any condition for ready, unless it has an older generation.
#[test]
fn a_resource_without_a_status_is_in_progress() {
    let root = root();
    let status = &root.properties.as_ref().unwrap()["status"];
    assert_eq!(status.default.as_ref().unwrap().0, serde_json::json!({"observedGeneration": -1}));
    let generation = &status.properties.as_ref().unwrap()["observedGeneration"];
    assert_eq!(generation.default.as_ref().unwrap().0, serde_json::json!(-1));
    let empty: CandlePipelineStatus =
        serde_json::from_value(status.default.as_ref().unwrap().0.clone()).unwrap();
    assert_eq!(empty.observed_generation, Some(-1));
}

fn walk(schema: &JSONSchemaProps, path: &str, visit: &mut impl FnMut(&str, &JSONSchemaProps)) {
    visit(path, schema);
    for (name, property) in schema.properties.iter().flatten() {
        walk(property, &format!("{path}.{name}"), visit);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &schema.items {
        walk(items, &format!("{path}[]"), visit);
    }
}

/// Types of Kubernetes itself, whose bounds are the API server's business when the Deployment is written.
fn is_foreign(path: &str) -> bool {
    ["affinity", "tolerations[]", "topologySpreadConstraints[]", "conditions[]"]
        .iter()
        .any(|name| path.contains(name))
}

#[test]
fn every_field_is_explained() {
    walk(&root(), "", &mut |path, schema| {
        let explained = schema.description.as_ref().is_some_and(|text| !text.is_empty());
        assert!(
            explained || path.is_empty() || path == ".spec" || path.ends_with("[]"),
            "{path} has no description"
        );
    });
}

/// An API server estimates the cost of rules by the worst case: what is unbounded is as long as a request.
#[test]
fn every_text_list_and_map_of_a_spec_is_bounded() {
    let root = root();
    walk(&root.properties.as_ref().unwrap()["spec"], "spec", &mut |path, schema| {
        if is_foreign(path) || path.ends_with("affinity") {
            return;
        }
        match schema.type_.as_deref() {
            Some("string") => assert!(schema.max_length.is_some() || schema.enum_.is_some(), "{path}"),
            Some("array") => assert!(schema.max_items.is_some(), "{path}"),
            Some("integer") => assert!(schema.minimum.is_some() && schema.maximum.is_some(), "{path}"),
            Some("object") if schema.additional_properties.is_some() => {
                assert!(schema.max_properties.is_some(), "{path}");
            }
            _ => {}
        }
    });
}

#[test]
fn absent_and_null_are_the_same() {
    walk(&root(), "", &mut |path, schema| assert_eq!(schema.nullable, None, "{path}"));
}

#[test]
fn every_optional_field_has_a_default_or_means_something_by_its_absence() {
    // Absent: none of it is wanted, or the field's description says what then holds.
    let absent = [
        "name",
        "groupId",
        "tls",
        "sasl",
        "auth",
        "caSecretRef",
        "certificateSecretRef",
        "keySecretRef",
        "basic",
        "bearer",
        "organization",
        "partitions",
        "cpu",
        "memory",
        "ephemeral-storage",
        "labels",
        "annotations",
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
    ];
    let root = root();
    walk(&root.properties.as_ref().unwrap()["spec"], "spec", &mut |path, schema| {
        if is_foreign(path) || path.contains("affinity.") {
            return;
        }
        let required = schema.required.clone().unwrap_or_default();
        for (name, property) in schema.properties.iter().flatten() {
            let told =
                required.contains(name) || property.default.is_some() || absent.contains(&name.as_str());
            assert!(told, "{path}.{name} has no default");
        }
    });
}
