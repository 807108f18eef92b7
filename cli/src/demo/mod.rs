//! The demo: options in; a running pipeline, its pages in the browser and a chart in the terminal out.
//!
//! Producer and consumers are the project's own code with a configuration file as anybody would write it. What is shown
//! as a candle was read from the database. Everything ends with it, and at its end every trade that the simulated
//! exchange made must be stored.

mod embedded;
mod market;
mod preflight;
mod real;
mod servers;
mod table;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use candles_core::config::PipelineConfig;
use candles_core::interval::Interval;
use candles_testbed::exchange::Simulator;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::servers::{CONSUMERS, Servers, TOPIC};
use self::table::Seen;
use crate::chart;
use crate::chart::screen::{self, Screen};
use crate::influx::Reader;
use crate::output::{colours, say};
use crate::ui::{self, About};

/// How often the database is asked for new candles.
const LOOK: Duration = Duration::from_millis(500);
/// How long the last trades may take into the database after the market has closed.
const DRAIN_MAX: Duration = Duration::from_secs(30);
/// How long each symbol is drawn in the terminal before the next.
const TURN: Duration = Duration::from_secs(15);
/// Lines of the chart in the terminal; the steps stay in sight above it.
const CHART_LINES_MAX: usize = 22;

/// What a caller may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// The testbed's real servers instead of stand-ins.
    pub real: bool,
    /// The real exchange instead of the simulated one.
    pub live: bool,
    /// How long candles are shown; `None`: until stopped.
    pub show: Option<Duration>,
    /// Exchange seconds per second.
    pub speed: f64,
    /// Where the pages are; `None`: the usual port, or any free one.
    pub address: Option<SocketAddr>,
}

/// What the demo saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Trades that the simulated exchange made; `None` for the real one.
    pub trades: Option<u64>,
    /// Raw points in the database since the market opened.
    pub stored: u64,
}

/// A running demo.
struct Demo {
    servers: Servers,
    sim: Option<Simulator>,
    /// When the market opened, by the exchange's clock.
    opened_ms: i64,
    reader: Reader,
    /// Every symbol with every interval.
    series: Vec<(String, Interval)>,
    pages: Pages,
    config_file: std::path::PathBuf,
    begun: Instant,
}

/// The web application.
struct Pages {
    url: String,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

/// Runs the demo until `stop` or the end of its time; then ends everything it started, workers first and cleanly.
/// `None`: stopped before it ran.
pub async fn run(options: Options, stop: CancellationToken) -> anyhow::Result<Option<Summary>> {
    let begun = Instant::now();
    step(begun, preflight::check(&options)?)?;
    let listener = listener(begun, options.address).await?;
    let demo = tokio::select! {
        started = Demo::start(begun, &options, listener) => started?,
        () = stop.cancelled() => return Ok(None),
    };
    demo.print_addresses()?;
    let mut seen = Seen::new(demo.opened_ms - market::BACKFILL_MS);
    tokio::select! {
        shown = demo.show(&mut seen) => return shown.map(|never| match never {}),
        () = time_is_up(options.show) => {}
        () = stop.cancelled() => {}
    }
    demo.finish(&seen).await.map(Some)
}

async fn time_is_up(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

/// A line with the time since the start.
fn step(begun: Instant, what: impl Display) -> io::Result<()> {
    say(format_args!("[{:5.1} s] {what}", begun.elapsed().as_secs_f64()))
}

/// The wanted address; without a wish the usual one, or any where that is taken.
async fn listener(begun: Instant, wish: Option<SocketAddr>) -> anyhow::Result<TcpListener> {
    if let Some(address) = wish {
        return ui::bind(address).await;
    }
    if let Ok(listener) = ui::bind(ui::USUAL_ADDRESS).await {
        return Ok(listener);
    }
    let listener = ui::bind(SocketAddr::new(ui::USUAL_ADDRESS.ip(), 0)).await?;
    step(begun, format_args!("port {} is taken; the pages are on another", ui::USUAL_ADDRESS.port()))?;
    Ok(listener)
}

impl Demo {
    async fn start(begun: Instant, options: &Options, listener: TcpListener) -> anyhow::Result<Self> {
        let mut servers = if options.real {
            Servers::Real(Box::new(real::Real::start().await?))
        } else {
            Servers::Embedded(Box::new(embedded::Embedded::start().await?))
        };
        step(begun, servers.describe())?;
        let opened_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let sim = if options.live {
            step(begun, "exchange: Bitfinex, over the network")?;
            None
        } else {
            let sim = Simulator::start(market::simulated(opened_ms, options.speed)).await?;
            step(
                begun,
                format_args!("exchange simulator: {}, time x {}", market::describe(), options.speed),
            )?;
            Some(sim)
        };
        let yaml = market::pipeline(servers.addresses(), sim.as_ref(), TOPIC);
        let config_file = servers.folder().join("pipeline.yaml");
        std::fs::write(&config_file, &yaml)
            .with_context(|| format!("cannot write {}", config_file.display()))?;
        let config = PipelineConfig::from_yaml(&yaml)?;
        let reader = Reader::new(config.influxdb.as_ref().context("the demo's pipeline has a database")?)?;
        let symbols = config.exchange.symbols.iter();
        let series = symbols
            .flat_map(|symbol| config.candles.intervals.iter().map(|i| (symbol.to_string(), *i)))
            .collect();

        let note = match (options.real, options.live) {
            (false, false) => "Demo: a simulated market and embedded stand-ins for the servers",
            (false, true) => "Demo: the real exchange and embedded stand-ins for the servers",
            (true, false) => "Demo: a simulated market and real servers on this machine",
            (true, true) => "Demo: the real exchange and real servers on this machine",
        };
        let about = About { stand_in: !options.real, consumers: servers.consumers(), note: note.to_owned() };
        let (url, stop) = (format!("http://{}/", listener.local_addr()?), CancellationToken::new());
        let task = tokio::spawn(ui::serve(listener, config, about, stop.clone()));
        step(begun, format_args!("pages: {url}"))?;
        servers.start_workers(&yaml).await?;
        step(begun, format_args!("producer and {CONSUMERS} consumers ready"))?;
        let pages = Pages { url, stop, task };
        Ok(Self { servers, sim, opened_ms, reader, series, pages, config_file, begun })
    }

    fn print_addresses(&self) -> io::Result<()> {
        let at = self.servers.addresses();
        say("")?;
        say(format_args!("  Open in a browser          {}", self.pages.url))?;
        say(format_args!("  Kafka                      {}", at.kafka))?;
        say(format_args!("  schema registry            {}", at.registry))?;
        say(format_args!(
            "  InfluxDB                   {}  org {}, bucket {}",
            at.influxdb, at.organization, at.bucket
        ))?;
        for (index, url) in self.servers.worker_urls().iter().enumerate() {
            say(format_args!("  {:<26} {url}/metrics", if index == 0 { "metrics" } else { "" }))?;
        }
        say(format_args!("  configuration, logs, data  {}", self.servers.folder().display()))?;
        let program = program();
        say(format_args!(
            "  In another shell           {program} peek --follow --config {}",
            self.config_file.display()
        ))?;
        if matches!(self.servers, Servers::Real(_)) {
            let testbed = program.replace("candlectl", "testbed");
            say(format_args!("  Kill a broker meanwhile    {testbed} kill broker-2"))?;
        }
        say("  Ctrl-C ends everything\n")
    }

    /// Shows candles as they appear in the database; ends only with an error.
    async fn show(&self, seen: &mut Seen) -> anyhow::Result<std::convert::Infallible> {
        let (mut canvas, terminal) = (Screen::default(), screen::size().is_some());
        if !terminal {
            say(table::header())?;
        }
        loop {
            self.servers.check_workers()?;
            // A frozen or killed database is no reason to end: the pipeline waits for it, and so does the demo.
            let new = seen.look(&self.reader, &self.series).await.unwrap_or_default();
            if let Some(size) = screen::size() {
                if let Some(lines) = self.picture(size, seen.count()).await {
                    canvas.draw(&lines)?;
                }
            } else {
                for (key, row) in &new {
                    say(table::line(key, row, colours()))?;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The chart of the symbol whose turn it is, in its shortest interval, and a line about all of them.
    async fn picture(&self, size: chart::Size, candles: usize) -> Option<Vec<String>> {
        let turns = self.begun.elapsed().as_secs() / TURN.as_secs();
        let (shortest, symbols) = (self.series.iter().map(|(_, interval)| *interval).min()?, self.symbols());
        let symbol = &symbols[turns as usize % symbols.len()];
        let rows = self.reader.newest(symbol, shortest, size.width as u32).await.ok()?;
        // The cursor stands below the last line.
        let height = size.height.saturating_sub(2).min(CHART_LINES_MAX);
        let mut lines = chart::draw(symbol, shortest, &rows, chart::Size { height, ..size });
        let made =
            self.sim.as_ref().map_or_else(String::new, |sim| format!("{} trades, ", sim.trades_happened()));
        let line = format!("{made}{candles} final candles   {}   Ctrl-C ends", self.pages.url);
        lines.push(line.chars().take(size.width).collect());
        Some(lines)
    }

    fn symbols(&self) -> Vec<&str> {
        let mut symbols: Vec<&str> = self.series.iter().map(|(symbol, _)| symbol.as_str()).collect();
        symbols.dedup();
        symbols
    }

    /// Closes the market, waits for its last trades, stops the workers, and tells what became of it all.
    async fn finish(mut self, seen: &Seen) -> anyhow::Result<Summary> {
        say("")?;
        let mut trades = None;
        if let Some(sim) = &self.sim {
            sim.pause_market();
            trades = Some(sim.trades_happened());
        }
        let closed = Instant::now();
        let mut stored = self.servers.stored(self.opened_ms).await?;
        while trades.is_some_and(|trades| stored < trades) && closed.elapsed() < DRAIN_MAX {
            tokio::time::sleep(LOOK).await;
            stored = self.servers.stored(self.opened_ms).await?;
        }
        step(
            self.begun,
            match trades {
                Some(trades) => {
                    format!("market closed: {trades} trades happened, {stored} of them are in InfluxDB")
                }
                None => format!("{stored} trades are in InfluxDB"),
            },
        )?;
        self.pages.stop.cancel();
        self.pages.task.await??;
        self.servers.stop_workers().await?;
        step(
            self.begun,
            format_args!("producer and consumers stopped, {} final candles seen", seen.count()),
        )?;
        if let Some(sim) = self.sim {
            sim.stop().await;
        }
        self.servers.end().await;
        step(self.begun, "everything ended, its data removed")?;
        say(
            "\nNext: make test                                    # the second command: all tests that need no server",
        )?;
        say(
            "      make demo ARGS=\"--real\"                      # the same on three brokers, a registry and InfluxDB",
        )?;
        say("      candlectl ui --config examples/pipeline.yaml # your own servers and symbols: README.md")?;
        Ok(Summary { trades, stored })
    }
}

/// This program, as a shell finds it again.
fn program() -> String {
    std::env::current_exe().map_or_else(|_| "candlectl".to_owned(), |path| path.display().to_string())
}
