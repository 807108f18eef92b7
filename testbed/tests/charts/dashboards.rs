//! Dashboards, alerts and data sources as files: whether Grafana and Prometheus understand them, and whether what they
//! ask for exists. That their queries show the right candles is tested on real data (testbed/tests/e2e/panel.rs).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::chart::{Objects, ROOT, cases, documents, objects};

/// All files, from the root.
const FILES: [&str; 6] = [
    "charts/candles/files/operator-dashboard.json",
    "charts/candles/files/operations-dashboard.json",
    "charts/candles-stack/files/dashboards/candles.json",
    "charts/candles-stack/files/dashboards/candles-influxql.json",
    "charts/candles-stack/files/dashboards/v3/candles-sql.json",
    "charts/candles-stack/files/dashboards/v3/original.json",
];
const ALERTS: &str = "charts/candles/files/alerts.yaml";
/// Variables that Grafana itself replaces.
const BUILT_IN: [&str; 5] = ["__rate_interval", "__timeFilter", "__timeFrom", "__timeTo", "timeFilter"];
/// Labels that Prometheus and Kubernetes add to every series.
const TARGET_LABELS: [&str; 3] = ["namespace", "pod", "le"];

fn read(file: &str) -> String {
    std::fs::read_to_string(ROOT.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn dashboards() -> impl Iterator<Item = (&'static str, Value)> {
    FILES.into_iter().map(|file| (file, serde_json::from_str(&read(file)).unwrap()))
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// Panels that ask for something.
fn panels(dashboard: &Value) -> impl Iterator<Item = &Value> {
    list(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row")
}

/// Words that begin with a dollar: `$name` and `${name}`.
fn variables(text: &str) -> impl Iterator<Item = &str> {
    text.split('$').skip(1).map(|rest| {
        let rest = rest.strip_prefix('{').unwrap_or(rest);
        rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
    })
}

#[test]
fn every_dashboard_of_the_charts_is_checked() {
    let mut found = Vec::new();
    for folder in [
        "charts/candles/files",
        "charts/candles-stack/files/dashboards",
        "charts/candles-stack/files/dashboards/v3",
    ] {
        let paths = std::fs::read_dir(ROOT.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let json = paths.filter(|path| path.extension().is_some_and(|ending| ending == "json"));
        found.extend(json.map(|path| format!("{folder}/{}", path.file_name().unwrap().to_str().unwrap())));
    }
    let found: BTreeSet<String> = found.into_iter().collect();
    assert_eq!(found, FILES.map(str::to_owned).into());
}

#[test]
fn dashboards_are_what_grafana_reads() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        let uid = dashboard["uid"].as_str().unwrap();
        assert!(uids.insert(uid.to_owned()) && uid.len() <= 40, "{file}: uid {uid}");
        assert_eq!(dashboard["schemaVersion"], 39, "{file}");
        assert!(dashboard["id"].is_null() && dashboard["__inputs"].is_null(), "{file}: is an export");
        let mut ids = BTreeSet::new();
        for panel in list(&dashboard["panels"]) {
            assert!(ids.insert(panel["id"].as_i64().unwrap()), "{file}: two panels {}", panel["id"]);
            let types = ["candlestick", "table", "timeseries", "stat", "row"];
            assert!(types.contains(&panel["type"].as_str().unwrap()), "{file}: {}", panel["type"]);
        }
        let mut references = BTreeSet::new();
        for panel in panels(&dashboard) {
            assert!(!list(&panel["targets"]).is_empty(), "{file}: {} asks nothing", panel["title"]);
            let mut of_panel = BTreeSet::new();
            for target in list(&panel["targets"]) {
                assert!(of_panel.insert(target["refId"].as_str().unwrap()), "{file}: refId");
                assert_eq!(target["datasource"], panel["datasource"], "{file}");
            }
            if panel["type"] == "candlestick" {
                check_candlestick(file, &panel["options"]);
            }
        }
        assert_no_overlap(file, &dashboard);
        let own: BTreeSet<&str> =
            list(&dashboard["templating"]["list"]).iter().map(|one| one["name"].as_str().unwrap()).collect();
        let text = dashboard.to_string();
        for name in variables(&text).filter(|name| !name.is_empty() && *name != "__all") {
            assert!(own.contains(name) || BUILT_IN.contains(&name), "{file}: there is no variable {name}");
            references.insert(name);
        }
        assert!(own.is_subset(&references), "{file}: a variable of {own:?} is not used");
    }
}

/// The options of Grafana's `public/app/plugins/panel/candlestick/panelcfg.cue`; what it does not know it drops.
fn check_candlestick(file: &str, options: &Value) {
    let one_of = |key: &str, values: &[&str]| {
        let value = options[key].as_str().unwrap();
        assert!(values.contains(&value), "{file}: {key} {value}");
    };
    one_of("mode", &["candles+volume", "candles", "volume"]);
    one_of("candleStyle", &["candles", "ohlcbars"]);
    one_of("colorStrategy", &["open-close", "close-close"]);
    assert!(options["includeAllFields"].is_boolean(), "{file}");
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(keys(&options["colors"]), ["up", "down", "flat"].map(str::to_owned).into(), "{file}");
    // One field for two roles, or none, still makes candles, but wrong ones.
    let fields = options["fields"].as_object().unwrap();
    let columns: BTreeSet<&str> = fields.values().map(|column| column.as_str().unwrap()).collect();
    assert_eq!(columns.len(), fields.len(), "{file}: {fields:?}");
    for role in ["open", "high", "low", "close"] {
        assert!(fields.contains_key(role), "{file}: no {role}");
    }
    assert_eq!(fields.contains_key("volume"), options["mode"] == "candles+volume", "{file}");
    let known =
        ["mode", "candleStyle", "colorStrategy", "colors", "fields", "includeAllFields", "legend", "tooltip"];
    assert!(keys(options).iter().all(|key| known.contains(&key.as_str())), "{file}: {options}");
}

/// The grid has 24 columns.
fn assert_no_overlap(file: &str, dashboard: &Value) {
    let mut taken = BTreeSet::new();
    for panel in list(&dashboard["panels"]) {
        let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(of("w") > 0 && of("h") > 0 && of("x") + of("w") <= 24, "{file}: {}", panel["title"]);
        for x in of("x")..of("x") + of("w") {
            for y in of("y")..of("y") + of("h") {
                assert!(taken.insert((x, y)), "{file}: {} lies on another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn dashboards_name_no_data_source_of_somebody_else() {
    for (file, dashboard) in dashboards() {
        let is_influxdb = file.contains("candles-stack");
        let kind = if is_influxdb { "influxdb" } else { "prometheus" };
        for panel in panels(&dashboard) {
            assert_eq!(panel["datasource"], json!({"type": kind, "uid": "${datasource}"}), "{file}");
        }
        let chosen = &list(&dashboard["templating"]["list"])[0];
        assert_eq!(
            (&chosen["name"], &chosen["type"]),
            (&json!("datasource"), &json!("datasource")),
            "{file}"
        );
        assert_eq!(chosen["query"], kind, "{file}");
        for variable in &list(&dashboard["templating"]["list"])[1..] {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{file}");
            assert_eq!(variable["query"]["query"], variable["definition"], "{file}");
        }
        assert!(!dashboard.to_string().contains("${DS_"), "{file}");
    }
}

#[test]
fn the_original_panel_has_the_query_of_the_example() {
    let (_, dashboard) = dashboards().last().unwrap();
    let target = &dashboard["panels"][0]["targets"][0];
    assert_eq!(target["rawSql"], read("examples/original-panel.sql").trim_end());
    assert_eq!((&target["rawQuery"], &target["format"]), (&json!(true), &json!("table")));
}

/// Metrics of the generated documents: kind and labels by name.
fn metrics() -> BTreeMap<String, (String, BTreeSet<String>)> {
    let mut found = BTreeMap::new();
    for file in ["docs/metrics.md", "docs/operator-metrics.md"] {
        for line in read(file).lines().filter(|line| line.starts_with("| `candles_")) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let labels = cells[3].split(',').map(|label| label.trim().trim_matches('`').to_owned());
            found.insert(cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), labels.collect()));
        }
    }
    assert!(found.len() > 40, "{}", found.len());
    found
}

/// Expressions of dashboards and alerts, with where they stand.
fn expressions() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            let place = format!("{file}: {}", panel["title"]);
            let exprs = list(&panel["targets"]).iter().filter_map(|target| target["expr"].as_str());
            found.extend(exprs.map(|expr| (place.clone(), expr.to_owned())));
        }
        let variables = list(&dashboard["templating"]["list"]).iter().filter(|_| !file.contains("stack"));
        found.extend(
            variables.filter_map(|one| Some((file.to_owned(), one["definition"].as_str()?.to_owned()))),
        );
    }
    for rule in rules() {
        found.push((rule["alert"].to_string(), rule["expr"].as_str().unwrap().to_owned()));
    }
    found
}

fn rules() -> Vec<Value> {
    let file = documents(&read(ALERTS)).remove(0);
    list(&file["groups"]).iter().flat_map(|group| list(&group["rules"]).clone()).collect()
}

/// Names of metrics in an expression, each with the labels that its selector names.
fn selectors(expr: &str) -> Vec<(&str, Vec<&str>)> {
    let begins = |at: usize| !expr[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let starts = expr.match_indices("candles_").filter(|(at, _)| begins(*at)).map(|(at, _)| &expr[at..]);
    let selector = |rest: &'_ str| -> (usize, usize) {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let braces = rest[end..].strip_prefix('{').and_then(|inner| inner.find('}')).unwrap_or(0);
        (end, braces)
    };
    starts
        .map(|rest| {
            let (end, braces) = selector(rest);
            let inner = if braces > 0 { &rest[end + 1..=end + braces] } else { "" };
            let labels = inner.split(',').filter_map(|one| one.split(['=', '!']).next());
            (&rest[..end], labels.map(str::trim).filter(|label| !label.is_empty()).collect())
        })
        .collect()
}

#[test]
fn every_metric_and_label_that_is_asked_for_exists() {
    let metrics = metrics();
    let mut asked = BTreeSet::new();
    for (place, expr) in expressions() {
        let selectors = selectors(&expr);
        assert!(!selectors.is_empty(), "{place}: {expr}");
        let mut known: BTreeSet<String> = TARGET_LABELS.map(str::to_owned).into();
        for (name, labels) in selectors {
            let part = ["_bucket", "_sum", "_count"].iter().find_map(|ending| {
                let whole = name.strip_suffix(ending)?;
                metrics.get(whole).filter(|(kind, _)| kind == "histogram").map(|_| whole)
            });
            let (kind, own) = metrics
                .get(part.unwrap_or(name))
                .unwrap_or_else(|| panic!("{place}: there is no metric {name}"));
            assert_eq!(part.is_some(), kind == "histogram", "{place}: {name}");
            known.extend(own.iter().cloned());
            for label in labels {
                assert!(known.contains(label), "{place}: {name} has no label {label}");
            }
            // A counter's value alone says how old the process is.
            let asks_rate = ["rate(", "increase(", "unless"].iter().any(|word| expr.contains(word));
            assert!(kind != "counter" || asks_rate, "{place}: {expr}");
            asked.insert(name.to_owned());
        }
        for grouping in expr.split("by (").skip(1) {
            for label in grouping.split(')').next().unwrap().split(',').map(str::trim) {
                assert!(known.contains(label), "{place}: nothing has a label {label}");
            }
        }
    }
    assert!(asked.len() > 25, "{asked:?}");
}

#[test]
fn alerts_say_what_is_wrong_and_what_to_do() {
    let rules = rules();
    let names: BTreeSet<&str> = rules.iter().map(|rule| rule["alert"].as_str().unwrap()).collect();
    assert_eq!(names.len(), rules.len());
    for wanted in ["FeedStalled", "Gap", "Lag", "DeadLetters", "TopicNotReady"] {
        assert!(names.contains(format!("Candles{wanted}").as_str()), "{wanted}");
    }
    let operations = read("docs/operations.md");
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(["warning", "critical"].contains(&rule["labels"]["severity"].as_str().unwrap()), "{name}");
        assert!(operations.contains(&format!("`{name}`")), "docs/operations.md does not tell about {name}");
        // Labels that survive the expression's aggregation.
        let expr = rule["expr"].as_str().unwrap();
        let (_, own) = metrics().remove(selectors(expr)[0].0).unwrap();
        for part in ["summary", "description"] {
            let text = rule["annotations"][part].as_str().unwrap();
            for label in text.split("$labels.").skip(1).map(|rest| rest.split(' ').next().unwrap()) {
                let grouped = expr.split("by (").nth(1).and_then(|rest| rest.split(')').next());
                let kept =
                    grouped.map_or(own.contains(label), |kept| kept.split(", ").any(|one| one == label));
                assert!(kept, "{name}: {label} is not in {expr}");
            }
        }
    }
}

fn all_of(chart: &str) -> Objects {
    objects(chart, &cases(chart).into_iter().find(|(name, _)| name == "all").unwrap().1)
}

#[test]
fn the_charts_ship_the_files_as_they_are() {
    let rendered = all_of("candles");
    let rule = rendered.get("PrometheusRule", "ops");
    assert_eq!(rule["spec"], documents(&read(ALERTS))[0]);
    assert_eq!(rule["metadata"]["labels"]["release"], "prometheus");
    let shipped = [
        (&rendered, "ops-dashboard", "candles-operator.json", FILES[0]),
        (&rendered, "ops-dashboard", "candles-operations.json", FILES[1]),
    ];
    let stack = all_of("candles-stack");
    let of_stack = FILES[2..]
        .iter()
        .map(|file| (&stack, "try-grafana-dashboards", file.rsplit('/').next().unwrap(), *file));
    for (objects, map, key, file) in shipped.into_iter().chain(of_stack) {
        let text = objects.get("ConfigMap", map)["data"][key].as_str().unwrap();
        let (found, expected): (Value, Value) =
            (serde_json::from_str(text).unwrap(), serde_json::from_str(&read(file)).unwrap());
        assert_eq!(found, expected, "{file}");
    }
    let without = objects("candles-stack", "");
    let shown = without.get("ConfigMap", "stack-grafana-dashboards")["data"].as_object().unwrap();
    assert_eq!(shown.keys().collect::<Vec<_>>(), ["candles-influxql.json", "candles.json"]);
}

/// Those of the chart, and those of the example for another Grafana.
#[test]
fn data_sources_are_those_that_the_dashboards_choose() {
    let sources = |text: &str| {
        let file = documents(text).remove(0);
        assert_eq!(file["apiVersion"], 1);
        let all = list(&file["datasources"]).iter();
        all.map(|one| (one["uid"].as_str().unwrap().to_owned(), one.clone())).collect::<BTreeMap<_, _>>()
    };
    let stack = all_of("candles-stack");
    let provisioned = sources(
        stack.get("ConfigMap", "try-grafana-provisioning")["data"]["datasources.yaml"].as_str().unwrap(),
    );
    let example = sources(&read("examples/grafana/datasources.yaml"));
    for sources in [&provisioned, &example] {
        for (file, dashboard) in dashboards().filter(|(file, _)| file.contains("stack")) {
            let chosen = &list(&dashboard["templating"]["list"])[0]["current"];
            let source = &sources[chosen["value"].as_str().unwrap()];
            assert_eq!(source["name"], chosen["text"], "{file}");
            let target = &dashboard["panels"][0]["targets"][0];
            let language = match &source["jsonData"]["version"] {
                version if version == "SQL" => &target["rawSql"],
                version if version == "Flux" || version == "InfluxQL" => &target["query"],
                version => panic!("{version}"),
            };
            assert!(language.is_string(), "{file}");
        }
        assert_eq!(sources.values().filter(|source| source["isDefault"] == true).count(), 1);
        for (uid, source) in sources {
            let secrets = source["secureJsonData"].as_object();
            let by_reference = |value: &Value| value.as_str().unwrap().contains('$');
            assert!(
                secrets.is_none_or(|secrets| secrets.values().all(by_reference)),
                "{uid}: a secret in plain"
            );
            assert_eq!((&source["access"], &source["editable"]), (&json!("proxy"), &json!(false)), "{uid}");
        }
    }
    let source = &provisioned["candles-influxdb3"];
    assert_eq!(
        (&source["url"], &source["jsonData"]["dbName"]),
        (&json!("https://influxdb3.example.com:8181"), &json!("trades"))
    );
    assert!(source["jsonData"]["insecureGrpc"].is_null(), "https is not insecure");
    let policy = stack.get("NetworkPolicy", "try-grafana")["spec"]["egress"].to_string();
    assert!(policy.contains("8181"), "{policy}");
    let refused = crate::chart::refusal("candles-stack", "grafana: {influxdb3: {url: 'http://x:8181'}}");
    assert!(refused.contains("grafana.influxdb3."), "{refused}");
}
