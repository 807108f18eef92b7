//! `testbed demo` as a user meets it: started, watched, ended by Ctrl-C. On real servers of its own: `make e2e`.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

const SYMBOLS: [&str; 4] = ["tBTCUSD", "tETHUSD", "tXRPUSD", "tSOLBTC"];
/// Rows that may come before every symbol has one: two minutes of candles. A consumer that joins late is late here, too.
const ROWS_MAX: usize = 200;

fn is_row(line: &str) -> bool {
    line.get(2..3) == Some(":") && line.split_whitespace().count() == 9
}

#[test]
fn demo_shows_final_candles_until_ctrl_c_and_leaves_nothing() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_testbed"))
        .args(["demo", "--speed", "5"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(demo.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen: Vec<String> = Vec::new();
    let mut waited_for = SYMBOLS.to_vec();
    while !waited_for.is_empty() {
        let line = lines.next().unwrap_or_else(|| panic!("ended early:\n{}", seen.join("\n")));
        waited_for.retain(|symbol| !(is_row(&line) && line.contains(symbol)));
        seen.push(line);
        assert!(seen.len() < ROWS_MAX, "no candle of {waited_for:?}:\n{}", seen.join("\n"));
    }
    let run_dir = seen.iter().find_map(|line| line.trim().strip_prefix("configuration, logs, data")).unwrap();
    let run_dir = Path::new(run_dir.trim()).to_owned();
    assert!(run_dir.is_dir());

    let pid = Pid::from_raw(i32::try_from(demo.id()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let rest: Vec<String> = lines.collect();
    let status = demo.wait().unwrap();
    assert!(status.success(), "{status}\n{}", rest.join("\n"));
    let closed = rest.iter().find_map(|line| line.split_once("market closed: ")).unwrap().1;
    let numbers: Vec<u64> = closed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    assert!(numbers[0] > 0 && numbers[0] == numbers[1], "{closed}");
    assert!(!run_dir.exists(), "its servers have ended and their data is gone");
}
