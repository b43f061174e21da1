//! Reads structures that can be longer or shorter than the ones known here.

use std::mem::{MaybeUninit, offset_of};

use crate::abi;

/// A structure that starts with its size, and in which all zeros are valid.
///
/// # Safety
/// `repr(C)`, a `usize` with the size first, and valid when every further byte is zero.
pub(crate) unsafe trait Versioned: Copy {
    /// The size in the first version that has it: anything shorter is not valid. It never changes when fields are added,
    /// for plugins of that version.
    const LEAST: usize;
}

/// The offset of the field after this one, in a structure of this alignment.
const fn end_of<T, F>(_: fn(&T) -> &F, offset: usize) -> usize {
    (offset + size_of::<F>()).next_multiple_of(align_of::<T>())
}

/// A structure whose last field in its first version is this one. Later fields come after it, and after its padding.
macro_rules! versioned {
    ($($structure:ty, $last:ident;)*) => {
        $(
            // SAFETY: as the trait requires; null pointers, absent functions and zeros are valid.
            unsafe impl Versioned for $structure {
                const LEAST: usize = end_of::<$structure, _>(|it| &it.$last, offset_of!($structure, $last));
            }
        )*
    };
}

versioned! {
    abi::Outcome, instance;
    abi::Drafts, stride;
    abi::Batch, stride;
    abi::Activities, stride;
    abi::Build, has_authenticator;
    abi::Host, login;
    abi::Kind, revoked;
    abi::Descriptor, metrics;
    abi::Start, sender;
}

/// An item of a sequence that carries the distance between its items. All zeros are valid.
///
/// # Safety
/// `repr(C)`, and valid when every byte after the first version's is zero.
pub(crate) unsafe trait Item: Copy {
    /// The size in version 1.0: a sequence of shorter items is not valid.
    const LEAST: usize;
}

/// An item whose last field in version 1.0 is this one.
macro_rules! item {
    ($($item:ty, $last:ident;)*) => {
        $(
            // SAFETY: as the trait requires; null pointers and zeros are valid.
            unsafe impl Item for $item {
                const LEAST: usize = end_of::<$item, _>(|it| &it.$last, offset_of!($item, $last));
            }
        )*
    };
}

item! {
    abi::Draft, key;
    abi::Message, payload;
    abi::Activity, since;
    abi::Bytes, len;
}

/// An upper bound on the length of a valid structure.
const MOST: usize = 64 << 10;

/// The reason why a structure cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Null,
    Misaligned,
    /// The size that it claims to have.
    Size(usize),
}

/// Copies the fields that both sides know; fields that only this side knows remain zero.
///
/// # Safety
/// `from` is null, or leads to at least a `usize`, and to as many bytes as that says.
pub(crate) unsafe fn read<T: Versioned>(from: *const T) -> Result<T, Unreadable> {
    if from.is_null() {
        return Err(Unreadable::Null);
    }
    if !from.is_aligned() {
        return Err(Unreadable::Misaligned);
    }
    // SAFETY: not null, aligned, and it starts with its size.
    let size = unsafe { from.cast::<usize>().read() };
    if !(T::LEAST..=MOST).contains(&size) {
        return Err(Unreadable::Size(size));
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    let known = size.min(size_of::<T>());
    // SAFETY: `from` has `size` bytes, `copy` those of a `T`; the rest of it is zero, which `Versioned` allows.
    unsafe {
        std::ptr::copy_nonoverlapping(from.cast::<u8>(), copy.as_mut_ptr().cast(), known);
        Ok(copy.assume_init())
    }
}

/// The items of a sequence with an explicit distance between them; fields that only this side knows are zero.
///
/// # Safety
/// `first` leads to `count` items, `stride` bytes apart, that do not change while the iterator lives.
pub(crate) unsafe fn items<'a, T: Item + 'a>(
    first: *const T,
    count: usize,
    stride: usize,
) -> impl ExactSizeIterator<Item = T> + 'a {
    let sound = !first.is_null() && first.is_aligned() && stride >= T::LEAST;
    let count = if sound && stride.is_multiple_of(align_of::<T>()) { count } else { 0 };
    let known = stride.min(size_of::<T>());
    (0..count).map(move |index| {
        let mut copy = MaybeUninit::<T>::zeroed();
        // SAFETY: the caller guarantees `stride` bytes for every item; the rest of the copy is zero, which `Item` allows.
        unsafe {
            let from = first.byte_add(index * stride).cast::<u8>();
            std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr().cast(), known);
            copy.assume_init()
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A structure of a later version.
    #[repr(C)]
    struct Later {
        known: abi::Outcome,
        more: u64,
    }

    #[test]
    fn a_longer_structure_is_read_as_far_as_it_is_known() {
        let mut known = abi::Outcome::code(7);
        known.size = size_of::<Later>();
        let later = Later { known, more: 1 };
        // SAFETY: it has the size it says.
        let read = unsafe { read(std::ptr::from_ref(&later).cast::<abi::Outcome>()) }.unwrap();
        assert_eq!((read.code, later.more), (7, 1));
    }

    /// A structure to which a later version of this side has added a field.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Grown {
        size: usize,
        first: u32,
        added: u64,
    }

    versioned! { Grown, first; }

    #[test]
    fn a_structure_of_an_earlier_version_lacks_what_came_later() {
        #[repr(C)]
        struct Earlier {
            size: usize,
            first: u32,
        }
        let earlier = Earlier { size: size_of::<Earlier>(), first: 7 };
        // SAFETY: it has the size it claims.
        let read = unsafe { read(std::ptr::from_ref(&earlier).cast::<Grown>()) }.unwrap();
        assert_eq!((read.size, read.first, read.added), (earlier.size, earlier.first, 0));
    }

    /// The sizes in plugins of version 1.0. These numbers never change.
    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_sizes_of_the_first_version() {
        let sizes = [
            abi::Outcome::LEAST,
            abi::Drafts::LEAST,
            abi::Batch::LEAST,
            abi::Activities::LEAST,
            abi::Build::LEAST,
            abi::Host::LEAST,
            abi::Kind::LEAST,
            abi::Descriptor::LEAST,
        ];
        assert_eq!(sizes, [56, 32, 32, 32, 80, 88, 144, 72]);
        assert_eq!(abi::Start::LEAST, 32, "since 1.2");
        assert_eq!([abi::Draft::LEAST, abi::Message::LEAST, abi::Activity::LEAST], [72, 80, 24]);
    }

    #[test]
    fn what_is_no_structure_is_refused() {
        let of_size = |size| abi::Outcome { size, ..abi::Outcome::code(0) };
        // SAFETY: null, or an outcome, whatever it contains.
        unsafe {
            assert_eq!(read::<abi::Outcome>(std::ptr::null()).unwrap_err(), Unreadable::Null);
            for size in [0, 7, usize::MAX] {
                let outcome = of_size(size);
                assert_eq!(read(&raw const outcome).unwrap_err(), Unreadable::Size(size));
            }
        }
    }

    #[test]
    fn items_lie_as_far_apart_as_their_maker_says() {
        let wide: [[u64; 5]; 3] = [[1; 5], [2; 5], [3; 5]];
        let first = wide.as_ptr().cast::<Grown>();
        // SAFETY: three items, forty bytes apart.
        let seen: Vec<u64> = unsafe { items(first, 3, 40) }.map(|it| it.added).collect();
        assert_eq!(seen, [1, 2, 3]);
        // SAFETY: refused before anything is read.
        assert_eq!(unsafe { items(first, 3, 8) }.len(), 0);
    }

    item! { Grown, first; }

    #[test]
    fn items_of_an_earlier_version_lack_what_came_later() {
        let short: [[u64; 2]; 3] = [[1; 2], [2; 2], [3; 2]];
        // SAFETY: three items, sixteen bytes apart.
        let seen: Vec<_> = unsafe { items(short.as_ptr().cast::<Grown>(), 3, 16) }
            .map(|it| (it.size, it.added))
            .collect();
        assert_eq!(seen, [(1, 0), (2, 0), (3, 0)]);
    }
}
