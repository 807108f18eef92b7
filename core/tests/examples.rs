//! Every configuration in `examples/` is one, and says what its name promises.

use std::path::PathBuf;

use candles_core::config::{PipelineConfig, TradePoints};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples"))
}

fn example(name: &str) -> PipelineConfig {
    let text = std::fs::read_to_string(folder().join(name)).unwrap();
    PipelineConfig::from_yaml(&text).unwrap_or_else(|error| panic!("examples/{name}: {error}"))
}

#[test]
fn every_example_configuration_parses() {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.rsplit_once('.').is_some_and(|(_, ending)| ending == "yaml"));
    // Resources of Kubernetes are the operator's matter.
    names.retain(|name| !std::fs::read_to_string(folder().join(name)).unwrap().contains("\nkind: "));
    names.sort();
    assert_eq!(names, ["criptomonedas666.yaml", "pipeline.yaml"]);
    for name in &names {
        assert!(example(name).influxdb.is_some(), "{name}: a consumer could not use it");
    }
}

#[test]
fn plain_example_leaves_every_name_at_its_default() {
    let influxdb = example("pipeline.yaml").influxdb.unwrap();
    assert_eq!(influxdb.trades, TradePoints::default());
}

#[test]
fn original_names_are_those_that_the_original_panel_asks_for() {
    let config = example("criptomonedas666.yaml");
    assert_eq!(config.candles.intervals, ["2m".parse().unwrap()]);
    let names = config.influxdb.unwrap().trades;
    assert_eq!(
        [names.measurement.as_str(), names.symbol_tag.as_str(), names.price_field.as_str()],
        ["criptomonedas666", "Coin", "close_price"]
    );
    for file in ["original-panel.sql", "original-panel.flux"] {
        let query = std::fs::read_to_string(folder().join(file)).unwrap();
        for name in [&names.measurement, &names.symbol_tag, &names.price_field] {
            assert!(query.contains(name.as_str()), "{file}: {}", name.as_str());
        }
        assert!(query.contains(config.exchange.symbols[0].as_str()), "{file}");
    }
}
