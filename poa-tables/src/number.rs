use std::borrow::Cow;

use crate::Decimal;
use crate::decimal;

/// A number of any size, as written in the grammar of JSON: no digit is lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number<'a>(Cow<'a, str>);

impl<'a> Number<'a> {
    /// Wraps a text that is a number by the grammar of JSON.
    pub(crate) fn new(text: Cow<'a, str>) -> Self {
        Self(text)
    }

    /// The number as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digits of an integer, however it was written: `2e10` is `20000000000`. `None` for a number that is not an integer, and
    /// for one with more than 1000 digits that was not written out itself.
    #[must_use]
    pub fn integer(&self) -> Option<Cow<'_, str>> {
        decimal::integer(&self.0)
    }

    /// The double whose shortest text is exactly this decimal value, if there is one.
    #[must_use]
    pub fn same_double(&self) -> Option<f64> {
        decimal::same_double(&self.0)
    }

    /// Sign, digits and exponent. `None` when the exponent has more than 63 bits.
    #[must_use]
    pub fn decimal(&self) -> Option<Decimal> {
        Decimal::parse(&self.0)
    }
}
