//! The searches of `fixtures/decode`, whose answers were found by plain arithmetic.

use std::path::Path;
use std::{fs, iter};

use semantic_id::{
    Code, CodeMatrix, CodeSpace, IndexInfo, ItemId, ItemIndex, ItemKeys, Manifest, TokenFormat,
};
use serde::Deserialize;
use trie_decode::{
    BeamParams, BeamSearch, Exact, Filter, ItemTrie, Logits, Normalizer, Outcome, Request, Scorer,
    Scores, Scratch, Step, TokenMap,
};

/// Sums of a few logarithms in single precision.
const TOLERANCE: f32 = 2e-5;

/// A file; `fixtures/README.md` says what its names mean.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    about: String,
    catalogue: Catalogue,
    tokens: Option<Tokens>,
    logits: Vec<Row>,
    search: Search,
    requests: Vec<Rules>,
    #[serde(default)]
    expected: Vec<Expected>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Catalogue {
    sizes: Vec<u32>,
    ids: Vec<Vec<u16>>,
    keys: Option<Vec<String>>,
    per_path: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tokens {
    vocabulary: usize,
    of_codes: Vec<Vec<u32>>,
    end: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    request: Option<usize>,
    level: Option<usize>,
    prefix: Option<Vec<u16>>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    normalizer: String,
    results: usize,
    beams: Vec<usize>,
    length_penalty: f32,
    row_budget: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    allow: Option<Vec<u32>>,
    deny: Option<Vec<u32>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Expected {
    exact: bool,
    gap: Option<f32>,
    hits: Vec<Hit>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hit {
    item: u32,
    codes: Vec<u16>,
    score: f32,
}

#[test]
fn the_answers_of_all_fixtures_are_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/decode");
    let mut cases = 0;
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|ending| ending != "toml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("UTF-8");
        let case: Case =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("{}: {}", path.display(), case.about);
        case.check();
        cases += 1;
    }
    assert!(cases >= 12, "only {cases} cases were found");
}

impl Case {
    fn check(&self) {
        match (self.run(), &self.error) {
            (Ok(outcomes), None) => {
                assert_eq!(outcomes.len(), self.expected.len());
                let pairs = outcomes.iter().zip(&self.expected);
                pairs.for_each(|(got, expected)| expected.check(got));
            }
            (Err(error), Some(part)) => assert!(error.contains(part), "{error}"),
            (outcome, error) => panic!("got {outcome:?}, expected the error {error:?}"),
        }
    }

    /// What the search answers, or its error.
    fn run(&self) -> Result<Vec<Outcome>, String> {
        let space = CodeSpace::new(self.catalogue.sizes.clone()).expect("a space");
        let trie = self.catalogue.trie(&space);
        let tokens = self.tokens.as_ref().map(|tokens| tokens.map(&space));
        let search = BeamSearch::new(&trie, tokens.as_ref(), self.search.config());
        let search = search.map_err(|error| error.to_string())?;

        let filters: Vec<_> = self.requests.iter().map(|rules| rules.of(&trie)).collect();
        let mut scorer = Table {
            rows: &self.logits,
            sizes: self.tokens.is_none().then_some(space.sizes()),
            logits: Vec::new(),
        };
        let filters = filters.iter().map(Option::as_ref);
        let requests: Vec<_> = filters.map(|filter| Request { filter }).collect();
        let outcomes = search.run(&mut scorer, &requests, &mut Scratch::default());
        outcomes.map_err(|error| error.to_string())
    }
}

impl Catalogue {
    /// With keys, that of an index file, whose ranks follow the keys.
    fn trie(&self, space: &CodeSpace) -> ItemTrie<Vec<u8>> {
        let padded = self.ids.iter().flat_map(|id| {
            let end = |level: usize| space.end(level).expect("an end");
            let missing = (id.len()..space.levels()).map(end);
            id.iter().copied().map(Code).chain(missing)
        });
        let codes = CodeMatrix::new(padded.collect(), space.levels()).expect("whole rows");
        let Some(keys) = &self.keys else {
            return ItemTrie::of_codes(space.clone(), &codes, self.per_path).expect("paths");
        };
        let keys = ItemKeys::new(keys).expect("distinct keys");
        let manifest = Manifest::new("fixture", ().into());
        let info = IndexInfo::new(TokenFormat::lc_rec(space.levels()), manifest);
        let index = ItemIndex::build(space, &codes, &keys, self.per_path, info);
        ItemTrie::new(index.expect("an index"))
    }
}

impl Tokens {
    fn map(&self, space: &CodeSpace) -> TokenMap {
        let table = |tokens: &Vec<u32>| tokens.iter().copied().map(Some).collect();
        let tables = self.of_codes.iter().map(table).collect();
        let map = TokenMap::table(space, tables, self.vocabulary).expect("tokens");
        map.between(None, self.end).expect("an end token")
    }
}

impl Search {
    fn config(&self) -> trie_decode::BeamConfig {
        let params = BeamParams {
            results: self.results,
            beams: self.beams.clone(),
            normalizer: match &*self.normalizer {
                "full-vocab" => Normalizer::FullVocab,
                "semantic-id-vocab" => Normalizer::SemanticIdVocab,
                "level" => Normalizer::Level,
                "valid-children" => Normalizer::ValidChildren,
                other => panic!("no normalizer is named {other}"),
            },
            length_penalty: self.length_penalty,
            exact: self.row_budget.map(|row_budget| Exact { row_budget }),
        };
        params.check().expect("settings")
    }
}

impl Rules {
    fn of(&self, trie: &ItemTrie<Vec<u8>>) -> Option<Filter> {
        let items = |items: &[u32]| -> Vec<ItemId> { items.iter().copied().map(ItemId).collect() };
        let filter = match (&self.allow, &self.deny) {
            (None, None) => return None,
            (Some(allow), None) => Filter::allow_items(trie, items(allow)),
            (None, Some(deny)) => Filter::deny_items(trie, items(deny)),
            (Some(_), Some(_)) => panic!("a request has one list"),
        };
        Some(filter.expect("items of the catalogue"))
    }
}

impl Expected {
    fn check(&self, got: &Outcome) {
        let near = |a: f32, b: f32| (a - b).abs() <= TOLERANCE;
        let items = |hits: &[Hit]| hits.iter().map(|hit| ItemId(hit.item)).collect::<Vec<_>>();
        let found: Vec<_> = got.hits.iter().map(|hit| hit.item).collect();
        assert_eq!(found, items(&self.hits));
        for (got, expected) in got.hits.iter().zip(&self.hits) {
            let codes = got.codes.iter().map(|code| code.0);
            assert!(codes.eq(expected.codes.iter().copied()), "{got:?}");
            assert!(
                near(got.score, expected.score),
                "{got:?}, expected {}",
                expected.score
            );
        }
        assert_eq!(got.exact, self.exact);
        let gaps = (got.gap, self.gap);
        assert!(
            match gaps {
                (Some(got), Some(expected)) => near(got, expected),
                (got, expected) => got == expected,
            },
            "got and expected gap: {gaps:?}"
        );
    }
}

/// Plays the model: the logits of a prefix, else those of its level.
struct Table<'a> {
    rows: &'a [Row],
    /// Codes of each level, if columns are those.
    sizes: Option<&'a [u32]>,
    logits: Vec<f32>,
}

impl Table<'_> {
    fn values(&self, request: usize, prefix: &[Code]) -> &[f32] {
        let fits = |row: &&Row| row.request.is_none_or(|of| of == request);
        let own = |row: &&Row| {
            let mut of = row.prefix.iter();
            of.any(|of| of.iter().copied().eq(prefix.iter().map(|code| code.0)))
        };
        let rows = || self.rows.iter().filter(fits);
        let of_level = |row: &&Row| row.level == Some(prefix.len());
        let row = rows().find(own).or_else(|| rows().find(of_level));
        &row.expect("logits for every level").values
    }
}

impl Scorer for Table<'_> {
    fn score(
        &mut self,
        step: &Step<'_>,
    ) -> Result<Scores<'_>, Box<dyn std::error::Error + Send + Sync>> {
        let mut logits = Vec::new();
        let size = |level: usize| self.sizes.map_or(0, |sizes| sizes[level] as usize);
        let levels = step.rows().iter().map(|row| row.prefix.len());
        let largest = levels.map(size).max().unwrap_or(0);
        for row in step.rows() {
            let values = self.values(row.request, row.prefix);
            let size = size(row.prefix.len());
            // Rows of a step are equally wide, and the end is their last column.
            let (codes, end) = values.split_at(size.min(values.len()));
            logits.extend_from_slice(codes);
            logits.extend(iter::repeat_n(f32::NEG_INFINITY, largest - size));
            logits.extend_from_slice(end);
        }
        self.logits = logits;
        let logits = Logits::F32(&self.logits);
        Ok(match self.sizes {
            Some(_) => Scores::level(logits),
            None => Scores::vocabulary(logits),
        })
    }
}
