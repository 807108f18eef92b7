//! Rules that the repository keeps: tracked and new files in, everything that breaks a rule out, in one list for each.
//!
//! A name in a module's header or in a document that stands in parentheses and backticks is a promise: a word of three
//! parts or more is a test, a path is a file. A word of five parts is a test wherever it stands in backticks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Lines of a Rust file before its tests. A longer file is two files.
const LINES_MAX: usize = 500;
/// Files that are longer, with their length: they may shrink, and then stand here with less or not at all.
const LONGER: &[(&str, usize)] = &[];

static ROOT: LazyLock<PathBuf> =
    LazyLock::new(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap());

/// Text files by path from the root; what git ignores is not here.
static FILES: LazyLock<BTreeMap<PathBuf, String>> = LazyLock::new(|| {
    let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(args).current_dir(&*ROOT).output().expect("git is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let list = String::from_utf8(output.stdout).unwrap();
    let paths = list.split_terminator('\0').map(PathBuf::from);
    // A file that was removed and not yet committed, and a picture, have no text.
    paths.filter_map(|path| Some((path.clone(), std::fs::read_to_string(ROOT.join(&path)).ok()?))).collect()
});

fn with_ending(ending: &str) -> impl Iterator<Item = (&'static Path, &'static str)> {
    let has = move |path: &&PathBuf| path.extension().is_some_and(|found| found == ending);
    FILES.keys().filter(has).map(|path| (path.as_path(), FILES[path].as_str()))
}

#[track_caller]
fn none(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

/// The module comment of a file.
fn header(text: &str) -> String {
    let lines = text.lines().take_while(|line| line.starts_with("//!"));
    lines.map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>().join("\n")
}

/// Everything up to the tests at the end of a file.
fn shipped(text: &str) -> &str {
    text.split_once("#[cfg(test)]\nmod tests {").map_or(text, |(shipped, _)| shipped)
}

/// Names of all tests: functions with a test attribute among the lines right before them.
static TESTS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let mut found = BTreeSet::new();
    for (_, text) in with_ending("rs") {
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            let signature = line.strip_prefix("async ").unwrap_or(line);
            if let Some(rest) = signature.strip_prefix("fn ") {
                let name = rest.split(['(', '<']).next().unwrap();
                if std::mem::take(&mut is_test) {
                    found.insert(name);
                }
            } else if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
                is_test = true;
            } else if !line.starts_with("#[") && !line.starts_with("//") {
                is_test = false;
            }
        }
    }
    found
});

/// What stands in backticks within parentheses that begin with a backtick.
fn promises(text: &str) -> Vec<&str> {
    let groups = text.split("(`").skip(1).filter_map(|rest| rest.split_once(')'));
    // The backtick of the opening is cut off: odd and even places change.
    groups.flat_map(|(group, _)| group.split('`').step_by(2)).collect()
}

fn is_test_name(word: &str) -> bool {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    word.chars().all(letters) && word.matches('_').count() >= 2
}

fn is_path(word: &str) -> bool {
    let ending = Path::new(word).extension().and_then(|ending| ending.to_str());
    !word.contains(' ') && matches!(ending, Some("rs" | "md" | "yaml" | "sql" | "flux" | "avsc"))
}

/// A promise may name a file from its own folder, from its crate, or from the root.
fn exists(from: &Path, word: &str) -> bool {
    let krate = from.components().next().map(Component::as_os_str).map(PathBuf::from).unwrap_or_default();
    [from.parent().unwrap().to_owned(), krate, PathBuf::new()]
        .iter()
        .any(|folder| ROOT.join(folder).join(word).exists())
}

fn broken_promises(path: &Path, text: &str) -> Vec<String> {
    let broken = |word: &&str| {
        (is_test_name(word) && !TESTS.contains(*word)) || (is_path(word) && !exists(path, word))
    };
    let tell = |word| format!("{}: there is no `{word}`", path.display());
    // Metrics have long names too.
    let is_metric = |word: &str| {
        ["producer", "consumer", "operator"].iter().any(|of| word.starts_with(&format!("candles_{of}_")))
    };
    let long = text
        .split('`')
        .filter(|word| is_test_name(word) && word.matches('_').count() >= 4 && !is_metric(word));
    promises(text).into_iter().chain(long).filter(broken).map(tell).collect()
}

#[test]
fn every_rust_file_says_what_it_is_for() {
    let silent = with_ending("rs").filter(|(_, text)| header(text).is_empty());
    none(&silent.map(|(path, _)| format!("{}: starts without //!", path.display())).collect::<Vec<_>>());
}

#[test]
fn tests_and_files_named_in_headers_exist() {
    assert!(TESTS.contains("tests_and_files_named_in_headers_exist"));
    none(
        &with_ending("rs").flat_map(|(path, text)| broken_promises(path, &header(text))).collect::<Vec<_>>(),
    );
}

#[test]
fn tests_and_files_named_in_documents_exist() {
    none(&with_ending("md").flat_map(|(path, text)| broken_promises(path, text)).collect::<Vec<_>>());
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut problems = Vec::new();
    for (path, text) in with_ending("md") {
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = ROOT.join(path.parent().unwrap());
            let file = if file.is_empty() { ROOT.join(path) } else { folder.join(file) };
            let leads = match std::fs::read_to_string(&file) {
                Ok(text) => {
                    anchor.is_empty() || text.lines().any(|line| anchor_of(line) == Some(anchor.into()))
                }
                // A picture has no text, a folder no anchors.
                Err(_) => file.exists() && anchor.is_empty(),
            };
            if !leads {
                problems.push(format!("{}: {target} leads nowhere", path.display()));
            }
        }
    }
    none(&problems);
}

/// The anchor of a heading, as web views make it.
fn anchor_of(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    Some(kept.map(|c| if c == ' ' { '-' } else { c }).collect())
}

#[test]
fn no_file_names_a_machine_or_a_registry() {
    // In parts, so that this file does not name them either.
    let folders = ["root", "work", "home", "tmp"].map(|name| format!("/{name}/"));
    let hosts = [
        ["crates", "io"],
        ["pypi", "org"],
        ["pythonhosted", "org"],
        ["proxy.golang", "org"],
        ["sum.golang", "org"],
        ["npmjs", "org"],
        ["repo.maven.apache", "org"],
        ["repo1.maven", "org"],
        ["deb.debian", "org"],
    ];
    let hosts = hosts.map(|parts| parts.join("."));
    let mut problems = Vec::new();
    for (path, text) in FILES.iter().filter(|(path, _)| !path.ends_with("Cargo.lock")) {
        for (number, line) in text.lines().enumerate() {
            // A path of that name may be part of a longer one or of a URL.
            let starts =
                |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-/$}".contains(c));
            let folder =
                folders.iter().find(|folder| line.match_indices(folder.as_str()).any(|(at, _)| starts(at)));
            let host = hosts.iter().find(|host| line.contains(host.as_str()));
            if let Some(found) = folder.or(host) {
                problems.push(format!("{}:{}: {found}", path.display(), number + 1));
            }
        }
    }
    none(&problems);
}

#[test]
fn files_stay_short() {
    let mut problems = Vec::new();
    for (path, text) in with_ending("rs") {
        let is_test = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("tests.rs");
        let lines = shipped(text).lines().count();
        let allowed = LONGER.iter().find(|(longer, _)| path == Path::new(longer)).map(|(_, lines)| *lines);
        match allowed {
            Some(allowed) if lines < allowed => {
                problems.push(format!("{}: has {lines} lines now; LONGER says {allowed}", path.display()));
            }
            _ if is_test => {}
            _ if lines > allowed.unwrap_or(LINES_MAX) => {
                problems.push(format!("{}: {lines} lines before its tests", path.display()));
            }
            _ => {}
        }
    }
    none(&problems);
}

#[test]
fn every_rust_file_is_part_of_a_crate() {
    let mut problems = Vec::new();
    for (path, _) in with_ending("rs") {
        let folder = path.parent().unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let is_target = folder.ends_with("tests") && folder.components().count() == 2
            || ["bin", "examples", "benches"].iter().any(|name| folder.ends_with(name));
        if is_target || matches!(stem, "lib" | "main" | "build") {
            continue;
        }
        // `a/mod.rs` is declared beside `a`, `a/b.rs` in `a`.
        let (name, folder) = match stem {
            "mod" => (folder.file_name().unwrap().to_str().unwrap(), folder.parent().unwrap()),
            name => (name, folder),
        };
        // A folder of tests has several roots.
        let is_root = |path: &&PathBuf| {
            let is_file = |name| path.file_name().is_some_and(|found| found == name);
            folder.ends_with("tests") || ["mod.rs", "lib.rs", "main.rs"].into_iter().any(is_file)
        };
        let beside = FILES.keys().filter(|path| path.parent() == Some(folder)).filter(is_root);
        let declared = beside.cloned().chain([folder.with_extension("rs")]).any(|parent| {
            let declares = |line: &str| {
                line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ")
                    == format!("mod {name};")
            };
            FILES.get(&parent).is_some_and(|text| text.lines().any(declares))
        });
        if !declared {
            problems.push(format!("{}: no module declares it, so nothing compiles it", path.display()));
        }
    }
    none(&problems);
}

#[test]
fn tests_that_cargo_leaves_out_are_run_by_make() {
    let makefile = &FILES[Path::new("Makefile")];
    let mut problems = Vec::new();
    for (path, text) in FILES.iter().filter(|(path, _)| path.ends_with("Cargo.toml")) {
        for target in text.split("[[test]]").skip(1).map(|rest| rest.split("\n[").next().unwrap()) {
            let name = target.split("name = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            if target.contains("test = false") && !makefile.contains(&format!("--test {name}")) {
                problems.push(format!("{}: test {name} is in no make target", path.display()));
            }
        }
    }
    none(&problems);
}

#[test]
fn promises_are_what_stands_in_parentheses_and_backticks() {
    assert_eq!(
        promises("One. (`a_b_c`) Two (`x.rs`, `d_e_f`), not `g_h_i` nor (see `j`)."),
        ["a_b_c", "x.rs", "d_e_f"]
    );
    assert!(is_test_name("late_trade_is_stored") && !is_test_name("candles_live") && !is_test_name("Trade"));
    assert_eq!(anchor_of("## Run it: on `your` servers"), Some("run-it-on-your-servers".to_owned()));
}
