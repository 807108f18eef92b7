//! Values in, lines on standard output out: tables for people, JSON for programs. Messages go to standard error.
//!
//! Text from outside (names, keys, values) is cleaned of control characters, so that no record can drive a terminal.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};

use clap::ValueEnum;

/// What a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON document, or one line for each record where there is no end
    Json,
}

/// How a command ended, apart from errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Done, or yes: exit code 0.
    Yes,
    /// The answer is no: exit code 1.
    No,
}

/// A line to standard output; an error, not a panic, when its reader has gone (`candlectl peek | head`).
pub fn say(line: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}

/// A JSON document to standard output.
pub fn say_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    Ok(say(serde_json::to_string_pretty(value)?)?)
}

/// A message to standard error; that nobody reads it is no error.
pub fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Draws over the last line of standard error, which must be a terminal.
pub fn tell_in_place(text: impl Display) {
    let _ = write!(io::stderr(), "\r\x1b[K{text}");
}

/// Whether standard output is a terminal that may be coloured.
pub fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Rows below their headings, each column as wide as its widest cell; numbers to the right.
pub fn table(headings: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let cells: Vec<Vec<Cow<'_, str>>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let column = |index: usize| cells.iter().filter_map(move |row| row.get(index));
    let columns: Vec<(usize, bool)> = (0..headings.len())
        .map(|index| {
            let widest = column(index).map(|cell| cell.chars().count()).max().unwrap_or(0);
            let numeric = column(index).all(|cell| {
                cell.starts_with(|c: char| c.is_ascii_digit() || c == '-') && !cell.contains([':', ','])
                    || matches!(&**cell, "" | "?")
            });
            (widest.max(headings[index].chars().count()), numeric && column(index).next().is_some())
        })
        .collect();
    let line = |row: &[Cow<'_, str>]| {
        let padded = row.iter().zip(&columns).map(|(cell, &(width, numeric))| {
            if numeric { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let headings: Vec<_> = headings.iter().map(|heading| Cow::Borrowed(*heading)).collect();
    std::iter::once(line(&headings)).chain(cells.iter().map(|row| line(row))).collect()
}

/// The text without characters that a terminal would obey.
pub fn clean(text: &str) -> Cow<'_, str> {
    // Beyond ASCII: C1 controls, and what reverses or hides text.
    let obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}')
    };
    if text.contains(obeyed) {
        Cow::Owned(text.chars().map(|c| if obeyed(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

/// `hh:mm:ss` of a time (ms since 1970), UTC.
pub fn clock(ms: i64) -> String {
    let s = ms.div_euclid(1_000).rem_euclid(86_400);
    format!("{:02}:{:02}:{:02}", s / 3_600, s / 60 % 60, s % 60)
}

/// `yyyy-mm-ddThh:mm:ssZ` of a time (ms since 1970).
pub fn date_time(ms: i64) -> String {
    // Days to a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let days = ms.div_euclid(86_400_000) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{}Z", clock(ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_numbers_stand_right() {
        let rows = [vec!["trades".to_owned(), "7".to_owned()], vec!["x".to_owned(), "1200".to_owned()]];
        assert_eq!(table(&["TOPIC", "COUNT"], &rows), ["TOPIC   COUNT", "trades      7", "x        1200"]);
        assert_eq!(table(&["TOPIC"], &[]), ["TOPIC"]);
    }

    #[test]
    fn no_text_from_outside_drives_the_terminal() {
        assert_eq!(clean("\x1b[2Jx\n\u{9b}\u{202e}y"), "\u{fffd}[2Jx\u{fffd}\u{fffd}\u{fffd}y");
        assert_eq!(clean("tBTCUSD é"), "tBTCUSD é");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_time(0), "1970-01-01T00:00:00Z");
        assert_eq!(date_time(951_782_399_000), "2000-02-28T23:59:59Z");
        assert_eq!(date_time(951_782_400_000), "2000-02-29T00:00:00Z");
        assert_eq!(date_time(1_795_392_000_000), "2026-11-23T00:00:00Z");
    }
}
