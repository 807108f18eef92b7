//! The exchange simulator as a command: options in, one JSON line with its URLs out, then it runs until
//! a signal or `--for`. Exit 0: ended as asked; 2: could not start.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use candles_testbed::exchange::{
    ClockMode, Limits, Market, PriceStyle, Recording, Schedule, SimConfig, Simulator, SyntheticSymbol,
};
use clap::Parser;

/// A simulated Bitfinex v2: public trades over WebSocket and REST, with faults on request
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Admin endpoints: GET /sim/clock /sim/connections /sim/truth?symbol=&start_ms=&end_ms=&limit= /sim/faults;
POST /sim/fault {\"fault\":\"lose\",\"frame\":\"te\",\"symbol\":\"tBTCUSD\",\"count\":3}
     /sim/publish {\"symbol\":\"tBTCUSD\",\"price\":\"101.5\",\"amount\":\"-2\"}
     /sim/advance?ms= /sim/trade_until?ms= /sim/clock/{pause,resume} /sim/market/{pause,resume}

Example: exchange-sim --symbols tBTCUSD,tETHUSD --rate 20 --speed 10 --truth-log truth.jsonl"
)]
struct Options {
    /// Where the WebSocket listens; port 0: a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    ws: SocketAddr,
    /// Where REST and the admin endpoints listen; port 0: a free one
    #[arg(long, default_value = "127.0.0.1:0")]
    rest: SocketAddr,
    /// Seed of markets and delays
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Synthetic symbols
    #[arg(long, value_delimiter = ',')]
    symbols: Vec<String>,
    /// Trades per second of each synthetic symbol
    #[arg(long, default_value_t = 5.0)]
    rate: f64,
    /// Price shape of the synthetic symbols: any, large, integer, small, precise, tiny
    #[arg(long, default_value = "any", value_parser = price_style)]
    price: PriceStyle,
    /// A symbol whose trades come from a trades.json.gz: SYMBOL=FILE
    #[arg(long, value_name = "SYMBOL=FILE")]
    replay: Vec<String>,
    /// Added to every time of the replayed trades, ms
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    replay_shift_ms: i64,
    /// Play this recorded connection to every client instead of simulating the socket
    #[arg(long, value_name = "FILE")]
    recording: Option<PathBuf>,
    /// Exchange seconds per second, or: max, manual
    #[arg(long, default_value = "1", value_parser = clock_mode)]
    speed: ClockMode,
    /// Exchange time at start, ms since 1970 (default: now)
    #[arg(long)]
    start_ms: Option<i64>,
    /// The clock waits until so many trades channels are open
    #[arg(long, default_value_t = 0)]
    hold_until_channels: usize,
    /// No trade at or after this exchange time
    #[arg(long)]
    trade_until_ms: Option<i64>,
    /// REST shows trades so long after they happened, exchange ms
    #[arg(long, default_value_t = 0)]
    history_lag_ms: i64,
    /// Time from subscribe to subscribed, exchange ms
    #[arg(long, default_value_t = 0)]
    subscribe_delay_ms: i64,
    /// Heartbeat period, exchange ms
    #[arg(long, default_value_t = 15_000)]
    heartbeat_ms: i64,
    /// Channels per connection; 0: no limit
    #[arg(long, default_value_t = 25)]
    channels: usize,
    /// Connections per minute; 0: no limit
    #[arg(long, default_value_t = 20)]
    connects_per_min: u32,
    /// REST trade pages per minute; 0: no limit
    #[arg(long, default_value_t = 15)]
    trades_per_min: u32,
    /// How long a REST breach blocks, ms
    #[arg(long, default_value_t = 60_000)]
    block_ms: i64,
    /// Measure limits by the wall clock even when the exchange's clock is faster
    #[arg(long)]
    wall_clock_limits: bool,
    /// Mean time between seeded faults, exchange ms (default: none)
    #[arg(long, value_name = "MS")]
    fault_every_ms: Option<i64>,
    /// Seed of the faults
    #[arg(long, default_value_t = 1)]
    fault_seed: u64,
    /// No seeded fault after this exchange time
    #[arg(long)]
    fault_until_ms: Option<i64>,
    /// Write every trade that happens to this file, as JSON lines
    #[arg(long, value_name = "FILE")]
    truth_log: Option<PathBuf>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    for_s: Option<u64>,
}

fn clock_mode(text: &str) -> Result<ClockMode, String> {
    match text {
        "max" => Ok(ClockMode::Max),
        "manual" => Ok(ClockMode::Manual),
        number => match number.parse::<f64>() {
            Ok(speed) if speed > 0.0 && speed.is_finite() => Ok(ClockMode::Speed(speed)),
            _ => Err("a number above 0, max or manual".into()),
        },
    }
}

fn price_style(text: &str) -> Result<PriceStyle, String> {
    serde_json::from_value(text.into()).map_err(|_| "any, large, integer, small, precise or tiny".into())
}

fn markets(options: &Options) -> anyhow::Result<Vec<Market>> {
    let synthetic = |symbol: &String| {
        let shape = SyntheticSymbol::new(symbol, options.rate);
        Market::Synthetic(SyntheticSymbol { price: options.price, ..shape })
    };
    let mut markets: Vec<Market> = options.symbols.iter().map(synthetic).collect();
    for replay in &options.replay {
        let (symbol, path) =
            replay.split_once('=').with_context(|| format!("--replay {replay}: write SYMBOL=FILE"))?;
        let (symbol, path) = (symbol.to_owned(), PathBuf::from(path));
        markets.push(Market::Recorded { symbol, path, shift_ms: options.replay_shift_ms });
    }
    if markets.is_empty() && options.recording.is_none() {
        bail!("nothing to serve: give --symbols, --replay or --recording");
    }
    Ok(markets)
}

fn config(options: &Options) -> anyhow::Result<SimConfig> {
    let schedule = options.fault_every_ms.map(|every| Schedule {
        until_ms: options.fault_until_ms,
        ..Schedule::new(options.fault_seed, every)
    });
    let limits = Limits {
        channels: options.channels,
        connects_per_min: options.connects_per_min,
        trades_per_min: options.trades_per_min,
        block_ms: options.block_ms,
        wall_clock: options.wall_clock_limits,
        ..Limits::default()
    };
    Ok(SimConfig {
        seed: options.seed,
        markets: markets(options)?,
        clock: options.speed,
        start_ms: options.start_ms,
        hold_until_channels: options.hold_until_channels,
        trade_until_ms: options.trade_until_ms,
        history_lag_ms: options.history_lag_ms,
        subscribe_delay_ms: options.subscribe_delay_ms,
        heartbeat_ms: options.heartbeat_ms,
        limits,
        schedule,
        truth_log: options.truth_log.clone(),
        recording: options.recording.clone().map(|path| Recording {
            path,
            speed: Some(1.0),
            wait_for_client: true,
        }),
        ws_addr: options.ws,
        rest_addr: options.rest,
        ..SimConfig::default()
    })
}

async fn run(options: Options) -> anyhow::Result<()> {
    let simulator = Simulator::start(config(&options)?).await?;
    println!(
        "{}",
        serde_json::json!({
            "ws_url": simulator.ws_url(),
            "rest_url": simulator.rest_url(),
            "admin_url": simulator.admin_url(),
            "clock_ms": simulator.clock_ms(),
        })
    );
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let end = async {
        match options.for_s {
            Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
        () = end => {}
    }
    tracing::info!(trades = simulator.trades_happened(), clock_ms = simulator.clock_ms(), "simulator ends");
    simulator.stop().await;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("exchange-sim: {error:#}");
            ExitCode::from(2)
        }
    }
}
