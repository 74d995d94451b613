/// The errors of this crate: what was got, what was expected, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Bytes that are not an embedding file we can read.
    #[error("cannot read embeddings: {0}")]
    Format(String),

    /// Embeddings that cannot be written where they should be.
    #[error("cannot write embeddings: {0}")]
    Write(std::io::Error),

    /// A NaN or an infinity among the embeddings.
    #[error("embedding of item {row}: value {value} in column {column}; all values must be finite")]
    NotFinite {
        /// Row of the item.
        row: usize,
        /// Column of the value.
        column: usize,
        /// The value.
        value: f32,
    },

    /// A catalogue without items.
    #[error("the embeddings have no rows; at least one item is needed")]
    Empty,

    /// Arrays or files that should fit each other do not.
    #[error("{what}: got {got}, expected {expected}")]
    Shape {
        /// Which quantity differs.
        what: &'static str,
        /// What was given.
        got: usize,
        /// What was needed.
        expected: usize,
    },

    /// A setting that makes no sense.
    #[error("setting `{name}`: got {got}, expected {expected}")]
    Setting {
        /// Name of the setting.
        name: &'static str,
        /// What was given.
        got: String,
        /// What is allowed.
        expected: String,
    },

    /// Histories in which no two items meet, so that nothing can be learnt of their company.
    #[error(
        "the training events of {users} users hold no two items within {window} places of each \
         other: the co-occurrence graph is empty. The last two events of a user are kept for \
         validation and test; give histories of at least 4 events, or do without them"
    )]
    NoPairs {
        /// Number of histories.
        users: usize,
        /// Places within which two items meet.
        window: usize,
    },

    /// A model folder that cannot be used.
    #[error("cannot read the model: {0}")]
    Model(String),

    /// Training went wrong.
    #[error("training: {0}")]
    Training(String),

    /// libtorch reported an error.
    #[cfg(feature = "torch")]
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),

    /// A checkpoint that cannot be gone on with, or a device that is not there.
    #[cfg(feature = "torch")]
    #[error("training: {0}")]
    Setup(#[from] semid_training::Error),

    /// The code space refused.
    #[error(transparent)]
    SemanticId(#[from] semantic_id::Error),
}

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;
