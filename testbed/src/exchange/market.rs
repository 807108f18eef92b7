//! Where trades come from: a seeded function of time, a recording, or only a caller's hand.
//! A market is a pure function from a time range to rows, so any depth of history exists and nothing
//! has to be remembered. It knows no clock and no client; whether a row happened is `Symbol`'s.

mod replay;
mod symbol;
mod synthetic;

pub(crate) use replay::{Replay, load_binance};
pub(crate) use symbol::{Range, Symbol};
pub(crate) use synthetic::{IdSpace, Synthetic, mix};

use super::row::Row;

/// One symbol's source of trades.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    Synthetic(Synthetic),
    Replay(Replay),
    /// Only published trades.
    Quiet,
}

impl Source {
    /// Appends the rows with `from <= ms < end` in (ms, id) order and returns `end`, the start of the
    /// next chunk; `None` when nothing comes after.
    pub fn chunk(&self, from_ms: i64, out: &mut Vec<Row>) -> Option<i64> {
        match self {
            Self::Synthetic(s) => Some(s.chunk(from_ms, out)),
            Self::Replay(r) => r.chunk(from_ms, out),
            Self::Quiet => None,
        }
    }

    /// Appends the rows with `start <= ms < to` in (ms, id) order and returns `start`, the end of the
    /// chunk before; `None` when nothing came before.
    pub fn chunk_back(&self, to_ms: i64, out: &mut Vec<Row>) -> Option<i64> {
        match self {
            Self::Synthetic(s) => s.chunk_back(to_ms, out),
            Self::Replay(r) => r.chunk_back(to_ms, out),
            Self::Quiet => None,
        }
    }

    /// The id that a trade at `ms` would have at least.
    pub fn id_floor(&self, ms: i64) -> Option<i64> {
        match self {
            Self::Synthetic(s) => Some(s.id_floor(ms)),
            Self::Replay(r) => r.id_floor(ms),
            Self::Quiet => None,
        }
    }
}
