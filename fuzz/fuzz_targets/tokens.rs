//! No token that this server did not make is valid, whatever it looks like.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use poa_auth::{Auth, AuthConfig};
use poa_core::auth::Authenticator as _;

fn auth() -> &'static Auth {
    static AUTH: OnceLock<Auth> = OnceLock::new();
    AUTH.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a directory");
        Auth::open(AuthConfig::default(), dir.path()).expect("an empty database")
    })
}

fuzz_target!(|token: &str| {
    assert!(auth().verify(token).is_err(), "{token}");
});
