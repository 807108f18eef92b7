//! A Kubernetes control plane: etcd, API server, controller manager and scheduler; a run folder in, a running cluster
//! without nodes out, with kubeconfig files for any user, kubectl, plain requests and the audit log.
//! What runs on a node does not run here; [`HandMadeNode`] says that it does, for tests that need it said.

mod access;
mod api;
mod audit;
mod node;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub use api::{Api, Refusal};
pub use audit::{AuditLog, Request};
pub use node::{Fate, HandMadeNode};

use super::artefacts::KUBERNETES;
use super::error::{Error, Result};
use super::install;
use super::ports::{self, PortLease};
use super::rundir::RunDir;
use super::server::{Plan, Probe, Server, trusting};
use super::tool::Tool;
use access::Access;
use serde_json::{Value, json};

/// Limit for each part to be ready; the API server needs 5 s on 2 idle cores.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Ports: etcd's clients, etcd's peers, API server, controller manager, scheduler.
const PORTS: usize = 5;

/// A running control plane; ends when dropped.
#[derive(Debug)]
pub struct ControlPlane {
    servers: [Server; 4],
    access: Access,
    url: String,
    bin: PathBuf,
    admin: PathBuf,
    run: RunDir,
    _leases: Vec<PortLease>,
}

impl ControlPlane {
    /// Installs what is missing (minutes, once), starts all and waits until all are ready.
    pub async fn start(run: &RunDir) -> Result<Self> {
        let bin = install::ensure_async(&KUBERNETES).await?.join("bin");
        ports::with_ports(PORTS, async |leases| Self::try_start(run, &bin, leases).await).await
    }

    async fn try_start(run: &RunDir, bin: &Path, leases: Vec<PortLease>) -> Result<Self> {
        let ports: Vec<u16> = leases.iter().map(PortLease::port).collect();
        let url = format!("https://127.0.0.1:{}", ports[2]);
        let access = Access::create(run, &url)?;
        let admin = access.admin()?;
        let plans = [
            etcd(run, bin, ports[0], ports[1])?,
            apiserver(run, bin, ports[0], ports[2], &access)?,
            controllers(run, bin, ports[3], &access)?,
            scheduler(run, bin, ports[4], &access)?,
        ];
        let servers = plans.map(|plan| Server::new(plan, run));
        let (bin, run) = (bin.to_owned(), run.clone());
        let cluster = Self { servers, access, url, bin, admin, run, _leases: leases };
        for server in &cluster.servers {
            // The API server waits for etcd by itself; the others would end without the API server.
            if server.name() == "kube-controller-manager" {
                cluster.apiserver().wait_ready().await?;
            }
            server.start()?;
        }
        futures_util::future::try_join_all(cluster.servers.iter().map(Server::wait_ready)).await?;
        cluster.wait_default_account().await?;
        Ok(cluster)
    }

    /// Pods can be created once the controllers have made the first ServiceAccount.
    async fn wait_default_account(&self) -> Result<()> {
        let (api, begun) = (self.api(), std::time::Instant::now());
        let path = "/api/v1/namespaces/default/serviceaccounts/default";
        while api.find(path).await?.is_none() {
            if begun.elapsed() > READY_LIMIT {
                let what = "the controllers make the default ServiceAccount".to_owned();
                return Err(Error::Timeout { what, limit: READY_LIMIT, seen: "none".to_owned() });
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// etcd, kube-apiserver, kube-controller-manager, kube-scheduler.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// etcd. Killed, it may lose what it acknowledged last: it does not sync its files to the disk, which only a crash
    /// of the machine would show.
    pub fn etcd(&self) -> &Server {
        &self.servers[0]
    }

    /// The API server.
    pub fn apiserver(&self) -> &Server {
        &self.servers[1]
    }

    /// The controller manager: ReplicaSets, pods, garbage collection, namespaces.
    pub fn controllers(&self) -> &Server {
        &self.servers[2]
    }

    /// The scheduler.
    pub fn scheduler(&self) -> &Server {
        &self.servers[3]
    }

    /// `https://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// CA of the API server, PEM.
    pub fn ca_pem_path(&self) -> &Path {
        &self.access.ca
    }

    /// For a user who may do everything.
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin
    }

    /// For a user that this call makes up; without bindings it may do nothing but discovery.
    pub fn kubeconfig(&self, user: &str, group: Option<&str>) -> Result<PathBuf> {
        self.access.user(user, group)
    }

    /// For an existing ServiceAccount, as a pod of it would have it; good for an hour.
    pub async fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3_600},
        });
        let answer = self.api().create(&path, &request).await?;
        let token = answer["status"]["token"].as_str().unwrap_or_default();
        self.access.token(&format!("{namespace}-{name}"), token)
    }

    /// Requests as the admin, on connections of its own.
    pub fn api(&self) -> Api {
        let identity = self.access.admin_pem().and_then(|pem| reqwest::Identity::from_pem(&pem).ok());
        let builder = trusting(&self.access.ca).zip(identity);
        let builder = builder.expect("start() has written the CA and the admin's certificate");
        let client = builder.0.identity(builder.1).build();
        Api::new(&self.url, client.expect("a certificate that rcgen made"))
    }

    /// kubectl as the admin.
    pub fn kubectl<S: AsRef<std::ffi::OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Tool {
        self.kubectl_as(&self.admin, args)
    }

    /// kubectl with another kubeconfig.
    pub fn kubectl_as<S: AsRef<std::ffi::OsStr>>(
        &self,
        kubeconfig: &Path,
        args: impl IntoIterator<Item = S>,
    ) -> Tool {
        let mut command = Command::new(self.bin.join("kubectl"));
        // Its caches and the user's own settings have no business here.
        command.env("HOME", self.run.path()).env_remove("KUBECONFIG");
        command.arg("--kubeconfig").arg(kubeconfig);
        Tool::new("kubernetes", "kubectl", command, &self.run).args(args)
    }

    /// Requests to the API server from now on.
    pub fn audit_log(&self) -> AuditLog {
        AuditLog::now(&audit_file(&self.run))
    }

    /// Where everything is, for people and scripts.
    pub fn addresses(&self) -> Value {
        json!({"url": self.url, "kubeconfig": self.admin, "kubectl": self.bin.join("kubectl")})
    }
}

fn audit_file(run: &RunDir) -> PathBuf {
    run.path().join("kubernetes/audit.log")
}

fn plan(name: &str, run: &RunDir, bin: &Path, args: Vec<String>, probe: Probe) -> Result<Plan> {
    Ok(Plan {
        name: name.to_owned(),
        program: bin.join(name),
        args,
        env: vec![],
        folder: run.folder("kubernetes")?,
        probe,
        ready_limit: READY_LIMIT,
    })
}

/// `--name=value` each.
fn options(options: &[(&str, &dyn std::fmt::Display)]) -> Vec<String> {
    options.iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn etcd(run: &RunDir, bin: &Path, client_port: u16, peer_port: u16) -> Result<Plan> {
    let data = run.folder("kubernetes")?.join("etcd");
    // What an attempt on other ports left.
    let _ = std::fs::remove_dir_all(&data);
    let (clients, peers) =
        (format!("http://127.0.0.1:{client_port}"), format!("http://127.0.0.1:{peer_port}"));
    let args = options(&[
        ("name", &"testbed"),
        ("data-dir", &data.display()),
        ("listen-client-urls", &clients),
        ("advertise-client-urls", &clients),
        ("listen-peer-urls", &peers),
        ("initial-advertise-peer-urls", &peers),
        ("initial-cluster", &format!("testbed={peers}")),
        ("log-level", &"warn"),
        // The data ends with the run.
        ("unsafe-no-fsync", &true),
    ]);
    plan("etcd", run, bin, args, Probe::Http(format!("{clients}/readyz")))
}

fn apiserver(run: &RunDir, bin: &Path, etcd_port: u16, port: u16, access: &Access) -> Result<Plan> {
    let folder = run.folder("kubernetes")?;
    let policy = folder.join("audit-policy.yaml");
    std::fs::write(&policy, audit::POLICY).map_err(Error::io(format!("write {}", policy.display())))?;
    let args = options(&[
        ("etcd-servers", &format!("http://127.0.0.1:{etcd_port}")),
        ("bind-address", &"127.0.0.1"),
        ("secure-port", &port),
        // No pod asks for the API server's Service here, and loopback could not be its endpoint.
        ("advertise-address", &"127.0.0.1"),
        ("endpoint-reconciler-type", &"none"),
        ("service-cluster-ip-range", &"10.96.0.0/16"),
        ("tls-cert-file", &access.server_certificate.display()),
        ("tls-private-key-file", &access.server_key.display()),
        ("client-ca-file", &access.ca.display()),
        ("service-account-issuer", &"https://kubernetes.default.svc"),
        ("service-account-key-file", &access.accounts_public_key.display()),
        ("service-account-signing-key-file", &access.accounts_key.display()),
        ("authorization-mode", &"Node,RBAC"),
        // The second is off by default and on in some distributions; it asks more of who makes owned objects.
        ("enable-admission-plugins", &"NodeRestriction,OwnerReferencesPermissionEnforcement"),
        ("allow-privileged", &true),
        ("audit-policy-file", &policy.display()),
        ("audit-log-path", &audit_file(run).display()),
        ("audit-log-mode", &"blocking"),
    ]);
    plan("kube-apiserver", run, bin, args, https(port, access))
}

/// Options that controller manager and scheduler share.
fn client_options(access: &Access, port: u16, user: &str) -> Result<Vec<String>> {
    let kubeconfig = access.user(user, None)?;
    Ok(options(&[
        ("kubeconfig", &kubeconfig.display()),
        ("authentication-kubeconfig", &kubeconfig.display()),
        ("authorization-kubeconfig", &kubeconfig.display()),
        ("bind-address", &"127.0.0.1"),
        ("secure-port", &port),
        ("tls-cert-file", &access.server_certificate.display()),
        ("tls-private-key-file", &access.server_key.display()),
        ("leader-elect", &false),
        // Tests make objects faster than people; the default is 20 to 50 requests a second.
        ("kube-api-qps", &500),
        ("kube-api-burst", &1_000),
    ]))
}

fn controllers(run: &RunDir, bin: &Path, port: u16, access: &Access) -> Result<Plan> {
    let mut args = client_options(access, port, "system:kube-controller-manager")?;
    args.extend(options(&[
        ("root-ca-file", &access.ca.display()),
        ("service-account-private-key-file", &access.accounts_key.display()),
        ("use-service-account-credentials", &true),
    ]));
    plan("kube-controller-manager", run, bin, args, https(port, access))
}

fn scheduler(run: &RunDir, bin: &Path, port: u16, access: &Access) -> Result<Plan> {
    let args = client_options(access, port, "system:kube-scheduler")?;
    plan("kube-scheduler", run, bin, args, https(port, access))
}

fn https(port: u16, access: &Access) -> Probe {
    Probe::Https(format!("https://127.0.0.1:{port}/healthz"), access.ca.clone())
}
