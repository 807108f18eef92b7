//! What the browser gets.

use serde_json::json;

use crate::world::{Pages, START_MS, World};

#[tokio::test]
async fn pages_load_nothing_from_elsewhere() {
    let world = World::new().await;
    let pages = Pages::start(&world.config());
    let answer = pages.client.get(&pages.url).send().await.unwrap();
    let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
    for rule in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let html = answer.text().await.unwrap();
    let mut files: Vec<String> =
        vec!["style.css", "page.js", "chart.js", "kafka.js"].into_iter().map(str::to_owned).collect();
    for attribute in [" src=\"", "<link rel=\"stylesheet\" href=\"", "<link rel=\"icon\" href=\""] {
        for target in html.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
            files.push(target.strip_prefix("/assets/").unwrap_or_else(|| panic!("{target}")).to_owned());
        }
    }
    for file in files {
        let answer = pages.client.get(format!("{}/assets/{file}", pages.url)).send().await.unwrap();
        assert!(answer.status().is_success(), "{file}");
        assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
        let text = answer.text().await.unwrap();
        if !file.starts_with("lightweight") {
            // What would make markup or code of a text.
            for word in
                ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "https:", "http:"]
            {
                assert!(!text.replace("http://www.w3.org/2000/svg", "").contains(word), "{file}: {word}");
            }
        }
    }
}

#[tokio::test]
async fn foreign_hosts_and_other_methods_are_refused() {
    let world = World::new().await;
    let pages = Pages::start(&world.config());
    let url = format!("{}/api/pipeline", pages.url);
    let foreign = pages.client.get(&url).header("Host", "evil.example").send().await.unwrap();
    assert_eq!(foreign.status(), 421);
    assert_eq!(pages.client.post(&url).send().await.unwrap().status(), 405);
    assert_eq!(pages.client.get(&url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn final_candles_stand_over_live_ones_and_what_is_open_is_said() {
    let world = World::new().await;
    world.minutes_of_trades(3).await;
    // A forming point of a window that is final by now, and an incomplete one before all others.
    let values = "open=1,high=1,low=1,close=1,volume=1,quote_volume=1,buy_volume=1,vwap=1,count=1i";
    let early_ns = (START_MS - 120_000) * 1_000_000;
    world
        .write(&format!(
            "candles_live,symbol=tBTCUSD,interval=1m {values},state=\"forming\" {}\n\
             candles_live,symbol=tBTCUSD,interval=1m {values},state=\"incomplete\" {early_ns}\n",
            START_MS * 1_000_000
        ))
        .await;
    let pages = Pages::start(&world.config());
    let (status, candles) = pages.json("/api/candles?symbol=tBTCUSD&interval=1m&count=10").await;
    assert_eq!(status, 200);
    let states: Vec<(i64, &str)> = candles
        .as_array()
        .unwrap()
        .iter()
        .map(|candle| {
            (candle["time"].as_i64().unwrap() - START_MS / 1_000, candle["state"].as_str().unwrap())
        })
        .collect();
    assert_eq!(states, [(-120, "incomplete"), (0, "final"), (60, "final"), (120, "final"), (180, "forming")]);
    let first = &candles[1];
    assert_eq!(
        [&first["open"], &first["high"], &first["low"], &first["close"]],
        [100.0, 105.0, 100.0, 105.0]
    );
    assert_eq!((&first["volume"], &first["count"]), (&json!(0.9), &json!(6)));
    let (status, _) = pages.json("/api/candles?symbol=tBTCUSD%22&interval=1m").await;
    assert_eq!(status, 400, "only symbols of the pipeline are asked for");
}

#[tokio::test]
async fn candles_are_sent_as_they_change() {
    let world = World::new().await;
    world.minutes_of_trades(2).await;
    let pages = Pages::start(&world.config());
    let mut events = pages.events("/api/candles/live?symbol=tBTCUSD&interval=1m").await;
    let (name, candles) = events.next().await;
    assert_eq!((name.as_str(), candles.as_array().unwrap().len()), ("candles", 3));
    let values = "open=1,high=2,low=1,close=2,volume=1,quote_volume=1,buy_volume=1,vwap=1,count=2i";
    let open_ns = (START_MS + 120_000) * 1_000_000;
    world
        .write(&format!("candles_live,symbol=tBTCUSD,interval=1m {values},state=\"forming\" {open_ns}\n"))
        .await;
    let (_, changed) = events.next().await;
    assert_eq!((changed.as_array().unwrap().len(), &changed[0]["close"]), (1, &json!(2.0)));
    world.influxdb.set_outage(Some(503));
    let (name, problem) = events.next().await;
    assert_eq!((name.as_str(), problem["part"].as_str()), ("problem", Some("InfluxDB")));
    world.influxdb.set_outage(None);
    let mut name = events.next().await.0;
    while name == "problem" {
        name = events.next().await.0;
    }
    assert_eq!(name, "well");
}

#[tokio::test]
async fn records_are_decoded_and_hostile_ones_are_only_text() {
    let world = World::new().await;
    world.minutes_of_trades(1).await;
    world.record(b"<script>alert(1)</script>", Some(b"\"}\n\nevent: candles\ndata: []"), &[("x", "<b>\n\n")]);
    let pages = Pages::start(&world.config());
    let mut events = pages.events("/api/records/live?topic=trades").await;
    let mut records = Vec::new();
    while records.len() < 9 {
        let (name, data) = events.next().await;
        assert_eq!(name, "records", "{data}");
        records.extend(data["records"].as_array().unwrap().clone());
    }
    assert_eq!((&records[0]["kind"], &records[0]["mark"]), (&json!("mark"), &json!("from")));
    assert_eq!((&records[1]["kind"], &records[1]["value"]["price"]), (&json!("avro"), &json!(100.0)));
    assert_eq!(
        (&records[1]["key"], &records[1]["schemaId"], &records[1]["offset"]),
        (&json!("tBTCUSD"), &json!(1), &json!(1))
    );
    let hostile = &records[8];
    assert_eq!(hostile["key"], "<script>alert(1)</script>");
    assert_eq!(hostile["value"], "\"}\n\nevent: candles\ndata: []");
    assert_eq!(hostile["headers"], json!([["x", "<b>\n\n"]]));
    assert!(hostile["problem"].as_str().unwrap().contains("magic byte"));
}

#[tokio::test]
async fn topics_lag_and_schemas_are_those_of_the_servers() {
    let world = World::new().await;
    world.minutes_of_trades(1).await;
    world.registry.put("trades-value", r#"{"type":"string"}"#);
    let pages = Pages::start(&world.config());
    let (_, topics) = pages.json("/api/topics").await;
    assert_eq!((&topics[0]["name"], &topics[0]["records"]), (&json!("trades"), &json!(8)));
    assert_eq!(topics[0]["partitions"][0]["inSync"], json!([1]));
    let (_, groups) = pages.json("/api/groups").await;
    assert_eq!(
        (&groups["positions"][0]["committed"], &groups["positions"][0]["lag"]),
        (&json!(8), &json!(0))
    );
    assert_eq!(groups["positions"][1]["committed"], json!(null));
    let (_, schemas) = pages.json("/api/schemas").await;
    assert_eq!(schemas[0]["subject"], "trades-value");
    assert_eq!(schemas[0]["versions"][0], json!({"version": 2, "id": 2, "schema": r#"{"type":"string"}"#}));
}

#[tokio::test]
async fn parts_that_are_down_are_named() {
    let world = World::new().await;
    // Nobody listens there.
    let config = world.write_config("127.0.0.1:1", "http://127.0.0.1:1");
    world.registry.set_unavailable(true);
    let pages = Pages::start(&config);
    assert!(pages.client.get(&pages.url).send().await.unwrap().status().is_success());
    let (_, parts) = pages.json("/api/status").await;
    for part in parts.as_array().unwrap() {
        assert_eq!(part["ok"], false, "{part}");
    }
    assert!(parts[0]["text"].as_str().unwrap().contains("see kafka.bootstrapServers"), "{parts}");
    assert!(parts[2]["text"].as_str().unwrap().contains("see influxdb.url"), "{parts}");
    for (path, part) in [
        ("/api/topics", "Kafka"),
        ("/api/schemas", "Schema registry"),
        ("/api/candles?symbol=tBTCUSD&interval=1m", "InfluxDB"),
    ] {
        let (status, answer) = pages.json(path).await;
        assert_eq!((status, &answer["part"]), (502, &json!(part)), "{answer}");
    }
    let (name, problem) = pages.events("/api/records/live?topic=trades").await.next().await;
    assert_eq!((name.as_str(), &problem["part"]), ("problem", &json!("Kafka")));
    world.registry.set_unavailable(false);
    assert_eq!(pages.json("/api/schemas").await.0, 200, "it comes back by itself");
}

#[test]
fn vendored_files_are_those_of_their_packages() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/vendor");
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let mut lines = readme.lines().filter_map(|line| line.strip_prefix('\t')?.split_once("  "));
    let (sum, file) = lines.next().unwrap();
    let digest =
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &std::fs::read(folder.join(file)).unwrap());
    let expected: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&sum[2 * at..2 * at + 2], 16).unwrap()).collect();
    assert_eq!(digest.as_ref(), expected, "{file}");
    assert_eq!(lines.next(), None);
}
