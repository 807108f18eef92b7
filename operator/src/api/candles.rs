//! Settings of candles, as users write them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rules;

/// Which candles are built.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CandlesSpec {
    /// At most 16 distinct lengths from 1s to 1d, and 1w: `[1m, 2m, 1h]`. Empty: raw points only.
    #[schemars(length(max = 16), inner(length(max = 8), regex(pattern = r"^[1-9][0-9]{0,6}[smhdw]$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    #[schemars(extend("x-kubernetes-validations" = [rules::intervals_are_in_range(), rules::intervals_are_distinct()]))]
    pub intervals: Vec<String>,
    /// How long after its end (exchange time) a window stays open for trades that arrive out of order; at most `1h`.
    #[schemars(length(max = 16), regex(pattern = rules::DURATION_PATTERN))]
    #[schemars(extend("x-kubernetes-validations" = [rules::lateness_is_an_hour_or_less()]))]
    pub lateness: String,
}

impl Default for CandlesSpec {
    fn default() -> Self {
        Self { intervals: vec!["1m".to_owned()], lateness: "10s".to_owned() }
    }
}
