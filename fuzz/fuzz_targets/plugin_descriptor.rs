//! The description of a plugin, with anything in it but pointers that lead nowhere: reading it never panics, what is accepted is as the interface
//! demands, and what is refused is explained in one line.

#![no_main]

use std::cell::RefCell;
use std::ffi::c_void;
use std::ptr;

use libfuzzer_sys::fuzz_target;
use poa_core::Registry;
use poa_plugin::abi::{self, Bytes, Descriptor, Kind, Sink};
use poa_plugin::host::{Info, Library};

/// The size and version of the descriptor, its name and version as text, and which pointers are null.
type Head = (u16, u8, u8, Vec<u8>, Vec<u8>, u8);

/// The size of a kind, its role, its name, which functions it has, and which pointers are null.
type Part = (u16, u8, Vec<u8>, u8, u8);

thread_local! {
    /// The text that the function `schema` of each kind writes.
    static SCHEMA: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

unsafe extern "C-unwind" fn schema(out: Sink) {
    if let Some(write) = out.write {
        // SAFETY: the sink is valid during the call, and so is the text.
        SCHEMA.with_borrow(|text| unsafe { write(out.context, bytes(text, false)) });
    }
}

unsafe extern "C-unwind" fn build(_: *const abi::Build, _: abi::Call) {}

unsafe extern "C-unwind" fn run(_: *mut c_void, _: u64, _: abi::Call) {}

unsafe extern "C-unwind" fn metrics_received(_: *mut c_void, _: *const abi::Batch, _: abi::Call) {}

fn bytes(text: &[u8], null: bool) -> Bytes {
    Bytes { data: if null { ptr::null() } else { text.as_ptr() }, len: text.len() }
}

/// A small number is the distance from the true size, so that both sides of it are tried often.
fn size(given: u16, true_size: usize) -> usize {
    match given {
        0..64 => true_size.wrapping_add(usize::from(given)).wrapping_sub(32),
        _ => usize::from(given),
    }
}

fn kind((given, role, name, functions, nulls): &Part) -> Kind {
    // SAFETY: null pointers, absent functions and zeros are valid.
    let empty: Kind = unsafe { std::mem::zeroed() };
    Kind {
        size: size(*given, size_of::<Kind>()),
        role: u32::from(*role),
        name: bytes(name, nulls & 1 != 0),
        build: (functions & 1 == 0).then_some(build),
        run: (functions & 2 == 0).then_some(run),
        metrics_received: (functions & 4 == 0).then_some(metrics_received),
        schema: (functions & 8 != 0).then_some(schema),
        ..empty
    }
}

/// A structure whose size is said to be smaller or larger than it is leads to memory of that size all the same.
#[repr(C)]
struct Padded<T>(T, [u8; 1 << 16]);

fn check(info: &Info, parts: &[Part]) {
    let texts = [&info.name, &info.version].into_iter().chain(info.kinds.iter().map(|one| &one.name));
    for text in texts {
        assert!((1..=255).contains(&text.len()) && !text.chars().any(char::is_control), "{text:?}");
    }
    assert_eq!(info.kinds.len(), parts.len());
    assert!(info.kinds.iter().enumerate().all(|(n, one)| !info.kinds[..n].contains(one)));
    assert_eq!(info.abi.0, abi::POA_ABI_MAJOR);
}

fuzz_target!(|input: (Head, Vec<Part>, Vec<u8>)| {
    let ((given, major, minor, name, version, nulls), mut parts, text) = input;
    parts.truncate(16);
    SCHEMA.set(text);
    let kinds: Vec<_> = parts.iter().map(|part| Box::new(Padded(kind(part), [0; 1 << 16]))).collect();
    let pointer = |one: &Box<Padded<Kind>>| ptr::from_ref(&one.0);
    let mut pointers: Vec<*const Kind> = kinds.iter().map(pointer).collect();
    for (pointer, part) in pointers.iter_mut().zip(&parts) {
        if part.4 & 2 != 0 {
            *pointer = ptr::null();
        }
    }
    let descriptor = Descriptor {
        size: size(given, size_of::<Descriptor>()),
        abi_major: u32::from(major),
        abi_minor: u32::from(minor),
        name: bytes(&name, nulls & 1 != 0),
        version: bytes(&version, nulls & 2 != 0),
        kinds: if nulls & 4 != 0 { ptr::null() } else { pointers.as_ptr() },
        kinds_len: pointers.len(),
        metrics: None,
    };
    let descriptor = Box::new(Padded(descriptor, [0; 1 << 16]));
    // SAFETY: it lives until the library is dropped at the end, and nothing of the library is called afterwards.
    let lasting: &'static Descriptor = unsafe { &*ptr::from_ref(&descriptor.0) };
    match Library::linked(lasting) {
        Ok(library) => {
            check(library.info(), &parts);
            drop(library.register(Registry::new()));
        }
        Err(error) => {
            let said = format!("{error}");
            assert!(said.len() < 2000 && !said.chars().any(char::is_control), "{said:?}");
        }
    }
});
