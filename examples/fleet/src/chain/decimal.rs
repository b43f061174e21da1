//! Numbers that need more than 128 bits, which only ever grow.

use std::fmt;

/// An unsigned number of any size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decimal {
    /// The lowest digit first.
    digits: Vec<u8>,
}

impl Decimal {
    /// # Panics
    /// If `text` is not all digits.
    pub(crate) fn new(text: &str) -> Self {
        let digit = |c: char| c.to_digit(10).expect("a digit") as u8;
        Self { digits: text.chars().rev().map(digit).collect() }
    }

    pub(crate) fn add(&mut self, mut more: u128) {
        let mut place = 0;
        while more > 0 {
            if place == self.digits.len() {
                self.digits.push(0);
            }
            let sum = self.digits[place] + (more % 10) as u8;
            self.digits[place] = sum % 10;
            more = more / 10 + u128::from(sum / 10);
            place += 1;
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.digits.iter().rev().map(|digit| char::from(b'0' + digit));
        f.write_str(&digits.collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_as_on_paper() {
        let mut number = Decimal::new("96073962346990082020395333163855709749076544");
        number.add(340_282_366_920_938_463_463_374_607_431_768_211_454);
        // Two blocks that follow each other in a recording of a real agent.
        assert_eq!(number.to_string(), "96074302629357002958858796538463141517287998");
        let mut number = Decimal::new("99");
        number.add(1);
        assert_eq!(number.to_string(), "100");
        number.add(u128::MAX);
        assert_eq!(number.to_string(), "340282366920938463463374607431768211555");
    }
}
