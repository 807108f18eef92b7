//! What an API server does with a resource before it stores it: unknown fields, defaults, bounds, lists that are sets,
//! CEL rules. Same order, same words, so that `examples/invalid/` can be checked without a server.
//!
//! The rules of the definition itself (their syntax and cost) are the real server's to judge.

use candles_operator::api::crd;
use regex::Regex;
use serde_json::{Map, Value};

/// The definition's schema as JSON.
pub fn schema() -> Value {
    let version = crd().spec.versions.remove(0);
    serde_json::to_value(version.schema.unwrap().open_api_v3_schema.unwrap()).unwrap()
}

/// The resource with its defaults, or every error as the API server words it.
pub fn admit(resource: &Value, old: Option<&Value>) -> Result<Value, Vec<String>> {
    let schema = schema();
    let mut errors = Vec::new();
    unknown("", &schema, resource, &mut errors);
    let mut resource = resource.clone();
    default(&schema, &mut resource);
    check("", &schema, &resource, &mut errors);
    if errors.is_empty()
        && let Err(broken) = kube_cel::Validator::new().validate(&schema, &resource, old)
    {
        for error in broken.into_vec() {
            // A message that its value would break into lines gives way to the one without.
            let message = if error.message.contains('\n') {
                plain_message(&schema, &error.rule).unwrap_or_default()
            } else {
                error.message
            };
            errors.push(format!("{}: {message}", error.field_path));
        }
    }
    if errors.is_empty() { Ok(resource) } else { Err(errors) }
}

/// What a rule says without the value.
fn plain_message(schema: &Value, rule: &str) -> Option<String> {
    match schema {
        Value::Object(map) if map.get("rule").and_then(Value::as_str) == Some(rule) => {
            map["message"].as_str().map(str::to_owned)
        }
        Value::Object(map) => map.values().find_map(|value| plain_message(value, rule)),
        Value::Array(list) => list.iter().find_map(|value| plain_message(value, rule)),
        _ => None,
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

fn unknown(path: &str, schema: &Value, value: &Value, errors: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let inner = join(path, key);
                let root = path.is_empty() && ["apiVersion", "kind", "metadata"].contains(&key.as_str());
                match (&schema["properties"][key], &schema["additionalProperties"]) {
                    _ if root => {}
                    (Value::Null, Value::Null) => errors.push(format!("unknown field {inner:?}")),
                    (Value::Null, values) => unknown(&inner, values, value, errors),
                    (known, _) => unknown(&inner, known, value, errors),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| unknown(path, &schema["items"], value, errors)),
        _ => {}
    }
}

fn default(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (key, property) in schema["properties"].as_object().unwrap_or(&Map::new()) {
                if let (Value::Null, default) = (map.get(key).unwrap_or(&Value::Null), &property["default"])
                    && !default.is_null()
                {
                    map.insert(key.clone(), default.clone());
                }
                if let Some(value) = map.get_mut(key) {
                    default(property, value);
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|value| default(&schema["items"], value)),
        _ => {}
    }
}

fn check(path: &str, schema: &Value, value: &Value, errors: &mut Vec<String>) {
    let invalid =
        |what: String| format!("{path}: Invalid value: {}: {path} in body should {what}", go_value(value));
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        let choices: Vec<String> = choices.iter().map(Value::to_string).collect();
        errors.push(format!("{path}: Unsupported value: {value}: supported values: {}", choices.join(", ")));
    }
    match value {
        Value::Object(map) => {
            for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if !map.contains_key(key) {
                    errors.push(format!("{}: Required value", join(path, key)));
                }
            }
            for (key, value) in map {
                let known = &schema["properties"][key];
                let schema = if known.is_null() { &schema["additionalProperties"] } else { known };
                check(&join(path, key), schema, value, errors);
            }
        }
        Value::Array(list) => check_list(path, schema, list, errors),
        Value::Number(number) => {
            let number = number.as_f64().unwrap();
            if schema["minimum"].as_f64().is_some_and(|least| number < least) {
                errors.push(invalid(format!(
                    "be greater than or equal to {}",
                    schema["minimum"].as_f64().unwrap()
                )));
            }
            if schema["maximum"].as_f64().is_some_and(|most| number > most) {
                errors.push(invalid(format!(
                    "be less than or equal to {}",
                    schema["maximum"].as_f64().unwrap()
                )));
            }
        }
        Value::String(text) => {
            let length = text.chars().count() as u64;
            if let Some(most) = schema["maxLength"].as_u64().filter(|most| length > *most) {
                errors.push(format!("{path}: Too long: may not be more than {most} bytes"));
            }
            if let Some(least) = schema["minLength"].as_u64().filter(|least| length < *least) {
                errors.push(invalid(format!("be at least {least} chars long")));
            }
            if let Some(pattern) = schema["pattern"].as_str()
                && !Regex::new(pattern).unwrap().is_match(text)
            {
                errors.push(invalid(format!("match '{pattern}'")));
            }
        }
        _ => {}
    }
}

fn check_list(path: &str, schema: &Value, list: &[Value], errors: &mut Vec<String>) {
    let length = list.len() as u64;
    if let Some(least) = schema["minItems"].as_u64().filter(|least| length < *least) {
        errors.push(format!(
            "{path}: Invalid value: {length}: {path} in body should have at least {least} items"
        ));
    }
    if let Some(most) = schema["maxItems"].as_u64().filter(|most| length > *most) {
        errors.push(format!("{path}: Too many: {length}: must have at most {most} items"));
    }
    for (position, value) in list.iter().enumerate() {
        check(&format!("{path}[{position}]"), &schema["items"], value, errors);
        if schema["x-kubernetes-list-type"] == "set" && list[..position].contains(value) {
            errors.push(format!("{path}[{position}]: Duplicate value: {value}"));
        }
    }
}

/// As Go prints a value; texts of the examples need no more than JSON's escapes.
fn go_value(value: &Value) -> String {
    value.to_string()
}
