//! What a person asks a registry: subjects, versions, compatibility. Reads only.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::{Refusal, Registry, RegistryError};

/// Answers of Confluent's API for "there is no such thing": subject, version, compatibility of the subject.
const ABSENT: [u32; 3] = [40401, 40402, 40408];

/// One version of a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Counts from 1 within the subject.
    pub version: u32,
    /// Id of the schema.
    pub id: u32,
    /// Its text.
    pub schema: String,
}

#[derive(Deserialize)]
struct Found {
    id: u32,
    #[serde(default)]
    version: Option<u32>,
    schema: String,
}

#[derive(Deserialize)]
struct Compatibility {
    #[serde(rename = "compatibilityLevel", alias = "compatibility")]
    level: String,
}

#[derive(Deserialize)]
struct Checked {
    is_compatible: bool,
    #[serde(default)]
    messages: Vec<String>,
}

impl Registry {
    /// Names of all subjects, in order.
    pub async fn subjects(&self) -> Result<Vec<String>, RegistryError> {
        let mut subjects: Vec<String> = self
            .send(Method::GET, &["subjects"], None)
            .await?
            .map_err(|refusal| self.refused("", &refusal))?;
        subjects.sort();
        Ok(subjects)
    }

    /// Versions of a subject, in order; none if there is no such subject.
    pub async fn versions(&self, subject: &str) -> Result<Vec<u32>, RegistryError> {
        let path = ["subjects", subject, "versions"];
        self.send(Method::GET, &path, None)
            .await?
            .or_else(|refusal| self.absent(subject, &refusal, Vec::new()))
    }

    /// One version of a subject; `None` if there is no such one.
    pub async fn version(&self, subject: &str, version: u32) -> Result<Option<Version>, RegistryError> {
        let number = version.to_string();
        let path = ["subjects", subject, "versions", &number];
        let found = self.send::<Found>(Method::GET, &path, None).await?.map(|found| {
            Some(Version { version: found.version.unwrap_or(version), id: found.id, schema: found.schema })
        });
        found.or_else(|refusal| self.absent(subject, &refusal, None))
    }

    /// The compatibility rule of a subject; `None` if it has none of its own.
    pub async fn compatibility(&self, subject: &str) -> Result<Option<String>, RegistryError> {
        let found = self.send::<Compatibility>(Method::GET, &["config", subject], None).await?;
        found.map(|found| Some(found.level)).or_else(|refusal| self.absent(subject, &refusal, None))
    }

    /// What the registry has against `schema` as the next version; empty if nothing.
    pub async fn check(&self, subject: &str, schema: &str) -> Result<Vec<String>, RegistryError> {
        let path = ["compatibility", "subjects", subject, "versions", "latest"];
        let body = json!({ "schema": schema });
        let checked = self.send::<Checked>(Method::POST, &path, Some(&body)).await?;
        let problems = checked.map(|checked| match (checked.is_compatible, checked.messages) {
            (true, _) => Vec::new(),
            (false, messages) if messages.is_empty() => vec!["the registry calls it incompatible".to_owned()],
            (false, messages) => messages,
        });
        problems.or_else(|refusal| self.absent(subject, &refusal, Vec::new()))
    }

    fn absent<T>(&self, subject: &str, refusal: &Refusal, absent: T) -> Result<T, RegistryError> {
        if ABSENT.contains(&refusal.problem.error_code) {
            Ok(absent)
        } else {
            Err(self.refused(subject, refusal))
        }
    }
}
