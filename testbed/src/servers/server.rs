//! One supervised server process: start, kill, freeze, thaw, stop and restart it, on the same ports, data and
//! log file, from any task. Ends with its handle, and with this process (see `process`).
//! Never restarts anything by itself, and never calls a server ready that has not said so since its last start.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::error::{Error, Result, says_port_taken, tail};
use super::process;
use super::rundir::RunDir;

/// Lines of a log that an error quotes.
const TAIL_LINES: usize = 30;
/// Pause between two looks at a starting or stopping server.
const POLL: Duration = Duration::from_millis(50);
/// Time for a server to end by itself after SIGTERM; then SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// How a server says that it is ready.
#[derive(Debug, Clone)]
pub(crate) enum Probe {
    /// A GET of this address succeeds.
    Http(String),
    /// The same over TLS, where only this CA (PEM) is trusted.
    Https(String, PathBuf),
    /// Its log has this text since the last start.
    LogLine(&'static str),
}

/// What to run, and where.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(&'static str, String)>,
    /// Working folder, where a server writes what no option can move.
    pub(crate) folder: PathBuf,
    pub(crate) probe: Probe,
    pub(crate) ready_limit: Duration,
}

/// What a server's process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It runs; ready or not.
    Running,
    /// It is stopped by [`Server::freeze`].
    Frozen,
    /// There is no process.
    Down,
}

/// A server and its process, if it has one at the moment.
#[derive(Debug)]
pub struct Server {
    plan: Plan,
    log: PathBuf,
    running: Mutex<Option<Running>>,
    run: RunDir,
}

#[derive(Debug)]
struct Running {
    child: Child,
    frozen: bool,
    /// Length of the log when this process was started.
    log_start: u64,
}

impl Server {
    /// A server that is not started yet; its log is `<run>/<name>.log`.
    pub(crate) fn new(plan: Plan, run: &RunDir) -> Self {
        let log = run.path().join(format!("{}.log", plan.name));
        Self { plan, log, running: Mutex::new(None), run: run.clone() }
    }

    /// As commands and messages call it.
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// Standard output and error of all its processes so far.
    pub fn log_path(&self) -> &Path {
        &self.log
    }

    /// The run's folder, with logs, configuration and data.
    pub fn run_dir(&self) -> &RunDir {
        &self.run
    }

    /// Process id, `None` when it is down.
    pub fn pid(&self) -> Option<u32> {
        self.reaped().as_ref().map(|running| running.child.id())
    }

    /// What the process is doing now.
    pub fn state(&self) -> State {
        match &*self.reaped() {
            Some(Running { frozen: true, .. }) => State::Frozen,
            Some(_) => State::Running,
            None => State::Down,
        }
    }

    /// Starts the process and returns at once; no error if it runs already.
    pub fn start(&self) -> Result<()> {
        let mut running = self.reaped();
        if running.is_some() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let log = log.map_err(Error::io(format!("open {}", self.log.display())))?;
        let log_start = log.metadata().map_or(0, |metadata| metadata.len());
        let errors = log.try_clone().map_err(Error::io("clone a file handle"))?;
        let mut command = Command::new(&self.plan.program);
        command.args(&self.plan.args).envs(self.plan.env.iter().map(|(name, value)| (name, value)));
        command.current_dir(&self.plan.folder).stdin(Stdio::null()).stdout(log).stderr(errors);
        let what = format!("{}: run {}", self.plan.name, self.plan.program.display());
        let child = process::spawn(command).map_err(Error::io(what))?;
        *running = Some(Running { child, frozen: false, log_start });
        Ok(())
    }

    /// Waits until the server says that it is ready, at most its time limit.
    pub async fn wait_ready(&self) -> Result<()> {
        let begun = Instant::now();
        loop {
            if let Some(outcome) = self.ended() {
                return Err(self.ended_error(outcome));
            }
            if self.is_ready().await {
                return Ok(());
            }
            if begun.elapsed() > self.plan.ready_limit {
                return Err(Error::NotReady {
                    server: self.plan.name.clone(),
                    limit: self.plan.ready_limit,
                    probe: format!("{:?}", self.plan.probe),
                    log: self.log.clone(),
                    tail: tail(&self.log, TAIL_LINES),
                });
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// SIGKILL, as a crash or a lost machine; returns when the process is gone. No error if it is down.
    pub fn kill(&self) -> Result<()> {
        if let Some(mut running) = self.lock().take() {
            process::kill(&mut running.child).map_err(Error::io(format!("kill {}", self.plan.name)))?;
        }
        Ok(())
    }

    /// SIGSTOP, as a long pause or a hung machine: sockets stay open and nothing answers.
    pub fn freeze(&self) -> Result<()> {
        self.pause(true, "freeze")
    }

    /// SIGCONT: goes on where it was frozen.
    pub fn thaw(&self) -> Result<()> {
        self.pause(false, "thaw")
    }

    /// SIGTERM, and SIGKILL if it does not end within 20 s. A frozen server is thawed first. No error if down.
    pub async fn stop(&self) -> Result<()> {
        let action = || Error::io(format!("stop {}", self.plan.name));
        if let Some(running) = self.reaped().as_mut() {
            process::signal(&running.child, Signal::TERM).map_err(action())?;
            process::signal(&running.child, Signal::CONT).map_err(action())?;
            running.frozen = false;
        }
        let begun = Instant::now();
        while self.state() != State::Down {
            if begun.elapsed() > STOP_LIMIT {
                return self.kill();
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }

    /// Stops it if it runs, starts it on the same ports and data, waits until it is ready.
    pub async fn restart(&self) -> Result<()> {
        self.stop().await?;
        self.start()?;
        self.wait_ready().await
    }

    fn pause(&self, freeze: bool, action: &'static str) -> Result<()> {
        let mut running = self.reaped();
        let Some(running) = running.as_mut() else {
            let next = "start or restart it first";
            return Err(Error::State { server: self.plan.name.clone(), action, state: "down", next });
        };
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        let what = format!("{action} {}", self.plan.name);
        process::signal(&running.child, signal).map_err(Error::io(what))?;
        if freeze {
            process::wait_stopped(&running.child);
        }
        running.frozen = freeze;
        Ok(())
    }

    async fn is_ready(&self) -> bool {
        match &self.plan.probe {
            Probe::Http(url) => http_ok(url, None).await,
            Probe::Https(url, ca) => http_ok(url, Some(ca)).await,
            Probe::LogLine(text) => self.log_of_this_start().is_some_and(|log| log.contains(text)),
        }
    }

    /// How the process ended, if it was started and has.
    fn ended(&self) -> Option<String> {
        match self.lock().as_mut() {
            None => Some("not running".to_owned()),
            Some(running) => exit_status(running).map(|status| status.to_string()),
        }
    }

    fn ended_error(&self, outcome: String) -> Error {
        let (server, log) = (self.plan.name.clone(), self.log.clone());
        let port_taken = self.log_of_this_start().is_some_and(|log| says_port_taken(&log));
        Error::Ended { server, outcome, tail: tail(&log, TAIL_LINES), log, port_taken }
    }

    fn log_of_this_start(&self) -> Option<String> {
        let log_start = self.lock().as_ref().map_or(0, |running| running.log_start);
        log_since(&self.log, log_start)
    }

    /// The process, after forgetting one that ended by itself.
    fn reaped(&self) -> MutexGuard<'_, Option<Running>> {
        let mut running = self.lock();
        if running.as_mut().is_some_and(|running| exit_status(running).is_some()) {
            *running = None;
        }
        running
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        // Nothing panics while it holds the lock; and a kill must work even then.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

fn exit_status(running: &mut Running) -> Option<ExitStatus> {
    running.child.try_wait().ok().flatten()
}

fn log_since(log: &Path, start: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    file.seek(SeekFrom::Start(start)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A client that keeps no connection: a frozen or killed server must not be met through an old one, and handles
/// may be used from several runtimes, one after the other.
pub(crate) fn http_client(limit: Duration) -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .pool_max_idle_per_host(0)
        .timeout(limit)
        .build()
        .expect("a client without options that can fail")
}

async fn http_ok(url: &str, ca: Option<&Path>) -> bool {
    let limit = Duration::from_secs(2);
    let client = match ca {
        None => Some(http_client(limit)),
        Some(ca) => trusting(ca).and_then(|builder| builder.timeout(limit).build().ok()),
    };
    let Some(client) = client else { return false };
    client.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// A client that trusts one CA (PEM file); `None` while there is no such file.
pub(crate) fn trusting(ca: &Path) -> Option<reqwest::ClientBuilder> {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).ok()?).ok()?;
    Some(reqwest::Client::builder().no_proxy().tls_certs_only([ca]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, probe: Probe) -> (Server, RunDir) {
        let run = RunDir::new("server-test").unwrap();
        run.finish();
        let plan = Plan {
            name: "shell".into(),
            program: "sh".into(),
            args: vec!["-c".into(), script.into()],
            env: vec![],
            folder: run.path().to_owned(),
            probe,
            ready_limit: Duration::from_millis(400),
        };
        (Server::new(plan, &run), run)
    }

    #[tokio::test]
    async fn ready_counts_only_what_was_logged_since_the_last_start() {
        // Says "ready" in its first life only.
        let script = "[ -e once ] || echo ready; touch once; exec sleep 60";
        let (server, _run) = shell(script, Probe::LogLine("ready"));
        server.start().unwrap();
        server.wait_ready().await.unwrap();
        server.kill().unwrap();
        server.start().unwrap();
        let error = server.wait_ready().await.unwrap_err().to_string();
        assert!(error.starts_with("shell: not ready after 400ms"), "{error}");
    }

    #[tokio::test]
    async fn server_that_ends_is_an_error_with_its_last_words() {
        let (server, _run) = shell("echo my last words; exit 7", Probe::LogLine("ready"));
        server.start().unwrap();
        let error = server.wait_ready().await.unwrap_err().to_string();
        assert!(error.contains("shell: ended before it was ready (exit status: 7)"), "{error}");
        assert!(error.contains("my last words"), "{error}");
        assert_eq!(server.state(), State::Down);
    }

    #[tokio::test]
    async fn freeze_thaw_stop_and_kill_change_the_state() {
        let (server, _run) = shell("echo ready; exec sleep 60", Probe::LogLine("ready"));
        assert!(server.freeze().unwrap_err().to_string().contains("cannot freeze: it is down"));
        server.start().unwrap();
        server.wait_ready().await.unwrap();
        server.freeze().unwrap();
        assert_eq!(server.state(), State::Frozen);
        assert_eq!(process::state(server.pid().unwrap()), Some('T'));
        server.thaw().unwrap();
        assert_eq!(server.state(), State::Running);
        server.freeze().unwrap();
        server.stop().await.unwrap();
        assert_eq!((server.state(), server.pid()), (State::Down, None));
        server.restart().await.unwrap();
        server.freeze().unwrap();
        let pid = server.pid().unwrap();
        drop(server);
        assert_eq!(process::state(pid), None);
    }
}
