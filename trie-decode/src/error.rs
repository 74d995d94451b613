/// The errors of this crate: what was got, what was expected, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The index is damaged, or was asked for what it does not have.
    #[error(transparent)]
    Index(#[from] semantic_id::Error),

    /// A cursor, filter or other handle that was made for another trie.
    #[error(
        "this {what} belongs to another trie (stamp {got:08x}, expected {expected:08x}); \
         make it anew from the snapshot that is searched"
    )]
    Foreign {
        /// What was given.
        what: &'static str,
        /// The stamp it carries.
        got: u32,
        /// The stamp of the trie it met.
        expected: u32,
    },

    /// A node that the trie does not have.
    #[error("got node {node} at depth {depth}, expected one of {nodes}")]
    NoNode {
        /// Codes on the way to the node.
        depth: usize,
        /// The number of the node in its level.
        node: u32,
        /// How many nodes there are at that depth.
        nodes: usize,
    },
}

/// The result of a call that can fail with [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;
