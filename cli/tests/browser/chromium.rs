//! A headless Chromium, told what to do over its debugging socket (DevTools protocol).

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

/// How long the slowest step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A page of a browser.
pub struct Chromium {
    process: Child,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    next_id: u64,
    foreign: Vec<String>,
    errors: Vec<String>,
    _profile: TempDir,
}

/// Whose screen.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    pub width: u32,
    pub height: u32,
    /// `light` or `dark`.
    pub scheme: &'static str,
}

impl Chromium {
    /// With an empty page.
    pub async fn start() -> Self {
        let profile = tempfile::tempdir().unwrap();
        let mut process = Command::new("chromium")
            .args([
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--remote-debugging-port=0",
                "about:blank",
            ])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stderr(Stdio::piped())
            .spawn()
            .expect("chromium is installed: apt-get install chromium");
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let browser =
            lines.find_map(|line| Some(line.ok()?.split_once("DevTools listening on ")?.1.to_owned()));
        // Its words must go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let address = browser.unwrap().replace("ws://", "").split('/').next().unwrap().to_owned();
        let targets =
            reqwest::get(format!("http://{address}/json/list")).await.unwrap().text().await.unwrap();
        let targets: Value = serde_json::from_str(&targets).unwrap();
        let page = targets.as_array().unwrap().iter().find(|target| target["type"] == "page").unwrap();
        // Pictures are larger than usual messages.
        let config = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let url = page["webSocketDebuggerUrl"].as_str().unwrap();
        let (socket, _) =
            tokio_tungstenite::connect_async_with_config(url, Some(config), false).await.unwrap();
        let mut chromium =
            Self { process, socket, next_id: 0, foreign: Vec::new(), errors: Vec::new(), _profile: profile };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.call(&format!("{domain}.enable"), json!({})).await;
        }
        chromium
    }

    /// Size of the screen, light or dark.
    pub async fn look(&mut self, look: Look) {
        let metrics = json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics).await;
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": look.scheme}]});
        self.call("Emulation.setEmulatedMedia", features).await;
    }

    /// Opens an address anew.
    pub async fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": "about:blank"})).await;
        self.call("Page.navigate", json!({"url": url})).await;
    }

    /// Value of an expression in the page.
    pub async fn eval(&mut self, expression: &str) -> Value {
        let answer =
            self.call("Runtime.evaluate", json!({"expression": expression, "returnByValue": true})).await;
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub async fn wait_for(&mut self, expression: &str) {
        let begun = Instant::now();
        while self.eval(expression).await != true {
            if begun.elapsed() > PATIENCE {
                let text = self.eval("document.body.innerText").await;
                panic!("never: {expression}\n{}\n{:?}", text.as_str().unwrap_or_default(), self.errors);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Presses and releases a key.
    pub async fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            _ => (9, ""),
        };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.call("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Takes a picture of what is on the screen.
    pub async fn picture(&mut self, file: &Path) {
        let answer = self.call("Page.captureScreenshot", json!({"format": "png"})).await;
        std::fs::write(file, decode_base64(answer["data"].as_str().unwrap())).unwrap();
    }

    /// Requests to other hosts, and what the console complained about.
    pub fn end(mut self) -> (Vec<String>, Vec<String>) {
        (std::mem::take(&mut self.foreign), std::mem::take(&mut self.errors))
    }

    async fn call(&mut self, method: &str, params: Value) -> Value {
        self.next_id += 1;
        let id = self.next_id;
        let message = json!({"id": id, "method": method, "params": params}).to_string();
        self.socket.send(Message::text(message)).await.unwrap();
        loop {
            let next = tokio::time::timeout(PATIENCE, self.socket.next()).await.expect(method);
            let Message::Text(text) = next.unwrap().unwrap() else { continue };
            let mut message: Value = serde_json::from_str(&text).unwrap();
            if message["id"] == id {
                assert_eq!(message["error"], Value::Null, "{method}");
                return message["result"].take();
            }
            self.note(&message);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !["http://127.0.0.1:", "about:", "data:"].iter().any(|start| url.starts_with(start)) {
                    self.foreign.push(url.to_owned());
                }
            }
            "Runtime.exceptionThrown" => self.errors.push(params["exceptionDetails"].to_string()),
            "Log.entryAdded" if params["entry"]["level"] == "error" => {
                self.errors.push(params["entry"].to_string());
            }
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                self.errors.push(params["args"].to_string())
            }
            _ => {}
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn decode_base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |byte: &u8| DIGITS.iter().position(|digit| digit == byte).map(|value| value as u32);
    let values: Vec<u32> = text.as_bytes().iter().filter_map(digit).collect();
    let mut bytes = Vec::with_capacity(values.len() * 3 / 4);
    for group in values.chunks(4) {
        let bits = group.iter().enumerate().fold(0, |bits, (i, value)| bits | value << (18 - 6 * i));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
