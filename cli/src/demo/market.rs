//! What is traded in the demo, and the configuration of the pipeline that watches it.

use candles_testbed::exchange::{ClockMode, Market, PriceStyle, SimConfig, Simulator, SyntheticSymbol};

use super::servers::Addresses;

/// Symbol, trades per second, shape of its prices.
const SYMBOLS: [(&str, f64, PriceStyle); 4] = [
    ("tBTCUSD", 5.0, PriceStyle::Large),
    ("tETHUSD", 3.0, PriceStyle::Integer),
    ("tXRPUSD", 2.0, PriceStyle::Precise),
    ("tSOLBTC", 1.0, PriceStyle::Small),
];
/// Those of them that the real exchange lists, and that trade often.
const LIVE_SYMBOLS: [&str; 4] = ["tBTCUSD", "tETHUSD", "tXRPUSD", "tSOLUSD"];
/// How far back the producer fetches history at its start: the first candles are there at once.
pub const BACKFILL_MS: i64 = 300_000;
/// Candles of these lengths, and how long each waits for stragglers.
const CANDLES: &str = "{intervals: [10s, 1m], lateness: 2s}";

/// One market of each symbol; the exchange's clock starts at `opens_ms`.
pub fn simulated(opens_ms: i64, speed: f64) -> SimConfig {
    let market = |&(symbol, trades_per_s, price): &(&str, f64, PriceStyle)| {
        Market::Synthetic(SyntheticSymbol { price, ..SyntheticSymbol::new(symbol, trades_per_s) })
    };
    SimConfig {
        markets: SYMBOLS.iter().map(market).collect(),
        clock: ClockMode::Speed(speed),
        start_ms: Some(opens_ms),
        ..SimConfig::default()
    }
}

/// The simulated market in a few words.
pub fn describe() -> String {
    let rate: f64 = SYMBOLS.iter().map(|(_, trades_per_s, _)| trades_per_s).sum();
    format!("{} symbols, {rate} trades per second", SYMBOLS.len())
}

/// The file that producer and consumers read. `sim`: the exchange, if not the real one.
pub fn pipeline(at: &Addresses, sim: Option<&Simulator>, topic: &str) -> String {
    let symbols = match sim {
        Some(_) => SYMBOLS.map(|(symbol, ..)| symbol),
        None => LIVE_SYMBOLS,
    };
    let exchange = sim.map_or_else(String::new, |sim| {
        format!("  websocketUrl: {}\n  restUrl: {}\n", sim.ws_url(), sim.rest_url())
    });
    format!(
        "exchange:\n  name: bitfinex\n  symbols: [{}]\n{exchange}\
         kafka: {{bootstrapServers: '{}'}}\n\
         schemaRegistry: {{url: '{}'}}\n\
         topic: {{name: {topic}}}\n\
         producer: {{backfill: {BACKFILL_MS}ms}}\n\
         candles: {CANDLES}\n\
         influxdb:\n  url: {}\n  organization: {}\n  bucket: {}\n  token: {{file: '{}'}}\n",
        symbols.join(", "),
        at.kafka,
        at.registry,
        at.influxdb,
        at.organization,
        at.bucket,
        at.token_file.display(),
    )
}
