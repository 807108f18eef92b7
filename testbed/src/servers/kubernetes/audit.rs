//! The API server's audit log as a list of requests: who did what to which object, with what answer.
//! The server writes an entry before it ends its answer, so a client that has the whole answer finds the entry.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::servers::error::{Error, Result};

/// What is logged: everybody but the cluster's own controllers, writes with their bodies.
pub(super) const POLICY: &str = r#"apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ["system:apiserver", "system:kube-scheduler", "system:kube-controller-manager"]
- level: None
  userGroups: ["system:serviceaccounts:kube-system"]
- level: None
  nonResourceURLs: ["/readyz*", "/healthz*", "/livez*"]
- level: Request
  verbs: ["create", "update", "patch", "delete", "deletecollection"]
- level: Metadata
"#;

/// One request that was answered, or for a watch: accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Name of the user.
    pub user: String,
    /// `User-Agent` header.
    pub user_agent: String,
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// API group, empty for core.
    pub group: String,
    /// Plural name with the subresource, such as `deployments` or `candlepipelines/status`; empty for other paths.
    pub resource: String,
    /// Empty for cluster-scoped resources.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    /// Path and query.
    pub uri: String,
    /// HTTP status of the answer.
    pub status: u64,
    /// What was sent, for writes.
    pub body: Value,
    /// When the answer was sent, RFC 3339 with microseconds.
    pub time: String,
}

impl Request {
    /// Whether it asks for a change, whatever became of it.
    pub fn is_write(&self) -> bool {
        !matches!(self.verb.as_str(), "get" | "list" | "watch" | "head")
    }
}

/// The log from a certain point on.
#[derive(Debug, Clone)]
pub struct AuditLog {
    file: PathBuf,
    from: u64,
}

impl AuditLog {
    /// From now on.
    pub(super) fn now(file: &Path) -> Self {
        Self { file: file.to_owned(), from: file.metadata().map_or(0, |metadata| metadata.len()) }
    }

    /// Every request since then, in the order of the answers. A long watch appears when it starts, and once more when
    /// it ends.
    pub fn requests(&self) -> Result<Vec<Request>> {
        let read = || {
            let mut file = std::fs::File::open(&self.file)?;
            file.seek(SeekFrom::Start(self.from))?;
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text)
        };
        let text = read().map_err(Error::io(format!("read {}", self.file.display())))?;
        Ok(text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .map(|entry| request(&entry))
            .collect())
    }

    /// Writes since then of the users whose name contains `user`.
    pub fn writes_of(&self, user: &str) -> Result<Vec<Request>> {
        let requests = self.requests()?.into_iter();
        Ok(requests.filter(|request| request.is_write() && request.user.contains(user)).collect())
    }
}

fn request(entry: &Value) -> Request {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let object = &entry["objectRef"];
    let resource = match (text(&object["resource"]), object["subresource"].as_str()) {
        (resource, Some(sub)) => format!("{resource}/{sub}"),
        (resource, None) => resource,
    };
    Request {
        user: text(&entry["user"]["username"]),
        user_agent: text(&entry["userAgent"]),
        verb: text(&entry["verb"]),
        group: text(&object["apiGroup"]),
        resource,
        namespace: text(&object["namespace"]),
        name: text(&object["name"]),
        uri: text(&entry["requestURI"]),
        status: entry["responseStatus"]["code"].as_u64().unwrap_or_default(),
        body: entry["requestObject"].clone(),
        time: text(&entry["stageTimestamp"]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_says_who_did_what_to_which_object() {
        let entry = serde_json::json!({
            "stage": "ResponseComplete", "verb": "patch", "userAgent": "operator/0.1",
            "requestURI": "/apis/apps/v1/namespaces/n/deployments/d/scale?fieldManager=x",
            "user": {"username": "someone"}, "responseStatus": {"code": 200},
            "objectRef": {"resource": "deployments", "subresource": "scale", "apiGroup": "apps",
                          "namespace": "n", "name": "d"},
            "requestObject": {"spec": {"replicas": 2}},
        });
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.log");
        std::fs::write(&file, "an earlier line\n").unwrap();
        let log = AuditLog::now(&file);
        std::fs::write(&file, format!("an earlier line\n{entry}\n{{\"verb\": \"li")).unwrap();
        let requests = log.requests().unwrap();
        assert_eq!(requests.len(), 1, "the half-written line is not there yet");
        let found = &requests[0];
        assert_eq!((found.group.as_str(), found.resource.as_str()), ("apps", "deployments/scale"));
        assert_eq!((found.namespace.as_str(), found.name.as_str()), ("n", "d"));
        assert_eq!(found.body["spec"]["replicas"], 2);
        assert!(found.is_write());
        assert_eq!(log.writes_of("some").unwrap(), requests);
        assert_eq!(log.writes_of("other").unwrap(), []);
    }
}
