#![doc = include_str!("../README.md")]

mod cell;
mod config;
mod database;
mod error;
mod insert;
mod receiver;
mod shared;
mod tidying;
mod writer;

pub use config::Config;
pub use receiver::Sqlite;
