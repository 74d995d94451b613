//! Catalogues that change: against a plain map, and under the eyes of readers.

mod catalogue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use catalogue::Catalogue;
use proptest::prelude::*;
use semantic_id::{Change, Code, CodeMatrix, CodeSpace, Delta, IndexInfo, ItemId, ItemIndex};
use semantic_id::{ItemKeys, Manifest, TokenFormat};
use trie_decode::{
    BeamParams, BeamSearch, Catalog, DecodeSession, Error, Filter, Hit, ItemTrie, Logits,
    Normalizer, Phase, Request, Scorer, Scores, Scratch, SessionParams, Step, TokenMap,
};

type Trie = ItemTrie<Vec<u8>>;

#[test]
fn tutorial() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let trie = Catalogue::new(space, &[&[0, 1], &[2, 3]]).trie();
    let catalog = Catalog::new(trie, 1);

    // A request keeps the snapshot it began with.
    let request = catalog.snapshot();
    catalog.remove(["k0"]).unwrap();
    assert_eq!(Filter::all(&request).len(), 2);
    assert_eq!(Filter::all(&catalog.snapshot()).len(), 1);

    // What is added comes with the next rebuild, here in the place of the removed item.
    catalog.add("new", &[Code(0), Code(1)]).unwrap();
    assert_eq!(catalog.added(), 1);
    let next = catalog.rebuild().unwrap();
    assert_eq!((next.items(), catalog.added()), (2, 0));
    let index = next.index().unwrap();
    assert_eq!(index.info().generation, 1);
    index.validate().unwrap();

    // Cursors of the old one are of no use here.
    assert!(matches!(
        next.children(request.root()),
        Err(Error::Foreign { .. })
    ));
}

#[test]
fn a_served_copy_follows_the_published_index() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let published = Catalogue::new(space, &[&[0, 1], &[2, 3], &[3, 3]]).trie();
    let first = published.index().unwrap();
    let change = Change {
        added: vec![("new".to_owned(), [0, 2].map(Code).into_iter().collect())],
        removed: vec!["k1".to_owned()],
        ..Change::default()
    };
    let second = first
        .changed(&change, 1, Manifest::new("test", ().into()))
        .unwrap();
    let delta = Delta::new(change, 1, &second).unwrap();

    let copy = ItemTrie::new(ItemIndex::open(first.bytes().to_vec()).unwrap());
    let catalog = Catalog::new(copy, 1);
    catalog.remove(["k0"]).unwrap();
    let next = catalog.update(&delta).unwrap();
    assert_eq!(next.index().unwrap().bytes(), second.bytes());
    let shown: Vec<String> = shown(&next).into_keys().collect();
    assert_eq!(shown, ["k2", "new"], "what was removed here stays so");
    assert!(matches!(catalog.update(&delta), Err(Error::Index(_))));
}

#[test]
fn what_cannot_be_is_named_and_changes_nothing() {
    let space = CodeSpace::new(vec![4, 1 << 16]).unwrap();
    let catalog = Catalog::new(Catalogue::new(space.clone(), &[&[0, 1], &[2, 3]]).trie(), 1);
    for path in [&[][..], &[4, 0], &[0], &[0, 1, 2]] {
        let path: Vec<Code> = path.iter().copied().map(Code).collect();
        assert!(
            matches!(catalog.add("k9", &path), Err(Error::Index(_))),
            "{path:?}"
        );
    }
    assert!(matches!(catalog.remove(["k0", "k9"]), Err(Error::UnknownKey(key)) if key == "k9"));
    assert_eq!(Filter::all(&catalog.snapshot()).len(), 2);

    catalog.add("k9", &[Code(2), Code(3)]).unwrap();
    let error = catalog.rebuild().unwrap_err().to_string();
    assert!(error.contains("k1") && error.contains("k9"), "{error}");
    assert_eq!((catalog.snapshot().items(), catalog.added()), (2, 1));
    catalog.remove(["k1"]).unwrap();
    assert_eq!(catalog.rebuild().unwrap().items(), 2);

    catalog.remove(["k0", "k9"]).unwrap();
    let error = catalog.rebuild().unwrap_err();
    assert!(matches!(error, Error::Index(semantic_id::Error::Empty)));

    let codes = CodeMatrix::new([Code(0), Code(1)].to_vec(), 2).unwrap();
    catalog.publish(ItemTrie::of_codes(space, &codes, 1).unwrap());
    assert!(matches!(catalog.remove(["k0"]), Err(Error::NoKeys)));
    assert!(matches!(catalog.rebuild(), Err(Error::NoKeys)));
}

/// What a snapshot shows: the path of each key.
fn shown(trie: &Trie) -> BTreeMap<String, Vec<Code>> {
    let (index, kept) = (trie.index().unwrap(), Filter::all(trie));
    let items = (0..trie.items() as u32).map(ItemId);
    let items = items.filter(|&item| kept.contains(trie.rank(item).unwrap()));
    items
        .map(|item| {
            (
                index.key(item).unwrap().to_owned(),
                index.semantic_id(item).unwrap().to_vec(),
            )
        })
        .collect()
}

proptest! {
    #[test]
    fn a_catalogue_is_a_map(steps in prop::collection::vec((0..8_u8, 0..6_u16, 0..3_u16), 1..40)) {
        let space = CodeSpace::uniform(2, 3).unwrap();
        let catalog = Catalog::new(Catalogue::new(space, &[&[0, 0], &[1]]).trie(), 2);
        let mut now = shown(&catalog.snapshot());
        let mut added = BTreeMap::new();
        for (kind, key, code) in steps {
            let path = vec![Code(code), Code(key % 4)];
            let key = format!("k{key}");
            match kind {
                0..4 => {
let length = if path[1] == Code(3) { 1 } else { 2 };
                    catalog.add(&key, &path[..length]).unwrap();
                    added.insert(key, path);
                }
                4..7 => {
                    let known = catalog.snapshot().index().unwrap().find(&key).unwrap().is_some();
                    let (was, had) = (now.remove(&key).is_some(), added.remove(&key).is_some());
                    let removed = catalog.remove([&key]);
                    prop_assert_eq!(removed.is_ok(), known || had);
                    prop_assert!(known || !was);
                }
                _ => {
                    let mut next = now.clone();
                    next.extend(added.clone());
                    let paths = |path| next.values().filter(|other| *other == path).count();
                    let possible = !next.is_empty() && next.values().all(|path| paths(path) <= 2);
                    let rebuilt = catalog.rebuild();
                    prop_assert_eq!(rebuilt.is_ok(), possible);
                    if let Ok(trie) = rebuilt {
                        prop_assert!(trie.index().unwrap().validate().is_ok());
                        now = next;
                        added.clear();
                    }
                }
            }
            prop_assert_eq!(shown(&catalog.snapshot()), now.clone());
            prop_assert_eq!(catalog.added(), added.len());
        }
    }
}

/// A generation of ten items whose keys and first codes tell which one it is.
fn generation(number: u16) -> Trie {
    let rows = (0..10).flat_map(|row| [Code(number % 50), Code(row), Code(number / 50)]);
    let codes = CodeMatrix::new(rows.collect(), 3).unwrap();
    let keys = ItemKeys::new((0..10).map(|row| format!("{number}-{row}"))).unwrap();
    let info = IndexInfo::new(TokenFormat::lc_rec(3), Manifest::new("test", ().into()));
    ItemTrie::new(ItemIndex::build(&space(), &codes, &keys, 1, info).unwrap())
}

fn space() -> CodeSpace {
    CodeSpace::uniform(3, 100).unwrap()
}

/// Generates an item of a snapshot, token by token, and returns its key.
fn generate(trie: &Arc<Trie>, tokens: &Arc<TokenMap>, draw: usize) -> String {
    let config = SessionParams::new(tokens).check(tokens).unwrap();
    let mut session =
        DecodeSession::new(Arc::clone(trie), Arc::clone(tokens), None, config).unwrap();
    while !matches!(session.phase(0).unwrap(), Phase::Done(_)) {
        let row = session.mask(0).unwrap();
        let tokens: Vec<u32> = (0..row.len() as u32 * 32)
            .filter(|&token| row[token as usize / 32] >> (token % 32) & 1 == 1)
            .collect();
        session
            .advance(&[0], &[tokens[draw % tokens.len()]])
            .unwrap();
    }
    let item = session.finish().unwrap()[0][0];
    trie.index().unwrap().key(item).unwrap().to_owned()
}

/// Likes all codes alike.
struct Even(Vec<f32>);

impl Scorer for Even {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        self.0 = vec![0.0; 100 * step.rows().len()];
        Ok(Scores::level(Logits::F32(&self.0)))
    }
}

/// The keys of all items that a beam search of a snapshot finds.
fn search(trie: &Trie) -> Vec<String> {
    let params = BeamParams {
        normalizer: Normalizer::Level,
        ..BeamParams::default()
    };
    let search = BeamSearch::new(trie, None, params.check().unwrap()).unwrap();
    let requests = [Request::default()];
    let found = search.run(&mut Even(Vec::new()), &requests, &mut Scratch::default());
    let key = |hit: &Hit| trie.index().unwrap().key(hit.item).unwrap().to_owned();
    found.unwrap()[0].hits.iter().map(key).collect()
}

#[test]
fn a_reader_sees_one_snapshot_whatever_writers_do() {
    let tokens = Arc::new(TokenMap::ranges(&space(), &[0, 100, 200], 300).unwrap());
    let catalog = Catalog::new(generation(0), 1);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|seed| {
                let (catalog, tokens, over) = (&catalog, &tokens, &over);
                scope.spawn(move || {
                    let mut reads = 0;
                    while reads < 1000 || !over.load(Ordering::Relaxed) {
                        let trie = catalog.snapshot();
                        let all = shown(&trie);
                        let number = |key: &str| key.split('-').next().unwrap().to_owned();
                        let first = number(all.keys().next().unwrap());
                        assert!(all.keys().all(|key| number(key) == first));
                        // Even rows are never removed; odd ones have come with a rebuild.
                        assert!((5..=10).contains(&all.len()));
                        assert!(all.contains_key(&generate(&trie, tokens, reads + seed)));
                        let found = search(&trie);
                        assert_eq!(found.len(), all.len());
                        assert!(found.iter().all(|key| all.contains_key(key)));
                        reads += 1;
                    }
                })
            })
            .collect();
        for number in 0..2000 {
            catalog.publish(generation(number));
            let odd = || (0..5).map(|row| format!("{number}-{}", 2 * row + 1));
            catalog.remove(odd()).unwrap();
            if number % 4 == 0 {
                for (row, key) in (0..5).zip(odd()) {
                    catalog.add(&key, &[Code(99), Code(row), Code(0)]).unwrap();
                }
                catalog.rebuild().unwrap();
            }
        }
        over.store(true, Ordering::Relaxed);
        readers
            .into_iter()
            .for_each(|reader| reader.join().unwrap());
    });
    assert_eq!(shown(&catalog.snapshot()).len(), 5);
}
