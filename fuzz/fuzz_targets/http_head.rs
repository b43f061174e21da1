//! Anything sent to a listener is answered as HTTP, or not at all.

#![no_main]

use libfuzzer_sys::fuzz_target;
use poa_fuzz::server::exchange;

fuzz_target!(|bytes: &[u8]| {
    let said = exchange(&[bytes]);
    // A WebSocket connection continues with frames.
    assert!(
        said.is_empty() || said.starts_with(b"HTTP/1."),
        "{:?}",
        String::from_utf8_lossy(&said)
    );
});
