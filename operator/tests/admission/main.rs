//! `examples/invalid/`: every example is refused with the message in its first line, and every rule has an example.
//! The same files are applied to a real API server in `make e2e`.

mod api_server;

use std::{collections::BTreeSet, path::Path};

use serde::Deserialize as _;
use serde_json::{Value, json};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");

struct Invalid {
    file: String,
    /// The API server's words.
    expected: String,
    /// One, or one that is accepted and its successor that is not.
    resources: Vec<Value>,
}

fn documents(text: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text).map(|document| Value::deserialize(document).unwrap()).collect()
}

fn invalid_examples() -> Vec<Invalid> {
    let mut files: Vec<_> =
        std::fs::read_dir(Path::new(EXAMPLES).join("invalid")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let read = |path: &std::path::PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        let expected = text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap().to_owned();
        Invalid {
            file: path.file_name().unwrap().to_str().unwrap().to_owned(),
            expected,
            resources: documents(&text),
        }
    };
    files.iter().map(read).collect()
}

/// The API server's prefix of a message of a rule: the type of the value, or the reason.
fn without_class(message: &str) -> String {
    let classes = [
        r#"Invalid value: "object": "#,
        r#"Invalid value: "array": "#,
        r#"Invalid value: "string": "#,
        r#"Invalid value: "": "#,
        "Forbidden: ",
        "Required value: ",
    ];
    let text = message.trim_start_matches("<nil>: ");
    classes.iter().fold(text.to_owned(), |text, class| text.replacen(class, "", 1))
}

#[test]
fn every_invalid_example_is_refused_with_the_message_in_its_first_line() {
    let examples = invalid_examples();
    assert!(examples.len() > 90, "{} examples", examples.len());
    for Invalid { file, expected, resources } in examples {
        let (last, before) = resources.split_last().unwrap();
        let old = before
            .last()
            .map(|old| api_server::admit(old, None).unwrap_or_else(|e| panic!("{file}: first: {e:?}")));
        let errors = api_server::admit(last, old.as_ref()).expect_err(&file);
        let words = without_class(&expected);
        let found = errors.iter().any(|error| {
            let error = error.trim_start_matches(": ");
            error == words || error == expected
        });
        assert!(found, "{file}: {errors:#?} does not hold {words}");
        assert!(!errors.iter().any(|error| error.contains("hunter2")), "{file} tells a secret: {errors:?}");
    }
}

#[test]
fn the_examples_are_accepted() {
    for file in ["candlepipeline.yaml", "candlepipeline-full.yaml"] {
        for resource in documents(&std::fs::read_to_string(format!("{EXAMPLES}/{file}")).unwrap()) {
            api_server::admit(&resource, None).unwrap_or_else(|errors| panic!("{file}: {errors:#?}"));
        }
    }
}

fn rules(schema: &Value, found: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            for rule in map.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
                found.insert(rule["message"].as_str().unwrap().to_owned());
            }
            map.values().for_each(|value| rules(value, found));
        }
        Value::Array(list) => list.iter().for_each(|value| rules(value, found)),
        _ => {}
    }
}

/// A rule's message is its name: without the value that follows it.
#[test]
fn every_rule_has_an_example() {
    let mut all = BTreeSet::new();
    rules(&api_server::schema(), &mut all);
    assert!(all.len() > 30, "{} rules", all.len());
    let expected: Vec<String> = invalid_examples().into_iter().map(|example| example.expected).collect();
    // Messages that put their values inside.
    let in_other_words = |message: &str| {
        [
            ("cannot shrink", "cannot shrink from"),
            ("cannot be changed: moving", "cannot change from 3 to 5: moving"),
            ("is more than replicationFactor", "is more than replicationFactor 1"),
            ("write all, 1 or 0, not", "write all, 1 or 0, not most"),
            ("requests.cpu is more", "requests.memory 1Gi is more"),
            ("requests.memory is more", "requests.memory 1Gi is more"),
            ("requests.ephemeral-storage is more", "requests.memory 1Gi is more"),
            ("cpu: write a quantity", "write a quantity above 0"),
            ("memory: write a quantity", "write a quantity above 0"),
            ("ephemeral-storage: write a quantity", "write a quantity above 0"),
        ]
        .iter()
        .find(|(start, _)| message.starts_with(start))
        .map(|(_, words)| (*words).to_owned())
    };
    for message in &all {
        let words = in_other_words(message).unwrap_or_else(|| message.clone());
        assert!(expected.iter().any(|text| text.contains(&words)), "no example of {message:?}");
    }
}

#[test]
fn what_may_change_is_accepted() {
    let minimal =
        documents(&std::fs::read_to_string(format!("{EXAMPLES}/candlepipeline.yaml")).unwrap()).remove(0);
    let old = api_server::admit(&minimal, None).unwrap();
    let changes = [
        ("topic", json!({"partitions": 6})),
        ("topic", json!({"retention": "30d", "deletionPolicy": "Delete", "management": "Adopt"})),
        ("suspend", json!(true)),
        ("consumer", json!({"replicas": 0, "assignor": "Broker"})),
        ("producer", json!({"acks": 1})),
        (
            "producer",
            json!({"acks": "1", "partitioner": "Explicit", "partitions": {"tBTCUSD": 0, "tETHUSD": 2}}),
        ),
        ("producer", json!({"resources": {"requests": {"cpu": 1}, "limits": {"cpu": "1000m"}}})),
        ("candles", json!({"intervals": []})),
        ("candles", json!({"intervals": ["1s", "90s", "7m", "1d"]})),
    ];
    for (field, value) in changes {
        let mut new = minimal.clone();
        new["spec"][field] = value.clone();
        if let Err(errors) = api_server::admit(&new, Some(&old)) {
            assert_eq!(errors, Vec::<String>::new(), "{field}: {value}");
        }
    }
}
