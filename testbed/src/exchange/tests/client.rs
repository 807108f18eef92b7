//! A minimal client and fixtures.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::super::*;

pub const T0: i64 = 1_700_000_000_000;

/// One subscribed symbol that trades only by hand.
pub fn quiet() -> SimConfig {
    SimConfig::manual(T0).quiet(&["tBTCUSD", "tETHUSD", "tAVAX:USD"])
}

pub fn shared_data(file: &str) -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = std::env::var_os("CANDLES_SHARED_DATA").map(PathBuf::from);
    root.unwrap_or_else(|| manifest.join("../../shared/data")).join(file)
}

pub struct Client {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Client {
    /// Connects and reads the info event.
    pub async fn connect(sim: &Simulator) -> Self {
        let mut client = Self::try_connect(sim).await.unwrap();
        let info = client.json().await;
        assert_eq!(info["event"], "info");
        assert_eq!(info["version"], 2);
        client
    }

    pub async fn try_connect(sim: &Simulator) -> Result<Self, Error> {
        Ok(Self { socket: connect_async(sim.ws_url()).await?.0 })
    }

    /// Connected, sequence numbers and server times on.
    pub async fn with_flags(sim: &Simulator, flags: u64) -> Self {
        let mut client = Self::connect(sim).await;
        client.send(&json!({"event": "conf", "flags": flags})).await;
        assert_eq!(client.json().await, json!({"event": "conf", "status": "OK", "flags": flags}));
        client
    }

    pub async fn send(&mut self, message: &Value) {
        self.send_text(&message.to_string()).await;
    }

    pub async fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).await.unwrap();
    }

    pub async fn message(&mut self) -> Option<Result<Message, Error>> {
        let next = tokio::time::timeout(Duration::from_secs(5), self.socket.next());
        next.await.expect("a message within 5 s")
    }

    pub async fn text(&mut self) -> String {
        match self.message().await {
            Some(Ok(Message::Text(text))) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    pub async fn json(&mut self) -> Value {
        serde_json::from_str(&self.text().await).unwrap()
    }

    /// Subscribes to trades; returns chanId and snapshot frame.
    pub async fn trades(&mut self, symbol: &str) -> (i64, Value) {
        let reply = self.ask(&json!({"event": "subscribe", "channel": "trades", "symbol": symbol})).await;
        assert_eq!(reply["event"], "subscribed", "{reply}");
        let snapshot = self.json().await;
        assert_eq!(snapshot[0], reply["chanId"]);
        (reply["chanId"].as_i64().unwrap(), snapshot)
    }

    pub async fn ask(&mut self, message: &Value) -> Value {
        self.send(message).await;
        self.json().await
    }

    /// Everything that was sent before now, by way of a ping.
    pub async fn drain(&mut self) -> Vec<Value> {
        self.drain_text().await.iter().filter_map(|t| serde_json::from_str(t).ok()).collect()
    }

    pub async fn drain_text(&mut self) -> Vec<String> {
        self.send(&json!({"event": "ping", "cid": 424_242})).await;
        let mut texts = Vec::new();
        loop {
            match self.message().await {
                Some(Ok(Message::Text(text))) if text.contains("424242") => return texts,
                Some(Ok(Message::Text(text))) => texts.push(text.to_string()),
                Some(Ok(_)) => {}
                other => panic!("connection ended: {other:?}"),
            }
        }
    }

    /// Whether nothing at all comes for a moment.
    pub async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(Duration::from_millis(100), self.socket.next()).await.is_err()
    }
}

pub async fn get(url: &str) -> (u16, String) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

pub async fn rows(sim: &Simulator, path: &str) -> Vec<Value> {
    let (status, body) = get(&format!("{}{path}", sim.rest_url())).await;
    assert_eq!(status, 200, "{path}: {body}");
    serde_json::from_str(&body).unwrap()
}

pub fn tagged<'a>(frames: &'a [Value], tag: &str) -> Vec<&'a Value> {
    frames.iter().filter(|f| f[1] == tag).collect()
}

pub async fn post(sim: &Simulator, path: &str, body: &Value) -> (u16, Value) {
    let request = reqwest::Client::new().post(format!("{}{path}", sim.admin_url()));
    let answer = request.json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}
