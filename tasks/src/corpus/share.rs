//! The rows of some users and items of a larger whole, made apart from the others.

use std::ops::Range;

use super::lot::Samples;
use super::{Amount, Context, Corpus, CorpusOptions, Counts, Scratch, Tally, TaskPlan};
use crate::generators::{Over, Task};
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
    /// All users of a context, and all items.
    pub(super) fn all(context: &Context<'_>, plans: &[TaskPlan]) -> Result<Self> {
        let items = 0..context.catalogue.len() as u32;
        let samples = plans.iter().map(|plan| {
            let over = Task::named(&plan.task)?.over;
            Ok([
                0,
                Samples::new(over, plan.part, items.clone(), context).len(),
            ])
        });
        Ok(Self {
            samples: samples.collect::<Result<_>>()?,
            items,
        })
    }

    /// How many samples of each plan the users of a context have; `None` for what is made of
    /// items. `O(U)` for each plan.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] for an unknown task.
    pub fn samples(context: &Context<'_>, plans: &[TaskPlan]) -> Result<Vec<Option<u64>>> {
        let samples = plans.iter().map(|plan| {
            let over = Task::named(&plan.task)?.over;
            let samples = || Samples::new(over, plan.part, 0..0, context).len();
            Ok((over != Over::Items).then(samples))
        });
        samples.collect()
    }
}

impl<'a> Corpus<'a> {
    /// Plans the rows of a share. The users of the context are those of the share alone, in the
    /// order in which they are in the whole; its popularity is that of the whole.
    ///
    /// # Errors
    ///
    /// Those of [`Corpus::new`], and [`Error::Recipe`] for a budget of tokens, which is of all rows
    /// together.
    pub fn of_share(
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
        Self::planned(context, templates, plans, share, options)
    }

    /// Samples of the share in all epochs: what [`Corpus::share_rows`] goes through.
    pub fn share_len(&self) -> u64 {
        self.share_epoch_len() * u64::from(self.options.epochs)
    }

    fn share_epoch_len(&self) -> u64 {
        self.lots.iter().map(|lot| lot.samples.len()).sum()
    }

    /// Makes the rows of some of the share's samples, and gives each with its place to `take`. They
    /// come in no order of places, and some samples have none.
    ///
    /// # Errors
    ///
    /// Those of [`Corpus::rows`].
    pub fn share_rows(
        &self,
        samples: Range<u64>,
        scratch: &mut Scratch,
        mut take: impl FnMut(u64, &Row<'_>) -> Result<()>,
    ) -> Result<Counts> {
        let mut tally = Tally::new(self, scratch);
        for sample in samples {
            let epoch = (sample / self.share_epoch_len()) as u32;
            let (lot, number) = self.share_sample(sample % self.share_epoch_len());
            for row in self.lots[lot].rows_of(number) {
                let place = self.place(epoch, lot, row);
                let take = &mut |row: &Row<'_>| take(place, row);
                let made = self.row((epoch, lot, row), self.told(place), scratch, take)?;
                tally.count(lot, made);
            }
        }
        Ok(tally.counts(self, scratch))
    }

    /// The lot of one of the share's samples, and its number there.
    fn share_sample(&self, mut sample: u64) -> (usize, u64) {
        for (at, lot) in self.lots.iter().enumerate() {
            if sample < lot.samples.len() {
                return (at, lot.first + sample);
            }
            sample -= lot.samples.len();
        }
        unreachable!("fewer than the samples of all lots")
    }

    /// Where a row of a lot stands: what [`Corpus::rows`] makes it of.
    fn place(&self, epoch: u32, lot: usize, row: u64) -> u64 {
        let place_in = |group: &super::Group| {
            let &(first, _) = group.lots.iter().find(|(_, of)| *of == lot)?;
            let at = first + row;
            let order = group.order.as_ref();
            Some(group.first + order.map_or(at, |order| order.place_of(at)))
        };
        let place = self.groups.iter().find_map(place_in);
        u64::from(epoch) * self.epoch_len() + place.expect("every lot is of a stage")
    }
}
