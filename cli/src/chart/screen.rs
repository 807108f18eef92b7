//! A part of the terminal that is drawn again and again in place.

use std::io::{self, IsTerminal as _, Write as _};

use rustix::termios::tcgetwinsize;

use super::Size;
use crate::output::colours;

/// Size where nobody tells another.
const DEFAULT: (usize, usize) = (80, 24);

/// Standard output as a terminal; `None` if it is none.
pub fn size() -> Option<Size> {
    let stdout = io::stdout();
    stdout.is_terminal().then(|| {
        let told = tcgetwinsize(&stdout).ok().filter(|size| size.ws_col > 0 && size.ws_row > 0);
        let (width, height) =
            told.map_or(DEFAULT, |size| (usize::from(size.ws_col), usize::from(size.ws_row)));
        Size { width, height, colours: colours() }
    })
}

/// What was drawn last, to be drawn over.
#[derive(Debug, Default)]
pub struct Screen {
    lines: usize,
}

impl Screen {
    /// Draws over what was drawn before. Lines must not be wider than the terminal, nor more than it has.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        // Up to the first line, and clear from there.
        let clear = if self.lines > 0 { format!("\x1b[{}A\r\x1b[J", self.lines) } else { String::new() };
        self.lines = lines.len();
        let text = format!("{clear}{}\n", lines.join("\n"));
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes())?;
        stdout.flush()
    }
}
