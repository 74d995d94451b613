//! What commands that train have in common.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tch::Device;

use crate::usage_error;

/// A checkpoint is written after the first epoch that ends this long after the last one.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);

/// Tests set this to have a checkpoint after every epoch.
pub(crate) fn checkpoint_every() -> Duration {
    let seconds = std::env::var("SEMID_CHECKPOINT_SECONDS")
        .ok()
        .and_then(|s| s.parse().ok());
    seconds.map_or(CHECKPOINT_EVERY, Duration::from_secs)
}

/// Too little memory becomes an error; of the panic on the way to it nothing is to be seen.
pub(crate) fn quiet_about_memory() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if semid_training::memory_needed(panic.payload()).is_none() {
            tell(panic);
        }
    }));
}

/// What was typed for `--device`.
pub(crate) fn device(name: &str) -> anyhow::Result<Device> {
    let number = match name.split_once(':') {
        None if name == "cpu" => return Ok(Device::Cpu),
        None if name == "cuda" => Some(0),
        Some(("cuda", number)) => number.parse().ok(),
        _ => None,
    };
    match number {
        Some(number) => Ok(Device::Cuda(number)),
        None => Err(usage_error(format!(
            "--device {name}: expected cpu or cuda:N"
        ))),
    }
}

/// Parameters with some of them replaced by what was typed as `--set NAME=VALUE`.
pub(crate) fn with_settings<P: Serialize + DeserializeOwned>(
    params: P,
    settings: &[String],
) -> anyhow::Result<P> {
    let mut params = serde_json::to_value(params)?;
    for setting in settings {
        let (name, value) = setting
            .split_once('=')
            .ok_or_else(|| usage_error(format!("--set {setting}: expected NAME=VALUE")))?;
        let Some(slot) = params.get_mut(name) else {
            return Err(usage_error(format!(
                "--set {name}: there is no such setting"
            )));
        };
        *slot = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    }
    serde_json::from_value(params).map_err(|error| usage_error(format!("--set: {error}")))
}
