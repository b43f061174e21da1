#![doc = include_str!("../README.md")]

mod cell;
mod config;
mod database;
mod decimal;
mod error;
mod insert;
mod receiver;
mod row;
mod writer;

pub use config::Config;
pub use receiver::Sqlite;
