/// The tokens over which a step's probabilities sum to one.
///
/// None depends on a filter: the score of an item is the same whoever may be given it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalizer {
    /// All tokens of the model: a log-softmax, then the mask, as LC-Rec and Hugging Face do.
    #[default]
    FullVocab,
    /// The tokens of all levels.
    SemanticIdVocab,
    /// The tokens of the level, whether or not an item has them there.
    Level,
    /// The children of the prefix. Paths of items then have probabilities that sum to one, and a
    /// level with one child needs no model.
    ValidChildren,
}
