//! Settings of the exchange, as users write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Where trades come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExchangeSpec {
    /// The exchange.
    #[serde(default)]
    pub name: ExchangeName,
    /// 1 to 500 distinct trading pairs, as the exchange writes them: `tBTCUSD`, `tAVAX:USD`.
    #[schemars(length(min = 1, max = 500))]
    #[schemars(inner(length(min = 4, max = 32), regex(pattern = r"^t([A-Z0-9]{6}|[A-Z0-9]+:[A-Z0-9]+)$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub symbols: Vec<String>,
    /// WebSocket endpoint; change it for a proxy or a test.
    #[serde(default = "default_websocket_url")]
    #[schemars(length(max = 512))]
    #[schemars(extend("x-kubernetes-validations" = [rules::websocket_url(), rules::url_without_login()]))]
    pub websocket_url: String,
    /// REST endpoint; change it for a proxy or a test.
    #[serde(default = "default_rest_url")]
    #[schemars(length(max = 512))]
    #[schemars(extend("x-kubernetes-validations" = [rules::http_url(), rules::url_without_login()]))]
    pub rest_url: String,
    /// Limits of the exchange, which it changes without notice.
    #[serde(default)]
    pub limits: ExchangeLimitsSpec,
}

/// The exchanges that a producer can read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExchangeName {
    // Bitfinex, API version 2. (A doc comment would make the schema a `oneOf`.)
    #[default]
    #[allow(missing_docs)]
    Bitfinex,
}

/// What the exchange allows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ExchangeLimitsSpec {
    /// Subscriptions on one WebSocket connection.
    #[schemars(range(min = 1, max = 1000))]
    pub channels_per_connection: i32,
    /// WebSocket connections opened per minute, from one address.
    #[schemars(range(min = 1, max = 1000))]
    pub connects_per_minute: i32,
    /// Requests for trade history per minute, from one address.
    #[schemars(range(min = 1, max = 1000))]
    pub history_requests_per_minute: i32,
    /// Rows in one answer to a request for trade history.
    #[schemars(range(min = 1, max = 10000))]
    pub history_rows: i32,
    /// A connection without any frame for this long is dead, as in `40s`; at least `1s`.
    #[schemars(length(max = 16), regex(pattern = rules::DURATION_PATTERN))]
    #[schemars(extend("x-kubernetes-validations" = [rules::silence_is_a_second_or_more()]))]
    pub silence: String,
}

impl Default for ExchangeLimitsSpec {
    fn default() -> Self {
        Self {
            channels_per_connection: 25,
            connects_per_minute: 15,
            history_requests_per_minute: 15,
            history_rows: 10_000,
            silence: "40s".to_owned(),
        }
    }
}

fn default_websocket_url() -> String {
    "wss://api-pub.bitfinex.com/ws/2".to_owned()
}

fn default_rest_url() -> String {
    "https://api-pub.bitfinex.com/v2".to_owned()
}
