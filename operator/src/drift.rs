//! An object as it should be and as it is, in; every difference that a server-side apply would mend, out.
//!
//! Empty means that nothing is to be written: steady state writes nothing. (`what_was_applied_has_no_drift`)
//! - What the API server adds, by defaults or for others, is no difference. (`additions_of_others_are_no_drift`)
//! - One amount in other words is no difference: `1000m` is `1`. (`one_amount_in_other_words_is_no_drift`)
//! - What the plan no longer wants is found by the hash of what was applied. (`a_field_no_longer_wanted_is_drift`)

use std::fmt;

use serde_json::Value;

use crate::quantity;

/// One field that is not as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// `spec.replicas`, `spec.template.spec.containers[producer].image`.
    pub path: String,
    /// What it is; none where it is absent.
    pub actual: Option<Value>,
    /// What it should be.
    pub desired: Value,
}

impl fmt::Display for Difference {
    /// `spec.replicas 3 -> 5`; long values are cut.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actual = self.actual.as_ref().map_or_else(|| "(absent)".to_owned(), short);
        write!(f, "{} {actual} -> {}", self.path, short(&self.desired))
    }
}

fn short(value: &Value) -> String {
    const LENGTH_MAX: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= LENGTH_MAX {
        return text;
    }
    text.chars().take(LENGTH_MAX).chain("...".chars()).collect()
}

/// Every field of `desired` that `live` does not have so. `desired` is a child's body, `live` the object of the API
/// server; both as JSON.
pub fn drift(desired: &Value, live: &Value) -> Vec<Difference> {
    let mut differences = Vec::new();
    compare("", "", desired, Some(live), &mut differences);
    differences
}

/// `parent` is the name of the field that holds the value, or the map that does.
fn compare(
    path: &str,
    parent: &str,
    desired: &Value,
    live: Option<&Value>,
    differences: &mut Vec<Difference>,
) {
    match (desired, live) {
        (Value::Object(desired), Some(Value::Object(live))) => {
            for (key, value) in desired {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                // Amounts are values of a map: what matters is the name of the map.
                let parent = if matches!(parent, "limits" | "requests") { "amount" } else { key };
                compare(&path, parent, value, live.get(key), differences);
            }
        }
        (Value::Array(desired), Some(Value::Array(live))) => {
            compare_lists(path, parent, desired, live, differences);
        }
        // The API server drops empty lists; an empty object means something, as in a selector of everything.
        (desired, None) if is_empty(desired) => {}
        (desired, Some(live)) if parent == "amount" && same_amount(desired, live) => {}
        (desired, Some(live)) if same_scalar(desired, live) => {}
        (desired, live) => differences.push(Difference {
            path: path.to_owned(),
            actual: live.cloned(),
            desired: desired.clone(),
        }),
    }
}

/// Lists that the API server merges by a key may hold entries of others; all others are compared as a whole.
fn compare_lists(
    path: &str,
    name: &str,
    desired: &[Value],
    live: &[Value],
    differences: &mut Vec<Difference>,
) {
    if let Some(keys) = merge_keys(name) {
        for (position, entry) in desired.iter().enumerate() {
            let same = |other: &&Value| keys.iter().all(|key| same_key(entry.get(key), other.get(key)));
            let label = entry.get(keys[0]).map_or_else(|| position.to_string(), key_text);
            compare(&format!("{path}[{label}]"), name, entry, live.iter().find(same), differences);
        }
        return;
    }
    if desired.len() != live.len() {
        differences.push(Difference {
            path: path.to_owned(),
            actual: Some(Value::Array(live.to_vec())),
            desired: Value::Array(desired.to_vec()),
        });
        return;
    }
    for (position, (desired, live)) in desired.iter().zip(live).enumerate() {
        compare(&format!("{path}[{position}]"), name, desired, Some(live), differences);
    }
}

/// Keys by which the API server merges a list of this name (`x-kubernetes-list-map-keys` of its own types).
fn merge_keys(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "containers" | "initContainers" | "env" | "volumes" | "imagePullSecrets" => &["name"],
        "volumeMounts" => &["mountPath"],
        "ownerReferences" => &["uid"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        _ => return None,
    })
}

fn same_key(desired: Option<&Value>, live: Option<&Value>) -> bool {
    desired.is_none() || desired == live
}

fn key_text(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn same_scalar(desired: &Value, live: &Value) -> bool {
    match (desired, live) {
        (Value::Number(desired), Value::Number(live)) => desired.as_f64() == live.as_f64(),
        _ => desired == live || (is_empty(desired) && is_empty(live)),
    }
}

fn same_amount(desired: &Value, live: &Value) -> bool {
    let nano = |value: &Value| match value {
        Value::String(text) => quantity::parse_nano(text),
        Value::Number(number) => quantity::parse_nano(&number.to_string()),
        _ => None,
    };
    nano(desired).is_some_and(|desired| nano(live) == Some(desired))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn paths(desired: &Value, live: &Value) -> Vec<String> {
        drift(desired, live).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_changed_number_is_one_difference() {
        let desired = json!({"spec": {"replicas": 5, "paused": false}});
        assert_eq!(
            paths(&desired, &json!({"spec": {"replicas": 3, "paused": false}})),
            ["spec.replicas 3 -> 5"]
        );
    }

    #[test]
    fn additions_of_others_are_no_drift() {
        let desired = json!({
            "metadata": {"labels": {"a": "1"}, "ownerReferences": [{"uid": "u", "name": "demo"}]},
            "spec": {"containers": [{"name": "consumer", "args": ["a"]}]},
        });
        let live = json!({
            "metadata": {
                "labels": {"a": "1", "theirs": "2"},
                "ownerReferences": [{"uid": "other"}, {"uid": "u", "name": "demo"}],
                "resourceVersion": "7",
            },
            "spec": {
                "containers": [{"name": "sidecar"}, {"name": "consumer", "args": ["a"], "terminationMessagePath": "/x"}],
                "dnsPolicy": "ClusterFirst",
            },
            "status": {"replicas": 1},
        });
        assert_eq!(paths(&desired, &live), Vec::<String>::new());
    }

    #[test]
    fn one_amount_in_other_words_is_no_drift() {
        let desired =
            json!({"resources": {"limits": {"cpu": "1000m", "memory": "1024Mi"}, "requests": {"cpu": 2}}});
        let live = json!({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "2"}}});
        assert_eq!(paths(&desired, &live), Vec::<String>::new());
        let live = json!({"resources": {"limits": {"cpu": "1", "memory": "1Mi"}, "requests": {"cpu": "2"}}});
        assert_eq!(paths(&desired, &live), [r#"resources.limits.memory "1Mi" -> "1024Mi""#]);
    }

    #[test]
    fn amounts_outside_resources_are_texts() {
        assert_eq!(paths(&json!({"data": {"cpu": "1000m"}}), &json!({"data": {"cpu": "1"}})).len(), 1);
    }

    #[test]
    fn an_empty_list_is_absent_but_an_empty_selector_selects_everything() {
        assert!(drift(&json!({"a": [], "c": null}), &json!({})).is_empty());
        assert_eq!(
            paths(&json!({"namespaceSelector": {}}), &json!({})),
            ["namespaceSelector (absent) -> {}"]
        );
    }

    #[test]
    fn lists_without_keys_are_compared_as_a_whole() {
        let desired = json!({"args": ["--a"]});
        assert_eq!(
            paths(&desired, &json!({"args": ["--a", "--evil"]})),
            [r#"args ["--a","--evil"] -> ["--a"]"#]
        );
        assert_eq!(paths(&desired, &json!({"args": ["--b"]})), [r#"args[0] "--b" -> "--a""#]);
    }

    #[test]
    fn a_missing_container_is_a_difference() {
        let desired = json!({"containers": [{"name": "consumer", "image": "i"}]});
        assert_eq!(
            paths(&desired, &json!({"containers": [{"name": "other"}]})),
            [r#"containers[consumer] (absent) -> {"image":"i","name":"consumer"}"#]
        );
    }

    /// Any value of JSON, with names that mean something here.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from),
            "[0-9]{1,3}(m|Mi|)".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            let key = prop_oneof![
                "[a-c]",
                Just("limits".to_owned()),
                Just("containers".to_owned()),
                Just("name".to_owned())
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// What others add: fields that the value does not have.
    fn with_additions(value: &Value) -> Value {
        match value {
            Value::Object(map) => {
                let mut map: serde_json::Map<_, _> =
                    map.iter().map(|(key, value)| (key.clone(), with_additions(value))).collect();
                map.insert("theirs".to_owned(), json!({"x": 1}));
                Value::Object(map)
            }
            Value::Array(list) => Value::Array(list.iter().map(with_additions).collect()),
            other => other.clone(),
        }
    }

    /// Entries of keyed lists that share their key are no valid object; the API server refuses them.
    fn has_valid_lists(value: &Value) -> bool {
        match value {
            Value::Object(map) => map.iter().all(|(key, value)| {
                let keyed_well = match (merge_keys(key), value.as_array()) {
                    (Some(keys), Some(list)) => {
                        let names: std::collections::BTreeSet<String> =
                            list.iter().map(|entry| entry[keys[0]].to_string()).collect();
                        names.len() == list.len() && list.iter().all(|entry| entry.get(keys[0]).is_some())
                    }
                    _ => true,
                };
                keyed_well && has_valid_lists(value)
            }),
            Value::Array(list) => list.iter().all(has_valid_lists),
            _ => true,
        }
    }

    proptest! {
        #[test]
        fn what_was_applied_has_no_drift(desired in value().prop_filter("valid", has_valid_lists)) {
            prop_assert_eq!(drift(&desired, &desired), vec![]);
            prop_assert_eq!(drift(&desired, &with_additions(&desired)), vec![]);
        }

        #[test]
        fn a_changed_leaf_is_always_found(before in "[a-z]{1,5}", after in "[a-z]{1,5}", depth in 0usize..5) {
            prop_assume!(before != after);
            let nest = |leaf: &str| (0..depth).fold(json!(leaf), |inner, level| {
                if level % 2 == 0 { json!({"spec": inner}) } else { json!([inner]) }
            });
            prop_assert_eq!(drift(&nest(&after), &nest(&before)).len(), 1);
        }
    }
}
