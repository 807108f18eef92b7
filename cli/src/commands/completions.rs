//! `candlectl completions` and `candlectl man`: made from the command line itself.

use std::io::Write as _;

use anyhow::Context as _;
use clap::{Args, Command};
use clap_complete::Shell;

use crate::output::Answer;

/// Prints a script that completes commands and flags in a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  candlectl completions bash > ~/.local/share/bash-completion/completions/candlectl"
)]
pub struct Arguments {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints a page of the manual
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  candlectl man verify | man -l -")]
pub struct ManArguments {
    /// Of this command [default: of candlectl itself]
    command: Option<String>,
}

/// Prints the script.
pub fn run(arguments: &Arguments, mut line: Command) -> anyhow::Result<Answer> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut line, "candlectl", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Answer::Yes)
}

/// Prints the page.
pub fn man(arguments: &ManArguments, mut line: Command) -> anyhow::Result<Answer> {
    line.build();
    let page = match &arguments.command {
        None => line,
        Some(name) => {
            line.find_subcommand(name).with_context(|| format!("there is no command {name}"))?.clone()
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    std::io::stdout().write_all(&text)?;
    Ok(Answer::Yes)
}
