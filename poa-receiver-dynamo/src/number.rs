//! The numbers that DynamoDB stores with all their digits.

use std::borrow::Cow;
use std::ops::RangeInclusive;

/// The most significant digits of a number in DynamoDB.
const DIGITS: usize = 38;

/// The exponents of a number in DynamoDB, when it is written with one digit before its point.
const EXPONENTS: RangeInclusive<i64> = -130..=125;

/// A number longer than this is written with an exponent instead of its zeros.
const LONG: usize = 60;

/// A number in DynamoDB's notation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Number<'a> {
    pub(crate) text: Cow<'a, str>,
    /// Its part of the size of an item, in bytes.
    pub(crate) stored: usize,
}

/// Converts a JSON number; none when DynamoDB cannot represent it exactly.
pub(crate) fn number(json: &str) -> Option<Number<'_>> {
    let (sign, unsigned) = match json.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", json),
    };
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    let significant = digits.trim_start_matches('0');
    let leading = digits.len() - significant.len();
    let significant = significant.trim_end_matches('0');
    if significant.is_empty() {
        return Some(Number { text: Cow::Borrowed("0"), stored: 1 });
    }
    let places = i64::try_from(whole.len()).ok()? - i64::try_from(leading).ok()? - 1;
    let exponent = exponent.parse::<i64>().ok()?.checked_add(places)?;
    if significant.len() > DIGITS || !EXPONENTS.contains(&exponent) {
        return None;
    }
    let text = if json.len() > LONG {
        let (first, rest) = significant.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        Cow::Owned(format!("{sign}{first}{point}{rest}E{exponent}"))
    } else {
        Cow::Borrowed(json)
    };
    Some(Number { text, stored: size(significant.len(), exponent) + sign.len() })
}

/// The size of a number that is not negative: one byte for its exponent, and one for each pair of digits, counted from
/// the point.
fn size(digits: usize, exponent: i64) -> usize {
    let first_stands_alone = usize::from(exponent % 2 == 0);
    1 + (digits + first_stands_alone).div_ceil(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(json: &str) -> Option<String> {
        number(json).map(|number| number.text.into_owned())
    }

    #[track_caller]
    fn stays(json: &str) {
        assert_eq!(text(json).as_deref(), Some(json));
    }

    #[test]
    fn all_that_fits_stays_as_it_is() {
        stays("0");
        stays("-12.50");
        stays("1e5");
        stays("20000000000");
        stays("1267650600228229401496703205376");
        stays("99999999999999999999999999999999999999");
        stays("-0.00000000000000000000000000000000001");
        stays("9.99E+125");
        stays("1e-130");
    }

    #[test]
    fn zero_has_no_sign_and_no_exponent() {
        for json in ["-0", "0.00", "0e999999999999999999999", "-0.0E-7"] {
            assert_eq!(text(json).as_deref(), Some("0"));
        }
    }

    #[test]
    fn zeros_cost_no_digits() {
        let padded = format!("1{}", "0".repeat(100));
        assert_eq!(text(&padded).as_deref(), Some("1E100"));
        assert_eq!(text(&format!("-{padded}.000")).as_deref(), Some("-1E100"));
        let small = format!("0.{}1234", "0".repeat(100));
        assert_eq!(text(&small).as_deref(), Some("1.234E-101"));
    }

    /// Measured in DynamoDB Local by filling items up to the limit.
    #[test]
    fn sizes_are_those_of_dynamodb() {
        for (json, size) in [
            ("0", 1),
            ("1", 2),
            ("12", 2),
            ("123", 3),
            ("12345678901", 7),
            ("-1", 3),
            ("-123", 4),
            ("1.5", 3),
            ("0.15", 2),
            ("100", 2),
            ("12e2", 2),
            ("-0.12345", 5),
        ] {
            assert_eq!(number(json).map(|number| number.stored), Some(size), "{json}");
        }
    }

    #[test]
    fn what_does_not_fit_is_no_number() {
        assert_eq!(text("340282366920938463463374607431768211456"), None);
        assert_eq!(text("0.123456789012345678901234567890123456789"), None);
        assert_eq!(text("1e126"), None);
        assert_eq!(text("9e-131"), None);
        assert_eq!(text("1e99999999999999999999"), None);
    }
}
