//! The pages in headless Chromium, on the embedded demo: what they show, that they keep to themselves, and pictures of
//! them in `out/`. Needs the package `chromium`; `make e2e`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod chromium;
#[path = "../watched_demo/mod.rs"]
mod watched_demo;

use std::path::Path;
use std::process::Command;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use chromium::{Chromium, Look};
use watched_demo::Demo;

/// Name, width, height.
const SIZES: [(&str, u32, u32); 2] = [("wide", 1280, 800), ("phone", 390, 844)];
/// Each view, and a script that is true once it shows what it should.
const VIEWS: [(&str, &str); 5] = [
    (
        "chart",
        "/forming/.test(document.querySelector('.readout')?.textContent) && document.querySelectorAll('#view tbody tr').length === 12",
    ),
    (
        "topics",
        "document.querySelectorAll('#view details').length === 2 && /in sync/.test(document.querySelector('#view .facts').textContent)",
    ),
    ("records", "document.querySelectorAll('#view tbody tr').length > 30"),
    (
        "groups",
        "/consumer-2/.test(document.querySelector('main').innerText) && document.querySelectorAll('#view tbody tr').length === 5",
    ),
    ("schemas", "/dev.candles/.test(document.querySelector('#view pre')?.textContent)"),
];
const HOSTILE: &str = "<img src=x onerror=alert(1)><script>alert(2)</script>";

fn publish_hostile(brokers: &str) {
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", brokers).create().unwrap();
    producer
        .send(BaseRecord::to("trades").partition(0).key(HOSTILE).payload(HOSTILE))
        .map_err(|(e, _)| e)
        .unwrap();
    producer.flush(std::time::Duration::from_secs(30)).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn every_view_is_whole_on_every_screen_and_keeps_to_itself() {
    let out = Path::new(env!("CARGO_MANIFEST_DIR")).join("../out");
    std::fs::create_dir_all(&out).unwrap();
    let mut demo = Demo::start(&["--speed", "3", "--address", "127.0.0.1:0"]);
    demo.wait_for_candles_of(&["tBTCUSD"]);
    let pages = demo.address("Open in a browser");
    let mut browser = Chromium::start().await;
    for (size, width, height) in SIZES {
        for scheme in ["light", "dark"] {
            browser.look(Look { width, height, scheme }).await;
            for (view, shows) in VIEWS {
                browser.open(&format!("{pages}#{view}")).await;
                browser.wait_for(shows).await;
                let overflow = browser.eval("document.documentElement.scrollWidth - innerWidth").await;
                assert!(overflow.as_i64().unwrap() <= 0, "{view} {size}: {overflow} px too wide");
                browser.picture(&out.join(format!("ui-{view}-{size}-{scheme}.png"))).await;
            }
        }
    }

    // The same candles without a browser.
    let config = Path::new(&demo.address("configuration, logs, data")).join("pipeline.yaml");
    for name in ["chart.png", "chart.svg"] {
        let mut plot = Command::new(env!("CARGO_BIN_EXE_candlectl"));
        plot.arg("plot").arg("--config").arg(&config).arg("--file").arg(out.join(name));
        assert!(plot.status().unwrap().success(), "{name}");
    }

    // Text stays text.
    browser.open(&format!("{pages}#records")).await;
    browser.wait_for(VIEWS[2].1).await;
    publish_hostile(&demo.address("Kafka"));
    let key = serde_json::to_string(HOSTILE).unwrap();
    browser
        .wait_for(&format!("[...document.querySelectorAll('.key')].some((key) => key.textContent === {key})"))
        .await;
    assert_eq!(browser.eval("document.querySelectorAll('main img, main script').length").await, 0);

    // By keyboard alone: from the start of the page to another view, and along the chart.
    browser.open(&format!("{pages}#chart")).await;
    browser.wait_for(VIEWS[0].1).await;
    for _ in 0..4 {
        browser.press("Tab").await;
    }
    assert_eq!(browser.eval("document.activeElement.textContent").await, "Topics");
    browser.press("Enter").await;
    browser.wait_for(VIEWS[1].1).await;
    assert_eq!(browser.eval("location.hash").await, "#topics");

    let (foreign, errors) = browser.end();
    assert_eq!(foreign, Vec::<String>::new(), "other hosts were asked");
    assert_eq!(errors, Vec::<String>::new(), "the console is clean");
    tokio::task::spawn_blocking(move || demo.end_by_ctrl_c()).await.unwrap();
}
