//! Documents that are made from the code: what the code says in, a comparison with the file, or the file anew, out.

#![allow(clippy::panic, reason = "a document that is out of date fails its test loudly")]

use std::collections::BTreeSet;
use std::path::Path;

/// Compares what stands after the line `marker` of a document with what is generated now; rewrites it when `UPDATE` is
/// set.
///
/// # Panics
/// When they differ, or the document or its marker is missing.
pub fn is_generated(document: &Path, marker: &str, new: &str) {
    let shown = document.display();
    let text = std::fs::read_to_string(document).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let (head, old) = text.split_once(marker).unwrap_or_else(|| panic!("{shown} has no line {marker}"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(document, format!("{head}{marker}{new}")).unwrap_or_else(|e| panic!("{shown}: {e}"));
    } else {
        assert!(old == new, "{shown} is not what the code says; run UPDATE=1 make test");
    }
}

/// Rows of a table of metrics (name, type, labels, help), from the text that `/metrics` shows.
///
/// # Panics
/// When a metric has no series: it would be missing.
pub fn metric_rows(text: &str) -> BTreeSet<String> {
    let help = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split_once(' '));
    let row = |(name, help): (&str, &str)| {
        let kind = text.lines().find_map(|line| line.strip_prefix(&format!("# TYPE {name} ")));
        let kind = kind.unwrap_or_else(|| panic!("{name}: no type"));
        let ending = if kind == "counter" { "_total" } else { "" };
        format!("| `{name}{ending}` | {kind} | {} | {help} |", labels(text, name))
    };
    help.map(row).collect()
}

/// Names of the labels in the first series of a metric.
fn labels(text: &str, name: &str) -> String {
    let series = text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let rest = line.strip_prefix(name)?;
        let ending = rest.split(['{', ' ']).next()?;
        ["", "_total", "_bucket"].contains(&ending).then_some(rest)
    });
    let series = series.unwrap_or_else(|| panic!("{name}: no series"));
    let labels = series.split_once('{').map_or("", |(_, rest)| rest);
    let names = labels.split("\",").filter_map(|label| label.split_once("=\"")).map(|(label, _)| label);
    names.filter(|label| *label != "le").map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}
