//! `candlectl` on the real servers: three brokers, a registry, InfluxDB, the real producer and consumers. `make e2e`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod watched_demo;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use candles_testbed::exchange::{ClockMode, Market, SimConfig, Simulator, SyntheticSymbol};
use candles_testbed::servers::{Testbed, Worker, shared, worker};
use serde_json::Value;

use watched_demo::Demo;

const PATIENCE: Duration = Duration::from_secs(120);

fn candlectl(arguments: &[&str], config: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlectl"));
    command.args(arguments).arg("--config").arg(config).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs it again until it ends as wanted.
async fn until(arguments: &[&str], config: &Path, wanted: impl Fn(&Output) -> bool) -> Output {
    let begun = Instant::now();
    loop {
        let output = candlectl(arguments, config);
        if wanted(&output) {
            return output;
        }
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(begun.elapsed() < PATIENCE, "candlectl {arguments:?}: {}\n{out}\n{err}", output.status);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn yaml(bed: &Testbed, sim: &Simulator, topic: &str, token: &Path) -> String {
    format!(
        "exchange:\n  name: bitfinex\n  symbols: [tBTCUSD]\n  websocketUrl: {}\n  restUrl: {}\n\
         kafka: {{bootstrapServers: '{}'}}\n\
         schemaRegistry: {{url: '{}'}}\n\
         topic: {{name: {topic}}}\n\
         producer: {{backfill: 2m}}\n\
         candles: {{intervals: [1s, 10s], lateness: 1s}}\n\
         influxdb: {{url: '{}', organization: '{}', bucket: '{topic}', token: {{file: '{}'}}}}\n",
        sim.ws_url(),
        sim.rest_url(),
        bed.kafka.bootstrap(),
        bed.apicurio.url(),
        bed.influxdb.url(),
        bed.influxdb.org(),
        token.display(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_and_pages_tell_what_real_servers_hold() {
    let bed = shared::lease().await.unwrap();
    let name = "candlectl";
    let rf3 = [("min.insync.replicas", "2"), ("retention.ms", "604800000")];
    bed.kafka.create_topic(name, 3, 3, &rf3).await.unwrap();
    bed.kafka.create_topic(&format!("{name}-dlq"), 1, 3, &rf3).await.unwrap();
    bed.influxdb.create_bucket(name).await.unwrap();
    let sim = Simulator::start(SimConfig {
        markets: vec![Market::Synthetic(SyntheticSymbol::new("tBTCUSD", 20.0))],
        clock: ClockMode::Speed(5.0),
        ..SimConfig::default()
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, bed.influxdb.token()).unwrap();
    let (text, config) = (yaml(&bed, &sim, name, &token), folder.path().join("pipeline.yaml"));
    std::fs::write(&config, &text).unwrap();
    let start = |binary: &str, worker_name: &str| {
        Worker::start(&worker::binary(binary).unwrap(), worker_name, &text, &[], bed.run_dir()).unwrap()
    };
    let workers = [
        start("producer", "cli-producer"),
        start("consumer", "cli-consumer-1"),
        start("consumer", "cli-consumer-2"),
    ];
    for worker in &workers {
        worker.wait_ready().await.unwrap();
    }

    // The pages while the market trades.
    let mut command = Command::new(env!("CARGO_BIN_EXE_candlectl"));
    let command = command.args(["ui", "--address", "127.0.0.1:0", "--config"]).arg(&config);
    let mut pages = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut reader = std::io::BufReader::new(pages.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut reader, &mut line).unwrap();
    let base = line.trim().to_owned();
    let ask = async |path: &str| {
        let answer = reqwest::get(format!("{base}api/{path}")).await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    until(&["chart", "-o", "json"], &config, |output| output.status.success()).await;
    let topics = ask("topics").await;
    let own = topics.as_array().unwrap().iter().find(|topic| topic["name"] == name).unwrap();
    assert_eq!((own["partitions"].as_array().unwrap().len(), &own["outOfSync"]), (3, &0.into()), "{own}");
    assert_eq!(own["partitions"][0]["inSync"].as_array().unwrap().len(), 3);
    let settings = ask(&format!("topics/{name}/settings")).await;
    let of = |key: &str| settings.as_array().unwrap().iter().find(|setting| setting["name"] == key).unwrap();
    assert_eq!(
        (&of("min.insync.replicas")["value"], &of("retention.ms")["own"]),
        (&"2".into(), &true.into())
    );
    let groups = ask("groups").await;
    let group =
        groups["groups"].as_array().unwrap().iter().find(|group| group["id"] == format!("candles-{name}"));
    let members = group.unwrap()["members"].as_array().unwrap();
    assert_eq!(members.len(), 2, "{groups}");
    let assigned: usize = members.iter().map(|member| member["assigned"].as_array().unwrap().len()).sum();
    assert_eq!(assigned, 3, "{groups}");
    assert_ne!(members[0]["clientId"], members[1]["clientId"]);
    assert!(ask("candles?symbol=tBTCUSD&interval=1s").await.as_array().unwrap().len() > 10);
    let schemas = ask("schemas").await;
    assert!(
        schemas.as_array().unwrap().iter().any(|found| found["subject"] == format!("{name}-value")),
        "{schemas}"
    );
    pages.kill().unwrap();
    pages.wait().unwrap();

    // The commands, once everything that happened is stored.
    sim.pause_market();
    until(&["lag", "-o", "json"], &config, |output| output.status.success() && json(output)["lag"] == 0)
        .await;
    let lag = json(&candlectl(&["lag", "-o", "json"], &config));
    assert_eq!((&lag["state"], lag["members"].as_array().unwrap().len()), (&"Stable".into(), 2));
    let peeked = candlectl(&["peek", "--all", "-o", "json"], &config);
    let peeked = String::from_utf8(peeked.stdout).unwrap();
    let trades = peeked.lines().filter(|line| line.contains(r#""kind":"avro""#)).count() as u64;
    assert!(trades >= sim.trades_happened(), "{trades}");
    let topic = json(&candlectl(&["topics", name, "-o", "json"], &config));
    assert_eq!(topic["topic"]["partitions"][2]["replicas"].as_array().unwrap().len(), 3);
    let doctor = candlectl(&["doctor"], &config);
    assert!(doctor.status.success(), "{}", String::from_utf8_lossy(&doctor.stdout));
    assert!(candlectl(&["schema", "check"], &config).status.success());

    // Marks go on while the market pauses, and with them final windows.
    let exact = until(&["verify", "-o", "json"], &config, |output| output.status.success()).await;
    assert!(json(&exact)["candles"].as_u64().unwrap() > 10);
    let candles = json(&candlectl(&["chart", "--interval", "10s", "-o", "json"], &config));
    let candle = candles.as_array().unwrap().iter().rfind(|candle| candle["state"] == "final").unwrap();
    let query = format!(
        r#"from(bucket: "{name}") |> range(start: {}, stop: 2200-01-01T00:00:00Z) |> filter(fn: (r) => r._measurement == "candles"
           and r.interval == "10s" and r._field == "close") |> first() |> map(fn: (r) => ({{t: int(v: r._time)}}))"#,
        candle["time"].as_str().unwrap()
    );
    let time_ns = bed.influxdb.query_rows(&query).await.unwrap()[0]["t"].clone();
    let altered = format!("candles,symbol=tBTCUSD,interval=10s high=999999 {time_ns}");
    bed.influxdb.write_lines(name, altered).await.unwrap();
    let different = candlectl(&["verify", "-o", "json"], &config);
    assert_eq!(different.status.code(), Some(1));
    let difference = &json(&different)["differences"][0];
    assert_eq!((&difference["what"], &difference["start"]), (&"high".into(), &candle["time"]));
    assert_eq!(difference["database"], 999_999.0);
    let rebuilt = candlectl(&["rebuild"], &config);
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    until(&["verify"], &config, |output| output.status.success()).await;
    for worker in &workers {
        worker.stop().await.unwrap();
    }
    let nobody = candlectl(&["doctor"], &config);
    assert_eq!(nobody.status.code(), Some(1));
    let said = String::from_utf8(nobody.stdout).unwrap();
    assert!(said.contains("has no members") && said.contains("next: start a consumer"), "{said}");
}

#[test]
fn demo_on_real_servers_shows_final_candles_until_ctrl_c_and_loses_no_trade() {
    let mut demo = Demo::start(&["--real", "--speed", "5", "--address", "127.0.0.1:0"]);
    demo.wait_for_candles_of(&["tBTCUSD", "tETHUSD", "tXRPUSD", "tSOLBTC"]);
    demo.end_by_ctrl_c();
}
