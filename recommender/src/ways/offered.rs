use semantic_id::{ItemId, ItemIndex};
use tch::{Device, Kind, Tensor};
use trie_decode::{Filter, ItemTrie};

use crate::{Error, Query, Reader, Result};

/// The items that a trie gives, in order, and the tokens of their IDs.
#[derive(Debug)]
pub(super) struct Offered {
    items: Vec<ItemId>,
    /// The tokens of each ID, its end included where it is shorter than others, `[n]` a level.
    tokens: Vec<Tensor>,
    /// 1 where an ID has such a token, else 0, `[n, 1]` a level.
    present: Vec<Tensor>,
}

impl Offered {
    /// Of a trie that was made of an index. `O(N L)`.
    pub(super) fn new<D: AsRef<[u8]>>(
        trie: &ItemTrie<D>,
        reader: &Reader,
        device: Device,
    ) -> Result<Self> {
        let index = index(trie)?;
        let (all, ids) = (Filter::all(trie), index.codes()?);
        let mut items = Vec::with_capacity(all.len());
        for item in index.rows() {
            if all.contains(index.rank(item)?) {
                items.push(item);
            }
        }
        let mut levels = vec![Vec::with_capacity(items.len()); ids.levels()];
        for &item in &items {
            let mut tokens = reader.id(ids.row(item)).into_iter().map(i64::from);
            levels
                .iter_mut()
                .for_each(|level| level.push(tokens.next().unwrap_or(NONE)));
        }
        let tokens = levels
            .iter()
            .map(|level| Tensor::from_slice(level).to_device(device));
        let tokens: Vec<Tensor> = tokens.collect();
        let present = tokens.iter().map(|tokens| {
            let present = tokens.not_equal(NONE).to_kind(Kind::Float);
            present.unsqueeze(1)
        });
        Ok(Self {
            present: present.collect(),
            tokens,
            items,
        })
    }

    /// The place of each item of a catalogue among those that are offered.
    pub(super) fn places(&self, items: usize) -> Vec<Option<usize>> {
        let mut places = vec![None; items];
        for (place, item) in self.items.iter().enumerate() {
            places[item.index()] = Some(place);
        }
        places
    }

    /// The items, ascending.
    pub(super) fn items(&self) -> &[ItemId] {
        &self.items
    }

    /// Of a row a token `[V, D]`, the sum over the tokens of each item's ID, `[n, D]`.
    pub(super) fn sums(&self, rows: &Tensor) -> Tensor {
        let levels = self.tokens.iter().zip(&self.present);
        let levels = levels
            .map(|(tokens, present)| Tensor::embedding(rows, tokens, -1, false, false) * present);
        levels.reduce(|sum, level| sum + level).expect("a level")
    }

    /// The `count` best items of each query that may be given to it, by scores `[B, n]`; ties go
    /// to the lower row.
    pub(super) fn best(
        &self,
        scores: &Tensor,
        queries: &[Query<'_>],
        count: usize,
    ) -> Result<Vec<Vec<ItemId>>> {
        let scores = scores
            .to_kind(Kind::Float)
            .to_device(Device::Cpu)
            .contiguous();
        let scores = Vec::<f32>::try_from(scores.view(-1))?;
        if scores.iter().any(|score| score.is_nan()) {
            return Err(Error::Model("its scores are no numbers".into()));
        }
        let rows = scores.chunks_exact(self.items.len().max(1));
        let rows = queries.iter().zip(rows);
        Ok(rows
            .map(|(query, row)| self.first(row, query, count))
            .collect())
    }

    fn first(&self, scores: &[f32], query: &Query<'_>, count: usize) -> Vec<ItemId> {
        let order = |&a: &usize, &b: &usize| scores[b].total_cmp(&scores[a]).then(a.cmp(&b));
        let mut places: Vec<usize> = (0..scores.len()).collect();
        // As many more as may have to be left out.
        let most = count.saturating_add(query.without.len());
        if most < places.len() {
            places.select_nth_unstable_by(most, order);
            places.truncate(most);
        }
        places.sort_unstable_by(order);
        query.first(places.into_iter().map(|place| self.items[place]), count)
    }
}

/// Where an ID has no more tokens; the token that begins histories is in none.
const NONE: i64 = 0;

/// The index that a trie was made of.
pub(super) fn index<D: AsRef<[u8]>>(trie: &ItemTrie<D>) -> Result<&ItemIndex<D>> {
    let index = trie.index();
    index.ok_or_else(|| Error::Index("the trie is of none".into()))
}

/// What a model reads before each query is answered.
pub(super) fn prompts<D: AsRef<[u8]>>(
    reader: &Reader,
    trie: &ItemTrie<D>,
    queries: &[Query<'_>],
) -> Result<Vec<Vec<u32>>> {
    let index = index(trie)?;
    let prompts = queries
        .iter()
        .map(|query| reader.prompt(index, query.history));
    prompts.collect()
}
