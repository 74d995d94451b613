//! What the tree of an index looks like, and what it weighs.

use std::fmt;

use anyhow::Context;
use semantic_id::{Codes, ItemId, ItemIndex};
use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct TreeShape {
    pub(crate) levels: Vec<LevelShape>,
    pub(crate) bytes_per_item: BytesPerItem,
}

/// A level, and how the prefixes before it go on there.
#[derive(Debug, Serialize)]
pub(crate) struct LevelShape {
    pub(crate) nodes: usize,
    pub(crate) mean_fan_out: f64,
    pub(crate) max_fan_out: usize,
    /// Share of the prefixes whose next code is certain.
    pub(crate) single_child: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct BytesPerItem {
    /// Codes and offsets of all nodes: what a search reads.
    pub(crate) tree: f64,
    /// From ranks to items and back.
    items: f64,
    /// The keys, where they begin, and their order.
    keys: f64,
}

impl TreeShape {
    /// Reads the whole tree and all keys.
    pub(crate) fn of<D: AsRef<[u8]>>(index: &ItemIndex<D>) -> anyhow::Result<Self> {
        let (mut tree, mut keys) = (0, 0);
        for level in (0..index.levels()).filter_map(|level| index.level(level)) {
            tree += match level.codes {
                Codes::U8(codes) => codes.len(),
                Codes::U16(codes) => 2 * codes.len(),
            };
            tree += level.first_child.map_or(0, |offsets| 4 * offsets.len());
        }
        for item in (0..index.items() as u32).map(ItemId) {
            // Its bytes, where they begin (u64), and its place in their order (u32).
            keys += index.key(item)?.len() + 8 + 4;
        }
        let per_item = |bytes: usize| bytes as f64 / index.items().max(1) as f64;
        Ok(Self {
            levels: LevelShape::all(index)?,
            bytes_per_item: BytesPerItem {
                tree: per_item(tree),
                items: per_item(4 * (index.rank_to_item().len() + index.item_to_rank().len())),
                keys: per_item(keys),
            },
        })
    }
}

impl LevelShape {
    /// The shapes of all levels, `[L]`.
    pub(crate) fn all<D: AsRef<[u8]>>(index: &ItemIndex<D>) -> anyhow::Result<Vec<Self>> {
        let levels = (0..index.levels()).map(|level| Self::of(index, level));
        levels.collect()
    }

    fn of<D: AsRef<[u8]>>(index: &ItemIndex<D>, level: usize) -> anyhow::Result<Self> {
        let damaged = || format!("level {level} is damaged; `semid verify` says more");
        let nodes = index.level(level).with_context(damaged)?.codes.len();
        let (mut parents, mut max, mut single) = (1, nodes, usize::from(nodes == 1));
        if let Some(above) = level.checked_sub(1).and_then(|above| index.level(above)) {
            (parents, max, single) = (above.codes.len(), 0, 0);
            for parent in 0..parents as u32 {
                let children = above.children(parent).with_context(damaged)?.len();
                max = max.max(children);
                single += usize::from(children == 1);
            }
        }
        let share = |count: usize| count as f64 / parents.max(1) as f64;
        Ok(Self {
            nodes,
            mean_fan_out: share(nodes),
            max_fan_out: max,
            single_child: share(single),
        })
    }
}

impl fmt::Display for TreeShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "level      nodes  mean fan-out  max fan-out  single child"
        )?;
        for (level, shape) in self.levels.iter().enumerate() {
            write!(
                f,
                "\n{level:>5} {:>10} {:>13.2} {:>12} {:>11.1} %",
                shape.nodes,
                shape.mean_fan_out,
                shape.max_fan_out,
                100.0 * shape.single_child
            )?;
        }
        let BytesPerItem { tree, items, keys } = self.bytes_per_item;
        write!(
            f,
            "\nbytes an item: tree {tree:.2}, item tables {items:.2}, keys {keys:.2}"
        )
    }
}
