//! Masks against the set of real continuations.

mod catalogue;

use std::collections::BTreeSet;

use catalogue::{Catalogue, catalogues};
use proptest::prelude::*;
use semantic_id::{Code, CodeSpace, ItemId};
use trie_decode::{Error, Filter, ItemTrie, TokenMap, TokenMask, TrieCursor};

#[test]
fn tutorial() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0, 1], &[0, 3], &[2]]).trie();
    // Tokens 10 to 13 at level 0, 20 to 23 at level 1; 40 ends an ID.
    let tokens = TokenMap::ranges(&space, &[10, 20], 50).unwrap();
    let tokens = tokens.between(None, Some(40)).unwrap();

    let mask = TokenMask::new(&trie, &tokens).unwrap();
    let mut row = vec![0; mask.words()];
    mask.fill(trie.root(), &mut row).unwrap();
    assert_eq!(row, [1 << 10 | 1 << 12, 0]);

    // The shorter ID ends after its first code.
    let two = trie.find(&[Code(2)]).unwrap().unwrap();
    mask.fill(two, &mut row).unwrap();
    assert_eq!(row, [0, 1 << (40 - 32)]);

    let filter = Filter::deny_items(&trie, [ItemId(1)]).unwrap();
    let mask = mask.filtered(&filter).unwrap();
    let zero = trie.find(&[Code(0)]).unwrap().unwrap();
    let mut row = vec![0.0; 50];
    mask.fill_additive(zero, &mut row).unwrap();
    assert_eq!((row[21], row[23]), (0.0, f32::NEG_INFINITY));
}

#[test]
fn rows_and_handles_that_do_not_fit_are_named() {
    let space = CodeSpace::uniform(1, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0], &[3]]).trie();
    let other = Catalogue::new(space.clone(), &[&[0], &[3]]).trie();
    let tokens = TokenMap::ranges(&space, &[60], 64).unwrap();
    let mask = TokenMask::new(&trie, &tokens).unwrap();

    let error = mask.fill(trie.root(), &mut [0; 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "words of the mask row: got 3, expected 2"
    );
    assert!(mask.fill_additive(trie.root(), &mut [0.0; 63]).is_err());
    assert!(mask.fill_batch(&[trie.root(); 2], &mut [0; 3]).is_err());
    assert!(mask.fill_batch(&[], &mut []).is_ok());
    let mut row = [u32::MAX; 2];
    assert!(matches!(
        mask.fill(other.root(), &mut row),
        Err(Error::Foreign { .. })
    ));
    assert_eq!(row, [0, 0]);
    assert!(matches!(
        mask.filtered(&Filter::all(&other)),
        Err(Error::Foreign { .. })
    ));
    let wide = TokenMap::ranges(&CodeSpace::uniform(1, 5).unwrap(), &[0], 64).unwrap();
    assert!(matches!(
        TokenMask::new(&trie, &wide),
        Err(Error::Space { .. })
    ));
}

/// All nodes, with their paths.
fn nodes(trie: &ItemTrie<Vec<u8>>) -> Vec<(TrieCursor, Vec<Code>)> {
    let mut nodes = vec![(trie.root(), vec![])];
    let mut at = 0;
    while let Some((cursor, path)) = nodes.get(at).cloned() {
        let children = trie.children(cursor).unwrap();
        for (place, code) in children.codes().iter().enumerate() {
            let path = path.iter().copied().chain([code]).collect();
            nodes.push((children.get(place).unwrap(), path));
        }
        at += 1;
    }
    nodes
}

proptest! {
    #[test]
    fn masks_are_the_real_continuations(
        catalogue in catalogues(),
        denied in prop::collection::vec(any::<bool>(), 30),
        end in prop::option::of(Just(699)),
    ) {
        let trie = catalogue.trie();
        let space = &catalogue.space;
        let (levels, padded) = (space.levels(), catalogue.padded());
        let token = |level: usize, code: Code| (level % 2) as u32 * 300 + u32::from(code.0);
        let firsts: Vec<u32> = (0..levels).map(|level| token(level, Code(0))).collect();
        let tokens = TokenMap::ranges(space, &firsts, 700).unwrap().between(None, end).unwrap();
        let filter = Filter::deny_items(&trie, catalogue.items(|row| denied[row])).unwrap();
        let mask = TokenMask::new(&trie, &tokens).unwrap().filtered(&filter).unwrap();

        let nodes = nodes(&trie);
        let cursors: Vec<TrieCursor> = nodes.iter().map(|node| node.0).collect();
        let mut bits = vec![u32::MAX; cursors.len() * 22];
        mask.fill_batch(&cursors, &mut bits).unwrap();
        let mut floats = vec![f32::NAN; cursors.len() * 700];
        mask.fill_additive_batch(&cursors, &mut floats).unwrap();

        for (at, (_, path)) in nodes.iter().enumerate() {
            let mut expected = BTreeSet::new();
            for item in catalogue.items(|row| !catalogue.removed[row] && !denied[row]) {
                let row = padded.row(item);
                if row.starts_with(path) {
                    let next = row.get(path.len()).copied();
                    match next.filter(|&code| Some(code) != space.end(path.len())) {
                        Some(code) => _ = expected.insert(token(path.len(), code)),
                        None => expected.extend(end),
                    }
                }
            }
            let row = &bits[at * 22..][..22];
            let got: BTreeSet<u32> =
                (0..22 * 32).filter(|token| row[*token as usize / 32] >> (token % 32) & 1 == 1).collect();
            prop_assert_eq!(&got, &expected);
            let row = &floats[at * 700..][..700];
            for (token, value) in (0..).zip(row) {
                let expected = if expected.contains(&token) { 0.0 } else { f32::NEG_INFINITY };
                prop_assert_eq!(*value, expected);
            }
        }
    }
}
