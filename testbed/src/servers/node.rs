//! What a real node runs beside the container runtime: kubelet and kube-proxy at the control plane's version, and CoreDNS.
//! Nothing is started here: `testbed/node/` does (`make e2e-node`).

use super::artefacts::{Artefact, GO, KUBERNETES_FLAGS, go_build, wrapper};

/// `bin/kubelet` and `bin/kube-proxy`.
pub const NODE: Artefact = Artefact {
    name: "node",
    version: "1.34.4",
    files: wrapper!("kubernetes": "go.mod", "go.sum", "tools.go"),
    tools: &[GO],
    build: |build| {
        // A folder with a slash at its end: each program gets the name of its package.
        let bin = build.out.join("bin").join("");
        let mut command = go_build(build, &bin, "k8s.io/kubernetes/cmd/kubelet", &KUBERNETES_FLAGS);
        command.arg("k8s.io/kubernetes/cmd/kube-proxy").env("CGO_ENABLED", "0");
        build.step("compile kubelet and kube-proxy (5 minutes on 2 cores)", command)
    },
    revision: "1",
};

/// `bin/coredns`, with the plugins that a cluster's resolver needs and none of the others.
pub const COREDNS: Artefact = Artefact {
    name: "coredns",
    version: "1.12.4",
    files: wrapper!("coredns": "go.mod", "go.sum", "main.go"),
    tools: &[GO],
    build: |build| {
        let mut command = go_build(build, &build.out.join("bin/coredns"), ".", &KUBERNETES_FLAGS[..2]);
        command.env("CGO_ENABLED", "0");
        build.step("compile", command)
    },
    revision: "1",
};
