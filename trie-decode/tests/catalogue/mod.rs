//! Small random catalogues, and the plain facts about them that tests compare with.
#![allow(dead_code, reason = "each test file uses its part")]

use proptest::prelude::*;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemId, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use trie_decode::ItemTrie;

/// Items by row, some of them removed; several may share a path.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    pub(crate) space: CodeSpace,
    /// Unpadded.
    pub(crate) paths: Vec<Vec<Code>>,
    pub(crate) removed: Vec<bool>,
}

impl Catalogue {
    pub(crate) fn new(space: CodeSpace, paths: &[&[u16]]) -> Self {
        let codes = |path: &&[u16]| path.iter().copied().map(Code).collect();
        Self {
            space,
            paths: paths.iter().map(codes).collect(),
            removed: vec![false; paths.len()],
        }
    }

    pub(crate) fn padded(&self) -> CodeMatrix {
        let levels = self.space.levels();
        let end = |level| self.space.end(level).expect("room for padding");
        let rows = self.paths.iter().flat_map(|path| {
            let padding = (path.len()..levels).map(end);
            path.iter().copied().chain(padding).collect::<Vec<_>>()
        });
        CodeMatrix::new(rows.collect(), levels).expect("whole rows")
    }

    /// The index, without removals. Item `i` has the key `k{i}`.
    pub(crate) fn index(&self) -> ItemIndex<Vec<u8>> {
        let keys = ItemKeys::new((0..self.paths.len()).map(|row| format!("k{row}")));
        let format = TokenFormat::lc_rec(self.space.levels());
        let info = IndexInfo::new(format, Manifest::new("test", ().into()));
        let (keys, codes) = (keys.expect("distinct"), self.padded());
        ItemIndex::build(&self.space, &codes, &keys, self.paths.len(), info).expect("sound")
    }

    pub(crate) fn trie(&self) -> ItemTrie<Vec<u8>> {
        let removed: Vec<ItemId> = self.items(|row| self.removed[row]);
        let trie = ItemTrie::new(self.index());
        match &*removed {
            [] => trie,
            removed => trie.without(removed).expect("known items"),
        }
    }

    /// The rows that are as asked.
    pub(crate) fn items(&self, wanted: impl Fn(usize) -> bool) -> Vec<ItemId> {
        let rows = (0..self.paths.len()).filter(|&row| wanted(row));
        rows.map(|row| ItemId(row as u32)).collect()
    }

    /// The rows whose path starts with a prefix.
    pub(crate) fn below(&self, prefix: &[Code]) -> Vec<ItemId> {
        self.items(|row| self.paths[row].starts_with(prefix))
    }
}

/// One to 64 levels, of few codes or of so many that they take two bytes; ragged or not.
pub(crate) fn catalogues() -> impl Strategy<Value = Catalogue> {
    let levels = prop_oneof![8 => 1..5_usize, 1 => Just(64)];
    let space = levels.prop_flat_map(|levels| {
        let size = prop_oneof![4 => 1..5_u32, 1 => Just(300)];
        (prop::collection::vec(size, levels), any::<bool>())
    });
    space.prop_flat_map(|(sizes, ragged)| {
        let levels = sizes.len();
        let path: Vec<_> = sizes.iter().map(|&size| 0..size as u16).collect();
        let length = if ragged {
            1..levels + 1
        } else {
            levels..levels + 1
        };
        let item = (path, length, prop::bool::weighted(0.2));
        let space = CodeSpace::new(sizes).expect("small");
        prop::collection::vec(item, 1..30).prop_map(move |items| Catalogue {
            space: space.clone(),
            paths: items
                .iter()
                .map(|(path, length, _)| path[..*length].iter().copied().map(Code).collect())
                .collect(),
            removed: items.iter().map(|item| item.2).collect(),
        })
    })
}
