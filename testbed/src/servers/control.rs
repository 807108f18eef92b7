//! Text commands in (`kill broker-2`), what became of them out: the same for standard input and for other
//! shells, which reach a running `testbed up` through a socket in its run folder.
//! The socket's place is in a state file; both are reachable by this user only as far as the run folder is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::error::{Error, Result, chain};
use super::rundir;
use super::testbed::Testbed;

/// What can be done to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// SIGKILL.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// SIGCONT.
    Thaw,
    /// SIGTERM, and SIGKILL if that does not help.
    Stop,
    /// Stop if it runs, start, wait until it is ready.
    Restart,
}

impl Action {
    /// All actions by the word that asks for them.
    pub const ALL: &[(&str, Self)] = &[
        ("kill", Self::Kill),
        ("freeze", Self::Freeze),
        ("thaw", Self::Thaw),
        ("stop", Self::Stop),
        ("restart", Self::Restart),
    ];
}

/// A parsed command line.
#[derive(Debug, PartialEq, Eq)]
enum Request<'a> {
    Status,
    Act(Action, &'a str),
}

fn parse(line: &str) -> Result<Request<'_>, String> {
    let (word, server) = line.trim().split_once(char::is_whitespace).unwrap_or((line.trim(), ""));
    if word == "status" {
        return Ok(Request::Status);
    }
    match Action::ALL.iter().find(|(name, _)| *name == word) {
        Some((_, action)) if !server.trim().is_empty() => Ok(Request::Act(*action, server.trim())),
        Some(_) => Err(format!("{word} what? e.g. \"{word} broker-2\"")),
        None => Err(format!("\"{word}\" is not a command; use status, kill, freeze, thaw, stop or restart")),
    }
}

/// Carries out one command line. The answer starts with `ok` or `error`, `status` excepted.
pub async fn carry_out(testbed: &Testbed, line: &str) -> String {
    match parse(line) {
        Ok(Request::Status) => status(testbed),
        Ok(Request::Act(action, name)) => match act(testbed, action, name).await {
            Ok(()) => format!("ok: {}\n", line.trim()),
            Err(error) => format!("error: {error}\n"),
        },
        Err(error) => format!("error: {error}\n"),
    }
}

async fn act(testbed: &Testbed, action: Action, name: &str) -> Result<(), String> {
    let Some(server) = testbed.server(name) else {
        let names: Vec<&str> = testbed.servers().iter().map(|server| server.name()).collect();
        return Err(format!("no server \"{name}\"; there are {}", names.join(", ")));
    };
    let done = match action {
        Action::Kill => server.kill(),
        Action::Freeze => server.freeze(),
        Action::Thaw => server.thaw(),
        Action::Stop => server.stop().await,
        Action::Restart => server.restart().await,
    };
    done.map_err(|error| chain(&error))
}

/// One line per server: name, state, process id, log.
pub fn status(testbed: &Testbed) -> String {
    let line = |server: &super::Server| {
        let pid = server.pid().map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let state = format!("{:?}", server.state()).to_lowercase();
        format!("{:<23} {state:<8} {pid:>7}  {}\n", server.name(), server.log_path().display())
    };
    testbed.servers().into_iter().map(line).collect()
}

/// The state file that `testbed up` writes and other shells read.
pub fn state_file() -> PathBuf {
    rundir::parent().join("up.json")
}

/// Serves commands of other shells until dropped; writes [`state_file`] with the testbed's addresses.
pub async fn serve(testbed: Arc<Testbed>) -> Result<()> {
    let socket = testbed.run_dir().path().join("control.sock");
    let listener =
        UnixListener::bind(&socket).map_err(Error::io(format!("listen on {}", socket.display())))?;
    let mut state = testbed.addresses();
    state["control"] = Value::from(socket.display().to_string());
    let file = state_file();
    std::fs::write(&file, format!("{state:#}\n")).map_err(Error::io(format!("write {}", file.display())))?;
    loop {
        let (stream, _) = listener.accept().await.map_err(Error::io("accept on the control socket"))?;
        let testbed = Arc::clone(&testbed);
        tokio::spawn(async move {
            let (read, mut write) = stream.into_split();
            let mut line = String::new();
            // A command is short; whatever is longer is none.
            let _ = BufReader::new(read.take(1_000)).read_line(&mut line).await;
            let _ = write.write_all(carry_out(&testbed, &line).await.as_bytes()).await;
        });
    }
}

/// Sends a command to the `testbed up` that the state file names, and returns its answer.
pub async fn send(file: &Path, line: &str) -> Result<String> {
    let action = format!("reach a running `testbed up` through {}", file.display());
    let ask = async {
        let state: Value = serde_json::from_slice(&std::fs::read(file)?)?;
        let mut stream = UnixStream::connect(state["control"].as_str().unwrap_or_default()).await?;
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    ask.await.map_err(Error::io(action))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_name_an_action_and_a_server() {
        assert_eq!(parse("kill broker-2\n"), Ok(Request::Act(Action::Kill, "broker-2")));
        assert_eq!(parse("  restart   broker 2 "), Ok(Request::Act(Action::Restart, "broker 2")));
        assert_eq!(parse("status"), Ok(Request::Status));
        assert_eq!(parse("freeze"), Err("freeze what? e.g. \"freeze broker-2\"".into()));
        assert!(parse("reboot all").unwrap_err().contains("\"reboot\" is not a command"));
    }
}
