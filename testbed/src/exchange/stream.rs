//! A TCP stream that can be made to dribble: so many bytes, then a pause. Otherwise the stream itself.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::conn::LineShared;

/// The server's side of a socket.
#[derive(Debug)]
pub(crate) struct SlowStream {
    pub inner: TcpStream,
    /// Set once the connection is open.
    pub shared: Option<Arc<LineShared>>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl SlowStream {
    pub fn new(inner: TcpStream) -> Self {
        Self { inner, shared: None, pause: None }
    }
}

impl AsyncRead for SlowStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for SlowStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let Some(shared) = &self.shared else { return Pin::new(&mut self.inner).poll_write(cx, buf) };
        let bytes = shared.trickle_bytes.load(Ordering::Relaxed);
        if bytes == 0 {
            return Pin::new(&mut self.inner).poll_write(cx, buf);
        }
        let pause = Duration::from_millis(shared.trickle_ms.load(Ordering::Relaxed) as u64);
        let written = Pin::new(&mut self.inner).poll_write(cx, &buf[..buf.len().min(bytes)]);
        if matches!(written, Poll::Ready(Ok(_))) {
            self.pause = Some(Box::pin(tokio::time::sleep(pause)));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
