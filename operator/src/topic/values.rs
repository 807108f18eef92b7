//! Whether two texts are the same value to a broker, which shows values in its own writing.

/// `1e3`, `1000` and `1000.0` are one number, `TRUE` is `true`, spaces around the parts of a list do not count. An
/// operator that took them for different would alter the key in every round.
pub fn same_value(a: &str, b: &str) -> bool {
    let (a, b) = (a.trim(), b.trim());
    a == b
        || matches!((a.parse::<i128>(), b.parse::<i128>()), (Ok(a), Ok(b)) if a == b)
        || matches!((decimal(a), decimal(b)), (Some(a), Some(b)) if a == b)
        || is_flag(a) && a.eq_ignore_ascii_case(b)
        || (a.contains(',') || b.contains(',')) && parts(a).eq(parts(b))
}

/// Only where a whole number would not do: doubles cannot tell large ones apart.
fn decimal(text: &str) -> Option<f64> {
    let looks = text.contains(['.', 'e', 'E']) || text.len() <= 15;
    text.parse::<f64>().ok().filter(|number| looks && number.is_finite())
}

fn is_flag(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn parts(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}
