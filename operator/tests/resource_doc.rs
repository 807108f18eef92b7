//! `docs/resource.md` says what the definition says: its tables are made from the schema. `UPDATE=1 make test` rewrites it.

use std::fmt::Write as _;

use candles_operator::api::{crd, rules};
use candles_testbed::documents::is_generated;
use serde_json::Value;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/resource.md");
/// The generated part follows this line.
const MARKER: &str = "<!-- From here on made by operator/tests/resource_doc.rs: UPDATE=1 make test -->\n";
/// Fields whose types are those of Kubernetes: their parts are in its own reference.
const OF_KUBERNETES: [&str; 4] = ["affinity", "tolerations", "topologySpreadConstraints", "conditions"];
/// A reference to a Secret looks the same everywhere.
const SECRET: &str = "SecretRef";

fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn kind(schema: &Value, name: &str) -> String {
    if name.ends_with(SECRET) {
        return "name and key of a Secret".to_owned();
    }
    if let Some(choices) = schema["enum"].as_array() {
        return choices
            .iter()
            .map(|choice| format!("`{}`", choice.as_str().unwrap()))
            .collect::<Vec<_>>()
            .join(", ");
    }
    if schema["x-kubernetes-int-or-string"] == true {
        return "number or text".to_owned();
    }
    match schema["type"].as_str().unwrap() {
        "object" if schema["additionalProperties"].is_object() => "map".to_owned(),
        "object" => "section".to_owned(),
        "array" => "list".to_owned(),
        "boolean" => "`true` or `false`".to_owned(),
        "integer" => "whole number".to_owned(),
        _ => "text".to_owned(),
    }
}

/// What a pattern allows, for people.
fn words(pattern: &str) -> &'static str {
    const WORDS: &[(&str, &str)] = &[
        (rules::DURATION_PATTERN, "a whole number and ms, s, m, h or d"),
        (rules::LABEL_VALUE_PATTERN, "letters, digits, `-`, `_` and `.`, letters or digits at its ends"),
        (rules::POINT_NAME_PATTERN, "one line, no backslash, neither `_` nor `#` at its start"),
        (rules::PRINTABLE_PATTERN, "one line"),
        (r"^[A-Za-z0-9._-]+$", "letters, digits, `.`, `_` and `-`"),
        (r"^[1-9][0-9]{0,6}[smhdw]$", "a whole number and s, m, h, d or w"),
        (r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", "small letters, digits, `-` and `.`"),
        (
            r"^t([A-Z0-9]{6}|[A-Z0-9]+:[A-Z0-9]+)$",
            "`t` and two currencies in capitals, with a colon if one has more than three letters",
        ),
    ];
    let known = WORDS.iter().find(|(known, _)| *known == pattern);
    known.unwrap_or_else(|| panic!("say in words what {pattern} allows")).1
}

/// Bounds, then what the rules say.
fn limits(schema: &Value) -> String {
    let mut limits = Vec::new();
    match (schema["minimum"].as_f64(), schema["maximum"].as_f64()) {
        (Some(least), Some(most)) => limits.push(format!("{least} to {most}")),
        (Some(least), None) => limits.push(format!("at least {least}")),
        _ => {}
    }
    for (key, what) in [("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "entries")] {
        if let Some(most) = schema[key].as_u64() {
            limits.push(format!("at most {most} {what}"));
        }
    }
    for (of, what) in [(schema, ""), (&schema["items"], "each "), (&schema["additionalProperties"], "each ")]
    {
        if let Some(pattern) = of["pattern"].as_str() {
            limits.push(format!("{what}{}", words(pattern)));
        }
    }
    let rules = schema["x-kubernetes-validations"].as_array();
    limits
        .extend(rules.into_iter().flatten().map(|rule| format!("\"{}\"", rule["message"].as_str().unwrap())));
    cell(&limits.join("; "))
}

fn default(schema: &Value) -> String {
    match &schema["default"] {
        Value::Null | Value::Object(_) => String::new(),
        Value::String(text) => format!("`{text}`"),
        Value::Array(list) => {
            format!("`[{}]`", list.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", "))
        }
        other => format!("`{other}`"),
    }
}

fn rows(path: &str, schema: &Value, text: &mut String) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let field = format!("{path}.{name}");
        let default =
            if required.contains(&name.as_str()) { "required".to_owned() } else { default(property) };
        let description = cell(property["description"].as_str().unwrap_or_default());
        writeln!(
            text,
            "| `{field}` | {} | {default} | {description} | {} |",
            kind(property, name),
            limits(property)
        )
        .unwrap();
        if !OF_KUBERNETES.contains(&name.as_str()) && !name.ends_with(SECRET) {
            rows(&field, property, text);
        }
    }
}

fn generated() -> String {
    let version = crd().spec.versions.remove(0);
    let schema = serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap();
    let mut text = String::new();
    let spec = &schema["properties"]["spec"];
    for (name, property) in spec["properties"].as_object().unwrap() {
        let required = spec["required"].as_array().unwrap().iter().any(|field| field == name);
        let required = if required { " Required." } else { "" };
        write!(text, "\n## spec.{name}\n{}{required}\n", property["description"].as_str().unwrap()).unwrap();
        let rules = limits(property);
        if !rules.is_empty() {
            write!(text, "\nRules: {rules}.\n").unwrap();
        }
        let mut table = String::new();
        rows(name, property, &mut table);
        if !table.is_empty() {
            write!(text, "\n| field | value | default | meaning | rules |\n|---|---|---|---|---|\n{table}")
                .unwrap();
        }
    }
    write!(
        text,
        "\n## Rules that concern several fields\n{}\n",
        limits(&spec.clone()).replace("; \"", "\n- \"").replacen('"', "\n- \"", 1)
    )
    .unwrap();
    text += "\n## status\nWhat the operator reports.\n\n| field | value | meaning |\n|---|---|---|\n";
    status_rows("status", &schema["properties"]["status"], &mut text);
    text
}

fn status_rows(path: &str, schema: &Value, text: &mut String) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let field = format!("{path}.{name}");
        let description = cell(property["description"].as_str().unwrap_or_default());
        writeln!(text, "| `{field}` | {} | {description} |", kind(property, name)).unwrap();
        if !OF_KUBERNETES.contains(&name.as_str()) {
            status_rows(&field, property, text);
        }
    }
}

#[test]
fn the_resource_document_says_what_the_definition_says() {
    is_generated(DOCUMENT.as_ref(), MARKER, &generated());
}

/// The table of reasons is written by hand; it names each reason of the code, and no other.
#[test]
fn every_reason_of_a_condition_is_explained() {
    let source = include_str!("../src/api/status.rs");
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (head, _) = document.split_once(MARKER).unwrap();
    let reasons: Vec<&str> = source
        .lines()
        .skip_while(|line| !line.contains("impl ConditionReason"))
        .filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" =>"))
        .map(|(reason, _)| reason)
        .collect();
    assert!(reasons.len() > 30, "{} reasons", reasons.len());
    for reason in &reasons {
        assert!(head.contains(&format!("`{reason}`")), "docs/resource.md does not explain {reason}");
    }
}
