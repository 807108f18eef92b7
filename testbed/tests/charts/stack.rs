//! The chart of the servers: brokers that form one cluster, addresses that agree, secrets that nobody sees.

use std::collections::BTreeMap;
use std::process::Command;

use candles_testbed::servers::artefacts::KAFKA;
use candles_testbed::servers::cache::Cache;
use candles_testbed::servers::install;
use serde_json::{Value, json};

use crate::chart::{Objects, cases, documents, objects, text};

const CHART: &str = "candles-stack";

fn case(wanted: &str) -> Objects {
    objects(CHART, &cases(CHART).into_iter().find(|(name, _)| name == wanted).unwrap().1)
}

fn properties(rendered: &Objects, name: &str) -> BTreeMap<String, String> {
    let text = rendered.get("ConfigMap", name)["data"]["server.properties"].as_str().unwrap();
    let pairs = text.lines().map(|line| line.split_once('=').unwrap());
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn env(container: &Value) -> BTreeMap<String, String> {
    let all = container["env"].as_array().unwrap().iter();
    let pairs =
        all.filter_map(|one| Some((one["name"].as_str()?.to_owned(), one["value"].as_str()?.to_owned())));
    pairs.collect()
}

fn container<'a>(rendered: &'a Objects, kind: &str, name: &str) -> &'a Value {
    &rendered.get(kind, name)["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn three_brokers_survive_the_loss_of_one() {
    let rendered = objects(CHART, "");
    let set = rendered.get("StatefulSet", "stack-kafka");
    assert_eq!(
        (&set["spec"]["replicas"], &set["spec"]["podManagementPolicy"]),
        (&json!(3), &json!("Parallel"))
    );
    let properties = properties(&rendered, "stack-kafka");
    for (key, value) in [
        ("default.replication.factor", "3"),
        ("min.insync.replicas", "2"),
        ("offsets.topic.replication.factor", "3"),
        ("transaction.state.log.replication.factor", "3"),
        ("transaction.state.log.min.isr", "2"),
        ("auto.create.topics.enable", "false"),
    ] {
        assert_eq!(properties[key], value, "{key}");
    }
    let voters: Vec<&str> = properties["controller.quorum.voters"].split(',').collect();
    assert_eq!(voters.len(), 3);
    assert_eq!(voters[2], "2@stack-kafka-2.stack-kafka-headless.ops.svc:9093");
    assert_eq!(rendered.get("Service", "stack-kafka-headless")["spec"]["publishNotReadyAddresses"], true);
    assert_eq!(rendered.get("PodDisruptionBudget", "stack-kafka")["spec"]["maxUnavailable"], 1);
    let minimal = case("minimal");
    let properties = self::properties(&minimal, "stack-kafka");
    assert_eq!((&*properties["default.replication.factor"], &*properties["min.insync.replicas"]), ("1", "1"));
    let pipeline = minimal.get("CandlePipeline", "demo");
    assert_eq!(pipeline["spec"]["topic"], json!({"replicationFactor": 1, "minInSyncReplicas": 1}));
}

#[test]
fn each_broker_is_reached_in_the_cluster_on_this_machine_and_from_others() {
    let rendered = case("all");
    let own = env(container(&rendered, "StatefulSet", "try-kafka"));
    assert_eq!((&*own["LOCAL_PORT"], &*own["EXTERNAL_PORT"]), ("31000", "31100"));
    assert_eq!(own["EXTERNAL_HOST"], "kafka.example.com");
    for (listener, first, port) in [("local", 31000, 9094), ("external", 31100, 9095)] {
        for id in 0..3 {
            let service = rendered.get("Service", &format!("try-kafka-{listener}-{id}"));
            assert_eq!(
                service["spec"]["selector"]["statefulset.kubernetes.io/pod-name"],
                format!("try-kafka-{id}")
            );
            let expected = json!([{"name": listener, "port": port, "targetPort": listener, "nodePort": first + id, "protocol": "TCP"}]);
            assert_eq!(service["spec"]["ports"], expected);
        }
    }
    let listeners = &properties(&rendered, "try-kafka")["listeners"];
    assert_eq!(listeners, "CONTROLLER://:9093,INTERNAL://:9092,LOCAL://:9094,EXTERNAL://:9095");
    let rendered = objects(CHART, "");
    assert!(rendered.find("Service", "stack-kafka-local-0").is_some());
    assert!(rendered.find("Service", "stack-kafka-external-0").is_none(), "not open to others by default");
    let host = container(&rendered, "StatefulSet", "stack-kafka")["env"].as_array().unwrap().clone();
    let host = host.into_iter().find(|one| one["name"] == "EXTERNAL_HOST").unwrap();
    assert_eq!(host["valueFrom"]["fieldRef"]["fieldPath"], "status.hostIP");
}

#[test]
fn settings_of_the_user_reach_the_brokers_as_written() {
    let properties = properties(&case("all"), "try-kafka");
    assert_eq!(properties["log.segment.bytes"], "1073741824");
    assert_eq!(properties["log.retention.ms"], "-1");
}

/// The script and the settings as the pod has them; Kafka's own storage tool, and instead of the broker what it gets.
#[test]
fn the_start_script_formats_a_volume_that_kafka_accepts_and_only_once() {
    let rendered = objects(CHART, "");
    let jars = install::ensure(&Cache::from_env().unwrap(), &KAFKA).unwrap().join("jars");
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir_all(path("home/bin")).unwrap();
    std::fs::create_dir_all(path("config")).unwrap();
    std::fs::create_dir_all(path("run")).unwrap();
    let tool = format!(
        "exec java -Xmx128m -XX:TieredStopAtLevel=1 -cp '{}/*' kafka.tools.StorageTool \"$@\"",
        jars.display()
    );
    for (script, text) in [("kafka-storage.sh", tool.as_str()), ("kafka-server-start.sh", "cat \"$1\"")] {
        let file = path(&format!("home/bin/{script}"));
        std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let config = &rendered.get("ConfigMap", "stack-kafka")["data"];
    let place = |text: &str| {
        let text =
            text.replace("/etc/candles-kafka", &path("config")).replace("/var/lib/kafka", &path("volume"));
        text.replace("/run/kafka", &path("run"))
    };
    for (name, text) in config.as_object().unwrap() {
        std::fs::write(path("config") + "/" + name, place(text.as_str().unwrap())).unwrap();
    }
    let container = container(&rendered, "StatefulSet", "stack-kafka");
    assert_eq!(container["command"], json!(["/bin/sh", "/etc/candles-kafka/start.sh"]));
    let start = || {
        let mut command = Command::new("/bin/sh");
        command.arg(path("config") + "/start.sh").envs(env(container));
        command
            .env("POD_NAME", "stack-kafka-2")
            .env("EXTERNAL_HOST", "192.0.2.7")
            .env("KAFKA_HOME", path("home"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        String::from_utf8(output.stdout).unwrap()
    };
    let first = start();
    assert!(first.contains("Formatting") && first.contains("node.id=2"), "{first}");
    assert!(!first.contains("_PORT@"), "{first}");
    for expected in [
        "INTERNAL://stack-kafka-2.stack-kafka-headless.ops.svc:9092",
        "LOCAL://localhost:30094",
        "EXTERNAL://192.0.2.7:30194",
    ] {
        assert!(first.contains(expected), "{expected} in {first}");
    }
    let meta = std::fs::read_to_string(path("volume/data/meta.properties")).unwrap();
    assert!(meta.contains(&format!("cluster.id={}", env(container)["CLUSTER_ID"])), "{meta}");
    assert!(!start().contains("Formatting"));
}

#[test]
fn the_cluster_id_is_the_releases_own_and_stays() {
    let id = |values: &str| {
        env(container(&objects(CHART, values), "StatefulSet", "stack-kafka"))["CLUSTER_ID"].clone()
    };
    let found = id("");
    assert_eq!(found, id("kafka: {heap: -Xmx300m}"));
    assert!(found.len() == 22 && found.chars().all(|c| c.is_ascii_alphanumeric()), "{found}");
}

#[test]
fn all_parts_name_the_same_addresses() {
    for (name, release) in [("default", "stack"), ("all", "try")] {
        let rendered = case(name);
        let (kafka, registry) =
            (format!("{release}-kafka:9092"), format!("http://{release}-registry:8081/apis/ccompat/v7"));
        let ui = env(container(&rendered, "Deployment", &format!("{release}-kafka-ui")));
        assert_eq!(ui["KAFKA_CLUSTERS_0_BOOTSTRAPSERVERS"], kafka);
        assert_eq!(ui["KAFKA_CLUSTERS_0_SCHEMAREGISTRY"], registry);
        let provisioning = rendered.get("ConfigMap", &format!("{release}-grafana-provisioning"));
        let source = documents(provisioning["data"]["datasources.yaml"].as_str().unwrap()).remove(0);
        assert_eq!(source["datasources"][0]["url"], format!("http://{release}-influxdb:8086"));
        assert_eq!(
            source["datasources"][0]["secureJsonData"]["token"],
            "$__file{/etc/candles-influxdb/token}"
        );
        for (service, port) in [("kafka", 9092), ("registry", 8081), ("influxdb", 8086)] {
            let service = rendered.get("Service", &format!("{release}-{service}"));
            assert_eq!(service["spec"]["ports"][0]["port"], port);
        }
        if let Some(pipeline) = rendered.find("CandlePipeline", "markets") {
            assert_eq!(pipeline["spec"]["kafka"]["bootstrapServers"], kafka);
            assert_eq!(pipeline["spec"]["schemaRegistry"]["url"], registry);
            assert_eq!(pipeline["spec"]["influxdb"]["bucket"], "trades");
            assert_eq!(
                pipeline["spec"]["influxdb"]["tokenSecretRef"],
                json!({"name": "influxdb", "key": "token"})
            );
            assert_eq!(pipeline["spec"]["consumer"]["replicas"], 3);
        }
    }
}

#[test]
fn the_example_names_the_addresses_of_a_release_called_stack() {
    let text = std::fs::read_to_string(crate::chart::ROOT.join("examples/kind.yaml")).unwrap();
    let example = documents(&text).remove(0);
    let made = objects(CHART, "pipeline: {enabled: true}").get("CandlePipeline", "demo").clone();
    for part in ["kafka", "schemaRegistry", "influxdb", "exchange"] {
        assert_eq!(example["spec"][part], made["spec"][part], "{part}");
    }
}

#[test]
fn secrets_are_made_at_random_kept_and_never_shown() {
    let (first, second) = (objects(CHART, ""), objects(CHART, ""));
    let secret = first.get("Secret", "stack-influxdb");
    assert_eq!(secret["metadata"]["annotations"], json!({"helm.sh/resource-policy": "keep"}));
    assert_ne!(secret["data"]["token"], second.get("Secret", "stack-influxdb")["data"]["token"]);
    for object in first.0.iter().filter(|object| object["kind"] != "Secret") {
        for (name, key) in
            [("stack-influxdb", "token"), ("stack-influxdb", "password"), ("stack-grafana", "admin-password")]
        {
            let value = first.get("Secret", name)["data"][key].as_str().unwrap();
            assert!(
                value.len() >= 32 && !object.to_string().contains(value),
                "{}",
                object["metadata"]["name"]
            );
        }
    }
    let own = case("all");
    assert_eq!(own.of_kind("Secret").count(), 0);
    let pod = &own.get("StatefulSet", "try-influxdb")["spec"]["template"]["spec"];
    assert!(
        pod["volumes"].as_array().unwrap().iter().any(|volume| volume["secret"]["secretName"] == "influxdb")
    );
    let variables = env(container(&own, "StatefulSet", "try-influxdb"));
    assert_eq!(variables["DOCKER_INFLUXDB_INIT_ADMIN_TOKEN_FILE"], "/etc/candles-influxdb/token");
    assert_eq!(variables["DOCKER_INFLUXDB_INIT_BUCKET"], "trades");
}

#[test]
fn data_stays_when_the_release_goes() {
    for set in objects(CHART, "").of_kind("StatefulSet") {
        assert_eq!(
            set["spec"]["persistentVolumeClaimRetentionPolicy"],
            json!({"whenDeleted": "Retain", "whenScaled": "Retain"})
        );
        assert_eq!(set["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], "data");
    }
    let rendered = case("minimal");
    assert!(rendered.of_kind("StatefulSet").all(|set| set["spec"]["volumeClaimTemplates"].is_null()));
    assert!(!text(CHART, "").contains("PersistentVolumeClaim\n  kind"));
}

#[test]
fn every_claim_is_mounted_and_every_mount_has_its_volume() {
    for (_, case, rendered) in crate::chart::all_cases() {
        for object in rendered.0.iter().filter(|object| object["spec"]["template"].is_object()) {
            let spec = &object["spec"]["template"]["spec"];
            let named = |list: &Value| -> Vec<String> {
                let items = list.as_array().into_iter().flatten();
                items
                    .map(|one| one["name"].as_str().or(one["metadata"]["name"].as_str()).unwrap().to_owned())
                    .collect()
            };
            let mut volumes = named(&spec["volumes"]);
            volumes.extend(named(&object["spec"]["volumeClaimTemplates"]));
            volumes.sort();
            let mut mounts = named(&spec["containers"][0]["volumeMounts"]);
            mounts.sort();
            mounts.dedup();
            assert_eq!(mounts, volumes, "{case}: {}", object["metadata"]["name"]);
        }
    }
}
