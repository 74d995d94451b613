use tch::Device;

use crate::{Error, Result};

/// Sees that a device is there before anything is put on it.
///
/// # Errors
///
/// [`Error::Device`] if it is not, with those that are.
pub fn check_device(device: Device) -> Result<()> {
    let there = tch::Cuda::device_count().max(0) as usize;
    match device {
        Device::Cuda(number) if number >= there => Err(Error::Device {
            got: format!("cuda:{number}"),
            expected: match there {
                0 => "cpu: this libtorch sees no CUDA device".to_owned(),
                there => format!("cpu, or cuda:0 to cuda:{}", there - 1),
            },
        }),
        _ => Ok(()),
    }
}
