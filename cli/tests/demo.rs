//! `candlectl demo` as a user without any server meets it: started, looked at, ended by Ctrl-C.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

mod watched_demo;

use std::time::{Duration, Instant};

use watched_demo::Demo;

#[test]
fn embedded_demo_shows_final_candles_until_ctrl_c_and_loses_no_trade() {
    let mut demo = Demo::start(&["--speed", "5", "--address", "127.0.0.1:0"]);
    demo.wait_for_candles_of(&["tBTCUSD", "tETHUSD", "tXRPUSD", "tSOLBTC"]);
    let pages = demo.address("Open in a browser");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ask = |path: &str| {
        let url = format!("{pages}api/{path}");
        runtime
            .block_on(async { reqwest::get(url).await.unwrap().json::<serde_json::Value>().await.unwrap() })
    };
    let candles = ask("candles?symbol=tBTCUSD&interval=10s");
    assert!(candles.as_array().unwrap().iter().any(|candle| candle["state"] == "final"), "{candles}");
    let parts = ask("status");
    assert!(parts.as_array().unwrap().iter().all(|part| part["ok"] == true), "{parts}");
    // Consumers report their partitions every five seconds.
    let begun = Instant::now();
    loop {
        let groups = ask("groups");
        let members = groups["groups"][0]["members"].as_array().unwrap();
        let assigned: usize = members.iter().map(|member| member["assigned"].as_array().unwrap().len()).sum();
        if (members.len(), assigned) == (2, 3) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{groups}");
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(ask("schemas")[0]["subject"], "trades-value");
    demo.end_by_ctrl_c();
}
