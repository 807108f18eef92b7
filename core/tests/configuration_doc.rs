//! `docs/configuration.md` says what the code says: its tables are made from the doc comments, types and defaults of
//! `core/src/config`. `UPDATE=1 make test` rewrites it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use candles_core::config::PipelineConfig;
use serde_json::Value;
use syn::{Attribute, Expr, Fields, Item, Lit, Meta, Type};

const SOURCES: [&str; 5] = [
    include_str!("../src/config/mod.rs"),
    include_str!("../src/config/kafka.rs"),
    include_str!("../src/config/influxdb.rs"),
    include_str!("../src/config/values.rs"),
    include_str!("../src/interval.rs"),
];
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
/// The generated part follows this line.
const MARKER: &str = "<!-- From here on made by core/tests/configuration_doc.rs: UPDATE=1 make test -->\n";

/// Only what has no default.
const MINIMAL: &str = "\
exchange: {name: bitfinex, symbols: [tBTCUSD]}
kafka: {bootstrapServers: 'localhost:9092'}
schemaRegistry: {url: 'http://localhost:8081'}
topic: {name: trades}
influxdb: {url: 'http://localhost:8086', organization: o, bucket: b, token: {env: T}}
";

/// Every key that does not exclude another.
const FULL: &str = "\
exchange: {name: bitfinex, symbols: [tBTCUSD]}
kafka:
  bootstrapServers: localhost:9092
  tls: {caFile: a, certificateFile: b, keyFile: c}
  sasl: {mechanism: PLAIN, username: u, password: {env: P}}
schemaRegistry: {url: 'http://localhost:8081', auth: {basic: {username: u, password: {env: P}}}, caFile: c}
topic: {name: trades}
producer: {partitioner: Explicit, partitions: {tBTCUSD: 0}}
consumer: {groupId: g}
influxdb: {url: 'http://localhost:8086', organization: o, bucket: b, token: {env: T}, caFile: c}
";

/// What the types of values are called for users. Lengths and enumerations are told from the code.
const WORDS: &[(&str, &str)] = &[
    ("Acks", "`all`, `1` or `0`"),
    ("BTreeMap<Symbol, u16>", "partition by symbol"),
    ("BootstrapServers", "`host:port,...`"),
    ("Duration", "duration"),
    ("HttpUrl", "URL"),
    ("PathBuf", "path"),
    ("PointName", "name"),
    ("SecretRef", "secret"),
    ("String", "text"),
    ("TopicName", "topic name"),
    ("Vec<Interval>", "list of intervals"),
    ("Vec<Symbol>", "list of symbols"),
    ("WebSocketUrl", "URL"),
    ("bool", "`true` or `false`"),
    ("u16", "whole number"),
];

/// Kinds of values that need a sentence: word, type whose doc comment is that sentence.
const KINDS: &[(&str, &str)] = &[
    ("duration", "Duration"),
    ("interval", "Interval"),
    ("name", "PointName"),
    ("secret", "SecretRef"),
    ("topic name", "TopicName"),
];

struct Row {
    key: String,
    kind: String,
    default: String,
    meaning: String,
}

struct Field {
    key: String,
    kind: String,
    required: bool,
    /// May be absent, and is so by default.
    optional: bool,
    doc: String,
}

/// The configuration's types as the source declares them.
#[derive(Default)]
struct Types {
    structs: BTreeMap<String, Vec<Field>>,
    /// Variants as they are written in YAML, with their meaning.
    choices: BTreeMap<String, Vec<(String, String)>>,
    docs: BTreeMap<String, String>,
}

fn types() -> Types {
    let mut types = Types::default();
    for item in SOURCES.iter().flat_map(|source| syn::parse_file(source).unwrap().items) {
        match item {
            Item::Struct(item) => {
                let name = item.ident.to_string();
                types.docs.insert(name.clone(), doc(&item.attrs));
                if let Fields::Named(fields) = &item.fields {
                    let defaulted = serde_has(&item.attrs, "default");
                    types.structs.insert(name, fields.named.iter().map(|f| field(f, defaulted)).collect());
                }
            }
            Item::Enum(item) => {
                let name = item.ident.to_string();
                types.docs.insert(name.clone(), doc(&item.attrs));
                if serde_has(&item.attrs, "try_from") {
                    // Written as a map with one of the variants as its key.
                    let fields = item.variants.iter().map(|variant| Field {
                        key: variant.ident.to_string().to_lowercase(),
                        kind: text_of(&variant.fields.iter().next().unwrap().ty),
                        required: false,
                        optional: true,
                        doc: doc(&variant.attrs),
                    });
                    types.structs.insert(name, fields.collect());
                } else {
                    let lowercase = serde_value(&item.attrs, "rename_all").is_some();
                    let choice = |variant: &syn::Variant| {
                        let plain = variant.ident.to_string();
                        let plain = if lowercase { plain.to_lowercase() } else { plain };
                        (serde_value(&variant.attrs, "rename").unwrap_or(plain), doc(&variant.attrs))
                    };
                    types.choices.insert(name, item.variants.iter().map(choice).collect());
                }
            }
            _ => {}
        }
    }
    types
}

fn field(field: &syn::Field, defaulted: bool) -> Field {
    let kind = text_of(&field.ty);
    let within = kind.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>'));
    Field {
        key: camel_case(&field.ident.as_ref().unwrap().to_string()),
        required: !defaulted && !serde_has(&field.attrs, "default"),
        optional: within.is_some(),
        doc: doc(&field.attrs),
        kind: within.unwrap_or(&kind).to_owned(),
    }
}

fn camel_case(snake: &str) -> String {
    let mut words = snake.split('_');
    let first = words.next().unwrap().to_owned();
    words.fold(first, |text, word| text + &word[..1].to_uppercase() + &word[1..])
}

/// `Option<PathBuf>`, `BTreeMap<Symbol, u16>`.
fn text_of(ty: &Type) -> String {
    let Type::Path(path) = ty else { panic!("a configuration field is a named type") };
    let last = path.path.segments.last().unwrap();
    let syn::PathArguments::AngleBracketed(arguments) = &last.arguments else {
        return last.ident.to_string();
    };
    let arguments = arguments.args.iter().map(|argument| match argument {
        syn::GenericArgument::Type(ty) => text_of(ty),
        _ => panic!("only types stand in <>"),
    });
    format!("{}<{}>", last.ident, arguments.collect::<Vec<_>>().join(", "))
}

fn doc(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    let text = lines.collect::<Vec<_>>().join(" ").replace('|', "\\|").replace("[`", "`").replace("`]", "`");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The value of `#[serde(.., name = "value", ..)]`; empty for `#[serde(name)]`.
fn serde_value(attributes: &[Attribute], name: &str) -> Option<String> {
    let mut found = None;
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("serde")) {
        attribute
            .parse_nested_meta(|meta| {
                let value = match meta.value() {
                    Ok(value) => value.parse::<syn::LitStr>()?.value(),
                    Err(_) => String::new(),
                };
                if meta.path.is_ident(name) {
                    found = Some(value);
                }
                Ok(())
            })
            .unwrap();
    }
    found
}

fn serde_has(attributes: &[Attribute], name: &str) -> bool {
    serde_value(attributes, name).is_some()
}

impl Types {
    /// Rows of `fields` and of everything below them.
    fn rows(&self, fields: &[Field], path: &str, defaults: &Value, rows: &mut Vec<Row>) {
        for field in fields {
            let key = format!("{path}{}", field.key);
            let default = match &defaults[field.key.as_str()] {
                _ if field.required => "required".to_owned(),
                _ if field.optional => String::new(),
                Value::Null | Value::Object(_) => String::new(),
                Value::String(text) => format!("`{text}`"),
                Value::Array(list) => {
                    let texts: Vec<_> = list.iter().filter_map(Value::as_str).collect();
                    format!("`[{}]`", texts.join(", "))
                }
                other => format!("`{other}`"),
            };
            let word = WORDS.iter().find(|(kind, _)| *kind == field.kind).map(|(_, word)| (*word).to_owned());
            let choices = if word.is_some() { None } else { self.choices.get(&field.kind) };
            let mut meaning = field.doc.clone();
            // What the type adds to its first sentence, which is the field's.
            if let Some((_, more)) = choices.and_then(|_| self.docs[&field.kind].split_once(". ")) {
                write!(meaning, " {more}").unwrap();
            }
            for (choice, doc) in choices.into_iter().flatten() {
                write!(meaning, "<br>`{choice}`: {doc}").unwrap();
            }
            let kind = word.or_else(|| choices.map(|_| "choice".to_owned()));
            if let Some(kind) = kind {
                rows.push(Row { key, kind, default, meaning });
                continue;
            }
            let below = self
                .structs
                .get(&field.kind)
                .unwrap_or_else(|| panic!("{key}: name {} in WORDS", field.kind));
            if !path.is_empty() {
                rows.push(Row { key: key.clone(), kind: "section".to_owned(), default, meaning });
            }
            self.rows(below, &format!("{key}."), &defaults[field.key.as_str()], rows);
        }
    }
}

fn all_rows(types: &Types) -> Vec<Row> {
    let defaults = serde_json::to_value(PipelineConfig::from_yaml(MINIMAL).unwrap()).unwrap();
    let mut rows = Vec::new();
    types.rows(&types.structs["PipelineConfig"], "", &defaults, &mut rows);
    rows
}

fn generated() -> String {
    let types = types();
    let rows = all_rows(&types);
    let mut text = String::new();
    for top in &types.structs["PipelineConfig"] {
        let required = if top.required { " Required." } else { "" };
        write!(text, "\n## {}\n{}{required}\n\n", top.key, top.doc).unwrap();
        text += "| key | value | default | meaning |\n|---|---|---|---|\n";
        let prefix = format!("{}.", top.key);
        for row in rows.iter().filter(|row| row.key.starts_with(&prefix)) {
            writeln!(text, "| `{}` | {} | {} | {} |", row.key, row.kind, row.default, row.meaning).unwrap();
        }
    }
    text += "\n## Values\n\n| value | what is allowed |\n|---|---|\n";
    for (word, kind) in KINDS {
        writeln!(text, "| {word} | {} |", types.docs[*kind]).unwrap();
    }
    text
}

#[test]
fn configuration_document_says_what_the_code_says() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (head, old) = document.split_once(MARKER).expect("the marker line stands in the document");
    let new = generated();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(Path::new(DOCUMENT), format!("{head}{MARKER}{new}")).unwrap();
    } else {
        assert!(old == new, "docs/configuration.md is not what the code says; run UPDATE=1 make test");
    }
}

/// What serde accepts and writes, against what was read from the source.
#[test]
fn every_key_of_a_full_configuration_has_a_row() {
    let full = serde_json::to_value(PipelineConfig::from_yaml(FULL).unwrap()).unwrap();
    let mut written = BTreeSet::new();
    keys(&full, "", &mut written);
    let documented: BTreeSet<String> = all_rows(&types()).into_iter().map(|row| row.key).collect();
    // Excludes `auth.basic`.
    let other = |key: &&String| !key.starts_with("schemaRegistry.auth.bearer");
    assert_eq!(documented.iter().filter(other).cloned().collect::<BTreeSet<_>>(), written);
}

/// Paths of all keys below the first level; secrets and maps by symbol are values.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}{key}");
        let is_value = ["producer.partitions", "token", "password"].iter().any(|end| path.ends_with(end));
        if path.contains('.') {
            found.insert(path.clone());
        }
        if !is_value {
            keys(value, &format!("{path}."), found);
        }
    }
}
