//! The spec in, the workers' configuration and the files of its secrets out.
//!
//! The configuration goes through the workers' own parser: what passes here is what they accept.

use candles_core::config::PipelineConfig;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Value, json};

use super::{Problems, SecretFile};
use crate::{
    api::{CandlePipelineSpec, SecretKeyRef},
    plan::SECRETS_PATH,
};

const KAFKA_CA: &str = "kafka-ca.crt";
const KAFKA_CERTIFICATE: &str = "kafka-client.crt";
const KAFKA_KEY: &str = "kafka-client.key";
const KAFKA_PASSWORD: &str = "kafka-password";
const REGISTRY_CA: &str = "schema-registry-ca.crt";
const REGISTRY_LOGIN: &str = "schema-registry-login";
const INFLUXDB_CA: &str = "influxdb-ca.crt";
const INFLUXDB_TOKEN: &str = "influxdb-token";

/// Every secret that the spec names, and the file that it becomes: files are named by use, so that another Secret
/// under the same field is no other configuration.
pub(super) fn secret_files(spec: &CandlePipelineSpec, problems: &mut Problems) -> Vec<SecretFile> {
    let tls = spec.kafka.tls.as_ref();
    let auth = spec.schema_registry.auth.as_ref();
    let basic = auth.and_then(|auth| auth.basic.as_ref());
    let bearer = auth.and_then(|auth| auth.bearer.as_ref());
    let named: [(&'static str, &'static str, Option<&SecretKeyRef>); 9] = [
        ("spec.kafka.tls.caSecretRef", KAFKA_CA, tls.and_then(|tls| tls.ca_secret_ref.as_ref())),
        (
            "spec.kafka.tls.certificateSecretRef",
            KAFKA_CERTIFICATE,
            tls.and_then(|tls| tls.certificate_secret_ref.as_ref()),
        ),
        ("spec.kafka.tls.keySecretRef", KAFKA_KEY, tls.and_then(|tls| tls.key_secret_ref.as_ref())),
        (
            "spec.kafka.sasl.passwordSecretRef",
            KAFKA_PASSWORD,
            spec.kafka.sasl.as_ref().map(|sasl| &sasl.password_secret_ref),
        ),
        ("spec.schemaRegistry.caSecretRef", REGISTRY_CA, spec.schema_registry.ca_secret_ref.as_ref()),
        (
            "spec.schemaRegistry.auth.basic.passwordSecretRef",
            REGISTRY_LOGIN,
            basic.map(|basic| &basic.password_secret_ref),
        ),
        (
            "spec.schemaRegistry.auth.bearer.tokenSecretRef",
            REGISTRY_LOGIN,
            bearer.map(|bearer| &bearer.token_secret_ref),
        ),
        ("spec.influxdb.caSecretRef", INFLUXDB_CA, spec.influxdb.ca_secret_ref.as_ref()),
        ("spec.influxdb.tokenSecretRef", INFLUXDB_TOKEN, Some(&spec.influxdb.token_secret_ref)),
    ];
    let mut files = Vec::new();
    for (field, file, secret) in named {
        let Some(secret) = secret else { continue };
        check_reference(field, secret, problems);
        let for_producer = !field.starts_with("spec.influxdb");
        files.push(SecretFile { field, file, secret: secret.clone(), for_producer });
    }
    files
}

fn check_reference(field: &str, secret: &SecretKeyRef, problems: &mut Problems) {
    let name_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let key_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let (name, key) = (&secret.name, &secret.key);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(name_allowed) {
        problems.add(format_args!("{field}.name"), format_args!("{name:?} is no name of a Secret"));
    }
    if key.is_empty()
        || key.len() > 253
        || !key.bytes().all(key_allowed)
        || matches!(key.as_str(), "." | "..")
    {
        problems.add(format_args!("{field}.key"), format_args!("{key:?} is no key of a Secret"));
    }
}

fn file(name: &str) -> Value {
    json!({"file": format!("{SECRETS_PATH}/{name}")})
}

fn path(name: &str, present: bool) -> Value {
    if present { json!(format!("{SECRETS_PATH}/{name}")) } else { Value::Null }
}

/// The configuration as the workers understand it.
pub(super) fn check(
    spec: &CandlePipelineSpec,
    topic_name: &str,
    problems: &mut Problems,
) -> Option<PipelineConfig> {
    // JSON is YAML; nothing of the user's text can leave its string.
    match PipelineConfig::from_yaml(&without_nulls(raw(spec, topic_name)).to_string()) {
        Ok(config) => {
            check_texts(spec, problems);
            Some(config)
        }
        Err(error) => {
            problems.0.push(format!("spec.{}", error.message));
            None
        }
    }
}

/// Texts that the workers take as they are, and that Kubernetes or people see.
fn check_texts(spec: &CandlePipelineSpec, problems: &mut Problems) {
    let influxdb = &spec.influxdb;
    let basic = spec.schema_registry.auth.as_ref().and_then(|auth| auth.basic.as_ref());
    let texts = [
        ("spec.influxdb.bucket", Some(&influxdb.bucket)),
        ("spec.influxdb.organization", influxdb.organization.as_ref()),
        ("spec.kafka.sasl.username", spec.kafka.sasl.as_ref().map(|sasl| &sasl.username)),
        ("spec.schemaRegistry.auth.basic.username", basic.map(|basic| &basic.username)),
    ];
    for (field, text) in texts {
        if let Some(text) =
            text.filter(|text| text.is_empty() || text.len() > 1024 || text.chars().any(char::is_control))
        {
            problems.add(field, format_args!("{text:?} is not one line of at most 1024 bytes"));
        }
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if let Some(id) = spec.consumer.group_id.as_ref().filter(|id| !id.bytes().all(allowed)) {
        problems.add(
            "spec.consumer.groupId",
            format_args!("{id:?} holds more than letters, digits, '.', '_' and '-'"),
        );
    }
}

fn raw(spec: &CandlePipelineSpec, topic_name: &str) -> Value {
    let (exchange, kafka, registry, influxdb) =
        (&spec.exchange, &spec.kafka, &spec.schema_registry, &spec.influxdb);
    let acks = match &spec.producer.acks {
        IntOrString::Int(number) => json!(number),
        IntOrString::String(text) => json!(text),
    };
    let tls = kafka.tls.as_ref().map(|tls| {
        json!({
            "caFile": path(KAFKA_CA, tls.ca_secret_ref.is_some()),
            "certificateFile": path(KAFKA_CERTIFICATE, tls.certificate_secret_ref.is_some()),
            "keyFile": path(KAFKA_KEY, tls.key_secret_ref.is_some()),
        })
    });
    let sasl = kafka.sasl.as_ref().map(|sasl| {
        json!({"mechanism": sasl.mechanism, "username": sasl.username, "password": file(KAFKA_PASSWORD)})
    });
    let auth = registry.auth.as_ref().map(|auth| {
        json!({
            "basic": auth.basic.as_ref().map(|basic| json!({"username": basic.username, "password": file(REGISTRY_LOGIN)})),
            "bearer": auth.bearer.as_ref().map(|_| json!({"token": file(REGISTRY_LOGIN)})),
        })
    });
    json!({
        "exchange": exchange,
        "kafka": {"bootstrapServers": kafka.bootstrap_servers, "tls": tls, "sasl": sasl},
        "schemaRegistry": {
            "url": registry.url,
            "auth": auth,
            "caFile": path(REGISTRY_CA, registry.ca_secret_ref.is_some()),
        },
        "topic": {"name": topic_name},
        "producer": {
            "acks": acks,
            "partitioner": spec.producer.partitioner,
            "partitions": spec.producer.partitions,
            "backfill": spec.producer.backfill,
        },
        "consumer": {
            "groupId": spec.consumer.group_id,
            "assignor": spec.consumer.assignor,
            "offsetReset": spec.consumer.offset_reset,
        },
        "candles": spec.candles,
        "influxdb": {
            "url": influxdb.url,
            "api": influxdb.api,
            "organization": influxdb.organization,
            "bucket": influxdb.bucket,
            "token": file(INFLUXDB_TOKEN),
            "caFile": path(INFLUXDB_CA, influxdb.ca_secret_ref.is_some()),
            "gzip": influxdb.gzip,
            "trades": influxdb.trades,
            "candles": influxdb.candles,
        },
    })
}

fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let kept = map.into_iter().filter(|(_, value)| !value.is_null());
            Value::Object(kept.map(|(key, value)| (key, without_nulls(value))).collect())
        }
        other => other,
    }
}
