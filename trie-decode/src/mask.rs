use rayon::prelude::*;

use crate::error::equal;
use crate::{Filter, ItemTrie, Result, TokenMap, TrieCursor};

/// Which tokens may come next, as a row of bits that samplers take.
///
/// A row is `ceil(V / 32)` words of 32 bits; token `t` may come if and only if bit `t % 32` of
/// word `t / 32` is set, least significant bit first. xgrammar, llguidance and vLLM use the
/// same layout. For other samplers there are rows of `V` floats to be added to the logits, 0 or
/// negative infinity.
///
/// A token may come if an allowed item lies below the node that its code leads to. Where an item
/// is complete, at a leaf and where a shorter ID ends, so may [`TokenMap::end`].
///
/// ```
/// use semantic_id::{Code, CodeMatrix, CodeSpace};
/// use trie_decode::{ItemTrie, TokenMap, TokenMask};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let tokens = TokenMap::ranges(&space, &[100, 104], 108)?;
/// let trie = ItemTrie::of_codes(space, &codes, 1)?;
///
/// let mask = TokenMask::new(&trie, &tokens)?;
/// let mut row = vec![0; mask.words()];
/// mask.fill(trie.root(), &mut row)?;
/// assert_eq!(row, [0, 0, 0, 0b1001 << (100 - 96)]); // codes 0 and 3
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TokenMask<'a, D: AsRef<[u8]>> {
    trie: &'a ItemTrie<D>,
    pub(crate) tokens: &'a TokenMap,
    filter: Filter,
}

/// Words, or floats, of a batch from which on threads pay.
const LARGE: usize = 1 << 16;

impl<'a, D: AsRef<[u8]>> TokenMask<'a, D> {
    /// Masks that allow every item that the trie still has.
    ///
    /// # Errors
    ///
    /// [`Error::Space`](crate::Error::Space) if the map is for other codes than the trie's.
    pub fn new(trie: &'a ItemTrie<D>, tokens: &'a TokenMap) -> Result<Self> {
        tokens.fits(trie.space())?;
        let filter = Filter::all(trie);
        Ok(Self {
            trie,
            tokens,
            filter,
        })
    }

    /// Masks that allow the items of a filter.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`](crate::Error::Foreign) if the filter is of another trie.
    pub fn filtered(self, filter: &Filter) -> Result<Self> {
        filter.check(self.trie.stamp())?;
        let filter = filter.clone();
        Ok(Self { filter, ..self })
    }

    /// Words of a row, `ceil(V / 32)`.
    pub fn words(&self) -> usize {
        words(self.tokens)
    }

    /// Writes the row of one node, whatever it held. Takes `O(V / 32)` and a step a child; `O(L)`
    /// a child where some items are not allowed.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`](crate::Error::Shape) if the row is not of [`words`](Self::words) words,
    /// [`Error::Foreign`](crate::Error::Foreign) for a cursor of another trie,
    /// [`Error::Index`](crate::Error::Index) if the file is damaged. Whatever the error is, a row
    /// of the right length then allows nothing that it should not.
    pub fn fill(&self, cursor: TrieCursor, row: &mut [u32]) -> Result<()> {
        equal("words of the mask row", row.len(), self.words())?;
        row.fill(0);
        self.each(cursor, |token| set(row, token))
    }

    /// Writes 0 for each token that may come and negative infinity for all others, `[V]`.
    ///
    /// # Errors
    ///
    /// Those of [`TokenMask::fill`], for a row of `V`.
    pub fn fill_additive(&self, cursor: TrieCursor, row: &mut [f32]) -> Result<()> {
        let vocabulary = self.tokens.vocabulary();
        equal("floats of the mask row", row.len(), vocabulary)?;
        row.fill(f32::NEG_INFINITY);
        self.each(cursor, |token| row[token as usize] = 0.0)
    }

    /// Calls `allow` with every token that may come. `O(children)`; `O(L)` a child where some
    /// items are not allowed.
    ///
    /// # Errors
    ///
    /// [`Error::Foreign`](crate::Error::Foreign) for a cursor of another trie,
    /// [`Error::Index`](crate::Error::Index) if the file is damaged.
    pub fn each(&self, cursor: TrieCursor, mut allow: impl FnMut(u32)) -> Result<()> {
        let complete = continuations(self.trie, self.tokens, &self.filter, cursor, &mut allow)?;
        if let (true, Some(end)) = (complete, self.tokens.end()) {
            allow(end);
        }
        Ok(())
    }
}

impl<D: AsRef<[u8]> + Send + Sync> TokenMask<'_, D> {
    /// [`TokenMask::fill`] for a batch: `rows` is `[cursors, words]`, row-major. Large batches
    /// are spread over rayon's threads. After an error some rows may hold what they held before.
    ///
    /// # Errors
    ///
    /// Those of [`TokenMask::fill`].
    pub fn fill_batch(&self, cursors: &[TrieCursor], rows: &mut [u32]) -> Result<()> {
        for_each_row(cursors, rows, self.words(), |cursor, row| {
            self.fill(cursor, row)
        })
    }

    /// [`TokenMask::fill_additive`] for a batch: `rows` is `[cursors, V]`, row-major.
    ///
    /// # Errors
    ///
    /// Those of [`TokenMask::fill`].
    pub fn fill_additive_batch(&self, cursors: &[TrieCursor], rows: &mut [f32]) -> Result<()> {
        let width = self.tokens.vocabulary();
        for_each_row(cursors, rows, width, |cursor, row| {
            self.fill_additive(cursor, row)
        })
    }
}

fn for_each_row<T: Send>(
    cursors: &[TrieCursor],
    rows: &mut [T],
    width: usize,
    fill: impl Fn(TrieCursor, &mut [T]) -> Result<()> + Sync,
) -> Result<()> {
    let expected = cursors.len().saturating_mul(width);
    equal("length of all mask rows", rows.len(), expected)?;
    if expected < LARGE {
        let mut rows = cursors.iter().zip(rows.chunks_exact_mut(width));
        return rows.try_for_each(|(&cursor, row)| fill(cursor, row));
    }
    let rows = cursors.par_iter().zip(rows.par_chunks_exact_mut(width));
    rows.try_for_each(|(&cursor, row)| fill(cursor, row))
}

/// Calls `allow` with the token of every code that may follow a node, and tells whether an item
/// is complete there. The filter is of this trie, the map for its codes.
pub(crate) fn continuations<D: AsRef<[u8]>>(
    trie: &ItemTrie<D>,
    tokens: &TokenMap,
    filter: &Filter,
    cursor: TrieCursor,
    mut allow: impl FnMut(u32),
) -> Result<bool> {
    let codes = trie.children(cursor)?.codes();
    let level = cursor.depth();
    let Some(tokens) = tokens.level(level) else {
        return filter.reaches(trie, cursor);
    };
    let end = trie.space().end(level);
    let mut complete = false;
    let mut take = |code| {
        if Some(code) == end {
            complete = true;
        } else if let Some(token) = tokens.token(code) {
            allow(token);
        }
    };
    if filter.is_whole() {
        codes.iter().for_each(take);
    } else {
        for (code, ranks) in codes.iter().zip(trie.ranks_of_children(cursor)?) {
            if filter.any(ranks?) {
                take(code);
            }
        }
    }
    Ok(complete)
}

/// Words of a row for a model's vocabulary.
pub(crate) fn words(tokens: &TokenMap) -> usize {
    tokens.vocabulary().div_ceil(32)
}

/// Allows a token of the vocabulary.
pub(crate) fn set(row: &mut [u32], token: u32) {
    row[token as usize / 32] |= 1 << (token % 32);
}
