//! From the exchange's clock to a queryable point: a proxy before InfluxDB notes when each raw point was
//! acknowledged (InfluxDB 2 answers 204 when a point can be queried), the point's own time says when it was traded.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::routing::any;
use candles_testbed::exchange::{ClockMode, Limits, Market, SimConfig, Simulator, SyntheticSymbol};
use candles_testbed::servers::Testbed;

use super::pipeline::Pipeline;
use super::{INTERVALS, PARTITIONS, symbols, usage};

const SECONDS: u64 = 20;

#[derive(Clone)]
struct Proxy {
    client: reqwest::Client,
    upstream: String,
    /// Latencies in ms of every sampled point.
    latencies: Arc<Mutex<Vec<f64>>>,
    /// One of so many points is looked at.
    sample: usize,
}

/// 10 symbols trading `rate` times a second in all, in real time.
pub async fn measure(bed: &Testbed, rate: u64) -> anyhow::Result<()> {
    let symbols = symbols(10);
    let mut pipeline = Pipeline::new(bed, &format!("latency-{rate}"), PARTITIONS, &symbols).await;
    let mut config =
        SimConfig { clock: ClockMode::Speed(1.0), limits: Limits::without_rates(), ..SimConfig::default() };
    config.markets.extend(symbols.iter().map(|symbol| {
        // Disorder would count as latency of the pipeline.
        let market =
            SyntheticSymbol { disorder_permille: 0, ..SyntheticSymbol::new(symbol, rate as f64 / 10.0) };
        Market::Synthetic(market)
    }));
    let sim = Simulator::start(config).await?;
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let proxy = Proxy {
        client: reqwest::Client::new(),
        upstream: bed.influxdb.url().to_owned(),
        latencies: Arc::clone(&latencies),
        sample: if rate > 1_000 { 50 } else { 1 },
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(async move {
        axum::serve(listener, Router::new().fallback(any(relay)).with_state(proxy)).await
    });
    pipeline.exchange = format!("  websocketUrl: {}\n  restUrl: {}\n", sim.ws_url(), sim.rest_url());
    pipeline.more = format!("{INTERVALS}producer: {{backfill: 1s}}\n");
    pipeline.influxdb_url = Some(format!("http://{address}"));
    let consumer = pipeline.worker("consumer", "consumer").await;
    let producer = pipeline.worker("producer", "producer").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    latencies.lock().expect("no panic").clear();
    let (happened, before) = (sim.trades_happened(), [usage(&producer), usage(&consumer)]);
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let (happened, after) = (sim.trades_happened() - happened, [usage(&producer), usage(&consumer)]);
    let mut sorted = std::mem::take(&mut *latencies.lock().expect("no panic"));
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    let cpu = |i: usize| 1e6 * (after[i].cpu_s - before[i].cpu_s) / happened as f64;
    println!(
        "latency at {} trades/s: p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms ({} points); CPU per trade: producer {:.1} us, consumer {:.1} us; peak RSS {:.1} and {:.1} MiB",
        happened / SECONDS,
        at(0.5),
        at(0.99),
        at(0.999_999),
        sorted.len(),
        cpu(0),
        cpu(1),
        after[0].rss_peak_mib,
        after[1].rss_peak_mib,
    );
    producer.stop().await?;
    consumer.stop().await?;
    sim.stop().await;
    server.abort();
    Ok(())
}

async fn relay(State(proxy): State<Proxy>, uri: Uri, headers: HeaderMap, body: Bytes) -> StatusCode {
    let url = format!("{}{}", proxy.upstream, uri.path_and_query().map_or("/", |p| p.as_str()));
    let authorization =
        headers.get("authorization").cloned().unwrap_or_else(|| "none".parse().expect("a header value"));
    let answer =
        proxy.client.post(url).header("authorization", authorization).body(body.clone()).send().await;
    let status = answer.map_or(StatusCode::BAD_GATEWAY, |answer| answer.status());
    if status.is_success() {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64() * 1e3;
        let text = String::from_utf8_lossy(&body);
        let raw = text.lines().filter(|line| line.starts_with("trades,")).step_by(proxy.sample);
        let times = raw.filter_map(|line| line.rsplit(' ').next()?.parse::<i64>().ok());
        proxy.latencies.lock().expect("no panic").extend(times.map(|ns| now_ms - (ns / 1_000_000) as f64));
    }
    status
}
