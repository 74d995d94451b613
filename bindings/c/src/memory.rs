//! The caller's memory, as slices and values. The contract of every `unsafe` function here is that
//! of the crate: what a pointer leads to is there.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::{ptr, slice};

use crate::status::{Failure, Result, Status};

/// Holds that a pointer to one value is not null.
pub(crate) fn needed<'a, T>(what: &str, at: Option<&'a mut T>) -> Result<&'a mut T> {
    at.ok_or_else(|| Failure::null(what))
}

/// An array to read. Null is as good as any pointer where there is nothing to read.
pub(crate) unsafe fn array<'a, T>(what: &str, at: *const T, length: usize) -> Result<&'a [T]> {
    if length == 0 {
        return Ok(&[]);
    }
    possible(what, at, length)?;
    // SAFETY: it is neither null nor askew, not too large, and the caller's promise holds.
    Ok(unsafe { slice::from_raw_parts(at, length) })
}

/// An array to write.
pub(crate) unsafe fn room<'a, T>(
    what: &str,
    at: *mut T,
    length: usize,
) -> Result<&'a mut [MaybeUninit<T>]> {
    if length == 0 {
        return Ok(&mut []);
    }
    possible(what, at, length)?;
    // SAFETY: as in `array`; nothing is read before it is written.
    Ok(unsafe { slice::from_raw_parts_mut(at.cast(), length) })
}

/// An array of words to write, all zeros.
pub(crate) unsafe fn zeros<'a>(what: &str, at: *mut u32, length: usize) -> Result<&'a mut [u32]> {
    // SAFETY: the caller's promise.
    let words = unsafe { room(what, at, length) }?;
    words.fill(MaybeUninit::new(0));
    // SAFETY: they were just set.
    Ok(unsafe { words.assume_init_mut() })
}

/// Writes a list of whatever length into an array, if it has room, and its length in any case.
pub(crate) unsafe fn give<T>(
    list: impl ExactSizeIterator<Item = T>,
    to: *mut T,
    capacity: usize,
    length: Option<&mut MaybeUninit<usize>>,
) -> Result<()> {
    let count = list.len();
    needed("length", length)?.write(count);
    if count > capacity {
        let message = format!("the array has room for {capacity}, expected {count}");
        return Err(Failure::new(Status::Capacity, message));
    }
    // SAFETY: the caller's promise; the array is as long at least.
    let room = unsafe { room("array", to, count) }?;
    for (place, value) in room.iter_mut().zip(list) {
        place.write(value);
    }
    Ok(())
}

/// A text that ends with a zero.
pub(crate) unsafe fn text<'a>(what: &str, at: *const c_char) -> Result<&'a str> {
    if at.is_null() {
        return Err(Failure::null(what));
    }
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(at) }.to_str();
    text.map_err(|_| Failure::argument(format!("{what}: expected UTF-8")))
}

/// A struct that C fills or asks for, and that will grow.
///
/// # Safety
///
/// It is `repr(C)` and any bits are a value of it. Its first field is a `usize`, the size that the
/// caller knows it by; all others are as wide as that, or wider and numbers, so that a size which is
/// a multiple cuts no pointer.
pub(crate) unsafe trait Versioned: Copy {}

/// Options as their caller knows them: fields beyond its `struct_size` are zero, the default, and
/// so must those be that this library does not know. Null is all defaults.
pub(crate) unsafe fn options<T: Versioned>(what: &str, at: *const T) -> Result<T> {
    let mut options = MaybeUninit::<T>::zeroed();
    if !at.is_null() {
        // SAFETY: the caller's promise; the first field is the size.
        let size = unsafe { size_at(what, at) }?;
        // SAFETY: `size` bytes are there.
        let given = unsafe { slice::from_raw_parts(at.cast::<u8>(), size) };
        let known = size.min(size_of::<T>());
        if given[known..].iter().any(|&byte| byte != 0) {
            let newest = size_of::<T>();
            return Err(Failure::argument(format!(
                "{what}: an option beyond the {newest} bytes that this version knows is not 0; \
                 use a newer library"
            )));
        }
        // SAFETY: both have as many bytes, and do not overlap.
        unsafe { ptr::copy_nonoverlapping(given.as_ptr(), options.as_mut_ptr().cast(), known) };
    }
    // SAFETY: zeros and any other bits are a value.
    Ok(unsafe { options.assume_init() })
}

/// Writes as much of a struct as its reader knows, except for its size.
pub(crate) unsafe fn answer<T: Versioned>(what: &str, to: *mut T, value: T) -> Result<()> {
    // SAFETY: the caller's promise; the first field is the size.
    let size = unsafe { size_at(what, to) }?;
    let first = size_of::<usize>();
    let length = size.min(size_of::<T>()) - first;
    let from = ptr::from_ref(&value).cast::<u8>();
    // SAFETY: both have as many bytes, and do not overlap.
    unsafe { ptr::copy_nonoverlapping(from.add(first), to.cast::<u8>().add(first), length) };
    Ok(())
}

/// The size that the caller knows a struct by.
unsafe fn size_at<T>(what: &str, at: *const T) -> Result<usize> {
    /// No struct will ever be this large.
    const MOST: usize = 4096;
    possible(what, at, 1)?;
    // SAFETY: the caller's promise.
    let size = unsafe { at.cast::<usize>().read() };
    if size < size_of::<usize>() || size > MOST || !size.is_multiple_of(size_of::<usize>()) {
        return Err(Failure::argument(format!(
            "{what}: got struct_size {size}, expected sizeof of the struct"
        )));
    }
    Ok(size)
}

/// Holds that there can be an array at an address.
fn possible<T>(what: &str, at: *const T, length: usize) -> Result<()> {
    if at.is_null() {
        return Err(Failure::null(what));
    }
    if !at.is_aligned() || length > isize::MAX as usize / size_of::<T>() {
        let problem = format!("{what}: there cannot be an array of {length} at {at:p}");
        return Err(Failure::argument(problem));
    }
    Ok(())
}
