use semantic_id::Code;

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

    /// The model failed.
    #[error("the scorer failed")]
    Scorer(#[source] Box<dyn std::error::Error + Send + Sync>),

    /// A rank that the trie does not have.
    #[error("got rank {rank}, expected one below {items}, the number of items")]
    NoRank {
        /// The rank asked for.
        rank: u32,
        /// Items of the trie, removed ones included.
        items: usize,
    },

    /// An item was asked for by key, of a trie that has none.
    #[error(
        "this trie was made of codes alone and has no keys; open an index, or name items by row"
    )]
    NoKeys,

    /// A key that the index does not have.
    #[error("the index has no item with the key {0:?}")]
    UnknownKey(String),

    /// Buffers or lists of another length than the call needs.
    #[error("{what}: got {got}, expected {expected}")]
    Shape {
        /// Which length.
        what: &'static str,
        /// What was given.
        got: usize,
        /// What was needed.
        expected: usize,
    },

    /// A logit that is no number, or is infinitely large.
    #[error(
        "request {request}, row {row} of the step, column {column}: got the logit {value}, \
         expected a number (-inf for a token that cannot be)"
    )]
    BadLogit {
        /// The request of the row.
        request: usize,
        /// The row in its step.
        row: usize,
        /// The column in the row.
        column: usize,
        /// The logit.
        value: f32,
    },

    /// A sum that a model gave with its logits and that is no finite number.
    #[error(
        "request {request}, row {row} of the step: got the normalizing sum {value} with the \
         logits, expected a finite number"
    )]
    BadSum {
        /// The request of the row.
        request: usize,
        /// The row in its step.
        row: usize,
        /// The sum.
        value: f32,
    },

    /// A row in which no token that the normalizer sums over can be.
    #[error(
        "request {request}, row {row} of the step: all logits that the normalizer sums over are \
         -inf, so there are no probabilities; expected at least one number"
    )]
    NoMass {
        /// The request of the row.
        request: usize,
        /// The row in its step.
        row: usize,
    },

    /// A first step that leaves no item possible. Deeper down, a prefix whose children cannot be
    /// is a dead end, and gives no item.
    #[error(
        "request {request}, row {row} of the step: the logits of all {children} first codes are \
         -inf, so no item can be; expected at least one number among them"
    )]
    NoItem {
        /// The request of the row.
        request: usize,
        /// The row in its step.
        row: usize,
        /// First codes that any item has.
        children: usize,
    },

    /// A setting that is out of range, or does not go with the others.
    #[error("{name}: got {got}, expected {expected}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// What it was.
        got: String,
        /// What it may be.
        expected: &'static str,
    },

    /// A token map for other codes than those of the trie it met.
    #[error(
        "the token map is for codes {got}, the trie has {expected}; make it for the trie's space"
    )]
    Space {
        /// Codes of each level of the map.
        got: String,
        /// Codes of each level of the trie.
        expected: String,
    },

    /// A token that the model does not have.
    #[error("got token {token}, expected one below {vocabulary}, the width of the model's logits")]
    Vocabulary {
        /// The token.
        token: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },

    /// A code's token that the model does not have.
    #[error(
        "level {level} code {code}: got token {token}, expected one below {vocabulary}, the width \
         of the model's logits; resize the model to its tokenizer"
    )]
    TokenOutOfRange {
        /// 0-based level.
        level: usize,
        /// The code.
        code: Code,
        /// Its token.
        token: u32,
        /// Tokens of the model.
        vocabulary: usize,
    },

    /// One token for two codes of a level: a generated token would have two meanings.
    #[error(
        "level {level}: codes {first} and {second} have the same token {token}; give each its own"
    )]
    SharedToken {
        /// 0-based level.
        level: usize,
        /// The token.
        token: u32,
        /// The lower code.
        first: Code,
        /// The higher code.
        second: Code,
    },

    /// Codes of items, or what stands before and after an ID, have no token.
    #[error(
        "{count} tokens are missing, among them {first:?}; \
         add them to the tokenizer and resize the model to it"
    )]
    MissingTokens {
        /// The first of them.
        first: Vec<String>,
        /// How many there are.
        count: usize,
    },

    /// A token that would both end an item and go on with it.
    #[error("the end token {token} is level {level}'s code {code} too; choose another end token")]
    EndToken {
        /// The token.
        token: u32,
        /// 0-based level.
        level: usize,
        /// The code it stands for there.
        code: Code,
    },

    /// A filter, or a catalogue whose items are all removed, that leaves nothing to generate.
    #[error("none of the {items} items is allowed; widen the filter")]
    NothingAllowed {
        /// Items of the trie, removed ones included.
        items: usize,
    },

    /// A beam that the session does not have.
    #[error("got beam {beam}, expected one of {beams}")]
    NoBeam {
        /// The beam asked for.
        beam: usize,
        /// Beams of the session.
        beams: usize,
    },

    /// A token that the mask of the beam it continues does not allow.
    #[error(
        "beam {beam} cannot go on with token {token} after {depth} codes; \
         draw tokens that the mask allows"
    )]
    Forbidden {
        /// The new beam.
        beam: usize,
        /// Its token.
        token: u32,
        /// Codes of the item before it.
        depth: usize,
    },

    /// More steps to take back than are kept.
    #[error("got {steps} steps to take back, expected at most {kept}; raise `rollback`")]
    Rollback {
        /// Steps asked for.
        steps: usize,
        /// Steps that are kept.
        kept: usize,
    },

    /// A file that is no `tokenizer.json` as Hugging Face writes it.
    #[error("bad tokenizer.json: {0}")]
    Tokenizer(String),
}

/// The result of a call that can fail with [`enum@Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Holds that a length is the one needed.
pub(crate) fn equal(what: &'static str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Shape {
        what,
        got,
        expected,
    })
}
