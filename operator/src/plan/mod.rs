//! Plan.

/// Where secrets are mounted.
pub const SECRETS_PATH: &str = "/etc/candles/secrets";
