//! The operator with the rights that it asks for, and no others.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::World;

/// `group/resource verb`, of every rule of Roles and ClusterRoles in a list.
fn granted(objects: &[Value]) -> BTreeSet<String> {
    let texts = |value: &Value| -> Vec<String> {
        let items = value.as_array().into_iter().flatten();
        items.map(|item| item.as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut found = BTreeSet::new();
    for rule in objects.iter().flat_map(|object| object["rules"].as_array().cloned().unwrap_or_default()) {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                found.extend(
                    texts(&rule["verbs"]).into_iter().map(|verb| format!("{group}/{resource} {verb}")),
                );
            }
        }
    }
    found
}

#[test]
fn rules_are_read_as_triples() {
    let role =
        json!({"rules": [{"apiGroups": ["", "apps"], "resources": ["a", "b/status"], "verbs": ["get"]}]});
    let found: Vec<String> = granted(&[role]).into_iter().collect();
    assert_eq!(found, ["/a get", "/b/status get", "apps/a get", "apps/b/status get"]);
}

#[allow(dead_code)]
async fn placeholder(_: &World) {}
