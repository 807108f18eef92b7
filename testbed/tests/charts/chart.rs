//! A chart and values in, the objects that helm makes of them out.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use candles_testbed::servers::artefacts::Artefact;
use candles_testbed::servers::cache::Cache;
use candles_testbed::servers::charts::{HELM, SCHEMAS};
use candles_testbed::servers::install;
use serde::Deserialize as _;
use serde_json::Value;

/// Of the checkout.
pub static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap());

/// Charts by name, each with the release and namespace that the tests give it.
pub const CHARTS: [&str; 2] = ["candles", "candles-stack"];
pub const NAMESPACE: &str = "ops";

static BIN: LazyLock<PathBuf> = LazyLock::new(|| installed(&HELM).join("bin"));
static SCHEMA_FOLDER: LazyLock<PathBuf> = LazyLock::new(|| installed(&SCHEMAS));

fn installed(artefact: &Artefact) -> PathBuf {
    install::ensure(&Cache::from_env().unwrap(), artefact).unwrap()
}

/// helm, kubeconform or kind.
pub fn program(name: &str) -> Command {
    Command::new(BIN.join(name))
}

/// Strict schemas, a folder for each Kubernetes version.
pub fn schemas() -> &'static Path {
    &SCHEMA_FOLDER
}

/// The folder of a chart.
pub fn folder(chart: &str) -> PathBuf {
    ROOT.join("charts").join(chart)
}

/// Name of the release of a chart in tests.
pub fn release(chart: &str) -> &'static str {
    if chart == "candles" { "candles" } else { "stack" }
}

/// Runs with standard input.
pub fn run(command: &mut Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn template(chart: &str, values: &str, more: &[&str]) -> Output {
    let mut helm = program("helm");
    helm.args(["template", release(chart)]).arg(folder(chart));
    helm.args(["--namespace", NAMESPACE, "--values", "-"]).args(more);
    run(&mut helm, values)
}

/// What helm prints for values as YAML; it must succeed.
pub fn text(chart: &str, values: &str) -> String {
    let output = template(chart, values, &[]);
    assert!(output.status.success(), "{chart} with\n{values}\n{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What helm says when it refuses values.
#[track_caller]
pub fn refusal(chart: &str, values: &str) -> String {
    let output = template(chart, values, &[]);
    assert!(!output.status.success(), "{chart} took\n{values}");
    String::from_utf8(output.stderr).unwrap()
}

/// YAML documents.
pub fn documents(text: &str) -> Vec<Value> {
    let documents = serde_yaml::Deserializer::from_str(text).map(|one| Value::deserialize(one).unwrap());
    documents.filter(|one| !one.is_null()).collect()
}

/// The objects that helm makes.
pub struct Objects(pub Vec<Value>);

/// Renders a chart.
pub fn objects(chart: &str, values: &str) -> Objects {
    Objects(documents(&text(chart, values)))
}

impl Objects {
    pub fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0.iter().find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    /// The object, which must be there.
    #[track_caller]
    pub fn get(&self, kind: &str, name: &str) -> &Value {
        self.find(kind, name).unwrap_or_else(|| panic!("no {kind} {name} among {:?}", self.names()))
    }

    pub fn names(&self) -> Vec<String> {
        let name = |object: &Value| {
            format!(
                "{} {}",
                object["kind"].as_str().unwrap(),
                object["metadata"]["name"].as_str().unwrap_or_default()
            )
        };
        self.0.iter().map(name).collect()
    }

    pub fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |object| object["kind"] == kind)
    }

    /// Specs of all pods, by the name of what makes them.
    pub fn pods(&self) -> Vec<(String, &Value)> {
        let mut found = Vec::new();
        for object in &self.0 {
            let template = &object["spec"]["template"]["spec"];
            let spec = if object["kind"] == "Pod" { &object["spec"] } else { template };
            if spec.is_object() {
                found.push((object["metadata"]["name"].as_str().unwrap().to_owned(), spec));
            }
        }
        found
    }
}

/// All values files of `ci/` of a chart and the defaults, by name.
pub fn cases(chart: &str) -> Vec<(String, String)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder(chart).join("ci")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let mut cases = vec![("default".to_owned(), String::new())];
    for file in files {
        let name = file.file_stem().unwrap().to_str().unwrap();
        cases.push((name.trim_end_matches("-values").to_owned(), std::fs::read_to_string(&file).unwrap()));
    }
    assert!(cases.len() > 2, "{chart}: no ci/*-values.yaml");
    cases
}

/// Every case of every chart.
pub fn all_cases() -> impl Iterator<Item = (&'static str, String, Objects)> {
    CHARTS.into_iter().flat_map(|chart| {
        cases(chart).into_iter().map(move |(name, values)| (chart, name, objects(chart, &values)))
    })
}

/// Compares with a file; with `UPDATE` set it is rewritten.
#[track_caller]
pub fn assert_file(path: &Path, expected: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, expected).unwrap();
        return;
    }
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let differs = found.lines().zip(expected.lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{} is out of date, first here: {differs:?}; UPDATE=1 make charts-test rewrites it",
        path.display()
    );
}
