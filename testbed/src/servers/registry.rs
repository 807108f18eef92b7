//! Two schema registries with Confluent's REST API: Apicurio (under a path prefix, schemas kept in a file) and
//! AxonOps (no prefix, as Confluent's own; compatibility checked by default; in memory).
//! A run folder in, a running registry out. Never checks a schema itself.

use std::path::Path;
use std::time::Duration;

use super::artefacts::{APICURIO, AXONOPS, JAVA};
use super::error::{Error, Result};
use super::install;
use super::ports::{self, PortLease};
use super::rundir::RunDir;
use super::server::{Plan, Probe, Server};

/// Limit for a registry to be ready; Apicurio needs 2 to 9 s, AxonOps less than one.
const READY_LIMIT: Duration = Duration::from_secs(90);

/// A running schema registry; a [`Server`] with an address. Ends when dropped.
#[derive(Debug)]
pub struct Registry {
    server: Server,
    url: String,
    _lease: PortLease,
}

impl Registry {
    /// Base of Confluent's API, with the path prefix where there is one, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl std::ops::Deref for Registry {
    type Target = Server;
    fn deref(&self) -> &Server {
        &self.server
    }
}

/// Apicurio Registry: API under `/apis/ccompat/v7`, no compatibility rule until one is set. Registered schemas
/// survive a kill and a restart.
pub async fn start_apicurio(run: &RunDir) -> Result<Registry> {
    JAVA.check("running Apicurio", std::env::var_os("PATH").as_deref())?;
    let app = install::ensure_async(&APICURIO).await?.join("app");
    start(run, |port| apicurio_plan(port, &app, run)).await
}

/// AxonOps schema registry: no path prefix, compatibility BACKWARD by default. **Its storage is memory**: after
/// a kill or a restart it knows no schema, and gives ids anew from 1.
pub async fn start_axonops(run: &RunDir) -> Result<Registry> {
    let program = install::ensure_async(&AXONOPS).await?.join("bin/schema-registry");
    start(run, |port| axonops_plan(port, &program, run)).await
}

async fn start(run: &RunDir, plan: impl Fn(u16) -> Result<(Plan, String)>) -> Result<Registry> {
    ports::with_ports(1, async |mut leases| {
        let lease = leases.remove(0);
        let (plan, url) = plan(lease.port())?;
        let registry = Registry { server: Server::new(plan, run), url, _lease: lease };
        registry.start()?;
        registry.wait_ready().await?;
        Ok(registry)
    })
    .await
}

fn apicurio_plan(port: u16, app: &Path, run: &RunDir) -> Result<(Plan, String)> {
    let folder = run.folder("apicurio")?;
    let root = format!("http://127.0.0.1:{port}");
    // Without a delay, what was answered is in the file: a kill loses nothing.
    let database = format!("jdbc:h2:file:{};WRITE_DELAY=0", folder.join("registry").display());
    let args = [
        "-Xmx256m",
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-Dquarkus.http.host=127.0.0.1",
        &format!("-Dquarkus.http.port={port}"),
        &format!("-Dapicurio.datasource.url={database}"),
        "-jar",
        &app.join(format!("apicurio-registry-app-{}-runner.jar", APICURIO.version)).display().to_string(),
    ];
    let plan = Plan {
        name: "apicurio".to_owned(),
        program: "java".into(),
        args: args.map(str::to_owned).to_vec(),
        env: vec![],
        folder,
        probe: Probe::Http(format!("{root}/health/ready")),
        ready_limit: READY_LIMIT,
    };
    Ok((plan, format!("{root}/apis/ccompat/v7")))
}

fn axonops_plan(port: u16, program: &Path, run: &RunDir) -> Result<(Plan, String)> {
    let folder = run.folder("axonops")?;
    let config = folder.join("config.yaml");
    let text = format!("server:\n  host: 127.0.0.1\n  port: {port}\nstorage:\n  type: memory\n");
    std::fs::write(&config, text).map_err(Error::io(format!("write {}", config.display())))?;
    let url = format!("http://127.0.0.1:{port}");
    let plan = Plan {
        name: "axonops".to_owned(),
        program: program.to_owned(),
        args: vec!["-config".to_owned(), config.display().to_string()],
        env: vec![],
        folder,
        probe: Probe::Http(format!("{url}/subjects")),
        ready_limit: READY_LIMIT,
    };
    Ok((plan, url))
}
