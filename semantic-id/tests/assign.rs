//! From drafts to assignments: oracles, properties, hostile drafts.

mod geometry;

use std::collections::HashMap;
use std::num::NonZeroU32;

use geometry::Geometry;
use proptest::prelude::*;
use semantic_id::{
    Affinity, Assigner, Assignment, Certificate, Code, CodeMatrix, CodeSpace, Distances, Draft,
    Error, ItemId, ItemKeys, Objective, OptimalAssigner, Scope, SemanticId, Share,
    SinkhornAssigner, Stage, SuffixAssigner,
};

/// Codes at 0, 1, 2, ... on a line, items where they like.
fn line(codes: usize, items: &[f32]) -> Geometry {
    Geometry {
        dim: 1,
        latents: items.to_vec(),
        codebooks: vec![(0..codes).map(|code| code as f32).collect()],
    }
}

/// Two levels of steps 10 and 1 on a line.
fn ruler(tens: usize, ones: usize, items: &[f32]) -> Geometry {
    Geometry {
        dim: 1,
        latents: items.to_vec(),
        codebooks: vec![
            (0..tens).map(|code| 10.0 * code as f32).collect(),
            (0..ones).map(|code| code as f32).collect(),
        ],
    }
}

fn assigner(capacity: u32, scope: Scope, objective: Objective) -> OptimalAssigner {
    OptimalAssigner {
        capacity: NonZeroU32::new(capacity).expect("capacities of these tests are positive"),
        scope,
        objective,
        reserve: Share::NONE,
    }
}

fn numbered(draft: &Draft) -> ItemKeys {
    ItemKeys::numbered(draft.paths().len()).expect("drafts have items")
}

fn codes(assignment: &Assignment) -> Vec<Vec<u16>> {
    let rows = assignment.paths().rows();
    rows.map(|path| path.iter().map(|code| code.0).collect())
        .collect()
}

fn proof(assignment: &Assignment) -> &Certificate {
    assignment
        .certificate()
        .expect("the optimal assigner proves its result")
}

#[test]
fn colliding_items_spread_over_the_free_codes_of_their_prefix() {
    // Four items want code 1, one wants code 3; codes 0, 2 and 4 are free. One of the four
    // stays, the others take the free codes, and the item on code 3 is left alone.
    let geometry = line(5, &[0.9, 1.0, 1.1, 1.2, 3.0]);
    let draft = geometry.draft();
    let assignment = OptimalAssigner::default()
        .assign(&draft, &numbered(&draft))
        .unwrap();
    assert_eq!(codes(&assignment), [[0], [1], [2], [4], [3]]);
    let proof = proof(&assignment);
    assert_eq!((proof.moves, proof.moves_bound), (3, 3));
    assert!(proof.optimal);
    assert_eq!(proof.gap, 0.0);
    assert_eq!(proof.stages, [Stage::Prefix]);
    let expected: f64 = 0.81 + 0.0 + 0.81 + 7.84 + 0.0;
    assert!((proof.cost - expected).abs() < 1e-5, "{proof:?}");
}

#[test]
fn an_overfull_prefix_overflows_into_its_neighbour() {
    // Two tens of three ones: all five items want 0x, which holds three.
    let geometry = ruler(2, 3, &[0.0, 1.0, 2.0, 2.1, 2.2]);
    let draft = geometry.draft();
    let assignment = OptimalAssigner::default()
        .assign(&draft, &numbered(&draft))
        .unwrap();
    assert_eq!(codes(&assignment), [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1]]);
    let proof = proof(&assignment);
    assert_eq!(proof.stages, [Stage::Overfull]);
    assert_eq!(
        (proof.moves, proof.moves_bound, proof.optimal),
        (2, 2, true)
    );
}

#[test]
fn identical_items_are_split_by_key() {
    let geometry = line(4, &[1.0; 4]);
    let draft = geometry.draft();
    let keys = ItemKeys::new(["d", "b", "c", "a"]).unwrap();
    let assignment = OptimalAssigner::default().assign(&draft, &keys).unwrap();
    // The first key keeps code 1; then the nearest, the lower code first.
    assert_eq!(codes(&assignment), [[3], [0], [2], [1]]);
}

#[test]
fn thousands_of_identical_items_find_places() {
    for (levels, count) in [(2, 1_000), (3, 5_000)] {
        let mut geometry = random_geometry(levels, 100, 4, 3 * count, 7);
        let latent = geometry.latents[..4].to_vec();
        geometry.latents[..4 * count].copy_from_slice(&latent.repeat(count));
        let draft = geometry.draft();
        let assignment = OptimalAssigner::default()
            .assign(&draft, &numbered(&draft))
            .unwrap();
        assert!(proof(&assignment).optimal);
        assert_eq!(proof(&assignment).moves, proof(&assignment).moves_bound);
    }
}

#[test]
fn a_full_space_is_filled_to_the_last_path() {
    for scope in [Scope::Prefix, Scope::Global] {
        for objective in [Objective::MovesThenDistance, Objective::Distance] {
            for capacity in [1, 3] {
                let geometry = random_geometry(2, 6, 2, 36 * capacity as usize, 3);
                let draft = geometry.draft();
                let rules = assigner(capacity, scope, objective);
                let assignment = rules.assign(&draft, &numbered(&draft)).unwrap();
                assert_eq!(assignment.paths().unique(), 36);
                assert!(proof(&assignment).optimal);
            }
        }
    }
}

#[test]
fn more_items_than_paths_is_an_error_that_names_both() {
    let geometry = ruler(2, 3, &[0.0; 7]);
    let draft = geometry.draft();
    let refused = OptimalAssigner::default().assign(&draft, &numbered(&draft));
    let message = refused.unwrap_err().to_string();
    assert!(
        message.contains("7 items") && message.contains("of 6 "),
        "{message}"
    );
    let rules = assigner(2, Scope::Prefix, Objective::Distance);
    rules.assign(&draft, &numbered(&draft)).unwrap();
}

#[test]
fn new_items_go_round_a_full_prefix_and_it_is_named() {
    // Two tens of three ones; 00 to 02 are taken, and so is 11.
    let geometry = ruler(2, 3, &[1.0, 11.0]);
    let draft = geometry.draft();
    let taken = [[0, 0], [0, 1], [0, 2], [1, 1]].as_flattened();
    let taken = CodeMatrix::new(taken.iter().map(|&code| Code(code)).collect(), 2).unwrap();
    let assign = |geometry: &Geometry| {
        let draft = geometry.draft();
        OptimalAssigner::default().assign_beside(&taken, &draft, &numbered(&draft))
    };
    let assignment = assign(&geometry).unwrap();
    assert_eq!(codes(&assignment), [[1, 2], [1, 0]]);
    let full = &assignment.overfull()[0];
    assert_eq!(
        (&full.prefix[..], full.items, full.room),
        (&[Code(0)][..], 1, 0)
    );
    assert_eq!(
        (proof(&assignment).moves_bound, draft.paths().len()),
        (2, 2)
    );

    let refused = assign(&ruler(2, 3, &[1.0, 1.0, 11.0])).unwrap_err();
    let message = refused.to_string();
    assert!(
        message.starts_with("3 items do not fit the 2 free slots of 6 "),
        "{message}"
    );
}

#[test]
fn the_heaviest_of_colliding_items_stays() {
    let geometry = line(5, &[0.9, 1.0, 1.1, 1.2, 3.0]);
    let draft = geometry.draft().weighted(vec![1, 1, 1, 7, 1]).unwrap();
    let assignment = OptimalAssigner::default()
        .assign(&draft, &numbered(&draft))
        .unwrap();
    assert_eq!(codes(&assignment)[3], [1]);
    assert_eq!(assignment.moved(), 3);
}

#[test]
fn an_item_that_must_move_goes_where_its_companions_are() {
    // Tens of two ones. Three items want 1x, which holds two; 0x is a little nearer to the one
    // that must leave than 2x, where its companion is.
    let geometry = ruler(3, 2, &[10.0, 11.0, 9.9, 20.0]);
    let draft = geometry.draft();
    let moved = |draft: &Draft| {
        let assignment = OptimalAssigner::default()
            .assign(draft, &numbered(draft))
            .unwrap();
        codes(&assignment)[2].clone()
    };
    assert_eq!(moved(&draft), [0, 1]);

    let history = [ItemId(3), ItemId(2)];
    let affinity = Affinity::new(&draft, &[&history], 0.5).unwrap();
    assert_eq!(moved(&affinity.draft().unwrap()), [2, 1]);

    let history = [ItemId(4)];
    let stranger = Affinity::new(&draft, &[&history], 0.5);
    assert!(matches!(stranger, Err(Error::NoItem { item: 4, items: 4 })));
}

#[test]
fn too_few_keys_are_refused() {
    let geometry = line(4, &[1.0; 4]);
    let draft = geometry.draft();
    let keys = ItemKeys::numbered(3).unwrap();
    let assigners: [&dyn Assigner; 3] = [
        &OptimalAssigner::default(),
        &SinkhornAssigner::default(),
        &SuffixAssigner,
    ];
    for assigner in assigners {
        assert!(matches!(
            assigner.assign(&draft, &keys),
            Err(Error::Shape { .. })
        ));
    }
}

/// A geometry that answers with what a broken quantizer might say.
struct Broken {
    distance: f32,
    candidates: Vec<(SemanticId, f32)>,
}

impl Distances for Broken {
    fn path(&self, _: ItemId, _: &[Code]) -> f32 {
        self.distance
    }

    fn last_level(&self, _: ItemId, _: &[Code], out: &mut [f32]) {
        out.fill(self.distance);
    }

    fn candidates(&self, _: ItemId, _: usize) -> Vec<(SemanticId, f32)> {
        self.candidates.clone()
    }
}

#[test]
fn a_broken_geometry_is_an_error() {
    let assign = |distance, candidates| {
        let broken = Broken {
            distance,
            candidates,
        };
        let native = CodeMatrix::new(vec![Code(0); 6], 2).unwrap();
        let space = CodeSpace::uniform(2, 2).unwrap();
        let draft = Draft::new(space, native, vec![0.0; 3], &broken).unwrap();
        OptimalAssigner::default()
            .assign(&draft, &numbered(&draft))
            .unwrap_err()
    };
    assert!(matches!(
        assign(f32::NAN, vec![]),
        Error::BadDistance { .. }
    ));
    assert!(matches!(assign(-1.0, vec![]), Error::BadDistance { .. }));
    assert!(matches!(assign(1.0, vec![]), Error::Candidates { .. }));
    let same = (SemanticId::from_iter([Code(0), Code(1)]), 1.0);
    assert!(matches!(
        assign(1.0, vec![same; 4]),
        Error::Candidates { .. }
    ));
    let alien = (SemanticId::from_iter([Code(0)]), 1.0);
    assert!(matches!(
        assign(1.0, vec![alien; 4]),
        Error::Candidates { .. }
    ));
}

#[test]
fn sinkhorn_separates_neighbours_but_not_twins() {
    let sinkhorn = SinkhornAssigner::default();
    let geometry = line(4, &[0.9, 1.1, 3.0]);
    let draft = geometry.draft();
    let assignment = sinkhorn.assign(&draft, &numbered(&draft)).unwrap();
    assert_eq!(assignment.paths().unique(), 3);
    assert_eq!(assignment.capacity(), 1);

    let geometry = line(4, &[1.0, 1.0, 3.0]);
    let draft = geometry.draft();
    let refused = sinkhorn.assign(&draft, &numbered(&draft));
    assert!(matches!(
        refused,
        Err(Error::StillColliding {
            items: 2,
            paths: 1,
            largest: 2,
            ..
        })
    ));
    let accepting = SinkhornAssigner {
        accept_collisions: true,
        ..sinkhorn
    };
    let assignment = accepting.assign(&draft, &numbered(&draft)).unwrap();
    assert_eq!(assignment.capacity(), 2);
    assert_eq!(assignment.paths().unique(), 2);
}

#[test]
fn a_suffix_counts_the_items_of_a_path_by_key() {
    let geometry = line(4, &[1.0, 1.0, 3.0, 1.0]);
    let draft = geometry.draft();
    let keys = ItemKeys::new(["c", "a", "d", "b"]).unwrap();
    let assignment = SuffixAssigner.assign(&draft, &keys).unwrap();
    assert_eq!(codes(&assignment), [[1, 2], [1, 0], [3, 0], [1, 1]]);
    assert_eq!(assignment.space().sizes(), [4, 3]);

    let geometry = line(2, &[0.0; (1 << 16) + 1]);
    let draft = geometry.draft();
    let refused = SuffixAssigner.assign(&draft, &numbered(&draft));
    assert!(matches!(refused, Err(Error::CodeSpace(_))));
}

#[test]
fn an_assignment_refuses_what_it_promises_not_to_hold() {
    let assignment = |codes: &[u16], levels, capacity| {
        let codes = codes.iter().map(|&code| Code(code)).collect();
        let space = CodeSpace::uniform(2, 3).unwrap();
        Assignment::new(space, CodeMatrix::new(codes, levels).unwrap(), capacity)
    };
    assert!(assignment(&[0, 1, 0, 2], 2, 1).is_ok());
    assert!(matches!(assignment(&[], 2, 1), Err(Error::Empty)));
    assert!(matches!(
        assignment(&[0, 1, 2], 1, 1),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        assignment(&[0, 3], 2, 1),
        Err(Error::CodeOutOfRange { .. })
    ));
    assert!(matches!(
        assignment(&[0, 1, 2, 2, 0, 1], 2, 1),
        Err(Error::Crowded { items: 2, .. })
    ));
}

/// Latents and centroids from a small generator, clustered so that paths collide.
fn random_geometry(levels: usize, codes: usize, dim: usize, items: usize, seed: u64) -> Geometry {
    let mut state = seed;
    let mut random = |count: usize, spread: f32| -> Vec<f32> {
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 40) as f32 / (1 << 24) as f32 - 0.5) * spread
        };
        (0..count).map(|_| next()).collect()
    };
    Geometry {
        dim,
        latents: random(items * dim, 1.0),
        codebooks: (0..levels)
            .map(|level| random(codes * dim, 1.0 / (1 << level) as f32))
            .collect(),
    }
}

/// Small drafts, on a grid so that distances tie and items coincide.
fn small() -> impl Strategy<Value = Geometry> {
    let sizes = prop_oneof![
        prop::collection::vec(1usize..4, 1..3),
        prop::collection::vec(1usize..3, 3),
    ];
    (sizes, 1usize..3).prop_flat_map(|(sizes, dim)| {
        let grid = |count| prop::collection::vec((-4i8..=4).prop_map(f32::from), count);
        let books: Vec<_> = sizes.iter().map(|size| grid(size * dim)).collect();
        (1usize..6)
            .prop_flat_map(move |items| grid(items * dim))
            .prop_flat_map(move |latents| (Just(latents), books.clone()))
            .prop_map(move |(latents, codebooks)| Geometry {
                dim,
                latents,
                codebooks,
            })
    })
}

/// Drafts of many items on few paths, with copies.
fn crowded() -> impl Strategy<Value = Geometry> {
    (1usize..4, 2usize..9, 1usize..200, 0.0..0.9f64, any::<u64>()).prop_map(
        |(levels, codes, items, copies, seed)| {
            let items = items.min(codes.pow(levels as u32));
            let mut geometry = random_geometry(levels, codes, 3, items, seed);
            let latent = geometry.latents[..3].to_vec();
            let copied = (copies * items as f64) as usize;
            geometry.latents[..3 * copied].copy_from_slice(&latent.repeat(copied));
            geometry
        },
    )
}

fn rules() -> impl Strategy<Value = OptimalAssigner> {
    let scope = prop_oneof![Just(Scope::Prefix), Just(Scope::Global)];
    let objective = prop_oneof![
        Just(Objective::MovesThenDistance),
        Just(Objective::Distance)
    ];
    (1u32..4, scope, objective)
        .prop_map(|(capacity, scope, objective)| assigner(capacity, scope, objective))
}

/// Some paths of a space, none more often than `capacity`.
fn some_paths(space: &CodeSpace, capacity: u32, picks: &[prop::sample::Index]) -> CodeMatrix {
    let all = vec![all_paths(space); capacity as usize].concat();
    let mut rows: Vec<usize> = picks.iter().map(|pick| pick.index(all.len())).collect();
    rows.sort_unstable();
    rows.dedup();
    let codes = rows.iter().flat_map(|&row| all[row].clone()).collect();
    CodeMatrix::new(codes, space.levels()).expect("whole rows")
}

fn fits(draft: &Draft, rules: &OptimalAssigner) -> bool {
    let capacity = draft.space().capacity() * u128::from(rules.capacity.get());
    draft.paths().len() as u128 <= capacity
}

/// All paths of a space, in order.
fn all_paths(space: &CodeSpace) -> Vec<Vec<Code>> {
    space.sizes().iter().fold(vec![vec![]], |paths, &size| {
        let grow = |path: Vec<Code>| {
            (0..size as u16).map(move |code| path.iter().copied().chain([Code(code)]).collect())
        };
        paths.into_iter().flat_map(grow).collect()
    })
}

/// The best (moves, distance) of some items by trying everything.
struct BruteForce<'a> {
    draft: &'a Draft<'a>,
    capacity: usize,
    /// What a move of an item counts.
    weight: &'a dyn Fn(ItemId) -> usize,
    /// Items that a prefix has room for.
    room: usize,
}

/// How many items hold each path, and each prefix.
type Held = HashMap<Vec<Code>, usize>;

fn hold(held: &mut Held, path: &[Code]) {
    *held.entry(path.to_vec()).or_default() += 1;
    *held.entry(path[..path.len() - 1].to_vec()).or_default() += 1;
}

impl BruteForce<'_> {
    fn best(
        &self,
        items: &[ItemId],
        options: &dyn Fn(ItemId) -> Vec<Vec<Code>>,
        held: &mut Held,
    ) -> Option<(usize, f64)> {
        let Some((&item, rest)) = items.split_first() else {
            return Some((0, 0.0));
        };
        let native = self.draft.paths().row(item);
        let mut best: Option<(usize, f64)> = None;
        for path in options(item) {
            let (_, prefix) = path.split_last().expect("a path has a code");
            let of = |path: &[Code]| held.get(path).copied().unwrap_or(0);
            if of(&path) >= self.capacity || of(prefix) >= self.room {
                continue;
            }
            hold(held, &path);
            if let Some((moves, distance)) = self.best(rest, options, held) {
                let own = if path == native {
                    0
                } else {
                    (self.weight)(item)
                };
                let moves = moves + own;
                let distance = distance + f64::from(self.draft.distances().path(item, &path));
                if best.is_none_or(|best| (moves, distance) < best) {
                    best = Some((moves, distance));
                }
            }
            for held_by in [&path[..], prefix] {
                *held.get_mut(held_by).expect("just entered") -= 1;
            }
        }
        best
    }
}

/// Holds an assignment beside others to the definition of its stages, each solved by brute force.
fn check_optimal(
    draft: &Draft,
    rules: &OptimalAssigner,
    taken: &CodeMatrix,
    weight: &dyn Fn(ItemId) -> usize,
    assignment: &Assignment,
) {
    let weight = |item| match rules.objective {
        Objective::MovesThenDistance => weight(item),
        Objective::Distance => 0,
    };
    let capacity = rules.capacity.get() as usize;
    let force = BruteForce {
        draft,
        capacity,
        weight: &weight,
        room: usize::MAX,
    };
    let mut held = Held::new();
    taken.rows().for_each(|path| hold(&mut held, path));
    let last = draft.space().levels() - 1;
    let mut prefixes: HashMap<&[Code], Vec<ItemId>> = HashMap::new();
    for item in (0..draft.paths().len() as u32).map(ItemId) {
        prefixes
            .entry(&draft.paths().row(item)[..last])
            .or_default()
            .push(item);
    }
    let everywhere = all_paths(draft.space());
    let mut together = Vec::new();
    let compare = |items: &[ItemId], best: (usize, f64)| {
        let (mut moves, mut distance) = (0, 0.0);
        for &item in items {
            let path = assignment.paths().row(item);
            if path != draft.paths().row(item) {
                moves += weight(item);
            }
            distance += f64::from(draft.distances().path(item, path));
        }
        assert_eq!(moves, best.0);
        assert!(
            (distance - best.1).abs() < 1e-3,
            "{distance} against {}",
            best.1
        );
    };
    for (prefix, items) in prefixes {
        let room = capacity * draft.space().size(last) - held.get(prefix).copied().unwrap_or(0);
        if rules.scope == Scope::Global || items.len() > room {
            together.extend(items);
            continue;
        }
        let own = |_| {
            everywhere
                .iter()
                .filter(|path| path[..last] == *prefix)
                .cloned()
                .collect()
        };
        compare(
            &items,
            force.best(&items, &own, &mut held).expect("items fit"),
        );
        for item in items {
            hold(&mut held, assignment.paths().row(item));
        }
    }
    let best = force.best(&together, &|_| everywhere.clone(), &mut held);
    compare(&together, best.expect("items fit"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn small_drafts_are_assigned_as_brute_force_does(geometry in small(), rules in rules()) {
        let draft = geometry.draft();
        prop_assume!(fits(&draft, &rules));
        let assignment = rules.assign(&draft, &numbered(&draft)).unwrap();
        let none = some_paths(draft.space(), 1, &[]);
        check_optimal(&draft, &rules, &none, &|_| 1, &assignment);
        prop_assert!(proof(&assignment).optimal);
    }

    #[test]
    fn beside_taken_paths_as_well(
        geometry in small(),
        rules in rules(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        weights in prop::collection::vec(1u32..5, 6),
    ) {
        let draft = geometry.draft();
        let taken = some_paths(draft.space(), rules.capacity.get(), &picks);
        let free = draft.space().capacity() * u128::from(rules.capacity.get()) - taken.len() as u128;
        let plain = rules.assign_beside(&taken, &draft, &numbered(&draft));
        if draft.paths().len() as u128 > free {
            let full = matches!(plain, Err(Error::OverCapacity { .. }));
            prop_assert!(full);
            return Ok(());
        }
        let plain = plain.unwrap();
        check_optimal(&draft, &rules, &taken, &|_| 1, &plain);
        prop_assert!(proof(&plain).optimal);
        if rules.objective == Objective::MovesThenDistance {
            prop_assert_eq!(proof(&plain).moves, proof(&plain).moves_bound);
        }

        // Weights say which items stay, not how many.
        let weights = weights[..geometry.items()].to_vec();
        let weighed = geometry.draft().weighted(weights.clone()).unwrap();
        let heavy = rules.assign_beside(&taken, &weighed, &numbered(&draft)).unwrap();
        let weight = |item: ItemId| weights[item.index()] as usize;
        check_optimal(&weighed, &rules, &taken, &weight, &heavy);
        prop_assert_eq!(proof(&heavy).moves, proof(&plain).moves);
    }

    #[test]
    fn every_prefix_keeps_its_reserve_at_no_move_more_than_it_must(
        geometry in small(),
        rules in rules(),
        percent in 1u32..60,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let reserve = Share::new(f64::from(percent) / 100.0).unwrap();
        let rules = OptimalAssigner { reserve, ..rules };
        let draft = geometry.draft();
        let last = draft.space().levels() - 1;
        let capacity = rules.capacity.get() as usize;
        let slots = draft.space().size(last) * capacity;
        let room = slots - reserve.of(slots as u128) as usize;
        let taken = some_paths(draft.space(), rules.capacity.get(), &picks);
        let mut held = Held::new();
        taken.rows().for_each(|path| hold(&mut held, path));
        let force = BruteForce { draft: &draft, capacity, weight: &|_| 1, room };
        let items: Vec<ItemId> = (0..geometry.items() as u32).map(ItemId).collect();
        let best = force.best(&items, &|_| all_paths(draft.space()), &mut held);
        let assignment = match (best, rules.assign_beside(&taken, &draft, &numbered(&draft))) {
            (Some((moves, _)), Ok(assignment)) => {
                if rules.objective == Objective::MovesThenDistance {
                    prop_assert_eq!(proof(&assignment).moves, moves);
                }
                assignment
            }
            (best, refused) => {
                let full = matches!(refused, Err(Error::OverCapacity { .. }));
                prop_assert!(best.is_none() && full);
                return Ok(());
            }
        };
        let before = held.clone();
        assignment.paths().rows().for_each(|path| hold(&mut held, path));
        for (path, items) in &held {
            let most = if path.len() == last { room } else { capacity };
            prop_assert!(*items <= most.max(before.get(path).copied().unwrap_or(0)), "{path:?}");
        }
    }

    #[test]
    fn any_draft_within_capacity_is_assigned_and_proven(geometry in crowded(), rules in rules()) {
        let draft = geometry.draft();
        prop_assume!(fits(&draft, &rules));
        let assignment = rules.assign(&draft, &numbered(&draft)).unwrap();
        let proof = proof(&assignment);
        prop_assert!(proof.lower_bound <= proof.cost);
        prop_assert!(proof.optimal && proof.gap == 0.0);
        prop_assert_eq!(proof.moves, assignment.moved());
        if rules.objective == Objective::MovesThenDistance {
            prop_assert_eq!(proof.moves, proof.moves_bound);
        } else {
            prop_assert!(proof.moves >= proof.moves_bound);
        }
        let paths = (0..draft.paths().len() as u32).map(ItemId);
        let cost: f64 = paths.map(|item| f64::from(geometry.path(item, assignment.paths().row(item)))).sum();
        prop_assert!((proof.cost - cost).abs() <= 1e-4 * cost.max(1e-3));
    }

    #[test]
    fn neither_input_order_nor_threads_matter(
        geometry in crowded(),
        rules in rules(),
        shuffle in any::<prop::sample::Index>(),
    ) {
        let draft = geometry.draft();
        prop_assume!(fits(&draft, &rules));
        let on = |threads, draft: &Draft, keys: &ItemKeys| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| rules.assign(draft, keys).unwrap())
        };
        let keys = numbered(&draft);
        let assignment = on(1, &draft, &keys);
        prop_assert_eq!(&on(3, &draft, &keys), &assignment);

        // Rows rotated and reversed, each with its key.
        let items = geometry.items();
        let shift = shuffle.index(items);
        let row = |at: usize| items - 1 - (at + shift) % items;
        let mut shuffled = geometry.clone();
        shuffled.latents = (0..items).flat_map(|at| geometry.latents[3 * row(at)..][..3].to_vec()).collect();
        let keys = ItemKeys::new((0..items).map(|at| row(at).to_string())).unwrap();
        let shuffled = on(2, &shuffled.draft(), &keys);
        for at in 0..items {
            let (here, there) = (ItemId(at as u32), ItemId(row(at) as u32));
            prop_assert_eq!(shuffled.paths().row(here), assignment.paths().row(there));
        }
        prop_assert_eq!(shuffled.certificate(), assignment.certificate());
    }

    #[test]
    fn parts_that_are_assigned_apart_come_to_the_same(
        geometry in crowded(),
        parts in 1usize..4,
        seed in any::<usize>(),
    ) {
        let (draft, rules) = (geometry.draft(), OptimalAssigner::default());
        prop_assume!(fits(&draft, &rules));
        let whole = rules.assign(&draft, &numbered(&draft)).unwrap();

        let last = draft.space().levels() - 1;
        let mut prefixes: HashMap<&[Code], Vec<usize>> = HashMap::new();
        for (item, path) in draft.paths().rows().enumerate() {
            prefixes.entry(&path[..last]).or_default().push(item);
        }
        // Prefixes that hold their items, in parts of which each is assigned alone.
        let mut fitting = vec![Vec::new(); parts];
        let mut overfull = Vec::new();
        for (prefix, items) in prefixes {
            let sum = prefix.iter().fold(seed, |sum, code| sum.wrapping_add(code.index()));
            match items.len() <= draft.space().size(last) {
                true => fitting[sum % parts].extend(items),
                false => overfull.extend(items),
            }
        }
        let of_part = |items: &[usize]| Geometry {
            latents: items.iter().flat_map(|&item| geometry.latents[3 * item..][..3].to_vec()).collect(),
            ..geometry.clone()
        };
        let mut paths = draft.paths().clone();
        let (mut moves, mut bound, mut added) = (0, 0, 0.0);
        let mut enter = |items: &[usize], assignment: &Assignment| {
            for (&item, path) in items.iter().zip(assignment.paths().rows()) {
                paths.row_mut(ItemId(item as u32)).copy_from_slice(path);
            }
            moves += proof(assignment).moves;
            bound += proof(assignment).moves_bound;
            added += assignment.added_distance();
        };
        let keys = |items: &[usize]| ItemKeys::new(items.iter().map(usize::to_string)).unwrap();
        let mut taken = Vec::new();
        for items in fitting.iter().filter(|items| !items.is_empty()) {
            let part = of_part(items);
            let assignment = rules.assign(&part.draft(), &keys(items)).unwrap();
            taken.extend(assignment.paths().rows().flatten().copied());
            enter(items, &assignment);
        }
        if !overfull.is_empty() {
            let taken = CodeMatrix::new(taken, draft.space().levels()).unwrap();
            let part = of_part(&overfull);
            let assignment = rules.assign_beside(&taken, &part.draft(), &keys(&overfull)).unwrap();
            enter(&overfull, &assignment);
        }
        prop_assert_eq!(&paths, whole.paths());
        prop_assert_eq!((moves, bound), (proof(&whole).moves, proof(&whole).moves_bound));
        prop_assert!((added - whole.added_distance()).abs() <= 1e-6 * (1.0 + added.abs()));
    }

    #[test]
    fn other_assigners_give_in_space_paths(geometry in crowded()) {
        let draft = geometry.draft();
        let keys = numbered(&draft);
        let suffixed = SuffixAssigner.assign(&draft, &keys).unwrap();
        prop_assert_eq!(suffixed.paths().unique(), geometry.items());
        prop_assert_eq!(suffixed.moved(), 0);
        let sinkhorn = SinkhornAssigner { accept_collisions: true, rounds: 3, ..SinkhornAssigner::default() };
        let spread = sinkhorn.assign(&draft, &keys).unwrap();
        prop_assert!(spread.capacity() == 1 || spread.paths().unique() < geometry.items());
    }
}
