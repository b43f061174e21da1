//! For any input after a handshake, the server sends only frames, and ends.

#![no_main]

use libfuzzer_sys::fuzz_target;
use poa_fuzz::server::exchange;

const HANDSHAKE: &[u8] =
    b"GET /ws HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

fuzz_target!(|bytes: &[u8]| {
    let said = exchange(&[HANDSHAKE, bytes]);
    let Some(end) = said.windows(4).position(|four| four == b"\r\n\r\n") else { return };
    assert!(said.starts_with(b"HTTP/1.1 101 "));
    check_frames(&said[end + 4..]);
});

/// RFC 6455, section 5.2: a server's frames are whole messages here, without a mask. The last one may be cut.
fn check_frames(mut rest: &[u8]) {
    while let [first, second, after @ ..] = rest {
        assert!(matches!(first, 0x81 | 0x82 | 0x88 | 0x89 | 0x8a), "{first:#x}");
        assert_eq!(second & 0x80, 0);
        let (length, after) = match second {
            126 if after.len() >= 2 => {
                (usize::from(u16::from_be_bytes([after[0], after[1]])), &after[2..])
            }
            126 | 127 => return,
            short => (usize::from(*short), after),
        };
        let Some(after) = after.get(length..) else { return };
        rest = after;
    }
}
