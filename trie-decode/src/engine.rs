//! What all searches share: prefixes, their scores and their children.

use std::ops::Range;

use rayon::prelude::*;
use semantic_id::{Code, Codes, ItemId, Level, SemanticId};

use crate::best_first::Found;
use crate::scorer::Columns;
use crate::token_map::LevelTokens;
use crate::{
    Error, Filter, Hit, ItemTrie, Logits, Normalizer, Result, Row, RowId, Scorer, Scores, Step,
    TokenMap, TrieCursor,
};

/// No parent, no row.
pub(crate) const NONE: u32 = u32::MAX;

/// A prefix that a search has come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix {
    pub(crate) request: u32,
    pub(crate) depth: u32,
    pub(crate) node: u32,
    /// The prefix one code shorter, as a place among all of the search; `NONE` at the root.
    pub(crate) parent: u32,
    /// The longest prefix of this one, itself included, that was a row; `NONE` if none was.
    pub(crate) row: u32,
    /// Sum of the log-probabilities of its codes.
    pub(crate) score: f32,
}

impl Prefix {
    pub(crate) fn root(request: usize) -> Self {
        Self {
            request: request as u32,
            depth: 0,
            node: 0,
            parent: NONE,
            row: NONE,
            score: 0.0,
        }
    }

    /// A child of the prefix at `parent`.
    pub(crate) fn child(self, parent: u32, node: u32, score: f32) -> Self {
        Self {
            depth: self.depth + 1,
            parent,
            node,
            score,
            ..self
        }
    }
}

/// The children of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Family<'a> {
    /// Codes of the next level, ascending.
    pub(crate) codes: Codes<'a>,
    /// The node of the first.
    pub(crate) first: u32,
    /// Whether a shorter ID ends here. That child has the last code of `codes`, [`CodeSpace::end`].
    ///
    /// [`CodeSpace::end`]: semantic_id::CodeSpace::end
    pub(crate) ends: bool,
}

/// A trie, a model's tokens, and how to normalize.
pub(crate) struct Engine<'a, D> {
    pub(crate) trie: &'a ItemTrie<D>,
    tokens: Option<&'a TokenMap>,
    normalizer: Normalizer,
    levels: Vec<Level<'a>>,
    /// For [`Normalizer::SemanticIdVocab`]: the tokens of all levels, as runs.
    runs: Vec<Range<usize>>,
}

impl<'a, D: AsRef<[u8]> + Send + Sync> Engine<'a, D> {
    pub(crate) fn new(
        trie: &'a ItemTrie<D>,
        tokens: Option<&'a TokenMap>,
        normalizer: Normalizer,
    ) -> Result<Self> {
        if let Some(tokens) = tokens {
            tokens.fits(trie.space())?;
        }
        let levels = (0..trie.levels()).filter_map(|level| trie.level(level));
        let runs = match (normalizer, tokens) {
            (Normalizer::SemanticIdVocab, Some(tokens)) => runs(tokens, trie.levels()),
            _ => Vec::new(),
        };
        Ok(Self {
            levels: levels.collect(),
            trie,
            tokens,
            normalizer,
            runs,
        })
    }

    pub(crate) fn depth(&self) -> usize {
        self.levels.len()
    }

    /// The children of a prefix that is no leaf.
    pub(crate) fn children(&self, prefix: &Prefix) -> Result<Family<'a>> {
        let depth = prefix.depth as usize;
        let codes = self.levels[depth].codes;
        let nodes = match depth.checked_sub(1) {
            None => Some(0..codes.len() as u32),
            Some(above) => self.levels[above].children(prefix.node),
        };
        let span = nodes.and_then(|nodes| {
            let codes = codes.slice(nodes.start as usize..nodes.end as usize)?;
            let last = codes.get(codes.len().checked_sub(1)?)?;
            let ends = last.index() == self.trie.space().size(depth);
            let first = nodes.start;
            Some(Family { codes, first, ends })
        });
        span.ok_or_else(|| self.trie.damaged(depth, prefix.node))
    }

    /// Whether the next code of a prefix is certain, so that no model need be asked.
    pub(crate) fn forced(&self, prefix: &Prefix) -> Result<bool> {
        Ok(self.normalizer == Normalizer::ValidChildren && self.children(prefix)?.codes.len() == 1)
    }

    /// The interval of ranks below a node of depth 1 or more.
    pub(crate) fn ranks(&self, depth: usize, node: u32) -> Result<Range<u32>> {
        let mut nodes = (node, node.wrapping_add(1));
        for level in &self.levels[depth - 1..] {
            let Some(offsets) = level.first_child else {
                continue;
            };
            nodes = (offsets.get(nodes.0 as usize))
                .zip(offsets.get(nodes.1 as usize))
                .ok_or_else(|| self.trie.damaged(depth, node))?;
        }
        if nodes.0 >= nodes.1 || nodes.1 as usize > self.trie.items() {
            return Err(self.trie.damaged(depth, node));
        }
        Ok(nodes.0..nodes.1)
    }

    /// Whether a request may be given an item below a node.
    pub(crate) fn alive(&self, filter: Option<&Filter>, depth: usize, node: u32) -> Result<bool> {
        match filter {
            None => Ok(true),
            Some(filter) => Ok(filter.any(self.ranks(depth, node)?)),
        }
    }

    /// An item that was found.
    pub(crate) fn hit(&self, prefixes: &[Prefix], found: &Found) -> Result<Hit> {
        let rank = found.key.number();
        let item = self.trie.rank_to_item().get(rank as usize);
        Ok(Hit {
            item: ItemId(item.ok_or_else(|| self.trie.damaged(self.depth(), rank))?),
            rank,
            codes: self.id(prefixes, found.parent, rank)?,
            score: found.key.score(),
        })
    }

    /// The semantic ID of the item at a rank that continues the prefix at `parent`.
    fn id(&self, prefixes: &[Prefix], parent: u32, rank: u32) -> Result<SemanticId> {
        let mut path = Vec::with_capacity(self.depth());
        self.path(prefixes, parent, &mut path)?;
        let last = self.depth() - 1;
        if path.len() == last {
            let level = &self.levels[last];
            let leaf = match level.first_child {
                None => rank as usize,
                Some(offsets) => {
                    let Family { codes, first, .. } = self.children(&prefixes[parent as usize])?;
                    let nodes = first as usize..first as usize + codes.len();
                    let holds = |&node: &usize| offsets.get(node + 1).is_some_and(|end| rank < end);
                    nodes.into_iter().find(holds).unwrap_or(usize::MAX)
                }
            };
            let code = level.codes.get(leaf);
            let code = code.ok_or_else(|| self.trie.damaged(self.depth(), rank))?;
            // An ID one code shorter ends here.
            if code.index() < self.trie.space().size(last) {
                path.push(code);
            }
        }
        Ok(path.into_iter().collect())
    }

    /// Appends the codes of the prefix at a place.
    pub(crate) fn path(&self, prefixes: &[Prefix], place: u32, path: &mut Vec<Code>) -> Result<()> {
        let depth = prefixes[place as usize].depth as usize;
        let start = path.len();
        path.resize(start + depth, Code(0));
        let mut place = place;
        for level in (0..depth).rev() {
            let prefix = &prefixes[place as usize];
            path[start + level] = (self.levels[level].codes.get(prefix.node as usize))
                .ok_or_else(|| self.trie.damaged(level, prefix.node))?;
            place = prefix.parent;
        }
        Ok(())
    }

    /// The code that leads to a node of depth 1 or more.
    pub(crate) fn code(&self, cursor: TrieCursor) -> Result<Code> {
        let (depth, node) = (cursor.depth(), cursor.node());
        let code = self.levels[depth - 1].codes.get(node as usize);
        code.ok_or_else(|| self.trie.damaged(depth, node))
    }

    /// Asks the model about some prefixes, which become the rows from `first` on.
    pub(crate) fn score<'s>(
        &self,
        scorer: &'s mut (impl Scorer + ?Sized),
        prefixes: &mut [Prefix],
        chosen: &[u32],
        first: u32,
    ) -> Result<Scored<'a, 's>> {
        let mut paths = Vec::new();
        let mut families = Vec::with_capacity(chosen.len());
        for &place in chosen {
            self.path(prefixes, place, &mut paths)?;
            families.push(self.children(&prefixes[place as usize])?);
        }
        let mut paths = &paths[..];
        let mut rows = Vec::with_capacity(chosen.len());
        for ((id, &place), family) in (first..).zip(chosen).zip(&families) {
            let prefix = &mut prefixes[place as usize];
            let (path, rest) = paths.split_at(prefix.depth as usize);
            paths = rest;
            rows.push(Row {
                id: RowId(id),
                request: prefix.request as usize,
                parent: (prefix.row != NONE).then_some(RowId(prefix.row)),
                prefix: path,
                allowed: family.codes,
            });
            prefix.row = id;
        }
        let scores = scorer.score(&Step { rows: &rows }).map_err(Error::Scorer)?;
        let asked: Vec<Prefix> = chosen.iter().map(|&at| prefixes[at as usize]).collect();
        self.scored(scores, &asked, families, first)
    }

    /// What a model said about some prefixes, the rows from `first` on, and their children.
    pub(crate) fn scored<'s>(
        &self,
        scores: Scores<'s>,
        asked: &[Prefix],
        families: Vec<Family<'a>>,
        first: u32,
    ) -> Result<Scored<'a, 's>> {
        let width = self.width(&scores, asked)?;
        let mut scored = Scored {
            logits: scores.logits,
            columns: scores.columns,
            width,
            end: self.end_column(scores.columns, width, asked),
            first,
            families,
            log_sums: Vec::new(),
        };
        scored.log_sums = match scores.log_sums {
            None => self.log_sums(&scored, asked)?,
            Some(given) => shaped("sums given with the logits", given, asked.len())?.to_vec(),
        };
        Self::check(&scored, asked)?;
        Ok(scored)
    }

    /// The columns of a row.
    fn width(&self, scores: &Scores<'_>, rows: &[Prefix]) -> Result<usize> {
        let size = self.largest(rows);
        let got = scores.logits.len();
        let width = match (scores.columns, self.tokens) {
            (Columns::Vocabulary, Some(tokens)) => tokens.vocabulary(),
            (Columns::Vocabulary, None) => {
                return Err(Error::Setting {
                    name: "token map",
                    got: "none".to_owned(),
                    expected: "one, since the scorer gives logits of the whole vocabulary",
                });
            }
            // One column more is that of `end`.
            (Columns::Level, _) if got == rows.len() * (size + 1) => size + 1,
            (Columns::Level, _) => size,
        };
        if got == rows.len() * width {
            return Ok(width);
        }
        Err(Error::Shape {
            what: "logits of a step (rows times columns)",
            got,
            expected: rows.len() * width,
        })
    }

    /// `ln(sum(exp(logits)))` of each row over what the normalizer says.
    fn log_sums(&self, scored: &Scored<'_, '_>, rows: &[Prefix]) -> Result<Vec<f32>> {
        use Normalizer::{FullVocab, Level, SemanticIdVocab, ValidChildren};
        if scored.columns == Columns::Level
            && matches!(self.normalizer, FullVocab | SemanticIdVocab)
        {
            return Err(Error::Setting {
                name: "normalizer",
                got: format!("{:?}", self.normalizer),
                expected: "Level or ValidChildren, since the scorer gives the level's logits only",
            });
        }
        let sum = |buffer: &mut Vec<f32>, at: usize| {
            let logits = scored.row(at);
            let level = rows[at].depth as usize;
            buffer.clear();
            match self.normalizer {
                FullVocab => return logits.log_sum_exp(),
                SemanticIdVocab => {
                    let runs = self.runs.iter().filter_map(|run| logits.slice(run.clone()));
                    runs.for_each(|run| run.copy_to(buffer));
                }
                Level => match self.whole_level(scored, at, level) {
                    Some(logits) => return logits.log_sum_exp(),
                    None => self.level_logits(scored, at, level, buffer),
                },
                ValidChildren => self.child_logits(scored, at, level, buffer),
            }
            Logits::F32(buffer).log_sum_exp()
        };
        let rows = (0..rows.len()).into_par_iter();
        Ok(rows.map_init(Vec::new, sum).collect())
    }

    /// The logits of all codes of a level, if they are in one run and `end` is not beside it.
    fn whole_level<'s>(
        &self,
        scored: &Scored<'_, 's>,
        at: usize,
        level: usize,
    ) -> Option<Logits<'s>> {
        match self.window(scored.columns, level) {
            LevelTokens::Range { first, codes } if scored.end.is_none() => scored
                .row(at)
                .slice(first as usize..(first + codes) as usize),
            _ => None,
        }
    }

    /// Appends the logits of all codes of a level, and that of `end`.
    fn level_logits(&self, scored: &Scored<'_, '_>, at: usize, level: usize, out: &mut Vec<f32>) {
        let logits = scored.row(at);
        match self.window(scored.columns, level) {
            LevelTokens::Range { first, codes } => {
                let run = first as usize..(first + codes) as usize;
                logits
                    .slice(run)
                    .into_iter()
                    .for_each(|run| run.copy_to(out));
            }
            LevelTokens::Table(tokens) => {
                logits.gather(tokens.iter().map(|&token| token as usize), out);
            }
        }
        out.extend(scored.end.and_then(|column| logits.get(column)));
    }

    /// Appends the logits of the children of a row; of `end` only where it is a token.
    fn child_logits(&self, scored: &Scored<'_, '_>, at: usize, level: usize, out: &mut Vec<f32>) {
        let logits = scored.row(at);
        let Family { codes, ends, .. } = scored.families[at];
        let codes = codes.slice(0..codes.len() - usize::from(ends));
        let codes = codes.expect("a part of what is there");
        match self.window(scored.columns, level) {
            LevelTokens::Range { first, codes: all } if codes.len() == all as usize => {
                let run = first as usize..(first + all) as usize;
                logits
                    .slice(run)
                    .into_iter()
                    .for_each(|run| run.copy_to(out));
            }
            LevelTokens::Range { first, .. } => {
                logits.gather(codes.iter().map(|code| first as usize + code.index()), out);
            }
            LevelTokens::Table(tokens) => {
                let token = |code: Code| tokens.get(code.index()).copied().unwrap_or(NONE);
                logits.gather(codes.iter().map(|code| token(code) as usize), out);
            }
        }
        if ends {
            out.extend(scored.end.and_then(|column| logits.get(column)));
        }
    }

    /// The log-probabilities of the children of the row `at`, in place of what was in `out`. Ending
    /// an ID costs nothing where `end` is no token. False if a logit is no number, or infinite:
    /// where the model gave its own sums, no other step has looked at it.
    fn log_probabilities(
        &self,
        scored: &Scored<'_, '_>,
        at: usize,
        level: usize,
        out: &mut Vec<f32>,
    ) -> bool {
        out.clear();
        self.child_logits(scored, at, level, out);
        let log_sum = scored.log_sums[at];
        let mut sound = true;
        for logit in &mut *out {
            sound &= *logit < f32::INFINITY;
            // Rounding must not make a child more probable than its parent: the proofs need that.
            *logit = (*logit - log_sum).min(0.0);
        }
        out.resize(scored.families[at].codes.len(), 0.0);
        sound
    }

    /// The children of a prefix, and their log-probabilities in place of what was in `out`: those
    /// of its row or, if its next code is certain, 0.
    pub(crate) fn step_scores(
        &self,
        scored: Option<&Scored<'a, '_>>,
        prefix: &Prefix,
        out: &mut Vec<f32>,
    ) -> Result<Family<'a>> {
        let row = scored.and_then(|scored| Some((scored, scored.find(prefix)?)));
        let Some((scored, at)) = row else {
            let family = self.children(prefix)?;
            out.clear();
            out.resize(family.codes.len(), 0.0);
            return Ok(family);
        };
        let request = prefix.request as usize;
        if !self.log_probabilities(scored, at, prefix.depth as usize, out) {
            return Err(scored.bad_logit(at, request));
        }
        if prefix.depth == 0 && out.iter().all(|&score| score == f32::NEG_INFINITY) {
            return Err(Error::NoItem {
                request,
                row: at,
                children: out.len(),
            });
        }
        Ok(scored.families[at])
    }

    /// Where the codes of a level are among the columns.
    fn window(&self, columns: Columns, level: usize) -> LevelTokens<'a> {
        let codes = self.trie.space().sizes()[level];
        match (columns, self.tokens) {
            (Columns::Vocabulary, Some(tokens)) => {
                tokens.level(level).unwrap_or(LevelTokens::Table(&[]))
            }
            _ => LevelTokens::Range { first: 0, codes },
        }
    }

    /// The column of `end`, if there is one.
    fn end_column(&self, columns: Columns, width: usize, rows: &[Prefix]) -> Option<usize> {
        match columns {
            Columns::Vocabulary => self.tokens?.end().map(|token| token as usize),
            Columns::Level => Some(self.largest(rows)).filter(|&size| size < width),
        }
    }

    /// The codes of the largest level among those of some rows.
    fn largest(&self, rows: &[Prefix]) -> usize {
        let size = |row: &Prefix| self.trie.space().size(row.depth as usize);
        rows.iter().map(size).max().unwrap_or(0)
    }

    /// Holds that every row has a sum, and says which logit is to blame if one has not.
    fn check(scored: &Scored<'_, '_>, rows: &[Prefix]) -> Result<()> {
        for (at, (row, &log_sum)) in rows.iter().zip(&scored.log_sums).enumerate() {
            let request = row.request as usize;
            if log_sum == f32::NEG_INFINITY {
                return Err(Error::NoMass { request, row: at });
            }
            if !log_sum.is_finite() {
                return Err(scored.bad_logit(at, request));
            }
        }
        Ok(())
    }
}

fn shaped<'a>(what: &'static str, values: &'a [f32], expected: usize) -> Result<&'a [f32]> {
    let got = values.len();
    match got == expected {
        true => Ok(values),
        false => Err(Error::Shape {
            what,
            got,
            expected,
        }),
    }
}

/// All tokens of all levels, as ascending runs.
fn runs(tokens: &TokenMap, levels: usize) -> Vec<Range<usize>> {
    let mut all: Vec<usize> = Vec::new();
    for level in (0..levels).filter_map(|level| tokens.level(level)) {
        match level {
            LevelTokens::Range { first, codes } => {
                all.extend(first as usize..(first + codes) as usize);
            }
            LevelTokens::Table(tokens) => {
                let known = tokens.iter().filter(|&&token| token != NONE);
                all.extend(known.map(|&token| token as usize));
            }
        }
    }
    all.extend(tokens.end().map(|token| token as usize));
    all.sort_unstable();
    all.dedup();
    all.chunk_by(|a, b| a + 1 == *b)
        .map(|run| run[0]..run[run.len() - 1] + 1)
        .collect()
}

/// What a model said about some prefixes.
#[derive(Debug)]
pub(crate) struct Scored<'a, 's> {
    logits: Logits<'s>,
    columns: Columns,
    width: usize,
    /// The column of `end`.
    end: Option<usize>,
    first: u32,
    families: Vec<Family<'a>>,
    log_sums: Vec<f32>,
}

impl<'s> Scored<'_, 's> {
    fn row(&self, at: usize) -> Logits<'s> {
        let columns = at * self.width..(at + 1) * self.width;
        self.logits.slice(columns).expect("the width was checked")
    }

    /// The error of a row whose logits or sum are no numbers: the first logit that is none or
    /// else, the sum that the model gave.
    fn bad_logit(&self, at: usize, request: usize) -> Error {
        let logits = self.row(at);
        let bad = |&(_, logit): &(usize, f32)| logit.is_nan() || logit == f32::INFINITY;
        let mut columns = (0..self.width).filter_map(|column| Some((column, logits.get(column)?)));
        match columns.find(bad) {
            Some((column, value)) => Error::BadLogit {
                request,
                row: at,
                column,
                value,
            },
            None => Error::BadSum {
                request,
                row: at,
                value: self.log_sums[at],
            },
        }
    }

    /// The place among the rows of a prefix, if it was one of them.
    pub(crate) fn find(&self, prefix: &Prefix) -> Option<usize> {
        let at = prefix.row.checked_sub(self.first)? as usize;
        (prefix.row != NONE && at < self.families.len()).then_some(at)
    }
}
