use std::ops::Range;

use rayon::prelude::*;

use super::build::UNSEALED;
use super::layout::first_child_name;
use super::{Codes, ItemIndex, Keys, Level, U32s, damaged, orphan};
use crate::{Digest, Result};

impl<D: AsRef<[u8]> + Sync> ItemIndex<D> {
    /// Checks everything that [`ItemIndex::open`] left unchecked, on all threads: nodes and
    /// their order, ranks, keys and their order, and the hash of the file. After it,
    /// the methods of this type tell the truth.
    ///
    /// # Errors
    ///
    /// [`Error::IndexFile`](crate::Error::IndexFile) names the first fault that was found.
    pub fn validate(&self) -> Result<()> {
        let levels: Vec<Level<'_>> = (0..self.levels()).filter_map(|l| self.level(l)).collect();
        for (l, level) in levels.iter().enumerate() {
            if let Some(offsets) = level.first_child {
                ascending(&first_child_name(l, levels.len()), offsets)?;
            }
        }
        self.check_codes(0, levels[0].codes)?;
        for (l, pair) in levels.windows(2).enumerate() {
            self.check_children(l, pair[0], pair[1])?;
        }
        self.check_ranks()?;
        self.check_keys()?;
        self.check_shared(levels[levels.len() - 1])?;
        self.check_alive()?;
        self.check_hash()
    }

    /// Siblings have ascending codes of their codebook, or `end`, which no ID starts with.
    fn check_codes(&self, level: usize, siblings: Codes<'_>) -> Result<()> {
        let size = self.space().size(level);
        let beyond = if level == 0 { size } else { size + 1 };
        let stray = match siblings {
            Codes::U8(codes) => stray(codes.iter().map(|&code| code.into()), beyond),
            Codes::U16(codes) => stray(codes.iter().map(|&code| u16::from_le_bytes(code)), beyond),
        };
        let Some(code) = stray else { return Ok(()) };
        let problem = format!("code {code} does not ascend, or is not of {size} codes");
        Err(damaged(&format!("level.{level}.code"), problem))
    }

    /// The children of every node of `level` are sound, and padding has only padding below it.
    fn check_children(&self, level: usize, parents: Level<'_>, children: Level<'_>) -> Result<()> {
        let (end, next_end) = (self.space().size(level), self.space().end(level + 1));
        for_all(parents.codes.len(), |node| {
            let orphan = || orphan(level, node as u32);
            let span = parents.children(node as u32).ok_or_else(orphan)?;
            let span = span.start as usize..span.end as usize;
            let siblings = children.codes.slice(span).ok_or_else(orphan)?;
            let ends = parents
                .codes
                .get(node)
                .is_some_and(|code| code.index() == end);
            if ends && !(siblings.len() == 1 && siblings.get(0) == next_end) {
                let problem = format!("a code follows the end of node {node}");
                return Err(damaged(&format!("level.{}.code", level + 1), problem));
            }
            self.check_codes(level + 1, siblings)
        })
    }

    /// Both tensors are permutations, each the inverse of the other: a rank that comes back
    /// from its item shares that item with no other rank.
    fn check_ranks(&self) -> Result<()> {
        let (items, ranks) = (self.rank_to_item(), self.item_to_rank());
        for_all(items.len(), |rank| {
            let item = items.get(rank);
            if item.and_then(|item| ranks.get(item as usize)) == Some(rank as u32) {
                return Ok(());
            }
            let problem = format!("the item at rank {rank} has another rank in item_to_rank");
            Err(damaged("rank_to_item", problem))
        })
    }

    /// Keys are UTF-8, and ascend along their order. This proves two things at once: keys are
    /// distinct, and the order holds every item.
    fn check_keys(&self) -> Result<()> {
        let keys = self.raw_keys();
        let text = std::str::from_utf8(keys.text)
            .map_err(|error| damaged("item_key.bytes", error.to_string()))?;
        for_all(self.items(), |row| {
            let (start, end) = (keys.offset(row), keys.offset(row + 1));
            if start <= end && end.is_some_and(|end| text.is_char_boundary(end)) {
                return Ok(());
            }
            let problem = format!("the key of item {row} spans no whole characters");
            Err(damaged("item_key.offset", problem))
        })?;
        self.check_key_order(keys)
    }

    /// Keys ascend along their order. Its entries jump about in the file, so the keys of a run
    /// are fetched before they are compared: then the waits for memory overlap.
    fn check_key_order(&self, keys: Keys<'_>) -> Result<()> {
        const RUN: usize = 64;
        let order = self.key_order();
        let key = |at: usize| keys.get(order.get(at)? as usize);
        blocks(self.items(), |block| {
            // `None`, before the first, is less than any key.
            let mut last = block.start.checked_sub(1).and_then(key);
            let mut last_head = last.map_or(0, head);
            let (mut run, mut heads) = ([None; RUN], [0; RUN]);
            for start in block.clone().step_by(RUN) {
                let places = start..block.end.min(start + RUN);
                for (at, this) in places.clone().zip(&mut run) {
                    *this = key(at);
                }
                for (this, head_of) in run.iter().zip(&mut heads) {
                    *head_of = this.map_or(0, head);
                }
                for (at, (&this, &head)) in places.zip(run.iter().zip(&heads)) {
                    if last_head > head || (last_head == head && last >= this) {
                        let problem = format!("entry {at} is no item, or its key does not ascend");
                        return Err(damaged("item_key.order", problem));
                    }
                    (last, last_head) = (this, head);
                }
            }
            Ok(())
        })
    }

    /// Items that share a leaf are in order of key.
    fn check_shared(&self, leaves: Level<'_>) -> Result<()> {
        if leaves.first_child.is_none() {
            return Ok(());
        }
        let (keys, items) = (self.raw_keys(), self.rank_to_item());
        let key = |rank: u32| keys.get(items.get(rank as usize)? as usize);
        for_all(leaves.codes.len(), |leaf| {
            let ranks = leaves
                .children(leaf as u32)
                .ok_or_else(|| orphan(self.levels() - 1, leaf as u32))?;
            match (ranks.start + 1..ranks.end).find(|&rank| key(rank - 1) >= key(rank)) {
                None => Ok(()),
                Some(rank) => {
                    let problem = format!("rank {rank} is not in order of key in its leaf");
                    Err(damaged("rank_to_item", problem))
                }
            }
        })
    }

    /// The bits after the last rank are zero.
    fn check_alive(&self) -> Result<()> {
        let used = self.items() % 8;
        match self.alive().and_then(<[u8]>::last) {
            Some(last) if used > 0 && last >> used != 0 => {
                let problem = format!("bits are set beyond the {} ranks", self.items());
                Err(damaged("alive", problem))
            }
            _ => Ok(()),
        }
    }

    /// The file has the hash that it states, with zeros in place of the hash.
    fn check_hash(&self) -> Result<()> {
        let (file, stated) = (self.bytes(), self.digest().to_string());
        let at = file
            .windows(stated.len())
            .position(|window| window == stated.as_bytes())
            .ok_or_else(|| damaged("header", "the hash is not written plainly".into()))?;
        let mut hasher = blake3::Hasher::new();
        hasher.update(&file[..at]);
        hasher.update(UNSEALED.as_bytes());
        hasher.update_rayon(&file[at + stated.len()..]);
        let got = Digest::from(hasher.finalize());
        if got == self.digest() {
            return Ok(());
        }
        let problem = format!("got blake3 {got}, expected {stated}");
        Err(damaged("header", problem))
    }
}

/// The first code that is not above the one before it, or not below `beyond`.
fn stray(codes: impl Iterator<Item = u16>, beyond: usize) -> Option<u16> {
    let mut least = 0;
    for code in codes {
        if usize::from(code) < least || usize::from(code) >= beyond {
            return Some(code);
        }
        least = usize::from(code) + 1;
    }
    None
}

/// The first bytes of a key as a number, after a short key zeros. Where the heads of two keys
/// differ, they are in the order of the keys, which decides most comparisons.
fn head(key: &[u8]) -> u64 {
    match key.first_chunk() {
        Some(&first) => u64::from_be_bytes(first),
        None => key
            .iter()
            .rev()
            .fold(0, |head, &byte| head >> 8 | u64::from(byte) << 56),
    }
}

/// Calls `check` for every number below `count`, on all threads; returns the lowest's error.
fn for_all(count: usize, check: impl Fn(usize) -> Result<()> + Sync) -> Result<()> {
    blocks(count, |block| {
        for at in block {
            check(at)?;
        }
        Ok(())
    })
}

/// Calls `check` for runs of the numbers below `count`: rayon asks after each call whether
/// another thread has found an error, which costs more than checking one number.
fn blocks(count: usize, check: impl Fn(Range<usize>) -> Result<()> + Sync) -> Result<()> {
    const BLOCK: usize = 1 << 13;
    (0..count.div_ceil(BLOCK))
        .into_par_iter()
        .map(|block| block * BLOCK..count.min((block + 1) * BLOCK))
        .find_map_first(|block| check(block).err())
        .map_or(Ok(()), Err)
}

fn ascending(name: &str, offsets: U32s<'_>) -> Result<()> {
    for_all(offsets.len() - 1, |at| {
        if offsets.interval(at).is_some_and(|span| !span.is_empty()) {
            return Ok(());
        }
        Err(damaged(name, format!("node {at} has no children")))
    })
}
