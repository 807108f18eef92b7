//! Text frames of the Bitfinex WebSocket in, [`Frame`]s out. Pure: no clock, no state, no I/O.
//!
//! `te`, `tu` and `hb` frames in their usual shape take a hand-written path; everything else goes through
//! `serde_json`. Texts meant for people (`msg`) are never read. Array lengths are never assumed: the exchange
//! appends fields without notice. Source: `exchange.md`, section 2.
//!
//! - Both paths agree on every frame. (`the_fast_path_agrees_with_serde_json`)
//! - Elements appended to any array change nothing. (`one_more_element_in_any_array_changes_nothing`)
//! - No text makes it panic; a bad row does not hide the frame's sequence number. (`hostile_frames_are_refused`)

use std::borrow::Cow;

use candles_core::trade::{TIME_MS_MAX, TIME_MS_MIN};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::scan::Scanner;
use crate::exchange::Stage;

/// One row `[ID, MTS, AMOUNT, PRICE]` as sent; nothing but its types is checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// Id of the trade.
    pub id: i64,
    /// Exchange time of the trade in ms since 1970.
    pub time_ms: i64,
    /// Base currency; negative when the taker sold.
    pub amount: f64,
    /// Quote currency.
    pub price: f64,
}

/// What every array frame carries beside its payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Sequence number on the connection, with conf flag SEQ_ALL.
    pub sequence: Option<u64>,
    /// The exchange's own time in ms when it sent the frame, with conf flag TIMESTAMP.
    pub server_ms: Option<i64>,
}

/// A frame, understood as far as the frame itself tells. Channels are numbers that only the connection can name.
#[derive(Debug, PartialEq)]
pub enum Frame<'a> {
    /// `[chan,"te",row,..]` or `[chan,"tu",row,..]`.
    Trade {
        /// Channel id.
        channel: i64,
        /// Executed or stored.
        stage: Stage,
        /// The row, or why it is none.
        row: Result<Row, BadRow>,
        /// Sequence and time.
        stamp: Stamp,
    },
    /// `[chan,"hb",..]`.
    Heartbeat {
        /// Channel id.
        channel: i64,
        /// Sequence and time.
        stamp: Stamp,
    },
    /// `[chan,[..],..]`: a snapshot when the channel is one of trades; see [`rows`].
    Data {
        /// Channel id.
        channel: i64,
        /// JSON of the array.
        payload: &'a str,
        /// Sequence and time.
        stamp: Stamp,
    },
    /// `[chan,"fte",..]` and other tags that say nothing about trades.
    Other {
        /// Channel id.
        channel: i64,
        /// Sequence and time.
        stamp: Stamp,
    },
    /// An object.
    Event(Box<Event>),
}

/// An event object, with the fields that anything here looks at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub name: EventName,
    /// API version, in `info`.
    pub version: Option<i64>,
    /// Code of an `info` or `error`.
    pub code: Option<i64>,
    /// 1 operative, 0 maintenance, in the first `info`.
    pub platform_status: Option<i64>,
    /// Flags in force, in `conf`.
    pub flags: Option<i64>,
    /// Channel id, in `subscribed` and `unsubscribed`.
    pub channel: Option<i64>,
    /// Kind of channel, in `subscribed`: `trades`.
    pub kind: Option<String>,
    /// The symbol that the client named, in `subscribed` and in errors about it.
    pub symbol: Option<String>,
    /// `status` is `OK`, in `conf` and `unsubscribed`.
    pub ok: bool,
}

/// Names of event objects.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum EventName {
    /// `info`: the first frame, restart and maintenance.
    Info,
    /// `conf`: answer to the flags.
    Conf,
    /// `subscribed`.
    Subscribed,
    /// `unsubscribed`.
    Unsubscribed,
    /// `error`.
    Error,
    /// `pong`.
    Pong,
    /// Anything else: ignored.
    #[default]
    Other,
}

/// Why a row is no trade's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("row is not [ID, MTS, AMOUNT, PRICE] with integers and finite numbers")]
pub struct BadRow;

/// Why a text is no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Not JSON, or neither array nor object.
    #[error("frame is no JSON array or object")]
    Json,
    /// An array without channel and payload, or an object without `event`.
    #[error("frame has no channel and payload, or no event")]
    Shape,
}

/// Understands one text frame. The caller has limited its length.
#[inline]
pub fn parse(text: &str) -> Result<Frame<'_>, FrameError> {
    match parse_usual(text.as_bytes()) {
        Some(frame) => Ok(frame),
        None => parse_any(text),
    }
}

/// The shapes that come thousands of times a second, to the byte; `None` for everything else.
#[inline]
fn parse_usual(text: &[u8]) -> Option<Frame<'static>> {
    let mut scanner = Scanner::new(text);
    scanner.skip(b"[")?;
    let channel = scanner.integer()?;
    scanner.skip(b",\"")?;
    if scanner.skip(b"hb\"").is_some() {
        return Some(Frame::Heartbeat { channel, stamp: usual_stamp(&mut scanner)? });
    }
    scanner.skip(b"t")?;
    let stage = if scanner.peek()? == b'e' { Stage::Executed } else { Stage::Stored };
    scanner.skip(if stage == Stage::Executed { b"e\",[" } else { b"u\",[" })?;
    let id = scanner.long_integer()?;
    scanner.skip(b",")?;
    let time_ms = scanner.long_integer()?;
    scanner.skip(b",")?;
    let amount = scanner.double()?;
    scanner.skip(b",")?;
    let price = scanner.double()?;
    scanner.skip(b"]")?;
    let stamp = usual_stamp(&mut scanner)?;
    if !(amount.is_finite() && price.is_finite()) {
        return None;
    }
    Some(Frame::Trade { channel, stage, row: Ok(Row { id, time_ms, amount, price }), stamp })
}

/// `]`, `,SEQ]` or `,SEQ,TIMESTAMP]`, and the end.
#[inline]
fn usual_stamp(scanner: &mut Scanner<'_>) -> Option<Stamp> {
    let mut stamp = Stamp::default();
    if scanner.peek()? == b',' {
        scanner.skip(b",")?;
        stamp.sequence = Some(scanner.integer()? as u64);
        if is_time(stamp.sequence.map(|n| n as i64)) {
            return None;
        }
    }
    if scanner.peek()? == b',' {
        scanner.skip(b",")?;
        stamp.server_ms = Some(scanner.long_integer()?).filter(|&ms| is_time(Some(ms)));
        stamp.server_ms?;
    }
    scanner.skip(b"]")?;
    scanner.at_end().then_some(stamp)
}

fn is_time(number: Option<i64>) -> bool {
    number.is_some_and(|n| (TIME_MS_MIN..TIME_MS_MAX).contains(&n))
}

/// Any frame, through `serde_json`.
fn parse_any(text: &str) -> Result<Frame<'_>, FrameError> {
    if text.trim_start().starts_with('{') {
        return parse_event(text).map(|event| Frame::Event(Box::new(event)));
    }
    let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| FrameError::Json)?;
    let [channel, payload, rest @ ..] = &elements[..] else { return Err(FrameError::Shape) };
    let channel = integer(channel).ok_or(FrameError::Shape)?;
    if payload.get().starts_with('[') {
        return Ok(Frame::Data { channel, payload: payload.get(), stamp: stamp(rest) });
    }
    let tag: Cow<'_, str> = serde_json::from_str::<Tag<'_>>(payload.get()).map_err(|_| FrameError::Shape)?.0;
    let stage = match &*tag {
        "hb" => return Ok(Frame::Heartbeat { channel, stamp: stamp(rest) }),
        "te" => Stage::Executed,
        "tu" => Stage::Stored,
        _ => return Ok(Frame::Other { channel, stamp: stamp(rest) }),
    };
    let [row, rest @ ..] = rest else { return Err(FrameError::Shape) };
    Ok(Frame::Trade { channel, stage, row: parse_row(row.get()), stamp: stamp(rest) })
}

#[derive(Deserialize)]
struct Tag<'a>(#[serde(borrow)] Cow<'a, str>);

/// The sequence number stands directly before the exchange's time; without that flag it is the first integer
/// after the payload. So elements may be appended before both and after both.
fn stamp(rest: &[&RawValue]) -> Stamp {
    let numbers = |i: usize| rest.get(i).and_then(|raw| integer(raw));
    let sequence = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    match (0..rest.len()).find(|&i| is_time(numbers(i))) {
        Some(0) => Stamp { sequence: None, server_ms: numbers(0) },
        Some(i) => Stamp { sequence: sequence(numbers(i - 1)), server_ms: numbers(i) },
        None => Stamp { sequence: sequence((0..rest.len()).find_map(numbers)), server_ms: None },
    }
}

/// A JSON integer; also one that was written with a fraction of zeros or an exponent.
fn integer(raw: &RawValue) -> Option<i64> {
    let text = raw.get();
    if let Ok(n) = text.parse() {
        return Some(n);
    }
    let x: f64 = serde_json::from_str(text).ok()?;
    (x.fract() == 0.0 && x.abs() < 9e15).then_some(x as i64)
}

fn parse_row(json: &str) -> Result<Row, BadRow> {
    let elements: Vec<&RawValue> = serde_json::from_str(json).map_err(|_| BadRow)?;
    let [id, time_ms, amount, price, ..] = &elements[..] else { return Err(BadRow) };
    let double = |raw: &RawValue| serde_json::from_str::<f64>(raw.get()).map_err(|_| BadRow);
    Ok(Row {
        id: integer(id).ok_or(BadRow)?,
        time_ms: integer(time_ms).ok_or(BadRow)?,
        amount: double(amount)?,
        price: double(price)?,
    })
}

/// The rows of a snapshot or of a page of history, in the order of the text. Elements that are no arrays are
/// passed over: they may have been appended.
pub fn rows(payload: &str) -> Result<Vec<Result<Row, BadRow>>, FrameError> {
    let elements: Vec<&RawValue> = serde_json::from_str(payload).map_err(|_| FrameError::Json)?;
    let arrays = elements.iter().map(|raw| raw.get()).filter(|json| json.starts_with('['));
    Ok(arrays.map(|json| usual_row(json.as_bytes()).map_or_else(|| parse_row(json), Ok)).collect())
}

/// `[ID,MTS,AMOUNT,PRICE]` to the byte.
fn usual_row(json: &[u8]) -> Option<Row> {
    let mut scanner = Scanner::new(json);
    scanner.skip(b"[")?;
    let id = scanner.long_integer()?;
    scanner.skip(b",")?;
    let time_ms = scanner.long_integer()?;
    scanner.skip(b",")?;
    let amount = scanner.double()?;
    scanner.skip(b",")?;
    let price = scanner.double()?;
    scanner.skip(b"]")?;
    (scanner.at_end() && amount.is_finite() && price.is_finite()).then_some(Row {
        id,
        time_ms,
        amount,
        price,
    })
}

/// The JSON of an event; every field may be missing or of another type than ever before.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawEvent<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    version: Option<&'a RawValue>,
    #[serde(borrow)]
    code: Option<&'a RawValue>,
    #[serde(borrow)]
    platform: Option<&'a RawValue>,
    #[serde(borrow)]
    flags: Option<&'a RawValue>,
    #[serde(borrow)]
    chan_id: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<&'a RawValue>,
    #[serde(borrow)]
    symbol: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Platform<'a> {
    #[serde(borrow)]
    status: &'a RawValue,
}

fn parse_event(text: &str) -> Result<Event, FrameError> {
    let raw: RawEvent<'_> = serde_json::from_str(text).map_err(|_| FrameError::Json)?;
    let string = |raw: Option<&RawValue>| raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let number = |raw: Option<&RawValue>| raw.and_then(integer);
    let name = match string(raw.event).ok_or(FrameError::Shape)?.as_str() {
        "info" => EventName::Info,
        "conf" => EventName::Conf,
        "subscribed" => EventName::Subscribed,
        "unsubscribed" => EventName::Unsubscribed,
        "error" => EventName::Error,
        "pong" => EventName::Pong,
        _ => EventName::Other,
    };
    let platform = raw.platform.and_then(|raw| serde_json::from_str::<Platform<'_>>(raw.get()).ok());
    Ok(Event {
        name,
        version: number(raw.version),
        code: number(raw.code),
        platform_status: number(platform.map(|p| p.status)),
        flags: number(raw.flags),
        channel: number(raw.chan_id),
        kind: string(raw.channel),
        symbol: string(raw.symbol),
        ok: string(raw.status).as_deref() == Some("OK"),
    })
}

#[cfg(test)]
mod tests;
