//! The real servers do what the rest of the project builds on. Needs the programs that `testbed install` names;
//! a server that cannot be had fails these tests, it never skips them.
//! Run by `cargo test -p candles-testbed --test servers`, not by plain `cargo test`.

#![allow(clippy::unwrap_used, reason = "tests and their helpers: a failure is a panic")]

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use candles_testbed::servers::influxdb::Access;
use candles_testbed::servers::kafka::{Cluster, Login, Output};
use candles_testbed::servers::{
    InfluxDb, RUN_DIR_VARIABLE, Registry, RunDir, State, influxdb, process_state, registry, shared,
};
use reqwest::StatusCode;
use serde_json::{Value, json};

const PRODUCER: &str = "org.apache.kafka.tools.ConsoleProducer";
const CONSUMER: &str = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const IN_SYNC: Duration = Duration::from_secs(60);
const RF3: &[(&str, &str)] = &[("min.insync.replicas", "2")];

/// Produces one record per line with acks=all; exit status 0 even where records fail, so callers read it back.
/// The tool's own patience (3 retries of 1.5 s) is shorter than an election.
async fn produce(kafka: &Cluster, topic: &str, lines: &str) -> Output {
    let bootstrap = kafka.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--topic", topic, "--command-property", "acks=all"];
    let patience = ["--message-send-max-retries", "100", "--request-timeout-ms", "3000"];
    let tool = kafka.tool(PRODUCER).args(args).args(patience).stdin(lines);
    tool.limit(Duration::from_secs(180)).run().await.unwrap().success().unwrap()
}

/// Reads records of `topic` from its start until it has `count` or none comes for 10 s, sorted.
async fn consume(kafka: &Cluster, topic: &str, count: usize) -> Vec<String> {
    let (bootstrap, count) = (kafka.bootstrap(), count.to_string());
    let args =
        ["--bootstrap-server", &bootstrap, "--topic", topic, "--from-beginning", "--timeout-ms", "10000"];
    let args = args.into_iter().chain(["--max-messages", &count]);
    let output = kafka.tool(CONSUMER).args(args).run().await.unwrap();
    let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn numbers(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|number| format!("record {number:04}")).collect()
}

#[tokio::test]
async fn all_servers_start_and_java_tools_produce_and_consume() {
    let bed = shared::lease().await.unwrap();
    for (name, time) in &bed.start_times {
        println!("{name} was ready after {:.1} s", time.as_secs_f64());
    }
    assert!(bed.servers().iter().all(|server| server.state() == State::Running));
    bed.kafka.create_topic("java", 3, 3, RF3).await.unwrap();

    let bootstrap = bed.kafka.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--describe", "--topic", "java"];
    let described = bed.kafka.tool(TOPICS).args(args).run().await.unwrap().success().unwrap().stdout;
    for part in ["PartitionCount: 3", "ReplicationFactor: 3", "min.insync.replicas=2"] {
        assert!(described.contains(part), "{part} in {described}");
    }
    let records = numbers(0..50);
    produce(&bed.kafka, "java", &records.join("\n")).await;
    assert_eq!(consume(&bed.kafka, "java", 50).await, records);
}

#[tokio::test]
async fn acknowledged_records_survive_a_killed_broker_that_comes_back() {
    let bed = shared::lease().await.unwrap();
    let kafka = &bed.kafka;
    kafka.create_topic("killed", 3, 3, RF3).await.unwrap();
    produce(kafka, "killed", &numbers(0..20).join("\n")).await;

    kafka.kill(2).unwrap();
    assert_eq!(kafka.broker(2).state(), State::Down);
    let begun = Instant::now();
    produce(kafka, "killed", &numbers(20..40).join("\n")).await;
    println!("produced with one broker of three dead in {:.1} s", begun.elapsed().as_secs_f64());
    let partitions = kafka.partitions("killed").await.unwrap();
    assert!(partitions.iter().all(|partition| !partition.in_sync.contains(&2)), "{partitions:?}");
    assert!(partitions.iter().all(|partition| partition.leader != Some(2)), "{partitions:?}");

    let begun = Instant::now();
    kafka.restart(2).await.unwrap();
    println!("broker ready again in {:.1} s", begun.elapsed().as_secs_f64());
    kafka.wait_in_sync(IN_SYNC).await.unwrap();
    println!("all replicas in sync in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(consume(kafka, "killed", 40).await, numbers(0..40));
}

#[tokio::test]
async fn nothing_is_acknowledged_with_one_broker_of_three_until_the_others_are_back() {
    let bed = shared::lease().await.unwrap();
    let kafka = &bed.kafka;
    kafka.create_topic("two-down", 1, 3, RF3).await.unwrap();
    kafka.kill(1).unwrap();
    kafka.kill(3).unwrap();
    let bootstrap = kafka.bootstrap();
    let args = ["--bootstrap-server", &bootstrap, "--topic", "two-down"];
    let limits =
        ["--request-timeout-ms", "3000", "--message-send-max-retries", "1", "--max-block-ms", "6000"];
    // An idempotent producer that gets no id, since the controllers have no majority, would never give up.
    let properties = ["acks=all", "delivery.timeout.ms=6000", "enable.idempotence=false"];
    let properties = properties.into_iter().flat_map(|property| ["--command-property", property]);
    let output = kafka
        .tool(PRODUCER)
        .args(args)
        .args(limits)
        .args(properties)
        .stdin("unacknowledged")
        .run()
        .await
        .unwrap();
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("TimeoutException") || said.contains("NotEnoughReplicas"), "{said}");

    kafka.broker(1).start().unwrap();
    kafka.broker(3).start().unwrap();
    kafka.wait_ready().await.unwrap();
    kafka.wait_in_sync(IN_SYNC).await.unwrap();
    produce(kafka, "two-down", "acknowledged").await;
    // What was not acknowledged may be there or not.
    let records = consume(kafka, "two-down", 10).await;
    assert!(records.iter().any(|record| record == "acknowledged"), "{records:?}");
}

#[tokio::test]
async fn frozen_broker_loses_its_leadership_and_catches_up_when_thawed() {
    let bed = shared::lease().await.unwrap();
    let kafka = &bed.kafka;
    kafka.create_topic("frozen", 1, 3, RF3).await.unwrap();
    let leader = kafka.partitions("frozen").await.unwrap()[0].leader.unwrap();
    let broker = kafka.broker(usize::try_from(leader).unwrap());
    broker.freeze().unwrap();
    assert_eq!(process_state(broker.pid().unwrap()), Some('T'));
    let begun = Instant::now();
    produce(kafka, "frozen", &numbers(0..5).join("\n")).await;
    println!("produced past a frozen leader in {:.1} s", begun.elapsed().as_secs_f64());
    broker.thaw().unwrap();
    kafka.wait_in_sync(IN_SYNC).await.unwrap();
    assert_eq!(consume(kafka, "frozen", 5).await, numbers(0..5));
}

/// What `TopicCommand --list` says on a SASL_SSL listener: output on success, complaints otherwise.
async fn list_topics(kafka: &Cluster, bootstrap: &str, login: &Login) -> Result<String, String> {
    let config = kafka.client_properties(login).unwrap();
    let mut text = std::fs::read_to_string(&config).unwrap();
    text.push_str("default.api.timeout.ms=8000\nrequest.timeout.ms=8000\n");
    std::fs::write(&config, text).unwrap();
    let config = config.display().to_string();
    let args = ["--bootstrap-server", bootstrap, "--command-config", &config, "--list"];
    let output = kafka.tool(TOPICS).args(args).run().await.unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(format!("{}{}", output.stdout, output.stderr))
    }
}

#[tokio::test]
async fn external_listener_takes_only_the_right_password_ca_and_host_name() {
    let bed = shared::lease().await.unwrap();
    let kafka = &bed.kafka;
    kafka.create_topic("external", 1, 3, RF3).await.unwrap();
    let (external, login) = (kafka.bootstrap_external(), kafka.login());
    let listed = list_topics(kafka, &external, login).await.unwrap();
    assert!(listed.lines().any(|topic| topic == "external"), "{listed}");

    let wrong_password = Login { password: "guess".into(), ..login.clone() };
    let said = list_topics(kafka, &external, &wrong_password).await.unwrap_err();
    assert!(said.contains("SaslAuthenticationException") && said.contains("invalid credentials"), "{said}");

    let other_ca = Login { ca_pem: kafka.other_ca_pem_path().to_owned(), ..login.clone() };
    let said = list_topics(kafka, &external, &other_ca).await.unwrap_err();
    assert!(said.contains("unable to find valid certification path"), "{said}");

    let said = list_topics(kafka, &kafka.bootstrap_wrong_host(), login).await.unwrap_err();
    assert!(said.contains("No subject alternative names matching IP address 127.0.0.1 found"), "{said}");
}

fn trade_schema(fields: &Value) -> Value {
    json!({"schema": json!({"type": "record", "name": "Trade", "fields": fields}).to_string()})
}

async fn post(url: String, body: &Value) -> (StatusCode, Value) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.post(url).json(body).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap_or_default())
}

async fn get(url: String) -> (StatusCode, String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let answer = client.get(url).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn register_and_fetch(registry: &Registry) {
    let first = trade_schema(&json!([{"name": "price", "type": "double"}]));
    let (status, answer) = post(format!("{}/subjects/trades-value/versions", registry.url()), &first).await;
    assert_eq!(status, StatusCode::OK, "{}: {answer}", registry.name());
    let (status, schema) = get(format!("{}/schemas/ids/{}", registry.url(), answer["id"])).await;
    assert_eq!(status, StatusCode::OK);
    assert!(schema.contains("price"), "{}: {schema}", registry.name());
}

#[tokio::test]
async fn registries_register_and_the_one_without_prefix_refuses_an_incompatible_schema() {
    let bed = shared::lease().await.unwrap();
    register_and_fetch(&bed.apicurio).await;
    register_and_fetch(&bed.axonops).await;
    assert!(bed.apicurio.url().ends_with("/apis/ccompat/v7"));
    assert_eq!(bed.axonops.url().matches('/').count(), 2, "{}", bed.axonops.url());

    // A new field without a default: old records cannot be read with it.
    let fields = json!([{"name": "price", "type": "double"}, {"name": "amount", "type": "double"}]);
    let url = format!("{}/subjects/trades-value/versions", bed.axonops.url());
    let (status, answer) = post(url, &trade_schema(&fields)).await;
    assert_eq!(status, StatusCode::CONFLICT, "{answer}");

    // Apicurio keeps what it acknowledged over a kill; AxonOps, in memory, does not.
    bed.apicurio.kill().unwrap();
    bed.axonops.kill().unwrap();
    let begun = Instant::now();
    tokio::try_join!(bed.apicurio.restart(), bed.axonops.restart()).unwrap();
    println!("both registries restarted in {:.1} s", begun.elapsed().as_secs_f64());
    assert_eq!(get(format!("{}/subjects", bed.apicurio.url())).await.1, r#"["trades-value"]"#);
    // An empty list is `null` there, where Confluent's registry has `[]`.
    assert_eq!(get(format!("{}/subjects", bed.axonops.url())).await.1.trim(), "null");
}

async fn values(influxdb: &InfluxDb) -> Vec<String> {
    let query = r#"from(bucket: "prices") |> range(start: 0) |> sort(columns: ["_time"])"#;
    let rows = influxdb.query_rows(query).await.unwrap();
    rows.iter().map(|row| format!("{} {}", row["Coin"], row["_value"])).collect()
}

#[tokio::test]
async fn influxdb_writes_queries_and_keeps_its_data_over_a_kill() {
    let bed = shared::lease().await.unwrap();
    let influxdb = &bed.influxdb;
    influxdb.create_bucket("prices").await.unwrap();
    let lines =
        "trades,Coin=tBTCUSD close_price=101.5 1000000\ntrades,Coin=tBTCUSD close_price=102 2000000\n";
    influxdb.write_lines("prices", lines).await.unwrap();
    assert_eq!(values(influxdb).await, ["tBTCUSD 101.5", "tBTCUSD 102"]);
    let pid = influxdb.pid();
    influxdb.kill().unwrap();
    let error = influxdb.write_lines("prices", lines).await.unwrap_err().to_string();
    assert!(error.contains("influxdb: write to prices: no answer"), "{error}");
    influxdb.restart().await.unwrap();
    assert_ne!(influxdb.pid(), pid);
    assert_eq!(values(influxdb).await.len(), 2);
}

#[tokio::test]
async fn influxdb_refuses_what_a_token_does_not_allow() {
    let bed = shared::lease().await.unwrap();
    let influxdb = &bed.influxdb;
    influxdb.create_bucket("allowed").await.unwrap();
    influxdb.create_bucket("other").await.unwrap();
    let token = influxdb.create_token("allowed", Access::Write).await.unwrap();
    let write = async |bucket: &str| {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/api/v2/write?org={}&bucket={bucket}", influxdb.url(), influxdb.org());
        let request = client.post(url).header("Authorization", format!("Token {}", token.token));
        request.body("m f=1 1").send().await.unwrap().status().as_u16()
    };
    assert_eq!(write("allowed").await, 204);
    // InfluxDB hides buckets that a token may not read.
    assert!([403, 404].contains(&write("other").await));
    influxdb.set_token_active(&token, false).await.unwrap();
    assert!([401, 403].contains(&write("allowed").await));
    influxdb.set_token_active(&token, true).await.unwrap();
    assert_eq!(write("allowed").await, 204);
    influxdb.delete_bucket("allowed").await.unwrap();
    assert_eq!(write("allowed").await, 404);
    influxdb.delete_token(&token).await.unwrap();
    assert_eq!(write("allowed").await, 401);
}

/// Starts this test binary again as a process with two servers, which prints their ids and then does `end`.
fn parent_with_servers(runs: &Path, end: &str) -> (Child, BufReader<ChildStdout>, Vec<u32>) {
    // A shell's background job, as a runner of tests may be, ignores SIGINT, and so would the helper.
    let mut command = Command::new("env");
    command.arg("--default-signal=INT").arg(std::env::current_exe().unwrap());
    command.args(["--exact", "helper_parent_of_servers", "--ignored", "--nocapture"]);
    command.env(RUN_DIR_VARIABLE, runs).env("TESTBED_END", end);
    let mut parent = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut output = BufReader::new(parent.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains("pids ") {
        line.clear();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "the helper ended early");
    }
    let (_, pids) = line.trim().split_once("pids ").unwrap();
    (parent, output, pids.split(' ').map(|pid| pid.parse().unwrap()).collect())
}

#[tokio::test]
#[ignore = "a helper process of children_die_with_their_parent_however_it_ends"]
async fn helper_parent_of_servers() {
    let run = RunDir::new("helper").unwrap();
    run.finish();
    let registry = registry::start_axonops(&run).await.unwrap();
    let influxdb = influxdb::start(&run).await.unwrap();
    influxdb.freeze().unwrap();
    println!("pids {} {}", registry.pid().unwrap(), influxdb.pid().unwrap());
    match std::env::var("TESTBED_END").as_deref() {
        Ok("abort") => std::process::abort(),
        Ok("exit") => std::process::exit(0),
        Ok("panic") => panic!("as asked"),
        _ => tokio::time::sleep(Duration::from_secs(60)).await,
    }
}

/// A process that ends with its test, also when that fails.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // An error: it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_gone(pids: &[u32]) {
    let begun = Instant::now();
    let alive = || {
        let running = |pid: &&u32| process_state(**pid).is_some_and(|state| state != 'Z');
        pids.iter().filter(running).count()
    };
    while alive() > 0 {
        assert!(begun.elapsed() < Duration::from_secs(5), "{} of {pids:?} are still alive", alive());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(signal: &str, pid: u32) {
    let status = Command::new("kill").args([signal, &pid.to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn children_die_with_their_parent_however_it_ends() {
    let runs = tempfile::tempdir().unwrap();
    for end in ["-KILL", "-TERM", "-INT", "abort", "exit", "panic"] {
        let (mut parent, mut output, pids) = parent_with_servers(runs.path(), end);
        assert_eq!(pids.len(), 2);
        if end.starts_with('-') {
            assert_eq!(process_state(pids[1]), Some('T'), "the second server is frozen");
            send(end, parent.id());
        }
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        let status = parent.wait().unwrap();
        assert_eq!(status.signal().is_some(), end.starts_with('-') || end == "abort", "{end}: {status}");
        wait_gone(&pids);
    }
}

/// Runs the `testbed` command with run folders of its own: another `testbed up` may run on this machine.
fn testbed(runs: &Path, args: &[&str]) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let output = command.args(args).env(RUN_DIR_VARIABLE, runs).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn testbed_up_obeys_other_shells_and_leaves_nothing_after_sigkill() {
    let runs = tempfile::tempdir().unwrap();
    let testbed = |args: &[&str]| testbed(runs.path(), args);
    let mut up = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let up = up.env(RUN_DIR_VARIABLE, runs.path()).args(["up", "--json"]);
    let mut up = Ended(up.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let output = BufReader::new(up.0.stdout.take().unwrap());
    let addresses: Value = serde_json::Deserializer::from_reader(output).into_iter().next().unwrap().unwrap();
    let servers = addresses["servers"].as_array().unwrap();
    let pid = |server: &Value| u32::try_from(server["pid"].as_u64().unwrap()).unwrap();
    let mut pids: Vec<u32> = servers.iter().map(pid).collect();
    assert_eq!(pids.len(), 6);

    assert_eq!(testbed(&["freeze", "broker-2"]), (true, "ok: freeze broker-2\n".into()));
    assert_eq!(process_state(pids[1]), Some('T'));
    let status = testbed(&["status"]).1;
    let is_frozen = |line: &str| line.split_whitespace().take(2).eq(["broker-2", "frozen"]);
    assert!(status.lines().any(is_frozen), "{status}");
    assert!(testbed(&["restart", "influxdb"]).0);
    assert_eq!(process_state(pids[5]), None);
    let (ok, said) = testbed(&["kill", "broker-9"]);
    assert!(!ok && said.starts_with("error: no server \"broker-9\"; there are broker-1, "), "{said}");

    let status = testbed(&["status"]).1;
    pids[5] = status.lines().last().unwrap().split_whitespace().nth(2).unwrap().parse().unwrap();
    assert!(process_state(pids[5]).is_some());
    up.0.kill().unwrap();
    up.0.wait().unwrap();
    wait_gone(&pids);
}
