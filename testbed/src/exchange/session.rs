//! What a client says, and what the exchange answers: conf, ping, subscribe, unsubscribe, and the
//! opening and closing of connections. Never trusts a client: anything unreadable is error 10000.

use serde::Deserialize;

use super::conn::{Channel, Conn, Kind, Line, SEQ_ALL, TIMESTAMP};
use super::core::{Core, Event};
use super::faults::{CutHow, Fate};
use super::market::{Range, mix};
use super::row::rows_text;

/// A client's message longer than this is answered with error 10000.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    event: Option<String>,
    channel: Option<String>,
    symbol: Option<String>,
    pair: Option<String>,
    sub_id: Option<serde_json::Value>,
    cid: Option<serde_json::Value>,
    flags: Option<serde_json::Value>,
    chan_id: Option<serde_json::Value>,
}

/// What happens to a new TCP connection.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Accept,
    Http(u16),
    End(CutHow),
    /// Accepted by TCP and never answered.
    Mute,
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl Core {
    /// Decides about a new TCP connection.
    pub fn admit_connection(&mut self) -> Admission {
        self.catch_up();
        let now = self.limits_ms();
        let in_time = self.connects.take(now);
        if let Some(how) = self.refusal() {
            return match how {
                CutHow::Close => Admission::Http(503),
                how => Admission::End(how),
            };
        }
        if self.faults.silent_until_ms.is_some_and(|until| self.at_ms < until) {
            return Admission::Mute;
        }
        if !in_time {
            return Admission::Http(429);
        }
        if self.conns.len() >= self.config.connections_max { Admission::Http(503) } else { Admission::Accept }
    }

    /// Opens a connection after its upgrade.
    pub fn open(&mut self) -> (u64, Line) {
        self.catch_up();
        self.conns_opened += 1;
        let id = self.conns_opened;
        // Close together, so that another connection has the same chanIds for other symbols.
        let base = 200_000 + (mix(self.config.seed ^ id) % 40) as i64;
        let (mut conn, line) = Conn::new(self.at_ms, base, self.config.unread_bytes_max);
        if let Some((bytes, ms)) = self.faults.trickle {
            conn.set_trickle(bytes, ms);
        }
        let up = u8::from(self.faults.maintenance.is_none());
        let h = mix(self.config.seed ^ 0x5e7e);
        conn.event(format!(
            r#"{{"event":"info","version":2,"serverId":"{:08x}-{:04x}-4690-a573-{:012x}","platform":{{"status":{up}}}}}"#,
            h >> 32,
            h >> 16 & 0xffff,
            mix(h) >> 16,
        ));
        conn.flush();
        self.conns.insert(id, conn);
        (id, line)
    }

    /// New connections are answered again.
    pub fn silence_over(&mut self) -> bool {
        self.catch_up();
        self.faults.silent_until_ms.is_none_or(|until| self.at_ms >= until)
    }

    /// Forgets a connection that has ended.
    pub fn close(&mut self, id: u64) {
        self.conns.remove(&id);
        self.subs.iter_mut().for_each(|s| s.retain(|&(conn, _)| conn != id));
    }

    /// Answers one text message.
    pub fn message(&mut self, id: u64, text: &str) {
        self.catch_up();
        let request =
            Some(text).filter(|t| t.len() <= MESSAGE_BYTES_MAX).and_then(|t| serde_json::from_str(t).ok());
        match request {
            Some(request) => self.answer(id, &request),
            None => self.error(id, 10_000, "unknown event", ""),
        }
        self.flush();
    }

    fn answer(&mut self, id: u64, request: &Request) {
        match request.event.as_deref() {
            Some("ping") => {
                let cid = request.cid.as_ref().map(|c| format!(",\"cid\":{c}")).unwrap_or_default();
                let pong = format!(r#"{{"event":"pong","ts":{}{cid}}}"#, self.at_ms);
                self.send(id, pong);
            }
            Some("conf") => self.configure(id, request),
            Some("subscribe") => self.subscribe(id, request),
            Some("unsubscribe") => self.unsubscribe(id, request),
            _ => self.error(id, 10_000, "unknown event", ""),
        }
    }

    fn send(&mut self, id: u64, text: String) {
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.event(text);
        }
    }

    fn error(&mut self, id: u64, code: u32, text: &str, details: &str) {
        self.send(id, format!(r#"{{"event":"error","msg":"{text}","code":{code}{details}}}"#));
    }

    fn configure(&mut self, id: u64, request: &Request) {
        let Some(flags) = request.flags.as_ref().and_then(serde_json::Value::as_u64) else {
            self.send(id, r#"{"event":"conf","status":"FAILED"}"#.into());
            return;
        };
        if let Some(conn) = self.conns.get_mut(&id) {
            conn.flags = flags & (SEQ_ALL | TIMESTAMP);
        }
        self.send(id, format!(r#"{{"event":"conf","status":"OK","flags":{flags}}}"#));
    }

    fn subscribe(&mut self, id: u64, request: &Request) {
        let asked = request.symbol.clone().or_else(|| request.pair.as_ref().map(|p| format!("t{p}")));
        let name = asked.unwrap_or_default();
        let channel = request.channel.clone().unwrap_or_default();
        let sub_id = request.sub_id.as_ref().map(|s| format!(",\"subId\":{s}")).unwrap_or_default();
        let details = format!(
            ",\"channel\":{},\"symbol\":{},\"pair\":{}{sub_id}",
            quoted(&channel),
            quoted(&name),
            quoted(name.get(1..).unwrap_or_default())
        );
        let kind = match channel.as_str() {
            "trades" => Kind::Trades,
            "ticker" => Kind::Ticker,
            "book" => Kind::Book,
            "" => return self.error(id, 10_300, "subscribe: no channel", &details),
            _ => return self.error(id, 10_302, "channel: unknown", &details),
        };
        if name.is_empty() {
            return self.error(id, 10_300, "subscribe: no symbol", &details);
        }
        let Some(symbol) = self.by_name.get(name.as_str()).copied().filter(|&s| self.symbols[s].listed)
        else {
            return self.error(id, self.config.unknown_symbol_code, "symbol: invalid", &details);
        };
        self.open_channel(id, kind, symbol, details);
    }

    fn open_channel(&mut self, id: u64, kind: Kind, symbol: usize, details: String) {
        let limit = self.config.limits.channels;
        let Some(conn) = self.conns.get_mut(&id) else { return };
        if conn.channels.values().any(|c| c.kind == kind && c.symbol == symbol) {
            return self.error(id, 10_301, "subscribe: dup", &details);
        }
        if limit > 0 && conn.channels.len() >= limit {
            return self.error(id, 10_305, "Reached limit of open channels", &details);
        }
        let chan = conn.chan_base + conn.chans_opened * 3;
        conn.chans_opened += 1;
        let channel = Channel {
            kind,
            symbol,
            confirmed: false,
            stale: false,
            last_data_ms: self.at_ms,
            reply: details,
        };
        conn.channels.insert(chan, channel);
        match self.config.subscribe_delay_ms {
            delay if delay > 0 => {
                self.plan(self.at_ms + delay, Event::Confirm { conn: id, chan });
            }
            _ => self.confirm(id, chan),
        }
    }

    /// Sends `subscribed` and the snapshot; from now on the channel has data.
    pub fn confirm(&mut self, id: u64, chan: i64) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(channel) = conn.channels.get_mut(&chan) else { return };
        channel.confirmed = true;
        let (kind, symbol) = (channel.kind, channel.symbol);
        let reply = std::mem::take(&mut channel.reply);
        conn.event(format!(r#"{{"event":"subscribed","chanId":{chan}{reply}}}"#));
        if kind == Kind::Trades {
            self.subs[symbol].push((id, chan));
        }
        let snapshot = self.snapshot(kind, symbol, self.at_ms);
        let moment = self.moment();
        if self.faults.maintenance.is_none()
            && let Some(conn) = self.conns.get_mut(&id)
        {
            conn.array(chan, "", &snapshot, moment, Fate::Send);
        }
        self.count_channel(kind);
    }

    /// The payload that opens a channel, as of `at_ms`.
    pub fn snapshot(&self, kind: Kind, symbol: usize, at_ms: i64) -> String {
        let limit = if kind == Kind::Trades { self.config.snapshot_rows } else { 1 };
        let range = Range {
            start_ms: i64::MIN,
            end_ms: at_ms,
            limit,
            newest_first: true,
            seen_until_ms: at_ms,
            holes: true,
        };
        let rows = self.symbols[symbol].history(&range);
        let last = rows.first().map_or_else(|| "1".into(), |r| r.price.text());
        match kind {
            Kind::Trades => rows_text(&rows, self.extra_row()),
            Kind::Ticker => format!("[{last},10.5,{last},12.25,0,0,{last},1234.5,{last},{last}]"),
            Kind::Book => format!("[[{last},2,3.5],[{last},1,-4.25]]"),
        }
    }

    fn unsubscribe(&mut self, id: u64, request: &Request) {
        let Some(chan) = request.chan_id.as_ref().and_then(serde_json::Value::as_i64) else {
            return self.error(id, 10_400, "unsubscribe: invalid chanId", "");
        };
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(channel) = conn.channels.remove(&chan) else {
            return self.error(id, 10_401, "unsubscribe: not subscribed", &format!(",\"chanId\":{chan}"));
        };
        self.subs[channel.symbol].retain(|&s| s != (id, chan));
        self.send(id, format!(r#"{{"event":"unsubscribed","status":"OK","chanId":{chan}}}"#));
    }
}
