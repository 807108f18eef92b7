//! README of each chart: its table of values is made from values.yaml, where every value has a comment.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

use crate::chart::{CHARTS, assert_file, documents, folder};

/// The generated part follows this line.
const MARKER: &str =
    "<!-- From here on made by testbed/tests/charts/documents.rs: UPDATE=1 make charts-test -->\n";

struct Row {
    path: Vec<String>,
    comment: String,
    /// Whether keys below it are the chart's.
    has_keys: bool,
}

/// Keys of values.yaml that stand on a line of their own, with the comments right before them.
fn rows(text: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let (mut path, mut comment): (Vec<(usize, String)>, Vec<&str>) = (Vec::new(), Vec::new());
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let words = line.trim();
        if let Some(said) = words.strip_prefix('#') {
            // Examples are lists, and what belongs to them is indented.
            if !said.starts_with(" -") && !said.starts_with("  ") {
                comment.push(said.trim());
            }
            continue;
        }
        let Some((key, rest)) = words.split_once(':').filter(|_| !words.starts_with('-')) else {
            comment.clear();
            continue;
        };
        path.retain(|(depth, _)| *depth < indent);
        path.push((indent, key.to_owned()));
        let path: Vec<String> = path.iter().map(|(_, key)| key.clone()).collect();
        rows.push(Row { path, comment: comment.join(" "), has_keys: rest.trim().is_empty() });
        comment.clear();
    }
    rows
}

fn default<'a>(values: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(values, |value, key| &value[key])
}

/// JSON with sorted keys, whatever features other crates switch on.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<String, String> = members
                .iter()
                .map(|(key, value)| (Value::from(key.as_str()).to_string(), sorted(value)))
                .collect();
            let pairs: Vec<String> = members.iter().map(|(key, value)| format!("{key}:{value}")).collect();
            format!("{{{}}}", pairs.join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(",")),
        single => single.to_string(),
    }
}

fn table(chart: &str) -> String {
    let text = std::fs::read_to_string(folder(chart).join("values.yaml")).unwrap();
    let values = documents(&text).remove(0);
    let rows = rows(&text);
    let mut table = "| value | default | meaning |\n|---|---|---|\n".to_owned();
    for row in &rows {
        let name = row.path.join(".");
        // A value whose parts have comments of their own is told by them; a whole one, as resources, at its top.
        let is_told_above = row.comment.is_empty()
            && rows.iter().any(|above| {
                !above.comment.is_empty()
                    && row.path.len() > above.path.len()
                    && row.path.starts_with(&above.path)
            });
        let parts =
            rows.iter().filter(|part| part.path.len() > row.path.len() && part.path.starts_with(&row.path));
        let is_section = row.has_keys && parts.clone().any(|part| !part.comment.is_empty());
        if is_section || is_told_above {
            continue;
        }
        assert!(!row.comment.is_empty(), "{chart}: values.yaml says nothing about {name}");
        let value = sorted(default(&values, &row.path));
        let _ = writeln!(table, "| `{name}` | `{value}` | {} |", row.comment.replace('|', "\\|"));
    }
    table
}

#[test]
fn readmes_tell_every_value() {
    for chart in CHARTS {
        let file = folder(chart).join("README.md");
        let found = std::fs::read_to_string(&file).unwrap();
        let (written, _) = found.split_once(MARKER).expect("the README has the marker");
        assert_file(&file, &format!("{written}{MARKER}\n{}", table(chart)));
    }
}

#[test]
fn schemas_know_every_value() {
    fn check(values: &Value, schema: &Value, place: &str) {
        assert_eq!(schema["type"], "object", "{place}");
        let Some(properties) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{place} takes anything");
        for (key, value) in values.as_object().unwrap() {
            let known = properties.get(key).unwrap_or_else(|| panic!("{place}.{key} is not in the schema"));
            if value.is_object() {
                check(value, known, &format!("{place}.{key}"));
            }
        }
    }
    for chart in CHARTS {
        let values =
            documents(&std::fs::read_to_string(folder(chart).join("values.yaml")).unwrap()).remove(0);
        let schema = std::fs::read_to_string(folder(chart).join("values.schema.json")).unwrap();
        check(&values, &serde_json::from_str(&schema).unwrap(), chart);
    }
}
