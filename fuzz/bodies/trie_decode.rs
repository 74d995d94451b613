//! What is held of every reader of `trie-decode`, whatever the bytes: no panic, and masks and
//! sessions that agree with the catalogue.

use std::sync::Arc;

use semantic_id::{Code, CodeMatrix, CodeSpace, ItemId, ItemIndex, TokenFormat};
use trie_decode::{
    Catalog, DecodeSession, Filter, ItemTrie, Phase, SessionParams, TokenMap, TokenMask, TrieCursor,
};

/// Reads a `tokenizer.json` for a catalogue of four items, one of them with a shorter ID, and
/// generates each of them.
pub fn tokenizer(bytes: &[u8]) {
    let space = CodeSpace::uniform(2, 3).expect("small");
    let paths = [[0, 1], [0, 3], [2, 0], [2, 2]];
    let codes = paths.as_flattened().iter().copied().map(Code).collect();
    let codes = CodeMatrix::new(codes, 2).expect("whole rows");
    let trie = ItemTrie::of_codes(space, &codes, 1).expect("distinct");
    let format = TokenFormat::lc_rec(2).between("<begin>", "<end>");
    let format = format.expect("readable");
    let Ok(tokens) = TokenMap::from_tokenizer(bytes, &format, &trie, 40) else {
        return;
    };
    let tokens = Arc::new(tokens);
    let Ok(config) = SessionParams::new(&tokens).check(&tokens) else {
        return; // an end token that is a code as well
    };
    let session = DecodeSession::new(&trie, Arc::clone(&tokens), None, config);
    let start = session.expect("all are of one trie");
    for (item, path) in (0..).zip(&paths) {
        let mut session = start.fork();
        let begin = tokens.begin().expect("the format has one");
        session.advance(&[0], &[begin]).expect("any text");
        for (level, &code) in path.iter().enumerate() {
            let padding = (code == 3).then(|| tokens.end());
            let token = padding.unwrap_or_else(|| tokens.token(level, Code(code)));
            let token = token.expect("every code of an item has one");
            let row = session.mask(0).expect("one beam");
            assert_eq!(row[token as usize / 32] >> (token % 32) & 1, 1);
            session.advance(&[0], &[token]).expect("allowed");
        }
        assert!(matches!(session.phase(0), Ok(Phase::Done(_))));
        assert_eq!(session.finish().expect("sound"), [[ItemId(item)]]);
    }
}

/// Asks every question of the trie of an index that nobody validated.
pub fn trie(bytes: &[u8]) {
    let Ok(index) = ItemIndex::open(bytes.to_vec()) else {
        return;
    };
    let trie = Arc::new(ItemTrie::new(index));
    let space = trie.space();
    let tokens = TokenMap::ranges(space, &vec![0; space.levels()], 1 << 17).expect("they fit");
    let tokens = Arc::new(tokens);
    let _ = tokens.check(&trie);

    let nodes = nodes(&trie);
    let mut rest = Filter::all(&trie);
    let _ = (rest.take(0), rest.take(u32::MAX));
    for filter in [Filter::all(&trie), rest.not(), rest] {
        let mask = TokenMask::new(&trie, &tokens).expect("made for it");
        let mask = mask.filtered(&filter).expect("made for it");
        let mut rows = vec![0; mask.words() * nodes.len()];
        let _ = mask.fill_batch(&nodes, &mut rows);
        for &node in &nodes {
            let _ = trie.ranks(node).map(|ranks| filter.count(ranks));
            let _ = (
                trie.leaf_count(node),
                trie.items_below(node).map(Iterator::count),
            );
        }
        let _ = generate(&trie, &tokens, filter);
    }
    let _ = (
        Filter::allow_items(&trie, [ItemId(0)]),
        Filter::deny_keys(&trie, ["1", "B01"]),
    );
    change(&trie);
}

/// The first few nodes in breadth.
fn nodes(trie: &ItemTrie<Vec<u8>>) -> Vec<TrieCursor> {
    let mut nodes = vec![trie.root()];
    for at in 0..20 {
        let children = nodes.get(at).and_then(|&node| trie.children(node).ok());
        if let Some(children) = children {
            nodes.extend((0..children.len().min(9)).filter_map(|place| children.get(place)));
        }
    }
    nodes
}

/// Takes the first token that may come for as long as there is one.
fn generate(
    trie: &Arc<ItemTrie<Vec<u8>>>,
    tokens: &Arc<TokenMap>,
    filter: Filter,
) -> trie_decode::Result<()> {
    let config = SessionParams::new(tokens).check(tokens)?;
    let tokens = Arc::clone(tokens);
    let mut session = DecodeSession::new(Arc::clone(trie), tokens, Some(filter), config)?;
    loop {
        let row = session.mask(0)?;
        let Some(word) = row.iter().position(|&word| word != 0) else {
            return session.finish().map(drop);
        };
        session.advance(&[0], &[word as u32 * 32 + row[word].trailing_zeros()])?;
    }
}

/// A life of the catalogue. What comes of it is sound if what it began with was.
fn change(trie: &ItemTrie<Vec<u8>>) {
    let sound = trie.index().is_some_and(|index| index.validate().is_ok());
    let Ok(trie) = trie.without(&[]) else {
        return;
    };
    let first = trie.index().and_then(|index| index.key(ItemId(0)).ok());
    let first = first.unwrap_or_default().to_owned();
    let catalog = Catalog::new(trie, usize::MAX);
    let _ = (catalog.remove([first]), catalog.add("new", &[Code(0)]));
    if let Ok(trie) = catalog.rebuild()
        && sound
    {
        let index = trie.index().expect("just built");
        index.validate().expect("our own output");
    }
}
