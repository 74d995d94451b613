use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use semantic_id::ItemId;

use super::permutation::Permutation;
use super::view::View;
use super::{Context, TaskPlan};
use crate::generators::{At, Over, Task, TaskOptions};
use crate::{Part, Result, Split, Template, UserId};

/// One task of a corpus with its samples, its templates and the number of its rows.
#[derive(Debug)]
pub(super) struct Lot<'a> {
    pub(super) task: Task,
    pub(super) options: TaskOptions,
    pub(super) templates: Vec<&'a Template>,
    pub(super) part: Part,
    /// Rows of an epoch: fewer than samples are a random choice, more are passes over them.
    pub(super) rows: u64,
    pub(super) stage: u32,
    pub(super) samples: Samples,
    /// The number of the first of these samples among those of all shares.
    pub(super) first: u64,
    /// The samples of all shares.
    pub(super) all: u64,
    /// The order of the samples where not all of them have a row.
    pub(super) order: Option<Permutation>,
}

/// What a task makes its samples of, by number.
#[derive(Debug)]
pub(super) enum Samples {
    Items(Range<u32>),
    /// For each user the number of targets of all before, `[U + 1]`.
    Targets(Vec<u64>),
    Events(Vec<(UserId, u32)>),
}

impl Samples {
    /// Those of a plan's task; of items, only some.
    pub(super) fn of(plan: &TaskPlan, items: Range<u32>, context: &Context<'_>) -> Result<Self> {
        let (histories, split, part) = (context.histories, context.split, plan.part);
        Ok(match Task::named(&plan.task)?.over {
            Over::Items => Self::Items(items),
            Over::Targets => {
                let mut starts = vec![0];
                starts.extend(histories.users().scan(0, |sum, user| {
                    *sum += split.targets(user, part).len() as u64;
                    Some(*sum)
                }));
                Self::Targets(starts)
            }
            Over::Users => {
                let users = histories.users();
                let known = users.map(|user| (user, known_until(split, user, part)));
                Self::Events(known.filter(|&(_, end)| end > 0).collect())
            }
            Over::Texts(kind) => {
                let of_part = |user: UserId, ordinal: u32, target: Option<u32>| match target {
                    Some(_) if part == Part::Train => (ordinal as usize) < split.train_end(user),
                    Some(_) => split.targets(user, part).contains(&(ordinal as usize)),
                    None => ordinal <= known_until(split, user, part),
                };
                let texts = context.side.iter(kind);
                let events = texts.filter_map(|text| {
                    let ordinal = text.target.unwrap_or(text.made_at);
                    of_part(text.user, ordinal, text.target).then_some((text.user, ordinal))
                });
                Self::Events(events.collect())
            }
        })
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Self::Items(items) => items.len() as u64,
            Self::Targets(starts) => starts.last().copied().unwrap_or(0),
            Self::Events(events) => events.len() as u64,
        }
    }

    fn at(&self, number: u64, part: Part, split: &Split) -> At {
        match self {
            Self::Items(items) => At::Item(ItemId(items.start + number as u32)),
            Self::Targets(starts) => {
                let row = starts.partition_point(|&start| start <= number) - 1;
                let user = UserId(row as u32);
                let first = split.targets(user, part).start as u64;
                let ordinal = (first + number - starts[row]) as u32;
                At::Event {
                    user,
                    ordinal,
                    part,
                }
            }
            Self::Events(events) => {
                let (user, ordinal) = events[number as usize];
                At::Event {
                    user,
                    ordinal,
                    part,
                }
            }
        }
    }
}

/// The first ordinal of a user that a part may not know.
fn known_until(split: &Split, user: UserId, part: Part) -> u32 {
    let end = match part {
        Part::Train | Part::Valid => split.train_end(user),
        Part::Test => split.valid_end(user),
    };
    end as u32
}

impl<'a> Lot<'a> {
    /// The sample of a row of an epoch, its number, and which pass over all samples it is of.
    pub(super) fn sample(&self, epoch: u32, row: u64, split: &Split) -> (u64, u32, At) {
        let passes = self.rows.div_ceil(self.all);
        let pass = u64::from(epoch) * passes + row / self.all;
        let number = row % self.all;
        let number = self.order.as_ref().map_or(number, |order| order.at(number));
        let at = self.samples.at(number - self.first, self.part, split);
        (number, pass as u32, at)
    }

    /// The rows of a sample, in an epoch: one in each pass, but for the last, which not all have.
    pub(super) fn rows_of(&self, number: u64) -> impl Iterator<Item = u64> + use<> {
        let first = self.order.as_ref();
        let first = first.map_or(number, |order| order.place_of(number));
        (first..self.rows).step_by(self.all as usize)
    }

    /// What the chance of a sample is keyed by: its number among those of all passes.
    pub(super) fn key(&self, pass: u32, number: u64) -> u64 {
        u64::from(pass) * self.all + number
    }

    /// Draws a template by weight among those whose needs are met.
    pub(super) fn template(
        &self,
        view: &View<'_>,
        chance: &mut ChaCha8Rng,
    ) -> Option<&'a Template> {
        let met = |template: &Template| template.suits(view);
        // Most samples meet most needs: the first draw nearly always does.
        let first = draw(&self.templates, chance)?;
        if met(first) {
            return Some(first);
        }
        let others: Vec<_> = self.templates.iter().copied().filter(|t| met(t)).collect();
        draw(&others, chance)
    }
}

fn draw<'a>(templates: &[&'a Template], chance: &mut ChaCha8Rng) -> Option<&'a Template> {
    let total: f64 = templates.iter().map(|template| template.weight).sum();
    let mut left = chance.random::<f64>() * total;
    let chosen = templates.iter().find(|template| {
        left -= template.weight;
        left < 0.0
    });
    chosen.or(templates.last()).copied()
}
