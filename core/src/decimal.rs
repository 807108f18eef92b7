//! Exact decimal sums of prices and amounts, rounded once, at the end.
//!
//! A double stands for the decimal of its shortest text, which is the exchange's own number up to 15 significant
//! digits. Sums run in 128-bit fixed point; what does not fit there goes to arbitrary precision, so that no finite
//! input is ever rounded.
//!
//! - The sum is the one that decimal arithmetic gives. (`sums_equal_decimal_arithmetic`)
//! - Fixed point holds exactly the decimal of the shortest text. (`fixed_point_is_the_shortest_text`)

use std::str::FromStr as _;

use bigdecimal::{BigDecimal, Zero as _};

/// Decimals of a price or an amount in fixed point.
const DIGITS: i64 = 8;
const SCALE: f64 = 1e8;
/// Below this, a decimal has at most 15 digits, and a double stands for at most one such decimal.
const FIXED_MAX: f64 = 1e15;
/// Integers up to here are doubles.
const DOUBLE_EXACT_MAX: u128 = 1 << f64::MANTISSA_DIGITS;

/// `x * 10^8` if that is a whole number of at most 15 digits.
///
/// Sound because the division below rounds correctly: if the quotient is `x`, the decimal `units / 10^8` reads as
/// `x`, and no other decimal of at most 15 digits does.
fn fixed(x: f64) -> Option<i64> {
    let scaled = x * SCALE;
    let units = (scaled + 0.5_f64.copysign(scaled)) as i64;
    (scaled.abs() < FIXED_MAX && units as f64 / SCALE == x).then_some(units)
}

/// The decimal of the shortest text that reads as `x`. `x` must be finite.
fn decimal(x: f64) -> BigDecimal {
    BigDecimal::from_str(ryu::Buffer::new().format_finite(x)).expect("ryu writes decimal numbers")
}

/// What one trade adds to the sums of every candle it is in: computed once.
#[derive(Debug, Clone)]
pub struct Quantities {
    /// |amount|.
    pub base: Quantity,
    /// price * |amount|.
    pub quote: Quantity,
}

impl Quantities {
    /// Of a trade. Both must be finite.
    pub fn new(price: f64, amount: f64) -> Self {
        if let (Some(price), Some(amount)) = (fixed(price), fixed(amount.abs())) {
            return Self {
                base: Quantity::Fixed(i128::from(amount)),
                quote: Quantity::Fixed(i128::from(price) * i128::from(amount)),
            };
        }
        let base = decimal(amount.abs());
        let quote = decimal(price) * &base;
        Self { base: Quantity::Big(base), quote: Quantity::Big(quote) }
    }
}

/// One summand: whole units of the sum it is for, or any decimal.
#[derive(Debug, Clone)]
pub enum Quantity {
    /// Units of `10^-DECIMALS` of the sum.
    Fixed(i128),
    /// Anything else.
    Big(BigDecimal),
}

/// Sum of amounts, in base currency.
pub type BaseSum = ExactSum<DIGITS>;
/// Sum of products of price and amount, in quote currency.
pub type QuoteSum = ExactSum<{ 2 * DIGITS }>;

/// An exact sum with `DECIMALS` decimals in fixed point, and the rest in arbitrary precision.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExactSum<const DECIMALS: i64> {
    units: i128,
    rest: Option<Box<BigDecimal>>,
}

impl<const DECIMALS: i64> ExactSum<DECIMALS> {
    /// Adds one summand.
    pub fn add(&mut self, quantity: &Quantity) {
        match quantity {
            Quantity::Fixed(units) => self.add_units(*units),
            Quantity::Big(decimal) => **self.rest.get_or_insert_default() += decimal,
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add_units(other.units);
        if let Some(rest) = &other.rest {
            **self.rest.get_or_insert_default() += &**rest;
        }
    }

    /// The exact value.
    pub fn to_decimal(&self) -> BigDecimal {
        let units = BigDecimal::new(self.units.into(), DECIMALS);
        self.rest.as_ref().map_or_else(|| units.clone(), |rest| &units + &**rest)
    }

    /// The double nearest to the exact value.
    pub fn to_f64(&self) -> f64 {
        match &self.rest {
            None if self.units.unsigned_abs() <= DOUBLE_EXACT_MAX => {
                self.units as f64 / 10_f64.powi(DECIMALS as i32)
            }
            None => parse(&format!("{}e-{DECIMALS}", self.units)),
            Some(_) => nearest(&self.to_decimal()),
        }
    }

    fn add_units(&mut self, units: i128) {
        if let Some(sum) = self.units.checked_add(units) {
            self.units = sum;
        } else {
            **self.rest.get_or_insert_default() += BigDecimal::new(units.into(), DECIMALS);
        }
    }
}

/// The double nearest to `quote / base`; 0 when `base` is 0.
pub fn ratio(quote: &QuoteSum, base: &BaseSum) -> f64 {
    if let (None, None, q @ 1.., b @ 1..) = (&quote.rest, &base.rest, quote.units, base.units)
        && b < i128::MAX / 10
    {
        return fixed_ratio(q, b);
    }
    let base = base.to_decimal();
    if base.is_zero() { 0.0 } else { nearest(&(quote.to_decimal() / base)) }
}

/// Long division to 40 digits with a sticky last one, so that the text rounds as the exact quotient does.
fn fixed_ratio(quote: i128, base: i128) -> f64 {
    let mut text = (quote / base).to_string();
    let mut rest = quote % base;
    let mut decimals = DIGITS;
    while rest != 0 && text.len() < 40 {
        rest *= 10;
        text.push(char::from(b'0' + (rest / base) as u8));
        rest %= base;
        decimals += 1;
    }
    if rest != 0 {
        text.push('1');
        decimals += 1;
    }
    parse(&format!("{text}e-{decimals}"))
}

fn nearest(decimal: &BigDecimal) -> f64 {
    let (digits, scale) = decimal.as_bigint_and_exponent();
    parse(&format!("{digits}e{}", -scale))
}

fn parse(text: &str) -> f64 {
    text.parse().expect("digits and an exponent are a number")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn prices() -> impl Strategy<Value = f64> {
        prop_oneof![
            (1_u64..1_000_000_000, 0_i32..9).prop_map(|(n, d)| n as f64 / 10_f64.powi(d)),
            1e-12..1e12_f64,
            any::<f64>().prop_map(f64::abs).prop_filter("finite", |x| x.is_finite() && *x > 0.0),
        ]
    }

    proptest! {
        #[test]
        fn sums_equal_decimal_arithmetic(trades in proptest::collection::vec((prices(), prices()), 1..20)) {
            let (mut base, mut quote) = (BaseSum::default(), QuoteSum::default());
            let (mut exact_base, mut exact_quote) = (BigDecimal::zero(), BigDecimal::zero());
            for (price, amount) in trades {
                let quantities = Quantities::new(price, amount);
                base.add(&quantities.base);
                quote.add(&quantities.quote);
                exact_base += decimal(amount);
                exact_quote += decimal(price) * decimal(amount);
            }
            prop_assert_eq!(base.to_decimal(), exact_base.clone());
            prop_assert_eq!(quote.to_decimal(), exact_quote.clone());
            prop_assert_eq!(base.to_f64(), exact_base.to_string().parse::<f64>().unwrap());
            prop_assert_eq!(ratio(&quote, &base), (exact_quote / exact_base).to_string().parse::<f64>().unwrap());
        }

        #[test]
        fn fixed_point_is_the_shortest_text(x in prices()) {
            if let Some(units) = fixed(x) {
                prop_assert_eq!(BigDecimal::new(units.into(), DIGITS), decimal(x));
            }
        }
    }

    #[test]
    fn prices_of_exchanges_are_fixed_point() {
        for (x, units) in [(0.00141342, 141_342), (2e-8, 2), (64_123.5, 6_412_350_000_000), (0.1, 10_000_000)]
        {
            assert_eq!(fixed(x), Some(units));
        }
        assert_eq!(fixed(2.262_693_129_999_999_7), None);
        assert_eq!(fixed(1e-9), None);
    }

    #[test]
    fn a_tenth_ten_times_is_one() {
        let mut sum = BaseSum::default();
        (0..10).for_each(|_| sum.add(&Quantities::new(1.0, 0.1).base));
        assert_eq!(sum.to_f64(), 1.0);
    }

    #[test]
    fn beyond_128_bits_nothing_is_lost() {
        let mut sum = ExactSum::<0> { units: i128::MAX, rest: None };
        sum.add(&Quantity::Fixed(1));
        assert_eq!(sum.to_decimal(), BigDecimal::from(i128::MAX) + BigDecimal::from(1));
    }
}
