//! The rows of some users and items of a larger whole, made apart from the others.

use std::ops::Range;

use super::lot::Samples;
use super::{Amount, Context, Corpus, CorpusOptions, Counts, Group, Scratch, Tally, TaskPlan, lot};
use crate::{Error, Result, Row, Templates};

/// Which of all samples a part of the users and some items of the catalogue have.
///
/// A sample's number decides what chance gives it, and where its rows stand, so those that make
/// the rows of some users need to know of the others only how many samples these have: the rows
/// of all shares together, in the order of their places, are those of the whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The items of the catalogue whose samples it has.
    pub items: Range<u32>,
    /// For each plan the number of its first sample, and how many all shares have.
    pub samples: Vec<[u64; 2]>,
}

impl Share {
    /// How many samples of each plan the users of a context have; `None` for what is made of
    /// items. `O(U)` for each plan.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] for an unknown task.
    pub fn samples(context: &Context<'_>, plans: &[TaskPlan]) -> Result<Vec<Option<u64>>> {
        let samples = plans.iter().map(|plan| {
            let samples = Samples::of(plan, 0..0, context)?;
            Ok((!matches!(samples, Samples::Items(_))).then(|| samples.len()))
        });
        samples.collect()
    }
}

/// The rows of a [`Share`]: any of its samples can be asked for its rows alone.
#[derive(Debug)]
pub struct CorpusShare<'a>(Corpus<'a>);

impl<'a> CorpusShare<'a> {
    /// Plans the rows of a share. The users of the context are those of the share alone, in the
    /// order in which they are in the whole; its popularity is that of the whole.
    ///
    /// # Errors
    ///
    /// Those of [`Corpus::new`], and [`Error::Recipe`] for a budget of tokens, which is of all rows
    /// together, or a share of other plans or more items.
    pub fn new(
        context: &'a Context<'a>,
        templates: &'a Templates,
        plans: &[TaskPlan],
        share: &Share,
        options: CorpusOptions<'a>,
    ) -> Result<Self> {
        let budget = |plan: &&TaskPlan| matches!(plan.amount, Amount::Tokens(_));
        if let Some(plan) = plans.iter().find(budget) {
            return Err(Error::Recipe(format!(
                "task {:?}: a budget of tokens is of all rows in their order, which no share of \
                 them knows; give `rows` or `weight`",
                plan.task
            )));
        }
        let items = context.catalogue.len();
        if share.samples.len() != plans.len() || share.items.end as usize > items {
            return Err(Error::Recipe(format!(
                "got a share of {} tasks and of the items {:?}, expected one of {} tasks and of \
                 some of {items} items",
                share.samples.len(),
                share.items,
                plans.len()
            )));
        }
        let standing = share.samples.iter().copied().map(Some);
        let lots = plans.iter().zip(standing).map(|(plan, standing)| {
            let samples = Samples::of(plan, share.items.clone(), context)?;
            lot(templates, plan, samples, standing, &options)
        });
        let lots = lots.collect::<Result<_>>()?;
        Corpus::of_lots(context, plans, lots, options).map(Self)
    }

    /// Places of the whole, of which some have no row.
    pub fn places(&self) -> u64 {
        self.0.len()
    }

    /// Samples of the share in all epochs.
    pub fn len(&self) -> u64 {
        self.epoch_len() * u64::from(self.0.options.epochs)
    }

    /// Whether it has no sample.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn epoch_len(&self) -> u64 {
        self.0.lots.iter().map(|lot| lot.samples.len()).sum()
    }

    /// Makes the rows of some samples, and gives each with its place among the rows of the whole to
    /// `take`. They come in no order of places, and some samples have none.
    ///
    /// # Errors
    ///
    /// Those of [`Corpus::rows`].
    ///
    /// # Panics
    ///
    /// For samples beyond the last one.
    pub fn rows(
        &self,
        samples: Range<u64>,
        scratch: &mut Scratch,
        mut take: impl FnMut(u64, &Row<'_>) -> Result<()>,
    ) -> Result<Counts> {
        let corpus = &self.0;
        let mut tally = Tally::new(corpus, scratch);
        for sample in samples {
            let epoch = (sample / self.epoch_len()) as u32;
            let (lot, number) = self.sample(sample % self.epoch_len());
            for row in corpus.lots[lot].rows_of(number) {
                let place = self.place(epoch, lot, row);
                let take = &mut |row: &Row<'_>| take(place, row);
                let made = corpus.row((epoch, lot, row), corpus.told(place), scratch, take)?;
                tally.count(lot, made);
            }
        }
        Ok(tally.counts(corpus, scratch))
    }

    /// The lot of a sample, and its number there.
    fn sample(&self, mut sample: u64) -> (usize, u64) {
        for (at, lot) in self.0.lots.iter().enumerate() {
            if sample < lot.samples.len() {
                return (at, lot.first + sample);
            }
            sample -= lot.samples.len();
        }
        unreachable!("fewer than the samples of all lots")
    }

    /// Where a row of a lot stands: what [`Corpus::rows`] makes it of.
    fn place(&self, epoch: u32, lot: usize, row: u64) -> u64 {
        let place_in = |group: &Group| {
            let &(first, _) = group.lots.iter().find(|(_, of)| *of == lot)?;
            let at = first + row;
            let order = group.order.as_ref();
            Some(group.first + order.map_or(at, |order| order.place_of(at)))
        };
        let place = self.0.groups.iter().find_map(place_in);
        u64::from(epoch) * self.0.epoch_len() + place.expect("every lot is of a stage")
    }
}
