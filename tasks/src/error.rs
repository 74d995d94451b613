use std::fmt;

/// Where in a file something is, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// What is counted: `"line"` or `"row"`.
    pub unit: &'static str,
    /// Its number, from 1.
    pub number: u64,
}

impl Place {
    pub(crate) fn line(number: u64) -> Self {
        let unit = "line";
        Self { unit, number }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.unit, self.number)
    }
}

/// The errors of this crate: what was got, what was expected, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Whoever was told of the progress wanted no more.
    #[error("stopped; the same build goes on where it was")]
    Stopped,
    /// A file whose format cannot be told, or read.
    #[error("{file}: {problem}")]
    Format {
        /// The file's name, as the caller gave it.
        file: String,
        /// What is wrong, and what to do.
        problem: String,
    },

    /// A record that cannot be read.
    #[error("{file}, {place}: {problem}")]
    Record {
        /// The file's name, as the caller gave it.
        file: String,
        /// Where the record is.
        place: Place,
        /// What is wrong with which field.
        problem: String,
    },

    /// Two items with one key.
    #[error("{file}: {first} and {second} have the same key {key:?}; keys must be distinct")]
    DuplicateKey {
        /// The file's name, as the caller gave it.
        file: String,
        /// The key.
        key: String,
        /// Its first holder.
        first: Place,
        /// Its second holder.
        second: Place,
    },

    /// A field that no item has.
    #[error("no item has a field {field:?}; there are: {}", known.join(", "))]
    UnknownField {
        /// What was asked for.
        field: String,
        /// The fields that there are.
        known: Vec<String>,
    },

    /// Keys that cannot make a catalogue.
    #[error("{file}: {source}")]
    Keys {
        /// The file's name, as the caller gave it.
        file: String,
        /// What is wrong with them.
        source: Box<semantic_id::Error>,
    },

    /// A ladder of rewards with a number that is none.
    #[error("ladder of rewards: got {got}, expected finite numbers")]
    Ladder {
        /// The number.
        got: f64,
    },

    /// A text that the tokenizer cannot spell.
    #[error("the tokenizer failed: {0}")]
    Tokenizer(String),

    /// Histories that cannot be, or cannot be split as was asked for.
    #[error("histories: {0}")]
    Histories(String),

    /// The temporary file of what does not fit into memory failed.
    #[error("a temporary file: {0}")]
    Spill(#[source] std::io::Error),

    /// A row that does not fit the format it is to be written in.
    #[error("task {task:?} does not fit the format {format}: {problem}")]
    RowFormat {
        /// The format.
        format: crate::RowFormat,
        /// The row's task.
        task: String,
        /// What the row lacks.
        problem: String,
    },

    /// A kind of file that a format's readers do not take, or that this build cannot write.
    #[error("the format {format} does not go into {container} files here; it goes into {}", known(*format))]
    Container {
        /// The format.
        format: crate::RowFormat,
        /// The kind of file.
        container: crate::Container,
    },

    /// A chat template that cannot be read, or that refuses a row.
    #[error("chat template: {0}")]
    Chat(String),

    /// An output that cannot be written.
    #[error("cannot write the corpus: {0}")]
    Write(#[source] std::io::Error),

    /// A recipe that cannot be built.
    #[error("recipe: {0}")]
    Recipe(String),

    /// An index file that is damaged.
    #[error(transparent)]
    Index(#[from] semantic_id::Error),

    /// Templates that cannot be used: all that is wrong in a file.
    #[error("{}", lines(.0))]
    Templates(Vec<crate::Finding>),

    /// A template that failed on a sample.
    #[error("rendering a template: {0}")]
    Render(String),

    /// A locale without builtin templates.
    #[error("there are no builtin templates for the locale {locale:?}; there are {known}")]
    UnknownLocale {
        /// What was asked for.
        locale: String,
        /// The locales that there are.
        known: String,
    },

    /// A task that is not there.
    #[error("there is no task {task:?}; there are {known}")]
    UnknownTask {
        /// What was asked for.
        task: String,
        /// The tasks that there are.
        known: String,
    },
}

fn known(format: crate::RowFormat) -> String {
    let names: Vec<_> = format
        .containers()
        .iter()
        .map(ToString::to_string)
        .collect();
    names.join(", ")
}

fn lines(findings: &[crate::Finding]) -> String {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;
