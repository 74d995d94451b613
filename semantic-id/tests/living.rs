//! An index through many generations: what is promised of IDs that a model has learnt.

mod geometry;

use std::collections::{BTreeMap, HashSet};

use geometry::Geometry;
use proptest::prelude::*;
use semantic_id::{
    Assigner, Change, Churn, Code, CodeMatrix, Delta, Draft, Error, IndexInfo, ItemId, ItemIndex,
    ItemKeys, Manifest, OptimalAssigner, Relabelling, SemanticId, TokenFormat,
};

/// Two levels of six codes, so that the space fills up.
const CODES: usize = 6;
const DIM: usize = 2;

/// A number between -1 and 1 for any two.
fn random(a: u64, b: u64) -> f32 {
    let hash = (a ^ b.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    (hash >> 40) as f32 / (1 << 23) as f32 - 1.0
}

/// The items with some numbers, under the model of a seed.
fn geometry(items: &[u64], seed: u64) -> Geometry {
    let latent = |&item: &u64| (0..DIM as u64).map(move |at| random(item + 7, at));
    let book = |level: u64| {
        let spread = 1.0 / (1 + level) as f32;
        (0..(CODES * DIM) as u64).map(move |at| spread * random(1_000_000 * (seed + 1) + level, at))
    };
    Geometry {
        dim: DIM,
        latents: items.iter().flat_map(latent).collect(),
        codebooks: (0..2).map(|level| book(level).collect()).collect(),
    }
}

fn keys(items: &[u64]) -> Vec<String> {
    items.iter().map(|item| format!("item {item}")).collect()
}

fn manifest(command: &str) -> Manifest {
    Manifest::new(command, ().into())
}

fn first(items: &[u64]) -> ItemIndex<Vec<u8>> {
    let geometry = geometry(items, 0);
    let keys = ItemKeys::new(keys(items)).unwrap();
    let assignment = OptimalAssigner::default()
        .assign(&geometry.draft(), &keys)
        .unwrap();
    let info = IndexInfo::new(TokenFormat::lc_rec(2), manifest("index"));
    ItemIndex::build(assignment.space(), assignment.paths(), &keys, 1, info).unwrap()
}

/// Paths for some items beside those that are taken.
fn place(draft: &Draft, items: &[u64], taken: &CodeMatrix) -> Result<Vec<SemanticId>, Error> {
    let keys = ItemKeys::new(keys(items))?;
    let assignment = OptimalAssigner::default().assign_beside(taken, draft, &keys)?;
    Ok(assignment
        .paths()
        .rows()
        .map(|path| path.iter().copied().collect())
        .collect())
}

/// What the index says of every item it knows: its ID, and whether it is alive.
fn known(index: &ItemIndex<Vec<u8>>) -> BTreeMap<String, (SemanticId, bool)> {
    let entry = |item| {
        let known = (
            index.semantic_id(item).unwrap(),
            index.is_alive(item).unwrap(),
        );
        (index.key(item).unwrap().to_owned(), known)
    };
    index.rows().map(entry).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Add(u8),
    Remove(Vec<prop::sample::Index>),
    Free(Vec<prop::sample::Index>),
    Revive(Vec<prop::sample::Index>),
    Rebuild(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let picks = || prop::collection::vec(any::<prop::sample::Index>(), 1..4);
    let step = prop_oneof![
        3 => (1u8..9).prop_map(Step::Add),
        2 => picks().prop_map(Step::Remove),
        1 => picks().prop_map(Step::Free),
        1 => picks().prop_map(Step::Revive),
        1 => any::<u8>().prop_map(Step::Rebuild),
    ];
    prop::collection::vec(step, 1..12)
}

/// The keys of some of the items that are alive, or are not.
fn pick(
    index: &ItemIndex<Vec<u8>>,
    picks: &[prop::sample::Index],
    alive: impl Fn(bool) -> bool,
) -> Vec<String> {
    let known = known(index).into_iter();
    let keys: Vec<String> = known
        .filter(|(_, (_, is))| alive(*is))
        .map(|(key, _)| key)
        .collect();
    if keys.is_empty() {
        return keys;
    }
    let picked: HashSet<usize> = picks.iter().map(|pick| pick.index(keys.len())).collect();
    (0..keys.len())
        .filter(|at| picked.contains(at))
        .map(|at| keys[at].clone())
        .collect()
}

/// The change of a step; none if there is no room for it, or nothing to do.
fn change(index: &ItemIndex<Vec<u8>>, step: &Step, next: &mut u64) -> Option<Change> {
    let codes = index.codes().unwrap();
    let mut change = Change::default();
    match step {
        Step::Add(count) => {
            let items: Vec<u64> = (*next..*next + u64::from(*count)).collect();
            *next += u64::from(*count);
            let room = CODES * CODES - index.items();
            match place(&geometry(&items, 0).draft(), &items, &codes) {
                Ok(ids) => change.added = keys(&items).into_iter().zip(ids).collect(),
                Err(Error::OverCapacity { open, .. }) => {
                    assert_eq!(open, room as u128);
                    assert!(items.len() > room);
                }
                Err(other) => panic!("{other}"),
            }
        }
        Step::Remove(picks) => change.removed = pick(index, picks, |alive| alive),
        Step::Free(picks) => change.freed = pick(index, picks, |_| true),
        Step::Revive(picks) => change.revived = pick(index, picks, |alive| !alive),
        Step::Rebuild(seed) => {
            let (living, held): (Vec<ItemId>, Vec<ItemId>) = index
                .rows()
                .partition(|&item| index.is_alive(item).unwrap());
            let number = |item: &ItemId| {
                let key = index.key(*item).unwrap();
                key.strip_prefix("item ").unwrap().parse().unwrap()
            };
            let items: Vec<u64> = living.iter().map(number).collect();
            if items.is_empty() {
                return None;
            }
            let rows = |items: &[ItemId]| {
                let rows = items.iter().flat_map(|&item| codes.row(item)).copied();
                CodeMatrix::new(rows.collect(), 2).unwrap()
            };
            let geometry = geometry(&items, u64::from(*seed));
            let draft = geometry.draft();
            let names = Relabelling::of(&rows(&living), draft.paths(), draft.space()).unwrap();
            let mut renamed = geometry.clone();
            for (level, names) in names.names().iter().enumerate() {
                for (code, name) in names.iter().enumerate() {
                    let centroid = &geometry.codebooks[level][code * DIM..][..DIM];
                    renamed.codebooks[level][name.index() * DIM..][..DIM].copy_from_slice(centroid);
                }
            }
            let ids = place(&renamed.draft(), &items, &rows(&held)).unwrap();
            for (&item, id) in living.iter().zip(ids) {
                if *codes.row(item) != *id {
                    change.moved.push((index.key(item).unwrap().to_owned(), id));
                }
            }
        }
    }
    (!change.is_empty() && change.freed.len() < index.items()).then_some(change)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn ids_are_kept_and_never_given_twice(items in 1u64..20, steps in steps()) {
        let mut index = first(&(0..items).collect::<Vec<_>>());
        let mut next = items;
        for step in &steps {
            let Some(change) = change(&index, step, &mut next) else { continue };
            let child = index.changed(&change, 1, manifest("test")).unwrap();
            child.validate().unwrap();
            prop_assert_eq!(child.info().parent, Some(index.digest()));
            prop_assert_eq!(child.info().generation, index.info().generation + 1);
            prop_assert_eq!(child.codes().unwrap().unique(), child.items(), "two items on an ID");

            let (before, after) = (known(&index), known(&child));
            for (key, (id, alive)) in &before {
                let Some((now, is)) = after.get(key) else {
                    prop_assert!(change.freed.contains(key), "{} is lost", key);
                    continue;
                };
                let may_move = matches!(step, Step::Rebuild(_)) && *alive;
                prop_assert!(now == id || may_move, "{} has another ID", key);
                let turned = change.removed.contains(key) || change.revived.contains(key);
                prop_assert_eq!(*is, *alive != turned);
            }

            // The change can be told from the two files, and makes the one of the other.
            let mut told = Change::between(&index, &child).unwrap();
            told.freed.sort();
            let mut given = change.clone();
            for keys in [&mut given.revived, &mut given.removed, &mut given.freed, &mut told.revived, &mut told.removed] {
                keys.sort();
            }
            given.moved.sort();
            told.moved.sort();
            prop_assert_eq!(&told, &given);
            let churn = Churn::between(&index, &child).unwrap();
            prop_assert_eq!(churn.moved(), change.moved.len());
            prop_assert_eq!(churn.added, change.added.len());
            let file = Delta::new(change, 1, &child).unwrap().to_json();
            let delta = Delta::from_json(&file).unwrap();
            let applied = delta.apply(&index).unwrap();
            prop_assert_eq!(applied.bytes(), child.bytes());
            prop_assert!(delta.apply(&child).is_err());
            index = child;
        }
    }
}

#[test]
fn a_change_that_cannot_be_is_refused() {
    let index = first(&[1, 2, 3]);
    let id = |codes: [u16; 2]| codes.map(Code).into_iter().collect::<SemanticId>();
    let free = (0..CODES as u16).map(|code| id([code, 0]));
    let free: Vec<_> = free
        .filter(|id| index.ranks(id).unwrap().is_empty())
        .collect();
    let held = index.semantic_id(ItemId(0)).unwrap();
    let of = |keys: &[&str]| keys.iter().map(|&key| key.to_owned()).collect::<Vec<_>>();
    let entry = |key: &str, id: &SemanticId| vec![(key.to_owned(), id.clone())];
    let none = Change::default;
    for (change, problem) in [
        (
            Change {
                added: entry("item 1", &free[0]),
                ..none()
            },
            r#"1 item(s) to add are in the index already: "item 1""#,
        ),
        (
            Change {
                added: entry("item 4", &held),
                ..none()
            },
            "2 items share the semantic ID",
        ),
        (
            Change {
                added: entry("item 4", &id([0, 9])),
                ..none()
            },
            "code 9 at level 1 is outside the codebook",
        ),
        (
            Change {
                added: entry("item 4", &SemanticId::from_iter([Code(0)])),
                ..none()
            },
            "levels of a changed ID: got 1, expected 2",
        ),
        (
            Change {
                removed: of(&["a", "b", "c", "d"]),
                ..none()
            },
            r#"4 item(s) to change are not in the index: "a", "b", "c", ..."#,
        ),
        (
            Change {
                removed: of(&["item 1", "item 1"]),
                ..none()
            },
            r#"1 item(s) to remove were removed already: "item 1""#,
        ),
        (
            Change {
                revived: of(&["item 2"]),
                ..none()
            },
            r#"1 item(s) to bring back were not removed: "item 2""#,
        ),
        (
            Change {
                freed: of(&["item 1", "item 2", "item 3"]),
                ..none()
            },
            "the catalogue has no items",
        ),
    ] {
        let message = index
            .changed(&change, 1, manifest("test"))
            .unwrap_err()
            .to_string();
        assert!(message.contains(problem), "{message}");
    }
}

#[test]
fn a_delta_that_was_changed_is_refused() {
    let index = first(&[1, 2, 3]);
    let change = Change {
        removed: vec!["item 2".to_owned()],
        ..Change::default()
    };
    let child = index.changed(&change, 1, manifest("test")).unwrap();
    let file = String::from_utf8(Delta::new(change, 1, &child).unwrap().to_json()).unwrap();
    for (from, to, problem) in [
        ("item 2", "item 3", "it should lead to"),
        ("semid.delta", "semid.other", "got format"),
        (r#""version":1"#, r#""version":2"#, "got format"),
        (r#""removed":["#, r#""removed":"#, "expected"),
    ] {
        let file = file.replacen(from, to, 1);
        let delta = Delta::from_json(file.as_bytes()).and_then(|delta| delta.apply(&index));
        let message = delta.unwrap_err().to_string();
        assert!(
            message.starts_with("bad delta: ") && message.contains(problem),
            "{message}"
        );
    }
    let orphan = Delta::new(Change::default(), 1, &index).unwrap_err();
    assert!(matches!(orphan, Error::Delta(_)));
}
