//! The WebSocket listener: one task per connection that reads the client's messages into the exchange
//! and writes what the exchange queued. Knows no protocol; every wait has an end or the stop signal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, http};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Shared;
use super::conn::{Line, Out};
use super::faults::CutHow;
use super::session::{Admission, MESSAGE_BYTES_MAX};
use super::stream::SlowStream;

/// An upgrade that takes longer is dropped.
const UPGRADE_MAX: Duration = Duration::from_secs(10);
/// Tasks beyond one per open connection: listeners, upgrades under way, connections held mute.
/// What comes on top is dropped at once.
const TASKS_SPARE: usize = 256;
/// Connections held mute are looked at so often.
const MUTE_POLL: Duration = Duration::from_millis(20);

type Socket = WebSocketStream<SlowStream>;

/// Accepts until the stop signal.
pub(crate) async fn listen(
    shared: Arc<Shared>,
    listener: TcpListener,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let connections_max = shared.with(|core| core.config.connections_max);
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((tcp, _)) = accepted else {
            // Out of descriptors, most likely: wait rather than spin.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        if tasks.len() > connections_max + TASKS_SPARE {
            continue;
        }
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = serve(&shared, tcp) => {}
            }
        });
    }
}

async fn serve(shared: &Arc<Shared>, tcp: TcpStream) {
    let _ = tcp.set_nodelay(true);
    let admission = shared.with(super::core::Core::admit_connection);
    let refuse = match admission {
        Admission::End(how) => return end_tcp(tcp, how),
        Admission::Mute => return mute(shared, tcp).await,
        Admission::Http(status) => Some(status),
        Admission::Accept => None,
    };
    let Ok(Some(mut socket)) = tokio::time::timeout(UPGRADE_MAX, upgrade(tcp, refuse)).await else { return };
    if let Some(recording) = shared.recording.clone() {
        return super::recording::play(&recording, socket).await;
    }
    let (id, line) = shared.with(super::core::Core::open);
    socket.get_mut().shared = Some(Arc::clone(&line.shared));
    let kill = line.shared.kill.clone();
    let how = tokio::select! {
        () = kill.cancelled() => Some(CutHow::Reset),
        how = talk(shared, id, line, &mut socket) => how,
    };
    shared.with(|core| core.close(id));
    finish(socket, how).await;
}

/// The upgrade, or the refusal of one with this HTTP status.
async fn upgrade(tcp: TcpStream, refuse: Option<u16>) -> Option<Socket> {
    #[allow(clippy::result_large_err, reason = "the library's callback type")]
    let answer = |_: &Request, response: Response| match refuse {
        None => Ok(response),
        Some(status) => {
            let mut refusal = ErrorResponse::new(Some("refused".into()));
            *refusal.status_mut() =
                http::StatusCode::from_u16(status).unwrap_or(http::StatusCode::SERVICE_UNAVAILABLE);
            Err(refusal)
        }
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(8 << 10)
        .max_message_size(Some(2 * MESSAGE_BYTES_MAX))
        .max_frame_size(Some(2 * MESSAGE_BYTES_MAX));
    tokio_tungstenite::accept_hdr_async_with_config(SlowStream::new(tcp), answer, Some(config)).await.ok()
}

/// Serves an open connection. `Some`: how to end it; `None`: the client ended it.
async fn talk(shared: &Shared, id: u64, mut line: Line, socket: &mut Socket) -> Option<CutHow> {
    loop {
        let silent = line.shared.silent.load(Ordering::Relaxed);
        // No order: a busy market must not keep a client's messages waiting.
        tokio::select! {
            batch = line.queue.recv() => {
                if let Some(how) = write(shared, &line, batch?, socket).await {
                    return how;
                }
            }
            message = socket.next(), if !silent => match message? {
                Ok(Message::Text(text)) => shared.with(|core| core.message(id, &text)),
                Ok(Message::Close(_)) => return None,
                Ok(_) => {}
                Err(_) => return Some(CutHow::Drop),
            },
        }
        shared.wake.notify_one();
    }
}

/// Writes a batch. `Some` ends the connection, in the way inside it.
async fn write(shared: &Shared, line: &Line, batch: Vec<Out>, socket: &mut Socket) -> Option<Option<CutHow>> {
    let mut bytes = 0;
    let mut end = None;
    for out in batch {
        match out {
            Out::Frame(message) => {
                bytes += message.len() + 64;
                if socket.feed(message).await.is_err() {
                    return Some(Some(CutHow::Drop));
                }
            }
            Out::End(how) => end = Some(Some(how)),
            Out::Wake => {}
        }
    }
    if socket.flush().await.is_err() {
        return Some(Some(CutHow::Drop));
    }
    line.shared.unread_bytes.fetch_sub(bytes, Ordering::Relaxed);
    shared.drained.notify_one();
    end
}

async fn finish(mut socket: Socket, how: Option<CutHow>) {
    let reason = || CloseFrame { code: CloseCode::Restart, reason: "".into() };
    match how {
        Some(CutHow::Close) => {
            let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(Some(reason()))).await;
        }
        Some(CutHow::Reset) => {
            let _ = socket.get_ref().inner.set_zero_linger();
        }
        Some(CutHow::Drop) => {}
        None => {
            let _ = tokio::time::timeout(Duration::from_secs(1), socket.close(None)).await;
        }
    }
}

fn end_tcp(tcp: TcpStream, how: CutHow) {
    if how == CutHow::Reset {
        let _ = tcp.set_zero_linger();
    }
    drop(tcp);
}

/// Holds a connection that gets no answer until the silence ends or the client goes.
async fn mute(shared: &Shared, mut tcp: TcpStream) {
    let mut scrap = [0_u8; 1024];
    loop {
        match tokio::time::timeout(MUTE_POLL, tcp.read(&mut scrap)).await {
            Ok(Ok(0) | Err(_)) => return,
            Err(_) if shared.with(super::core::Core::silence_over) => return,
            Ok(Ok(_)) | Err(_) => {}
        }
    }
}
