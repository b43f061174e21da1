//! Reads the description of a plugin, and trusts none of it.

use super::error::Cause;
use super::library::{Info, KindInfo, Role};
use crate::abi::{self, Bytes, Kind};
use crate::sized::{self, Unreadable};

/// Longer names, and more kinds, are errors.
const LONGEST_NAME: usize = 255;
const MOST_KINDS: usize = 1024;

/// A descriptor that passed all checks.
pub(crate) struct Description {
    pub(crate) info: Info,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) metrics: Option<unsafe extern "C-unwind" fn(out: abi::Sink)>,
    /// Its address, which no two libraries share.
    pub(crate) address: usize,
}

/// Reads and checks a descriptor without calling anything.
///
/// # Safety
/// `descriptor` is null or leads to constant data of at least a `usize`. Further pointers are followed if they are not
/// null; a library whose pointers do not lead to constant data cannot be detected.
pub(crate) unsafe fn read(descriptor: *const abi::Descriptor) -> Result<Description, Cause> {
    // SAFETY: the caller guarantees it.
    let read = unsafe { sized::read(descriptor) };
    let read = read.map_err(|why| wrong("the descriptor", why))?;
    if read.abi_major != abi::POA_ABI_MAJOR || read.abi_minor > abi::POA_ABI_MINOR {
        return Err(Cause::OtherVersion(format!("{}.{}", read.abi_major, read.abi_minor)));
    }
    // SAFETY: constant data, as the caller guarantees.
    let (name, version) = unsafe { (text("name", read.name)?, text("version", read.version)?) };
    // SAFETY: as above.
    let kinds = unsafe { kinds(read.kinds, read.kinds_len)? };
    let described = kinds.iter().map(|(_, info)| info.clone()).collect();
    let abi = (read.abi_major, read.abi_minor);
    let info = Info { name, version, abi, kinds: described };
    let kinds = kinds.into_iter().map(|(kind, _)| kind).collect();
    Ok(Description { info, kinds, metrics: read.metrics, address: descriptor.addr() })
}

/// # Safety
/// As for [`read`].
unsafe fn kinds(first: *const *const Kind, count: usize) -> Result<Vec<(Kind, KindInfo)>, Cause> {
    if count == 0 {
        return Err(Cause::Descriptor("it offers no kinds".to_owned()));
    }
    if count > MOST_KINDS {
        return Err(Cause::Descriptor(format!("{count} kinds; at most {MOST_KINDS}")));
    }
    if first.is_null() || !first.is_aligned() {
        return Err(Cause::Descriptor("`kinds` leads nowhere".to_owned()));
    }
    // SAFETY: not null, aligned, and a small number, as the caller guarantees.
    let pointers = unsafe { std::slice::from_raw_parts(first, count) };
    let mut kinds: Vec<(Kind, KindInfo)> = Vec::new();
    for pointer in pointers {
        // SAFETY: as for the descriptor.
        let (kind, info) = unsafe { one(*pointer)? };
        if kinds.iter().any(|(_, other)| *other == info) {
            return Err(Cause::Descriptor(format!(
                "it offers {} `{}` twice",
                info.role, info.name
            )));
        }
        kinds.push((kind, info));
    }
    Ok(kinds)
}

/// # Safety
/// As for [`read`].
unsafe fn one(kind: *const Kind) -> Result<(Kind, KindInfo), Cause> {
    // SAFETY: the caller guarantees it.
    let kind = unsafe { sized::read(kind) }.map_err(|why| wrong("a kind", why))?;
    // SAFETY: as above.
    let name = unsafe { text("the name of a kind", kind.name)? };
    let (role, work) = match kind.role {
        abi::POA_HANDLER => (Role::Handler, ("run", kind.run.is_some())),
        abi::POA_RECEIVER => {
            (Role::Receiver, ("metrics_received", kind.metrics_received.is_some()))
        }
        other => return Err(Cause::Descriptor(format!("`{name}` has the unknown role {other}"))),
    };
    for (function, there) in [("build", kind.build.is_some()), work] {
        if !there {
            return Err(Cause::Descriptor(format!("{role} `{name}` has no function `{function}`")));
        }
    }
    Ok((kind, KindInfo { role, name }))
}

/// # Safety
/// As for [`read`].
unsafe fn text(what: &str, bytes: Bytes) -> Result<String, Cause> {
    if bytes.data.is_null() || bytes.len == 0 {
        return Err(Cause::Descriptor(format!("{what} is missing")));
    }
    if bytes.len > LONGEST_NAME {
        let len = bytes.len;
        return Err(Cause::Descriptor(format!("{what} has {len} bytes; at most {LONGEST_NAME}")));
    }
    // SAFETY: not null, and a small number, as the caller guarantees.
    let text = std::str::from_utf8(unsafe { bytes.get() });
    match text {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(Cause::Descriptor(format!("{what} is not printable UTF-8"))),
    }
}

fn wrong(what: &str, why: Unreadable) -> Cause {
    Cause::Descriptor(match why {
        Unreadable::Null => format!("{what} is a null pointer"),
        Unreadable::Misaligned => format!("{what} is not aligned"),
        Unreadable::Size(size) => format!("{what} cannot have a size of {size} bytes"),
    })
}

#[cfg(test)]
mod tests;
