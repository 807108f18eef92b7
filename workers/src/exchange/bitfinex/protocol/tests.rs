//! One connection, frame by frame.

use super::*;
use crate::exchange::InvalidReason;

const HELLO: &str = r#"{"event":"info","version":2,"serverId":"x","platform":{"status":1}}"#;
const CONF: &str = r#"{"event":"conf","status":"OK","flags":98304}"#;
const NOW_MS: i64 = 1_564_617_600_000;

struct Connection {
    protocol: Protocol,
    now: Instant,
    sequence: u64,
}

impl Connection {
    /// Open and subscribed: symbol 0 on channel 10, symbol 1 on channel 11, ...
    fn open(symbols: &[&str]) -> Self {
        let mut connection = Self::new(symbols);
        connection.text(HELLO);
        let sent = connection.text(CONF).send;
        assert_eq!(sent.len(), symbols.len());
        for (i, symbol) in symbols.iter().enumerate() {
            let frame = format!(
                r#"{{"event":"subscribed","channel":"trades","chanId":{},"symbol":"{symbol}"}}"#,
                10 + i
            );
            connection.text(&frame);
        }
        assert!(connection.protocol.is_settled());
        connection
    }

    fn new(symbols: &[&str]) -> Self {
        let now = Instant::now();
        let symbols: Vec<_> = symbols.iter().map(|s| Symbol::new(s).unwrap()).enumerate().collect();
        Self { protocol: Protocol::new(3, &symbols, now), now, sequence: 0 }
    }

    fn text(&mut self, text: &str) -> Output {
        let mut out = Output::default();
        self.protocol.on_text(text, 7, self.now, &mut out);
        out
    }

    /// `[BODY,SEQ,TIME]` with the next number.
    fn array(&mut self, body: &str) -> Output {
        self.sequence += 1;
        let text = format!("[{body},{},{}]", self.sequence, NOW_MS + self.sequence as i64);
        self.text(&text)
    }

    fn pass(&mut self, time: Duration) -> Output {
        self.now += time;
        let mut out = Output::default();
        self.protocol.on_tick(self.now, &mut out);
        out
    }
}

fn interrupted(out: &Output) -> Vec<(SymbolIndex, Interruption)> {
    let why = |event: &FeedEvent| match event {
        FeedEvent::Interrupted { symbol, why } => Some((*symbol, *why)),
        _ => None,
    };
    out.events.iter().filter_map(why).collect()
}

fn reasons(out: &Output) -> Vec<InvalidReason> {
    let reason = |event: &FeedEvent| match event {
        FeedEvent::Invalid(invalid) => Some(invalid.reason),
        _ => None,
    };
    out.events.iter().filter_map(reason).collect()
}

#[test]
fn flags_come_before_subscriptions() {
    let mut connection = Connection::new(&["tBTCUSD", "tETHUSD"]);
    assert_eq!(connection.text(HELLO).send, [r#"{"event":"conf","flags":98304}"#]);
    let subscribe = |s: &str| format!(r#"{{"event":"subscribe","channel":"trades","symbol":"{s}"}}"#);
    assert_eq!(connection.text(CONF).send, [subscribe("tBTCUSD"), subscribe("tETHUSD")]);
    assert!(!connection.protocol.is_settled());
    let late = connection.pass(HANDSHAKE + Duration::from_secs(1));
    assert_eq!(late.end, Some(End::NoAnswer("subscribe tETHUSD".into())));
}

#[test]
fn refuses_another_version_and_missing_flags() {
    let end = Connection::new(&["tBTCUSD"]).text(r#"{"event":"info","version":3}"#).end;
    assert!(end.unwrap().to_string().contains("API version 3"));
    let mut connection = Connection::new(&["tBTCUSD"]);
    connection.text(HELLO);
    let end = connection.text(r#"{"event":"conf","status":"OK","flags":65536}"#).end;
    assert!(end.unwrap().to_string().contains("65536"));
}

#[test]
fn trades_snapshots_and_heartbeats_carry_the_symbol() {
    let mut connection = Connection::open(&["tBTCUSD", "tETHUSD"]);
    let out = connection.array(&format!("11,[[2,{NOW_MS},1,5],[1,{NOW_MS},-1,4]]"));
    let [FeedEvent::Snapshot { symbol: 1, trades, .. }] = &out.events[..] else { panic!("{out:?}") };
    assert_eq!(trades.iter().map(|t| t.id).collect::<Vec<_>>(), [1, 2], "oldest first");
    let out = connection.array(&format!(r#"10,"te",[3,{NOW_MS},-0.5,101.5]"#));
    let trade = Trade { id: 3, time_ms: NOW_MS, price: 101.5, amount: -0.5, received_us: 7 };
    assert_eq!(
        out.events,
        [FeedEvent::Trade { symbol: 0, stage: Stage::Executed, trade, server_ms: NOW_MS + 2 }]
    );
    let out = connection.array(r#"10,"hb""#);
    assert_eq!(out.events, [FeedEvent::Heartbeat { symbol: 0, server_ms: NOW_MS + 3 }]);
}

#[test]
fn a_hole_interrupts_every_symbol() {
    let mut connection = Connection::open(&["tBTCUSD", "tETHUSD"]);
    connection.array(r#"10,"hb""#);
    connection.sequence += 2;
    // Not even a frame of ours shows it.
    let out = connection.array(r#"99,"hb""#);
    let hole = Interruption::SequenceHole;
    assert_eq!(interrupted(&out), [(0, hole), (1, hole)]);
    assert_eq!((out.holes, out.frames_missing), (1, 2));
    assert_eq!(out.send, [10, 11].map(|n| format!(r#"{{"event":"unsubscribe","chanId":{n}}}"#)));
    assert_eq!(out.end, None, "the connection stays");
    // Trades of the old subscription are nobody's; the new one starts with a snapshot.
    assert_eq!(connection.array(&format!(r#"10,"te",[3,{NOW_MS},1,1]"#)).events, []);
    let sent = connection.text(r#"{"event":"unsubscribed","status":"OK","chanId":10}"#).send;
    assert_eq!(sent, [r#"{"event":"subscribe","channel":"trades","symbol":"tBTCUSD"}"#]);
    connection.text(r#"{"event":"subscribed","channel":"trades","chanId":20,"symbol":"tBTCUSD"}"#);
    let out = connection.array("20,[]");
    assert!(matches!(out.events[..], [FeedEvent::Snapshot { symbol: 0, .. }]), "{out:?}");
}

#[test]
fn a_repeated_frame_is_no_hole_and_no_trade() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    let body = format!(r#"10,"te",[3,{NOW_MS},1,1]"#);
    assert_eq!(connection.array(&body).events.len(), 1);
    connection.sequence -= 1;
    let again = connection.array(&body);
    assert_eq!((again.events.len(), again.holes), (0, 0));
}

#[test]
fn a_garbled_frame_shows_as_a_hole() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    let out = connection.text(r#"[10,"te",[3,15646"#);
    assert_eq!(reasons(&out), [InvalidReason::Frame]);
    connection.sequence += 1;
    assert_eq!(interrupted(&connection.array(r#"10,"hb""#)).len(), 1);
}

#[test]
fn endless_holes_end_the_connection() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    let mut ends = Vec::new();
    for _ in 0..=HOLES_PER_MINUTE_MAX {
        connection.sequence += 1;
        ends.push(connection.array(r#"10,"hb""#).end);
    }
    assert!(ends.pop().unwrap().is_some());
    assert!(ends.iter().all(Option::is_none));
}

#[test]
fn frames_of_closed_channels_are_nobodys() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    let out = connection.array(&format!(r#"77,"te",[3,{NOW_MS},1,1]"#));
    assert_eq!(reasons(&out), [InvalidReason::UnknownChannel]);
    assert!(connection.array(r#"77,"hb""#).events.is_empty(), "heartbeats may come before the reply");
    let mut out = Output::default();
    connection.protocol.on_gone(Interruption::Disconnected, &mut out);
    assert_eq!(interrupted(&out), [(0, Interruption::Disconnected)]);
    assert_eq!(
        reasons(&connection.array(&format!(r#"10,"te",[3,{NOW_MS},1,1]"#))),
        [InvalidReason::UnknownChannel]
    );
}

#[test]
fn a_rejected_symbol_leaves_the_others_alone() {
    let mut connection = Connection::new(&["tBTCUSD", "tXXXYYY"]);
    connection.text(HELLO);
    connection.text(CONF);
    let out = connection.text(r#"{"event":"error","code":10001,"msg":"symbol: invalid","symbol":"tXXXYYY"}"#);
    assert_eq!(out.events, [FeedEvent::Rejected { symbol: 1, code: 10_001 }]);
    connection.text(r#"{"event":"subscribed","channel":"trades","chanId":10,"symbol":"tBTCUSD"}"#);
    assert!(connection.protocol.is_settled());
    let retried = connection.pass(REJECTED_RETRY + Duration::from_secs(1)).send;
    assert_eq!(retried, [r#"{"event":"subscribe","channel":"trades","symbol":"tXXXYYY"}"#]);
}

#[test]
fn a_symbol_without_room_goes_and_the_others_keep_their_channels() {
    let mut connection = Connection::new(&["tAAAUSD", "tBTCUSD", "tETHUSD"]);
    connection.text(HELLO);
    connection.text(CONF);
    for (channel, symbol) in [(21, "tBTCUSD"), (20, "tETHUSD")] {
        connection.text(&format!(
            r#"{{"event":"subscribed","channel":"trades","chanId":{channel},"symbol":"{symbol}"}}"#
        ));
    }
    let out = connection.text(r#"{"event":"error","code":10305,"symbol":"tAAAUSD"}"#);
    assert_eq!(out.events, [FeedEvent::NoRoom { symbol: 0, connection: 3 }]);
    for (channel, symbol) in [(21, 1), (20, 2)] {
        let out = connection.array(&format!(r#"{channel},"hb""#));
        assert!(matches!(out.events[..], [FeedEvent::Heartbeat { symbol: s, .. }] if s == symbol), "{out:?}");
    }
}

#[test]
fn restart_and_maintenance_follow_the_codes() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    assert_eq!(connection.text(r#"{"event":"info","code":20051,"msg":"x"}"#).end, Some(End::Restart));
    let mut connection = Connection::open(&["tBTCUSD"]);
    let out = connection.text(r#"{"event":"info","code":20060}"#);
    assert_eq!(interrupted(&out), [(0, Interruption::Maintenance)]);
    assert_eq!((out.end, out.send.len()), (None, 0), "the connection stays");
    let out = connection.text(r#"{"event":"info","code":20061}"#);
    assert_eq!(out.send, [r#"{"event":"unsubscribe","chanId":10}"#]);
    connection.text(r#"{"event":"info","code":20060}"#);
    assert!(connection.pass(MAINTENANCE + Duration::from_secs(1)).end.is_some());
}

#[test]
fn a_platform_in_maintenance_is_waited_for() {
    let mut connection = Connection::new(&["tBTCUSD"]);
    connection.text(r#"{"event":"info","version":2,"platform":{"status":0}}"#);
    assert_eq!(connection.text(CONF).send.len(), 0);
    assert_eq!(connection.text(r#"{"event":"info","code":20061}"#).send.len(), 1);
}

#[test]
fn what_cannot_be_true_is_refused_with_its_reason() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    for (row, reason) in [
        (format!("[1,{NOW_MS},1,0]"), InvalidReason::Value),
        (format!("[1,{NOW_MS},0,1]"), InvalidReason::Value),
        (format!("[1,{},1,1]", NOW_MS + 62_000), InvalidReason::Future),
        (format!("[1,{NOW_MS},1,1e999]"), InvalidReason::Row),
        ("[\"a\",null,{},[1]]".to_owned(), InvalidReason::Row),
    ] {
        let out = connection.array(&format!(r#"10,"te",{row}"#));
        assert_eq!((reasons(&out), out.holes), (vec![reason], 0), "{row}");
    }
}

#[test]
fn a_jump_of_the_exchanges_time_ends_the_connection() {
    let mut connection = Connection::open(&["tBTCUSD"]);
    connection.array(r#"10,"hb""#);
    let out = connection.text(&format!(r#"[10,"hb",2,{}]"#, NOW_MS + 3_600_000));
    assert_eq!(out.events, []);
    assert!(out.end.is_some());
}
