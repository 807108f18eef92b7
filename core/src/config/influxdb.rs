//! Settings of the database and the names in its points.

use std::{collections::BTreeSet, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{HttpUrl, PointName, SecretRef};

/// Where points are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InfluxdbConfig {
    /// Base URL, with the path prefix if there is one.
    pub url: HttpUrl,
    /// Which write API.
    #[serde(default)]
    pub api: InfluxApi,
    /// Organization, for `api: v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organization: Option<String>,
    /// Bucket; the database for `api: v3`.
    pub bucket: String,
    /// Where the token is.
    pub token: SecretRef,
    /// PEM file of the authorities that may sign the server's certificate; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Compress requests: less network, more CPU.
    #[serde(default)]
    pub gzip: bool,
    /// Names in the raw points, one for each trade.
    #[serde(default)]
    pub trades: TradePoints,
    /// Names in the points of candles.
    #[serde(default)]
    pub candles: CandlePoints,
}

/// Which write API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InfluxApi {
    /// `/api/v2/write`: InfluxDB 2, and InfluxDB 3 in its compatible mode.
    #[default]
    V2,
    /// `/api/v3/write_lp`: InfluxDB 3. Good lines of a rejected batch are stored.
    V3,
}

/// Names in the raw points, one for each trade.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TradePoints {
    /// Measurement.
    pub measurement: PointName,
    /// Tag that holds the symbol.
    pub symbol_tag: PointName,
    /// Field that holds the price (float).
    pub price_field: PointName,
    /// Field that holds the amount, negative when the taker sold (float).
    pub amount_field: PointName,
    /// Field that holds the trade id (integer).
    pub id_field: PointName,
}

impl Default for TradePoints {
    fn default() -> Self {
        Self {
            measurement: PointName::constant("trades"),
            symbol_tag: PointName::constant("symbol"),
            price_field: PointName::constant("price"),
            amount_field: PointName::constant("amount"),
            id_field: PointName::constant("id"),
        }
    }
}

/// Names in the points of candles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CandlePoints {
    /// Measurement of final candles.
    pub measurement: PointName,
    /// Measurement of forming and incomplete candles.
    pub live_measurement: PointName,
    /// Write forming candles, about once a second while they change. InfluxDB 3 overwrites unreliably: switch it
    /// off there. Incomplete ones are written once, always.
    pub live: bool,
    /// Tag that holds the symbol.
    pub symbol_tag: PointName,
    /// Tag that holds the interval.
    pub interval_tag: PointName,
    /// Fields.
    pub fields: CandleFields,
}

impl Default for CandlePoints {
    fn default() -> Self {
        Self {
            measurement: PointName::constant("candles"),
            live_measurement: PointName::constant("candles_live"),
            live: true,
            symbol_tag: PointName::constant("symbol"),
            interval_tag: PointName::constant("interval"),
            fields: CandleFields::default(),
        }
    }
}

/// Names of the fields of a candle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CandleFields {
    /// Price of the first trade by (time, id).
    pub open: PointName,
    /// Highest price.
    pub high: PointName,
    /// Lowest price.
    pub low: PointName,
    /// Price of the last trade by (time, id).
    pub close: PointName,
    /// Sum of the absolute amounts, in base currency.
    pub volume: PointName,
    /// Sum of price times absolute amount, in quote currency.
    pub quote_volume: PointName,
    /// The part of `volume` where the taker bought.
    pub buy_volume: PointName,
    /// `quote_volume / volume`.
    pub vwap: PointName,
    /// Number of trades (integer).
    pub count: PointName,
    /// `forming` or `incomplete`; only in the live measurement (string).
    pub state: PointName,
}

impl Default for CandleFields {
    fn default() -> Self {
        Self {
            open: PointName::constant("open"),
            high: PointName::constant("high"),
            low: PointName::constant("low"),
            close: PointName::constant("close"),
            volume: PointName::constant("volume"),
            quote_volume: PointName::constant("quote_volume"),
            buy_volume: PointName::constant("buy_volume"),
            vwap: PointName::constant("vwap"),
            count: PointName::constant("count"),
            state: PointName::constant("state"),
        }
    }
}

impl InfluxdbConfig {
    /// What no single value can say. The message names the keys.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.bucket.is_empty() {
            return Err("influxdb.bucket: is empty".to_owned());
        }
        if self.api == InfluxApi::V2 && self.organization.as_ref().is_none_or(String::is_empty) {
            return Err("influxdb.organization: api: v2 needs the organization of the bucket".to_owned());
        }
        let (trades, candles) = (&self.trades, &self.candles);
        distinct(
            "influxdb: trades.measurement, candles.measurement and candles.liveMeasurement",
            &[&trades.measurement, &candles.measurement, &candles.live_measurement],
        )?;
        distinct(
            "influxdb.trades: symbolTag, priceField, amountField and idField",
            &[&trades.symbol_tag, &trades.price_field, &trades.amount_field, &trades.id_field],
        )?;
        let fields = &candles.fields;
        distinct(
            "influxdb.candles: symbolTag, intervalTag and fields",
            &[
                &candles.symbol_tag,
                &candles.interval_tag,
                &fields.open,
                &fields.high,
                &fields.low,
                &fields.close,
                &fields.volume,
                &fields.quote_volume,
                &fields.buy_volume,
                &fields.vwap,
                &fields.count,
                &fields.state,
            ],
        )
    }
}

/// A tag and a field of one name cannot both be queried, and `time` is the timestamp's own name.
fn distinct(keys: &str, names: &[&PointName]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| name.as_str() == "time" || !seen.insert(name.as_str())) {
        Some(name) => {
            Err(format!("{keys}: {:?} stands there twice or is the timestamp's name", name.as_str()))
        }
        None => Ok(()),
    }
}
