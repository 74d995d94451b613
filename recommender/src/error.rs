/// The errors of this crate: what was got, what was expected, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
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

    /// A checkpoint that cannot be used.
    #[error("cannot read the model: {0}")]
    Model(String),

    /// An index that the model cannot be asked about.
    #[error("the index does not fit the model: {0}")]
    Index(String),

    /// Things that should fit each other do not.
    #[error("{what}: got {got}, expected {expected}")]
    Shape {
        /// Which quantity differs.
        what: &'static str,
        /// What was given.
        got: usize,
        /// What was needed.
        expected: usize,
    },

    /// Training went wrong.
    #[error("training: {0}")]
    Training(String),

    /// A query without a history, where one is needed.
    #[error("the history of query {0} is empty; give at least one item")]
    EmptyHistory(usize),

    /// A training's state, or its device.
    #[error(transparent)]
    Setup(#[from] semid_training::Error),

    /// libtorch reported an error.
    #[error("libtorch: {0}")]
    Torch(#[from] tch::TchError),

    /// The search refused.
    #[error(transparent)]
    Decode(Box<trie_decode::Error>),

    /// The index refused.
    #[error(transparent)]
    SemanticId(#[from] semantic_id::Error),

    /// The corpus refused, or what makes its texts into tokens.
    #[error(transparent)]
    Tasks(Box<semid_tasks::Error>),
}

impl From<trie_decode::Error> for Error {
    fn from(error: trie_decode::Error) -> Self {
        Self::Decode(Box::new(error))
    }
}

impl From<semid_tasks::Error> for Error {
    fn from(error: semid_tasks::Error) -> Self {
        Self::Tasks(Box::new(error))
    }
}

/// What this crate returns.
pub type Result<T> = std::result::Result<T, Error>;
