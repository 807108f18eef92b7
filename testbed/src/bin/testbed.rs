//! `testbed`: the real servers from a shell. Commands in; servers, addresses and answers out.
//! Exit status: 0 done, 1 refused by a running testbed, 2 error. Everything it starts ends with it.

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;

use candles_testbed::servers::artefacts::{self, Artefact};
use candles_testbed::servers::cache::Cache;
use candles_testbed::servers::{Error, Testbed, chain, control, install, kafka, remove_ended_runs};
use clap::builder::PossibleValuesParser;
use clap::{Parser, Subcommand};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// Runs the real servers: three Kafka brokers, two schema registries, InfluxDB, a Kubernetes control plane.
///
/// Environment: CANDLES_CACHE names the folder for what is built once (default: candles in the XDG cache home);
/// CANDLES_RUN_DIR names the folder for logs and data of runs (default: in the temporary folder).
#[derive(Parser)]
#[command(name = "testbed")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build or fetch servers, once, into the cache; without names all that tests need
    Install {
        /// Which ones
        #[arg(value_parser = PossibleValuesParser::new(artefacts::names()))]
        names: Vec<String>,
    },
    /// Remove everything that was installed, and the kept folders of ended runs
    Clean,
    /// Start the servers of the data path, print their addresses, run until Ctrl-C; takes commands on standard input
    Up {
        /// Start a Kubernetes control plane too: etcd, API server, controller manager, scheduler
        #[arg(long)]
        kubernetes: bool,
        /// Print the addresses as JSON
        #[arg(long)]
        json: bool,
    },
    /// Show the servers of a running `testbed up`
    Status,
    /// SIGKILL a server of a running `testbed up`
    Kill(Target),
    /// SIGSTOP it: its sockets stay open, nothing answers
    Freeze(Target),
    /// SIGCONT it
    Thaw(Target),
    /// Stop it cleanly
    Stop(Target),
    /// Start it again, on the same ports and data
    Restart(Target),
}

#[derive(clap::Args)]
struct Target {
    /// broker-1 to broker-3, apicurio, axonops, influxdb, etcd, kube-apiserver, kube-controller-manager,
    /// kube-scheduler
    server: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Install { names } => install_all(&names).await.map(|()| ExitCode::SUCCESS),
        Command::Clean => clean().map(|()| ExitCode::SUCCESS),
        Command::Up { kubernetes, json } => up(kubernetes, json).await.map(|()| ExitCode::SUCCESS),
        Command::Status => ask("status".to_owned()).await,
        Command::Kill(target) => ask(format!("kill {}", target.server)).await,
        Command::Freeze(target) => ask(format!("freeze {}", target.server)).await,
        Command::Thaw(target) => ask(format!("thaw {}", target.server)).await,
        Command::Stop(target) => ask(format!("stop {}", target.server)).await,
        Command::Restart(target) => ask(format!("restart {}", target.server)).await,
    };
    done.unwrap_or_else(|error| {
        eprintln!("testbed: {}", chain(&error));
        ExitCode::from(2)
    })
}

async fn install_all(names: &[String]) -> Result<(), Error> {
    let cache = Cache::from_env()?;
    let named = |artefact: &&'static Artefact| names.iter().any(|name| name == artefact.name);
    let wanted: Vec<&'static Artefact> = if names.is_empty() {
        artefacts::ALL.to_vec()
    } else {
        artefacts::everything().filter(named).collect()
    };
    for artefact in wanted {
        let entry = install::ensure(&cache, artefact)?;
        if artefact.name == artefacts::KAFKA.name {
            kafka::install().await?;
        }
        println!("{} {}: {}", artefact.name, artefact.version, entry.display());
    }
    Ok(())
}

fn clean() -> Result<(), Error> {
    for folder in Cache::from_env()?.clear()?.into_iter().chain(remove_ended_runs()) {
        println!("removed {}", folder.display());
    }
    Ok(())
}

fn signals() -> Result<(Signal, Signal), Error> {
    let both = || Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?));
    let both: std::io::Result<_> = both();
    both.map_err(|source| Error::Io { action: "take over SIGINT and SIGTERM".to_owned(), source })
}

async fn up(kubernetes: bool, json: bool) -> Result<(), Error> {
    let (mut interrupt, mut terminate) = signals()?;
    let testbed = tokio::select! {
        started = Testbed::builder("up").kubernetes(kubernetes).start() => Arc::new(started?),
        // Not by returning: that would wait for a build that is under way.
        _ = interrupt.recv() => std::process::exit(130),
        _ = terminate.recv() => std::process::exit(143),
    };
    print_addresses(&testbed, json);
    let mut lines = stdin_lines();
    let control = tokio::spawn({
        let testbed = Arc::clone(&testbed);
        async move {
            let Err(error) = control::serve(testbed).await else { return };
            eprintln!("testbed: no commands from other shells: {}", chain(&error));
        }
    });
    loop {
        tokio::select! {
            Some(line) = lines.recv() => eprint!("{}", control::carry_out(&testbed, &line).await),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    control.abort();
    testbed.run_dir().finish();
    let _ = std::fs::remove_file(control::state_file());
    Ok(())
}

/// Lines of standard input; none at its end. A thread, since a read from a terminal cannot be given up.
fn stdin_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        let lines = std::io::stdin().lock().lines().map_while(Result::ok);
        let _ = lines.filter(|line| !line.trim().is_empty()).try_for_each(|line| sender.blocking_send(line));
    });
    lines
}

fn print_addresses(testbed: &Testbed, json: bool) {
    let addresses = testbed.addresses();
    if json {
        println!("{addresses:#}");
        return;
    }
    for (part, value) in addresses.as_object().into_iter().flatten().filter(|(_, value)| value.is_object()) {
        for (name, value) in value.as_object().into_iter().flatten() {
            println!("{part:<10} {name:<21} {}", value.as_str().unwrap_or_default());
        }
    }
    print!("{}", control::status(testbed));
    println!("Ctrl-C ends everything. Commands here, or as `testbed COMMAND` in another shell:");
    println!("  status | kill SERVER | freeze SERVER | thaw SERVER | stop SERVER | restart SERVER");
}

async fn ask(line: String) -> Result<ExitCode, Error> {
    let answer = control::send(&control::state_file(), &line).await?;
    print!("{answer}");
    Ok(if answer.starts_with("error") { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
