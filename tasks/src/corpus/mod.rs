//! From samples to rows.

mod build;
mod context;
mod lot;
mod permutation;
mod share;
mod texts;
mod view;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use rayon::prelude::*;

use crate::generators::{Over, Sample, Skip, Task, TaskOptions};
use crate::tokens::{Kept, Truncation};
use crate::{Draw, Error, Need, Part, Provenance, Result, Row, Target, Template, Templates};
use lot::{Lot, Samples};
use permutation::Permutation;
use view::WHOLE;

pub(crate) use view::View;

pub use context::{Context, HistoryStyle};
pub use share::{CorpusShare, Share};
pub use texts::{Ids, UserTexts};

/// One task of a recipe.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskPlan {
    /// Its name, one of [`TASKS`](crate::generators::TASKS).
    pub task: String,
    /// For which part rows are made.
    pub part: Part,
    /// How many rows of an epoch.
    pub amount: Amount,
    /// Which stage of a curriculum it is of; stages come one after another.
    pub stage: u32,
    /// Names of the templates to take; all, if empty.
    pub templates: Vec<String>,
    /// Whether to take the templates that are held out of training instead of the others.
    pub held_out: bool,
    /// Negatives and the like.
    pub options: TaskOptions,
}

/// How many rows a task has in an epoch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// So many times its samples.
    Weight(f64),
    /// So many.
    Rows(u64),
    /// As many as have at most so many tokens together.
    Tokens(u64),
}

/// The order of the rows of an epoch, within a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Task after task, samples in the order of users and events.
    Tasks,
    /// All tasks shuffled.
    Mixed,
}

/// All rows that a recipe asks for: any of them can be made alone, in any order, by any thread.
#[derive(Debug)]
pub struct Corpus<'a> {
    context: &'a Context<'a>,
    lots: Vec<Lot<'a>>,
    groups: Vec<Group>,
    options: CorpusOptions<'a>,
}

/// The rows of a stage, in an epoch.
#[derive(Debug)]
struct Group {
    /// Its first row in the epoch.
    first: u64,
    /// Its lots, each with its first row in the group.
    lots: Vec<(u64, usize)>,
    order: Option<Permutation>,
}

/// How many rows were made, and why others were not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows by task.
    pub rows: BTreeMap<&'static str, u64>,
    /// Samples without a row, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// What was done to rows with too many tokens.
    pub truncation: Truncation,
}

impl Counts {
    /// Adds those of other rows.
    pub fn add(&mut self, other: &Self) {
        for (sums, counts) in [
            (&mut self.rows, &other.rows),
            (&mut self.skipped, &other.skipped),
        ] {
            counts
                .iter()
                .for_each(|(name, count)| *sums.entry(name).or_default() += count);
        }
        self.truncation.merge(&other.truncation);
    }
}

/// Working memory of one thread.
#[derive(Debug, Default)]
pub struct Scratch {
    sample: Sample,
    texts: RowTexts,
    truncation: Truncation,
}

/// The texts of a row.
#[derive(Debug, Default)]
struct RowTexts {
    system: String,
    prompt: String,
    answer: String,
    rejected: Vec<String>,
}

impl RowTexts {
    fn render(&mut self, template: &Template, view: &View<'_>) -> Result<()> {
        for text in [&mut self.system, &mut self.prompt, &mut self.answer] {
            text.clear();
        }
        self.rejected.clear();
        if let Some(text) = &template.system {
            text.render(view, &mut self.system)?;
        }
        template.prompt.render(view, &mut self.prompt)?;
        // What a model shall learn is not shortened, but for a history that it repeats.
        let sentences = WHOLE.sentences;
        let kept = Kept {
            sentences,
            ..view.kept
        };
        template
            .answer
            .render(&View { kept, ..*view }, &mut self.answer)?;
        for &item in &view.sample.rejected {
            let mut text = String::new();
            let instead = Some(item);
            template
                .answer
                .render(&View { instead, ..*view }, &mut text)?;
            self.rejected.push(text);
        }
        Ok(())
    }

    fn all(&self) -> [&str; 3] {
        [&self.system, &self.prompt, &self.answer]
    }
}

/// Tells how many tokens a text has.
pub type Count<'a> = &'a (dyn Fn(&str) -> Result<usize> + Sync);

/// What all tasks of a corpus share.
#[derive(Clone, Copy)]
pub struct CorpusOptions<'a> {
    /// What all chance is keyed by.
    pub seed: u64,
    /// Passes over the samples, each with its own draws.
    pub epochs: u32,
    /// The order of the rows of a stage.
    pub order: Order,
    /// What the format wants of rows beyond prompt and answer.
    pub need: Need,
    /// How many tokens a text has.
    pub count: Option<Count<'a>>,
    /// To how many tokens rows are shortened, as [`Truncation`] says; what a chat template adds
    /// comes on top.
    pub tokens_per_row: Option<usize>,
}

impl Default for CorpusOptions<'_> {
    fn default() -> Self {
        Self {
            seed: 0,
            epochs: 1,
            order: Order::Mixed,
            need: Need::Nothing,
            count: None,
            tokens_per_row: None,
        }
    }
}

impl fmt::Debug for CorpusOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorpusOptions")
            .field("seed", &self.seed)
            .field("epochs", &self.epochs)
            .field("order", &self.order)
            .finish_non_exhaustive()
    }
}

impl CorpusOptions<'_> {
    fn tokens(&self, texts: &[&str]) -> Result<usize> {
        let count = self.count.ok_or_else(|| {
            Error::Recipe("a budget of tokens needs a tokenizer to count them".to_owned())
        })?;
        texts.iter().map(|text| count(text)).sum()
    }
}

impl<'a> Corpus<'a> {
    /// Plans the rows of some tasks.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] for no task, an unknown one, templates that there are not, a task
    /// without samples, or a budget of tokens that cannot be met. `O(U)` for each task; a budget
    /// of tokens makes rows until it is reached.
    pub fn new(
        context: &'a Context<'a>,
        templates: &'a Templates,
        plans: &[TaskPlan],
        options: CorpusOptions<'a>,
    ) -> Result<Self> {
        let items = context.catalogue.len() as u32;
        let lots = plans.iter().map(|plan| {
            let samples = Samples::of(plan, 0..items, context)?;
            lot(templates, plan, samples, None, &options)
        });
        let lots = lots.collect::<Result<_>>()?;
        Self::of_lots(context, plans, lots, options)
    }

    /// The rows of the lots of some plans.
    fn of_lots(
        context: &'a Context<'a>,
        plans: &[TaskPlan],
        lots: Vec<Lot<'a>>,
        options: CorpusOptions<'a>,
    ) -> Result<Self> {
        if lots.is_empty() {
            return Err(Error::Recipe("there are no tasks: add one".to_owned()));
        }
        let mut corpus = Self {
            context,
            lots,
            groups: Vec::new(),
            options,
        };
        for (lot, plan) in plans.iter().enumerate() {
            if let Amount::Tokens(tokens) = plan.amount {
                corpus.lots[lot].rows = corpus.rows_of_tokens(lot, tokens)?;
            }
        }
        corpus.groups = corpus.stages();
        Ok(corpus)
    }

    /// The lots of each stage, in the order of stages.
    fn stages(&self) -> Vec<Group> {
        let mut stages: Vec<u32> = self.lots.iter().map(|lot| lot.stage).collect();
        stages.sort_unstable();
        stages.dedup();
        let mut first = 0;
        let group = |stage| {
            let mut rows = 0;
            let mut members = Vec::new();
            let of_stage = self.lots.iter().enumerate();
            for (at, lot) in of_stage.filter(|(_, lot)| lot.stage == stage) {
                members.push((rows, at));
                rows += lot.rows;
            }
            let purpose = format!("order of stage {stage}");
            let mixed = self.options.order == Order::Mixed;
            let group = Group {
                first,
                lots: members,
                order: mixed.then(|| Permutation::new(self.options.seed, &purpose, rows)),
            };
            first += rows;
            group
        };
        stages.into_iter().map(group).collect()
    }

    /// How many of a lot's samples, in the order of its draw, have at most so many tokens.
    fn rows_of_tokens(&self, lot: usize, budget: u64) -> Result<u64> {
        let samples = self.lots[lot].rows;
        let tokens_of = |row: u64| {
            let mut tokens = 0;
            let row = (0, lot, row);
            let made = self.row(row, None, &mut Scratch::default(), &mut |row| {
                let texts = [row.system.unwrap_or_default(), row.prompt, row.answer];
                tokens = self.options.tokens(&texts)? as u64;
                Ok(())
            })?;
            Ok(made.map_or(0, |()| tokens))
        };
        let mut sum = 0;
        for first in (0..samples).step_by(4096) {
            let rows = first..samples.min(first + 4096);
            let tokens: Vec<u64> = rows.into_par_iter().map(tokens_of).collect::<Result<_>>()?;
            for (row, tokens) in (first..).zip(tokens) {
                if sum + tokens > budget {
                    return match sum {
                        0 => Err(self.unmet(lot, budget, "its first row alone has more")),
                        _ => Ok(row),
                    };
                }
                sum += tokens;
            }
        }
        Err(self.unmet(lot, budget, &format!("all its rows together have {sum}")))
    }

    fn unmet(&self, lot: usize, budget: u64, why: &str) -> Error {
        let task = self.lots[lot].task.name;
        Error::Recipe(format!(
            "task {task:?}: a budget of {budget} tokens cannot be met: {why}"
        ))
    }

    /// What its rows are made of.
    pub fn context(&self) -> &'a Context<'a> {
        self.context
    }

    /// Rows, those that will be skipped among them.
    pub fn len(&self) -> u64 {
        self.epoch_len() * u64::from(self.options.epochs)
    }

    /// Whether no row is asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows of one epoch: those of epoch `e` are at the places from `e` times that on.
    pub fn epoch_len(&self) -> u64 {
        self.lots.iter().map(|lot| lot.rows).sum()
    }

    /// Makes the rows at some places, in order, and gives each to `take`.
    ///
    /// # Errors
    ///
    /// Those of `take`, and [`Error::Render`] of a user's template.
    pub fn rows(
        &self,
        places: Range<u64>,
        scratch: &mut Scratch,
        mut take: impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<Counts> {
        let mut tally = Tally::new(self, scratch);
        for place in places {
            let lot = self.lot(place);
            let made = self.row(lot, self.told(place), scratch, &mut take)?;
            tally.count(lot.1, made);
        }
        Ok(tally.counts(self, scratch))
    }

    /// The place as rows tell it: with stages alone is the order of rows more than chance.
    fn told(&self, place: u64) -> Option<u64> {
        (self.groups.len() > 1).then_some(place)
    }

    /// The epoch of a place, the lot, and the row of that lot.
    fn lot(&self, place: u64) -> (u32, usize, u64) {
        let epoch = (place / self.epoch_len()) as u32;
        let place = place % self.epoch_len();
        let group = self.groups.partition_point(|group| group.first <= place) - 1;
        let group = &self.groups[group];
        let at = place - group.first;
        let at = group.order.as_ref().map_or(at, |order| order.at(at));
        let member = group.lots.partition_point(|(first, _)| *first <= at) - 1;
        let (first, lot) = group.lots[member];
        (epoch, lot, at - first)
    }

    fn row(
        &self,
        (epoch, lot, row): (u32, usize, u64),
        place: Option<u64>,
        scratch: &mut Scratch,
        take: &mut impl FnMut(&Row<'_>) -> Result<()>,
    ) -> Result<std::result::Result<(), Skip>> {
        let lot = &self.lots[lot];
        let (number, pass, at) = lot.sample(epoch, row, self.context.split);
        let mut chance = Draw::new(self.options.seed, lot.task.name, lot.key(pass, number));
        let Scratch {
            sample,
            texts,
            truncation,
        } = scratch;
        sample.clear();
        if let Err(skip) = (lot.task).fill(self.context, at, &lot.options, &mut chance, sample) {
            return Ok(Err(skip));
        }
        let mut view = View::new(self.context, sample);
        let Some(template) = lot.template(&view, &mut chance) else {
            return Ok(Err(Skip::NoTemplate));
        };
        if let Some(budget) = self.options.tokens_per_row {
            let kept = truncation.fit(view.whole(&template.prompt), budget, |kept| {
                view.kept = kept;
                texts.render(template, &view)?;
                self.options.tokens(&texts.all())
            })?;
            let Some(kept) = kept else {
                return Ok(Err(Skip::TooLong));
            };
            view.kept = kept;
        }
        texts.render(template, &view)?;
        if texts.answer.trim().is_empty() {
            return Ok(Err(Skip::EmptyAnswer));
        }
        let made_at = template.slots.iter().filter_map(|slot| match slot {
            crate::Slot::Side(kind) => Some(view.side(*kind)?.made_at),
            _ => None,
        });
        let provenance = Provenance {
            task: Cow::Borrowed(lot.task.name),
            template: Cow::Borrowed(&template.path),
            part: lot.part,
            epoch: pass,
            sample: number,
            user: sample
                .user
                .map(|user| Cow::Borrowed(self.context.histories.key(user))),
            reads: sample.reads,
            target: sample.target,
            horizon: sample.horizon,
            made_at: made_at.max(),
            stage: place.map(|_| lot.stage),
            place,
        };
        let sequence = (self.options.need == Need::Sequence).then(|| view.sequence());
        let fields = (self.options.need == Need::Fields).then(|| view.fields());
        let fields: Option<Vec<_>> = fields.as_ref().map(|fields| {
            let pairs = fields
                .iter()
                .map(|(name, text)| (name.as_str(), text.as_str()));
            pairs.collect()
        });
        take(&Row {
            system: template.system.is_some().then_some(&*texts.system),
            prompt: &texts.prompt,
            answer: &texts.answer,
            rejected: &texts.rejected,
            target: sample.item.and_then(|item| {
                Some(Target {
                    key: self.context.catalogue.keys().get(item),
                    id: self.context.ids.text(item)?,
                    codes: self.context.ids.codes(item),
                })
            }),
            sequence: sequence.as_deref(),
            fields: fields.as_deref(),
            provenance: &provenance,
        })?;
        Ok(Ok(()))
    }
}

/// What became of samples.
struct Tally {
    rows: Vec<u64>,
    skipped: [u64; Skip::ALL.len()],
}

impl Tally {
    fn new(corpus: &Corpus<'_>, scratch: &mut Scratch) -> Self {
        scratch.truncation = Truncation::default();
        Self {
            rows: vec![0; corpus.lots.len()],
            skipped: Default::default(),
        }
    }

    fn count(&mut self, lot: usize, made: std::result::Result<(), Skip>) {
        match made {
            Ok(()) => self.rows[lot] += 1,
            Err(skip) => self.skipped[skip as usize] += 1,
        }
    }

    fn counts(&self, corpus: &Corpus<'_>, scratch: &Scratch) -> Counts {
        let mut counts = Counts {
            truncation: scratch.truncation,
            ..Counts::default()
        };
        for (lot, rows) in corpus.lots.iter().zip(&self.rows) {
            *counts.rows.entry(lot.task.name).or_default() += rows;
        }
        for (skip, &count) in Skip::ALL.iter().zip(&self.skipped) {
            if count > 0 {
                counts.skipped.insert(skip.name(), count);
            }
        }
        counts
    }
}

/// Passes over the samples of a task, in all epochs: beyond it somebody mistyped.
const MOST_PASSES: u128 = 1_000_000;

/// A task with its samples and templates. Of a budget in tokens it has all rows, in the order of
/// a draw, until these are counted. Where its samples are not all, `standing` is the number of the
/// first one, and how many there are.
fn lot<'a>(
    templates: &'a Templates,
    plan: &TaskPlan,
    samples: Samples,
    standing: Option<[u64; 2]>,
    options: &CorpusOptions<'_>,
) -> Result<Lot<'a>> {
    let task = Task::named(&plan.task)?;
    let chosen = choose(templates, plan)?;
    let [first, all] = standing.unwrap_or([0, samples.len()]);
    if all == 0 {
        let why = match task.over {
            Over::Texts(kind) => format!("no side texts of kind {kind} were given for it"),
            _ => "no user has events enough".to_owned(),
        };
        let (task, part) = (&plan.task, plan.part);
        return Err(Error::Recipe(format!(
            "task {task:?} has no samples of part {part}: {why}"
        )));
    }
    let rows = match plan.amount {
        Amount::Rows(rows) => rows,
        Amount::Weight(weight) => ((all as f64 * weight).round() as u64).max(1),
        Amount::Tokens(_) => all,
    };
    let drawn = matches!(plan.amount, Amount::Tokens(_)) || !rows.is_multiple_of(all);
    let order = drawn.then(|| Permutation::new(options.seed, task.name, all));
    let passes = u128::from(rows.div_ceil(all)) * u128::from(options.epochs);
    if passes > MOST_PASSES {
        return Err(Error::Recipe(format!(
            "task {:?}: {rows} rows in each of {} epochs are {passes} passes over {all} samples, \
             expected at most {MOST_PASSES}",
            plan.task, options.epochs
        )));
    }
    Ok(Lot {
        templates: chosen,
        options: plan.options.clone(),
        part: plan.part,
        stage: plan.stage,
        task,
        rows,
        samples,
        first,
        all,
        order,
    })
}

/// The templates of a task that a plan takes.
fn choose<'a>(templates: &'a Templates, plan: &TaskPlan) -> Result<Vec<&'a Template>> {
    let all = templates.of(&plan.task);
    let names = || all.iter().map(|template| template.name.as_str());
    if let Some(unknown) = plan
        .templates
        .iter()
        .find(|name| !names().any(|known| known == **name))
    {
        return Err(Error::Recipe(format!(
            "task {:?} has no template {unknown:?}; there are: {}",
            plan.task,
            names().collect::<Vec<_>>().join(", ")
        )));
    }
    let named = |template: &&Template| match plan.templates.is_empty() {
        true => template.held_out == plan.held_out,
        false => plan.templates.contains(&template.name),
    };
    let chosen: Vec<_> = all.iter().filter(named).collect();
    match chosen.is_empty() {
        false => Ok(chosen),
        true => Err(Error::Recipe(format!(
            "task {:?} has no templates that are {}held out",
            plan.task,
            if plan.held_out { "" } else { "not " }
        ))),
    }
}
