//! One socket to the exchange, made anew for as long as the producer lives: bytes in, [`Batch`]es out.
//!
//! A full inbox stops the reading of the socket: nothing is dropped here, the exchange may cut us, and the gap is
//! repaired as any other. Never reads a frame longer than [`FRAME_BYTES_MAX`], never connects beyond the budget,
//! even when connects succeed and then drop. What frames mean is `protocol`'s.

use std::{
    ops::ControlFlow,
    time::{Duration, Instant, SystemTime},
};

use candles_core::{config::WebSocketUrl, symbol::Symbol};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::{net::TcpStream, sync::mpsc, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async_with_config,
    tungstenite::{Error as WsError, Message, protocol::WebSocketConfig},
};
use tokio_util::sync::CancellationToken;

use super::protocol::{End, Output, Protocol};
use crate::{
    exchange::{
        FeedEvent, Interruption, Invalid, InvalidReason, SymbolIndex,
        budget::SharedBudget,
        limits::{
            BATCH_EVENTS_MAX, FRAME_BYTES_MAX, HANDSHAKE, INBOX_STALL, READ_BUFFER_BYTES, RECONNECT_CAP,
            RECONNECT_FIRST, RESTART_JITTER, STABLE,
        },
    },
    runtime::{backoff::Backoff, chain},
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// What one connection has to tell, in order.
#[derive(Debug, Default)]
pub struct Batch {
    /// Which connection.
    pub connection: usize,
    /// What the feed said.
    pub events: Vec<FeedEvent>,
    /// News about the connection itself, after the events.
    pub state: Option<ConnectionState>,
    /// Frames received.
    pub frames: u64,
    /// Bytes of frames received.
    pub bytes: u64,
    /// Holes in the sequence numbers.
    pub holes: u64,
    /// Sequence numbers missing in them.
    pub frames_missing: u64,
}

/// How a connection is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionState {
    /// Every symbol is subscribed, or rejected and reported.
    Settled,
    /// Connected; subscriptions are being made.
    Settling,
    /// Not connected, and why; tried again after the wait.
    Down {
        /// What happened.
        why: String,
        /// It was connected before.
        lost: bool,
        /// Next try.
        retry: Duration,
    },
}

/// What a connection is told.
#[derive(Debug, Clone)]
pub enum Command {
    /// Serve one more symbol.
    Add(SymbolIndex, Symbol),
    /// Subscribe a symbol anew, for a snapshot.
    Renew(SymbolIndex),
}

/// One connection and what it shares with the others.
#[derive(Debug)]
pub struct Connection {
    /// Its number, from 0.
    pub id: usize,
    /// Where to connect.
    pub url: WebSocketUrl,
    /// No frame for this long: dead.
    pub silence: Duration,
    /// Connects per minute, shared by all connections.
    pub budget: SharedBudget,
    /// Where batches go.
    pub inbox: mpsc::Sender<Batch>,
    /// What to do beside.
    pub commands: mpsc::UnboundedReceiver<Command>,
}

impl Connection {
    /// Connects, serves, connects again; ends when `stop` is cancelled or the inbox is closed.
    pub async fn run(mut self, symbols: Vec<(SymbolIndex, Symbol)>, stop: CancellationToken) {
        let mut symbols = symbols;
        let mut backoff = Backoff::new(RECONNECT_FIRST, RECONNECT_CAP);
        let stopped = stop.clone();
        let _ = stopped
            .run_until_cancelled(async {
                loop {
                    self.budget.take().await;
                    let (why, lost, delay) = match self.connect().await {
                        Ok(socket) => {
                            let opened = Instant::now();
                            let end = self.serve(socket, &mut symbols).await?;
                            if opened.elapsed() >= STABLE {
                                backoff.reset();
                            }
                            let delay = match end {
                                Gone::Ended(End::Restart) => {
                                    RESTART_JITTER.mul_f64(rand::random_range(0.0..1.0))
                                }
                                _ => backoff.next_delay(),
                            };
                            (end.to_string(), true, delay)
                        }
                        Err(why) => (why, false, backoff.next_delay()),
                    };
                    let state = ConnectionState::Down { why, lost, retry: delay };
                    self.tell(Batch { connection: self.id, state: Some(state), ..Batch::default() }).await?;
                    tokio::time::sleep(delay).await;
                    while let Ok(command) = self.commands.try_recv() {
                        // All symbols are subscribed anew anyway.
                        if let Command::Add(index, symbol) = command {
                            symbols.push((index, symbol));
                        }
                    }
                }
                #[allow(unreachable_code, reason = "gives the block its type")]
                Some(())
            })
            .await;
    }

    async fn connect(&self) -> Result<Socket, String> {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(FRAME_BYTES_MAX))
            .max_frame_size(Some(FRAME_BYTES_MAX));
        let connecting = connect_async_with_config(self.url.as_str(), Some(config), true);
        match timeout(HANDSHAKE, Box::pin(connecting)).await {
            Ok(Ok((socket, _))) => Ok(socket),
            Ok(Err(WsError::Http(response))) => Err(format!("refused with HTTP {}", response.status())),
            Ok(Err(error)) => Err(chain(&error)),
            Err(_) => Err(format!("no connection within {} s", HANDSHAKE.as_secs())),
        }
    }

    /// Serves a connection until it is gone; `None` when nobody listens any more.
    async fn serve(&mut self, socket: Socket, symbols: &mut Vec<(SymbolIndex, Symbol)>) -> Option<Gone> {
        let now = Instant::now();
        let mut session = Session {
            protocol: Protocol::new(self.id, symbols, now),
            socket,
            batch: Batch { connection: self.id, state: Some(ConnectionState::Settling), ..Batch::default() },
            output: Output::default(),
            settled: false,
            last_frame: now,
            pinged: false,
        };
        let gone = loop {
            if let ControlFlow::Break(gone) = session.step(self).await {
                break gone;
            }
            let told = Instant::now();
            self.tell(session.take_batch()).await?;
            // Time spent waiting for room in the inbox is not the exchange's silence.
            if told.elapsed() > INBOX_STALL {
                session.last_frame = Instant::now();
            }
        };
        let why = match gone {
            Gone::Ended(End::Restart) => Interruption::Restart,
            _ => Interruption::Disconnected,
        };
        session.protocol.on_gone(why, &mut session.output);
        let last = session.take_batch();
        *symbols = session.protocol.symbols().collect();
        let _ = timeout(Duration::from_millis(500), session.socket.close(None)).await;
        self.tell(last).await?;
        Some(gone)
    }

    async fn tell(&self, batch: Batch) -> Option<()> {
        let empty = batch.events.is_empty() && batch.state.is_none() && batch.frames == 0;
        if empty { Some(()) } else { self.inbox.send(batch).await.ok() }
    }
}

/// Why a connection is gone.
#[derive(Debug, thiserror::Error)]
enum Gone {
    #[error(transparent)]
    Ended(#[from] End),
    #[error("no frame for {} s, ping included", .0.as_secs())]
    Silent(Duration),
    #[error("the exchange closed the connection")]
    Closed,
    #[error("{0}")]
    Failed(String),
}

struct Session {
    protocol: Protocol,
    socket: Socket,
    batch: Batch,
    output: Output,
    settled: bool,
    last_frame: Instant,
    pinged: bool,
}

impl Session {
    /// Waits for frames, takes all that are there up to a batch, answers them.
    async fn step(&mut self, connection: &mut Connection) -> ControlFlow<Gone> {
        tokio::select! {
            message = self.socket.next() => self.on_messages(message)?,
            Some(command) = connection.commands.recv() => match command {
                Command::Add(index, symbol) => {
                    self.protocol.add(index, symbol, Instant::now(), &mut self.output);
                }
                Command::Renew(index) => self.protocol.renew(index, Instant::now(), &mut self.output),
            },
            () = tokio::time::sleep(Duration::from_secs(1)) => self.on_tick(connection.silence)?,
        }
        self.answer().await
    }

    fn on_messages(&mut self, first: Option<Result<Message, WsError>>) -> ControlFlow<Gone> {
        let now = Instant::now();
        let received_us = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as i64);
        self.last_frame = now;
        self.pinged = false;
        let mut next = Some(first);
        while let Some(message) = next {
            self.on_message(message, received_us, now)?;
            if let Some(end) = self.output.end.take() {
                return ControlFlow::Break(end.into());
            }
            let full = self.output.events.len() >= BATCH_EVENTS_MAX;
            next = if full { None } else { self.socket.next().now_or_never() };
        }
        ControlFlow::Continue(())
    }

    fn on_message(
        &mut self,
        message: Option<Result<Message, WsError>>,
        received_us: i64,
        now: Instant,
    ) -> ControlFlow<Gone> {
        match message {
            Some(Ok(Message::Text(text))) => {
                self.batch.frames += 1;
                self.batch.bytes += text.len() as u64;
                self.protocol.on_text(&text, received_us, now, &mut self.output);
            }
            Some(Ok(Message::Binary(bytes))) => {
                self.batch.frames += 1;
                self.invalid(InvalidReason::Frame, "binary frame", &bytes);
            }
            Some(Ok(Message::Close(_))) | None => return ControlFlow::Break(Gone::Closed),
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                if matches!(error, WsError::Capacity(_) | WsError::Utf8(_)) {
                    self.invalid(InvalidReason::Oversize, &error.to_string(), &[]);
                }
                return ControlFlow::Break(Gone::Failed(chain(&error)));
            }
        }
        ControlFlow::Continue(())
    }

    fn invalid(&mut self, reason: InvalidReason, error: &str, raw: &[u8]) {
        let raw = raw[..raw.len().min(crate::exchange::limits::INVALID_BYTES_MAX)].to_vec();
        let invalid = Invalid { symbol: None, reason, error: error.to_owned(), raw };
        self.output.events.push(FeedEvent::Invalid(Box::new(invalid)));
    }

    fn on_tick(&mut self, silence: Duration) -> ControlFlow<Gone> {
        let now = Instant::now();
        let quiet = now.duration_since(self.last_frame);
        if quiet >= silence {
            return ControlFlow::Break(Gone::Silent(quiet));
        }
        if quiet >= silence / 2 && !self.pinged {
            self.pinged = true;
            self.output.send.push(r#"{"event":"ping","cid":1}"#.to_owned());
        }
        self.protocol.on_tick(now, &mut self.output);
        match self.output.end.take() {
            Some(end) => ControlFlow::Break(end.into()),
            None => ControlFlow::Continue(()),
        }
    }

    async fn answer(&mut self) -> ControlFlow<Gone> {
        for text in std::mem::take(&mut self.output.send) {
            match timeout(HANDSHAKE, self.socket.send(Message::text(text))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return ControlFlow::Break(Gone::Failed(chain(&error))),
                Err(_) => {
                    return ControlFlow::Break(Gone::Failed("the exchange takes no messages".to_owned()));
                }
            }
        }
        ControlFlow::Continue(())
    }

    fn take_batch(&mut self) -> Batch {
        let settled = self.protocol.is_settled();
        let mut batch = std::mem::take(&mut self.batch);
        self.batch.connection = batch.connection;
        batch.events = std::mem::take(&mut self.output.events);
        batch.holes = std::mem::take(&mut self.output.holes);
        batch.frames_missing = std::mem::take(&mut self.output.frames_missing);
        if settled != self.settled {
            self.settled = settled;
            batch.state = Some(if settled { ConnectionState::Settled } else { ConnectionState::Settling });
        }
        batch
    }
}
