//! Frames that no exchange should send, one per kind. Pure.

use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

pub(crate) use super::faults::GarbageKind as Kind;

/// Whether a reader finds a sequence number in it.
pub(crate) fn has_sequence(kind: Kind) -> bool {
    !matches!(kind, Kind::BadJson | Kind::Truncated | Kind::Binary | Kind::BadUtf8 | Kind::Deep)
}

/// Builds the frame from a real row's text; `render(chan_shift, row)` makes a `te` frame.
pub(crate) fn message(kind: Kind, row: &str, render: impl Fn(i64, &str) -> String) -> Message {
    match kind {
        Kind::BadJson => Message::text("{\"event\":\"info\", oops"),
        Kind::Truncated => {
            let whole = render(0, row);
            Message::text(whole.get(..whole.len() / 2).unwrap_or_default())
        }
        Kind::Binary => Message::binary(vec![0_u8, 159, 146, 150, 255]),
        Kind::BadUtf8 => {
            let mut bytes = render(0, row).into_bytes();
            bytes.extend([b'"', 0xff, 0xfe, b'"']);
            Message::Frame(Frame::message(bytes, OpCode::Data(Data::Text), true))
        }
        Kind::Huge => Message::text(render(0, &format!("{row},\"{}\"", "x".repeat(2 << 20)))),
        Kind::Deep => Message::text("[".repeat(100_000) + &"]".repeat(100_000)),
        Kind::Overflow => Message::text(render(0, &with(row, 3, "1e999"))),
        Kind::NegativePrice => Message::text(render(0, &with(row, 3, "-1.5"))),
        Kind::ZeroPrice => Message::text(render(0, &with(row, 3, "0"))),
        Kind::ZeroAmount => Message::text(render(0, &with(row, 2, "0"))),
        Kind::AbsurdTime => Message::text(render(0, &with(row, 1, "9000000000000000000"))),
        Kind::WrongTypes => Message::text(render(0, "[\"a\",null,{},[1]]")),
        Kind::UnknownChannel => Message::text(render(987_654, row)),
    }
}

/// The row with its `at`-th element replaced.
fn with(row: &str, at: usize, value: &str) -> String {
    let inner = row.trim_start_matches('[').trim_end_matches(']');
    let fields: Vec<&str> =
        inner.split(',').enumerate().map(|(i, old)| if i == at { value } else { old }).collect();
    format!("[{}]", fields.join(","))
}
