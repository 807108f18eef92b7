//! The operator's own logins: a file that its administrator writes in, the settings of one cluster out.
//!
//! The operator has no right on Secrets, so it cannot log in as a pipeline does. Its file lists the clusters that it
//! may log in to. An entry is used only for pipelines all of whose brokers it names: a login is never sent to a host
//! that the administrator did not write down. (`a_login_is_sent_to_listed_brokers_only`)

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use candles_core::config::{KafkaConfig, TlsConfig};
use serde::Deserialize;

use super::{Address, KafkaError, admin::brokers};

/// Longest file, in bytes.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// `--kafka-clusters`: clusters as the pipeline configuration writes them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterList {
    /// Brokers, certificates and login of each; `bootstrapServers` names every broker that pipelines may name.
    pub clusters: Vec<KafkaConfig>,
}

/// Which clusters the operator talks to, and as whom.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    /// The list, if there is one. It is read again for every new connection: mounted files change.
    pub file: Option<PathBuf>,
    /// No connection to clusters that are not listed.
    pub listed_only: bool,
}

/// Reads a list of clusters.
pub fn read(path: &Path) -> Result<ClusterList, String> {
    let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    if text.len() > FILE_BYTES_MAX {
        return Err(format!("{}: {} bytes are more than {FILE_BYTES_MAX}", path.display(), text.len()));
    }
    serde_yaml::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

impl Credentials {
    /// How to connect to the cluster that a pipeline names. Reads the list.
    pub fn settings(&self, address: &Address) -> Result<KafkaConfig, KafkaError> {
        let list = match &self.file {
            Some(file) => read(file).map_err(|e| KafkaError::NoAccess(format!("--kafka-clusters: {e}")))?,
            None => ClusterList::default(),
        };
        choose(&list, self.listed_only, address)
    }
}

fn choose(list: &ClusterList, listed_only: bool, address: &Address) -> Result<KafkaConfig, KafkaError> {
    let names = |entry: &&KafkaConfig| -> bool {
        let listed: BTreeSet<String> = brokers(entry.bootstrap_servers.as_str());
        address.brokers.is_subset(&listed)
    };
    if let Some(entry) = list.clusters.iter().find(names) {
        return Ok(entry.clone());
    }
    let servers = address.bootstrap_servers();
    let why = match (listed_only, address.login) {
        (true, _) => "this operator talks to listed clusters only",
        (_, true) => "the operator cannot use the login of a pipeline and has none of its own for them",
        (false, false) => {
            return Ok(KafkaConfig {
                bootstrap_servers: servers
                    .clone()
                    .try_into()
                    .map_err(|e| KafkaError::NoAccess(format!("kafka.bootstrapServers: {servers:?}: {e}")))?,
                tls: address.tls.then(TlsConfig::default),
                sasl: None,
            });
        }
    };
    Err(KafkaError::NoAccess(format!(
        "no cluster in the operator's --kafka-clusters names all of {servers}, and {why}; add them there, or set \
         topic.management: Observe and create the topic yourself"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "
clusters:
- bootstrapServers: Kafka-0:9093,kafka-1:9093
  tls: {caFile: /etc/ca.crt}
  sasl: {mechanism: SCRAM-SHA-512, username: operator, password: {file: /etc/password}}
";

    fn list() -> ClusterList {
        serde_yaml::from_str(LIST).unwrap()
    }

    #[test]
    fn a_login_is_sent_to_listed_brokers_only() {
        let some = Address::new("kafka-1:9093", true, true);
        assert_eq!(choose(&list(), false, &some).unwrap().sasl.unwrap().username, "operator");
        for stranger in ["kafka-1:9093,evil:9093", "kafka-1:9094", "evil:9093"] {
            let address = Address::new(stranger, true, true);
            let error = choose(&list(), false, &address).unwrap_err().to_string();
            assert!(error.contains("names all of") && error.contains("--kafka-clusters"), "{error}");
            // Without a login in the pipeline it connects, as nobody.
            let anonymous = Address::new(stranger, true, false);
            assert_eq!(choose(&list(), false, &anonymous).unwrap().sasl, None);
        }
    }

    #[test]
    fn listed_only_means_no_other_connection() {
        let error = choose(&list(), true, &Address::new("evil:9093", false, false)).unwrap_err().to_string();
        assert!(error.contains("listed clusters only"), "{error}");
    }

    #[test]
    fn unknown_keys_of_the_list_are_errors() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "clusters: [{bootstrapServers: 'k:1', ssl: {}}]").unwrap();
        assert!(read(file.path()).unwrap_err().contains("ssl"));
        let address = Address::new("k:1", false, false);
        let credentials = Credentials { file: Some(file.path().to_owned()), listed_only: false };
        assert!(matches!(credentials.settings(&address), Err(KafkaError::NoAccess(_))));
    }
}
