#![doc = include_str!("../README.md")]

mod cell;
mod decimal;
mod number;
mod row;

pub use cell::Cell;
pub use decimal::Decimal;
pub use number::Number;
pub use row::{Mapped, Row, map};
