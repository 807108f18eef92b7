//! What holds for both charts, whatever the values.

use serde_json::{Value, json};

use crate::chart::{
    CHARTS, NAMESPACE, all_cases, assert_file, folder, objects, program, refusal, release, run, schemas, text,
};

/// From the oldest that the charts allow to the newest that there are schemas of.
const KUBERNETES: [&str; 8] =
    ["1.30.0", "1.31.0", "1.32.0", "1.33.0", "1.34.0", "1.35.0", "1.36.0", "1.37.0"];
/// Kinds that only operators of others bring.
const FOREIGN: [&str; 2] = ["PodMonitor", "PrometheusRule"];

#[test]
fn helm_lint_finds_nothing() {
    for chart in CHARTS {
        let lint = |values: &str| {
            run(program("helm").args(["lint", "--strict"]).arg(folder(chart)).args(["--values", "-"]), values)
        };
        let output = lint("{}");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        assert!(!lint("unknown: 1").status.success());
    }
}

#[test]
fn every_object_fits_every_kubernetes_version() {
    let folder = tempfile::tempdir().unwrap();
    let definition = objects("candles", "").of_kind("CustomResourceDefinition").next().unwrap().clone();
    let mut schema = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone();
    // What every object has, which a definition need not say.
    for (key, kind) in [("apiVersion", "string"), ("kind", "string"), ("metadata", "object")] {
        schema["properties"][key] = json!({"type": kind});
    }
    close(&mut schema);
    std::fs::write(folder.path().join("candlepipeline-candles-v1alpha1.json"), schema.to_string()).unwrap();
    let mut manifest = String::new();
    for (_, _, objects) in all_cases() {
        for object in &objects.0 {
            manifest.extend(["---\n", &object.to_string(), "\n"]);
        }
    }
    let example = std::fs::read_to_string(crate::chart::ROOT.join("examples/kind.yaml")).unwrap();
    manifest.extend(["---\n", &example]);
    let check = |version: &str, manifest: &str| {
        let mut kubeconform = program("kubeconform");
        kubeconform.args([
            "-strict",
            "-summary",
            "-skip",
            &FOREIGN.join(","),
            "-kubernetes-version",
            version,
        ]);
        for schemas in [&schemas().join("{{ .NormalizedKubernetesVersion }}"), folder.path()] {
            let file = schemas.join("{{ .ResourceKind }}{{ .KindSuffix }}.json");
            kubeconform.arg("-schema-location").arg(file);
        }
        run(&mut kubeconform, manifest)
    };
    for version in KUBERNETES {
        let output = check(version, &manifest);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "Kubernetes {version}:\n{said}");
        // A check that sees nothing is not one.
        let summary = said.lines().last().unwrap();
        assert!(summary.contains("Invalid: 0, Errors: 0, Skipped: 2"), "{summary}");
    }
    for (right, wrong) in [("\"replicas\":2", "\"replcas\":2"), ("symbols", "symbls")] {
        assert!(manifest.contains(right));
        assert!(!check(KUBERNETES[0], &manifest.replace(right, wrong)).status.success(), "{wrong}");
    }
}

/// Refuses what an API server would drop.
fn close(schema: &mut Value) {
    if let Value::Object(members) = schema {
        if members.contains_key("properties") && !members.contains_key("additionalProperties") {
            members.insert("additionalProperties".to_owned(), json!(false));
        }
        members.values_mut().for_each(close);
    } else if let Value::Array(items) = schema {
        items.iter_mut().for_each(close);
    }
}

#[test]
fn every_pod_is_restricted_and_bounded() {
    let mut pods = 0;
    for (chart, case, objects) in all_cases() {
        for (name, pod) in objects.pods() {
            pods += 1;
            let place = format!("{chart}, {case}: {name}");
            let security = &pod["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{place}");
            assert!(security["runAsUser"].as_i64().unwrap() > 0, "{place}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{place}");
            assert_eq!(pod["enableServiceLinks"], false, "{place}");
            for key in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(pod[key].is_null(), "{place}: {key}");
            }
            let has_token = pod["automountServiceAccountToken"] != false;
            let is_operator =
                ["operator", "ops"].iter().any(|end| name.trim_end_matches("-release").ends_with(end));
            assert_eq!(has_token, is_operator, "{place}: token");
            for container in pod["containers"].as_array().unwrap() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], false, "{place}");
                assert_eq!(security["readOnlyRootFilesystem"], true, "{place}");
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{place}");
                for amount in ["memory", "ephemeral-storage"] {
                    assert!(container["resources"]["limits"][amount].is_string(), "{place}: {amount}");
                    assert!(container["resources"]["requests"][amount].is_string(), "{place}: {amount}");
                }
                assert!(container["resources"]["requests"]["cpu"].is_string(), "{place}");
                assert!(container["ports"].as_array().into_iter().flatten().all(|p| p["hostPort"].is_null()));
                // They end by themselves.
                if pod["restartPolicy"] == "Never" {
                    continue;
                }
                for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                    assert!(container[probe].is_object(), "{place}: {probe}");
                }
            }
            for volume in pod["volumes"].as_array().into_iter().flatten() {
                let kinds: Vec<&String> = volume.as_object().unwrap().keys().collect();
                let allowed = ["name", "configMap", "secret", "projected", "emptyDir"];
                assert!(kinds.iter().all(|kind| allowed.contains(&kind.as_str())), "{place}: {kinds:?}");
                assert!(
                    volume["emptyDir"].is_null() || volume["emptyDir"]["sizeLimit"].is_string(),
                    "{place}"
                );
            }
        }
    }
    assert!(pods > 20, "{pods}");
}

#[test]
fn every_image_has_a_version_and_can_have_a_digest() {
    for (chart, case, objects) in all_cases() {
        for (name, pod) in objects.pods() {
            for container in pod["containers"].as_array().unwrap() {
                let image = container["image"].as_str().unwrap();
                let place = format!("{chart}, {case}: {name}: {image}");
                assert!(
                    image.contains("@sha256:") || image.rsplit('/').next().unwrap().contains(':'),
                    "{place}"
                );
                assert!(!image.ends_with(":latest"), "{place}");
            }
        }
    }
    let digest = format!("sha256:{}", "c".repeat(64));
    let stack: String = ["kafka", "registry", "influxdb", "grafana", "kafkaUi"]
        .map(|part| format!("{part}: {{image: {{registry: r.example.com:5000, digest: '{digest}'}}}}\n"))
        .concat();
    for (_, pod) in objects("candles-stack", &stack).pods() {
        let image = pod["containers"][0]["image"].as_str().unwrap();
        assert!(
            image.starts_with("r.example.com:5000/") && image.ends_with(&format!("@{digest}")),
            "{image}"
        );
    }
}

#[test]
fn every_object_says_what_it_belongs_to() {
    for (chart, case, objects) in all_cases() {
        for object in &objects.0 {
            let (labels, name) = (&object["metadata"]["labels"], &object["metadata"]["name"]);
            assert!(labels["app.kubernetes.io/name"].is_string(), "{chart}, {case}: {name}");
            let is_extra = labels["app.kubernetes.io/instance"].is_null() && case == "all";
            if !is_extra {
                assert_eq!(labels["app.kubernetes.io/instance"], release(chart), "{chart}, {case}: {name}");
                assert_eq!(labels["app.kubernetes.io/managed-by"], "Helm", "{chart}, {case}: {name}");
            }
        }
    }
}

#[test]
fn every_selector_selects_the_pods_of_one_workload() {
    for (chart, case, objects) in all_cases() {
        let labels = |object: &Value| match object["spec"]["template"]["metadata"]["labels"].clone() {
            Value::Null if object["kind"] == "Pod" => object["metadata"]["labels"].clone(),
            labels => labels,
        };
        let pods: Vec<Value> = objects.0.iter().map(labels).filter(Value::is_object).collect();
        for object in &objects.0 {
            let spec = &object["spec"];
            let selector = match object["kind"].as_str().unwrap() {
                "Service" => &spec["selector"],
                "NetworkPolicy" => &spec["podSelector"]["matchLabels"],
                "Deployment" | "StatefulSet" | "PodDisruptionBudget" | "PodMonitor" => {
                    &spec["selector"]["matchLabels"]
                }
                _ => continue,
            };
            let mut wanted = selector.as_object().unwrap().clone();
            // Made by the StatefulSet's controller.
            wanted.remove("statefulset.kubernetes.io/pod-name");
            let hits = pods.iter().filter(|pod| wanted.iter().all(|(key, value)| pod[key] == *value)).count();
            assert_eq!(hits, 1, "{chart}, {case}: {} {}", object["kind"], object["metadata"]["name"]);
        }
    }
}

#[test]
fn nothing_needs_a_foreign_kind_by_default() {
    let groups = [
        "v1",
        "apps/v1",
        "policy/v1",
        "networking.k8s.io/v1",
        "rbac.authorization.k8s.io/v1",
        "apiextensions.k8s.io/v1",
        "batch/v1",
    ];
    for chart in CHARTS {
        for object in &objects(chart, "").0 {
            assert!(groups.contains(&object["apiVersion"].as_str().unwrap()), "{}", object["apiVersion"]);
        }
    }
}

#[test]
fn namespaced_objects_name_their_namespace() {
    for (chart, case, objects) in all_cases() {
        let extra = ["plain", "candles-templated"];
        for object in objects.0.iter().filter(|object| {
            !["CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding"]
                .contains(&object["kind"].as_str().unwrap())
                && !extra.contains(&object["metadata"]["name"].as_str().unwrap())
        }) {
            let namespace = object["metadata"]["namespace"].as_str();
            let role = object["kind"].as_str().unwrap().starts_with("Role");
            assert!(namespace == Some(NAMESPACE) || role, "{chart}, {case}: {}", object["metadata"]["name"]);
        }
    }
}

#[test]
fn misspelt_and_impossible_values_are_refused_with_their_place() {
    let cases = [
        ("candles", "replica: 2", "'replica' not allowed"),
        ("candles", "image: {tags: x}", "at '/image': additional properties 'tags' not allowed"),
        ("candles", "replicas: '2'", "at '/replicas': got string, want integer"),
        ("candles", "image: {digest: sha256:12}", "at '/image/digest'"),
        ("candles", "workers: {pullPolicy: Sometimes}", "at '/workers/pullPolicy'"),
        ("candles", "watchNamespaces: [A]", "at '/watchNamespaces/0'"),
        ("candles", "kafka: {clusters: [{servers: k:1}]}", "at '/kafka/clusters/0'"),
        (
            "candles",
            "kafka: {clusters: [{bootstrapServers: k:1, sasl: {mechanism: PLAIN, username: u, password: p}}]}",
            "'password' not allowed",
        ),
        ("candles", "kafka: {listedOnly: true}", "kafka.listedOnly: true needs kafka.clusters"),
        (
            "candles",
            "{watchAllNamespaces: true, watchNamespaces: [a]}",
            "watchAllNamespaces: true needs an empty watchNamespaces",
        ),
        ("candles-stack", "kafka: {replicas: 2}", "at '/kafka/replicas'"),
        ("candles-stack", "influxdb: {token: secret}", "'token' not allowed"),
        ("candles-stack", "kafka: {config: {a: \"1\\nb=2\"}}", "at '/kafka/config/a'"),
    ];
    for (chart, values, expected) in cases {
        let said = refusal(chart, values);
        assert!(said.contains(expected), "{values}: {said}");
    }
}

/// Secrets are made anew each time without a cluster, and the definition has a file of its own.
#[test]
fn default_objects_are_the_golden_ones() {
    for (chart, values) in [("candles", "crds: {install: false}"), ("candles-stack", "")] {
        let made = |line: &str| {
            let key = line.trim_start().split(':').next().unwrap_or_default();
            if ["token", "password", "admin-password"].contains(&key)
                && line.len() > 30
                && !line.contains(['{', '$'])
            {
                format!("{}: (made at install)", line.split(':').next().unwrap_or_default())
            } else {
                line.to_owned()
            }
        };
        let rendered: Vec<String> = text(chart, values).lines().map(made).collect();
        let golden = crate::chart::ROOT.join(format!("testbed/tests/charts/golden/{chart}.yaml"));
        assert_file(&golden, &(rendered.join("\n") + "\n"));
    }
}
