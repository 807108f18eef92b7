//! What charts are rendered and checked with: helm, kubeconform and kind, the API of each Kubernetes version as
//! schemas, and the scanners of `make scan`. Nothing is started here.

use super::artefacts::{Artefact, GO, PYTHON, go_build, wrapper};
use super::error::Result;
use super::install::Build;

/// `bin/helm`, `bin/kubeconform`, `bin/kind`.
pub const HELM: Artefact = Artefact {
    name: "helm",
    version: "3.19.2",
    files: wrapper!("helm": "go.mod", "go.sum", "tools.go"),
    tools: &[GO],
    build: helm,
    revision: "1",
};

/// Strict JSON schemas of every kind, in a folder for each Kubernetes version, as `v1.34.0/`.
pub const SCHEMAS: Artefact = Artefact {
    name: "kubernetes-schemas",
    version: "1.37.0",
    files: wrapper!("kubernetes-schemas": "requirements.txt", "unpack.py"),
    tools: &[PYTHON],
    build: schemas,
    revision: "1",
};

/// `venv/bin/checkov`.
pub const CHECKOV: Artefact = Artefact {
    name: "checkov",
    version: "3.3.30",
    files: wrapper!("checkov": "requirements.txt"),
    tools: &[PYTHON],
    build: |build| {
        let venv = build.out.join("venv");
        let mut command = build.command("python3");
        command.args(["-m", "venv"]).arg(&venv);
        build.step("make a virtual environment (Debian package python3-venv)", command)?;
        let mut command = build.command(&venv.join("bin/python").display().to_string());
        command.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        command.args(["--requirement", "requirements.txt"]);
        build.step("fetch and install it (a minute or two)", command)
    },
    revision: "1",
};

/// `bin/kube-score`.
pub const KUBE_SCORE: Artefact = Artefact {
    name: "kube-score",
    version: "1.20.0",
    files: wrapper!("kube-score": "go.mod", "go.sum", "tools.go"),
    tools: &[GO],
    build: |build| {
        let package = "github.com/zegl/kube-score/cmd/kube-score";
        let mut command = go_build(build, &build.out.join("bin/kube-score"), package, &[]);
        command.env("CGO_ENABLED", "0");
        build.step("compile", command)
    },
    revision: "1",
};

/// What upstream's own build sets: without it helm takes itself for one of Kubernetes 1.20.
const HELM_FLAGS: [&str; 4] = [
    "-gcflags",
    "all=-dwarf=false",
    "-ldflags",
    "-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.2 \
     -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34 \
     -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34",
];

fn helm(build: &Build<'_>) -> Result<()> {
    // A folder with a slash at its end: each program gets the name of its package.
    let mut command =
        go_build(build, &build.out.join("bin").join(""), "helm.sh/helm/v3/cmd/helm", &HELM_FLAGS);
    command.args(["github.com/yannh/kubeconform/cmd/kubeconform", "sigs.k8s.io/kind"]);
    command.env("CGO_ENABLED", "0");
    build.step("compile helm, kubeconform and kind (3 minutes on 2 cores)", command)
}

fn schemas(build: &Build<'_>) -> Result<()> {
    let venv = build.work.join("venv");
    let mut command = build.command("python3");
    command.args(["-m", "venv"]).arg(&venv);
    build.step("make a virtual environment (Debian package python3-venv)", command)?;
    let python = venv.join("bin/python").display().to_string();
    let mut command = build.command(&python);
    command.args([
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-input",
        "--disable-pip-version-check",
        "--no-deps",
    ]);
    command.args(["--only-binary", ":all:", "--require-hashes", "--dest", "wheel"]);
    command.args(["--requirement", "requirements.txt"]);
    build.step("fetch the schemas", command)?;
    let mut command = build.command(&python);
    command.args(["unpack.py", "wheel"]).arg(build.out);
    build.step("unpack them", command)
}
