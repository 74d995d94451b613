use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

/// How much of a row is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Most recent items of its history.
    pub items: usize,
    /// First sentences of its descriptions.
    pub sentences: usize,
}

/// Shortens rows to a budget of tokens so that what a model shall learn stays whole, and counts
/// what was done.
///
/// The oldest items go first, whole ones; then descriptions are cut at the ends of sentences.
/// Neither an ID nor the answer is ever cut, and of a history or a description that a row has at
/// least one item, or sentence, stays. A row that is then still too long is skipped.
///
/// ```
/// use semid_tasks::tokens::{Kept, Truncation};
///
/// // A row of 10 tokens, 4 for each item, 6 for each sentence.
/// let tokens = |kept: Kept| Ok::<_, ()>(10 + 4 * kept.items + 6 * kept.sentences);
/// let whole = Kept { items: 20, sentences: 3 };
///
/// let mut done = Truncation::default();
/// assert_eq!(done.fit(whole, 100, tokens), Ok(Some(Kept { items: 18, sentences: 3 })));
/// assert_eq!(done.fit(whole, 30, tokens), Ok(Some(Kept { items: 1, sentences: 2 })));
/// assert_eq!(done.fit(whole, 19, tokens), Ok(None));
/// assert_eq!((done.items_dropped, done.rows_skipped), (2 + 19, 1));
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Truncation {
    /// Items that histories lost.
    pub items_dropped: u64,
    /// Sentences that descriptions lost.
    pub sentences_dropped: u64,
    /// Rows that lost something.
    pub rows_shortened: u64,
    /// Rows whose least form is beyond the budget.
    pub rows_skipped: u64,
}

impl Truncation {
    /// How much of a row may stay so that it has at most `budget` tokens; `None` if not even the
    /// least does. `tokens` tells how many a row has that shows so much, and must not tell fewer
    /// for more. It is called once for a row that fits, else `O(log(items) + log(sentences))`
    /// times.
    ///
    /// # Errors
    ///
    /// Those of `tokens`.
    pub fn fit<E>(
        &mut self,
        whole: Kept,
        budget: usize,
        mut tokens: impl FnMut(Kept) -> Result<usize, E>,
    ) -> Result<Option<Kept>, E> {
        let mut fits = |items, sentences| Ok(tokens(Kept { items, sentences })? <= budget);
        if fits(whole.items, whole.sentences)? {
            return Ok(Some(whole));
        }
        let items = most(whole.items, |items| fits(items, whole.sentences))?;
        let least = whole.items.min(1);
        let kept = match items {
            Some(items) => Some((items, whole.sentences)),
            None => most(whole.sentences, |sentences| fits(least, sentences))?
                .map(|sentences| (least, sentences)),
        };
        let Some((items, sentences)) = kept else {
            self.rows_skipped += 1;
            return Ok(None);
        };
        self.rows_shortened += 1;
        self.items_dropped += (whole.items - items) as u64;
        self.sentences_dropped += (whole.sentences - sentences) as u64;
        Ok(Some(Kept { items, sentences }))
    }

    /// Adds what was done to other rows.
    pub fn merge(&mut self, other: &Self) {
        self.items_dropped += other.items_dropped;
        self.sentences_dropped += other.sentences_dropped;
        self.rows_shortened += other.rows_shortened;
        self.rows_skipped += other.rows_skipped;
    }
}

/// The largest number from 1 to below `whole` that fits, when `whole` does not.
fn most<E>(
    whole: usize,
    mut fits: impl FnMut(usize) -> Result<bool, E>,
) -> Result<Option<usize>, E> {
    // All up to `low` fit, `high` does not.
    let (mut low, mut high) = (0, whole);
    while low + 1 < high {
        let middle = low.midpoint(high);
        match fits(middle)? {
            true => low = middle,
            false => high = middle,
        }
    }
    Ok((low > 0).then_some(low))
}

/// The number of sentences of a text, as Unicode tells them (UAX #29): Chinese ones too.
pub fn sentences(text: &str) -> usize {
    text.split_sentence_bounds().count()
}

/// The first sentences of a text, without the white space after them.
///
/// ```
/// use semid_tasks::tokens::first_sentences;
///
/// assert_eq!(first_sentences("A game of 3.5 GB. For two. Fun!", 2), "A game of 3.5 GB. For two.");
/// assert_eq!(first_sentences("双人游戏。适合儿童。", 1), "双人游戏。");
/// ```
pub fn first_sentences(text: &str, count: usize) -> &str {
    let next = text.split_sentence_bound_indices().nth(count);
    next.map_or(text, |(start, _)| text[..start].trim_end())
}
