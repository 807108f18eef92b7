//! Settings of the database and the names in its points, as users write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SecretKeyRef, rules};

/// Where points are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [rules::v2_needs_an_organization(), rules::measurements_are_distinct()]))]
pub struct InfluxdbSpec {
    /// Base URL, with the path prefix if there is one.
    #[schemars(length(max = 512))]
    #[schemars(extend("x-kubernetes-validations" = [rules::http_url(), rules::url_without_login()]))]
    pub url: String,
    /// Which write API. `v2`: `/api/v2/write`, of InfluxDB 2, and 3 in its compatible mode. `v3`: `/api/v3/write_lp`.
    #[serde(default)]
    pub api: InfluxApi,
    /// Organization, for `api: v2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 255), regex(pattern = rules::PRINTABLE_PATTERN))]
    pub organization: Option<String>,
    /// Bucket; the database for `api: v3`.
    #[schemars(length(min = 1, max = 255), regex(pattern = rules::PRINTABLE_PATTERN))]
    pub bucket: String,
    /// Where the token is.
    pub token_secret_ref: SecretKeyRef,
    /// PEM certificates of the authorities that may sign the server's certificate; those of the system when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret_ref: Option<SecretKeyRef>,
    /// Compress requests: less network, more CPU.
    #[serde(default)]
    pub gzip: bool,
    /// Names in the raw points, one for each trade.
    #[serde(default)]
    pub trades: TradePointsSpec,
    /// Names in the points of candles.
    #[serde(default)]
    pub candles: CandlePointsSpec,
}

/// Which write API.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "doc comments of variants would make the schema a oneOf")]
pub enum InfluxApi {
    #[default]
    V2,
    V3,
}

/// Names in the raw points, one for each trade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rules::trade_names_are_distinct()]))]
pub struct TradePointsSpec {
    /// Measurement.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub measurement: String,
    /// Tag that holds the symbol.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub symbol_tag: String,
    /// Field that holds the price (float).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub price_field: String,
    /// Field that holds the amount, negative when the taker sold (float).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub amount_field: String,
    /// Field that holds the trade id (integer).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub id_field: String,
}

impl Default for TradePointsSpec {
    fn default() -> Self {
        Self {
            measurement: "trades".to_owned(),
            symbol_tag: "symbol".to_owned(),
            price_field: "price".to_owned(),
            amount_field: "amount".to_owned(),
            id_field: "id".to_owned(),
        }
    }
}

/// Names in the points of candles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = [rules::candle_names_are_distinct()]))]
pub struct CandlePointsSpec {
    /// Measurement of final candles.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub measurement: String,
    /// Measurement of forming and incomplete candles.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub live_measurement: String,
    /// Write forming candles, about once a second while they change. InfluxDB 3 overwrites unreliably: switch it
    /// off there. Incomplete ones are written once, always.
    pub live: bool,
    /// Tag that holds the symbol.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub symbol_tag: String,
    /// Tag that holds the interval.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub interval_tag: String,
    /// Fields.
    pub fields: CandleFieldsSpec,
}

impl Default for CandlePointsSpec {
    fn default() -> Self {
        Self {
            measurement: "candles".to_owned(),
            live_measurement: "candles_live".to_owned(),
            live: true,
            symbol_tag: "symbol".to_owned(),
            interval_tag: "interval".to_owned(),
            fields: CandleFieldsSpec::default(),
        }
    }
}

/// Names of the fields of a candle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CandleFieldsSpec {
    /// Price of the first trade by (time, id).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub open: String,
    /// Highest price.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub high: String,
    /// Lowest price.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub low: String,
    /// Price of the last trade by (time, id).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub close: String,
    /// Sum of the absolute amounts, in base currency.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub volume: String,
    /// Sum of price times absolute amount, in quote currency.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub quote_volume: String,
    /// The part of `volume` where the taker bought.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub buy_volume: String,
    /// `quote_volume / volume`.
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub vwap: String,
    /// Number of trades (integer).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub count: String,
    /// `forming` or `incomplete`; only in the live measurement (string).
    #[schemars(length(min = 1, max = 64), regex(pattern = rules::POINT_NAME_PATTERN))]
    pub state: String,
}

impl Default for CandleFieldsSpec {
    fn default() -> Self {
        Self {
            open: "open".to_owned(),
            high: "high".to_owned(),
            low: "low".to_owned(),
            close: "close".to_owned(),
            volume: "volume".to_owned(),
            quote_volume: "quote_volume".to_owned(),
            buy_volume: "buy_volume".to_owned(),
            vwap: "vwap".to_owned(),
            count: "count".to_owned(),
            state: "state".to_owned(),
        }
    }
}
