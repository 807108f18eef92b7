//! A running `candlectl demo` whose output is read, and what holds for each of its kinds.

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// Rows that may come before every symbol has one: five minutes of candles, and as many again for a consumer that joins
/// late.
const ROWS_MAX: usize = 600;

/// The process.
pub struct Demo {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

fn is_row(line: &str) -> bool {
    line.get(2..3) == Some(":") && line.split_whitespace().count() == 9
}

impl Demo {
    /// `candlectl demo ARGUMENTS`.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_candlectl"));
        let mut process = command.arg("demo").args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Self { process, lines, seen: Vec::new() }
    }

    /// Reads until each symbol had a final candle.
    pub fn wait_for_candles_of(&mut self, symbols: &[&str]) {
        let mut waited_for = symbols.to_vec();
        while !waited_for.is_empty() {
            let Some(line) = self.lines.next().map(Result::unwrap) else {
                panic!("ended early:\n{}", self.seen.join("\n"));
            };
            waited_for.retain(|symbol| !(is_row(&line) && line.contains(symbol)));
            self.seen.push(line);
            assert!(self.seen.len() < ROWS_MAX, "no candle of {waited_for:?}:\n{}", self.seen.join("\n"));
        }
    }

    /// What it printed after a label.
    pub fn address(&self, label: &str) -> String {
        let found = self.seen.iter().find_map(|line| line.trim().strip_prefix(label));
        found.unwrap_or_else(|| panic!("no {label}:\n{}", self.seen.join("\n"))).trim().to_owned()
    }

    /// Ends it as a user does: all trades must be stored by then, and nothing may stay.
    pub fn end_by_ctrl_c(mut self) {
        let folder = self.address("configuration, logs, data");
        let folder = Path::new(&folder);
        assert!(folder.join("pipeline.yaml").is_file());
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::INT).unwrap();
        let rest: Vec<String> = self.lines.map(Result::unwrap).collect();
        let status = self.process.wait().unwrap();
        assert!(status.success(), "{status}\n{}", rest.join("\n"));
        let closed = rest.iter().find_map(|line| line.split_once("market closed: ")).unwrap().1;
        let numbers: Vec<u64> = closed.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        assert!(numbers[0] > 0 && numbers[0] == numbers[1], "{closed}");
        let next = rest.iter().skip_while(|line| !line.starts_with("Next: ")).count();
        assert_eq!(next, 3, "the next three commands:\n{}", rest.join("\n"));
        assert!(!folder.exists(), "everything has ended and its data is gone");
    }
}
