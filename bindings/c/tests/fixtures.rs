//! The searches of `fixtures/decode`, asked as C asks.
#![allow(unsafe_code, reason = "C calls")]

#[path = "../../../trie-decode/tests/fixtures/case.rs"]
mod case;
mod open;

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::{ptr, slice};

use case::{Answer, Case, Catalogue, Hit, Rules, Tokens};
use open::{got, message};
use semid::filter::{
    Filter, semid_filter_allow_items, semid_filter_close, semid_filter_deny_items,
};
use semid::index::{Index, semid_index_close, semid_index_codes};
use semid::scorer::{Columns, Step, StepScores};
use semid::search::{self, Normalizer, Search, semid_search};
use semid::status::Status;
use semid::tokens::{self, NONE, semid_tokens_between, semid_tokens_close, semid_tokens_table};

#[test]
fn the_answers_of_all_fixtures_are_found() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/decode");
    for (path, case) in case::all(&folder) {
        println!("{}: {}", path.display(), case.about);
        case.check(answer(&case));
    }
}

fn answer(case: &Case) -> Result<Vec<Answer>, String> {
    let index = index(&case.catalogue);
    let tokens = case.tokens.as_ref().map(|tokens| map(tokens, index));
    let filters: Vec<_> = case
        .requests
        .iter()
        .map(|rules| filter(rules, index))
        .collect();
    let mut model: Model<'_> = (case, Vec::new());
    let search = Search {
        struct_size: size_of::<Search>(),
        index,
        tokens: tokens.unwrap_or(ptr::null()),
        score: Some(score),
        user: (&raw mut model).cast(),
        results: case.search.results,
        beams: case.search.beams.as_ptr(),
        beams_length: case.search.beams.len(),
        normalizer: normalizer(&case.search.normalizer) as usize,
        length_penalty: case.search.length_penalty.into(),
        row_budget: case.search.row_budget.unwrap_or(0),
    };
    let answers = run(&search, &filters);
    for filter in filters {
        assert_eq!(semid_filter_close(filter), Status::Ok);
    }
    if let Some(tokens) = tokens {
        assert_eq!(semid_tokens_close(tokens), Status::Ok);
    }
    assert_eq!(semid_index_close(index), Status::Ok);
    answers
}

fn run(search: &Search, filters: &[*const Filter]) -> Result<Vec<Answer>, String> {
    let results = search.results;
    let mut hits = vec![
        search::Hit {
            item: NONE,
            score: 0.0
        };
        results * filters.len()
    ];
    let mut answers = Vec::<search::Answer>::with_capacity(filters.len());
    // SAFETY: all arrays are as long as they are said to be.
    let status = unsafe {
        let (hits, capacity) = (hits.as_mut_ptr(), hits.len());
        semid_search(
            search,
            filters.as_ptr(),
            filters.len(),
            hits,
            capacity,
            answers.as_mut_ptr(),
        )
    };
    if status != Status::Ok {
        return Err(message(status));
    }
    // SAFETY: a search sets all answers.
    unsafe { answers.set_len(filters.len()) };
    let told = |(answer, hits): (&search::Answer, &[search::Hit])| Answer {
        exact: answer.exact == 1,
        gap: (!answer.gap.is_nan()).then_some(answer.gap),
        hits: hits[..answer.hits as usize]
            .iter()
            .map(|hit| of(search.index, hit))
            .collect(),
    };
    Ok(answers.iter().zip(hits.chunks(results)).map(told).collect())
}

fn of(index: *const Index, hit: &search::Hit) -> Hit {
    let mut codes = [0; 8];
    let length = got(|length| {
        // SAFETY: eight codes have room.
        unsafe { semid_index_codes(index, hit.item, codes.as_mut_ptr(), codes.len(), length) }
    });
    Hit {
        item: hit.item,
        codes: codes[..length.expect("an item")].to_vec(),
        score: hit.score,
    }
}

/// Where a case has no keys, ranks follow the items' numbers; so do those of these keys.
fn index(catalogue: &Catalogue) -> *const Index {
    let numbers = || {
        (0..catalogue.ids.len())
            .map(|item| format!("{item:03}"))
            .collect()
    };
    let keys = catalogue.keys.clone().unwrap_or_else(numbers);
    let space = catalogue.space();
    open::open(&space, &catalogue.codes(&space), &keys, catalogue.per_path)
}

fn map(map: &Tokens, index: *const Index) -> *const tokens::Tokens {
    let table = map.of_codes.concat();
    let tokens = got(|tokens| {
        // SAFETY: the table is as long as it is said to be.
        unsafe { semid_tokens_table(index, table.as_ptr(), table.len(), map.vocabulary, tokens) }
    });
    let tokens = tokens.expect("tokens");
    let with_end = got(|to| semid_tokens_between(tokens, NONE, map.end.unwrap_or(NONE), to));
    assert_eq!(semid_tokens_close(tokens), Status::Ok);
    with_end.expect("an end token")
}

fn filter(rules: &Rules, index: *const Index) -> *const Filter {
    let make = match (&rules.allow, &rules.deny) {
        (None, None) => return ptr::null(),
        (Some(_), None) => semid_filter_allow_items,
        (None, Some(_)) => semid_filter_deny_items,
        (Some(_), Some(_)) => panic!("a request has one list"),
    };
    let items = rules.allow.iter().chain(&rules.deny).flatten();
    let items: Vec<u32> = items.copied().collect();
    // SAFETY: the list is as long as it is said to be.
    got(|to| unsafe { make(index, items.as_ptr(), items.len(), to) }).expect("items")
}

fn normalizer(name: &str) -> Normalizer {
    match name {
        "full-vocab" => Normalizer::FullVocab,
        "semantic-id-vocab" => Normalizer::SemanticIdVocab,
        "level" => Normalizer::Level,
        "valid-children" => Normalizer::ValidChildren,
        other => panic!("no normalizer is named {other}"),
    }
}

/// The case as a model, and the logits of its last step.
type Model<'a> = (&'a Case, Vec<f32>);

unsafe extern "C" fn score(user: *mut c_void, step: *const Step, scores: *mut StepScores) -> c_int {
    // SAFETY: `answer` handed this over, and the library the rest.
    let ((case, logits), step, scores) =
        unsafe { (&mut *user.cast::<Model<'_>>(), &*step, &mut *scores) };
    // SAFETY: as many rows as the step says.
    let rows = unsafe { slice::from_raw_parts(step.rows, step.count) };
    *logits = case.logits(rows.iter().map(|row| {
        // SAFETY: as many codes as the row says.
        let prefix = unsafe { slice::from_raw_parts(row.prefix, row.depth as usize) };
        (row.request as usize, prefix)
    }));
    scores.logits = logits.as_ptr().cast();
    scores.length = logits.len();
    scores.columns = match case.tokens {
        Some(_) => Columns::Vocabulary,
        None => Columns::Level,
    } as usize;
    0
}
