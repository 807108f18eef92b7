//! kind-config.yaml against kind itself, and against the ports that the charts open.

use serde_json::Value;

use crate::chart::{ROOT, cases, documents, objects, program};

fn config() -> String {
    std::fs::read_to_string(ROOT.join("kind-config.yaml")).unwrap()
}

/// kind reads its configuration strictly before it looks for an engine.
fn complaint(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    std::fs::write(&file, config).unwrap();
    let mut kind = program("kind");
    // No engine: nothing is created whatever the machine has.
    kind.args(["create", "cluster", "--config"]).arg(file).env("PATH", folder.path());
    let output = kind.env("KIND_EXPERIMENTAL_PROVIDER", "docker").output().unwrap();
    assert!(!output.status.success());
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn kind_accepts_the_configuration() {
    let said = complaint(&config());
    assert!(said.contains("docker") && !said.contains("config"), "{said}");
    let said = complaint(&config().replace("hostPort", "hostsPort"));
    assert!(said.contains("hostsPort"), "{said}");
}

#[test]
fn one_control_plane_and_three_workers_with_mappings_to_the_ports_of_the_charts() {
    let config = documents(&config()).remove(0);
    let nodes = config["nodes"].as_array().unwrap();
    let roles: Vec<&str> = nodes.iter().map(|node| node["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["control-plane", "worker", "worker", "worker"]);
    let values = cases("candles-stack").into_iter().find(|(name, _)| name == "kind").unwrap().1;
    let rendered = objects("candles-stack", &values);
    let mut open: Vec<i64> = rendered
        .of_kind("Service")
        .flat_map(|service| service["spec"]["ports"].as_array().unwrap())
        .filter_map(|port| port["nodePort"].as_i64())
        .collect();
    open.sort_unstable();
    let mappings = nodes[0]["extraPortMappings"].as_array().unwrap();
    let mut mapped: Vec<i64> =
        mappings.iter().map(|mapping| mapping["containerPort"].as_i64().unwrap()).collect();
    mapped.sort_unstable();
    assert_eq!(mapped, open);
    assert!(mappings.iter().all(|mapping| mapping["listenAddress"] == "127.0.0.1"), "this machine only");
    // Brokers tell clients the port that they are reached by.
    let brokers: Vec<&Value> =
        mappings.iter().filter(|mapping| mapping["containerPort"] == mapping["hostPort"]).collect();
    assert_eq!(brokers.len(), 3);
}
