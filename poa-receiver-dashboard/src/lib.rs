#![doc = include_str!("../README.md")]

mod config;
mod feed;
mod page;
mod read;
mod receiver;
mod saver;
mod secret;
mod serving;
mod state;
mod store;
mod web;

pub use config::Config;
pub use receiver::Dashboard;
