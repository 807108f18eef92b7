//! Decimal text in, decimal text out: the numbers of a market without a float in between.
//! Renders as the exchange does (JavaScript's rules): `1500`, `0.076989`, `2e-8`. Never rounds.

use std::fmt::Write as _;

/// `mantissa * 10^-scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dec {
    pub mantissa: i64,
    pub scale: u8,
}

impl Dec {
    pub fn new(mantissa: i64, scale: u8) -> Self {
        Self { mantissa, scale }
    }

    /// A JSON number whose exact value fits; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let (body, exponent) = match text.split_once(['e', 'E']) {
            Some((body, exponent)) => (body, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
        let fraction = fraction.trim_end_matches('0');
        let mut mantissa: i64 = format!("{whole}{fraction}").parse().ok()?;
        let mut scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
        while scale < 0 {
            mantissa = mantissa.checked_mul(10)?;
            scale += 1;
        }
        Some(Self { mantissa, scale: u8::try_from(scale).ok()? })
    }

    /// The value times `10^12`, for sums. `None` when it has more decimals than that or overflows.
    pub fn at_scale_12(self) -> Option<i128> {
        let factor = 10_i128.checked_pow(12_u32.checked_sub(u32::from(self.scale))?)?;
        i128::from(self.mantissa).checked_mul(factor)
    }

    /// The shortest text, by JavaScript's `Number::toString` rules.
    pub fn write_to(self, out: &mut String) {
        if self.mantissa < 0 {
            out.push('-');
        }
        write_digits(u128::from(self.mantissa.unsigned_abs()), i32::from(self.scale), out);
    }
}

/// `value * 10^-12` as text; the counterpart of [`Dec::at_scale_12`].
pub(crate) fn write_scale_12(value: i128, out: &mut String) {
    if value < 0 {
        out.push('-');
    }
    write_digits(value.unsigned_abs(), 12, out);
}

fn write_digits(mut value: u128, mut scale: i32, out: &mut String) {
    if value == 0 {
        out.push('0');
        return;
    }
    while scale > 0 && value.is_multiple_of(10) {
        value /= 10;
        scale -= 1;
    }
    if scale == 0 {
        let _ = write!(out, "{value}");
        return;
    }
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(value);
    let point = digits.len() as i32 - scale;
    if point > 0 {
        let (whole, fraction) = digits.split_at(point as usize);
        let _ = write!(out, "{whole}.{fraction}");
    } else if point > -6 {
        out.push_str("0.");
        (point..0).for_each(|_| out.push('0'));
        out.push_str(digits);
    } else {
        let (first, rest) = digits.split_at(1);
        out.push_str(first);
        if !rest.is_empty() {
            out.push('.');
            out.push_str(rest);
        }
        let _ = write!(out, "e{}", point - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(d: Dec) -> String {
        let mut out = String::new();
        d.write_to(&mut out);
        out
    }

    #[test]
    fn renders_numbers_as_the_recording_does() {
        for (mantissa, scale, expected) in [
            (1500, 0, "1500"),
            (150_000, 2, "1500"),
            (76_989, 6, "0.076989"),
            (2, 8, "2e-8"),
            (25, 9, "2.5e-8"),
            (1, 6, "0.000001"),
            (1, 7, "1e-7"),
            (-474, 8, "-0.00000474"),
            (0, 8, "0"),
            (22_626_931_299_999_997, 16, "2.2626931299999997"),
        ] {
            assert_eq!(text(Dec::new(mantissa, scale)), expected);
        }
    }

    #[test]
    fn parses_what_it_renders_and_rejects_the_rest() {
        for t in ["1500", "0.076989", "2e-8", "-12.5", "2.5e-8"] {
            assert_eq!(text(Dec::parse(t).unwrap()), t);
        }
        assert_eq!(text(Dec::parse("23.0").unwrap()), "23");
        assert_eq!(text(Dec::parse("1.5e3").unwrap()), "1500");
        for t in ["", "x", "1e999", "1e-999", "99999999999999999999"] {
            assert_eq!(Dec::parse(t), None, "{t}");
        }
    }
}
