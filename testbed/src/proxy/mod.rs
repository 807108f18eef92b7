//! A TCP proxy that makes trouble: connections of clients in, the same bytes at a server out, unless told otherwise.
//! It delays, throttles, slices, blocks each direction, ends connections, refuses them, answers HTTP requests itself or
//! loses the server's answers. It never changes, drops or reorders a byte of a connection that goes on.
//!
//! - What goes in comes out. (`bytes_and_their_end_pass_both_ways`)
//! - Trouble begins and ends at once for open connections too. (`a_blocked_direction_goes_on_where_it_stopped`)
//! - A reset is a reset. (`a_reset_connection_is_reset_and_a_cut_one_ends`)

mod answer;
mod pump;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

/// What one direction suffers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flow {
    /// Every byte arrives so much later.
    pub delay: Duration,
    /// At most so many bytes each second.
    pub bytes_per_s: Option<u32>,
    /// At most so many bytes in one write, with a pause of a millisecond after each.
    pub slice: Option<usize>,
    /// Nothing passes; nothing is lost either.
    pub blocked: bool,
    /// The first byte that comes ends its connection instead of arriving.
    pub fatal: bool,
}

/// What a client meets that connects.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Door {
    /// The server.
    #[default]
    Open,
    /// A reset, as from a port where nobody listens.
    Refused,
    /// Nobody: the connection opens and nothing ever comes.
    Silent,
    /// This HTTP answer to each request: status line and headers, without the last empty line. No body.
    Answer(Arc<str>),
}

/// Everything that is wrong at the moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trouble {
    /// From clients to the server.
    pub to_server: Flow,
    /// From the server to clients.
    pub to_client: Flow,
    /// For new connections. Anything but `Open` and `Silent` ends the open ones too.
    pub door: Door,
}

/// How open connections end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// An orderly end of the stream.
    Cut,
    /// A TCP reset.
    Reset,
}

#[derive(Debug)]
struct Shared {
    upstream: Mutex<Option<SocketAddr>>,
    trouble: watch::Sender<Trouble>,
    /// Counts up; connections that are older than the last number end.
    ended: watch::Sender<(u64, End)>,
}

/// A running proxy on 127.0.0.1; it ends with all its connections when dropped.
#[derive(Debug)]
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

impl Proxy {
    /// Listens on a free port. Without an upstream, clients are refused until there is one.
    pub async fn start(upstream: Option<SocketAddr>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: Mutex::new(upstream),
            trouble: watch::Sender::new(Trouble::default()),
            ended: watch::Sender::new((0, End::Cut)),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(listen(
            listener,
            Arc::clone(&shared),
            stop.clone(),
        )));
        Ok(Self { addr, shared, _stop: stop.drop_guard() })
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it leads, for connections from now on.
    pub fn lead_to(&self, upstream: SocketAddr) {
        *self.shared.upstream.lock().unwrap_or_else(PoisonError::into_inner) = Some(upstream);
    }

    /// Changes what is wrong.
    pub fn set(&self, trouble: Trouble) {
        let ends = matches!(trouble.door, Door::Refused | Door::Answer(_));
        self.shared.trouble.send_replace(trouble);
        if ends {
            self.end(End::Reset);
        }
    }

    /// Nothing is wrong any more. Ended connections stay ended.
    pub fn heal(&self) {
        self.set(Trouble::default());
    }

    /// Ends every open connection.
    pub fn end(&self, how: End) {
        self.shared.ended.send_modify(|(number, last)| (*number, *last) = (*number + 1, how));
    }
}

async fn listen(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        // Out of files or aborted by the client: the next one may be better.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        tokio::spawn(stop.clone().run_until_cancelled_owned(serve(client, Arc::clone(&shared))));
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>) {
    let mut ended = shared.ended.subscribe();
    ended.mark_unchanged();
    let _ = client.set_nodelay(true);
    let door = shared.trouble.borrow().door.clone();
    match door {
        Door::Open => {}
        Door::Refused => return reset(&client),
        Door::Silent => {
            let _ = ended.changed().await;
            if ended.borrow().1 == End::Reset {
                reset(&client);
            }
            return;
        }
        Door::Answer(head) => {
            tokio::select! {
                () = answer::serve(client, &head) => {}
                _ = ended.changed() => {}
            }
            return;
        }
    }
    let upstream = *shared.upstream.lock().unwrap_or_else(PoisonError::into_inner);
    let server = match upstream {
        Some(upstream) => TcpStream::connect(upstream).await.ok(),
        None => None,
    };
    let Some(server) = server else { return reset(&client) };
    let _ = server.set_nodelay(true);
    let trouble = || shared.trouble.subscribe();
    let (from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let up = pump::Pump { trouble: trouble(), flow: |trouble: &Trouble| &trouble.to_server };
    let down = pump::Pump { trouble: trouble(), flow: |trouble: &Trouble| &trouble.to_client };
    let how = tokio::select! {
        outcome = async { tokio::try_join!(up.run(from_client, &mut to_server), down.run(from_server, &mut to_client)) } => {
            if outcome.is_ok() { End::Cut } else { End::Reset }
        }
        _ = ended.changed() => ended.borrow().1,
    };
    if how == End::Reset {
        for stream in [to_client, to_server] {
            reset(stream.as_ref());
            // Dropped as it is, it would say an orderly goodbye first.
            stream.forget();
        }
    }
}

/// The next drop of the stream resets the connection.
fn reset(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests;
