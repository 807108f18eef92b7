//! Artefacts in, cache entries out: checks that the tools are there, unpacks the wrapper files, runs the steps,
//! prints each with its time. At most one build per artefact and version, ever; nothing half-made stays.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use super::artefacts::{Artefact, JAVA};
use super::cache::{self, Cache};
use super::error::{Error, Result, tail};
use super::process;

/// A program that a recipe runs.
#[derive(Debug)]
pub(crate) struct Tool {
    pub(crate) program: &'static str,
    /// Debian package that has it.
    pub(crate) package: &'static str,
}

impl Tool {
    pub(crate) fn check(&self, needed_for: &str, path: Option<&OsStr>) -> Result<()> {
        let mut folders = path.map(std::env::split_paths).into_iter().flatten();
        if folders.any(|folder| folder.join(self.program).is_file()) {
            return Ok(());
        }
        Err(Error::MissingTool {
            tool: self.program,
            package: self.package,
            needed_for: needed_for.to_owned(),
        })
    }
}

/// One build in progress.
pub(crate) struct Build<'a> {
    artefact: &'a Artefact,
    /// Holds the wrapper files; removed afterwards.
    pub(crate) work: &'a Path,
    /// Becomes the cache entry.
    pub(crate) out: &'a Path,
}

/// What an outer cargo or its user set for our build and must not reach the build of another project.
const NOT_INHERITED: &[&str] = &[
    "CARGO",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_TARGET_DIR",
    "RUSTC",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
];

impl Build<'_> {
    /// A command that runs in the work folder.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.work).stdin(Stdio::null());
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        command
    }

    /// Runs one step to its end; its output is seen only if it fails.
    pub(crate) fn step(&self, step: &str, mut command: Command) -> Result<()> {
        let Artefact { name, version, .. } = self.artefact;
        eprintln!("testbed: install {name} {version}: {step} ...");
        let begun = Instant::now();
        let log = self.work.join("step.log");
        let output = File::create(&log).map_err(Error::io(format!("create {}", log.display())))?;
        let errors = output.try_clone().map_err(Error::io("clone a file handle"))?;
        command.stdout(output).stderr(errors);
        let program = command.get_program().to_string_lossy().into_owned();
        let ended = process::spawn_in_group(command).and_then(|mut child| child.wait());
        let status = ended.map_err(Error::io(format!("run {program}")))?;
        let seconds = begun.elapsed().as_secs_f64();
        if status.success() {
            eprintln!("testbed: install {name} {version}: {step}: done in {seconds:.1} s");
            return Ok(());
        }
        Err(Error::Install {
            artefact: format!("{name} {version}"),
            name,
            step: step.to_owned(),
            outcome: format!("failed after {seconds:.1} s ({status})"),
            tail: tail(&log, 40),
        })
    }
}

/// The artefact's cache entry, built now if it is missing. Blocks, for minutes where something is compiled.
pub fn ensure(cache: &Cache, artefact: &Artefact) -> Result<PathBuf> {
    let path = std::env::var_os("PATH");
    cache.ensure(&key(artefact), |work, out| {
        for tool in artefact.tools {
            tool.check(&format!("building {}", artefact.name), path.as_deref())?;
        }
        for (name, content) in artefact.files {
            let file = work.join(name);
            std::fs::write(&file, content).map_err(Error::io(format!("write {}", file.display())))?;
        }
        (artefact.build)(&Build { artefact, work, out })
    })
}

/// [`ensure`] with the environment's cache, off the async threads.
pub(crate) async fn ensure_async(artefact: &'static Artefact) -> Result<PathBuf> {
    let work = tokio::task::spawn_blocking(move || ensure(&Cache::from_env()?, artefact));
    work.await.map_err(|error| Error::io(format!("install {}", artefact.name))(error.into()))?
}

/// What of `artefacts` would have to be built first, and everything that stands against building or running them.
pub fn look(artefacts: &[&'static Artefact]) -> Result<(Vec<&'static Artefact>, Vec<Error>)> {
    let cache = Cache::from_env()?;
    let path = std::env::var_os("PATH");
    let missing: Vec<&Artefact> =
        artefacts.iter().copied().filter(|artefact| cache.get(&key(artefact)).is_none()).collect();
    let tools = missing.iter().flat_map(|artefact| artefact.tools.iter().map(|tool| (tool, artefact.name)));
    let tools = tools.chain([(&JAVA, "Kafka and the registry")]);
    let problems =
        tools.filter_map(|(tool, needed_for)| tool.check(needed_for, path.as_deref()).err()).collect();
    Ok((missing, problems))
}

/// Name of the artefact's cache entry.
pub(crate) fn key(artefact: &Artefact) -> String {
    let files = artefact.files.iter().flat_map(|(name, content)| [*name, *content]);
    let parts = [artefact.revision, std::env::consts::ARCH].into_iter().chain(files);
    cache::key(artefact.name, artefact.version, parts)
}

#[cfg(test)]
mod tests {
    use super::super::artefacts::{ALL, KAFKA};
    use super::*;

    #[test]
    fn missing_tool_names_its_package() {
        let tool = Tool { program: "no-such-tool", package: "some-package" };
        let error = tool.check("building kafka", Some(OsStr::new("/usr/bin:/bin"))).unwrap_err().to_string();
        assert_eq!(
            error,
            "building kafka needs `no-such-tool`, which is not on PATH; install the Debian package some-package"
        );
        let tool = Tool { program: "sh", package: "dash" };
        tool.check("tests", Some(OsStr::new("/usr/bin:/bin"))).unwrap();
    }

    #[test]
    fn failing_step_shows_its_output_and_keeps_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let artefact = Artefact {
            build: |build| {
                let mut command = build.command("sh");
                command.args(["-c", "echo the reason; exit 3"]);
                build.step("break", command)
            },
            tools: &[],
            ..KAFKA
        };
        let error = ensure(&Cache::at(folder.path()), &artefact).unwrap_err().to_string();
        assert!(error.contains("install kafka 4.3.1: step \"break\" failed"), "{error}");
        assert!(error.contains("the reason") && error.contains("exit status: 3"), "{error}");
        assert_eq!(Cache::at(folder.path()).get(&key(&artefact)), None);
    }

    #[test]
    fn every_artefact_has_its_version_in_its_wrapper_files() {
        for artefact in ALL {
            let found = artefact.files.iter().any(|(_, content)| content.contains(artefact.version));
            assert!(found, "{} {}", artefact.name, artefact.version);
        }
    }
}
