#![doc = include_str!("../README.md")]

mod cell;
mod decimal;
mod measures;
mod number;
mod pace;
mod row;

pub use cell::Cell;
pub use decimal::Decimal;
pub use measures::{Measures, TABLES, Tally};
pub use number::Number;
pub use pace::Pace;
pub use row::{Mapped, Row, map};
