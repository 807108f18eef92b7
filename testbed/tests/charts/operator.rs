//! The chart of the operator, against the operator itself: its definition, its roles, its arguments, its files.

use std::process::Command;

use candles_operator::process::release;
use candles_testbed::servers::worker;
use serde_json::{Map, Value, json};

use crate::chart::{Objects, ROOT, cases, documents, folder, objects};

const DEFINITION: &str = "files/candlepipelines.candles.dev.yaml";

fn operator(args: &[&str]) -> String {
    let output = Command::new(worker::binary("operator").unwrap()).args(args).output().unwrap();
    assert!(output.status.success(), "operator {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn all() -> String {
    cases("candles").into_iter().find(|(name, _)| name == "all").unwrap().1
}

fn arguments(objects: &Objects, name: &str) -> Vec<String> {
    arguments_of(objects.get("Deployment", name))
}

fn arguments_of(workload: &Value) -> Vec<String> {
    let args = &workload["spec"]["template"]["spec"]["containers"][0]["args"];
    args.as_array().unwrap().iter().map(|arg| arg.as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_definition_is_the_operators() {
    let made = operator(&["crd"]);
    crate::chart::assert_file(&folder("candles").join(DEFINITION), &made);
    let expected = documents(&made).remove(0);
    let rendered =
        |values: &str| objects("candles", values).of_kind("CustomResourceDefinition").next().cloned();
    let mut found = rendered("").unwrap();
    assert_eq!(found["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
    let metadata = found["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| key == "name");
    assert_eq!(found["metadata"], json!({"name": "candlepipelines.candles.dev"}));
    assert_eq!(numbers_alike(&found["spec"]), numbers_alike(&expected["spec"]));
    let dropped = rendered("crds: {keep: false, annotations: {a: b}}").unwrap();
    assert_eq!(dropped["metadata"]["annotations"], json!({"a": "b"}));
    assert_eq!(rendered("crds: {install: false}"), None);
}

/// helm writes 1.0 as 1.
fn numbers_alike(value: &Value) -> Value {
    match value {
        Value::Object(members) => members
            .iter()
            .map(|(key, value)| (key.clone(), numbers_alike(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(items) => items.iter().map(numbers_alike).collect::<Vec<_>>().into(),
        Value::Number(number) => json!(number.as_f64()),
        other => other.clone(),
    }
}

/// Made for a moment, when the release goes.
fn is_hook(object: &Value) -> bool {
    !object["metadata"]["annotations"]["helm.sh/hook"].is_null()
}

/// Roles and bindings of the operator, in order, without labels and annotations.
fn roles(objects: &[Value]) -> Vec<Value> {
    let mut found: Vec<Value> = objects
        .iter()
        .filter(|object| object["kind"].as_str().unwrap().contains("Role") && !is_hook(object))
        .map(|object| {
            let mut object = object.clone();
            let metadata = object["metadata"].as_object_mut().unwrap();
            metadata.retain(|key, _| key == "name" || key == "namespace");
            object
        })
        .collect();
    found.sort_by_key(|object| {
        [&object["kind"], &object["metadata"]["namespace"], &object["metadata"]["name"]].map(Value::to_string)
    });
    found
}

#[test]
fn roles_are_those_that_the_operator_prints() {
    let cases: [(&str, &[&str]); 5] = [
        ("", &["--namespace=ops"]),
        ("watchNamespaces: [b, a]", &["--namespace=a", "--namespace=b"]),
        ("watchAllNamespaces: true", &["--cluster"]),
        ("readSecrets: [b, a]", &["--namespace=ops", "--read-secret=b", "--read-secret=a"]),
        ("leaderElection: {leaseName: chosen}", &["--namespace=ops", "--lease-name=chosen"]),
    ];
    for (values, args) in cases {
        let mut command = vec!["rbac", "--operator-namespace=ops", "--name=candles-operator"];
        if !values.contains("leaseName") {
            command.push("--lease-name=candles-operator");
        }
        command.extend(args);
        let expected = roles(&documents(&operator(&command)));
        assert!(expected.len() >= 4, "{expected:?}");
        assert_eq!(roles(&objects("candles", values).0), expected, "{values}");
    }
    assert_eq!(roles(&objects("candles", "rbac: {create: false}").0), Vec::<Value>::new());
}

/// The Job of `helm uninstall` may do what it does, in the namespaces that the operator watched, and nothing else.
#[test]
fn the_job_that_releases_pipelines_has_the_rights_that_it_needs() {
    let cases: [(&str, &[&str]); 3] =
        [("", &["ops"]), ("watchNamespaces: [b, a]", &["a", "b"]), ("watchAllNamespaces: true", &[])];
    for (values, namespaces) in cases {
        let rendered = objects("candles", values);
        let hooks: Vec<&Value> = rendered
            .0
            .iter()
            .filter(|object| object["metadata"]["annotations"]["helm.sh/hook"] == "post-delete")
            .collect();
        let mut found: Vec<(Option<&str>, Value)> = hooks
            .iter()
            .filter(|hook| hook["rules"].is_array())
            .map(|hook| (hook["metadata"]["namespace"].as_str(), hook["rules"].clone()))
            .collect();
        let lease = rendered.get("Role", "candles-operator-lease")["rules"].clone();
        let [rule] = release::RULES;
        let own = json!([{"apiGroups": [rule.group], "resources": [rule.resource], "verbs": rule.verbs}]);
        let mut expected: Vec<(Option<&str>, Value)> =
            namespaces.iter().map(|namespace| (Some(*namespace), own.clone())).collect();
        if namespaces.is_empty() {
            expected.push((None, own));
        }
        expected.push((Some("ops"), lease));
        for list in [&mut found, &mut expected] {
            list.sort_by_key(|(namespace, rules)| (namespace.map(str::to_owned), rules.to_string()));
        }
        assert_eq!(found, expected, "{values}");
        let job = hooks.iter().find(|hook| hook["kind"] == "Job").unwrap();
        let account = &job["spec"]["template"]["spec"]["serviceAccountName"];
        for binding in hooks.iter().filter(|hook| hook["subjects"].is_array()) {
            assert_eq!(&binding["subjects"][0]["name"], account);
            let (role, namespace) = (&binding["roleRef"], &binding["metadata"]["namespace"]);
            assert!(hooks.iter().any(|hook| hook["kind"] == role["kind"]
                && hook["metadata"]["name"] == role["name"]
                && hook["metadata"]["namespace"] == *namespace));
        }
        // It competes for the operator's own lease, so that it begins after the operator has ended.
        let lease = |workload: &Value| {
            let args = arguments_of(workload);
            args.into_iter().filter(|arg| arg.starts_with("--lease")).collect::<Vec<_>>()
        };
        assert_eq!(lease(job), lease(rendered.get("Deployment", "candles-operator")));
        assert_eq!(lease(job).len(), 2);
    }
    for values in ["releaseOnUninstall: false", "rbac: {create: false}", "serviceAccount: {create: false}"] {
        let rendered = objects("candles", values);
        let left = rendered.0.iter().filter(|object| is_hook(object) && object["kind"] != "Pod").count();
        assert_eq!(left, 0, "{values}");
    }
}

#[test]
fn the_operator_understands_its_arguments() {
    for (case, values) in cases("candles") {
        let rendered = objects("candles", &values);
        let parse = |args: &[String]| {
            // Help is printed once everything before it is understood.
            let program = worker::binary("operator").unwrap();
            Command::new(program).args(args).arg("--help").output().unwrap().status.success()
        };
        for workload in rendered.of_kind("Deployment").chain(rendered.of_kind("Job")) {
            let args = arguments_of(workload);
            assert!(parse(&args), "{case}: {args:?}");
            let misspelt: Vec<String> =
                args.iter().map(|arg| arg.replace("--lease-name", "--lease-nam")).collect();
            assert!(!parse(&misspelt), "{case}");
        }
    }
}

#[test]
fn images_and_pull_secrets_reach_the_workers() {
    let args = arguments(&objects("candles", &all()), "ops");
    let digest = |letter: &str| letter.repeat(64);
    for expected in [
        format!("--producer-image=registry.example.com/team/candles-producer@sha256:{}", digest("b")),
        "--consumer-image=mirror.example.com/candles/consumer:9.9.9".to_owned(),
        "--image-pull-policy=never".to_owned(),
        "--image-pull-secret=registry,mirror".to_owned(),
        "--namespace=markets,research".to_owned(),
        "--lease-name=chosen".to_owned(),
        "--lease-namespace=ops".to_owned(),
        "--log-format=text".to_owned(),
        "--kafka-listed-only".to_owned(),
        "--read-secret=influxdb,kafka-login".to_owned(),
    ] {
        assert!(args.contains(&expected), "{expected} in {args:?}");
    }
    let args = arguments(&objects("candles", ""), "candles-operator");
    for expected in [
        "--namespace=ops",
        "--producer-image=candles-producer:0.1.0",
        "--consumer-image=candles-consumer:0.1.0",
        "--image-pull-policy=if-not-present",
    ] {
        assert!(args.contains(&expected.to_owned()), "{expected} in {args:?}");
    }
    assert!(!args.iter().any(|arg| arg.contains("pull-secret") || arg.contains("kafka")), "{args:?}");
    let args = arguments(&objects("candles", "watchAllNamespaces: true"), "candles-operator");
    assert!(
        args.contains(&"--all-namespaces".to_owned()) && !args.iter().any(|arg| arg.contains("--namespace="))
    );
}

#[test]
fn logins_are_files_that_the_operator_finds_and_reads() {
    let rendered = objects("candles", &all());
    let file = rendered.get("ConfigMap", "ops-kafka")["data"]["clusters.yaml"].as_str().unwrap();
    let clusters = documents(file).remove(0);
    let secrets = "/etc/candles-operator/secrets";
    assert_eq!(
        clusters["clusters"][0],
        json!({
            "bootstrapServers": "kafka-0.kafka:9093,kafka-1.kafka:9093",
            "tls": {"caFile": format!("{secrets}/kafka-ca/ca.crt")},
            "sasl": {
                "mechanism": "SCRAM-SHA-512", "username": "candles-operator",
                "password": {"file": format!("{secrets}/kafka-operator/password")},
            },
        })
    );
    assert_eq!(clusters["clusters"][2], json!({"bootstrapServers": "plain:9092"}));
    // Every file that is named is mounted.
    let pod = &rendered.get("Deployment", "ops")["spec"]["template"]["spec"];
    let volume =
        |name: &str| pod["volumes"].as_array().unwrap().iter().find(|volume| volume["name"] == name).unwrap();
    let sources = volume("kafka-secrets")["projected"]["sources"].as_array().unwrap();
    let mounted: Vec<String> = sources
        .iter()
        .map(|source| {
            let (name, item) = (source["secret"]["name"].as_str().unwrap(), &source["secret"]["items"][0]);
            assert_eq!(item["path"], format!("{name}/{}", item["key"].as_str().unwrap()));
            format!("{secrets}/{}", item["path"].as_str().unwrap())
        })
        .collect();
    let mut named: Vec<&str> = file.split_whitespace().filter(|word| word.starts_with(secrets)).collect();
    named.sort_unstable();
    named.dedup();
    assert_eq!(named.len(), 4, "{named:?}");
    assert!(
        named.iter().all(|file| mounted.iter().any(|mounted| mounted == file)),
        "{named:?} in {mounted:?}"
    );
    assert_eq!(mounted.len(), 4, "a Secret that is named twice is mounted once");
    let mounts = pod["containers"][0]["volumeMounts"].as_array().unwrap();
    assert!(mounts.iter().any(|mount| mount["mountPath"] == secrets && mount["readOnly"] == true));
    assert_eq!(volume("kafka")["configMap"]["name"], "ops-kafka");
    // The operator takes the file for a good one: what it complains of is that there is no cluster.
    let folder = tempfile::tempdir().unwrap();
    let end = |text: &str| {
        let path = folder.path().join("clusters.yaml");
        std::fs::write(&path, text).unwrap();
        let mut run = Command::new(worker::binary("operator").unwrap());
        run.args(["run", "--http-address=127.0.0.1:0", "--kafka-clusters"]).arg(path);
        let none = folder.path().join("none");
        run.env("KUBECONFIG", none).env_remove("KUBERNETES_SERVICE_HOST").output().unwrap().status.code()
    };
    assert_eq!(end(file), Some(1));
    assert_eq!(end(&file.replace("caFile", "caFiles")), Some(2));
}

#[test]
fn what_is_set_reaches_the_pod() {
    let rendered = objects("candles", &all());
    let deployment = rendered.get("Deployment", "ops");
    assert_eq!(deployment["spec"]["replicas"], 2);
    let template = &deployment["spec"]["template"];
    assert_eq!(template["metadata"]["labels"]["tier"], "control");
    assert_eq!(template["metadata"]["annotations"]["example.com/scrape"], "no");
    let pod = &template["spec"];
    assert_eq!(pod["serviceAccountName"], "robot");
    assert_eq!(pod["priorityClassName"], "system-cluster-critical");
    assert_eq!(pod["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
    assert_eq!(pod["tolerations"][0]["key"], "dedicated");
    assert!(pod["affinity"]["nodeAffinity"].is_object() && pod["affinity"]["podAntiAffinity"].is_null());
    assert_eq!(pod["topologySpreadConstraints"][0]["maxSkew"], 1);
    assert_eq!(pod["imagePullSecrets"], json!([{"name": "registry"}, {"name": "mirror"}]));
    let container = &pod["containers"][0];
    assert!(
        container["image"]
            .as_str()
            .unwrap()
            .starts_with("registry.example.com/team/candles-operator@sha256:a")
    );
    let env = container["env"].as_array().unwrap();
    assert!(env.contains(&json!({"name": "HTTPS_PROXY", "value": "http://proxy:3128"})));
    assert!(env.contains(&json!({"name": "RUST_LOG", "value": "info,candles_operator=debug"})));
    assert_eq!(container["envFrom"][0]["configMapRef"]["name"], "more");
    assert!(container["volumeMounts"].as_array().unwrap().iter().any(|mount| mount["name"] == "ca"));
    assert!(pod["volumes"].as_array().unwrap().iter().any(|volume| volume["name"] == "ca"));
    assert_eq!(
        rendered.get("ServiceAccount", "robot")["metadata"]["annotations"]["example.com/role"],
        "operator"
    );
    assert_eq!(rendered.get("PodMonitor", "ops")["metadata"]["labels"]["release"], "prometheus");
    assert_eq!(rendered.get("PodMonitor", "ops")["spec"]["podMetricsEndpoints"][0]["interval"], "10s");
    let dashboard = rendered.get("ConfigMap", "ops-dashboard");
    assert_eq!(dashboard["metadata"]["labels"]["grafana"], "yes");
    assert_eq!(dashboard["metadata"]["annotations"]["grafana_folder"], "Candles");
    rendered.get("ConfigMap", "plain");
    rendered.get("ConfigMap", "candles-templated");
    assert_eq!(rendered.get("Service", "ops")["metadata"]["labels"]["team"], "markets");
    assert_eq!(rendered.get("Service", "ops")["metadata"]["annotations"]["example.com/owner"], "markets");
}

#[test]
fn what_is_switched_off_is_not_there() {
    let minimal = cases("candles").into_iter().find(|(name, _)| name == "minimal").unwrap().1;
    assert_eq!(
        objects("candles", &minimal).names(),
        ["Service candles-operator", "Deployment candles-operator", "Pod candles-operator-test"]
    );
    let rendered = objects("candles", "");
    assert!(rendered.find("PodMonitor", "candles-operator").is_none());
    assert!(rendered.find("ConfigMap", "candles-operator-dashboard").is_none());
    for kind in ["PodDisruptionBudget", "NetworkPolicy", "Service", "Deployment"] {
        rendered.get(kind, "candles-operator");
    }
}

#[test]
fn a_new_version_of_the_chart_alone_restarts_nothing() {
    for chart in crate::chart::CHARTS {
        let version = std::fs::read_to_string(folder(chart).join("Chart.yaml")).unwrap();
        let version = documents(&version).remove(0)["version"].as_str().unwrap().to_owned();
        for object in objects(chart, "").0.iter().filter(|object| object["spec"]["template"].is_object()) {
            let metadata = object["spec"]["template"]["metadata"].to_string();
            assert!(!metadata.contains(&version) && !metadata.contains("helm.sh"), "{metadata}");
        }
    }
}

#[test]
fn the_charts_have_the_version_of_the_workspace() {
    let manifest = std::fs::read_to_string(ROOT.join("Cargo.toml")).unwrap();
    let version =
        manifest.split("[workspace.package]\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    for chart in crate::chart::CHARTS {
        let text = std::fs::read_to_string(folder(chart).join("Chart.yaml")).unwrap();
        let about = documents(&text).remove(0);
        assert_eq!((&about["version"], &about["appVersion"]), (&json!(version), &json!(version)), "{chart}");
    }
}
