use proptest::prelude::*;

use super::*;

#[test]
fn tutorial() {
    let mut rows = TaskLengths::default();
    for answer in 1..=100 {
        rows.add(20, answer);
    }
    assert_eq!(rows.prompt.quantile(0.5), Some(20));
    let quantiles = [0.0, 0.5, 0.95, 1.0].map(|q| rows.answer.quantile(q));
    assert_eq!(quantiles, [1, 50, 95, 100].map(Some));
    assert_eq!(rows.row.total(), 100 * 20 + 5050);
    assert_eq!(rows.row.beyond(110), 10);
    assert_eq!(rows.answer.histogram(4, 100), [25, 25, 25, 25]);

    // Two long rows, two short ones: in order they need three sequences, sorted two.
    let mut in_order = NextFit::new(10);
    let mut lengths = Lengths::default();
    for length in [7, 7, 3, 3] {
        in_order.add(length);
        lengths.add(length);
    }
    assert_eq!(in_order.packing().sequences, 3);
    let best = Packing::best_fit(&lengths, 10);
    assert_eq!((best.sequences, best.used()), (2, 1.0));
}

#[test]
fn nothing_has_no_length() {
    assert_eq!(Lengths::default().quantile(0.5), None);
    assert_eq!(Packing::best_fit(&Lengths::default(), 10).used(), 1.0);
    assert!(Lengths::default().histogram(0, 5).is_empty());
}

/// One row at a time, each into the fullest sequence with room.
fn plain_best_fit(mut rows: Vec<u32>, context: u32) -> (u64, u64) {
    rows.retain(|&length| 0 < length && length <= context);
    rows.sort_unstable_by(|a, b| b.cmp(a));
    let mut rooms: Vec<u32> = Vec::new();
    for &length in &rows {
        let fitting = rooms.iter_mut().filter(|room| **room >= length);
        match fitting.min() {
            Some(room) => *room -= length,
            None => rooms.push(context - length),
        }
    }
    let tokens = rows.iter().map(|&length| u64::from(length)).sum();
    (rooms.len() as u64, tokens)
}

/// All shortenings in the order in which they are preferred.
fn plain_fit(whole: Kept, budget: usize, tokens: impl Fn(Kept) -> usize) -> Option<Kept> {
    let least = whole.items.min(1);
    let items = (least..=whole.items)
        .rev()
        .map(|items| Kept { items, ..whole });
    let sentences = (whole.sentences.min(1)..=whole.sentences).rev();
    let sentences = sentences.map(|sentences| Kept {
        items: least,
        sentences,
    });
    items.chain(sentences).find(|&kept| tokens(kept) <= budget)
}

proptest! {
    #[test]
    fn counted_packing_equals_packing_row_by_row(
        rows in prop::collection::vec(0_u32..60, 0..80),
        context in 1_u32..50,
    ) {
        let mut lengths = Lengths::default();
        rows.iter().for_each(|&length| lengths.add(length as usize));
        let packing = Packing::best_fit(&lengths, context);
        prop_assert_eq!((packing.sequences, packing.tokens), plain_best_fit(rows, context));
    }

    #[test]
    fn bisection_finds_what_a_plain_search_finds(
        items in 0_usize..40,
        sentences in 0_usize..8,
        costs in (0_usize..20, 1_usize..9, 1_usize..9),
        budget in 0_usize..300,
    ) {
        let whole = Kept { items, sentences };
        let tokens = |kept: Kept| costs.0 + costs.1 * kept.items + costs.2 * kept.sentences;
        let mut calls = 0;
        let mut done = Truncation::default();
        let kept = done.fit(whole, budget, |kept| {
            calls += 1;
            Ok::<_, ()>(tokens(kept))
        });
        prop_assert_eq!(kept, Ok(plain_fit(whole, budget, tokens)));
        prop_assert!(calls <= 1 + 6 + 3, "{}", calls);
        let lost = kept.unwrap().map_or(0, |kept| items - kept.items + sentences - kept.sentences);
        prop_assert_eq!(done.items_dropped + done.sentences_dropped, lost as u64);
        prop_assert_eq!(done.rows_shortened, u64::from(lost > 0));
    }

    #[test]
    fn sentences_are_the_beginning_of_a_text(text in "[a-cA-C。！. \n<>_0-9]{0,30}", count in 0_usize..6) {
        let first = first_sentences(&text, count);
        prop_assert!(text.starts_with(first));
        prop_assert!(sentences(first) <= count);
        prop_assert_eq!(first_sentences(&text, sentences(&text)), &text);
    }
}

#[cfg(feature = "tokenizers")]
#[test]
fn a_tokenizer_counts_without_padding_and_special_tokens() {
    let json = br#"{"version": "1.0", "added_tokens": [],
        "padding": {"strategy": {"Fixed": 9}, "direction": "Right", "pad_to_multiple_of": null,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "?"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {"type": "BertProcessing", "sep": ["?", 0], "cls": ["?", 0]},
        "model": {"type": "WordLevel", "vocab": {"?": 0, "two": 1, "words": 2}, "unk_token": "?"}}"#;
    let tokenizer = Tokenizer::read("tokenizer.json", json).expect("a tokenizer");
    assert_eq!(tokenizer.count("two words").expect("count"), 2);
    assert_eq!(tokenizer.count("two unknown words").expect("count"), 3);
    let error = Tokenizer::read("tokenizer.json", b"{}").expect_err("none");
    assert!(
        error
            .to_string()
            .starts_with("tokenizer.json: expected a tokenizer.json"),
        "{error}"
    );
}
