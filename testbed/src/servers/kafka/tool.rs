//! Kafka's own Java programs: main class and arguments in, exit status and output out.
//! They are other people's clients, which is their worth in a test; each costs a second of CPU or two.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::config;
use super::java::Java;
use crate::servers::error::{Error, Result};
use crate::servers::process;
use crate::servers::rundir::RunDir;

/// How to run Java, and where the run's files are.
#[derive(Debug, Clone)]
pub(crate) struct ToolBox {
    pub(crate) java: Java,
    pub(crate) run: RunDir,
}

impl ToolBox {
    pub(crate) fn tool(&self, main_class: &str) -> Tool {
        let tools = self.clone();
        let limit = Duration::from_secs(60);
        Tool { tools, main_class: main_class.to_owned(), args: Vec::new(), stdin: String::new(), limit }
    }
}

/// One call of a Java program, to be completed and then [run](Tool::run).
#[derive(Debug)]
#[must_use = "it does nothing until it is run"]
pub struct Tool {
    tools: ToolBox,
    main_class: String,
    args: Vec<String>,
    stdin: String,
    limit: Duration,
}

/// How a Java program ended.
#[derive(Debug, Clone)]
pub struct Output {
    /// Main class, for messages.
    pub main_class: String,
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
            server: "kafka".to_owned(),
            action: self.main_class.clone(),
            status: self.status.to_string(),
            body: format!("{}\n{}", self.stdout, self.stderr),
        })
    }
}

impl Tool {
    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
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
    pub async fn run(self) -> Result<Output> {
        let (base, mut running) = self.start()?;
        let begun = Instant::now();
        let what = format!("run {}", self.main_class);
        loop {
            let status = running.0.try_wait().map_err(Error::io(what.as_str()))?;
            let read = |ending: &str| {
                let bytes = std::fs::read(base.with_extension(ending)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).into_owned()
            };
            if let Some(status) = status {
                let (stdout, stderr) = (read("out"), read("err"));
                return Ok(Output { main_class: self.main_class, status, stdout, stderr });
            }
            if begun.elapsed() > self.limit {
                let seen = format!("{}\n{}", read("out"), read("err"));
                return Err(Error::Timeout {
                    what: format!("{} ends", self.main_class),
                    limit: self.limit,
                    seen,
                });
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts it with files instead of pipes, which nobody has to drain.
    fn start(&self) -> Result<(PathBuf, KillOnDrop)> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let folder = self.tools.run.folder("tools")?;
        let name = self.main_class.rsplit('.').next().unwrap_or_default();
        let base = folder.join(format!("{:03}-{name}", COUNT.fetch_add(1, Ordering::Relaxed)));
        let log4j = folder.join("log4j2.properties");
        let prepare = || {
            std::fs::write(&log4j, config::log4j_properties("warn", "SYSTEM_ERR"))?;
            std::fs::write(base.with_extension("in"), &self.stdin)?;
            let input = File::open(base.with_extension("in"))?;
            Ok((input, File::create(base.with_extension("out"))?, File::create(base.with_extension("err"))?))
        };
        let (input, output, errors) = prepare().map_err(Error::io(format!("write {}", base.display())))?;
        let mut command = Command::new("java");
        let fast = [config::FIRST_COMPILER_ONLY.to_owned()];
        command.args(self.tools.java.arguments(&log4j, 256, &fast)).arg(&self.main_class);
        command.args(&self.args).current_dir(&folder);
        command.stdin(Stdio::from(input)).stdout(output).stderr(errors);
        let child = process::spawn(command).map_err(Error::io(format!("run java {}", self.main_class)))?;
        Ok((base, KillOnDrop(child)))
    }
}

struct KillOnDrop(Child);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        let _ = process::kill(&mut self.0);
    }
}
