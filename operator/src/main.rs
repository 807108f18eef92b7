//! The operator's command line.

use std::{io::Write as _, process::ExitCode};

use clap::{Parser, Subcommand};

/// Runs pipelines of candlesticks on Kubernetes.
#[derive(Debug, Parser)]
#[command(name = "operator", version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Prints the CustomResourceDefinition.
    Crd,
}

fn main() -> ExitCode {
    let Command { action: Action::Crd } = Command::parse();
    let written =
        candles_operator::api::crd_yaml().and_then(|yaml| Ok(std::io::stdout().write_all(yaml.as_bytes())?));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
