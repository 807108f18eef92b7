//! Speed and memory of the workers on the real servers: numbers out, nothing asserted on time.
//!
//! `cargo bench -p candles-testbed --bench pipeline [-- backlog|latency ...]` after
//! `cargo build --release -p candles-workers`. CPU is that of the worker's process, from the kernel's accounts.

#[path = "../tests/e2e/golden.rs"]
#[allow(dead_code)]
mod golden;
#[path = "pipeline/latency.rs"]
mod latency;
#[path = "../tests/e2e/pipeline.rs"]
#[allow(dead_code)]
mod pipeline;

use std::time::{Duration, Instant};

use candles_core::{partitioner::key_hash_partition, trade::Trade};
use candles_testbed::servers::{Testbed, Worker};
use pipeline::{OtherClient, Pipeline};

const PARTITIONS: i32 = 3;
/// 2026-01-01 UTC.
const START_MS: i64 = 1_767_225_600_000;
const INTERVALS: &str = "candles: {intervals: [1m, 2m, 5m, 1h]}\n";

fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    print_machine();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let bed = Testbed::builder("bench").start().await?;
        if runs("backlog") {
            backlog(&bed, "backlog", env_count("BENCH_TRADES", 2_000_000), INTERVALS).await;
            backlog(&bed, "rawonly", env_count("BENCH_TRADES", 2_000_000), "candles: {intervals: []}\n")
                .await;
        }
        for rate in [200, 20_000] {
            if runs("latency") || runs(&format!("latency-{rate}")) {
                latency::measure(&bed, rate).await?;
            }
        }
        if runs("idle") {
            idle(&bed).await;
        }
        bed.finish();
        anyhow::Ok(())
    })
}

fn env_count(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn print_machine() {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("machine{model}, {cores} cores, all servers on the same machine");
}

/// Trading pairs of the shape that the exchange lists.
fn symbols(count: usize) -> Vec<&'static str> {
    let letter = |n: usize| char::from(b'A' + (n % 26) as u8);
    (0..count).map(|i| &*format!("t{}{}XUSD", letter(i / 26), letter(i)).leak()).collect()
}

/// What a process has used so far.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    cpu_s: f64,
    rss_peak_mib: f64,
}

/// CPU seconds (user and system) and peak resident memory of a worker.
pub fn usage(worker: &Worker) -> Usage {
    let pid = worker.pid().expect("the worker runs");
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let ticks = |i: usize| fields.get(i).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib =
        peak.and_then(|text| text.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok()).unwrap_or(0.0);
    Usage { cpu_s: (ticks(11) + ticks(12)) / 100.0, rss_peak_mib: kib / 1024.0 }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) -> Duration {
    let begun = Instant::now();
    while !done().await {
        assert!(begun.elapsed() < Duration::from_secs(1_800), "{what} takes more than half an hour");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    begun.elapsed()
}

/// A topic full of records, read by one consumer.
async fn backlog(bed: &Testbed, name: &str, count: u64, settings: &str) {
    let symbols = symbols(50);
    let mut pipeline = Pipeline::new(bed, name, PARTITIONS, &symbols).await;
    pipeline.more = settings.to_owned();
    let client = OtherClient::new(&pipeline).await;
    for symbol in &symbols {
        client.mark(key_hash_partition(symbol.as_bytes(), PARTITIONS), symbol, "from", START_MS);
    }
    // 20,000 trades a second of event time, over 50 symbols.
    let mut trades: Vec<Vec<Trade>> = vec![Vec::new(); symbols.len()];
    for chunk in (0..count).collect::<Vec<_>>().chunks(50_000) {
        for &i in chunk {
            let price = 60_000.0 + (i % 1_000) as f64 / 10.0;
            let amount = (1 + i % 500) as f64 / 1e4 * if i % 2 == 0 { 1.0 } else { -1.0 };
            let time_ms = START_MS + i as i64 / 20;
            let trade = Trade { id: i as i64 * 3, time_ms, price, amount, received_us: time_ms * 1_000 };
            trades[i as usize % symbols.len()].push(trade);
        }
        for (symbol, trades) in symbols.iter().zip(&mut trades) {
            client.trades_unflushed(key_hash_partition(symbol.as_bytes(), PARTITIONS), symbol, trades);
            trades.clear();
        }
    }
    client.flush();
    let worker = pipeline.worker("consumer", "consumer").await;
    let wall = until("the backlog", async || {
        worker
            .metric("candles_consumer_points_stored_total")
            .await
            .is_some_and(|stored| stored >= count as f64)
    })
    .await;
    let Usage { cpu_s, rss_peak_mib } = usage(&worker);
    println!(
        "consumer {name}: {count} trades of 50 symbols in {:.1} s = {:.0} trades/s, {:.2} us CPU per trade, peak RSS {rss_peak_mib:.1} MiB",
        wall.as_secs_f64(),
        count as f64 / wall.as_secs_f64(),
        1e6 * cpu_s / count as f64,
    );
    worker.stop().await.expect("the consumer stops");
}

/// A consumer with nothing to do.
async fn idle(bed: &Testbed) {
    let pipeline = Pipeline::new(bed, "idle", PARTITIONS, &symbols(50)).await;
    let worker = pipeline.worker("consumer", "consumer").await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let before = usage(&worker);
    tokio::time::sleep(Duration::from_secs(20)).await;
    let after = usage(&worker);
    println!(
        "consumer idle: {:.2} % of a core, peak RSS {:.1} MiB",
        100.0 * (after.cpu_s - before.cpu_s) / 20.0,
        after.rss_peak_mib
    );
    worker.stop().await.expect("the consumer stops");
}
