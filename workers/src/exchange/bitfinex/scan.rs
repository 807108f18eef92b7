//! JSON bytes in, numbers out: the scanner of the fast path. No allocation, no recursion.
//!
//! Accepts exactly the numbers of JSON (RFC 8259) and nothing around them: whoever deviates goes to `serde_json`.
//!
//! - A double is the one nearest to the decimal text, as `str::parse` gives it. (`doubles_equal_those_of_the_standard_library`)

/// A place in a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scanner<'a> {
    rest: &'a [u8],
}

/// Powers of ten that a double holds exactly.
const EXACT_POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Powers of ten that a `u64` holds.
const POWERS: [u64; 20] = {
    let mut powers = [1_u64; 20];
    let mut i = 1;
    while i < 20 {
        powers[i] = powers[i - 1] * 10;
        i += 1;
    }
    powers
};
/// Integers below it are doubles.
const EXACT_MANTISSA: u64 = 1 << 53;
/// So many decimal digits always fit a `u64`.
const MANTISSA_DIGITS_MAX: usize = 19;

impl<'a> Scanner<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Takes `expected`, or says no.
    #[inline]
    pub fn skip(&mut self, expected: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(expected)?;
        Some(())
    }

    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    pub fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// A non-negative integer of at most 18 digits, followed by something that ends a number. For ids and times.
    #[inline]
    pub fn long_integer(&mut self) -> Option<i64> {
        let digits = long_digits(self.rest);
        self.integer_of(digits)
    }

    /// The same, for numbers that are usually short.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let digits = more_digits(self.rest, 0, 0);
        self.integer_of(digits)
    }

    #[inline]
    fn integer_of(&mut self, (value, count): (u64, usize)) -> Option<i64> {
        let leading_zero = count > 1 && self.rest[0] == b'0';
        if count == 0 || count > 18 || leading_zero || !matches!(self.rest.get(count), Some(b',' | b']')) {
            return None;
        }
        self.rest = &self.rest[count..];
        Some(value as i64)
    }

    /// A number with sign, fraction and exponent as it comes, rounded once.
    #[inline]
    pub fn double(&mut self) -> Option<f64> {
        let text = self.rest;
        let negative = text.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut mantissa, integer_digits) = more_digits(&text[start..], 0, 0);
        if integer_digits == 0 || (integer_digits > 1 && text[start] == b'0') {
            return None;
        }
        let mut at = start + integer_digits;
        let mut fraction_digits = 0;
        if text.get(at) == Some(&b'.') {
            let (fraction, count) = long_digits(&text[at + 1..]);
            if count == 0 {
                return None;
            }
            at += 1 + count;
            fraction_digits = count;
            // Wraps where the mantissa is not used.
            mantissa = mantissa.wrapping_mul(POWERS[count.min(MANTISSA_DIGITS_MAX)]).wrapping_add(fraction);
        }
        let has_exponent = matches!(text.get(at), Some(b'e' | b'E'));
        if has_exponent {
            at = exponent_end(text, at)?;
        }
        if !matches!(text.get(at), Some(b',' | b']')) {
            return None;
        }
        self.rest = &text[at..];
        let exact = !has_exponent
            && integer_digits + fraction_digits <= MANTISSA_DIGITS_MAX
            && mantissa < EXACT_MANTISSA;
        if exact && let Some(power) = EXACT_POWERS.get(fraction_digits) {
            // Both are exact, so the one division rounds correctly (Clinger, 1990).
            let magnitude = mantissa as f64 / power;
            return Some(if negative { -magnitude } else { magnitude });
        }
        std::str::from_utf8(&text[..at]).ok()?.parse().ok()
    }
}

/// The digits that `text` begins with: their value, which wraps beyond 19 of them, and how many there are.
/// Numbers of eight digits and more are usual where this is used: eight go at once.
#[inline]
fn long_digits(text: &[u8]) -> (u64, usize) {
    if let Some(chunk) = text.first_chunk::<8>() {
        let bytes = u64::from_le_bytes(*chunk);
        // Zero in each byte that is a digit. A carry can only disturb bytes after one that is none.
        let others = ((bytes & HIGH_NIBBLES) ^ ZEROS) | ((bytes.wrapping_add(SIXES) & HIGH_NIBBLES) ^ ZEROS);
        if others == 0 {
            return more_digits(text, eight_digits(bytes), 8);
        }
    }
    more_digits(text, 0, 0)
}

/// Goes on after `count` digits of this value, one by one.
#[inline]
fn more_digits(text: &[u8], value: u64, count: usize) -> (u64, usize) {
    let (mut value, mut count) = (value, count);
    for &byte in &text[count..] {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            break;
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
        count += 1;
    }
    (value, count)
}

const HIGH_NIBBLES: u64 = 0xf0f0_f0f0_f0f0_f0f0;
const ZEROS: u64 = 0x3030_3030_3030_3030;
const SIXES: u64 = 0x0606_0606_0606_0606;

/// The value of eight digits, the first in the lowest byte: three multiplications (Lemire, 2018).
#[inline]
fn eight_digits(bytes: u64) -> u64 {
    let pairs = (bytes & 0x0f0f_0f0f_0f0f_0f0f).wrapping_mul(2_561) >> 8;
    let fours = (pairs & 0x00ff_00ff_00ff_00ff).wrapping_mul(6_553_601) >> 16;
    (fours & 0x0000_ffff_0000_ffff).wrapping_mul(42_949_672_960_001) >> 32
}

/// Where the exponent that starts at `at` ends.
fn exponent_end(text: &[u8], at: usize) -> Option<usize> {
    let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
    let first = at + 1 + sign;
    let digits = text[first..].iter().take_while(|b| b.is_ascii_digit()).count();
    (digits > 0).then_some(first + digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn double(text: &str) -> Option<f64> {
        let with_end = format!("{text}]");
        let mut scanner = Scanner::new(with_end.as_bytes());
        let value = scanner.double()?;
        assert_eq!(scanner.rest, b"]");
        Some(value)
    }

    proptest! {
        #[test]
        fn doubles_equal_those_of_the_standard_library(
            text in r"-?(0|[1-9][0-9]{0,22})(\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
        ) {
            prop_assert_eq!(double(&text).unwrap().to_bits(), text.parse::<f64>().unwrap().to_bits());
        }

        #[test]
        fn accepts_what_json_accepts_and_nothing_else(text in r"[-+.0-9eE]{0,8}") {
            let json = serde_json::from_str::<f64>(&text).ok();
            if let Some(value) = double(&text).filter(|v| v.is_finite()) {
                prop_assert_eq!(Some(value.to_bits()), json.map(f64::to_bits));
            } else {
                prop_assert!(json.is_none(), "{}", text);
            }
        }
    }

    proptest! {
        #[test]
        fn integers_equal_those_of_the_standard_library(n in 0_i64..1_000_000_000_000_000_000, after in r"[,\]][ -~é]{0,12}") {
            let text = format!("{n}{after}");
            let mut scanner = Scanner::new(text.as_bytes());
            prop_assert_eq!(scanner.integer(), Some(n));
            prop_assert_eq!(scanner.rest, after.as_bytes());
            prop_assert_eq!(Scanner::new(text.as_bytes()).long_integer(), Some(n));
        }

        #[test]
        fn digits_end_where_they_end(text in any::<Vec<u8>>(), lead in "[0-9]{0,19}") {
            let text = [lead.as_bytes(), &text].concat();
            let count = text.iter().take_while(|b| b.is_ascii_digit()).count();
            prop_assert_eq!(long_digits(&text).1, count);
            prop_assert_eq!(long_digits(&text), more_digits(&text, 0, 0));
        }
    }

    #[test]
    fn reads_the_numbers_of_the_recordings() {
        for (text, value) in
            [("1500", 1500.0), ("0.076989", 0.076_989), ("2e-8", 2e-8), ("-0.00850517", -0.008_505_17)]
        {
            assert_eq!(double(text), Some(value));
        }
        assert_eq!(Scanner::new(b"18,").integer(), Some(18));
        for bad in ["", "-1,", "1.5,", "007,", "1234567890123456789,", "12", "1e3]"] {
            assert_eq!(Scanner::new(bad.as_bytes()).integer(), None, "{bad}");
        }
    }
}
