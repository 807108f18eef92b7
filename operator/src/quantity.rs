//! Kubernetes quantities: text in, a number out that can be compared.
//!
//! `1`, `1000m` and `1e0` are one amount: the API server answers with another text than it was given.

/// The amount in billionths, rounded up; none for a text that is no quantity, or beyond what any node has.
///
/// Syntax: <https://pkg.go.dev/k8s.io/apimachinery/pkg/api/resource#Quantity>.
pub fn parse_nano(text: &str) -> Option<i128> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || number.len() > 30 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (multiplier, exponent) = scale(suffix)?;
    let exponent = exponent + 9 - i32::try_from(fraction.len()).ok()?;
    let scaled = digits.checked_mul(multiplier)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let amount = if exponent >= 0 {
        scaled.checked_mul(power)?
    } else {
        scaled / power + i128::from(scaled % power != 0)
    };
    Some(sign * amount)
}

/// What a suffix multiplies by: a factor, and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    Some(match suffix {
        "n" => (1, -9),
        "u" => (1, -6),
        "m" => (1, -3),
        "" => (1, 0),
        "k" => (1, 3),
        "M" => (1, 6),
        "G" => (1, 9),
        "T" => (1, 12),
        "P" => (1, 15),
        "E" => (1, 18),
        "Ki" => (1 << 10, 0),
        "Mi" => (1 << 20, 0),
        "Gi" => (1 << 30, 0),
        "Ti" => (1 << 40, 0),
        "Pi" => (1 << 50, 0),
        "Ei" => (1 << 60, 0),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (1, if exponent.abs() <= 18 { exponent } else { return None })
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_texts_of_one_amount_are_equal() {
        for (one, other) in [
            ("1", "1000m"),
            ("1Gi", "1024Mi"),
            ("0.5", "500m"),
            ("1e3", "1k"),
            ("1.5Gi", "1536Mi"),
            ("1E", "1e18"),
        ] {
            assert_eq!(parse_nano(one), parse_nano(other), "{one} {other}");
            assert!(parse_nano(one).is_some(), "{one}");
        }
        assert!(parse_nano("500m") < parse_nano("0.6"));
        assert!(parse_nano("-1") < parse_nano("0"));
        assert_eq!(parse_nano("0.1n"), Some(1), "rounded up");
    }

    #[test]
    fn what_is_no_quantity_has_no_amount() {
        for text in ["", "-", ".", "1x", "1 Gi", "1.2.3", "Mi", "1e", "1e99", "٣", "1mm", "0x10"] {
            assert_eq!(parse_nano(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,40}", number in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,3}") {
            let _ = (parse_nano(&text), parse_nano(&number));
        }
    }
}
