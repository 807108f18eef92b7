//! Fuzzing on the stable toolchain: a corpus and a target in, the first input that breaks it out.
//!
//! Inputs of the corpus are mutated without looking at coverage, from a seed; libFuzzer with coverage runs the same
//! targets where there is a nightly toolchain (`fuzz/README.md`). A target breaks by panicking or by holding more
//! memory than its input explains. `FUZZ_RUNS` and `FUZZ_SEED` make it search longer and elsewhere.
//!
//! - What breaks a target is found and told. (`a_target_that_breaks_is_found_with_its_input`)
//! - So is one that takes too much memory. (`a_target_that_takes_too_much_memory_is_found`)

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::chaos::schedule::Dice;

/// Runs of each target when nobody says otherwise: about a second.
const RUNS: u64 = 20_000;
/// Longest input that mutation makes.
const INPUT_BYTES_MAX: usize = 4 * 1024;
/// Memory that any input may take, and more for each of its bytes.
const MEMORY_BASE: usize = 1024 * 1024;
const MEMORY_PER_BYTE: usize = 512;
/// Mutations of one input.
const MUTATIONS_MAX: usize = 6;
/// Bytes that parsers care about.
const TOKENS: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\\",
    "\n",
    "\0",
    "-",
    ".",
    "e",
    "E999",
    "1e999",
    "-0",
    "null",
    "true",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "0.1",
    "1e-400",
    "\"te\"",
    "\"tu\"",
    "\"hb\"",
    "\u{feff}",
    "é",
    "\u{0}",
    "[[[[[[[[[[[[[[[[",
    "&a",
    "*a",
    "<<: ",
    "!!",
    "|",
    "tBTCUSD",
    ";",
    "=",
    "/",
];

thread_local! {
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// The system's allocator, which counts what each thread holds. A test binary makes it its global allocator.
#[derive(Debug)]
pub struct Counting;

#[allow(unsafe_code, reason = "an allocator is unsafe by its trait; this one hands everything on")]
// SAFETY: every call goes to `System` with its own arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn count(bytes: isize) {
    // A thread that ends has no counter any more.
    let _ = HELD.try_with(|held| {
        let (now, most) = held.get();
        held.set((now + bytes, most.max(now + bytes)));
    });
}

/// Most bytes that `act` held at once, beyond what was held before. 0 without [`Counting`].
fn most_held(act: impl FnOnce()) -> usize {
    let before = HELD.with(|held| {
        let (now, _) = held.get();
        held.set((now, now));
        now
    });
    act();
    HELD.with(|held| (held.get().1 - before).cast_unsigned())
}

/// Runs `target` on every file of the corpus, then on mutations of them. The error has the input that breaks it.
pub fn fuzz(corpus: &Path, target: impl Fn(&[u8])) -> Result<(), String> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (runs, seed) = (number("FUZZ_RUNS").unwrap_or(RUNS), number("FUZZ_SEED").unwrap_or(1));
    let inputs = read(corpus);
    if inputs.is_empty() {
        return Err(format!("{}: no corpus", corpus.display()));
    }
    search(&inputs, runs, seed, &target).map_or(Ok(()), Err)
}

fn read(corpus: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(corpus).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths.iter().filter_map(|path| std::fs::read(path).ok()).collect()
}

/// What was wrong with the first input that broke the target.
fn search(inputs: &[Vec<u8>], runs: u64, seed: u64, target: &impl Fn(&[u8])) -> Option<String> {
    let mut dice = Dice::new(seed);
    let mutated = (0..runs).map(|_| mutate(inputs, &mut dice));
    inputs.iter().cloned().chain(mutated).find_map(|input| attempt(&input, target))
}

fn attempt(input: &[u8], target: &impl Fn(&[u8])) -> Option<String> {
    let text = || format!("\"{}\" ({} bytes)", input.escape_ascii(), input.len());
    let mut outcome = Ok(());
    let held = most_held(|| outcome = catch_unwind(AssertUnwindSafe(|| target(input))));
    if let Err(panic) = outcome {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()));
        return Some(format!("panics: {}; input: {}", words.unwrap_or_default(), text()));
    }
    let allowed = MEMORY_BASE + MEMORY_PER_BYTE * input.len();
    (held > allowed).then(|| format!("holds {held} bytes, {allowed} are allowed; input: {}", text()))
}

fn mutate(inputs: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut input = inputs[dice.below(inputs.len())].clone();
    for _ in 0..=dice.below(MUTATIONS_MAX) {
        let (at, length) = (dice.below(input.len() + 1), dice.below(16) + 1);
        let end = (at + length).min(input.len());
        match dice.below(9) {
            0 if at < input.len() => input[at] ^= 1 << dice.below(8),
            1 if at < input.len() => input[at] = dice.number() as u8,
            2 => drop(input.drain(at..end)),
            3 => input.truncate(at),
            4 => insert(&mut input, at, TOKENS[dice.below(TOKENS.len())].as_bytes()),
            5 => {
                let piece = input[at..end].to_vec();
                insert(&mut input, at, &piece.repeat(1 + dice.below(40)));
            }
            // The end of another input: what two of them have in common may be broken together.
            6 => {
                let other = &inputs[dice.below(inputs.len())];
                input.truncate(at);
                input.extend_from_slice(&other[dice.below(other.len() + 1)..]);
            }
            7 => {
                let token = TOKENS[dice.below(TOKENS.len())].as_bytes();
                input.splice(at..end, token.iter().copied());
            }
            _ => {
                let bytes: Vec<u8> = (0..length).map(|_| dice.number() as u8).collect();
                insert(&mut input, at, &bytes);
            }
        }
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn inputs() -> Vec<Vec<u8>> {
        vec![b"[1,\"te\",[2,3,4,5]]".to_vec(), b"{\"event\":\"info\"}".to_vec()]
    }

    #[test]
    fn a_target_that_breaks_is_found_with_its_input() {
        let target = |input: &[u8]| assert!(!input.starts_with(b"[\""), "an array of text");
        let broken = search(&inputs(), 20_000, 1, &target).unwrap();
        assert!(broken.starts_with("panics: an array of text; input: \"[\\\""), "{broken}");
        assert_eq!(search(&inputs(), 20_000, 1, &target), Some(broken), "the same seed finds the same");
        assert_eq!(search(&inputs(), 2_000, 1, &|input: &[u8]| assert!(input.len() < 1_000_000)), None);
    }

    #[test]
    fn a_target_that_takes_too_much_memory_is_found() {
        let greedy = |input: &[u8]| {
            let claimed = input.first().map_or(0, |byte| usize::from(*byte)) * 100_000;
            std::hint::black_box(vec![0_u8; claimed]);
        };
        let broken = search(&inputs(), 100, 1, &greedy).unwrap();
        assert!(broken.starts_with("holds 9100000 bytes"), "{broken}");
        let modest = |input: &[u8]| drop(std::hint::black_box(input.repeat(20)));
        assert_eq!(search(&inputs(), 2_000, 1, &modest), None);
    }
}
