//! Reading structures that may be longer or shorter than the ones known here.

use std::mem::MaybeUninit;

use crate::abi;

/// A structure that begins with its size, and in which all zeros mean nothing.
///
/// # Safety
/// `repr(C)`, a `usize` with the size first, and valid when every further byte is zero.
pub(crate) unsafe trait Versioned: Copy {
    /// What the first version had: anything shorter is no such structure.
    const LEAST: usize = size_of::<Self>();
}

// SAFETY: as the trait demands; null pointers, absent functions and zeros are valid.
unsafe impl Versioned for abi::Outcome {}
// SAFETY: as above.
unsafe impl Versioned for abi::Drafts {}
// SAFETY: as above.
unsafe impl Versioned for abi::Batch {}
// SAFETY: as above.
unsafe impl Versioned for abi::Activities {}
// SAFETY: as above.
unsafe impl Versioned for abi::Build {}
// SAFETY: as above.
unsafe impl Versioned for abi::Host {}
// SAFETY: as above.
unsafe impl Versioned for abi::Kind {}
// SAFETY: as above.
unsafe impl Versioned for abi::Descriptor {}

/// No structure will ever be this long.
const MOST: usize = 64 << 10;

/// Why there is nothing to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    Null,
    Misaligned,
    /// It says to have this size.
    Size(usize),
}

/// Copies what both sides know of a structure; what this side knows alone stays zero.
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
    // SAFETY: not null, aligned, and it begins with its size.
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

/// The items of a sequence whose step is told by its maker.
///
/// # Safety
/// `first` leads to `count` items, `stride` bytes apart, that stay as they are while the iterator lives.
pub(crate) unsafe fn items<'a, T: Copy + 'a>(
    first: *const T,
    count: usize,
    stride: usize,
) -> impl ExactSizeIterator<Item = T> + 'a {
    let sound = !first.is_null() && first.is_aligned() && stride >= size_of::<T>();
    let count = if sound && stride.is_multiple_of(align_of::<T>()) { count } else { 0 };
    // SAFETY: the caller vouches for every item.
    (0..count).map(move |index| unsafe { first.byte_add(index * stride).read() })
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

    #[test]
    fn what_is_no_structure_is_refused() {
        let of_size = |size| abi::Outcome { size, ..abi::Outcome::code(0) };
        // SAFETY: null, or an outcome, whatever it says.
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
        let wide: [[u32; 3]; 3] = [[1, 0, 0], [2, 0, 0], [3, 0, 0]];
        // SAFETY: three items, twelve bytes apart.
        let seen: Vec<u32> = unsafe { items(wide.as_ptr().cast::<u32>(), 3, 12) }.collect();
        assert_eq!(seen, [1, 2, 3]);
        // SAFETY: refused before anything is read.
        assert_eq!(unsafe { items(wide.as_ptr().cast::<u32>(), 3, 2) }.len(), 0);
    }
}
