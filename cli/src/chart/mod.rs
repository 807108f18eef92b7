//! Candlesticks in a terminal: rows of candles and a size in, lines of text out. Pure, except for [`screen`]. As
//! a picture: [`svg`], [`png`].
//!
//! One column is one window; two halves of a character are two steps of the price. A window without a trade stays empty.
//! - No size makes it panic, and no line is wider than the terminal. (`any_size_is_drawn_within_its_bounds`)

pub mod png;
pub mod screen;
pub mod svg;

use candles_core::interval::Interval;

use crate::influx::{Row, State};
use crate::output::clock;

/// Characters for the prices at the right.
const AXIS: usize = 12;
/// Below this only a line of text fits.
const WIDTH_MIN: usize = AXIS + 12;
const HEIGHT_MIN: usize = 7;
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Characters in a line.
    pub width: usize,
    /// Lines.
    pub height: usize,
    /// With colours: without, a falling body is broken.
    pub colours: bool,
}

/// What fills half a character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    None,
    Wick,
    Body,
}

/// The newest windows of `rows` (in order of time), as many as fit.
pub fn draw(symbol: &str, interval: Interval, rows: &[Row], size: Size) -> Vec<String> {
    let Some(newest) = rows.last() else {
        return vec![cut(&format!("{symbol} {interval}: no candles yet"), size.width)];
    };
    let title = cut(&title(symbol, interval, newest), size.width);
    if size.width < WIDTH_MIN || size.height < HEIGHT_MIN {
        return vec![title];
    }
    let columns = size.width - AXIS;
    let slots = slots(interval, rows, columns);
    let shown = || slots.iter().flatten();
    let low = shown().map(|row| row.values.low).fold(f64::INFINITY, f64::min);
    let high = shown().map(|row| row.values.high).fold(f64::NEG_INFINITY, f64::max);
    // Title, volume, time and legend take four lines.
    let scale = Scale::new(low, high, size.height - 4);
    let mut lines = vec![title];
    for line in 0..scale.lines {
        let mut text = String::new();
        for slot in &slots {
            text += &slot.as_ref().map_or_else(
                || " ".to_owned(),
                |row| painted(cell(&scale, row, line, size.colours), row, size.colours),
            );
        }
        lines.push(format!("{text} {:>width$}", scale.label(line), width = AXIS - 1));
    }
    lines.push(volume(&slots, size.colours));
    lines.push(time_axis(interval, newest.start_ms, columns));
    lines.push(legend(size));
    lines
}

/// The text with a colour around it.
pub fn coloured(text: &str, code: u8) -> String {
    format!("\x1b[{code}m{text}\x1b[0m")
}

fn title(symbol: &str, interval: Interval, row: &Row) -> String {
    let v = &row.values;
    let state = match row.state {
        State::Final => "",
        State::Forming => "  forming",
        State::Incomplete => "  incomplete",
    };
    let name = format!("{symbol} {interval}  {}", clock(row.start_ms));
    format!(
        "{name}  O {} H {} L {} C {}  V {:.4}  {} trades{state}",
        v.open, v.high, v.low, v.close, v.volume, v.count
    )
}

/// A row for each column, the newest at the right; `None` where there was no trade.
fn slots(interval: Interval, rows: &[Row], columns: usize) -> Vec<Option<Row>> {
    let mut slots = vec![None; columns];
    let newest_ms = rows.last().map_or(0, |row| row.start_ms);
    for row in rows {
        let back = (newest_ms - row.start_ms).div_euclid(interval.length_ms());
        if let Some(slot) = usize::try_from(back).ok().and_then(|back| columns.checked_sub(back + 1)) {
            slots[slot] = Some(*row);
        }
    }
    slots
}

/// Prices to steps of half a line, from the top.
struct Scale {
    low: f64,
    high: f64,
    lines: usize,
}

impl Scale {
    fn new(low: f64, high: f64, lines: usize) -> Self {
        // One price only stands in the middle.
        let margin = if high > low { 0.0 } else { (high.abs() * 0.001).max(f64::MIN_POSITIVE) };
        Self { low: low - margin, high: high + margin, lines }
    }

    /// The step (from the top, half a line each) in which a price lies.
    fn step(&self, price: f64) -> usize {
        let last = 2 * self.lines - 1;
        let share = (self.high - price) / (self.high - self.low);
        ((share * last as f64).round() as usize).min(last)
    }

    fn price(&self, line: usize) -> f64 {
        self.high - (self.high - self.low) * (line as f64 + 0.5) / self.lines as f64
    }

    /// Every third line, with as many decimals as tell lines apart.
    fn label(&self, line: usize) -> String {
        if line % 3 != 1 {
            return String::new();
        }
        let per_line = (self.high - self.low) / self.lines as f64;
        let decimals = (-per_line.log10().floor()).clamp(0.0, 8.0) as usize;
        cut(&format!("{:.decimals$}", self.price(line)), AXIS - 1)
    }
}

fn cell(scale: &Scale, row: &Row, line: usize, colours: bool) -> char {
    let v = &row.values;
    let body = scale.step(v.open.max(v.close))..=scale.step(v.open.min(v.close));
    let wick = scale.step(v.high)..=scale.step(v.low);
    let half = |step: usize| {
        if body.contains(&step) {
            Half::Body
        } else if wick.contains(&step) {
            Half::Wick
        } else {
            Half::None
        }
    };
    match (half(2 * line), half(2 * line + 1)) {
        (Half::None, Half::None) => ' ',
        (Half::None, Half::Wick) => '╷',
        (Half::None, Half::Body) => '╻',
        (Half::Wick, Half::None) => '╵',
        (Half::Wick, Half::Wick) => '│',
        (Half::Wick, Half::Body) => '╽',
        (Half::Body, Half::None) => '╹',
        (Half::Body, Half::Wick) => '╿',
        (Half::Body, Half::Body) if !colours && v.close < v.open => '╏',
        (Half::Body, Half::Body) => '┃',
    }
}

fn painted(c: char, row: &Row, colours: bool) -> String {
    if !colours || c == ' ' {
        return c.to_string();
    }
    let code = match row.state {
        State::Forming => 33,
        State::Incomplete => 90,
        State::Final if row.values.close >= row.values.open => 32,
        State::Final => 31,
    };
    coloured(&c.to_string(), code)
}

fn volume(slots: &[Option<Row>], colours: bool) -> String {
    let most = slots.iter().flatten().map(|row| row.values.volume).fold(0.0, f64::max);
    let bar = |slot: &Option<Row>| {
        let share = slot.map_or(0.0, |row| row.values.volume / most.max(f64::MIN_POSITIVE));
        BARS[((share * 8.0).ceil() as usize).min(8)]
    };
    let bars: String = slots.iter().map(bar).collect();
    let label = cut(&format!("V {most:.4}"), AXIS - 1);
    let bars = if colours { coloured(&bars, 36) } else { bars };
    format!("{bars} {label:>width$}", width = AXIS - 1)
}

/// A time below every sixteenth column, the newest first.
fn time_axis(interval: Interval, newest_ms: i64, columns: usize) -> String {
    let mut line = vec![' '; columns];
    let mut column = columns - 1;
    while column + 1 >= 8 {
        let back = (columns - 1 - column) as i64;
        let text = clock(newest_ms - back * interval.length_ms());
        for (at, c) in text.chars().enumerate() {
            line[column + 1 - 8 + at] = c;
        }
        column = column.saturating_sub(16);
    }
    format!("{} UTC", line.into_iter().collect::<String>())
}

fn legend(size: Size) -> String {
    if !size.colours {
        return cut("┃ rising  ╏ falling; the title says when the newest is still forming", size.width);
    }
    if size.width < 48 {
        return String::new();
    }
    let parts = [("┃ rising", 32), ("┃ falling", 31), ("┃ forming", 33), ("┃ incomplete", 90)];
    parts.map(|(text, code)| coloured(text, code)).join("  ")
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

/// A final candle for tests.
#[cfg(test)]
pub fn row(start_s: i64, [open, high, low, close]: [f64; 4]) -> Row {
    let (volume, count) = (start_s as f64, 3);
    let values = candles_core::candle::CandleValues {
        open,
        high,
        low,
        close,
        volume,
        quote_volume: 1.0,
        buy_volume: 1.0,
        vwap: 1.0,
        count,
    };
    Row { start_ms: start_s * 1_000, values, state: State::Final }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute() -> Interval {
        "1m".parse().unwrap()
    }

    /// Without the escape sequences of colours.
    fn visible(line: &str) -> String {
        let mut parts = line.split("\x1b[");
        let first = parts.next().unwrap_or_default().to_owned();
        first + &parts.map(|part| part.split_once('m').map_or("", |(_, text)| text)).collect::<String>()
    }

    #[test]
    fn bodies_and_wicks_stand_where_their_prices_are() {
        let rows = [row(0, [10.0, 12.0, 4.0, 8.0]), row(120, [8.0, 10.0, 8.0, 10.0])];
        let lines = draw("tX", minute(), &rows, Size { width: 24, height: 8, colours: false });
        let columns: Vec<String> = lines[1..5].iter().map(|line| line.chars().take(12).collect()).collect();
        // Top 12, bottom 4, eight halves, of which 10 is in the third and 8 in the fifth: the first falls between wicks, a
        // gap, the second rises.
        assert_eq!(columns, ["         │  ", "         ╏ ┃", "         ╿ ╹", "         │  "]);
        assert!(lines[0].starts_with("tX 1m  00:02:00"), "{}", lines[0]);
    }

    #[test]
    fn any_size_is_drawn_within_its_bounds() {
        let mut rows: Vec<Row> =
            (0..300).map(|i| row(i * 60, [5.0, 9.0, 1.0, 1.0 + (i % 8) as f64])).collect();
        rows[299].state = State::Forming;
        for (width, height) in [(0, 0), (1, 1), (24, 7), (25, 8), (80, 24), (500, 200)] {
            for colours in [false, true] {
                let lines = draw("tBTCUSD", minute(), &rows, Size { width, height, colours });
                assert!(lines.len() <= height.max(1), "{width}x{height}");
                for line in &lines {
                    assert!(visible(line).chars().count() <= width, "{width}x{height}: {line:?}");
                }
            }
        }
        assert_eq!(draw("tX", minute(), &[], Size { width: 80, height: 24, colours: false }).len(), 1);
    }

    #[test]
    fn one_price_and_no_volume_are_drawn() {
        let lines = draw("tX", minute(), &[row(0, [0.0; 4])], Size { width: 40, height: 10, colours: true });
        assert_eq!(lines.len(), 10);
    }

    #[test]
    fn without_colours_there_is_no_escape() {
        let rows = [row(0, [10.0, 12.0, 4.0, 8.0])];
        let lines = draw("tX", minute(), &rows, Size { width: 80, height: 24, colours: false });
        assert!(lines.iter().all(|line| !line.contains('\x1b')));
    }
}
