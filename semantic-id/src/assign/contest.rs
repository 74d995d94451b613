use indexmap::IndexSet;
use rayon::prelude::*;

use super::closed::{Closed, Slots};
use super::flow::{Edge, Fare, Plan, Row, Transport};
use super::optimal::{OptimalAssigner, Prefix};
use super::options::{Elsewhere, FIRST_OPTIONS, Inquiry, Options, Scratch, WORTHWHILE};
use crate::{Code, CodeMatrix, Draft, ItemId, Result};

/// Rows whose options are asked for at a time, which bounds the memory for answers.
const BATCH: usize = 4096;
/// Up to so many options, the items of a prefix that wait for a place get as many at once as
/// they are.
const AT_ONCE: usize = 1024;

/// Items that compete for paths: one transportation problem, and the options listed so far.
///
/// Where moves are counted, only the natives of paths take part that have no room for all of
/// them. In an assignment with the fewest moves, as many as there is room for keep the path, or
/// one move too many was made; and no foreign item enters a path that is full of natives, as it
/// would drive one out. So all other items stay, and those natives choose among their path and
/// the paths with room. None of this changes if moves are weighed: see [`Draft::weighted`].
///
/// Options are listed lazily, nearest first. A list is long enough once the dual of its item
/// does not exceed what the next option would cost (the pricing step of column generation),
/// so the result is optimal over all last-level codes of a prefix though few were listed.
pub(super) struct Contest<'a> {
    rules: &'a OptimalAssigner,
    draft: &'a Draft<'a>,
    /// By prefix: the slots that natives hold whatever happens, and those that are closed.
    residents: Vec<Slots>,
    /// What the rows stand for.
    classes: Vec<Class>,
    rows: Vec<Row>,
    /// The paths that the columns stand for.
    columns: IndexSet<Box<[Code]>>,
    capacities: Vec<u32>,
    elsewhere: Option<Elsewhere<'a>>,
    /// Natives beyond the room of their path.
    excess: usize,
}

/// Identical items of one path, by key.
struct Class {
    items: Vec<ItemId>,
    prefix: usize,
    /// Options asked for so far, of each kind.
    listed: usize,
}

/// The outcome of a contest.
pub(super) struct Settled {
    /// Items that leave their native path.
    moves: Vec<(ItemId, Box<[Code]>)>,
    /// What the moves add to the total squared distance.
    pub(super) added_distance: f64,
    /// What the total is too high by at most.
    pub(super) slack: f64,
    /// The longest list of candidates.
    pub(super) candidates: usize,
    /// Items that could not stay, whatever the others did.
    pub(super) excess: usize,
}

impl Settled {
    pub(super) fn write(&self, paths: &mut CodeMatrix) {
        for (item, path) in &self.moves {
            paths.row_mut(*item).copy_from_slice(path);
        }
    }
}

impl<'a> Contest<'a> {
    pub(super) fn new(
        rules: &'a OptimalAssigner,
        draft: &'a Draft<'a>,
        prefixes: &[Prefix<'a>],
        closed: &Closed<'_>,
        elsewhere: Option<Elsewhere<'a>>,
    ) -> Self {
        let mut contest = Self {
            rules,
            draft,
            residents: Vec::new(),
            classes: Vec::new(),
            rows: Vec::new(),
            columns: IndexSet::new(),
            capacities: Vec::new(),
            elsewhere,
            excess: 0,
        };
        let paths = draft.paths();
        for prefix in prefixes {
            let (_, codes) = paths
                .row(prefix[0])
                .split_last()
                .expect("a path has a code");
            let closed = closed.below(codes);
            let mut residents = Vec::new();
            for natives in prefix.chunk_by(|&a, &b| paths.row(a) == paths.row(b)) {
                let path = paths.row(natives[0]);
                let code = path[path.len() - 1];
                let room = room(rules.capacity.get(), &closed, code);
                contest.excess += natives.len().saturating_sub(room as usize);
                if natives.len() > room as usize || !rules.counts_moves() {
                    contest.enter(natives, room);
                }
                if rules.counts_moves() {
                    residents.push((code, natives.len() as u32));
                }
            }
            residents.extend(closed);
            contest.residents.push(residents);
        }
        contest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Adds the natives of one path, a row for each class of identical ones.
    fn enter(&mut self, natives: &[ItemId], room: u32) {
        let native = self.draft.paths().row(natives[0]);
        let column = self.column(native.into(), room);
        let first = self.classes.len();
        for &item in natives {
            // Twins are mostly neighbours, and a missed one costs time only: a look at the
            // latest few classes is enough.
            let mut latest = self.classes[first..].iter_mut().rev().take(8);
            match latest.find(|class| identical(self.draft, class.items[0], item)) {
                Some(class) => class.items.push(item),
                None => self.classes.push(Class {
                    items: vec![item],
                    prefix: self.residents.len(),
                    listed: 0,
                }),
            }
        }
        for class in &self.classes[first..] {
            let fare = Fare {
                moves: 0,
                distance: self.draft.costs()[class.items[0].index()],
            };
            self.rows.push(Row {
                supply: class.items.len() as u32,
                edges: vec![Edge { column, fare }],
                beyond: None,
            });
        }
    }

    /// The column of a path, which has room for so many items when it is first seen.
    fn column(&mut self, path: Box<[Code]>, room: u32) -> u32 {
        let (column, new) = self.columns.insert_full(path);
        if new {
            self.capacities.push(room);
        }
        column as u32
    }

    /// Finds the best places, with as many options as that takes.
    pub(super) fn settle(mut self) -> Result<Settled> {
        let all: Vec<usize> = (0..self.rows.len()).collect();
        let first = self.elsewhere.as_ref().map_or(FIRST_OPTIONS, |e| e.first);
        self.list(&all, |_| first)?;
        let mut unfinished = None;
        loop {
            let problem = Transport::new(&self.rows, &self.capacities);
            let plan = problem.solve(unfinished.take());
            let unplaced = plan.unplaced();
            if unplaced.is_empty() {
                let unproven = problem.unproven(&plan);
                if unproven.is_empty() {
                    return Ok(self.settled(&problem, &plan));
                }
                // In larger steps, as each costs a solution from the start.
                self.list(&unproven, |class| {
                    (4 * class.listed).min(WORTHWHILE.max(2 * class.listed))
                })?;
            } else {
                unfinished = Some(plan);
                let waiting = self.count_by_prefix(&unplaced);
                // Like items list like paths: fewer than they are cannot do for all.
                self.list(&unplaced, |class| {
                    (2 * class.listed).max(waiting[class.prefix].min(AT_ONCE))
                })?;
            }
        }
    }

    /// How many of the rows each prefix has.
    fn count_by_prefix(&self, rows: &[usize]) -> Vec<usize> {
        let mut counts = vec![0; self.residents.len()];
        for &row in rows {
            counts[self.classes[row].prefix] += 1;
        }
        counts
    }

    /// Lists more options for some rows, as many as `wanted` says.
    fn list(&mut self, rows: &[usize], wanted: impl Fn(&Class) -> usize) -> Result<()> {
        let space = self.draft.space();
        let own = space.size(space.levels() - 1);
        let most = self
            .elsewhere
            .as_ref()
            .map_or(own, |elsewhere| elsewhere.enough.max(own));
        for batch in rows.chunks(BATCH) {
            for &row in batch {
                let class = &mut self.classes[row];
                assert!(class.listed < most, "whoever knows all options has room");
                class.listed = wanted(class).min(most);
            }
            let options: Vec<Options> = batch
                .par_iter()
                .map_init(Scratch::default, |scratch, &row| {
                    self.options(&self.classes[row], scratch)
                })
                .collect::<Result<_>>()?;
            for (&row, options) in batch.iter().zip(options) {
                self.set_options(row, options);
            }
        }
        Ok(())
    }

    /// Replaces all edges of a row but the first, which leads to the native path.
    fn set_options(&mut self, row: usize, options: Options) {
        let moves = match self.rules.counts_moves() {
            true => self.draft.weight(self.classes[row].items[0]),
            false => 0,
        };
        let fare = |distance| Fare { moves, distance };
        let mut edges = vec![self.rows[row].edges[0]];
        for choice in options.paths {
            edges.push(Edge {
                column: self.column(choice.path, choice.room),
                fare: fare(choice.distance),
            });
        }
        edges[1..].sort_by(|a, b| a.fare.distance.total_cmp(&b.fare.distance));
        self.rows[row].edges = edges;
        self.rows[row].beyond = options.beyond.map(fare);
    }

    fn options(&self, class: &Class, scratch: &mut Scratch) -> Result<Options> {
        let inquiry = Inquiry {
            draft: self.draft,
            item: class.items[0],
            count: class.listed,
            capacity: self.rules.capacity.get(),
        };
        let mut options = inquiry.at_home(&self.residents[class.prefix], scratch)?;
        if let Some(elsewhere) = &self.elsewhere {
            inquiry.elsewhere(elsewhere, &mut options)?;
        }
        Ok(options)
    }

    fn settled(&self, problem: &Transport, plan: &Plan) -> Settled {
        let mut settled = Settled {
            moves: Vec::new(),
            added_distance: 0.0,
            slack: problem.slack(plan),
            candidates: 0,
            excess: self.excess,
        };
        for (row, (class, content)) in self.classes.iter().zip(&self.rows).enumerate() {
            let mut choices = plan.choices(row).to_vec();
            // In order of the edges: the first keys stay, if any do, the next go nearest.
            choices.sort_unstable();
            let native = content.edges[0];
            for (&item, choice) in class.items.iter().zip(choices) {
                let edge = content.edges[choice as usize];
                if edge.column != native.column {
                    let path = &self.columns[edge.column as usize];
                    settled.moves.push((item, path.clone()));
                    settled.added_distance +=
                        f64::from(edge.fare.distance) - f64::from(native.fare.distance);
                }
            }
            if self.elsewhere.is_some() {
                settled.candidates = settled.candidates.max(class.listed);
            }
        }
        settled
    }
}

/// How many items a path has room for, given the closed slots of its prefix.
fn room(capacity: u32, closed: &[(Code, u32)], last: Code) -> u32 {
    let closed = closed.iter().filter(|(code, _)| *code == last);
    closed.fold(capacity, |room, (_, slots)| room.saturating_sub(*slots))
}

/// Whether two items of one path are the same point, and count the same.
fn identical(draft: &Draft, a: ItemId, b: ItemId) -> bool {
    let costs = draft.costs();
    costs[a.index()] == costs[b.index()]
        && draft.weight(a) == draft.weight(b)
        && draft.distances().identical(a, b)
}
