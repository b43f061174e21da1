use std::ffi::c_void;
use std::ptr;

use super::*;
use crate::abi::{Build, Call, Descriptor};

unsafe extern "C-unwind" fn build(_: *const Build, _: Call) {}
unsafe extern "C-unwind" fn received(_: *mut c_void, _: *const abi::Batch, _: Call) {}

const NOTHING: Kind = Kind {
    size: size_of::<Kind>(),
    role: abi::POA_RECEIVER,
    flags: 0,
    name: Bytes::of(b"mine"),
    schema: None,
    validate: None,
    build: Some(build),
    drop: None,
    cancel: None,
    endpoints: None,
    metrics_received: Some(received),
    handle_active: None,
    handle_inactive: None,
    handle_message: None,
    terminate: None,
    run: None,
    shutdown: None,
    revoked: None,
    start: None,
};

/// The result for a descriptor of these kinds, after a change.
fn outcome(kinds: &[Kind], change: impl FnOnce(&mut Descriptor)) -> Result<Info, String> {
    let pointers: Vec<_> = kinds.iter().map(ptr::from_ref).collect();
    let mut descriptor = Descriptor {
        size: size_of::<Descriptor>(),
        abi_major: abi::POA_ABI_MAJOR,
        abi_minor: 0,
        name: Bytes::of(b"library"),
        version: Bytes::of("1.0-\u{df}".as_bytes()),
        kinds: pointers.as_ptr(),
        kinds_len: pointers.len(),
        metrics: None,
    };
    change(&mut descriptor);
    // SAFETY: a valid descriptor; changed fields are refused before they are followed.
    let read = unsafe { read(&raw const descriptor) };
    read.map(|description| description.info).map_err(|cause| cause.to_string())
}

fn refused(kinds: &[Kind], change: impl FnOnce(&mut Descriptor), because: &str) {
    let error = outcome(kinds, change).unwrap_err();
    assert!(error.contains(because), "{error:?} does not say {because:?}");
}

#[test]
fn a_good_one_is_read() {
    let info = outcome(&[NOTHING], |_| {}).unwrap();
    assert_eq!((&*info.name, &*info.version, info.abi), ("library", "1.0-\u{df}", (1, 0)));
    assert_eq!(info.kinds, [KindInfo { role: Role::Receiver, name: "mine".into() }]);
}

#[test]
fn null_pointers_are_refused() {
    // SAFETY: null is allowed.
    let error = unsafe { read(ptr::null()) }.err().unwrap().to_string();
    assert!(error.contains("the descriptor is a null pointer"), "{error}");
    refused(&[NOTHING], |d| d.kinds = ptr::null(), "`kinds` leads nowhere");
    refused(&[NOTHING], |d| d.name.data = ptr::null(), "name is missing");
    refused(&[Kind { name: Bytes::EMPTY, ..NOTHING }], |_| {}, "the name of a kind is missing");
    let none: [*const Kind; 1] = [ptr::null()];
    refused(&[NOTHING], |d| d.kinds = none.as_ptr(), "a kind is a null pointer");
    refused(&[Kind { build: None, ..NOTHING }], |_| {}, "no function `build`");
    let without = Kind { metrics_received: None, ..NOTHING };
    refused(&[without], |_| {}, "receiver `mine` has no function `metrics_received`");
    let without = Kind { role: abi::POA_HANDLER, ..NOTHING };
    refused(&[without], |_| {}, "handler `mine` has no function `run`");
}

#[test]
fn absurd_numbers_are_refused() {
    for size in [0, 1, size_of::<Descriptor>() - 1, 1 << 20, usize::MAX] {
        refused(&[NOTHING], |d| d.size = size, "cannot have a size of");
    }
    refused(&[Kind { size: 3, ..NOTHING }], |_| {}, "a kind cannot have a size of 3 bytes");
    refused(&[NOTHING], |d| d.kinds_len = usize::MAX, "at most 1024");
    refused(&[NOTHING], |d| d.kinds_len = 0, "offers no kinds");
    refused(&[NOTHING], |d| d.name.len = usize::MAX, "at most 255");
    refused(&[Kind { role: 9, ..NOTHING }], |_| {}, "unknown role 9");
}

#[test]
fn names_are_printable_text() {
    refused(&[NOTHING], |d| d.name = Bytes::of(b"\xff\xfe"), "name is not printable UTF-8");
    refused(&[NOTHING], |d| d.version = Bytes::of(b"1\n2"), "version is not printable UTF-8");
}

#[test]
fn a_kind_stands_there_once() {
    refused(&[NOTHING, NOTHING], |_| {}, "offers receiver `mine` twice");
}

#[test]
fn other_versions_are_refused_by_number() {
    refused(&[NOTHING], |d| d.abi_major = 2, "version 2.0 of the plugin interface");
    refused(&[NOTHING], |d| d.abi_minor = 7, "this server speaks version 1.2");
}

#[test]
fn what_a_later_version_adds_is_no_hindrance() {
    #[repr(C)]
    struct Later {
        known: Kind,
        more: [usize; 4],
    }
    let known = Kind { size: size_of::<Later>(), ..NOTHING };
    let later = Later { known, more: [7; 4] };
    let pointers = [(&raw const later).cast::<Kind>()];
    let info = outcome(&[NOTHING], |d| d.kinds = pointers.as_ptr()).unwrap();
    assert_eq!((&*info.kinds[0].name, later.more[3]), ("mine", 7));
}
