//! One client's connection as the exchange sees it: flags, sequence, channels, and what is queued for its
//! socket. Renders frames and counts them; the socket task (`socket`) only writes what it is handed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::faults::{CutHow, ExtraIn, Fate};
use super::garbage;

/// conf flag: server time appended to each frame.
pub(crate) const TIMESTAMP: u64 = 32_768;
/// conf flag: sequence number appended to each frame.
pub(crate) const SEQ_ALL: u64 = 65_536;
/// A batch this big goes to the socket task at once.
const BATCH_BYTES: usize = 256 << 10;

/// What the socket task is told.
#[derive(Debug)]
pub(crate) enum Out {
    Frame(Message),
    End(CutHow),
    /// Look at the flags again.
    Wake,
}

/// The socket task's side of a connection.
#[derive(Debug)]
pub(crate) struct Line {
    pub queue: mpsc::UnboundedReceiver<Vec<Out>>,
    pub shared: Arc<LineShared>,
}

/// What both sides of a connection see.
#[derive(Debug, Default)]
pub(crate) struct LineShared {
    /// Bytes handed over and not yet written.
    pub unread_bytes: AtomicUsize,
    /// Neither read nor answer.
    pub silent: AtomicBool,
    /// Bytes per `trickle_ms`; 0: no limit.
    pub trickle_bytes: AtomicUsize,
    pub trickle_ms: AtomicUsize,
    /// The reader is too slow, or the simulator stops.
    pub kill: CancellationToken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Trades,
    Ticker,
    Book,
}

#[derive(Debug)]
pub(crate) struct Channel {
    pub kind: Kind,
    pub symbol: usize,
    /// The `subscribed` reply has been sent.
    pub confirmed: bool,
    /// Opened before a maintenance that has ended: mute.
    pub stale: bool,
    pub last_data_ms: i64,
    /// The rest of the `subscribed` reply, after its chanId.
    pub reply: String,
}

/// What holds for every frame of a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub at_ms: i64,
    pub extra: ExtraIn,
}

#[derive(Debug)]
pub(crate) struct Conn {
    pub flags: u64,
    pub seq: u64,
    pub channels: BTreeMap<i64, Channel>,
    pub frames_sent: u64,
    pub opened_ms: i64,
    /// When the last of its silences ends.
    pub silent_until_ms: i64,
    pub chan_base: i64,
    pub chans_opened: i64,
    pub shared: Arc<LineShared>,
    queue: mpsc::UnboundedSender<Vec<Out>>,
    batch: Vec<Out>,
    batch_bytes: usize,
    unread_bytes_max: usize,
}

impl Conn {
    pub fn new(opened_ms: i64, chan_base: i64, unread_bytes_max: usize) -> (Self, Line) {
        let (queue, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(LineShared::default());
        let conn = Self {
            flags: 0,
            seq: 0,
            channels: BTreeMap::new(),
            frames_sent: 0,
            opened_ms,
            silent_until_ms: i64::MIN,
            chan_base,
            chans_opened: 0,
            shared: Arc::clone(&shared),
            queue,
            batch: Vec::new(),
            batch_bytes: 0,
            unread_bytes_max,
        };
        (conn, Line { queue: receiver, shared })
    }

    pub fn silent(&self) -> bool {
        self.shared.silent.load(Ordering::Relaxed)
    }

    /// Queues an event object.
    pub fn event(&mut self, text: String) {
        if !self.silent() {
            self.push(Message::text(text));
        }
    }

    /// Sends `[chan,PAYLOAD,..]` or `[chan,"tag",PAYLOAD,..]` as `fate` has it. True if the client gets it.
    pub fn array(&mut self, chan: i64, tag: &str, payload: &str, moment: Moment, fate: Fate) -> bool {
        if fate == Fate::Omit {
            return false;
        }
        self.seq += u64::from(self.flags & SEQ_ALL != 0);
        if fate == Fate::Lose || self.silent() {
            return false;
        }
        if let Fate::Garbage(kind) = fate {
            let message = self.garbage(kind, chan, payload, moment);
            self.push(message);
            return false;
        }
        let text = self.render(chan, tag, payload, moment);
        if let Fate::Twice { same_seq } = fate {
            self.push(Message::text(text.clone()));
            if same_seq {
                self.push(Message::text(text));
            } else {
                self.seq += u64::from(self.flags & SEQ_ALL != 0);
                let again = self.render(chan, tag, payload, moment);
                self.push(Message::text(again));
            }
        } else {
            self.push(Message::text(text));
        }
        true
    }

    /// A garbage frame that carries the present sequence number where it can carry one.
    pub fn garbage(&self, kind: garbage::Kind, chan: i64, row: &str, moment: Moment) -> Message {
        garbage::message(kind, row, |chan_shift, payload| {
            self.render(chan + chan_shift, "te", payload, moment)
        })
    }

    /// Queues a garbage frame of its own; kinds that a parser can read use up a sequence number.
    pub fn insert_garbage(&mut self, kind: garbage::Kind, chan: i64, row: &str, moment: Moment) {
        if garbage::has_sequence(kind) {
            self.seq += u64::from(self.flags & SEQ_ALL != 0);
        }
        if !self.silent() {
            let message = self.garbage(kind, chan, row, moment);
            self.push(message);
        }
    }

    fn render(&self, chan: i64, tag: &str, payload: &str, moment: Moment) -> String {
        let mut number = itoa::Buffer::new();
        let mut out = String::with_capacity(payload.len() + 56);
        out.push('[');
        out.push_str(number.format(chan));
        if !tag.is_empty() {
            out.push_str(",\"");
            out.push_str(tag);
            out.push('"');
        }
        if !payload.is_empty() {
            out.push(',');
            out.push_str(payload);
        }
        if moment.extra == ExtraIn::BeforeSequence {
            out.push_str(",{\"new\":true}");
        }
        if self.flags & SEQ_ALL != 0 {
            out.push(',');
            out.push_str(number.format(self.seq));
        }
        if self.flags & TIMESTAMP != 0 {
            out.push(',');
            out.push_str(number.format(moment.at_ms));
        }
        if moment.extra == ExtraIn::AtEnd {
            out.push_str(",\"new\"");
        }
        out.push(']');
        out
    }

    pub fn push(&mut self, message: Message) {
        self.frames_sent += 1;
        // 64: what a queued frame costs beside its text.
        self.batch_bytes += message.len() + 64;
        self.batch.push(Out::Frame(message));
        if self.batch_bytes > BATCH_BYTES {
            self.flush();
        }
    }

    /// Ends the connection: after what is queued, but a reset at once.
    pub fn end(&mut self, how: CutHow) {
        if how == CutHow::Reset {
            self.shared.kill.cancel();
        }
        self.batch.push(Out::End(how));
        self.flush();
    }

    pub fn wake(&mut self) {
        self.batch.push(Out::Wake);
        self.flush();
    }

    /// Hands the batch to the socket task; a reader that is too far behind is cut.
    pub fn flush(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let unread =
            self.shared.unread_bytes.fetch_add(self.batch_bytes, Ordering::Relaxed) + self.batch_bytes;
        self.batch_bytes = 0;
        let _ = self.queue.send(std::mem::take(&mut self.batch));
        if unread > self.unread_bytes_max {
            self.shared.kill.cancel();
        }
    }
}
