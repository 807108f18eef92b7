//! What is built or fetched, from which committed wrapper files (`testbed/artifacts/<name>/`), by which steps.
//! A new one is a constant here, its wrapper files, and a line in [`ALL`] or `NAMED`. Nothing is started here.

use std::path::Path;
use std::process::Command;

use super::charts::{CHECKOV, HELM, KUBE_SCORE, SCHEMAS};
use super::error::{Error, Result};
use super::install::{Build, Tool};
use super::node::{COREDNS, NODE};

/// Something that `testbed install` puts into the cache.
pub struct Artefact {
    /// As the command line takes it.
    pub name: &'static str,
    /// Of the server itself.
    pub version: &'static str,
    /// Wrapper files, by name and content; they are part of the binary, so no source tree is needed.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Programs that the steps run.
    pub(crate) tools: &'static [Tool],
    /// Fills [`Build::out`].
    pub(crate) build: fn(&Build<'_>) -> Result<()>,
    /// Raised when `build` changes what it makes, so that old entries are not used.
    pub(crate) revision: &'static str,
}

/// Includes wrapper files of `testbed/artifacts/<folder>/`.
macro_rules! wrapper {
    ($folder:literal: $($file:literal),+) => {
        &[$(($file, include_str!(concat!("../../artifacts/", $folder, "/", $file)))),+]
    };
}
pub(crate) use wrapper;

pub(crate) const JAVA: Tool = Tool { program: "java", package: "openjdk-17-jre-headless (17 or later)" };
const MAVEN: Tool = Tool { program: "mvn", package: "maven" };
pub(crate) const GO: Tool =
    Tool { program: "go", package: "golang-go (1.26 or later, from backports if need be)" };
const GCC: Tool = Tool { program: "gcc", package: "gcc" };
const CARGO: Tool = Tool { program: "cargo", package: "cargo (or rustup)" };
pub(crate) const PYTHON: Tool = Tool { program: "python3", package: "python3-venv" };
const PKG_CONFIG: Tool = Tool { program: "pkg-config", package: "pkg-config" };

/// Jars of the broker and of Kafka's command line tools, in `jars/`.
pub const KAFKA: Artefact = Artefact {
    name: "kafka",
    version: "4.3.1",
    files: wrapper!("kafka": "pom.xml"),
    tools: &[JAVA, MAVEN],
    build: |build| maven(build, "fetch the jars", "copy-dependencies", "jars", &["-DincludeScope=runtime"]),
    revision: "1",
};

/// Apicurio Registry's runnable jar and its libraries, in `app/`.
pub const APICURIO: Artefact = Artefact {
    name: "apicurio",
    version: "3.0.9",
    files: wrapper!("apicurio": "pom.xml"),
    tools: &[JAVA, MAVEN],
    build: |build| maven(build, "fetch and unpack the archive", "unpack", "app", &[]),
    revision: "1",
};

/// AxonOps schema registry, `bin/schema-registry`.
pub const AXONOPS: Artefact = Artefact {
    name: "axonops",
    version: "0.2.1",
    files: wrapper!("axonops": "go.mod", "go.sum", "tools.go"),
    tools: &[GO],
    build: |build| {
        let package = "github.com/axonops/axonops-schema-registry/cmd/schema-registry";
        let mut command = go_build(build, &build.out.join("bin/schema-registry"), package, &[]);
        command.env("CGO_ENABLED", "0");
        build.step("compile", command)
    },
    revision: "1",
};

/// InfluxDB OSS 2 without its web user interface, `bin/influxd`.
pub const INFLUXDB: Artefact = Artefact {
    name: "influxdb",
    version: "2.9.1",
    files: wrapper!("influxdb": "go.mod", "go.sum", "tools.go"),
    tools: &[GO, GCC, CARGO, PKG_CONFIG],
    build: influxdb,
    revision: "1",
};

/// etcd, the control plane and kubectl: `bin/etcd`, `bin/kube-apiserver`, `bin/kube-controller-manager`,
/// `bin/kube-scheduler`, `bin/kubectl`. The wrapper module also pins what a node needs.
pub const KUBERNETES: Artefact = Artefact {
    name: "kubernetes",
    version: "1.34.4",
    files: wrapper!("kubernetes": "go.mod", "go.sum", "tools.go"),
    tools: &[GO],
    build: kubernetes,
    revision: "1",
};

/// The SQL engine of InfluxDB 3: `venv/bin/python` with it, and `query.py`.
pub const DATAFUSION: Artefact = Artefact {
    name: "datafusion",
    version: "55.0.0",
    files: wrapper!("datafusion": "requirements.txt", "query.py"),
    tools: &[PYTHON],
    build: |build| {
        let venv = build.out.join("venv");
        let mut command = build.command("python3");
        command.args(["-m", "venv"]).arg(&venv);
        build.step("make a virtual environment (Debian package python3-venv)", command)?;
        let mut command = build.command(&venv.join("bin/python").display().to_string());
        command.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        command.args(["--only-binary", ":all:", "--requirement", "requirements.txt"]);
        build.step("fetch the wheels", command)?;
        let script = build.out.join("query.py");
        std::fs::copy(build.work.join("query.py"), &script)
            .map(drop)
            .map_err(Error::io(format!("write {}", script.display())))
    },
    revision: "1",
};

/// Everything that tests need: what `testbed install` without names installs.
pub const ALL: &[&Artefact] =
    &[&KAFKA, &APICURIO, &AXONOPS, &INFLUXDB, &KUBERNETES, &DATAFUSION, &HELM, &SCHEMAS];

/// What `testbed install` installs only when it is named.
const NAMED: &[&Artefact] = &[&NODE, &COREDNS, &CHECKOV, &KUBE_SCORE];

/// Everything that `testbed install` knows.
pub fn everything() -> impl Iterator<Item = &'static Artefact> {
    ALL.iter().chain(NAMED).copied()
}

/// Names of [`everything`].
pub fn names() -> impl Iterator<Item = &'static str> {
    everything().map(|artefact| artefact.name)
}

/// Runs one goal of Maven's dependency plugin, with checksums enforced.
fn maven(build: &Build<'_>, step: &str, goal: &str, folder: &str, options: &[&str]) -> Result<()> {
    let mut command = build.command("mvn");
    command.args(["--quiet", "--batch-mode", "--no-transfer-progress", "--strict-checksums"]);
    command.arg("-Dstyle.color=never").arg(format!("dependency:{goal}")).args(options);
    command.arg(format!("-DoutputDirectory={}", build.out.join(folder).display()));
    build.step(step, command)
}

/// `go build` of one package at the versions of the wrapper module's go.mod and go.sum.
pub(crate) fn go_build(build: &Build<'_>, output: &Path, package: &str, flags: &[&str]) -> Command {
    let mut command = build.command("go");
    command.env("GOWORK", "off").env("GOFLAGS", "-mod=readonly -buildvcs=false");
    command.args(["build", "-trimpath", "-ldflags", "-s -w"]).args(flags).arg("-o").arg(output).arg(package);
    command
}

/// All programs in one `go build`, which compiles what they share once and links them side by side.
fn kubernetes(build: &Build<'_>) -> Result<()> {
    let bin = build.out.join("bin");
    let programs = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl"];
    // A folder with a slash at its end: each program gets the name of its package.
    let mut command = go_build(build, &bin.join(""), "go.etcd.io/etcd/server/v3", &KUBERNETES_FLAGS);
    command.args(programs.map(|program| format!("k8s.io/kubernetes/cmd/{program}")));
    command.env("CGO_ENABLED", "0");
    build.step("compile etcd, the control plane and kubectl (5 to 7 minutes on 2 cores)", command)?;
    let (from, to) = (bin.join("server"), bin.join("etcd"));
    std::fs::rename(&from, &to).map_err(Error::io(format!("rename {} to {}", from.display(), to.display())))
}

/// The version that the API server reports, and no debug information: a tenth of the compiler's work.
pub(crate) const KUBERNETES_FLAGS: [&str; 4] = [
    "-gcflags",
    "all=-dwarf=false",
    "-ldflags",
    "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 -X k8s.io/component-base/version.gitMajor=1 \
     -X k8s.io/component-base/version.gitMinor=34 -X k8s.io/component-base/version.gitTreeState=clean",
];

/// influxd links libflux, a Rust library: InfluxData's own `pkg-config` compiles it with cargo when Go asks for
/// the library's flags.
fn influxdb(build: &Build<'_>) -> Result<()> {
    let pkg_config = build.work.join("pkg-config");
    build.step(
        "compile its pkg-config",
        go_build(build, &pkg_config, "github.com/influxdata/pkg-config", &[]),
    )?;
    let flags = ["-tags", "sqlite_foreign_keys,sqlite_json"];
    let package = "github.com/influxdata/influxdb/v2/cmd/influxd";
    let mut command = go_build(build, &build.out.join("bin/influxd"), package, &flags);
    command.env("CGO_ENABLED", "1").env("PKG_CONFIG", &pkg_config);
    // Flux names a toolchain of its own in a file; rustup would download that one.
    if let Some(toolchain) = installed_toolchain()? {
        command.env("RUSTUP_TOOLCHAIN", toolchain);
    }
    build.step("compile libflux and influxd (5 to 7 minutes on 2 cores)", command)
}

/// Rustup's active toolchain; `None` without rustup, where there is nothing to choose.
fn installed_toolchain() -> Result<Option<String>> {
    if let Ok(toolchain) = std::env::var("RUSTUP_TOOLCHAIN") {
        return Ok(Some(toolchain));
    }
    match Command::new("rustup").args(["show", "active-toolchain"]).output() {
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stdout);
            Ok(text.split_whitespace().next().map(str::to_owned))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("run rustup show active-toolchain")(error)),
    }
}
