//! Certificates of one run's brokers: a CA, a server certificate for 127.0.0.1 and localhost, one of the same CA for
//! another host name, and an unrelated CA, so that tests can show what a client refuses. Written as PEM files;
//! private keys never leave the run's folder.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::error::{Error, Result};
use super::rundir::RunDir;

/// Host name that the wrong certificate is for; `.invalid` never resolves.
pub const WRONG_HOST: &str = "wrong-host.candles.invalid";

/// PEM files of one run.
#[derive(Debug, Clone)]
pub struct Pki {
    /// Certificate of the CA that signed the servers' certificates.
    pub ca: PathBuf,
    /// Certificate of a CA that signed nothing.
    pub other_ca: PathBuf,
    /// Private key and certificate chain for 127.0.0.1 and localhost.
    pub(crate) server: PathBuf,
    /// The same for [`WRONG_HOST`].
    pub(crate) wrong_host: PathBuf,
}

impl Pki {
    /// Makes all of them in `<run>/pki`.
    pub fn create(run: &RunDir) -> Result<Self> {
        let folder = run.folder("pki")?;
        let ca = authority("candles testbed CA")?;
        let other = authority("candles unrelated CA")?;
        let hosts = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        Ok(Self {
            ca: write(&folder, "ca.pem", &ca.pem())?,
            other_ca: write(&folder, "other-ca.pem", &other.pem())?,
            server: write(&folder, "server.pem", &server("broker", &hosts, &ca)?)?,
            wrong_host: write(&folder, "wrong-host.pem", &server("broker", &[WRONG_HOST.to_owned()], &ca)?)?,
        })
    }
}

pub(crate) fn authority(name: &'static str) -> Result<CertifiedIssuer<'static, KeyPair>> {
    let make = || {
        let mut params = params(name, &[])?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        CertifiedIssuer::self_signed(params, KeyPair::generate()?)
    };
    make().map_err(|source| Error::Certificate { subject: name, source })
}

/// Key, certificate and the CA's certificate, in the order in which Kafka reads a PEM key store.
fn server(name: &'static str, hosts: &[String], ca: &CertifiedIssuer<'_, KeyPair>) -> Result<String> {
    let make = || {
        let mut params = params(name, hosts)?;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, ca)?;
        Ok(format!("{}{}{}", key.serialize_pem(), certificate.pem(), ca.pem()))
    };
    make().map_err(|source| Error::Certificate { subject: name, source })
}

pub(crate) fn params(name: &str, hosts: &[String]) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(hosts)?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    Ok(params)
}

pub(crate) fn write(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    std::fs::write(&path, text).map_err(Error::io(format!("write {}", path.display())))?;
    Ok(path)
}
