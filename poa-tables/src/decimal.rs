//! Numbers as they were written, so that no digit is lost on the way to a column.

use std::borrow::Cow;

use serde_json::value::RawValue;

/// The most digits of a number written with an exponent when it is written out.
///
/// The largest double has 309; `1e999999999` would fill the memory.
const MAX_WRITTEN_OUT: usize = 1000;

/// The number that this text represents, if it is one by the grammar of JSON, without surrounding characters.
pub(crate) fn number(text: &str) -> Option<&str> {
    if !begins_like_a_number(text) {
        return None;
    }
    let raw: &RawValue = serde_json::from_str(text).ok()?;
    (raw.get().len() == text.len()).then_some(text)
}

/// The number in this JSON value, if it is one. Its grammar was checked when it was read.
pub(crate) fn number_of(json: &RawValue) -> Option<&str> {
    begins_like_a_number(json.get()).then(|| json.get())
}

fn begins_like_a_number(text: &str) -> bool {
    text.starts_with(|first: char| first == '-' || first.is_ascii_digit())
}

/// The digits of a number that is an integer, however it is written: `2e10` is `20000000000`.
pub(crate) fn integer(number: &str) -> Option<Cow<'_, str>> {
    if is_plain(number) {
        return Some(Cow::Borrowed(if number == "-0" { "0" } else { number }));
    }
    Decimal::parse(number)?.written_out().map(Cow::Owned)
}

/// An upper bound of the digits in the decimal value of a double.
const MOST_DIGITS: usize = 800;

/// The nearest double, if the conversion loses nothing that the sender wrote.
///
/// An integer must be exact. A number with a fraction or an exponent must equal the double when that is written with as many digits. This
/// holds for every number that was a double at the sender, whether its program writes the shortest form, seventeen digits, or all. It does
/// not hold for a number with more digits than a double can distinguish, nor for one that would become infinite or zero.
pub(crate) fn double(number: &str) -> Option<f64> {
    let nearest: f64 = number.parse().ok()?;
    if is_plain(number) {
        let exact: i128 = number.parse().ok()?;
        // A cast saturates, and the largest i128 is not a double.
        return (nearest as i128 == exact && exact != i128::MAX).then_some(nearest);
    }
    let decimal = Decimal::parse(number)?;
    let digits = decimal.digits.len();
    let same = || {
        let written = format!("{nearest:.*e}", digits.saturating_sub(1));
        Decimal::parse(&written).is_some_and(|written| written == decimal)
    };
    (nearest.is_finite() && digits <= MOST_DIGITS && same()).then_some(nearest)
}

/// The double whose shortest text is exactly this decimal value, if there is one.
pub(crate) fn same_double(number: &str) -> Option<f64> {
    let nearest: f64 = number.parse().ok()?;
    let same = Decimal::parse(&format!("{nearest:e}")) == Decimal::parse(number);
    (nearest.is_finite() && same).then_some(nearest)
}

/// Whether this is an integer without fraction or exponent.
fn is_plain(number: &str) -> bool {
    !number.contains(['.', 'e', 'E'])
}

/// A decimal number: its digits times ten to the power of its exponent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// Whether it is below zero.
    #[must_use]
    pub fn is_negative(&self) -> bool {
        self.negative
    }

    /// The digits as text, without zeros at either end; empty for zero.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// The power of ten.
    #[must_use]
    pub fn exponent(&self) -> i64 {
        self.exponent
    }

    pub(crate) fn parse(number: &str) -> Option<Self> {
        let (negative, unsigned) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = [whole, fraction].concat();
        let written = digits.len();
        digits.truncate(digits.trim_end_matches('0').len());
        let shift = (written - digits.len()) as i64 - fraction.len() as i64;
        digits.drain(..digits.len() - digits.trim_start_matches('0').len());
        if digits.is_empty() {
            return Some(Self { negative: false, digits, exponent: 0 });
        }
        let exponent = exponent.parse::<i64>().ok()?.checked_add(shift)?;
        Some(Self { negative, digits, exponent })
    }

    fn written_out(&self) -> Option<String> {
        let zeros = usize::try_from(self.exponent).ok()?;
        if self.digits.len().saturating_add(zeros) > MAX_WRITTEN_OUT {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        let digits = if self.digits.is_empty() { "0" } else { &self.digits };
        Some(format!("{sign}{digits}{}", "0".repeat(zeros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinguishes_numbers_from_other_texts() {
        for text in ["0", "-12", "1.5", "2e10", "1E-3", "-0.0"] {
            assert_eq!(number(text), Some(text));
        }
        for text in ["", " 1", "1 ", "0x10", "01", "1.", ".5", "+1", "NaN", "1_0", "-", "١"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn integers_are_written_out() {
        let cases = [
            ("12", "12"),
            ("-0", "0"),
            ("1e18", "1000000000000000000"),
            ("1000000000000000000.0", "1000000000000000000"),
            ("-2.50e1", "-25"),
            ("0.0e5", "0"),
            ("1267650600228229401496703205376", "1267650600228229401496703205376"),
        ];
        for (number, digits) in cases {
            assert_eq!(integer(number).as_deref(), Some(digits), "{number}");
        }
        for number in ["1.5", "1e-1", "1e1000", "1e99999999999999999999"] {
            assert_eq!(integer(number), None, "{number}");
        }
    }

    #[test]
    fn doubles_lose_nothing() {
        let cases = [
            ("12", 12.0),
            ("-9007199254740992", -9_007_199_254_740_992.0),
            ("1267650600228229401496703205376", 2f64.powi(100)),
            ("0.1", 0.1),
            ("0e0", 0.0),
            ("30.36418897967415", 30.364_188_979_674_15),
            ("0.30000000000000004", 0.1 + 0.2),
            // 17 digits, and all of them, as some programs write 0.1.
            ("0.10000000000000001", 0.1),
            ("1.0000000000000001e-1", 0.1),
            ("0.1000000000000000055511151231257827021181583404541015625", 0.1),
            ("1e23", 1e23),
            ("5e-324", 5e-324),
            ("-0.0", 0.0),
        ];
        for (number, expected) in cases {
            assert_eq!(double(number), Some(expected), "{number}");
        }
        let i128_max = i128::MAX.to_string();
        let endless = format!("0.{}", "3".repeat(100_000));
        for number in [
            "9007199254740993",
            "9007199254740993.0",
            "0.12345678901234567890",
            "0.100000000000000021",
            "1e999",
            "1e-999",
            &i128_max,
            &"9".repeat(60),
            &endless,
        ] {
            assert_eq!(double(number), None, "{number}");
        }
    }

    #[test]
    fn only_a_double_with_the_same_digits_is_equal() {
        assert_eq!(same_double("1234.50"), Some(1234.5));
        assert_eq!(same_double("-1.5e-7"), Some(-1.5e-7));
        assert_eq!(same_double("0.12345678901234567890"), None);
        assert_eq!(same_double("1e999"), None);
    }
}
