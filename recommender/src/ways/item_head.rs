use std::collections::HashMap;

use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use semantic_id::ItemId;
use semid_training::{tensor_bytes, tensor_of};
use tch::Tensor;
use trie_decode::ItemTrie;

use super::offered::{Offered, prompts};
use crate::decode::last_hidden;
use crate::model::check_shape;
use crate::{Error, Llama, Query, Ranker, Reader, Result};

/// Scores all items at once by what a model makes of a history, without generating anything (the
/// idea of Lite-LLM4Rec, Wang et al., arXiv 2402.09543).
///
/// With the hidden state `h` behind the history, the score of an item of codes `c_0 .. c_{L-1}` is
///
/// ```text
/// (A h) . (e_0[c_0] + ... + e_{L-1}[c_{L-1}])        A [D, D], a row e a token [V, D]
/// ```
///
/// so nothing belongs to an item alone, and one that the index gained later has a score, too. A
/// list costs one pass over the prompt and one product with all `N` items' sums, `O(N D)`, however
/// long IDs are.
#[derive(Debug)]
pub struct ItemHead {
    /// What becomes of a hidden state, `[D, D]`.
    pub(super) history: Tensor,
    /// A row a token, `[V, D]`.
    pub(super) codes: Tensor,
}

/// The file of a head in a model's folder.
pub const HEAD_FILE: &str = "item_head.safetensors";

const HISTORY: &str = "history.weight";
const CODES: &str = "codes.weight";

impl ItemHead {
    /// A head that knows what the model's own knows of each code alone: an item's score is the sum
    /// of the logits of its codes, as if each were the next token.
    pub fn new(model: &Llama) -> Self {
        let width = model.config().hidden_size as i64;
        let codes = model.head().detach().copy();
        Self {
            history: Tensor::eye(width, (codes.kind(), codes.device())),
            codes,
        }
    }

    /// Reads the bytes of [`HEAD_FILE`], made for this model.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] if they are no such file, or one of another model's shape.
    pub fn from_bytes(model: &Llama, bytes: &[u8]) -> Result<Self> {
        let bad =
            |problem: &dyn ToString| Error::Model(format!("{HEAD_FILE}: {}", problem.to_string()));
        let file = SafeTensors::deserialize(bytes).map_err(|error| bad(&error))?;
        let (width, tokens) = (model.config().hidden_size, model.config().vocab_size);
        let read = |name, shape: [usize; 2]| {
            let view = file.tensor(name).map_err(|error| bad(&error))?;
            check_shape(&format!("{HEAD_FILE}: {name}"), view.shape(), &shape)?;
            let tensor = tensor_of(&view)?.to_kind(tch::Kind::Float);
            Ok::<_, Error>(tensor.to_device(model.device()))
        };
        Ok(Self {
            history: read(HISTORY, [width, width])?,
            codes: read(CODES, [tokens, width])?,
        })
    }

    /// The bytes of [`HEAD_FILE`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let data = self
            .tensors()
            .map(|(name, tensor)| (name, tensor_bytes(&tensor)));
        let views = data.iter().map(|(name, (dtype, shape, bytes))| {
            let view = TensorView::new(*dtype, shape.clone(), bytes);
            (name, view.expect("shapes and bytes were made together"))
        });
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors::serialize(views, Some(metadata)).expect("names are distinct")
    }

    /// Its weights by name; changed in place, they change the head.
    pub(super) fn tensors(&self) -> [(String, Tensor); 2] {
        [(HISTORY, &self.history), (CODES, &self.codes)]
            .map(|(name, tensor)| (name.to_owned(), tensor.shallow_clone()))
    }

    /// Number of its weights.
    pub fn parameters(&self) -> usize {
        self.history.numel() + self.codes.numel()
    }

    /// The scores of items `[n, D]` behind hidden states `[B, D]`, `[B, n]`.
    pub(super) fn scores(&self, hidden: &Tensor, items: &Tensor) -> Tensor {
        let asked = hidden.linear::<&Tensor>(&self.history, None);
        asked.linear::<&Tensor>(items, None)
    }
}

/// A model that answers by an [`ItemHead`].
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace, IndexInfo, ItemId, ItemIndex, ItemKeys};
/// use semantic_id::{Manifest, TokenFormat};
/// use semid_recommender::{Headed, ItemHead, Llama, LlamaConfig, Query, Ranker, Reader, Settings};
/// use trie_decode::ItemTrie;
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let keys = ItemKeys::new(["lamp", "desk", "sofa"])?;
/// let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("doc", ().into()));
/// let trie = ItemTrie::new(ItemIndex::build(&space, &codes, &keys, 1, info)?);
/// let index = trie.index().expect("of an index");
///
/// let settings = Settings { index: index.digest(), codes: vec![4, 4], items: 20, speech: None };
/// let reader = Reader::new(settings)?;
/// let config = LlamaConfig::small(reader.tokens().vocabulary(), 32, 64);
/// let model = Llama::new(config, tch::Device::Cpu, 42)?;
/// let head = ItemHead::new(&model); // a `HeadTrainer` makes a better one
/// let headed = Headed::new(&model, &reader, &trie, &head)?;
///
/// let lamp = [ItemId(0)];
/// let lists = headed.rank(&[Query { history: &lamp, without: &lamp }], 10)?;
/// assert_eq!(lists[0].len(), 2);
/// assert!(!lists[0].contains(&lamp[0]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Headed<'a, D: AsRef<[u8]>> {
    model: &'a Llama,
    reader: &'a Reader,
    trie: &'a ItemTrie<D>,
    head: &'a ItemHead,
    offered: Offered,
    /// `[n, D]`.
    items: Tensor,
}

impl<'a, D: AsRef<[u8]>> Headed<'a, D> {
    /// Adds up what each item is scored by. Takes `O(N L D)` time and `O(N D)` memory.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] for a trie that was not made of an index.
    pub fn new(
        model: &'a Llama,
        reader: &'a Reader,
        trie: &'a ItemTrie<D>,
        head: &'a ItemHead,
    ) -> Result<Self> {
        let offered = Offered::new(trie, reader, model.device())?;
        Ok(Self {
            items: tch::no_grad(|| offered.sums(&head.codes)),
            offered,
            model,
            reader,
            trie,
            head,
        })
    }
}

impl<D: AsRef<[u8]>> Ranker for Headed<'_, D> {
    fn rank(&self, queries: &[Query<'_>], count: usize) -> Result<Vec<Vec<ItemId>>> {
        let prompts = prompts(self.reader, self.trie, queries)?;
        tch::no_grad(|| {
            let hidden = last_hidden(self.model, &prompts);
            let scores = self.head.scores(&hidden, &self.items);
            self.offered.best(&scores, queries, count)
        })
    }
}
