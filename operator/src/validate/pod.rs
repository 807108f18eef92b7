//! Checks of what pods get: amounts, labels, annotations.

use std::collections::BTreeMap;

use super::Problems;
use crate::{
    api::{PodSpec, ResourcesSpec},
    quantity,
};

pub(super) fn check_resources(field: &str, resources: &ResourcesSpec, problems: &mut Problems) {
    let (requests, limits) = (&resources.requests, &resources.limits);
    let pairs = [
        ("cpu", &requests.cpu, &limits.cpu),
        ("memory", &requests.memory, &limits.memory),
        ("ephemeral-storage", &requests.ephemeral_storage, &limits.ephemeral_storage),
    ];
    for (name, request, limit) in pairs {
        let mut amount = |kind: &str, quantity: &Option<_>| {
            let k8s_openapi::apimachinery::pkg::api::resource::Quantity(text) = quantity.as_ref()?;
            let amount = quantity::parse_nano(text).filter(|amount| *amount > 0);
            if amount.is_none() {
                problems.add(
                    format_args!("{field}.{kind}.{name}"),
                    format_args!("{text:?} is no quantity above 0; write it as in 500m, 2 or 256Mi"),
                );
            }
            amount
        };
        let (request, limit) = (amount("requests", request), amount("limits", limit));
        if request.zip(limit).is_some_and(|(request, limit)| request > limit) {
            problems.add(format_args!("{field}.requests.{name}"), "is more than the limit");
        }
    }
}

pub(super) fn check_pod(field: &str, pod: &PodSpec, problems: &mut Problems) {
    check_metadata(&format!("{field}.labels"), &pod.labels, problems);
    check_names(&format!("{field}.annotations"), &pod.annotations, problems);
    for (key, value) in &pod.annotations {
        if value.len() > 8192 {
            problems.add(format_args!("{field}.annotations[{key}]"), "is longer than 8192 bytes");
        }
    }
}

/// Labels that stand beside the operator's own.
pub(super) fn check_metadata(field: &str, labels: &BTreeMap<String, String>, problems: &mut Problems) {
    check_names(field, labels, problems);
    for (key, value) in labels {
        if !value.is_empty() && !is_name(value) {
            problems.add(
                format_args!("{field}[{key}]"),
                format_args!("{value:?} is not at most 63 letters, digits, '-', '_' and '.', letters or digits at its ends"),
            );
        }
    }
}

fn check_names(field: &str, map: &BTreeMap<String, String>, problems: &mut Problems) {
    for key in map.keys() {
        let (domain, name) =
            key.rsplit_once('/').map_or((None, key.as_str()), |(domain, name)| (Some(domain), name));
        let domain_allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
        let domain_fits = domain.is_none_or(|domain| {
            !domain.is_empty() && domain.len() <= 253 && domain.bytes().all(domain_allowed)
        });
        if !domain_fits || !is_name(name) {
            problems.add(field, format_args!("{key:?} is no name of a label or an annotation"));
        } else if domain
            .is_some_and(|domain| domain == "app.kubernetes.io" || domain.ends_with("candles.dev"))
        {
            problems.add(field, format_args!("{key:?} is the operator's own"));
        }
    }
}

fn is_name(text: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && edge(bytes.first())
        && edge(bytes.last())
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}
