//! The demo: options in; a running pipeline on real servers, and a table of its candles as they become final, out.
//!
//! The simulated exchange trades, the producer and two consumers are the project's own binaries with a configuration
//! file as anybody would write it. What is printed as a candle was read from InfluxDB. Everything ends with it.

mod market;
mod preflight;
mod table;

use std::fmt::Display;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;

use self::table::Table;
use crate::exchange::Simulator;
use crate::servers::{Testbed, Worker, control, worker};

const TOPIC: &str = "trades";
const PARTITIONS: i32 = 3;
const TOKEN_VARIABLE: &str = "INFLUX_TOKEN";
/// How often the database is asked for new candles.
const LOOK: Duration = Duration::from_millis(500);
/// How long the last trades may take into the database after the market has closed.
const DRAIN_MAX: Duration = Duration::from_secs(30);

/// What a caller may choose.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long candles are shown; `None`: until stopped.
    pub show: Option<Duration>,
    /// Exchange seconds per second.
    pub speed: f64,
}

/// What the demo saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Trades that the exchange made.
    pub trades: u64,
    /// Those of them that are raw points in InfluxDB.
    pub stored: u64,
    /// Candles that were shown.
    pub candles: usize,
}

/// A running demo.
struct Demo {
    bed: Arc<Testbed>,
    sim: Simulator,
    /// When the market opened, by its own clock.
    opened_ms: i64,
    producer: Worker,
    consumers: Vec<Worker>,
    begun: Instant,
}

/// Runs the demo until `stop` or the end of its time; then ends everything it started, workers first and cleanly.
/// `None`: stopped before it ran.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> anyhow::Result<Option<Summary>> {
    let mut stop = std::pin::pin!(stop);
    let begun = Instant::now();
    step(begun, preflight::check()?)?;
    let demo = tokio::select! {
        started = Demo::start(begun, &options) => started?,
        () = &mut stop => return Ok(None),
    };
    let control = tokio::spawn(control::serve(Arc::clone(&demo.bed)));
    demo.print_addresses()?;
    let mut table = Table::new(demo.opened_ms - market::BACKFILL_MS);
    tokio::select! {
        shown = demo.show(&mut table) => return shown.map(|never| match never {}),
        () = time_is_up(options.show) => {}
        () = stop => {}
    }
    control.abort();
    // Its copies of the handle must be gone before the servers can end.
    let _ = control.await;
    demo.finish(&table).await.map(Some)
}

async fn time_is_up(after: Option<Duration>) {
    match after {
        Some(after) => tokio::time::sleep(after).await,
        None => std::future::pending().await,
    }
}

/// A line to standard output; an error, not a panic, when its reader has gone (`make demo | head`).
fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A line with the time since the start.
fn step(begun: Instant, what: impl Display) -> io::Result<()> {
    say(format_args!("[{:5.1} s] {what}", begun.elapsed().as_secs_f64()))
}

impl Demo {
    async fn start(begun: Instant, options: &Options) -> anyhow::Result<Self> {
        let bed = Testbed::builder("demo").start().await?;
        let times: Vec<_> = bed
            .start_times
            .iter()
            .map(|(name, time)| format!("{name} {:.1} s", time.as_secs_f64()))
            .collect();
        step(
            begun,
            format_args!("servers run: three Kafka brokers, registries, InfluxDB ({})", times.join(", ")),
        )?;

        let settings = [("min.insync.replicas", "2")];
        bed.kafka.create_topic(TOPIC, PARTITIONS, 3, &settings).await?;
        bed.kafka.create_topic(&format!("{TOPIC}-dlq"), 1, 3, &settings).await?;
        step(begun, format_args!("topic {TOPIC}: {PARTITIONS} partitions, 3 replicas"))?;

        let opened_ms = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let sim = Simulator::start(market::config(opened_ms, options.speed)).await?;
        step(begun, format_args!("exchange simulator: {}, time x {}", market::describe(), options.speed))?;

        let yaml = market::pipeline(&bed, &sim, TOPIC, TOKEN_VARIABLE);
        let env = [(TOKEN_VARIABLE, bed.influxdb.token().to_owned())];
        let start = |binary: &str, name: &str| {
            Worker::start(&worker::binary(binary)?, name, &yaml, &env, bed.run_dir())
        };
        let producer = start("producer", "producer")?;
        let consumers = vec![start("consumer", "consumer-1")?, start("consumer", "consumer-2")?];
        producer.wait_ready().await?;
        step(begun, "producer ready")?;
        for consumer in &consumers {
            consumer.wait_ready().await?;
        }
        step(begun, format_args!("{} consumers ready", consumers.len()))?;
        Ok(Self { bed: Arc::new(bed), sim, opened_ms, producer, consumers, begun })
    }

    fn print_addresses(&self) -> io::Result<()> {
        let (kafka, influxdb) = (&self.bed.kafka, &self.bed.influxdb);
        say("")?;
        say(format_args!("  Kafka            {}", kafka.bootstrap()))?;
        say(format_args!("  schema registry  {}", self.bed.apicurio.url()))?;
        say(format_args!(
            "  InfluxDB         {}  org and bucket {}  token {}",
            influxdb.url(),
            influxdb.org(),
            influxdb.token()
        ))?;
        say(format_args!("  metrics          {}/metrics", self.producer.url()))?;
        for consumer in &self.consumers {
            say(format_args!("                   {}/metrics", consumer.url()))?;
        }
        say(format_args!("  configuration, logs, data  {}", self.bed.run_dir().path().display()))?;
        let testbed = std::env::current_exe().unwrap_or_else(|_| "testbed".into());
        say(format_args!(
            "  Ctrl-C ends everything. Kill a broker meanwhile: {} kill broker-2\n",
            testbed.display()
        ))?;
        say(Table::header())
    }

    /// Prints candles as they appear in the database; ends only with an error.
    async fn show(&self, table: &mut Table) -> anyhow::Result<std::convert::Infallible> {
        loop {
            for worker in self.consumers.iter().chain([&self.producer]) {
                let log = || format!("{} ended; its log is {}", worker.name(), worker.log_path().display());
                worker.pid().with_context(log)?;
            }
            // A frozen or killed database is no reason to end: the pipeline waits for it, and so does the demo.
            if let Ok(rows) = self.bed.influxdb.query_rows(&table.query(self.bed.influxdb.bucket())).await {
                for line in table.take(&rows)? {
                    say(line)?;
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Closes the market, waits for its last trades, stops the workers, and tells what became of it all.
    async fn finish(self, table: &Table) -> anyhow::Result<Summary> {
        say("")?;
        self.sim.pause_market();
        let trades = self.sim.trades_happened();
        let closed = Instant::now();
        let mut stored = self.stored().await?;
        while stored < trades && closed.elapsed() < DRAIN_MAX {
            tokio::time::sleep(LOOK).await;
            stored = self.stored().await?;
        }
        step(
            self.begun,
            format_args!("market closed: {trades} trades happened, {stored} of them are in InfluxDB"),
        )?;
        for worker in self.consumers.iter().chain([&self.producer]) {
            worker.stop().await?;
        }
        step(self.begun, format_args!("producer and consumers stopped, {} candles shown", table.shown()))?;
        self.sim.stop().await;
        self.bed.run_dir().finish();
        drop((self.producer, self.consumers, self.bed));
        step(self.begun, "servers ended, their data removed")?;
        say(
            "\nNext: make e2e                                    # the same, killed and restarted, against a judge",
        )?;
        say("      make demo ARGS=\"--speed 10 --seconds 60\"     # ten times as fast, a minute long")?;
        say("      $EDITOR examples/pipeline.yaml              # your own servers and symbols: README.md")?;
        Ok(Summary { trades, stored, candles: table.shown() })
    }

    /// Raw points of trades since the exchange's start.
    async fn stored(&self) -> anyhow::Result<u64> {
        let query = format!(
            r#"from(bucket: "{}") |> range(start: time(v: {}), stop: time(v: {}))
               |> filter(fn: (r) => r._measurement == "trades" and r._field == "id") |> group() |> count()"#,
            self.bed.influxdb.bucket(),
            self.opened_ms * 1_000_000,
            (self.sim.clock_ms() + 60_000) * 1_000_000,
        );
        let rows = self.bed.influxdb.query_rows(&query).await?;
        rows.first().map_or(Ok(0), |row| Ok(row["_value"].parse()?))
    }
}
