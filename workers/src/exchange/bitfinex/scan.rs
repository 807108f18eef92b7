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

    /// A non-negative integer of at most 18 digits, followed by something that ends a number.
    #[inline]
    pub fn integer(&mut self) -> Option<i64> {
        let mut value = 0_i64;
        let mut digits = 0;
        while let Some(digit) = self.rest.get(digits).map(|b| b.wrapping_sub(b'0')).filter(|&d| d < 10) {
            value = value.wrapping_mul(10).wrapping_add(i64::from(digit));
            digits += 1;
        }
        let leading_zero = digits > 1 && self.rest[0] == b'0';
        if digits == 0 || digits > 18 || leading_zero || !matches!(self.rest.get(digits), Some(b',' | b']')) {
            return None;
        }
        self.rest = &self.rest[digits..];
        Some(value)
    }

    /// A number with sign, fraction and exponent as it comes, rounded once.
    #[inline]
    pub fn double(&mut self) -> Option<f64> {
        let text = self.rest;
        let negative = text.first() == Some(&b'-');
        let start = usize::from(negative);
        let (mut mantissa, mut at) = (0_u64, start);
        take_digits(text, &mut at, &mut mantissa);
        let integer_digits = at - start;
        if integer_digits == 0 || (integer_digits > 1 && text[start] == b'0') {
            return None;
        }
        let mut fraction_digits = 0;
        if text.get(at) == Some(&b'.') {
            let point = at + 1;
            at = point;
            take_digits(text, &mut at, &mut mantissa);
            fraction_digits = at - point;
            if fraction_digits == 0 {
                return None;
            }
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

#[inline]
fn take_digits(text: &[u8], at: &mut usize, mantissa: &mut u64) {
    while let Some(digit) = text.get(*at).map(|b| b.wrapping_sub(b'0')).filter(|&d| d < 10) {
        // Wraps beyond 19 digits, where the mantissa is not used.
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        *at += 1;
    }
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
