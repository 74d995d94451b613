use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use semantic_id::ItemId;

use crate::error::equal;
use crate::mask::{continuations, set, words};
use crate::{Error, Filter, ItemTrie, Result, TokenMap, TrieCursor};

/// What a session is told, as it was typed. [`SessionParams::check`] makes a [`SessionConfig`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionParams {
    /// The tokens after which an item begins; any text may come before them. Without any the
    /// item begins at once.
    pub trigger: Vec<u32>,
    /// The tokens that may follow an item, and that end a shorter ID where a longer one could
    /// go on.
    pub end: Vec<u32>,
    /// How many of the last steps can be taken back, each at 16 bytes a beam.
    pub rollback: usize,
}

impl SessionParams {
    /// An item begins with [`TokenMap::begin`], or else at once; it ends with [`TokenMap::end`];
    /// 64 steps can be taken back.
    pub fn new(tokens: &TokenMap) -> Self {
        Self {
            trigger: tokens.begin().into_iter().collect(),
            end: tokens.end().into_iter().collect(),
            rollback: 64,
        }
    }

    /// Checks the tokens against the model's.
    ///
    /// # Errors
    ///
    /// [`Error::Vocabulary`] for a token that the model does not have, [`Error::EndToken`]
    /// if a token would both end an item and be one of its codes.
    pub fn check(self, tokens: &TokenMap) -> Result<SessionConfig> {
        for &token in self.trigger.iter().chain(&self.end) {
            tokens.check_vocabulary(token)?;
        }
        for &token in &self.end {
            let code = |level| Some((level, tokens.code(level, token)?));
            if let Some((level, code)) = (0..tokens.levels()).find_map(code) {
                return Err(Error::EndToken { token, level, code });
            }
        }
        let fallback = fallbacks(&self.trigger);
        Ok(SessionConfig {
            params: self,
            fallback,
        })
    }
}

/// Settings of a session that were checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    params: SessionParams,
    /// Knuth-Morris-Pratt: see [`fallbacks`].
    fallback: Vec<usize>,
}

impl SessionConfig {
    fn ends(&self, token: u32) -> bool {
        self.params.end.contains(&token)
    }

    /// The phase after `matched` tokens of the trigger.
    fn heard<D: AsRef<[u8]>>(&self, matched: usize, trie: &ItemTrie<D>) -> Phase {
        if matched == self.params.trigger.len() {
            return Phase::Active(trie.root());
        }
        Phase::Inactive { matched }
    }

    /// How many tokens of the trigger are matched when `token` comes after `matched` of them.
    fn listen(&self, mut matched: usize, token: u32) -> usize {
        while self.params.trigger.get(matched) != Some(&token) {
            if matched == 0 {
                return 0;
            }
            matched = self.fallback[matched - 1];
        }
        matched + 1
    }
}

/// For each beginning of a pattern, the length of its longest proper beginning that is its end
/// too: how much is still matched when what follows does not (Knuth, Morris and Pratt 1977).
fn fallbacks(pattern: &[u32]) -> Vec<usize> {
    let mut fallback = vec![0; pattern.len()];
    for at in 1..pattern.len() {
        let mut matched = fallback[at - 1];
        while matched > 0 && pattern[matched] != pattern[at] {
            matched = fallback[matched - 1];
        }
        fallback[at] = matched + usize::from(pattern[matched] == pattern[at]);
    }
    fallback
}

/// Where a beam is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// In free text; every token may come.
    Inactive {
        /// Tokens of the trigger that were the last to come.
        matched: usize,
    },
    /// In an item, at a node of the trie.
    Active(TrieCursor),
    /// Behind an item, at its leaf.
    Done(TrieCursor),
}

/// Beams of one request, for a server that owns the loop: it draws the tokens and moves the KV
/// cache, the session tells what may come and what came out.
///
/// Each beam goes from [`Phase::Inactive`] over [`Phase::Active`] to [`Phase::Done`], at its own
/// pace:
///
/// ```text
/// free text ... trigger  <a_12> <b_7> <c_201>  end end ...
/// Inactive ------------> Active -------------> Done
/// ```
///
/// A session keeps its snapshot of the catalogue: `T` is a reference to an
/// [`ItemTrie`], an [`Arc`] of one, or whatever else leads to it.
///
/// ```
/// use std::sync::Arc;
///
/// use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId};
/// use trie_decode::{DecodeSession, ItemTrie, SessionParams, TokenMap};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let codes = CodeMatrix::new([3, 1, 0, 2, 3, 0].map(Code).to_vec(), 2)?;
/// let tokens = Arc::new(TokenMap::ranges(&space, &[100, 104], 108)?);
/// let trie = Arc::new(ItemTrie::of_codes(space, &codes, 1)?);
///
/// let config = SessionParams::new(&tokens).check(&tokens)?;
/// let mut session = DecodeSession::new(trie, tokens, None, config)?;
/// session.advance(&[0, 0], &[100, 103])?; // one beam becomes two: codes 0 and 3
/// session.advance(&[1, 0], &[105, 106])?; // 3.1 and 0.2
/// assert_eq!(session.finish()?, [[ItemId(0)], [ItemId(1)]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct DecodeSession<T> {
    trie: T,
    tokens: Arc<TokenMap>,
    filter: Filter,
    config: SessionConfig,
    beams: Vec<Phase>,
    /// The beams before each of the last steps, the latest at the back.
    history: VecDeque<Vec<Phase>>,
}

impl<D: AsRef<[u8]>, T: Deref<Target = ItemTrie<D>>> DecodeSession<T> {
    /// A session of one beam, which may be given what `filter` allows, or anything that the
    /// trie still has.
    ///
    /// # Errors
    ///
    /// [`Error::Space`] if the map is for other codes than the trie's, [`Error::Vocabulary`] or
    /// [`Error::EndToken`] if the configuration was checked against another map,
    /// [`Error::Foreign`] if the filter is of another trie, and [`Error::NothingAllowed`] if it
    /// allows no item.
    pub fn new(
        trie: T,
        tokens: Arc<TokenMap>,
        filter: Option<Filter>,
        config: SessionConfig,
    ) -> Result<Self> {
        tokens.fits(trie.space())?;
        let config = config.params.check(&tokens)?;
        let filter = filter.unwrap_or_else(|| Filter::all(&trie));
        filter.check(trie.stamp())?;
        if filter.is_empty() {
            return Err(Error::NothingAllowed {
                items: trie.items(),
            });
        }
        Ok(Self {
            beams: vec![config.heard(0, &trie)],
            history: VecDeque::new(),
            trie,
            tokens,
            filter,
            config,
        })
    }

    /// The trie that the session reads.
    pub fn trie(&self) -> &T {
        &self.trie
    }

    /// The model's tokens for the trie's codes.
    pub fn tokens(&self) -> &TokenMap {
        &self.tokens
    }

    /// Where each beam is.
    pub fn phases(&self) -> &[Phase] {
        &self.beams
    }

    /// Where a beam is.
    ///
    /// # Errors
    ///
    /// [`Error::NoBeam`] if there is no such beam.
    pub fn phase(&self, beam: usize) -> Result<Phase> {
        let beams = self.beams.len();
        let phase = self.beams.get(beam).copied();
        phase.ok_or(Error::NoBeam { beam, beams })
    }

    /// Words of a mask row, `ceil(V / 32)`.
    pub fn words(&self) -> usize {
        words(&self.tokens)
    }

    /// Which tokens may come next, in the layout of [`TokenMask`](crate::TokenMask). A beam that
    /// is done may go on with the end tokens only; without any its row is empty.
    ///
    /// # Errors
    ///
    /// [`Error::NoBeam`] if there is no such beam, [`Error::Index`] if the file is damaged.
    pub fn mask(&self, beam: usize) -> Result<Vec<u32>> {
        let mut row = vec![0; self.words()];
        self.fill_mask(beam, &mut row)?;
        Ok(row)
    }

    /// [`DecodeSession::mask`] into a buffer of [`words`](Self::words), whatever it held.
    ///
    /// # Errors
    ///
    /// Those of [`DecodeSession::mask`], and [`Error::Shape`] for a row of another length.
    pub fn fill_mask(&self, beam: usize, row: &mut [u32]) -> Result<()> {
        equal("words of the mask row", row.len(), self.words())?;
        row.fill(0);
        let complete = match self.phase(beam)? {
            Phase::Inactive { .. } => {
                allow_all(row, self.tokens.vocabulary());
                false
            }
            Phase::Active(cursor) => self.continuations(cursor, |token| set(row, token))?,
            Phase::Done(_) => true,
        };
        if complete {
            self.config
                .params
                .end
                .iter()
                .for_each(|&token| set(row, token));
        }
        Ok(())
    }

    /// Moves on by a token a beam: the new beam `i` is the old beam `parents[i]` with
    /// `tokens[i]` after it. There may be more or fewer beams than before. On an error nothing
    /// has changed.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the arguments differ in length, [`Error::NoBeam`] for a parent that
    /// does not exist, [`Error::Forbidden`] for a token that its mask does not allow, and
    /// [`Error::Index`] if the file is damaged.
    pub fn advance(&mut self, parents: &[u32], tokens: &[u32]) -> Result<()> {
        equal("tokens, one a parent", tokens.len(), parents.len())?;
        let next = parents.iter().zip(tokens).enumerate();
        let next = next
            .map(|(beam, (&parent, &token))| {
                let phase = self.phase(parent as usize)?;
                let depth = match phase {
                    Phase::Inactive { .. } => 0,
                    Phase::Active(cursor) | Phase::Done(cursor) => cursor.depth(),
                };
                let next = self.next(phase, token)?;
                next.ok_or(Error::Forbidden { beam, token, depth })
            })
            .collect::<Result<_>>()?;
        let before = std::mem::replace(&mut self.beams, next);
        self.history.push_back(before);
        if self.history.len() > self.config.params.rollback {
            self.history.pop_front();
        }
        Ok(())
    }

    /// Takes back the last `steps` calls of [`DecodeSession::advance`].
    ///
    /// # Errors
    ///
    /// [`Error::Rollback`] if fewer are kept; then nothing has changed.
    pub fn rollback(&mut self, steps: usize) -> Result<()> {
        let kept = self.history.len();
        let Some(left) = kept.checked_sub(steps) else {
            return Err(Error::Rollback { steps, kept });
        };
        if let Some(beams) = self.history.drain(left..).next() {
            self.beams = beams;
        }
        Ok(())
    }

    /// A copy that goes its own way, history included.
    pub fn fork(&self) -> Self
    where
        T: Clone,
    {
        self.clone()
    }

    /// The allowed items of each beam, `[beams]`: none for a beam that is not done, several
    /// where items share an ID.
    ///
    /// # Errors
    ///
    /// [`Error::Index`] if the file is damaged.
    pub fn finish(&self) -> Result<Vec<Vec<ItemId>>> {
        self.beams.iter().map(|&phase| self.items(phase)).collect()
    }

    fn items(&self, phase: Phase) -> Result<Vec<ItemId>> {
        let Phase::Done(leaf) = phase else {
            return Ok(Vec::new());
        };
        let items = self.trie.ranks(leaf)?.zip(self.trie.items_below(leaf)?);
        let allowed = items.filter(|&(rank, _)| self.filter.contains(rank));
        Ok(allowed.map(|(_, item)| item).collect())
    }

    /// The phase after a token; `None` if the token may not come.
    fn next(&self, phase: Phase, token: u32) -> Result<Option<Phase>> {
        match phase {
            Phase::Inactive { matched } => {
                let known = self.tokens.check_vocabulary(token).is_ok();
                let matched = self.config.listen(matched, token);
                Ok(known.then(|| self.config.heard(matched, &self.trie)))
            }
            Phase::Active(cursor) if self.config.ends(token) => self.end(cursor),
            Phase::Active(cursor) => self.follow(cursor, token),
            Phase::Done(_) => Ok(self.config.ends(token).then_some(phase)),
        }
    }

    /// The phase after a code. Where nothing but the end of a shorter ID can follow, the item is
    /// complete.
    fn follow(&self, cursor: TrieCursor, token: u32) -> Result<Option<Phase>> {
        let Some(code) = self.tokens.code(cursor.depth(), token) else {
            return Ok(None);
        };
        let Some(child) = self.trie.child(cursor, code)? else {
            return Ok(None);
        };
        if !self.filter.reaches(&self.trie, child)? {
            return Ok(None);
        }
        match self.end(child)? {
            Some(done) if !self.goes_on(child)? => Ok(Some(done)),
            _ => Ok(Some(Phase::Active(child))),
        }
    }

    /// Whether a code may follow a node.
    fn goes_on(&self, cursor: TrieCursor) -> Result<bool> {
        let mut on = false;
        self.continuations(cursor, |_| on = true)?;
        Ok(on)
    }

    /// The phase after the end of an ID: passes over its padding. `None` if none ends here.
    fn end(&self, mut cursor: TrieCursor) -> Result<Option<Phase>> {
        while let Some(end) = self.trie.space().end(cursor.depth()) {
            match self.trie.child(cursor, end)? {
                Some(child) if self.filter.reaches(&self.trie, child)? => cursor = child,
                _ => return Ok(None),
            }
        }
        let leaf = cursor.depth() == self.trie.levels();
        Ok(leaf.then_some(Phase::Done(cursor)))
    }

    fn continuations(&self, cursor: TrieCursor, allow: impl FnMut(u32)) -> Result<bool> {
        continuations(&self.trie, &self.tokens, &self.filter, cursor, allow)
    }
}

/// Allows the first `vocabulary` tokens.
fn allow_all(row: &mut [u32], vocabulary: usize) {
    row.fill(u32::MAX);
    if let Some(last) = row.last_mut() {
        *last >>= (32 - vocabulary % 32) % 32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fallbacks_are_the_longest_borders() {
        for pattern in [
            &[][..],
            &[1],
            &[1, 1, 1],
            &[1, 2, 1, 1, 2, 1, 2],
            &[3, 4, 5],
        ] {
            for (at, &got) in fallbacks(pattern).iter().enumerate() {
                let seen = &pattern[..=at];
                let border = (0..=at)
                    .rev()
                    .find(|&length| seen.ends_with(&pattern[..length]));
                assert_eq!(Some(got), border, "{pattern:?} at {at}");
            }
        }
    }
}
