/// The errors of this crate: what was got, what was expected, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are no checkpoint, or not one of this training.
    #[error("bad checkpoint: {0}")]
    Checkpoint(String),

    /// A device that is not there.
    #[error("device: got {got}, expected {expected}")]
    Device {
        /// The device that was asked for.
        got: String,
        /// Those that are there.
        expected: String,
    },

    /// A device with too little memory; what libtorch tells of it.
    #[error("the device has too little memory: {0}; give it smaller batches")]
    Memory(String),
}

/// What this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
