//! The cached jars in, how to run Java on them out: with an archive of the broker's loaded classes, which cuts
//! the start of a broker and of each tool by a third. The archive is made once, by starting and stopping one
//! broker. It is worth time only: where a JVM writes none, or does not accept it, all goes on without.

use std::path::{Path, PathBuf};
use std::time::Instant;

use tokio::runtime::Handle;

use super::{Cluster, Options, config};
use crate::servers::artefacts::{JAVA, KAFKA};
use crate::servers::cache::{self, Cache};
use crate::servers::error::{Error, Result};
use crate::servers::install;
use crate::servers::rundir::RunDir;

/// File name of the archive in its cache entry.
const ARCHIVE: &str = "classes.jsa";

/// Jars, and the archive of their classes if there is one.
#[derive(Debug, Clone)]
pub(crate) struct Java {
    jars: PathBuf,
    archive: Option<PathBuf>,
}

impl Java {
    /// Installs Kafka if need be and makes the archive if it is missing.
    pub(crate) async fn install() -> Result<Self> {
        JAVA.check("running Kafka", std::env::var_os("PATH").as_deref())?;
        let jars = install::ensure_async(&KAFKA).await?.join("jars");
        let runtime = Handle::current();
        let make = move || {
            let java = Self { jars, archive: None };
            let parts = [java.jars.display().to_string(), jvm_identity()];
            let key = cache::key("kafka-classes", KAFKA.version, parts.iter().map(String::as_str));
            let entry = Cache::from_env()?
                .ensure(&key, |_, out| runtime.block_on(make_archive(java.clone(), out.join(ARCHIVE))))?;
            let archive = Some(entry.join(ARCHIVE)).filter(|archive| archive.is_file());
            Ok(Self { archive, ..java })
        };
        let made = tokio::task::spawn_blocking(make).await;
        made.map_err(|error| Error::io("make an archive of Kafka's classes")(error.into()))?
    }

    /// Arguments of `java` before the main class.
    pub(crate) fn arguments(&self, log4j: &Path, heap_mib_max: u32, more: &[String]) -> Vec<String> {
        let mut args = config::jvm_arguments(&self.jars, log4j, heap_mib_max);
        args.extend(
            self.archive.iter().map(|archive| format!("-XX:SharedArchiveFile={}", archive.display())),
        );
        args.extend_from_slice(more);
        args
    }
}

/// Starts one broker that writes the archive when it ends, and ends it.
async fn make_archive(java: Java, archive: PathBuf) -> Result<()> {
    eprintln!("testbed: install kafka {}: archive its classes ...", KAFKA.version);
    let begun = Instant::now();
    let run = RunDir::new("kafka-classes")?;
    let dump = format!("-XX:ArchiveClassesAtExit={}", archive.display());
    let options = Options { brokers: 1, jvm_args: vec![dump], ..Options::default() };
    let cluster = Cluster::start_with(java, &options, &run).await?;
    cluster.stop(1).await?;
    run.finish();
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("testbed: install kafka {}: archive its classes: done in {seconds:.1} s", KAFKA.version);
    Ok(())
}

/// Changes when another Java is installed, whose archives would not fit; no JVM is started to ask.
fn jvm_identity() -> String {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let java = std::env::split_paths(&path).find_map(|folder| folder.join("java").canonicalize().ok());
    let modified = java.as_ref().and_then(|java| java.metadata().ok()?.modified().ok());
    format!("{java:?} {modified:?}")
}
