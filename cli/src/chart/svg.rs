//! Candlesticks as a picture: rows of candles and a size in, the text of an SVG file out. Pure.
//!
//! As in the terminal, one column is one window, a window without a trade stays empty, and volume stands below. Text from
//! outside is escaped. (`a_picture_is_well_formed_whatever_the_rows`)

use std::fmt::Write as _;

use candles_core::interval::Interval;

use super::slots;
use crate::influx::{Row, State};
use crate::output::{clock, date_time};

/// Room for prices at the right, for the title, and for times at the bottom; pixels.
const RIGHT: f64 = 96.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 34.0;
const LEFT: f64 = 12.0;
/// Part of the height that shows volume.
const VOLUME: f64 = 0.18;
/// A candle and its gap, pixels: wider looks empty, narrower cannot be told apart.
const COLUMN_MAX: f64 = 24.0;
const DAY_MS: i64 = 86_400_000;

/// Pixels of the picture.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    /// Across.
    pub width: u32,
    /// Down.
    pub height: u32,
}

/// The windows of `rows` (in order of time), all of them.
pub fn draw(symbol: &str, interval: Interval, rows: &[Row], picture: Picture) -> String {
    let (width, height) = (f64::from(picture.width), f64::from(picture.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    let (Some(first), Some(newest)) = (rows.first(), rows.last()) else {
        text(&mut out, LEFT, 28.0, "start", "#1a2027", &format!("{symbol} {interval}: no candles yet"));
        return out + "</svg>\n";
    };
    title(&mut out, symbol, interval, newest);
    let span = (newest.start_ms - first.start_ms).div_euclid(interval.length_ms()) + 1;
    // No more columns than pixels: the oldest windows are left out.
    let columns = (span.max(1) as usize).min((width - LEFT - RIGHT).max(1.0) as usize);
    let frame = Frame::new(rows, columns, width, height);
    frame.grid(&mut out);
    for (column, row) in slots(interval, rows, columns).iter().enumerate() {
        if let Some(row) = row {
            frame.candle(&mut out, column, row);
        }
    }
    frame.times(&mut out, interval, newest.start_ms);
    out + "</svg>\n"
}

fn title(out: &mut String, symbol: &str, interval: Interval, newest: &Row) {
    let v = &newest.values;
    let state = match newest.state {
        State::Final => "",
        State::Forming => ", forming",
        State::Incomplete => ", incomplete",
    };
    let name = format!("{symbol} {interval}");
    let _ = writeln!(
        out,
        "<text x=\"{LEFT}\" y=\"28\" font-size=\"18\" font-weight=\"bold\" fill=\"#1a2027\">{}</text>",
        escaped(&name)
    );
    let numbers = format!(
        "O {} H {} L {} C {} V {:.4}, {} trades, {}{state}",
        v.open,
        v.high,
        v.low,
        v.close,
        v.volume,
        v.count,
        date_time(newest.start_ms)
    );
    // Behind the name, whose letters are at most this wide.
    text(out, LEFT + 12.0 * (name.chars().count() as f64 + 1.0), 28.0, "start", "#55606d", &numbers);
}

/// Where prices, volumes and columns lie.
struct Frame {
    low: f64,
    high: f64,
    most: f64,
    columns: usize,
    column: f64,
    right: f64,
    /// Lower ends of prices and of volumes.
    prices: f64,
    bottom: f64,
}

impl Frame {
    fn new(rows: &[Row], columns: usize, width: f64, height: f64) -> Self {
        let shown = || rows.iter().rev().take(columns);
        let low = shown().map(|row| row.values.low).fold(f64::INFINITY, f64::min);
        let high = shown().map(|row| row.values.high).fold(f64::NEG_INFINITY, f64::max);
        // One price only stands in the middle; else a little air.
        let margin =
            if high > low { (high - low) * 0.03 } else { (high.abs() * 0.001).max(f64::MIN_POSITIVE) };
        let (right, bottom) = (width - RIGHT, height - BOTTOM);
        Self {
            low: low - margin,
            high: high + margin,
            most: shown().map(|row| row.values.volume).fold(f64::MIN_POSITIVE, f64::max),
            columns,
            column: ((right - LEFT) / columns as f64).min(COLUMN_MAX),
            right,
            prices: TOP + (bottom - TOP) * (1.0 - VOLUME),
            bottom,
        }
    }

    fn y(&self, price: f64) -> f64 {
        TOP + (self.high - price) / (self.high - self.low) * (self.prices - TOP)
    }

    /// Middle of a column. The newest stands at the right.
    fn x(&self, column: usize) -> f64 {
        self.right - (self.columns - column) as f64 * self.column + self.column / 2.0
    }

    /// Lines at round prices.
    fn grid(&self, out: &mut String) {
        let step = round_step((self.high - self.low) / 6.0);
        let decimals = (-step.log10().floor()).clamp(0.0, 8.0) as usize;
        let lines = ((self.high - self.low) / step).ceil() as usize;
        let first = (self.low / step).ceil() * step;
        for price in (0..=lines).map(|n| first + n as f64 * step).filter(|price| *price <= self.high) {
            let y = self.y(price);
            let (left, right) = (LEFT, self.right);
            let _ = writeln!(
                out,
                "<line x1=\"{left}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" stroke=\"#e3e7ec\"/>"
            );
            text(out, right + 8.0, y + 4.0, "start", "#55606d", &format!("{price:.decimals$}"));
        }
        text(out, self.right + 8.0, self.bottom, "start", "#55606d", &format!("V {}", short(self.most)));
    }

    fn candle(&self, out: &mut String, column: usize, row: &Row) {
        let (v, x) = (&row.values, self.x(column));
        let colour = match row.state {
            State::Forming => "#e0a100",
            State::Incomplete => "#8d98a5",
            State::Final if v.close >= v.open => "#0a8f6c",
            State::Final => "#d64545",
        };
        let body = (self.column * 0.7).max(0.8);
        let (top, low) = (self.y(v.open.max(v.close)), self.y(v.open.min(v.close)));
        // What may still change is only outlined.
        let fill = if row.state == State::Forming { "#ffffff" } else { colour };
        let _ = writeln!(
            out,
            "<g stroke=\"{colour}\"><line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
             <rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{body:.1}\" height=\"{:.1}\" fill=\"{fill}\"/></g>",
            self.y(v.high),
            self.y(v.low),
            x - body / 2.0,
            (low - top).max(1.0),
        );
        let tall = (self.bottom - self.prices - 8.0) * v.volume / self.most;
        let _ = writeln!(
            out,
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{body:.1}\" height=\"{tall:.1}\" fill=\"{colour}\" fill-opacity=\"0.4\"/>",
            x - body / 2.0,
            self.bottom - tall,
        );
    }

    /// As many times as have room, the newest first.
    fn times(&self, out: &mut String, interval: Interval, newest_ms: i64) {
        let every = (96.0 / self.column).ceil().max(1.0) as usize;
        for back in (0..self.columns).step_by(every) {
            let at_ms = newest_ms - back as i64 * interval.length_ms();
            let x = self.x(self.columns - 1 - back);
            if x < LEFT + 40.0 && back > 0 {
                break;
            }
            let label =
                if interval.length_ms() >= DAY_MS { date_time(at_ms)[..10].to_owned() } else { clock(at_ms) };
            text(out, x, self.bottom + 20.0, "middle", "#55606d", &label);
        }
        text(out, self.right + 56.0, self.bottom + 20.0, "start", "#55606d", "UTC");
    }
}

/// Three or four digits, with a letter for thousands, millions and so on.
fn short(number: f64) -> String {
    let scales = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (scale, letter) = scales.into_iter().find(|(scale, _)| number >= *scale).unwrap_or((1.0, ""));
    let decimals = if number / scale >= 100.0 {
        0
    } else if number / scale >= 1.0 {
        2
    } else {
        4
    };
    format!("{:.decimals$}{letter}", number / scale)
}

/// The next larger of 1, 2 and 5 times a power of ten.
fn round_step(rough: f64) -> f64 {
    let power = 10.0_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|factor| factor * power)
        .find(|step| *step >= rough)
        .unwrap_or(10.0 * power)
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, colour: &str, words: &str) {
    let words = escaped(words);
    let _ = writeln!(
        out,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"
    );
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::row;
    use super::*;

    const PICTURE: Picture = Picture { width: 640, height: 360 };

    fn minute() -> Interval {
        "1m".parse().unwrap()
    }

    fn parsed(svg: &str) -> resvg::usvg::Tree {
        resvg::usvg::Tree::from_str(svg, &resvg::usvg::Options::default()).unwrap()
    }

    #[test]
    fn a_picture_is_well_formed_whatever_the_rows() {
        let same = [row(60, [1.0, 1.0, 1.0, 1.0])];
        let tiny = [row(0, [1e-9, 3e-9, 1e-9, 2e-9]), row(60, [2e-9, 3e-9, 1e-9, 1e-9])];
        let far = [row(0, [1.0, 2.0, 1.0, 2.0]), row(60_000_000, [1e6, 2e6, 1e6, 2e6])];
        for rows in [&[][..], &same, &tiny, &far] {
            for (width, height) in [(640, 360), (200, 120), (4_000, 3_000)] {
                let svg = draw("t<&\"X", minute(), rows, Picture { width, height });
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
                assert_eq!(parsed(&svg).size().width(), width as f32);
            }
        }
    }

    #[test]
    fn higher_prices_stand_higher_and_states_have_colours() {
        let mut rows = vec![row(0, [10.0, 12.0, 9.0, 11.0]), row(60, [11.0, 11.0, 8.0, 9.0])];
        rows.push(Row { state: State::Forming, ..row(180, [9.0, 10.0, 9.0, 10.0]) });
        let svg = draw("tX", minute(), &rows, PICTURE);
        let bodies: Vec<&str> = svg.lines().filter(|line| line.starts_with("<g stroke")).collect();
        assert_eq!(bodies.len(), 3, "the empty window stays empty");
        for (body, colour) in bodies.iter().zip(["#0a8f6c", "#d64545", "#e0a100"]) {
            assert!(body.contains(&format!("stroke=\"{colour}\"")), "{body}");
        }
        assert!(bodies[2].contains("fill=\"#ffffff\""), "{}", bodies[2]);
        let number = |body: &str, key: &str| -> f64 {
            let rest = body.split(&format!(" {key}=\"")).nth(1).unwrap();
            rest.split('"').next().unwrap().parse().unwrap()
        };
        assert!(number(bodies[0], "y1") < number(bodies[1], "y1"), "12 above 11");
        assert!(number(bodies[0], "x1") < number(bodies[1], "x1"));
        let gap = number(bodies[2], "x1") - number(bodies[1], "x1");
        assert!((gap - 48.0).abs() < 0.2, "two columns: {gap}");
    }

    #[test]
    fn volumes_fit_beside_the_chart() {
        let told = [0.00121, 7.0, 123.4, 72_506.695, 2.5e6, 1e15].map(short);
        assert_eq!(told, ["0.0012", "7.00", "123", "72.51k", "2.50M", "1000T"]);
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([0.03, 1.0, 1.1, 3.0, 7.0].map(round_step), [0.05, 1.0, 2.0, 5.0, 10.0]);
    }
}
