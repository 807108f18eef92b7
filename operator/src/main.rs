//! The operator's command line.

use std::{io::Write as _, process::ExitCode};

use candles_operator::{
    api::crd_yaml,
    process::{self, arguments, rbac},
};
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
    /// Runs the operator, until SIGTERM.
    #[command(after_help = arguments::AFTER_HELP)]
    Run(Box<arguments::Arguments>),
    /// Prints the CustomResourceDefinition.
    Crd,
    /// Prints the service account and the roles that the operator needs.
    Rbac(rbac::Arguments),
}

fn main() -> ExitCode {
    let text = match Command::parse().action {
        Action::Run(arguments) => return process::main(&arguments),
        Action::Crd => crd_yaml(),
        Action::Rbac(arguments) => rbac::manifest(&arguments),
    };
    match text.and_then(|text| Ok(std::io::stdout().write_all(text.as_bytes())?)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
