//! Plays the received frames of one recorded connection to a client, byte for byte and in order.
//! Ignores what the client says, except that its first message may start the play.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::config::Recording;

/// A recording ready to play: seconds since its first frame, and the frame.
#[derive(Debug)]
pub(crate) struct Tape {
    frames: Vec<(f64, String)>,
    speed: Option<f64>,
    wait_for_client: bool,
}

impl Tape {
    /// Reads a capture: received lines are `epoch: frame`, the others name the URL and are skipped.
    pub fn load(recording: &Recording) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(&recording.path)
            .with_context(|| format!("read recording {}", recording.path.display()))?;
        let mut frames = Vec::new();
        for line in text.lines() {
            let Some((epoch, frame)) = line.split_once(": ") else { continue };
            if let Ok(epoch) = epoch.parse::<f64>() {
                frames.push((epoch, frame.to_owned()));
            }
        }
        ensure!(!frames.is_empty(), "recording {}: no received frame", recording.path.display());
        let first = frames.first().map_or(0.0, |f| f.0);
        for frame in &mut frames {
            frame.0 -= first;
        }
        let wait_for_client = recording.wait_for_client;
        Ok(Self { frames, speed: recording.speed.filter(|s| *s > 0.0), wait_for_client })
    }
}

/// Plays to one client, then keeps the connection until the client goes.
pub(crate) async fn play<S: AsyncRead + AsyncWrite + Unpin>(tape: &Tape, mut socket: WebSocketStream<S>) {
    let started = tokio::time::Instant::now();
    let mut offset = 0.0;
    for (i, (at_s, frame)) in tape.frames.iter().enumerate() {
        if i == 1 && tape.wait_for_client {
            if !matches!(socket.next().await, Some(Ok(_))) {
                return;
            }
            offset = started.elapsed().as_secs_f64();
        }
        if let Some(speed) = tape.speed {
            let at = Duration::try_from_secs_f64(offset + at_s / speed).unwrap_or_default();
            if socket.flush().await.is_err() {
                return;
            }
            tokio::time::sleep_until(started + at).await;
        }
        let sent = if i == 0 {
            socket.send(Message::text(frame)).await
        } else {
            socket.feed(Message::text(frame)).await
        };
        if sent.is_err() {
            return;
        }
    }
    if socket.flush().await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}
