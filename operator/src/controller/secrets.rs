//! Whether the Secrets of a pipeline exist, where the operator was told to look (`--read-secret`) and may: names in,
//! facts out. Their content is dropped as it comes.
//!
//! Without that the operator reads no Secret: pods wait for them by themselves, and tell it in their own events.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ApiResource;

use super::{
    objects::{ApiError, Objects},
    pass::PassError,
};
use crate::{observed::SecretFacts, validate::ValidPipeline};

/// Looks at those Secrets of a pipeline that may be read. One that is missing is told even where others are unknown.
pub async fn look(
    objects: &Objects,
    valid: &ValidPipeline,
    readable: &BTreeSet<String>,
) -> Result<SecretFacts, PassError> {
    let mut keys: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for file in &valid.secrets {
        keys.entry(file.secret.name.as_str()).or_default().insert(file.secret.key.as_str());
    }
    let mut facts = SecretFacts::Found;
    for (name, keys) in keys {
        if !readable.contains(name) {
            facts = SecretFacts::NotRead;
            continue;
        }
        let resource = ApiResource::erase::<Secret>(&());
        let found = match objects.get(&resource, &valid.namespace, name).await {
            Err(ApiError::Refused(problem)) => {
                tracing::debug!(secret = name, problem, "a Secret that should be read cannot be");
                facts = SecretFacts::NotRead;
                continue;
            }
            found => found.map_err(PassError::api(format!("get Secret {name}")))?,
        };
        let Some(found) = found else {
            return Ok(SecretFacts::Missing { secret: name.to_owned() });
        };
        let has = |key: &str| found.data["data"].get(key).is_some();
        if let Some(key) = keys.into_iter().find(|key| !has(key)) {
            return Ok(SecretFacts::KeyMissing { secret: name.to_owned(), key: key.to_owned() });
        }
    }
    Ok(facts)
}
