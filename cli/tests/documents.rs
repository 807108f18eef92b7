//! What the documents tell people to type: every line of a shell block and every `candlectl` and `make` in backticks in,
//! those that the programs would refuse out. Nothing is run: `--help` and `--dry-run` stand behind them.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail loudly")]

use std::path::Path;
use std::process::Command;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Programs whose lines are run by other tests: with real servers, on a real node, or by kind.
const ELSEWHERE: [&str; 8] =
    ["kubectl", "helm", "kafka-topics.sh", "cargo", "$EDITOR", "operator", "producer", "consumer"];

/// File and command line, without comments, continued lines in one.
fn commands() -> Vec<(String, String)> {
    let listed = Command::new("git").args(["ls-files", "*.md"]).current_dir(ROOT).output().unwrap();
    let files = String::from_utf8(listed.stdout).unwrap();
    let mut found = Vec::new();
    for file in files.lines() {
        let text = std::fs::read_to_string(Path::new(ROOT).join(file)).unwrap();
        for (index, part) in text.split("```").enumerate() {
            let lines: Vec<String> = if index % 2 == 0 {
                let spans = part.split('`').skip(1).step_by(2).map(|span| span.replace('\n', " "));
                spans.filter(|span| span.starts_with("candlectl ") || span.starts_with("make ")).collect()
            } else if let Some(block) = part.strip_prefix("sh\n") {
                let joined = block.replace("\\\n", " ");
                joined.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned()).collect()
            } else {
                Vec::new()
            };
            found.extend(
                lines.into_iter().filter(|line| !line.is_empty()).map(|line| (file.to_owned(), line)),
            );
        }
    }
    found
}

/// Why a program would refuse it.
fn refusal(line: &str) -> Option<String> {
    let is_assignment =
        |word: &&str| word.split_once('=').is_some_and(|(name, _)| !name.contains(['-', '/']));
    let mut words = line.split_whitespace().skip_while(is_assignment);
    let program = words.next().unwrap_or_default().trim_start_matches("target/release/");
    let mut command = match program {
        "candlectl" => {
            let mut command = Command::new(env!("CARGO_BIN_EXE_candlectl"));
            command.args(words).arg("--help");
            command
        }
        "make" => {
            let mut command = Command::new("make");
            command.arg("--dry-run").args(words).current_dir(ROOT);
            command
        }
        known if ELSEWHERE.contains(&known) => return None,
        unknown => return Some(format!("no test knows `{unknown}`")),
    };
    let output = command.output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn every_command_of_the_documents_is_understood() {
    let commands = commands();
    for expected in ["make demo", "candlectl man COMMAND", "kubectl scale cpl/demo --replicas=3"] {
        assert!(commands.iter().any(|(_, line)| line == expected), "{expected} is not found");
    }
    let refused: Vec<String> = commands
        .iter()
        .filter_map(|(file, line)| Some(format!("{file}: {line}: {}", refusal(line)?)))
        .collect();
    assert!(refused.is_empty(), "\n{}\n", refused.join("\n"));
    assert!(refusal("candlectl topics --no-such-flag").is_some());
    assert!(refusal("make no-such-target").is_some());
}
