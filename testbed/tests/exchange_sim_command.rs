//! The `exchange-sim` command: starts, tells its URLs, serves, ends with the documented exit codes.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_exchange-sim"))
}

#[tokio::test]
async fn it_serves_and_logs_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("truth.jsonl");
    let mut child = command()
        .args(["--symbols", "tBTCUSD,tETHUSD", "--rate", "50", "--speed", "20", "--for", "1", "--truth-log"])
        .arg(&log)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let urls: serde_json::Value = serde_json::from_str(&line).unwrap();
    let page = format!("{}/trades/tBTCUSD/hist?limit=3", urls["rest_url"].as_str().unwrap());
    let rows: serde_json::Value = reqwest::get(page).await.unwrap().json().await.unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 3);
    assert!(child.wait().unwrap().success());
    assert!(std::fs::read_to_string(log).unwrap().lines().count() > 200);
}

#[test]
fn it_refuses_to_serve_nothing() {
    let output = command().output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--symbols"));
}
