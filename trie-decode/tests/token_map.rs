//! Token maps, and the reader of `tokenizer.json`.

mod catalogue;

use catalogue::{Catalogue, catalogues};
use proptest::prelude::*;
use semantic_id::{Code, CodeSpace, TokenFormat};
use trie_decode::{Error, TokenMap};

#[test]
fn tutorial() {
    let space = CodeSpace::uniform(2, 3).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0, 2], &[2, 1]]).trie();

    // A tokenizer to which the tokens of the index were added.
    let json = r#"{
        "model": {"type": "BPE", "vocab": {"a": 0, "b": 1}},
        "added_tokens": [
            {"id": 2, "content": "<a_0>"}, {"id": 3, "content": "<a_2>", "special": true},
            {"id": 5, "content": "<b_1>"}, {"id": 4, "content": "<b_2>"}
        ]
    }"#;
    let format = trie.index().unwrap().token_format();
    let tokens = TokenMap::from_tokenizer(json.as_bytes(), format, &trie, 6).unwrap();
    assert_eq!(tokens.token(0, Code(2)), Some(3));
    assert_eq!(tokens.code(1, 5), Some(Code(1)));
    // No item has the code 1 at level 0, so it needs no token.
    assert_eq!(tokens.token(0, Code(1)), None);

    // The same by hand.
    let (first, second) = (vec![Some(2), None, Some(3)], vec![None, Some(5), Some(4)]);
    assert_eq!(
        TokenMap::table(&space, vec![first, second], 6).unwrap(),
        tokens
    );
}

#[test]
fn a_unigram_list_numbers_its_tokens() {
    let trie = Catalogue::new(CodeSpace::uniform(1, 2).unwrap(), &[&[0], &[1]]).trie();
    let json = br#"{"model": {"unk_id": 0, "vocab": [["<unk>", 0.0], ["[1]", -3.5], ["[0]", -4],
        ["begin", -1e3], ["end", 0]]}, "added_tokens": [{"id": 9, "content": "[1]"}]}"#;
    let format = TokenFormat::new(&["[{code}]"]).unwrap();
    let format = format.between("begin", "end").unwrap();
    let tokens = TokenMap::from_tokenizer(json, &format, &trie, 5).unwrap();
    assert_eq!(
        [0, 1].map(|code| tokens.token(0, Code(code))),
        [Some(2), Some(1)]
    );
    assert_eq!((tokens.begin(), tokens.end()), (Some(3), Some(4)));
}

#[test]
fn what_a_tokenizer_lacks_is_listed() {
    let rows: Vec<u16> = (0..9).collect();
    let paths: Vec<&[u16]> = rows.iter().map(std::slice::from_ref).collect();
    let trie = Catalogue::new(CodeSpace::uniform(1, 10).unwrap(), &paths).trie();
    let format = TokenFormat::new(&["<a_{code}>"]).unwrap();
    let format = format.between("<begin>", "").unwrap();
    let json = br#"{"model": {"vocab": {"<a_0>": 7, "<a_3>": 1}}}"#;
    let error = TokenMap::from_tokenizer(json, &format, &trie, 10).unwrap_err();
    let Error::MissingTokens { first, count } = &error else {
        panic!("{error}");
    };
    assert_eq!(*first, ["<begin>", "<a_1>", "<a_2>", "<a_4>", "<a_5>"]);
    assert_eq!(*count, 8);
    assert!(
        error
            .to_string()
            .starts_with("8 tokens are missing, among them")
    );
}

#[test]
fn maps_that_cannot_be_are_refused() {
    let space = CodeSpace::new(vec![2, 3]).unwrap();
    let message = |map: Result<TokenMap, Error>| map.unwrap_err().to_string();
    let table = |first: [Option<u32>; 2], vocabulary| {
        let second = vec![Some(0), Some(2), Some(1)];
        TokenMap::table(&space, vec![first.to_vec(), second], vocabulary)
    };
    assert!(table([Some(2), Some(0)], 3).is_ok()); // levels may share tokens
    assert!(message(table([Some(1), Some(1)], 3)).contains("codes 0 and 1 have the same token 1"));
    assert!(message(table([Some(3), None], 3)).contains("level 0 code 0: got token 3"));
    assert!(message(table([None, None], 0)).contains("got 0, expected 1"));
    assert!(
        message(TokenMap::table(&space, vec![vec![None; 2]; 2], 9)).contains("got 2, expected 3")
    );
    assert!(message(TokenMap::ranges(&space, &[0], 9)).contains("got 1, expected 2"));
    assert!(message(TokenMap::ranges(&space, &[0, 7], 9)).contains("code 2: got token 9"));
    let last = usize::MAX;
    assert!(TokenMap::ranges(&space, &[0, u32::MAX - 2], last).is_err());
    assert!(TokenMap::ranges(&space, &[0, u32::MAX - 3], last).is_ok());
    let map = TokenMap::ranges(&space, &[0, 2], 5).unwrap();
    assert!(message(map.between(Some(4), Some(5))).contains("got token 5, expected one below 5"));
}

#[test]
fn codes_of_items_without_a_token_are_found() {
    let space = CodeSpace::uniform(1, 3).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0], &[2]]).trie();
    let map = |table| TokenMap::table(&space, vec![table], 9).unwrap();
    assert!(map(vec![Some(1), None, Some(4)]).check(&trie).is_ok());
    let error = map(vec![Some(1), Some(4), None]).check(&trie).unwrap_err();
    assert!(error.to_string().contains("level 0 code 2"));
    let other = CodeSpace::uniform(1, 4).unwrap();
    let map = TokenMap::ranges(&other, &[0], 4).unwrap();
    assert!(matches!(map.check(&trie), Err(Error::Space { .. })));
}

#[test]
fn files_that_are_no_tokenizer_are_refused() {
    let trie = Catalogue::new(CodeSpace::uniform(1, 1).unwrap(), &[&[0]]).trie();
    let format = TokenFormat::lc_rec(1);
    let deep = "[".repeat(1 << 16);
    for json in [
        "",
        "{",
        "[]",
        "{}",
        r#"{"model": {}}"#,
        r#"{"model": {"vocab": 3}}"#,
        r#"{"model": {"vocab": {"<a_0>": -1}}}"#,
        r#"{"model": {"vocab": {"<a_0>": 4294967296}}}"#,
        r#"{"model": {"vocab": {"<a_0>": 0.5}}}"#,
        r#"{"model": {"vocab": [["<a_0>"]]}}"#,
        r#"{"model": {"vocab": [0]}}"#,
        r#"{"model": {"vocab": {"<a_0>": 0}}, "added_tokens": [{"content": "b"}]}"#,
        r#"{"model": {"vocab": {"<a_0>": 0}}} more"#,
        &deep,
    ] {
        let map = TokenMap::from_tokenizer(json.as_bytes(), &format, &trie, 4);
        assert!(matches!(map, Err(Error::Tokenizer(_))), "{json}: {map:?}");
    }
}

proptest! {
    #[test]
    fn a_map_goes_both_ways(
        catalogue in catalogues(),
        firsts in prop::collection::vec(0..100_u32, 64),
        holes in prop::collection::vec(any::<bool>(), 300),
        shuffle in any::<bool>(),
    ) {
        let space = &catalogue.space;
        let firsts = &firsts[..space.levels()];
        let ranges = TokenMap::ranges(space, firsts, 400).unwrap();
        let token = |level: usize, code: u32| if shuffle {
            (!holes[code as usize]).then_some(399 - firsts[level] - code)
        } else {
            Some(firsts[level] + code)
        };
        let table = |level: usize| (0..space.sizes()[level]).map(|code| token(level, code)).collect();
        let tables = TokenMap::table(space, (0..space.levels()).map(table).collect(), 400).unwrap();
        if !shuffle {
            prop_assert_eq!(&tables, &ranges);
        }
        for (level, &size) in space.sizes().iter().enumerate() {
            for code in 0..size + 2 {
                let expected = (code < size).then(|| token(level, code)).flatten();
                prop_assert_eq!(tables.token(level, Code(code as u16)), expected);
            }
            for token in (0..400).chain([u32::MAX]) {
                if let Some(code) = tables.code(level, token) {
                    prop_assert_eq!(tables.token(level, code), Some(token));
                }
            }
        }
        prop_assert_eq!(tables.token(space.levels(), Code(0)), None);
        prop_assert_eq!(tables.code(space.levels(), 0), None);
    }
}
