//! What the operator must be allowed to do: the scope in, a manifest out. Each rule says why.
//!
//! Nothing on Secrets but those that the user names, nothing on pods, nodes, roles or definitions, and no wildcard. What is granted is what is used.
//! (`what_is_granted_is_what_is_used`)

use clap::Args;
use serde_json::{Value, json};

/// Arguments of `operator rbac`.
#[derive(Debug, Clone, Args)]
pub struct Arguments {
    /// Namespaces whose pipelines are run: a Role in each. May be repeated.
    #[arg(long = "namespace", value_name = "NAMESPACE", required_unless_present = "cluster")]
    pub namespaces: Vec<String>,
    /// A ClusterRole instead, for `operator run --all-namespaces`.
    #[arg(long, conflicts_with = "namespaces")]
    pub cluster: bool,
    /// Namespace that the operator itself runs in; the first --namespace by default.
    #[arg(long, value_name = "NAMESPACE", required_unless_present = "namespaces")]
    pub operator_namespace: Option<String>,
    /// Name of the operator's service account, and of all that is made.
    #[arg(long, value_name = "NAME", default_value = "candles-operator")]
    pub name: String,
    /// Secret that the operator may read; as in `operator run`. May be repeated.
    #[arg(long = "read-secret", value_name = "NAME", value_delimiter = ',')]
    pub read_secrets: Vec<String>,
    /// Name of the Lease; as in `operator run`.
    #[arg(long, value_name = "NAME", default_value = "candles-operator")]
    pub lease_name: String,
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// API group; empty for the core.
    pub group: &'static str,
    /// Resource, with its subresource.
    pub resource: &'static str,
    /// What may be done.
    pub verbs: &'static [&'static str],
}

const fn rule(group: &'static str, resource: &'static str, verbs: &'static [&'static str]) -> Rule {
    Rule { group, resource, verbs }
}

/// In the namespaces of pipelines.
pub const RULES: [Rule; 11] = [
    // Pipelines are watched, and read again at each pass; the finalizer is a patch.
    rule("candles.dev", "candlepipelines", &["get", "list", "watch", "patch"]),
    rule("candles.dev", "candlepipelines/status", &["patch"]),
    // Where owners may block deletion only with this right (OwnerReferencesPermissionEnforcement).
    rule("candles.dev", "candlepipelines/finalizers", &["update"]),
    // Children are watched to revert outside edits. Server-side apply needs create for what does not exist yet.
    rule("apps", "deployments", &["get", "list", "watch", "create", "patch"]),
    // Deleted when a dashboard is not wanted any more.
    rule("", "configmaps", &["get", "list", "watch", "create", "patch", "delete"]),
    rule("", "serviceaccounts", &["get", "list", "watch", "create", "patch"]),
    rule("networking.k8s.io", "networkpolicies", &["get", "list", "watch", "create", "patch"]),
    rule("policy", "poddisruptionbudgets", &["get", "list", "watch", "create", "patch"]),
    // Only where the kind exists; not watched.
    rule("monitoring.coreos.com", "podmonitors", &["get", "create", "patch", "delete"]),
    rule("events.k8s.io", "events", &["create", "patch"]),
    // To stand back from topics that Strimzi governs; asked for only where the kind exists.
    rule("kafka.strimzi.io", "kafkatopics", &["list"]),
];

/// In the operator's own namespace.
pub const LEASE_RULES: [Rule; 2] = [
    rule("coordination.k8s.io", "leases", &["create"]),
    // Of its own Lease only.
    rule("coordination.k8s.io", "leases", &["get", "patch"]),
];

/// In the namespaces of pipelines, for the Secrets that the user names.
pub const SECRET_RULE: Rule = rule("", "secrets", &["get"]);

/// The manifest, as YAML documents.
pub fn manifest(arguments: &Arguments) -> anyhow::Result<String> {
    let name = &arguments.name;
    let first = arguments.namespaces.first();
    let own = arguments.operator_namespace.as_ref().or(first).map_or("default", String::as_str);
    let mut rules: Vec<Value> = RULES.iter().map(|rule| to_json(rule, &[])).collect();
    if !arguments.read_secrets.is_empty() {
        rules.push(to_json(&SECRET_RULE, &arguments.read_secrets));
    }
    let [create, keep] = &LEASE_RULES;
    let lease_rules = vec![to_json(create, &[]), to_json(keep, std::slice::from_ref(&arguments.lease_name))];
    let mut objects = vec![json!({
        "apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": own},
    })];
    if arguments.cluster {
        objects.extend(role("ClusterRole", name, None, &rules, own, name));
    }
    for namespace in &arguments.namespaces {
        objects.extend(role("Role", name, Some(namespace), &rules, own, name));
    }
    objects.extend(role("Role", &format!("{name}-lease"), Some(own), &lease_rules, own, name));
    let documents: Result<Vec<String>, _> = objects.iter().map(serde_yaml::to_string).collect();
    Ok(documents?.join("---\n"))
}

/// A role and its binding to the operator's service account.
fn role(
    kind: &str,
    name: &str,
    namespace: Option<&str>,
    rules: &[Value],
    own: &str,
    account: &str,
) -> [Value; 2] {
    let mut metadata = json!({"name": name});
    if let Some(namespace) = namespace {
        metadata["namespace"] = json!(namespace);
    }
    let api = "rbac.authorization.k8s.io";
    [
        json!({"apiVersion": format!("{api}/v1"), "kind": kind, "metadata": metadata, "rules": rules}),
        json!({
            "apiVersion": format!("{api}/v1"), "kind": format!("{kind}Binding"), "metadata": metadata,
            "roleRef": {"apiGroup": api, "kind": kind, "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": own}],
        }),
    ]
}

fn to_json(rule: &Rule, names: &[String]) -> Value {
    let mut value = json!({"apiGroups": [rule.group], "resources": [rule.resource], "verbs": rule.verbs});
    if !names.is_empty() {
        value["resourceNames"] = json!(names);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(namespaces: &[&str], cluster: bool) -> Arguments {
        Arguments {
            namespaces: namespaces.iter().map(|&namespace| namespace.to_owned()).collect(),
            cluster,
            operator_namespace: Some("ops".to_owned()),
            name: "candles-operator".to_owned(),
            read_secrets: Vec::new(),
            lease_name: "candles-operator".to_owned(),
        }
    }

    #[test]
    fn nothing_dangerous_is_granted() {
        let triples: usize = RULES.iter().chain(&LEASE_RULES).map(|rule| rule.verbs.len()).sum();
        assert!(triples <= 50, "{triples} (group, resource, verb) triples");
        for text in [arguments(&["a", "b"], false), arguments(&[], true)].map(|a| manifest(&a).unwrap()) {
            for word in
                ["secrets", "pods", "nodes", "'*'", "escalate", "bind\n", "impersonate", "customresource"]
            {
                assert!(!text.contains(word), "{word} in:\n{text}");
            }
        }
    }

    #[test]
    fn secrets_are_read_by_name_and_only_where_asked_for() {
        let mut arguments = arguments(&["a"], false);
        arguments.read_secrets = vec!["influxdb".to_owned(), "kafka".to_owned()];
        let text = manifest(&arguments).unwrap();
        let granted = "  resourceNames:\n  - influxdb\n  - kafka\n";
        assert_eq!((text.matches("secrets").count(), text.matches(granted).count()), (1, 1), "{text}");
    }

    #[test]
    fn a_role_in_each_namespace_or_one_for_the_cluster() {
        let text = manifest(&arguments(&["a", "b"], false)).unwrap();
        assert_eq!(
            (text.matches("kind: Role\n").count(), text.matches("ClusterRole").count()),
            (3 + 3, 0),
            "{text}"
        );
        let text = manifest(&arguments(&[], true)).unwrap();
        assert!(
            text.contains("kind: ClusterRole\n") && text.contains("kind: ClusterRoleBinding\n"),
            "{text}"
        );
        assert!(text.contains("resourceNames:\n  - candles-operator"), "{text}");
    }
}
