//! The index file: what is built can be read, and damage is found.

use std::io::Cursor;

use proptest::prelude::*;
use semantic_id::{
    Code, CodeMatrix, CodeSpace, Digest, Error, IndexInfo, IndexWriter, ItemId, ItemIndex,
    ItemKeys, Manifest, SemanticId, TokenFormat,
};

fn info(levels: usize) -> IndexInfo {
    let mut manifest = Manifest::new("test", serde_json::json!({ "capacity": 1, "é": [0.5] }));
    manifest.seed = Some(42);
    manifest.inputs.insert("emb.npy".into(), Digest::of(b"e"));
    IndexInfo::new(TokenFormat::lc_rec(levels), manifest)
}

fn matrix(rows: &[&[u16]]) -> CodeMatrix {
    let codes = rows.concat().into_iter().map(Code).collect();
    CodeMatrix::new(codes, rows[0].len()).unwrap()
}

/// Five items on four leaves, one of them of a shorter ID; 4 is the padding.
fn small() -> ItemIndex<Vec<u8>> {
    let space = CodeSpace::uniform(3, 4).unwrap();
    let codes = matrix(&[&[3, 0, 2], &[1, 2, 3], &[3, 4, 4], &[1, 2, 3], &[1, 2, 0]]);
    let keys = ItemKeys::new(["lamp", "sofa", "desk", "chair", "Türe"]).unwrap();
    let index = ItemIndex::build(&space, &codes, &keys, 2, info(3)).unwrap();
    index.remove(&[ItemId(4)]).unwrap()
}

#[test]
fn tutorial() {
    // The trie, with ranks at its leaves:
    //
    //   1 - 2 - 0: Türe                     rank 0
    //         \ 3: chair, sofa (by key)     ranks 1, 2
    //   3 - 0 - 2: lamp                     rank 3
    //     \ end  : desk                     rank 4
    let index = small();
    assert_eq!((index.items(), index.levels()), (5, 3));
    let ranked: Vec<_> = (0..5)
        .map(|rank| index.key(index.item(rank).unwrap()).unwrap())
        .collect();
    assert_eq!(ranked, ["Türe", "chair", "sofa", "lamp", "desk"]);

    assert_eq!(index.find("lamp").unwrap(), Some(ItemId(0)));
    assert_eq!(index.find("shelf").unwrap(), None);
    assert_eq!(index.rank(ItemId(0)).unwrap(), 3);
    assert_eq!(*index.semantic_id(ItemId(2)).unwrap(), [3, 4, 4].map(Code));
    assert_eq!(index.text(ItemId(2)).unwrap(), "<a_3>");

    assert_eq!(
        index.items_of(&[1, 2, 3].map(Code)).unwrap(),
        [ItemId(3), ItemId(1)]
    );
    assert_eq!(index.ranks(&[Code(1)]).unwrap(), 0..3);
    assert_eq!(index.ranks(&[]).unwrap(), 0..5);
    assert!(index.ranks(&[Code(2)]).unwrap().is_empty());
    assert!(index.ranks(&[1, 2, 3, 0].map(Code)).unwrap().is_empty());

    let level = index.level(1).unwrap();
    assert_eq!(level.codes.iter().collect::<Vec<_>>(), [2, 0, 4].map(Code));
    assert_eq!(level.children(0), Some(0..2));
    assert_eq!(index.level(2).unwrap().children(1), Some(1..3));
    assert!(index.level(3).is_none());

    assert!(!index.is_alive(ItemId(4)).unwrap());
    assert_eq!(index.alive(), Some(&[0b11110][..]));
    assert_eq!(index.info().generation, 1);
    index.validate().unwrap();
}

#[test]
fn generations_are_linked() {
    let first = small();
    let second = first.remove(&[ItemId(0)]).unwrap();
    second.validate().unwrap();
    assert_eq!(second.info().parent, Some(first.digest()));
    assert_eq!(second.alive(), Some(&[0b10110][..]));
    assert_eq!(second.codes().unwrap(), first.codes().unwrap());
    assert!(matches!(
        first.remove(&[ItemId(5)]),
        Err(Error::NoItem { item: 5, items: 5 })
    ));
}

#[test]
fn the_file_is_plain_safetensors() {
    let index = small();
    let file = safetensors::SafeTensors::deserialize(index.bytes()).unwrap();
    assert_eq!(file.tensor("level.0.code").unwrap().data(), [1, 3]);
    for (name, tensor) in file.tensors() {
        let at = tensor.data().as_ptr() as usize - index.bytes().as_ptr() as usize;
        assert!(
            at.is_multiple_of(tensor.dtype().bitsize() / 8),
            "{name} is not aligned"
        );
    }
    // The seal can be checked by anyone: blank the hash, and hash.
    let digest = index.digest().to_string();
    let text =
        String::from_utf8_lossy(&index.bytes()[..4000.min(index.bytes().len())]).into_owned();
    let at = text.find(&digest).unwrap();
    let at = text[..at].len();
    let mut blank = index.bytes().to_vec();
    blank[at..at + 64].fill(b'0');
    assert_eq!(Digest::of(&blank), index.digest());
}

#[test]
fn what_cannot_be_an_index_is_refused() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let keys = ItemKeys::new(["x", "y"]).unwrap();
    let build = |rows: &[&[u16]]| ItemIndex::build(&space, &matrix(rows), &keys, 1, info(2));
    assert!(build(&[&[0, 0], &[0, 1]]).is_ok());
    let shared = build(&[&[0, 1], &[0, 1]]).unwrap_err().to_string();
    assert!(
        shared.contains("0.1") && shared.contains("\"y\""),
        "{shared}"
    );
    assert!(matches!(
        build(&[&[0, 0], &[0, 5]]),
        Err(Error::CodeOutOfRange { item: 1, .. })
    ));
    assert!(matches!(
        build(&[&[0, 0], &[4, 4]]),
        Err(Error::Padding { item: 1 })
    ));
    assert!(matches!(
        build(&[&[4, 0], &[0, 0]]),
        Err(Error::Padding { item: 0 })
    ));
    assert!(matches!(
        build(&[&[0, 0]]),
        Err(Error::Shape {
            got: 1,
            expected: 2,
            ..
        })
    ));
    assert!(matches!(
        build(&[&[0], &[1]]),
        Err(Error::Shape {
            got: 1,
            expected: 2,
            ..
        })
    ));
    let wide = ItemIndex::build(&space, &matrix(&[&[0, 0], &[0, 1]]), &keys, 1, info(3));
    assert!(matches!(
        wide,
        Err(Error::Shape {
            got: 3,
            expected: 2,
            ..
        })
    ));
}

/// Asks everything of a damaged file, and demands that validation finds the damage.
fn found(bytes: &[u8]) -> bool {
    let Ok(index) = ItemIndex::open(bytes) else {
        return true;
    };
    for item in (0..=index.items() as u32).map(ItemId) {
        let _ = index.key(item).map(|key| index.find(key));
        let _ = (index.item(item.0), index.is_alive(item), index.text(item));
        let _ = index.semantic_id(item).map(|id| index.items_of(&id));
    }
    let _ = (index.codes(), index.keys(), index.iter().count());
    index.validate().is_err()
}

#[test]
fn every_truncation_is_found() {
    let index = small();
    let bytes = index.bytes();
    assert!(!found(bytes));
    for end in 0..bytes.len() {
        assert!(ItemIndex::open(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(ItemIndex::open([bytes, &[0]].concat()).is_err());
}

#[test]
fn every_flipped_byte_is_found() {
    let index = small();
    let mut bytes = index.bytes().to_vec();
    for at in 0..bytes.len() {
        let good = bytes[at];
        let bits = (0..8).map(|bit| good ^ (1 << bit));
        let bad = bits.chain([b' ', b'\t', b'0', b'"', 0xff, good.wrapping_add(1)]);
        for bad in bad.filter(|&bad| bad != good) {
            bytes[at] = bad;
            assert!(found(&bytes), "byte {at}: {bad} for {good}");
        }
        bytes[at] = good;
    }
}

/// Changes one value of a tensor and seals the file again, so that only the check of that
/// tensor can find it.
fn resealed(tensor: &str, at: usize, value: u8) -> String {
    let index = small();
    let mut bytes = index.bytes().to_vec();
    let start = {
        let file = safetensors::SafeTensors::deserialize(index.bytes()).unwrap();
        let data = file.tensor(tensor).unwrap().data();
        data.as_ptr() as usize - index.bytes().as_ptr() as usize
    };
    assert_ne!(bytes[start + at], value, "not a change");
    bytes[start + at] = value;
    let digits = index.digest().to_string().into_bytes();
    let seal = bytes
        .windows(64)
        .position(|window| window == digits)
        .unwrap();
    bytes[seal..seal + 64].fill(b'0');
    let digest = Digest::of(&bytes).to_string();
    bytes[seal..seal + 64].copy_from_slice(digest.as_bytes());
    let error = match ItemIndex::open(&bytes) {
        Ok(index) => index.validate().expect_err("a fault").to_string(),
        Err(error) => error.to_string(),
    };
    assert!(found(&bytes));
    error
}

#[test]
fn every_kind_of_fault_has_its_own_check() {
    let faults = [
        // tensor, byte, value, what the message names
        ("level.0.code", 0, 3, "level.0.code: code 3 does not ascend"),
        (
            "level.0.code",
            1,
            4,
            "level.0.code: code 4 does not ascend, or is not of 4 codes",
        ),
        ("level.2.code", 1, 0, "level.2.code: code 0 does not ascend"),
        ("level.2.code", 1, 200, "level.2.code: code 200"),
        (
            "level.2.code",
            3,
            0,
            "level.2.code: a code follows the end of node 2",
        ),
        (
            "level.0.first_child",
            0,
            1,
            "level.0.first_child: got 1 as its first entry",
        ),
        (
            "level.0.first_child",
            4,
            0,
            "level.0.first_child: node 0 has no children",
        ),
        (
            "level.0.first_child",
            4,
            200,
            "level.0.first_child: node 1 has no children",
        ),
        (
            "level.0.first_child",
            8,
            2,
            "level.0.first_child: got 2 as its last entry",
        ),
        ("rank_offset", 4, 0, "rank_offset: node 0 has no children"),
        ("rank_offset", 16, 4, "rank_offset: got 4 as its last entry"),
        ("rank_to_item", 0, 3, "rank_to_item: the item at rank 0"),
        ("rank_to_item", 3, 1, "rank_to_item: the item at rank 0"),
        ("item_to_rank", 0, 4, "rank_to_item: the item at rank 3"),
        ("item_key.bytes", 0, 0xff, "item_key.bytes: invalid utf-8"),
        ("item_key.bytes", 0, b'z', "item_key.order: entry"),
        (
            "item_key.offset",
            8,
            200,
            "item_key.offset: the key of item 0",
        ),
        (
            "item_key.offset",
            32,
            19,
            "item_key.offset: the key of item 3",
        ),
        (
            "item_key.offset",
            40,
            3,
            "item_key.offset: got 3 as its last entry",
        ),
        ("item_key.order", 0, 2, "item_key.order: entry"),
        ("item_key.order", 0, 5, "item_key.order: entry 0"),
        (
            "alive",
            0,
            0b111110,
            "alive: bits are set beyond the 5 ranks",
        ),
    ];
    for (tensor, at, value, expected) in faults {
        let error = resealed(tensor, at, value);
        assert!(
            error.contains(expected),
            "{tensor}[{at}] = {value}: {error}"
        );
    }
}

/// Items of a catalogue: unique keys, paths of 1 to L codes, often shared.
fn catalogues() -> impl Strategy<Value = (CodeSpace, Vec<(String, Vec<u16>)>)> {
    let sizes = prop::collection::vec(prop_oneof![1..5_u32, 250..260_u32, Just(65535)], 1..5);
    sizes.prop_flat_map(|sizes| {
        let codes: Vec<_> = sizes.iter().map(|&size| 0..size.min(300) as u16).collect();
        let levels = sizes.len();
        let path = (codes, 1..=levels).prop_map(|(codes, length)| codes[..length].to_vec());
        let items = prop::collection::btree_map(".{0,6}", path, 1..40)
            .prop_map(|items| items.into_iter().collect::<Vec<_>>())
            .prop_shuffle();
        (Just(CodeSpace::new(sizes).unwrap()), items)
    })
}

proptest! {
    #[test]
    fn a_built_index_answers_as_a_plain_table_does((space, items) in catalogues()) {
        let levels = space.levels();
        let paths: Vec<SemanticId> = items
            .iter()
            .map(|(_, path)| {
                (0..levels)
                    .map(|l| path.get(l).map_or_else(|| space.end(l).unwrap(), |&code| Code(code)))
                    .collect()
            })
            .collect();
        let codes = CodeMatrix::new(paths.iter().flat_map(|id| id.iter().copied()).collect(), levels)?;
        let keys = ItemKeys::new(items.iter().map(|(key, _)| key))?;
        let index = ItemIndex::build(&space, &codes, &keys, items.len(), info(levels))?;
        index.validate()?;
        let again = ItemIndex::build(&space, &codes, &keys, items.len(), info(levels))?;
        prop_assert_eq!(again.bytes(), index.bytes());

        let mut order: Vec<usize> = (0..items.len()).collect();
        order.sort_by_key(|&row| (&paths[row], &items[row].0));
        for (rank, &row) in order.iter().enumerate() {
            let item = ItemId(row as u32);
            prop_assert_eq!(index.item(rank as u32)?, item);
            prop_assert_eq!(index.rank(item)?, rank as u32);
            prop_assert_eq!(index.key(item)?, &items[row].0);
            prop_assert_eq!(index.find(&items[row].0)?, Some(item));
            prop_assert_eq!(&index.semantic_id(item)?, &paths[row]);
            for length in 0..=levels {
                let prefix = &paths[row][..length];
                let expected: Vec<_> = order
                    .iter()
                    .filter(|&&other| paths[other].starts_with(prefix))
                    .map(|&other| ItemId(other as u32))
                    .collect();
                prop_assert_eq!(index.items_of(prefix)?, expected);
            }
        }
        let walked: Vec<_> = index.iter().collect::<Result<_, _>>()?;
        let expected: Vec<_> = order.iter().map(|&row| (ItemId(row as u32), paths[row].clone())).collect();
        prop_assert_eq!(walked, expected);
        prop_assert_eq!(index.codes()?, codes);
        prop_assert_eq!(index.keys()?, keys);
        prop_assert_eq!(index.info(), &info(levels));
        prop_assert_eq!(index.space(), &space);

        for batch in [1, 3, items.len()] {
            prop_assert_eq!(&streamed(&index, batch)?, index.bytes());
        }
    }
}

/// An index, written again in batches of so many.
fn streamed(index: &ItemIndex<Vec<u8>>, batch: usize) -> Result<Vec<u8>, Error> {
    let spool = || Ok(Cursor::new(Vec::new()));
    let (space, info) = (index.space().clone(), index.info().clone());
    let mut writer = IndexWriter::new(space, info, index.items(), spool)?;
    let ranked: Vec<_> = index.iter().collect::<Result<_, _>>()?;
    for ranked in ranked.chunks(batch) {
        let codes = ranked.iter().flat_map(|(_, path)| path.iter().copied());
        let items: Vec<ItemId> = ranked.iter().map(|(item, _)| *item).collect();
        writer.ranks(&CodeMatrix::new(codes.collect(), index.levels())?, &items)?;
    }
    let keys = index.keys()?;
    let listed: Vec<&str> = keys.iter().collect();
    for keys in listed.chunks(batch) {
        writer.keys(keys)?;
    }
    for items in keys.order().chunks(batch) {
        writer.key_order(items)?;
    }
    // What is there before stays.
    let mut file = Cursor::new(b"before".to_vec());
    file.set_position(6);
    let digest = writer.finish(&mut file)?;
    assert_eq!(digest, index.digest());
    let file = file.into_inner();
    assert_eq!(file[..6], *b"before");
    Ok(file[6..].to_vec())
}

#[test]
fn parts_that_make_no_index_are_refused() {
    let writer = || {
        let spool = || Ok(Cursor::new(Vec::new()));
        IndexWriter::new(CodeSpace::uniform(2, 4).unwrap(), info(2), 2, spool).unwrap()
    };
    let said = |error: Error| error.to_string();
    let ranks = |rows: &[&[u16]], items: &[u32]| {
        let items: Vec<ItemId> = items.iter().copied().map(ItemId).collect();
        let mut writer = writer();
        writer.ranks(&matrix(rows), &items).map(|()| writer)
    };
    let finished = |rows: &[&[u16]], items: &[u32]| {
        let mut writer = ranks(rows, items).unwrap();
        writer.keys(["a", "b"]).unwrap();
        writer.key_order(&[ItemId(0), ItemId(1)]).unwrap();
        said(writer.finish(&mut Cursor::new(Vec::new())).unwrap_err())
    };
    let failed = |rows: &[&[u16]], items: &[u32]| said(ranks(rows, items).unwrap_err());
    assert!(failed(&[&[1, 0], &[0, 3]], &[0, 1]).contains("ascending"));
    assert!(failed(&[&[1, 0], &[1, 0], &[1, 0]], &[0, 1, 2]).contains("holds 3 items"));
    assert!(failed(&[&[1, 5]], &[0]).contains("outside the codebook"));
    assert!(failed(&[&[4, 4]], &[0]).contains("item 0"));
    assert!(failed(&[&[1, 0]], &[0, 1]).contains("rows of codes"));
    assert!(failed(&[&[1, 0, 0]], &[0]).contains("levels of the codes"));
    assert!(finished(&[&[0, 1]], &[0]).contains("got 2 keys, expected 1"));
    assert!(finished(&[&[0, 1], &[0, 2]], &[0, 2]).contains("row 2"));
    assert!(finished(&[&[0, 1], &[0, 2]], &[1, 1]).contains("ranks 0 and 1"));
    let empty = writer().finish(&mut Cursor::new(Vec::new()));
    assert!(matches!(empty, Err(Error::Empty)));
}
