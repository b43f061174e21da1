//! Texts of configurations: nothing panics, and every problem has a place within the text.

#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use poa_core::Registry;
use poa_engine_local::{Log, Memory};
use poa_handler_rest::Rest;
use poa_host::Config;
use poa_receiver_sqlite::Sqlite;

fn registry() -> &'static Registry {
    static REGISTRY: OnceLock<Registry> = OnceLock::new();
    REGISTRY.get_or_init(|| {
        let registry = Registry::new().engine::<Log>("log").engine::<Memory>("memory");
        registry.handler::<Rest>("rest").receiver::<Sqlite>("sqlite")
    })
}

fuzz_target!(|text: &str| {
    // A library that is named would be loaded.
    if text.contains("plugins") {
        return;
    }
    let Err(problems) = Config::parse(text, Path::new("poa.toml"), registry()) else { return };
    assert!(!problems.to_string().is_empty());
});
