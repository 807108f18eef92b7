//! The recorded connection, hostile frames, and the fast path against the slow one.

use std::{collections::HashMap, path::PathBuf};

use proptest::prelude::*;

use super::*;

/// Received frames of the recording, in order.
fn recorded() -> Vec<String> {
    let shared = std::env::var_os("CANDLES_SHARED_DATA").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")),
        PathBuf::from,
    );
    let path = shared.join("bitfinex/ws_capture.txt");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|e| panic!("{}: {e}; CANDLES_SHARED_DATA names the folder", path.display()));
    let received = text.lines().filter(|line| !line.starts_with("wss://") && !line.is_empty());
    received.map(|line| line.split_once(": ").unwrap().1.to_owned()).collect()
}

#[derive(Debug, Default, PartialEq)]
struct Summary {
    sequences: Vec<u64>,
    heartbeats: usize,
    snapshots: Vec<(String, Vec<Row>)>,
}

fn summary(frames: &[String]) -> Summary {
    let mut summary = Summary::default();
    let mut trades = HashMap::new();
    for text in frames {
        let frame = parse(text).unwrap_or_else(|e| panic!("{e}: {text}"));
        let stamp = match frame {
            Frame::Event(event) => {
                assert_ne!(event.name, EventName::Other, "{text}");
                if event.kind.as_deref() == Some("trades") {
                    trades.insert(event.channel.unwrap(), event.symbol.unwrap());
                }
                continue;
            }
            Frame::Heartbeat { stamp, .. } => {
                summary.heartbeats += 1;
                stamp
            }
            Frame::Data { channel, payload, stamp } => {
                if let Some(symbol) = trades.get(&channel) {
                    let rows = rows(payload).unwrap().into_iter().map(Result::unwrap).collect();
                    summary.snapshots.push((symbol.clone(), rows));
                }
                stamp
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(stamp.server_ms, None, "the flag was not set");
        summary.sequences.push(stamp.sequence.unwrap());
    }
    summary
}

#[test]
fn understands_every_recorded_frame() {
    let summary = summary(&recorded());
    assert_eq!(summary.sequences, (1..=1670).collect::<Vec<u64>>());
    assert_eq!(summary.heartbeats, 42);
    assert_eq!(summary.snapshots.len(), 7);
    for (symbol, rows) in &summary.snapshots {
        assert_eq!(rows.len(), 30, "{symbol}");
        assert!(rows.windows(2).all(|pair| pair[0].id > pair[1].id), "{symbol}: newest first");
    }
}

/// All texts with one element appended to one of the arrays.
fn appended(text: &str, element: &str) -> Vec<String> {
    let mut in_string = false;
    let mut ends = Vec::new();
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'"' => in_string = !in_string,
            b']' if !in_string => ends.push(i),
            _ => {}
        }
    }
    ends.into_iter().map(|at| format!("{},{element}{}", &text[..at], &text[at..])).collect()
}

#[test]
fn one_more_element_in_any_array_changes_nothing() {
    let frames = recorded();
    let expected = summary(&frames);
    // Every array of every frame would be 10^5 texts per element: of each frame the last array (the frame
    // itself) and of the snapshots all of them.
    for element in ["null", "\"x\"", "7", "1.5", "{\"a\":1}"] {
        let outer: Vec<_> =
            frames
                .iter()
                .map(|text| {
                    if text.starts_with('[') { appended(text, element).pop().unwrap() } else { text.clone() }
                })
                .collect();
        assert_eq!(summary(&outer), expected, "{element}");
    }
    for text in frames.iter().filter(|text| text.starts_with("[2") && text.len() < 3000).take(200) {
        let Ok(Frame::Data { payload, stamp, .. }) = parse(text) else { continue };
        let Ok(before) = rows(payload) else { continue };
        for longer in appended(text, "\"new\"") {
            let Ok(Frame::Data { payload, stamp: after, .. }) = parse(&longer) else { panic!("{longer}") };
            assert_eq!(after, stamp, "{longer}");
            assert_eq!(rows(payload).unwrap(), before, "{longer}");
        }
    }
    let trade = r#"[89,"te",[382489563,1564617600709,0.00705845,10087.98969503],18,1564617600784]"#;
    for element in ["null", "\"x\"", "7", "[1]"] {
        for longer in appended(trade, element) {
            assert_eq!(parse(&longer), parse(trade), "{longer}");
        }
    }
}

#[test]
fn understands_trades_with_and_without_stamps() {
    let row = Row { id: 382_489_563, time_ms: 1_564_617_600_709, amount: -2e-8, price: 1500.0 };
    for (tail, sequence, server_ms) in [
        ("", None, None),
        (",18", Some(18), None),
        (",18,1564617600784", Some(18), Some(1_564_617_600_784)),
        (",\"new\",18,1564617600784", Some(18), Some(1_564_617_600_784)),
        (",18,1564617600784,\"new\"", Some(18), Some(1_564_617_600_784)),
        (",1564617600784", None, Some(1_564_617_600_784)),
    ] {
        let text = format!(r#"[89,"te",[382489563,1564617600709,-2e-8,1500]{tail}]"#);
        let stamp = Stamp { sequence, server_ms };
        let expected = Frame::Trade { channel: 89, stage: Stage::Executed, row: Ok(row), stamp };
        assert_eq!(parse(&text), Ok(expected), "{text}");
    }
    let stored = parse(r#"[ 89, "tu" , [1, 1564617600709, 0.5, 1.5, 9] , 3 ]"#).unwrap();
    assert!(matches!(stored, Frame::Trade { stage: Stage::Stored, row: Ok(_), .. }), "{stored:?}");
    let stamp = Stamp { sequence: Some(4), server_ms: None };
    assert_eq!(parse(r#"[5,"ftu",[1],4]"#), Ok(Frame::Other { channel: 5, stamp }));
}

#[test]
fn understands_event_objects_whatever_else_they_hold() {
    let Ok(Frame::Event(info)) =
        parse(r#"{"event":"info","version":2,"platform":{"status":0,"x":[]},"y":{}}"#)
    else {
        panic!("no event")
    };
    assert_eq!((info.name, info.version, info.platform_status), (EventName::Info, Some(2), Some(0)));
    let Ok(Frame::Event(error)) =
        parse(r#"{"event":"error","code":10001,"msg":7,"symbol":"tXXXYYY","pair":null}"#)
    else {
        panic!("no event")
    };
    assert_eq!((error.code, error.symbol.as_deref()), (Some(10_001), Some("tXXXYYY")));
    let Ok(Frame::Event(odd)) = parse(r#"{"event":"info","version":"two","code":[],"platform":1}"#) else {
        panic!("no event")
    };
    assert_eq!((odd.version, odd.code, odd.platform_status), (None, None, None));
}

#[test]
fn hostile_frames_are_refused() {
    for text in [
        "",
        " ",
        "[",
        "]",
        "[]",
        "[1]",
        "{}",
        "null",
        "1",
        "\"te\"",
        "{\"event\":7}",
        "{\"event\":\"info\", oops",
        "[89,\"te\",[382489563,15646176",
        "[\"a\",\"te\",[1,2,3,4]]",
        "[1,null]",
        "[1,2]",
        "[1e999,\"hb\"]",
        "[99999999999999999999,\"hb\"]",
        "[89,\"te\"]",
    ] {
        assert!(parse(text).is_err(), "{text}: {:?}", parse(text));
    }
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    assert!(parse(&deep).is_err());
    assert!(parse(&format!("[1,{deep}]")).is_ok_and(|frame| matches!(frame, Frame::Data { .. })));
    assert!(rows(&deep).is_ok_and(|rows| rows == [Err(BadRow)]));
    for row in [
        "[\"a\",null,{},[1]]",
        "[1,2,3,1e999]",
        "[1,2,3,-1e999]",
        "[1,2,3]",
        "[1.5,2,3,4]",
        "[1,9000000000000000000000,3,4]",
        "{}",
        "null",
        "7",
        "[1,2,\"3\",4]",
        "[]",
    ] {
        let text = format!("[89,\"te\",{row},18,1564617600784]");
        let Ok(Frame::Trade { row: Err(BadRow), stamp, .. }) = parse(&text) else {
            panic!("{:?}", parse(&text))
        };
        assert_eq!(stamp.sequence, Some(18), "{text}");
    }
}

/// Texts near those of the exchange.
fn texts() -> impl Strategy<Value = String> {
    let number = prop_oneof![
        r"-?(0|[1-9][0-9]{0,18})(\.[0-9]{1,9})?([eE][+-]?[0-9]{1,3})?",
        Just("1564617600709".to_owned()),
        r"[-+.0-9eE]{0,6}",
    ];
    let tag = prop_oneof![Just("te"), Just("tu"), Just("hb"), Just("ftu"), Just("t")];
    let row = proptest::collection::vec(number.clone(), 0..6)
        .prop_map(|numbers| format!("[{}]", numbers.join(",")));
    let tail = proptest::collection::vec(number.clone(), 0..4)
        .prop_map(|numbers| numbers.into_iter().fold(String::new(), |text, n| text + "," + &n));
    (number, tag, proptest::option::weighted(0.8, row), tail).prop_map(|(channel, tag, row, tail)| {
        let row = row.map(|row| format!(",{row}")).unwrap_or_default();
        format!("[{channel},\"{tag}\"{row}{tail}]")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_fast_path_agrees_with_serde_json(text in texts()) {
        if let Some(fast) = parse_usual(text.as_bytes()) {
            prop_assert_eq!(Ok(fast), parse_any(&text));
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in r#"[\[\]{}",:0-9a-z .eE+-]{0,60}"#, bytes in any::<Vec<u8>>()) {
        let _ = parse(&text);
        let _ = rows(&text);
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}
