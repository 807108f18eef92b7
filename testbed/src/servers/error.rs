//! What can go wrong with a server: each variant says which one, where it was seen and what to do next.
//! Nothing here is ever turned into a skipped test.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Result of everything in [`crate::servers`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a server could not be had, started or used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that a recipe needs is not on `PATH`.
    #[error("{needed_for} needs `{tool}`, which is not on PATH; install the Debian package {package}")]
    MissingTool {
        /// Program name.
        tool: &'static str,
        /// Debian package that has it, with a remark where the release's own is too old.
        package: &'static str,
        /// Artefact or server that needs it.
        needed_for: String,
    },
    /// A step of an installation ended with an error.
    #[error(
        "install {artefact}: step \"{step}\" {outcome}; its last lines:\n{tail}\nnothing was kept; \
         repeat with `testbed install {name}`"
    )]
    Install {
        /// Name and version.
        artefact: String,
        /// Name alone, as `testbed install` takes it.
        name: &'static str,
        /// The step's description.
        step: String,
        /// How the step ended.
        outcome: String,
        /// Last lines of the step's output.
        tail: String,
    },
    /// A server process ended before it was ready.
    #[error(
        "{server}: ended before it was ready ({outcome}); last lines of {}:\n{tail}\n{}",
        log.display(), Error::log_hint(log)
    )]
    Ended {
        /// Server name.
        server: String,
        /// How the process ended.
        outcome: String,
        /// Its log file.
        log: PathBuf,
        /// Last lines of its log.
        tail: String,
        /// Whether its log says that another process has its port.
        port_taken: bool,
    },
    /// A server process runs but did not become ready in time.
    #[error(
        "{server}: not ready after {limit:?} ({probe}); last lines of {}:\n{tail}\n{}",
        log.display(), Error::log_hint(log)
    )]
    NotReady {
        /// Server name.
        server: String,
        /// Time that was given.
        limit: Duration,
        /// What readiness was taken to be.
        probe: String,
        /// Its log file.
        log: PathBuf,
        /// Last lines of its log.
        tail: String,
    },
    /// A server was asked for something that its state does not allow.
    #[error("{server}: cannot {action}: it is {state}; {next}")]
    State {
        /// Server name.
        server: String,
        /// What was asked.
        action: &'static str,
        /// What it is doing instead.
        state: &'static str,
        /// What to do.
        next: &'static str,
    },
    /// A server answered, but with a refusal.
    #[error("{server}: {action}: answered {status}: {body}")]
    Refused {
        /// Server name.
        server: String,
        /// What was asked.
        action: String,
        /// HTTP status or Kafka error code.
        status: String,
        /// What it said.
        body: String,
    },
    /// A server could not be reached.
    #[error("{server}: {action}: no answer; is it running, or frozen?")]
    Unreachable {
        /// Server name.
        server: String,
        /// What was asked.
        action: String,
        /// What the client library saw.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A condition did not come true in time.
    #[error("{what}: not so after {limit:?}; last seen: {seen}")]
    Timeout {
        /// The condition.
        what: String,
        /// Time that was given.
        limit: Duration,
        /// The last observation.
        seen: String,
    },
    /// A certificate could not be made.
    #[error("certificate for {subject}")]
    Certificate {
        /// Whose certificate.
        subject: &'static str,
        /// What rcgen said.
        #[source]
        source: rcgen::Error,
    },
    /// A file, folder, socket or process call failed.
    #[error("{action}")]
    Io {
        /// What was tried, with the path or the program.
        action: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an I/O error with what was tried.
    pub(crate) fn io(action: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let action = action.into();
        move |source| Self::Io { action, source }
    }

    /// Whether a server ended because another process had its port: worth another try with other ports.
    pub(crate) fn is_port_taken(&self) -> bool {
        matches!(self, Self::Ended { port_taken: true, .. })
    }

    fn log_hint(log: &Path) -> String {
        let folder = log.parent().unwrap_or(log);
        format!(
            "the run's folder {} is kept; memory and CPU are the usual causes of slowness",
            folder.display()
        )
    }
}

/// An error and its causes on one line, as people read it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}

/// Whether a server's log says that another process has its port. Kafka says so hundreds of lines before the end.
pub(crate) fn says_port_taken(log: &str) -> bool {
    ["address already in use", "Address already in use", "seems to be in use by another process"]
        .iter()
        .any(|said| log.contains(said))
}

/// The last `lines` lines of a file, or why they cannot be read.
pub(crate) fn tail(file: &Path, lines: usize) -> String {
    match std::fs::read(file) {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes), lines),
        Err(error) => format!("(no log: {error})"),
    }
}

fn last_lines(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_lines_are_the_end_of_the_log() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a", 5), "a");
        assert_eq!(last_lines("", 5), "");
    }

    #[test]
    fn each_server_is_understood_when_its_port_is_taken() {
        let kafka = "org.apache.kafka.common.KafkaException: Socket server failed to bind to 127.0.0.1:11999: \
                     Address already in use.\n\tat kafka.network.Acceptor\n[..] INFO shut down completed";
        let apicurio = "Port 11999 seems to be in use by another process. Quarkus may already be running";
        let go = r#""error":"listen tcp 127.0.0.1:11999: bind: address already in use""#;
        assert!([kafka, apicurio, go].into_iter().all(says_port_taken));
        assert!(!says_port_taken("java.lang.OutOfMemoryError: Java heap space"));
    }
}
