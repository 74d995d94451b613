//! The C ABI: `include/semid.h`, which is made of this crate and whose comments are the manual.
//!
//! A function does its work in a `guard`: whatever goes wrong, panics included, becomes a
//! [`Status`](status::Status) and a message. A handle is a ticket, a number that looks like a
//! pointer and is never followed, so that one that was closed is found out.
//!
//! # Safety
//!
//! The functions are for C, and what C must hold is the same for all of them. A pointer to
//! anything but a handle is null, or leads to as many values as its length says (a text, to a
//! zero; options, to `struct_size` bytes), which nobody else writes during the call, nor reads if
//! the call writes them.
#![allow(
    unsafe_code,
    reason = "a C ABI has pointers; `memory` turns them into slices"
)]
#![allow(
    clippy::missing_safety_doc,
    reason = "it is the same for all functions, and stands above"
)]

pub mod cursor;
pub mod filter;
mod handle;
pub mod index;
pub mod mask;
mod memory;
pub mod scorer;
pub mod search;
pub mod session;
pub mod status;
pub mod step;
pub mod tokens;
