//! The program itself: what it says of wrong arguments, and how it ends.

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

fn operator() -> Command {
    Command::new(env!("CARGO_BIN_EXE_operator"))
}

/// A kubeconfig of an API server that takes connections and never answers.
fn silent_server() -> (std::net::TcpListener, tempfile::NamedTempFile) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = tempfile::NamedTempFile::new().unwrap();
    let address = listener.local_addr().unwrap();
    let text = format!(
        "{{apiVersion: v1, kind: Config, current-context: c, contexts: [{{name: c, context: {{cluster: c, user: u}}}}], \
         clusters: [{{name: c, cluster: {{server: 'http://{address}'}}}}], users: [{{name: u, user: {{}}}}]}}"
    );
    std::fs::write(config.path(), text).unwrap();
    (listener, config)
}

#[test]
fn a_signal_ends_it_while_the_api_server_does_not_answer() {
    let (_listener, config) = silent_server();
    let mut child = operator()
        .args(["run", "--http-address", "127.0.0.1:0", "--log-format", "json"])
        .env("KUBECONFIG", config.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(2));
    assert!(child.try_wait().unwrap().is_none(), "it waits for the API server");
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let asked = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(asked.elapsed() < Duration::from_secs(30), "it does not end");
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut log = String::new();
    child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(status.success(), "{status}: {log}");
    assert!(log.lines().all(|line| line.starts_with('{')), "JSON: {log}");
}

#[test]
fn a_list_of_clusters_that_cannot_be_read_is_said_at_once() {
    let output = operator().args(["run", "--kafka-clusters", "nowhere.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--kafka-clusters: cannot read nowhere.yaml"));
}

#[test]
fn every_flag_is_in_the_help_with_its_variable() {
    let output = operator().args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    for text in [
        "WATCH_NAMESPACES",
        "--all-namespaces",
        "PRODUCER_IMAGE",
        "--kafka-clusters",
        "LEASE_NAME",
        "KUBECONFIG",
        "Exit codes:",
    ] {
        assert!(help.contains(text), "{text} in {help}");
    }
}
