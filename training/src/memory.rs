use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::{Error, Result};

/// Runs what needs much memory. libtorch tells that there is not enough by an error, and tch makes
/// a panic of it.
///
/// # Errors
///
/// [`Error::Memory`] if the device has too little.
///
/// # Panics
///
/// As `run` does for any other reason.
pub fn within_memory<T>(run: impl FnOnce() -> T) -> Result<T> {
    // What a panic leaves half done is of tensors, which have no state of ours.
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| match memory_needed(&*panic) {
        Some(needed) => Error::Memory(needed),
        None => resume_unwind(panic),
    })
}

/// What libtorch says of memory, if that is what a panic is about: how much was asked for and, of
/// a GPU, how much there is.
pub fn memory_needed(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied())?;
    let begins = ["CUDA out of memory.", "DefaultCPUAllocator:"];
    let start = begins.iter().find_map(|begin| text.find(begin))?;
    let message = &text[start..];
    // A stack trace follows.
    let end = ["\\n", "\n", " (function "]
        .iter()
        .filter_map(|end| message.find(end))
        .min();
    Some(message[..end.unwrap_or(message.len())].trim().to_owned())
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::*;

    #[test]
    fn too_little_memory_is_told_with_what_was_needed() {
        let error = within_memory(|| Tensor::zeros([1 << 46], (Kind::Float, Device::Cpu)));
        let error = error.expect_err("nobody has so much").to_string();
        assert!(error.contains(&(1_u64 << 48).to_string()), "{error}");
        assert!(
            error.contains("smaller batches") && error.len() < 400,
            "{error}"
        );
        assert_eq!(within_memory(|| 7).expect("enough"), 7);
    }

    #[test]
    fn other_panics_go_on() {
        let panic = catch_unwind(|| within_memory(|| panic!("a bug"))).expect_err("a panic");
        assert_eq!(panic.downcast_ref::<&str>(), Some(&"a bug"));
    }
}
