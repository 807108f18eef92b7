//! How many frames per second the simulator hands to one client, and what a frame costs it in CPU.
//! `cargo run --release -p candles-testbed --example sim_throughput -- [seconds]`. Prints; asserts nothing.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use candles_testbed::exchange::{ClockMode, Limits, SimConfig, Simulator};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio_tungstenite::tungstenite::Message;

/// CPU seconds of this process's threads of that name.
fn cpu_s(name: &str) -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let ticks = tasks.filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (head, tail) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = tail.split_whitespace().collect();
        let of = |i: usize| fields.get(i)?.parse::<f64>().ok();
        head.ends_with(&format!("({name}")).then_some(of(11)? + of(12)?)
    });
    ticks.sum::<f64>() / 100.0
}

/// Reads frames for so long; returns frames, trades, seconds and the simulator's CPU seconds.
async fn read(url: &str, symbols: &[&str], seconds: u64) -> anyhow::Result<(u64, u64, f64, f64)> {
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await?;
    socket.send(Message::text(r#"{"event":"conf","flags":98304}"#)).await?;
    for symbol in symbols {
        let subscribe = format!(r#"{{"event":"subscribe","channel":"trades","symbol":"{symbol}"}}"#);
        socket.send(Message::text(subscribe)).await?;
    }
    let (started, before) = (Instant::now(), cpu_s("sim"));
    let (mut frames, mut trades) = (0, 0);
    while started.elapsed() < Duration::from_secs(seconds) {
        let frame = socket.next().await.context("the simulator ended")??;
        frames += 1;
        trades += u64::from(frame.to_text().is_ok_and(|t| t.contains("\"te\"")));
    }
    Ok((frames, trades, started.elapsed().as_secs_f64(), cpu_s("sim") - before))
}

fn main() -> anyhow::Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(3), |s| s.parse())?;
    let symbols = ["tBTCUSD", "tETHUSD", "tXRPUSD", "tLTCUSD", "tAVAX:USD"];
    let server = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("sim")
        .enable_all()
        .build()?;
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    for (name, clock, rate) in [
        ("as fast as the socket takes it", ClockMode::Max, 200.0),
        ("real time, 20,000 trades/s", ClockMode::Speed(1.0), 4_000.0),
        ("real time, 200 trades/s", ClockMode::Speed(1.0), 40.0),
    ] {
        let config = SimConfig { clock, limits: Limits::without_rates(), ..SimConfig::default() };
        let sim = server.block_on(Simulator::start(config.synthetic(&symbols, rate)))?;
        let (frames, trades, wall, cpu) = client.block_on(read(&sim.ws_url(), &symbols, seconds))?;
        println!(
            "{name}: {:.0} frames/s, {:.0} trades/s, simulator {:.1} % of a core, {:.2} us per frame",
            frames as f64 / wall,
            trades as f64 / wall,
            100.0 * cpu / wall,
            1e6 * cpu / frames as f64
        );
        server.block_on(sim.stop());
    }
    Ok(())
}
