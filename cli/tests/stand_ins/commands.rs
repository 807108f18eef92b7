//! What a shell gets: standard output, standard error, exit codes.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use candles_core::avro::TRADE_SCHEMA_JSON;
use serde_json::Value;

use crate::world::{START_MS, World, candlectl, run_with_input, text};

#[tokio::test]
async fn verify_says_exact_then_names_what_was_altered_and_rebuild_mends_it() {
    let world = World::new().await;
    world.minutes_of_trades(5).await;
    let exact = world.run(&["verify"]).await;
    assert_eq!(exact.status.code(), Some(0), "{}", text(&exact.stderr));
    assert_eq!(text(&exact.stdout), "exact: 5 final candles of 1 series, built from 32 records\n");

    let start_ns = (START_MS + 60_000) * 1_000_000;
    world.write(&format!("candles,symbol=tBTCUSD,interval=1m close=99.5 {start_ns}\n")).await;
    let altered = world.run(&["verify", "-o", "json"]).await;
    assert_eq!(altered.status.code(), Some(1));
    let report: Value = serde_json::from_slice(&altered.stdout).unwrap();
    assert_eq!(report["exact"], false);
    let difference = &report["differences"][0];
    assert_eq!(
        (&difference["start"], &difference["what"]),
        (&"2026-11-23T00:01:00Z".into(), &"close".into())
    );
    assert_eq!(difference["database"], 99.5);

    let dry = world.run(&["rebuild", "--dry-run"]).await;
    assert_eq!(text(&dry.stdout), "5 final candles would be written, built from 32 records\n");
    assert_eq!(world.run(&["verify"]).await.status.code(), Some(1), "a dry run writes nothing");
    assert_eq!(world.run(&["rebuild"]).await.status.code(), Some(0));
    assert_eq!(world.run(&["verify"]).await.status.code(), Some(0));
}

#[tokio::test]
async fn peek_prints_records_and_ends_quietly_when_nobody_reads() {
    let world = World::new().await;
    world.minutes_of_trades(2).await;
    let lines = text(&world.run(&["peek", "--all"]).await.stdout);
    assert_eq!(lines.lines().count(), 14);
    assert!(
        lines.lines().next().unwrap().ends_with("0@0 tBTCUSD  mark: from 2026-11-23T00:00:00Z"),
        "{lines}"
    );
    let json = text(&world.run(&["peek", "--last", "2", "-o", "json"]).await.stdout);
    let offsets: Vec<i64> = json
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["offset"].as_i64().unwrap())
        .collect();
    assert_eq!(offsets, [12, 13]);
    assert_eq!(text(&world.run(&["peek", "--all", "--symbol", "tETHUSD"]).await.stdout), "");

    let mut command = candlectl(&["peek", "--all", "--follow", "--config"]);
    command.arg(world.config()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut reader = BufReader::new(process.stdout.take().unwrap());
    reader.read_line(&mut String::new()).unwrap();
    drop(reader);
    world.record(b"k", Some(b"one more"), &[]);
    let output = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap()).await.unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(141), String::new()));
}

#[tokio::test]
async fn chart_is_lines_in_a_pipe_and_json_on_request() {
    let world = World::new().await;
    let empty = world.run(&["chart"]).await;
    assert_eq!(empty.status.code(), Some(1), "nothing to draw");
    assert!(text(&empty.stderr).contains("no candles of tBTCUSD 1m yet"));
    world.minutes_of_trades(3).await;
    let table = world.run(&["chart", "tBTCUSD", "--interval", "60s"]).await;
    let table = text(&table.stdout);
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(!table.contains('\x1b'), "no colours in a pipe");
    assert!(table.lines().last().unwrap().ends_with("forming"), "{table}");
    let json: Value =
        serde_json::from_slice(&world.run(&["chart", "-o", "json", "--count", "2"]).await.stdout).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);
    assert_eq!(json[0]["time"], "2026-11-23T00:02:00Z");
}

#[tokio::test]
async fn chart_is_a_picture_on_request_and_needs_no_database() {
    let world = World::new().await;
    world.minutes_of_trades(3).await;
    let file = |name: &str| world.config().with_file_name(name);
    let plot = async |name: &str, more: &[&str]| {
        let file = file(name);
        let output = world.run(&[&["plot", "--file", file.to_str().unwrap()], more].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        std::fs::read(file).unwrap()
    };
    let stored = text(&plot("stored.svg", &[]).await);
    assert!(stored.contains(">tBTCUSD 1m<") && stored.contains("forming"), "{stored}");
    // From the log alone: the database is gone.
    world.write_config(&world.brokers, "http://127.0.0.1:1");
    assert_eq!(text(&plot("built.svg", &["--from-topic"]).await), stored, "both are the same candles");
    let bodies = |svg: &str| svg.lines().filter(|line| line.starts_with("<g stroke")).count();
    assert_eq!(bodies(&stored), 4);
    let longer = text(&plot("longer.svg", &["--from-topic", "--interval", "3m"]).await);
    assert_eq!(bodies(&longer), 2, "an interval that the pipeline does not have");
    let png = plot("built.png", &["--from-topic"]).await;
    assert_eq!(png[..8], *b"\x89PNG\r\n\x1a\n");
    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    assert_eq!((side(16), side(20)), (1_280, 720));
    let wrong = world.run(&["plot", "--file", "chart.gif"]).await;
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("must end in .svg or .png"));
}

#[tokio::test]
async fn status_tells_workers_lag_and_the_last_final_candle_of_each_symbol() {
    let world = World::new().await;
    world.minutes_of_trades(2).await;
    world.record(b"k", Some(b"one more"), &[]);
    let status = world.run(&["status"]).await;
    assert_eq!(status.status.code(), Some(1), "tETHUSD has no candle");
    let told = text(&status.stdout);
    assert!(
        told.contains("topic      trades: 2 partitions, 0 short of replicas in sync, 15 records"),
        "{told}"
    );
    assert!(told.contains("in group candles-trades (not known), 1 records behind"), "{told}");
    let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[4][..3], ["tBTCUSD", "1m", "2026-11-23T00:01:00Z"], "{told}");
    assert_eq!(rows[5], ["tETHUSD", "1m", "none", "yet", "0"], "{told}");
    // A part that is gone does not hide the others.
    world.write_config("127.0.0.1:1", &world.influxdb.url());
    let half = world.run(&["status", "-o", "json"]).await;
    assert_eq!(half.status.code(), Some(1));
    let told: Value = serde_json::from_slice(&half.stdout).unwrap();
    assert_eq!((&told["works"], &told["topic"]), (&false.into(), &Value::Null));
    assert_eq!(told["candles"][0]["lastFinal"], "2026-11-23T00:01:00Z");
    assert!(text(&half.stderr).contains("kafka.bootstrapServers"), "{}", text(&half.stderr));
}

/// Two producers, one of which died and left a hole that the other one covers. Who says `from` and `until` decides
/// whether the candles are final: a reader that took marks as unsigned would call the window after the hole a gap.
#[tokio::test]
async fn verify_reads_who_signed_a_mark() {
    let world = World::new().await;
    world.signed_marks_of_two_producers().await;
    let exact = world.run(&["verify"]).await;
    assert_eq!(exact.status.code(), Some(0), "{}{}", text(&exact.stdout), text(&exact.stderr));
    assert_eq!(text(&exact.stdout), "exact: 4 final candles of 1 series, built from 28 records\n");
}

#[tokio::test]
async fn topics_and_lag_are_told() {
    let world = World::new().await;
    world.minutes_of_trades(1).await;
    world.record(b"k", Some(b"one more"), &[]);
    let topics = text(&world.run(&["topics"]).await.stdout);
    let row: Vec<&str> = topics.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row, ["trades", "2", "1", "0", "9"]);
    let lag: Value = serde_json::from_slice(&world.run(&["lag", "-o", "json"]).await.stdout).unwrap();
    assert_eq!((&lag["lag"], &lag["positions"][0]["committed"]), (&1.into(), &8.into()));
}

#[tokio::test]
async fn schema_register_check_and_diff_answer_by_exit_code() {
    let world = World::new().await;
    let same = world.run(&["schema", "diff"]).await;
    assert_eq!((same.status.code(), text(&same.stdout)), (Some(0), String::new()));
    let registered = world.run(&["schema", "register"]).await;
    assert_eq!((registered.status.code(), text(&registered.stdout)), (Some(0), "1\n".to_owned()));
    assert_eq!(world.run(&["schema", "check"]).await.status.code(), Some(0));

    let changed = TRADE_SCHEMA_JSON
        .replace(r#""name": "price", "type": "double""#, r#""name": "price", "type": "string""#);
    assert_ne!(changed, TRADE_SCHEMA_JSON);
    for (action, said) in [("check", "version 1: "), ("diff", "+      \"type\": \"string\"")] {
        let mut command = candlectl(&["schema", action, "-", "--config"]);
        command.arg(world.config());
        let input = changed.clone();
        let output = tokio::task::spawn_blocking(move || run_with_input(command, &input)).await.unwrap();
        assert_eq!(output.status.code(), Some(1), "{action}");
        assert!(text(&output.stdout).contains(said), "{action}: {}", text(&output.stdout));
    }
}

#[test]
fn errors_name_what_is_wrong_and_exit_with_2() {
    let refused = candlectl(&["topics", "--brokers", "127.0.0.1:1"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("see kafka.bootstrapServers"), "{}", text(&refused.stderr));
    assert_eq!(text(&refused.stdout), "");
    let unknown = candlectl(&["lag", "--config", "/nonexistent.yaml"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).starts_with("candlectl: cannot read /nonexistent.yaml"));
}

#[test]
fn completions_and_manual_know_every_command() {
    let commands =
        ["demo", "ui", "status", "chart", "peek", "topics", "lag", "schema", "verify", "rebuild", "doctor"];
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&candlectl(&["completions", shell]).output().unwrap().stdout);
        assert!(commands.iter().all(|command| script.contains(command)), "{shell}");
    }
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/candlectl.md")).unwrap();
    assert!(commands.iter().all(|command| document.contains(&format!("| `{command}"))), "docs/candlectl.md");
    let page = text(&candlectl(&["man"]).output().unwrap().stdout);
    assert!(commands.iter().all(|command| page.contains(&format!("candlectl\\-{command}"))), "{page}");
    for command in commands {
        let page = candlectl(&["man", command]).output().unwrap();
        assert!(text(&page.stdout).contains(".SH OPTIONS"), "{command}");
    }
    assert_eq!(candlectl(&["man", "nothing"]).output().unwrap().status.code(), Some(2));
}
