#![doc = include_str!("../README.md")]

pub mod abi;
#[cfg(feature = "host")]
pub mod host;
#[cfg(feature = "sdk")]
#[doc(hidden)]
pub mod sdk;
mod sized;

#[cfg(feature = "sdk")]
pub use poa_core;
