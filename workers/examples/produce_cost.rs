//! What one trade costs the producer's process, from the socket's bytes to the delivery report: CPU and memory of a
//! real `producer` next to the exchange simulator and librdkafka's mock cluster, which run in this process.
//!
//! `produce_cost PRODUCER_BINARY [TRADES_PER_S SYMBOLS SECONDS]`; 0 trades/s: as fast as the sockets take them.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use candles_testbed::{
    doubles::registry::Registry,
    exchange::{ClockMode, Limits, SimConfig, Simulator},
};
use rdkafka::mocking::MockCluster;

/// Three real brokers need about as long to acknowledge a request with acks=all.
const ROUND_TRIP: Duration = Duration::from_millis(3);
const HTTP: &str = "127.0.0.1:18099";

fn main() -> anyhow::Result<()> {
    let argument = |n: usize| std::env::args().nth(n);
    let binary =
        argument(1).ok_or_else(|| anyhow::anyhow!("usage: produce_cost PRODUCER [RATE SYMBOLS SECONDS]"))?;
    let number = |n: usize, default: u64| argument(n).and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rate, symbols, seconds) = (number(2, 20_000), number(3, 10), number(4, 10));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(measure(&binary, rate, symbols, seconds))
}

async fn measure(binary: &str, rate: u64, symbols: u64, seconds: u64) -> anyhow::Result<()> {
    let names: Vec<String> = (0..symbols).map(|i| format!("tA{i:02}USD")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut config = SimConfig { limits: Limits::without_rates(), ..SimConfig::default() };
    if rate == 0 {
        (config.clock, config.hold_until_channels) = (ClockMode::Max, symbols as usize);
    }
    let per_symbol = if rate == 0 { 1_000.0 } else { rate as f64 / symbols as f64 };
    let sim = Simulator::start(config.synthetic(&names, per_symbol)).await?;
    let cluster = MockCluster::new(3)?;
    cluster.create_topic("trades", 3, 3)?;
    for broker in 1..=3 {
        cluster.broker_round_trip_time(broker, ROUND_TRIP)?;
    }
    let registry = Registry::start().await?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("pipeline.yaml");
    std::fs::write(
        &path,
        format!(
            "exchange: {{name: bitfinex, symbols: [{}], websocketUrl: '{}', restUrl: '{}', limits: {{connectsPerMinute: 999, historyRequestsPerMinute: 999}}}}\n\
             kafka: {{bootstrapServers: '{}'}}\nschemaRegistry: {{url: '{}'}}\ntopic: {{name: trades}}\nproducer: {{backfill: 1s}}\n",
            names.join(", "),
            sim.ws_url(),
            sim.rest_url(),
            cluster.bootstrap_servers(),
            registry.url(),
        ),
    )?;
    let mut producer =
        Command::new(binary).arg("--config").arg(&path).args(["--http-address", HTTP]).spawn()?;
    let result = watch(producer.id(), seconds).await;
    producer.kill()?;
    producer.wait()?;
    result
}

async fn watch(pid: u32, seconds: u64) -> anyhow::Result<()> {
    let started = Instant::now();
    while !delivered().await.is_ok_and(|n| n > 0.0) && started.elapsed() < Duration::from_secs(20) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("first delivery report {} ms after the start", started.elapsed().as_millis());
    tokio::time::sleep(Duration::from_secs(2)).await;
    let (cpu, records) = (cpu_s(pid)?, delivered().await?);
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (cpu, records) = (cpu_s(pid)? - cpu, delivered().await? - records);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = |key: &str| status.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    println!(
        "{:.0} records/s, {:.2} us CPU per record, {:.1} % of a core; {}; {}",
        records / seconds as f64,
        cpu * 1e6 / records.max(1.0),
        100.0 * cpu / seconds as f64,
        memory("VmRSS"),
        memory("VmHWM"),
    );
    Ok(())
}

async fn delivered() -> anyhow::Result<f64> {
    let text = reqwest::get(format!("http://{HTTP}/metrics")).await?.text().await?;
    let lines = text.lines().filter(|line| line.starts_with("candles_producer_records_delivered_total"));
    Ok(lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum())
}

/// User and system time of the process in seconds; the kernel counts hundredths.
fn cpu_s(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: f64 =
        after_name.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}
