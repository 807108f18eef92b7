//! The command line that both workers share, and what a process does with the result.

use std::{future::Future, net::SocketAddr, path::PathBuf, process::ExitCode};

use candles_core::config::PipelineConfig;
use clap::Args;
use tokio_util::sync::CancellationToken;

use super::{logs, shutdown};

/// Exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    stopped by SIGTERM or SIGINT, everything finished
  1    an error that waiting does not mend; the log says which
  2    wrong arguments, or a configuration that cannot be read
  130  a second signal ended it at once

Secrets come from environment variables or files that the configuration names.
RUST_LOG sets the log level: error, warn, info (default), debug or trace.";

/// Arguments of a worker.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Pipeline configuration (YAML).
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where /healthz, /readyz and /metrics are served; port 0 takes any free one.
    #[arg(long, value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub http_address: SocketAddr,
    /// How log events are written to standard error.
    #[arg(long, value_enum, default_value = "auto")]
    pub log_format: logs::LogFormat,
}

/// Reads the configuration and runs `worker` with it until a signal.
pub fn main<F>(arguments: &Arguments, worker: impl FnOnce(PipelineConfig, CancellationToken) -> F) -> ExitCode
where
    F: Future<Output = anyhow::Result<()>>,
{
    let config = match read_config(&arguments.config) {
        Ok(config) => config,
        Err(problem) => {
            eprintln!("error: {problem}");
            return ExitCode::from(2);
        }
    };
    logs::init(arguments.log_format);
    // reqwest and tungstenite must agree on one provider; the first to be installed wins.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| {
            let result = runtime.block_on(async { worker(config, shutdown::on_signal()?).await });
            // Blocking tasks that wait for a server that is gone must not hold the process.
            runtime.shutdown_timeout(std::time::Duration::from_secs(1));
            result
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Reads and checks a configuration file; the error names the file, the line and the key.
pub fn read_config(path: &std::path::Path) -> Result<PipelineConfig, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    PipelineConfig::from_yaml(&text).map_err(|error| match error.line {
        Some(line) => format!("{}:{line}: {}", path.display(), error.message),
        None => format!("{}: {}", path.display(), error.message),
    })
}
