//! The operator's command line.

use std::{io::Write as _, process::ExitCode};

use candles_operator::{
    api::crd_yaml,
    process::{self, arguments, rbac, release},
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
    /// Takes the operator's finalizer off pipelines, when no operator will come back.
    ///
    /// Pipelines with deletionPolicy: Delete can then be deleted without an operator; their topics stay. An operator
    /// that starts later puts it on again. Run it after the operator has ended: it waits for the Lease.
    Release(release::Arguments),
}

fn main() -> ExitCode {
    let text = match Command::parse().action {
        Action::Run(arguments) => return process::main(&arguments),
        Action::Release(arguments) => return release::main(&arguments),
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
