//! Who is who in the cluster: one run's CA, the servers' certificate, the key of service accounts, and a kubeconfig file
//! for any user, group and token that a test makes up. Private keys never leave the run's folder.

use std::path::PathBuf;

use rcgen::{CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use serde_json::json;

use crate::servers::error::{Error, Result};
use crate::servers::pki::{authority, params, write};
use crate::servers::rundir::RunDir;

/// The group that may do everything.
const MASTERS: &str = "system:masters";

/// Files of one cluster.
pub(super) struct Access {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
    /// CA of servers and users, PEM.
    pub(super) ca: PathBuf,
    /// Certificate chain of the servers, PEM.
    pub(super) server_certificate: PathBuf,
    /// Its key.
    pub(super) server_key: PathBuf,
    /// Signs tokens of service accounts.
    pub(super) accounts_key: PathBuf,
    /// Checks them.
    pub(super) accounts_public_key: PathBuf,
    server_url: String,
}

impl Access {
    /// Makes all in `<run>/kubernetes`, for an API server at `server_url`.
    pub(super) fn create(run: &RunDir, server_url: &str) -> Result<Self> {
        let folder = run.folder("kubernetes/access")?;
        let issuer = authority("candles testbed cluster CA")?;
        let hosts = ["127.0.0.1", "10.96.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
        let (certificate, key) = signed(&issuer, "kubernetes", None, &hosts)?;
        let accounts =
            KeyPair::generate().map_err(|source| Error::Certificate { subject: "accounts", source })?;
        Ok(Self {
            ca: write(&folder, "ca.pem", &issuer.pem())?,
            server_certificate: write(&folder, "server.pem", &certificate)?,
            server_key: write(&folder, "server-key.pem", &key)?,
            accounts_key: write(&folder, "accounts-key.pem", &accounts.serialize_pem())?,
            accounts_public_key: write(&folder, "accounts.pem", &accounts.public_key_pem())?,
            server_url: server_url.to_owned(),
            issuer,
            folder,
        })
    }

    /// A kubeconfig for a user who may do everything.
    pub(super) fn admin(&self) -> Result<PathBuf> {
        self.user("admin", Some(MASTERS))
    }

    /// Certificate and key of the [admin](Self::admin), PEM, once there is one.
    pub(super) fn admin_pem(&self) -> Option<Vec<u8>> {
        let read = |file: &str| std::fs::read(self.folder.join(file)).ok();
        Some([read("admin.pem")?, read("admin-key.pem")?].concat())
    }

    /// A kubeconfig with a new client certificate.
    pub(super) fn user(&self, name: &str, group: Option<&str>) -> Result<PathBuf> {
        let (certificate, key) = signed(&self.issuer, name, group, &[])?;
        let file = name.replace([':', '/'], "-");
        let certificate = write(&self.folder, &format!("{file}.pem"), &certificate)?;
        let key = write(&self.folder, &format!("{file}-key.pem"), &key)?;
        self.kubeconfig(&file, &json!({"client-certificate": certificate, "client-key": key}))
    }

    /// A kubeconfig with a bearer token.
    pub(super) fn token(&self, name: &str, token: &str) -> Result<PathBuf> {
        self.kubeconfig(name, &json!({"token": token}))
    }

    /// JSON is YAML.
    fn kubeconfig(&self, file: &str, user: &serde_json::Value) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "testbed", "cluster": {
                "server": self.server_url, "certificate-authority": self.ca,
            }}],
            "users": [{"name": "user", "user": user}],
            "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "user"}}],
            "current-context": "testbed",
        });
        write(&self.folder, &format!("{file}.kubeconfig"), &format!("{config:#}\n"))
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Certificate and key, for servers with `hosts` and for clients of that name and group.
fn signed(
    issuer: &CertifiedIssuer<'_, KeyPair>,
    name: &str,
    group: Option<&str>,
    hosts: &[String],
) -> Result<(String, String)> {
    let make = || {
        let mut params = params(name, hosts)?;
        if let Some(group) = group {
            params.distinguished_name.push(DnType::OrganizationName, group);
        }
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let client = ExtendedKeyUsagePurpose::ClientAuth;
        params.extended_key_usages =
            if hosts.is_empty() { vec![client] } else { vec![ExtendedKeyUsagePurpose::ServerAuth, client] };
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, issuer)?;
        Ok((certificate.pem(), key.serialize_pem()))
    };
    make().map_err(|source| Error::Certificate { subject: "a user or server of the cluster", source })
}
