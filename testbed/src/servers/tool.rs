//! Other people's clients: a program with its arguments and input in, exit status and output out.
//! They are worth their time because they are not ours. Each ends with this process, or at its limit.

use std::ffi::OsStr;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::error::{Error, Result};
use super::process;
use super::rundir::RunDir;

/// One call of a program, to be completed and then [run](Tool::run).
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct Tool {
    server: &'static str,
    name: String,
    command: Command,
    run: RunDir,
    stdin: String,
    limit: Duration,
}

/// How a program ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Server that it talked to, for messages.
    pub server: &'static str,
    /// What was run, for messages.
    pub name: String,
    /// Exit status.
    pub status: ExitStatus,
    /// Everything it printed.
    pub stdout: String,
    /// Everything it complained about; warnings of its log too.
    pub stderr: String,
}

impl Output {
    /// Itself if the program succeeded, else an error with what it said.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        Err(Error::Refused {
            server: self.server.to_owned(),
            action: self.name,
            status: self.status.to_string(),
            body: format!("{}\n{}", self.stdout, self.stderr),
        })
    }
}

impl Tool {
    /// `command` talks to `server` and is called `name` in messages and file names.
    pub(crate) fn new(server: &'static str, name: &str, command: Command, run: &RunDir) -> Self {
        let (name, run) = (name.to_owned(), run.clone());
        Self { server, name, command, run, stdin: String::new(), limit: Duration::from_secs(60) }
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    /// Text for its standard input; empty without.
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Time after which it is killed and reported; 60 s without.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end. An exit status other than 0 is no error here: see [`Output::success`].
    pub async fn run(mut self) -> Result<Output> {
        let (base, mut running) = self.start()?;
        let begun = Instant::now();
        let what = format!("run {}", self.name);
        loop {
            let status = running.0.try_wait().map_err(Error::io(what.as_str()))?;
            let read = |ending: &str| {
                let bytes = std::fs::read(base.with_extension(ending)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            if let Some(status) = status {
                let (stdout, stderr) = (read("out"), read("err"));
                return Ok(Output { server: self.server, name: self.name, status, stdout, stderr });
            }
            if begun.elapsed() > self.limit {
                let seen = format!("{}\n{}", read("out"), read("err"));
                return Err(Error::Timeout { what: format!("{} ends", self.name), limit: self.limit, seen });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts it with files instead of pipes, which nobody has to drain.
    fn start(&mut self) -> Result<(PathBuf, KillOnDrop)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = self.run.folder("tools")?;
        let name = self.name.rsplit('.').next().unwrap_or_default();
        let base = folder.join(format!("{:03}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let prepare = || {
            std::fs::write(base.with_extension("in"), &self.stdin)?;
            let input = File::open(base.with_extension("in"))?;
            Ok((input, File::create(base.with_extension("out"))?, File::create(base.with_extension("err"))?))
        };
        let (input, output, errors) = prepare().map_err(Error::io(format!("write {}", base.display())))?;
        let mut command = std::mem::replace(&mut self.command, Command::new(""));
        command.current_dir(&folder);
        command.stdin(Stdio::from(input)).stdout(output).stderr(errors);
        let child = process::spawn(command).map_err(Error::io(format!("run {}", self.name)))?;
        Ok((base, KillOnDrop(child)))
    }
}

#[derive(Debug)]
struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = process::kill(&mut self.0);
    }
}
