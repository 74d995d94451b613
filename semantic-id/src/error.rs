use crate::{Digest, SemanticId};

/// The errors of this crate: what was got, what was expected, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A code space that cannot exist.
    #[error("bad code space: {0}")]
    CodeSpace(String),

    /// A code outside its level's codebook.
    #[error("item {item}: code {code} at level {level} is outside the codebook of {size} codes")]
    CodeOutOfRange {
        /// Row of the item.
        item: usize,
        /// 0-based level.
        level: usize,
        /// The offending code.
        code: u32,
        /// Codes of that level.
        size: u32,
    },

    /// Arrays that should describe the same items do not.
    #[error("{what}: got {got}, expected {expected}")]
    Shape {
        /// Which quantity differs.
        what: &'static str,
        /// What was given.
        got: usize,
        /// What was needed.
        expected: usize,
    },

    /// A catalogue without items.
    #[error("the catalogue has no items; an index needs at least one")]
    Empty,

    /// Two items with one key.
    #[error("items {first} and {second} have the same key {key:?}; keys must be distinct")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Row of its first holder.
        first: usize,
        /// Row of its second holder.
        second: usize,
    },

    /// More items than the code space can name.
    #[error(
        "{items} items do not fit the {open} free slots of {capacity} ({sizes}, {per_path} item(s) \
         a path; {taken} are taken, {reserved} held in reserve); use more levels, more codes a \
         level, a higher capacity or a smaller reserve"
    )]
    OverCapacity {
        /// Items of the catalogue.
        items: usize,
        /// Slots that are neither taken nor held in reserve.
        open: u128,
        /// All slots: product of the codebook sizes times the items allowed on a path.
        capacity: u128,
        /// Slots that others hold.
        taken: usize,
        /// Slots held in reserve.
        reserved: u128,
        /// The sizes, as `256 x 256`.
        sizes: String,
        /// Items allowed on one path.
        per_path: usize,
    },

    /// More items on one path than an assignment may hold.
    #[error(
        "path {path:?} holds {items} items, expected at most {capacity}; \
         assign them to distinct paths first"
    )]
    Crowded {
        /// The codes of the path.
        path: Vec<u16>,
        /// Items on it.
        items: usize,
        /// Items allowed on one path.
        capacity: usize,
    },

    /// An approximate assigner that could not separate all items.
    #[error(
        "{items} items still share {paths} paths after {rounds} rounds (up to {largest} on one); \
         use the optimal assigner, or accept collisions"
    )]
    StillColliding {
        /// Items on shared paths.
        items: usize,
        /// Paths with more than one item.
        paths: usize,
        /// Most items on one path.
        largest: usize,
        /// Rounds that were run.
        rounds: usize,
    },

    /// A number that is no share.
    #[error("got {0:?}, expected a share from 0% to below 100%, as 5% or 0.05")]
    Share(String),

    /// A quantizer that breaks its promise to offer so many paths.
    #[error(
        "item {item}: the quantizer offered {got} distinct candidate paths, expected {expected}; \
         widen its beam search"
    )]
    Candidates {
        /// Row of the item.
        item: usize,
        /// Paths that were offered.
        got: usize,
        /// Paths that the space has and that were asked for.
        expected: usize,
    },

    /// A squared distance that is not a finite, non-negative number.
    #[error("item {item}: squared distance {value} is not a finite, non-negative number")]
    BadDistance {
        /// Row of the item.
        item: usize,
        /// The value.
        value: f32,
    },

    /// More items on one path than the index was to allow.
    #[error(
        "{items} items share the semantic ID {path}, among them {keys:?}; expected at most {per_path}; \
         assign distinct IDs, or allow more items a path"
    )]
    SharedPath {
        /// The path.
        path: SemanticId,
        /// Items on it.
        items: usize,
        /// Items allowed on one path.
        per_path: usize,
        /// Keys of some of them.
        keys: Vec<String>,
    },

    /// A path that is empty, or goes on after its end.
    #[error(
        "item {item}: a path is one code or more, and then only the padding code of each level"
    )]
    Padding {
        /// Row of the item.
        item: usize,
    },

    /// Shorter paths at a level whose codebook leaves no code to pad them with.
    #[error(
        "level {level} has all 65536 codes, so IDs that end before it cannot be padded; \
         use fewer codes there, or IDs of one length"
    )]
    NoPadding {
        /// 0-based level.
        level: usize,
    },

    /// An item that the index does not have.
    #[error("there is no item {item}; the index has {items} items, numbered from 0")]
    NoItem {
        /// The row asked for.
        item: usize,
        /// Items of the index.
        items: usize,
    },

    /// Histories too short to hold anything out.
    #[error(
        "none of {users} users has three known events: two are held out, for validation and test, \
         and one is their context; are the keys of the interactions those of the index?"
    )]
    NoHeldOut {
        /// Users there are.
        users: usize,
    },

    /// A file that is no index, or a damaged one.
    #[error("bad index file, in {part}: {problem}; build it again or fetch another copy")]
    IndexFile {
        /// The tensor, or `header` or `__metadata__`.
        part: String,
        /// What was got, and what was expected.
        problem: String,
    },

    /// Parts of an index that do not make one.
    #[error("these parts are of no index: {0}")]
    Parts(String),

    /// A place for bytes that failed.
    #[error("cannot write the index: {0}")]
    Io(#[from] std::io::Error),

    /// Items that a change of an index asks for, and that are not as it needs them.
    #[error("{count} item(s) {problem}: {keys}")]
    Change {
        /// What is wrong with them.
        problem: &'static str,
        /// How many.
        count: usize,
        /// The keys of some.
        keys: String,
    },

    /// A delta that is none, or the one of another index.
    #[error("bad delta: {0}; fetch the one that belongs to the index, or the index itself")]
    Delta(String),

    /// A token template that cannot be read back.
    #[error("bad token template {template:?}: {problem}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong, and what to do.
        problem: String,
    },

    /// A token that is spelled in another way than its level's.
    #[error("got token {token:?}, expected {expected}")]
    Token {
        /// The token, or the start of a longer text.
        token: String,
        /// The spelling that was expected.
        expected: String,
    },

    /// A foreign file that cannot be read.
    #[error("{place}: {problem}")]
    Import {
        /// Format, line or row, and column.
        place: String,
        /// What was got, and what was expected.
        problem: String,
    },

    /// A hash that is not 64 lowercase hexadecimal digits.
    #[error("got {0:?}, expected a blake3 hash of 64 lowercase hexadecimal digits")]
    Digest(String),

    /// A file that a manifest does not name.
    #[error("the manifest does not name {0:?}; is it the manifest of another artefact?")]
    Unlisted(String),

    /// A file that is not what it was when the manifest was written.
    #[error("{name:?} has changed: got blake3 {got}, the manifest says {expected}")]
    Changed {
        /// The file.
        name: String,
        /// Its hash.
        got: Digest,
        /// The recorded hash.
        expected: Digest,
    },
}

impl Error {
    /// [`Error::Change`], if there are any such items.
    pub(crate) fn refuse(problem: &'static str, keys: Vec<String>) -> Result<()> {
        if keys.is_empty() {
            return Ok(());
        }
        Err(Self::Change {
            problem,
            count: keys.len(),
            keys: some_of(&keys),
        })
    }
}

/// A few keys, and whether there are more.
fn some_of(keys: &[String]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<String> = keys
        .iter()
        .take(SHOWN)
        .map(|key| format!("{key:?}"))
        .collect();
    let more = if keys.len() > SHOWN { ", ..." } else { "" };
    shown.join(", ") + more
}

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;
