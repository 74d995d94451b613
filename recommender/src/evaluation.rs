use semantic_id::ItemId;
use semid_tasks::metrics::{List, Metric, Scores};
use semid_tasks::{Histories, Part, Split, UserId};

use crate::{Query, Ranker, Result};

/// Users, what they did, and what they did next: the question that systems are compared by.
///
/// All items of the catalogue are ranked (none are sampled, see Krichene and Rendle, KDD 2020).
/// The history of a user is all before the part: for the test, validation's events too.
#[derive(Debug)]
pub struct Evaluation<'a> {
    histories: &'a Histories,
    split: &'a Split,
    part: Part,
    users: Vec<UserId>,
    /// Of each user the rows of the items that came next, ascending and distinct.
    targets: Vec<Vec<u32>>,
    leave_out_seen: bool,
}

/// Users that are asked about at a time.
const BATCH: usize = 64;

impl<'a> Evaluation<'a> {
    /// All users who have something to predict in `part`. Where seen items are left out, those of
    /// a user's history are not recommended.
    pub fn new(
        histories: &'a Histories,
        split: &'a Split,
        part: Part,
        leave_out_seen: bool,
    ) -> Self {
        Self {
            users: Vec::new(),
            targets: Vec::new(),
            histories,
            split,
            part,
            leave_out_seen,
        }
        .of(histories.users())
    }

    /// The same for some `count` users, evenly spread, if there are more.
    #[must_use]
    pub fn sampled(self, count: usize) -> Self {
        let step = self.users.len().div_ceil(count.max(1)).max(1);
        let users: Vec<UserId> = self.users.iter().copied().step_by(step).collect();
        self.of(users)
    }

    fn of(mut self, users: impl IntoIterator<Item = UserId>) -> Self {
        let has_target = |&user: &UserId| !self.split.targets(user, self.part).is_empty();
        self.users = users.into_iter().filter(has_target).collect();
        let targets = self.users.iter().map(|&user| {
            let targets = &self.histories.items(user)[self.split.targets(user, self.part)];
            let mut rows: Vec<u32> = targets.iter().map(|item| item.0).collect();
            rows.sort_unstable();
            rows.dedup();
            rows
        });
        self.targets = targets.collect();
        self
    }

    /// The users, in order.
    pub fn users(&self) -> &[UserId] {
        &self.users
    }

    /// What a user did before the part.
    pub fn history(&self, user: UserId) -> &'a [ItemId] {
        let end = match self.part {
            Part::Test => self.split.valid_end(user),
            Part::Valid | Part::Train => self.split.train_end(user),
        };
        &self.histories.items(user)[..end]
    }

    /// A system's list for each user, of `count` items, telling `progress` after each batch how
    /// many users it was.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn lists(
        &self,
        ranker: &dyn Ranker,
        count: usize,
        mut progress: impl FnMut(usize),
    ) -> Result<Vec<List>> {
        let mut lists = Vec::with_capacity(self.users.len());
        for users in self.users.chunks(BATCH) {
            let query = |&user: &UserId| {
                let history = self.history(user);
                let without = if self.leave_out_seen { history } else { &[] };
                Query { history, without }
            };
            let queries: Vec<Query<'_>> = users.iter().map(query).collect();
            for items in ranker.rank(&queries, count)? {
                let rows: Vec<u32> = items.iter().map(|item| item.0).collect();
                lists.push(List::of_items(&rows));
            }
            progress(users.len());
        }
        Ok(lists)
    }

    /// Mean NDCG@`count` of a system's lists, by which trainings keep their best epoch; `None`
    /// without users.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn ndcg(&self, ranker: &dyn Ranker, count: usize) -> Result<Option<f64>> {
        let lists = self.lists(ranker, count, |_| ())?;
        let scores = Scores::of(vec![Metric::Ndcg(count)], &self.paired(&lists));
        Ok((scores.users() > 0).then(|| scores.means()[0]))
    }

    /// Each user's list beside the rows of the items that came next, as
    /// [`Scores`] takes them.
    pub fn paired<'l>(&'l self, lists: &'l [List]) -> Vec<(&'l List, &'l [u32])> {
        let targets = self.targets.iter().map(Vec::as_slice);
        lists.iter().zip(targets).collect()
    }
}
