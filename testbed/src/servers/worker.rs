//! A process of this project under test (producer, consumer, operator): a binary and its arguments in, a supervised
//! process with its health and metrics out. It can be killed, frozen, thawed and stopped as the servers can.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::{Error, Result};
use super::ports::{self, PortLease};
use super::rundir::RunDir;
use super::server::{Plan, Probe, Server, http_client};

/// A worker is ready within seconds when all it needs is there.
const READY_LIMIT: Duration = Duration::from_secs(60);
const REQUEST_LIMIT: Duration = Duration::from_secs(5);

/// Such a process; a [`Server`] with metrics. Ends when dropped.
#[derive(Debug)]
pub struct Worker {
    server: Server,
    url: String,
    client: reqwest::Client,
    _lease: PortLease,
}

impl std::ops::Deref for Worker {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

impl Worker {
    /// Starts `binary --config FILE` with `yaml` as the file, under a name of its own within the run. Does not wait.
    pub fn start(
        binary: &Path,
        name: &str,
        yaml: &str,
        env: &[(&'static str, String)],
        run: &RunDir,
    ) -> Result<Self> {
        let file = run.path().join(format!("{name}.yaml"));
        std::fs::write(&file, yaml).map_err(Error::io(format!("write {}", file.display())))?;
        let args = |address: &str| {
            let args =
                ["--config", &file.to_string_lossy(), "--http-address", address, "--log-format", "json"];
            args.map(str::to_owned).to_vec()
        };
        Self::start_with(binary, name, args, env, run)
    }

    /// Starts `binary` with the arguments that `args` makes of the address (`host:port`) of its health and metrics,
    /// under a name of its own within the run. Does not wait.
    pub fn start_with(
        binary: &Path,
        name: &str,
        args: impl FnOnce(&str) -> Vec<String>,
        env: &[(&'static str, String)],
        run: &RunDir,
    ) -> Result<Self> {
        let lease = ports::lease(1)?.remove(0);
        let address = format!("127.0.0.1:{}", lease.port());
        let url = format!("http://{address}");
        let plan = Plan {
            name: name.to_owned(),
            program: binary.to_owned(),
            args: args(&address),
            env: env.to_vec(),
            folder: run.path().to_owned(),
            probe: Probe::Http(format!("{url}/readyz")),
            ready_limit: READY_LIMIT,
        };
        let server = Server::new(plan, run);
        server.start()?;
        Ok(Self { server, url, client: http_client(REQUEST_LIMIT), _lease: lease })
    }

    /// Where `/healthz`, `/readyz` and `/metrics` are, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Status and body of `/healthz`, `/readyz` or `/metrics`; `None` when it does not answer.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.ok()?;
        Some((response.status().as_u16(), response.text().await.ok()?))
    }

    /// Sum over all labels of one metric, by its full name as exposed; `None` when it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            (series == name || series.strip_prefix(name)?.starts_with('{'))
                .then(|| value.parse::<f64>().ok())?
        });
        values.reduce(|a, b| a + b)
    }

    /// Whatever it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.server.log_path()).unwrap_or_default()
    }
}

/// A binary of this project, built beside the running test.
pub fn binary(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().map_err(Error::io("find the running program"))?;
    let folders = exe.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Error::io(format!("find the binary {name}; build it with `cargo build --workspace --bins`"))(
            std::io::ErrorKind::NotFound.into(),
        )
    })
}
