//! Sessions against a plain account of what each beam has generated.

mod catalogue;

use std::collections::BTreeSet;
use std::sync::Arc;

use catalogue::{Catalogue, catalogues};
use proptest::prelude::*;
use semantic_id::{Code, CodeSpace, ItemId};
use trie_decode::{DecodeSession, Error, Filter, ItemTrie, Phase, SessionParams, TokenMap};

#[test]
fn tutorial() {
    let space = CodeSpace::uniform(2, 4).unwrap();
    let trie = Catalogue::new(space.clone(), &[&[0, 1], &[0, 3], &[2, 2]]).trie();
    // Words are tokens 0 to 9, 9 is the end of the text; codes are 10 to 13 and 20 to 23.
    let tokens = Arc::new(TokenMap::ranges(&space, &[10, 20], 24).unwrap());
    // The model thinks aloud until it says 5 6.
    let params = SessionParams {
        trigger: vec![5, 6],
        end: vec![9],
        rollback: 8,
    };
    let config = params.check(&tokens).unwrap();
    let mut session = DecodeSession::new(&trie, tokens, None, config).unwrap();

    session.advance(&[0, 0], &[3, 5]).unwrap();
    assert_eq!(session.mask(0).unwrap(), [(1 << 24) - 1]);
    session.advance(&[0, 1], &[5, 6]).unwrap();
    // The first beam still thinks, the second begins an item.
    assert_eq!(session.phase(0).unwrap(), Phase::Inactive { matched: 1 });
    assert_eq!(session.phase(1).unwrap(), Phase::Active(trie.root()));
    assert_eq!(session.mask(1).unwrap(), [1 << 10 | 1 << 12]);

    session.advance(&[0, 1, 1], &[6, 10, 12]).unwrap();
    let error = session.advance(&[0, 1, 2], &[12, 22, 22]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "beam 1 cannot go on with token 22 after 1 codes; draw tokens that the mask allows"
    );
    let mut other = session.fork();
    session.advance(&[0, 1, 2], &[12, 23, 22]).unwrap();
    session.advance(&[0, 1, 2], &[22, 9, 9]).unwrap();
    assert_eq!(
        session.finish().unwrap(),
        [[ItemId(2)], [ItemId(1)], [ItemId(2)]]
    );

    // Back to where the fork is.
    session.rollback(2).unwrap();
    assert_eq!(session.phases(), other.phases());
    other.advance(&[1], &[21]).unwrap();
    assert_eq!(other.finish().unwrap(), [[ItemId(0)]]);
}

#[test]
fn a_shorter_id_ends_where_a_longer_one_could_go_on() {
    let space = CodeSpace::uniform(3, 4).unwrap();
    let catalogue = Catalogue::new(space.clone(), &[&[1], &[1, 2, 3], &[2], &[1]]);
    let tokens = TokenMap::ranges(&space, &[10, 20, 30], 40).unwrap();
    let tokens = Arc::new(tokens.between(Some(5), Some(6)).unwrap());
    let config = SessionParams::new(&tokens).check(&tokens).unwrap();
    let trie = catalogue.trie();
    let mut session = DecodeSession::new(&trie, tokens, None, config).unwrap();

    session.advance(&[0], &[5]).unwrap();
    session.advance(&[0, 0], &[11, 12]).unwrap();
    assert!(matches!(session.phase(1).unwrap(), Phase::Done(_)));
    assert_eq!(session.mask(0).unwrap(), [1 << 6 | 1 << 22, 0]);
    session.advance(&[0, 0, 1], &[6, 22, 6]).unwrap();
    let items = session.finish().unwrap();
    assert_eq!(items, [vec![ItemId(0), ItemId(3)], vec![], vec![ItemId(2)]]);
    session.advance(&[1], &[33]).unwrap();
    assert_eq!(session.finish().unwrap(), [[ItemId(1)]]);
}

#[test]
fn what_cannot_be_is_named() {
    let space = CodeSpace::uniform(1, 4).unwrap();
    let trie = Arc::new(Catalogue::new(space.clone(), &[&[0], &[3]]).trie());
    let other = Catalogue::new(space.clone(), &[&[0], &[3]]).trie();
    let tokens = Arc::new(TokenMap::ranges(&space, &[60], 64).unwrap());
    let params = SessionParams {
        trigger: vec![],
        end: vec![],
        rollback: 1,
    };
    let refused = |params: &SessionParams| params.clone().check(&tokens).unwrap_err();
    let error = refused(&SessionParams {
        trigger: vec![1, 64],
        ..params.clone()
    });
    assert!(matches!(
        error,
        Error::Vocabulary {
            token: 64,
            vocabulary: 64
        }
    ));
    let error = refused(&SessionParams {
        end: vec![1, 61],
        ..params.clone()
    });
    assert!(matches!(
        error,
        Error::EndToken {
            token: 61,
            level: 0,
            code: Code(1)
        }
    ));

    let config = params.check(&tokens).unwrap();
    let session = |filter: Filter| {
        DecodeSession::new(
            Arc::clone(&trie),
            Arc::clone(&tokens),
            Some(filter),
            config.clone(),
        )
    };
    let error = session(Filter::all(&trie).not()).unwrap_err();
    assert!(matches!(error, Error::NothingAllowed { items: 2 }));
    assert!(matches!(
        session(Filter::all(&other)),
        Err(Error::Foreign { .. })
    ));

    let mut session = session(Filter::all(&trie)).unwrap();
    assert!(matches!(
        session.advance(&[0], &[]),
        Err(Error::Shape { .. })
    ));
    assert!(matches!(
        session.advance(&[1], &[60]),
        Err(Error::NoBeam { beam: 1, beams: 1 })
    ));
    assert!(matches!(
        session.advance(&[0], &[u32::MAX]),
        Err(Error::Forbidden { .. })
    ));
    assert!(session.fill_mask(0, &mut [0; 1]).is_err() && session.mask(1).is_err());
    session.advance(&[0], &[63]).unwrap();
    assert_eq!(session.mask(0).unwrap(), [0, 0]);
    assert!(matches!(
        session.advance(&[0], &[1]),
        Err(Error::Forbidden { depth: 1, .. })
    ));
    session.advance(&[], &[]).unwrap();
    assert!(matches!(
        session.rollback(2),
        Err(Error::Rollback { steps: 2, kept: 1 })
    ));
    assert_eq!(session.phases().len(), 0);
}

const VOCABULARY: u32 = 700;
const END: [u32; 2] = [650, 699];

/// What one beam has generated.
#[derive(Debug, Clone)]
struct Told {
    text: Vec<u32>,
    path: Option<Vec<Code>>,
    ended: bool,
}

struct Oracle<'a> {
    catalogue: &'a Catalogue,
    denied: &'a [bool],
    trigger: &'a [u32],
}

impl Oracle<'_> {
    fn token(level: usize, code: Code) -> u32 {
        (level % 2) as u32 * 300 + u32::from(code.0)
    }

    fn start(&self) -> Told {
        let path = self.trigger.is_empty().then(Vec::new);
        Told {
            text: vec![],
            path,
            ended: false,
        }
    }

    fn allowed(&self, told: impl Fn(&[Code]) -> bool) -> Vec<ItemId> {
        self.catalogue.items(|row| {
            let here = !self.catalogue.removed[row] && !self.denied[row];
            here && told(&self.catalogue.paths[row])
        })
    }

    fn items(&self, told: &Told) -> Vec<ItemId> {
        match &told.path {
            Some(path) if told.ended => self.allowed(|other| other == path),
            _ => vec![],
        }
    }

    fn mask(&self, told: &Told) -> BTreeSet<u32> {
        let Some(path) = &told.path else {
            return (0..VOCABULARY).collect();
        };
        if told.ended {
            return END.into();
        }
        let longer = self.allowed(|other| other.starts_with(path) && other.len() > path.len());
        let next = longer
            .into_iter()
            .map(|item| Self::token(path.len(), self.catalogue.paths[item.index()][path.len()]));
        let complete = !self.allowed(|other| other == path).is_empty();
        next.chain(END.into_iter().filter(|_| complete)).collect()
    }

    /// Tokens that may not come, above all those of items that are denied or removed.
    fn forbidden(&self, told: &Told) -> Vec<u32> {
        let level = told.path.as_ref().map_or(0, Vec::len);
        let codes = self
            .catalogue
            .paths
            .iter()
            .filter_map(|path| path.get(level));
        let codes = codes.map(|&code| Self::token(level, code));
        let mask = self.mask(told);
        let tokens = END.into_iter().chain(codes).chain([VOCABULARY, u32::MAX]);
        tokens.filter(|token| !mask.contains(token)).collect()
    }

    fn after(&self, told: &Told, token: u32) -> Told {
        let mut told = told.clone();
        let Some(path) = &mut told.path else {
            told.text.push(token);
            if told.text.ends_with(self.trigger) {
                told.path = Some(vec![]);
            }
            return told;
        };
        if END.contains(&token) {
            told.ended = true;
        } else {
            path.push(Code((token - Self::token(path.len(), Code(0))) as u16));
            let path = path.clone();
            told.ended = self
                .allowed(|other| other.starts_with(&path) && other != path)
                .is_empty();
        }
        told
    }
}

fn bits(row: &[u32]) -> BTreeSet<u32> {
    let tokens = 0..row.len() as u32 * 32;
    tokens
        .filter(|&token| row[token as usize / 32] >> (token % 32) & 1 == 1)
        .collect()
}

fn check(session: &DecodeSession<&ItemTrie<Vec<u8>>>, oracle: &Oracle<'_>, beams: &[Told]) {
    for (beam, told) in beams.iter().enumerate() {
        assert_eq!(bits(&session.mask(beam).unwrap()), oracle.mask(told));
        let phase = session.phase(beam).unwrap();
        match (&told.path, told.ended) {
            (None, _) => assert!(matches!(phase, Phase::Inactive { .. })),
            (Some(path), false) => {
                let node = session.trie().find(path).unwrap().unwrap();
                assert_eq!(phase, Phase::Active(node));
            }
            (Some(_), true) => assert!(matches!(phase, Phase::Done(_))),
        }
    }
    let mut items = session.finish().unwrap();
    items.iter_mut().for_each(|items| items.sort());
    let expected: Vec<Vec<ItemId>> = beams.iter().map(|told| oracle.items(told)).collect();
    assert_eq!(items, expected);
}

proptest! {
    #[test]
    fn beams_take_the_paths_of_the_catalogue(
        catalogue in catalogues(),
        denied in prop::collection::vec(prop::bool::weighted(0.2), 30),
        trigger in prop::collection::vec(0..2_u32, 0..5),
        steps in prop::collection::vec((0..20_u8, prop::collection::vec(any::<[u16; 2]>(), 0..4)), 1..80),
    ) {
        let trie = catalogue.trie();
        let oracle = Oracle { catalogue: &catalogue, denied: &denied, trigger: &trigger };
        let firsts: Vec<u32> = (0..catalogue.space.levels())
            .map(|level| Oracle::token(level, Code(0)))
            .collect();
        let tokens = TokenMap::ranges(&catalogue.space, &firsts, VOCABULARY as usize).unwrap();
        let tokens = Arc::new(tokens);
        let params = SessionParams { trigger: trigger.clone(), end: END.to_vec(), rollback: 9 };
        let config = params.check(&tokens).unwrap();
        let filter = Filter::deny_items(&trie, catalogue.items(|row| denied[row])).unwrap();
        let empty = filter.is_empty();
        let session = DecodeSession::new(&trie, tokens, Some(filter), config);
        prop_assert_eq!(session.is_err(), empty);
        let Ok(mut session) = session else { return Ok(()) };

        let mut past: Vec<Vec<Told>> = vec![vec![oracle.start()]];
        for (kind, draws) in steps {
            let now = past.last().unwrap().clone();
            check(&session, &oracle, &now);
            if kind < 5 {
                let back = draws.len().min(past.len() - 1);
                session.rollback(back).unwrap();
                past.truncate(past.len() - back);
                continue;
            }
            // A token of the mask each; words of the trigger are the likeliest.
            let drawn = draws.iter().filter(|_| !now.is_empty()).map(|[parent, token]| {
                let parent = usize::from(*parent) % now.len();
                let mask: Vec<u32> = oracle.mask(&now[parent]).into_iter().collect();
                let words = if now[parent].path.is_none() { 3 } else { mask.len() };
                (parent as u32, mask[usize::from(*token) % words])
            });
            let (parents, tokens): (Vec<u32>, Vec<u32>) = drawn.unzip();
            if kind < 12 {
                // One of them spoilt: nothing happens.
                let bad = parents.last().and_then(|&parent| {
                    let bad = oracle.forbidden(&now[parent as usize]);
                    (!bad.is_empty()).then(|| bad[usize::from(draws[0][1]) % bad.len()])
                });
                if let Some(bad) = bad {
                    let mut tokens = tokens;
                    *tokens.last_mut().unwrap() = bad;
                    let error = session.fork().advance(&parents, &tokens).unwrap_err();
                    let forbidden = matches!(error, Error::Forbidden { token, .. } if token == bad);
                    prop_assert!(forbidden);
                    prop_assert!(session.advance(&parents, &tokens).is_err());
                }
                continue;
            }
            if parents.is_empty() && kind < 19 {
                continue;
            }
            let mut fork = session.fork();
            session.advance(&parents, &tokens).unwrap();
            let next = parents.iter().zip(&tokens);
            past.push(next.map(|(&parent, &token)| oracle.after(&now[parent as usize], token)).collect());
            check(&fork, &oracle, &now);
            fork.advance(&parents, &tokens).unwrap();
            prop_assert_eq!(fork.phases(), session.phases());
            if past.len() > 10 {
                past.remove(0);
            }
        }
        check(&session, &oracle, past.last().unwrap());
    }
}
