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
        "{items} items do not fit {capacity} paths ({sizes}, {per_path} item(s) a path); \
         use more levels, more codes a level, or a higher capacity"
    )]
    OverCapacity {
        /// Items of the catalogue.
        items: usize,
        /// Product of the codebook sizes times the items allowed on a path.
        capacity: u128,
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
}

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;
