//! Arguments that say which pipeline is meant in, its checked configuration out.
//!
//! A file is the workers' own; flags make the same configuration, so they are checked by the same rules.

use std::path::PathBuf;

use anyhow::Context as _;
use candles_core::config::PipelineConfig;
use candles_workers::runtime::command::read_config;
use clap::Args;
use serde_json::json;

/// Which pipeline is meant: a configuration file, or flags for one without TLS and logins.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Pipeline")]
pub struct Source {
    /// Pipeline configuration (YAML), the file that producer and consumers read
    #[arg(long, value_name = "FILE", env = "CANDLES_CONFIG", conflicts_with_all = [
        "brokers", "registry", "topic", "group", "symbols", "intervals", "influxdb", "org", "bucket", "token_env",
    ])]
    config: Option<PathBuf>,
    /// Kafka brokers
    #[arg(long, value_name = "HOST:PORT,...", default_value = "localhost:9092")]
    brokers: String,
    /// Schema registry
    #[arg(long, value_name = "URL", default_value = "http://localhost:8081")]
    registry: String,
    /// Topic of the trades
    #[arg(long, default_value = "trades")]
    topic: String,
    /// Consumer group [default: candles-TOPIC]
    #[arg(long)]
    group: Option<String>,
    /// Symbols
    #[arg(long, value_name = "SYMBOL,...", value_delimiter = ',', default_value = "tBTCUSD")]
    symbols: Vec<String>,
    /// Intervals of the candles
    #[arg(long, value_name = "INTERVAL,...", value_delimiter = ',', default_value = "1m")]
    intervals: Vec<String>,
    /// InfluxDB
    #[arg(long, value_name = "URL", default_value = "http://localhost:8086")]
    influxdb: String,
    /// Organization in InfluxDB
    #[arg(long, default_value = "candles")]
    org: String,
    /// Bucket in InfluxDB
    #[arg(long, default_value = "candles")]
    bucket: String,
    /// Environment variable that holds the token of InfluxDB
    #[arg(long, value_name = "NAME", default_value = "INFLUX_TOKEN")]
    token_env: String,
}

impl Source {
    /// Reads and checks the configuration.
    pub fn load(&self) -> anyhow::Result<PipelineConfig> {
        if let Some(path) = &self.config {
            return read_config(path).map_err(anyhow::Error::msg);
        }
        let mut config = json!({
            "exchange": {"name": "bitfinex", "symbols": self.symbols},
            "kafka": {"bootstrapServers": self.brokers},
            "schemaRegistry": {"url": self.registry},
            "topic": {"name": self.topic},
            "candles": {"intervals": self.intervals},
            "influxdb": {
                "url": self.influxdb, "organization": self.org, "bucket": self.bucket,
                "token": {"env": self.token_env},
            },
        });
        if let Some(group) = &self.group {
            config["consumer"] = json!({"groupId": group});
        }
        // JSON is YAML, and the line of a text that nobody wrote helps nobody.
        PipelineConfig::from_yaml(&config.to_string())
            .map_err(|error| anyhow::Error::msg(error.message))
            .context("the flags make no pipeline")
    }

    /// The arguments that make another command mean the same pipeline, for advice that can be copied.
    pub fn as_arguments(&self) -> String {
        match &self.config {
            Some(path) => format!(" --config {}", path.display()),
            None => String::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        source: Source,
    }

    fn load(arguments: &[&str]) -> anyhow::Result<PipelineConfig> {
        Command::parse_from(["candlectl"].iter().chain(arguments)).source.load()
    }

    #[test]
    fn flags_are_checked_like_a_file() {
        let config =
            load(&["--symbols", "tBTCUSD,tETHUSD", "--intervals", "60s,5m", "--group", "g"]).unwrap();
        assert_eq!(config.exchange.symbols.len(), 2);
        assert_eq!(config.candles.intervals[0].to_string(), "1m");
        assert_eq!(config.group_id(), "g");
        let error = format!("{:#}", load(&["--intervals", "7"]).unwrap_err());
        assert!(error.contains(r#"candles.intervals[0]: "7" has no unit"#), "{error}");
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = load(&["--config", "/nonexistent/p.yaml"]).unwrap_err().to_string();
        assert!(error.starts_with("cannot read /nonexistent/p.yaml"), "{error}");
    }
}
