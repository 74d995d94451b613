//! The one solver of all exact assignments: a sparse transportation problem.
//!
//! *Rows* are classes of identical items, each with a supply (its number of items); *columns*
//! are paths with room for a number of items. An edge joins a row to a column its items may
//! take. All items must be placed, at least total [`Cost`].
//!
//! Solved by successive shortest augmenting paths with dual prices: Jonker and Volgenant,
//! *A shortest augmenting path algorithm for dense and sparse linear assignment problems*,
//! Computing 38 (1987), with supplies and capacities as in Ahuja, Magnanti and Orlin,
//! *Network Flows* (1993), section 9.7. Item by item, Dijkstra's search walks from the item's
//! row along an edge to a column; if that is full, on to the rows of the items it holds,
//! which could leave it; and so on to the nearest column with room. Then every item on the
//! walk moves one step:
//!
//! ```text
//! before   new item ···> column 4 (full) ─── item x ···> column 7 (room)
//! after    new item ───  column 4                        column 7 ─── item x
//! ```
//!
//! The duals `u` (rows) and `v <= 0` (columns) keep `cost - u - v >= 0` on every edge and
//! `= 0` where an item lies, so no search meets a negative edge. They are also the proof: by
//! weak duality `sum(supply * u) + sum(capacity * v)` is at most the cost of *any* placement,
//! see [`Transport::bound`].
//!
//! A search touches only what is nearer than the nearest column with room, so a problem whose
//! items rarely compete takes about linear time; the worst case is `O(N E log E)` for `N`
//! items and `E` edges. A thousand identical items are one row, whose edges a search reads
//! once instead of a thousand times; and as the edges of a row are in order of fare and prices
//! are not positive, it reads them only as far as they can be nearer than the room it knows.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::cost::{Cost, Scale};

/// What one item pays for a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fare {
    /// What the move counts; 0 if it is none.
    pub(crate) moves: u32,
    pub(crate) distance: f32,
}

/// A column that the items of a row may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Edge {
    pub(crate) column: u32,
    pub(crate) fare: Fare,
}

/// Items with the same edges.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) supply: u32,
    /// After the first, in order of fare.
    pub(crate) edges: Vec<Edge>,
    /// What an edge not listed here costs at least; none if all are listed. While the row's
    /// dual stays within it, no unlisted edge can lower the total.
    pub(crate) beyond: Option<Fare>,
}

/// The problem.
#[derive(Debug)]
pub(crate) struct Transport<'a> {
    rows: &'a [Row],
    /// Items each column has room for.
    capacities: &'a [u32],
    scale: Scale,
}

/// A placement of items, and the column duals `v` that prove its cost.
#[derive(Debug)]
pub(crate) struct Plan {
    /// The chosen edge (its place in the row) of every item, row after row, or `NONE`.
    choices: Vec<u32>,
    /// First item of each row.
    starts: Vec<usize>,
    prices: Vec<Cost>,
    scale: Scale,
}

impl Plan {
    /// The edges chosen by the items of a row.
    pub(crate) fn choices(&self, row: usize) -> &[u32] {
        &self.choices[self.starts[row]..self.starts[row + 1]]
    }

    /// The rows with items that found no room.
    pub(crate) fn unplaced(&self) -> Vec<usize> {
        let rows = 0..self.starts.len() - 1;
        rows.filter(|&row| self.choices(row).contains(&NONE))
            .collect()
    }

    /// Whether no row has both items that are placed and items that are not.
    fn is_whole(&self) -> bool {
        let waits = |choice: &u32| *choice == NONE;
        let rows = 0..self.starts.len() - 1;
        rows.map(|row| self.choices(row))
            .all(|choices| choices.iter().all(waits) || !choices.iter().any(waits))
    }
}

impl<'a> Transport<'a> {
    pub(crate) fn new(rows: &'a [Row], capacities: &'a [u32]) -> Self {
        let edges = rows.iter().flat_map(|row| &row.edges);
        let max = edges.fold(0.0, |max, edge| edge.fare.distance.max(max));
        Self {
            rows,
            capacities,
            scale: Scale::up_to(max),
        }
    }

    fn price(&self, fare: Fare) -> Cost {
        Cost {
            moves: fare.moves.into(),
            distance: self.scale.to_units(fare.distance),
        }
    }

    /// The total cost of a plan.
    fn cost(&self, plan: &Plan) -> Cost {
        let mut total = Cost::ZERO;
        for (row, content) in self.rows.iter().enumerate() {
            for &edge in plan.choices(row) {
                total += self.price(content.edges[edge as usize].fare);
            }
        }
        total
    }

    /// A cost that no placement can beat, unlisted edges included.
    ///
    /// Reads the costs and the plan's prices only, and trusts neither its choices nor its
    /// search: whatever prices come in, they are cut to `v <= 0` and each row's dual is the
    /// largest that they allow, so the duals are feasible by construction.
    fn bound(&self, plan: &Plan) -> Cost {
        let mut total = Cost::ZERO;
        for row in self.rows {
            let dual = self.dual(row, &plan.prices);
            let beyond = row.beyond.map_or(dual, |fare| self.price(fare));
            total += dual.min(beyond) * row.supply;
        }
        for (&price, &capacity) in plan.prices.iter().zip(self.capacities) {
            total += price.min(Cost::ZERO) * capacity;
        }
        total
    }

    /// What a plan costs too much at most, as a squared distance; infinite if its moves might
    /// be too many.
    pub(crate) fn slack(&self, plan: &Plan) -> f64 {
        let slack = self.cost(plan) - self.bound(plan);
        match slack.moves {
            0 => self.scale.to_distance(slack.distance),
            _ => f64::INFINITY,
        }
    }

    /// The largest dual that the listed edges of a row allow.
    fn dual(&self, row: &Row, prices: &[Cost]) -> Cost {
        let reduced =
            |edge: &Edge| self.price(edge.fare) - prices[edge.column as usize].min(Cost::ZERO);
        row.edges.iter().map(reduced).min().unwrap_or(Cost::MAX)
    }

    /// The rows for which an edge not listed might be worth its cost.
    pub(crate) fn unproven(&self, plan: &Plan) -> Vec<usize> {
        let unproven = |row: &Row| {
            row.beyond
                .is_some_and(|fare| self.price(fare) < self.dual(row, &plan.prices))
        };
        (0..self.rows.len())
            .filter(|&row| unproven(&self.rows[row]))
            .collect()
    }

    /// An optimal plan; items that cannot be placed beside the others are left out. After their
    /// rows got more edges, give the plan back to go on from there: what is placed stays proven,
    /// as its rows and all prices are the same. (If it is not, the plan is begun anew.)
    ///
    /// Deterministic; among equal plans the order of rows, edges and columns decides.
    pub(crate) fn solve(&self, plan: Option<Plan>) -> Plan {
        let plan = plan.filter(|plan| plan.scale == self.scale && plan.is_whole());
        let mut search = Search::new(self, plan);
        for row in 0..self.rows.len() {
            for item in search.starts[row]..search.starts[row + 1] {
                if search.choices[item] == NONE && !search.place(item as u32) {
                    break;
                }
            }
        }
        search.finish()
    }
}

/// No item, no edge.
const NONE: u32 = u32::MAX;

/// The state of [`Transport::solve`].
struct Search<'a> {
    problem: &'a Transport<'a>,
    row_of: Vec<u32>,
    starts: Vec<usize>,
    /// `u`, by row.
    duals: Vec<Cost>,
    /// `v`, by column.
    prices: Vec<Cost>,
    /// By item: the chosen edge, or `NONE`.
    choices: Vec<u32>,
    /// The items of a column as a linked list: its first item, and by item the next.
    first: Vec<u32>,
    next: Vec<u32>,
    load: Vec<u32>,
    /// Columns from which no room can be reached.
    closed: Vec<bool>,

    // One Dijkstra search: distances (`Cost::MAX` if not reached) and how they were reached.
    column_distance: Vec<Cost>,
    /// By column: the item that would come, and its edge.
    arrival: Vec<(u32, u32)>,
    reached_columns: Vec<u32>,
    row_distance: Vec<Cost>,
    reached_rows: Vec<u32>,
    queue: BinaryHeap<Reverse<(Cost, u32)>>,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Transport<'a>, plan: Option<Plan>) -> Self {
        let (rows, columns) = (problem.rows, problem.capacities.len());
        let mut row_of = Vec::new();
        let mut starts = vec![0];
        for (row, content) in rows.iter().enumerate() {
            row_of.resize(row_of.len() + content.supply as usize, row as u32);
            starts.push(row_of.len());
        }
        let (choices, mut prices) = match plan {
            Some(plan) => (plan.choices, plan.prices),
            None => (vec![NONE; row_of.len()], Vec::new()),
        };
        prices.resize(columns, Cost::ZERO);
        let mut search = Self {
            duals: rows.iter().map(|row| problem.dual(row, &prices)).collect(),
            prices,
            choices,
            first: vec![NONE; columns],
            next: vec![NONE; row_of.len()],
            load: vec![0; columns],
            closed: vec![false; columns],
            column_distance: vec![Cost::MAX; columns],
            arrival: vec![(NONE, NONE); columns],
            reached_columns: Vec::new(),
            row_distance: vec![Cost::MAX; rows.len()],
            reached_rows: Vec::new(),
            queue: BinaryHeap::new(),
            problem,
            row_of,
            starts,
        };
        for item in 0..search.choices.len() as u32 {
            if let Some(column) = search.column_of(item) {
                search.load[column as usize] += 1;
                search.enter(item, column);
            }
        }
        search
    }

    fn finish(self) -> Plan {
        Plan {
            choices: self.choices,
            starts: self.starts,
            prices: self.prices,
            scale: self.problem.scale,
        }
    }

    /// Places one more item; false if no room can be reached.
    fn place(&mut self, item: u32) -> bool {
        let room = self.nearest_room(item);
        match room {
            Some((distance, column)) => {
                self.update_duals(distance);
                self.shift(column);
            }
            None => {
                for &column in &self.reached_columns {
                    self.closed[column as usize] = true;
                }
            }
        }
        self.forget();
        room.is_some()
    }

    /// Dijkstra from an item to the nearest column with room, on reduced costs.
    fn nearest_room(&mut self, item: u32) -> Option<(Cost, u32)> {
        let mut room = None;
        self.visit(item, Cost::ZERO, &mut room);
        while let Some(Reverse((distance, column))) = self.queue.pop() {
            if room.is_some_and(|(nearest, _)| nearest <= distance) {
                break;
            }
            if self.column_distance[column as usize] < distance {
                continue; // reached again, nearer, since it was queued
            }
            let mut holder = self.first[column as usize];
            while holder != NONE {
                if self.row_distance[self.row_of[holder as usize] as usize] == Cost::MAX {
                    self.visit(holder, distance, &mut room);
                }
                holder = self.next[holder as usize];
            }
        }
        room
    }

    /// Reads the edges of an item that could move at `distance`.
    fn visit(&mut self, item: u32, distance: Cost, room: &mut Option<(Cost, u32)>) {
        let row = self.row_of[item as usize] as usize;
        self.row_distance[row] = distance;
        self.reached_rows.push(row as u32);
        let base = distance - self.duals[row];
        let problem = self.problem;
        for (at, edge) in problem.rows[row].edges.iter().enumerate() {
            let column = edge.column as usize;
            let beaten = |reach| room.is_some_and(|(nearest, _)| nearest <= reach);
            // Prices are not positive: this edge and all after it lead too far.
            let least = base + problem.price(edge.fare);
            if at > 0 && beaten(least) {
                break;
            }
            let reach = least - self.prices[column];
            if self.closed[column] || beaten(reach) || self.column_distance[column] <= reach {
                continue;
            }
            if self.column_distance[column] == Cost::MAX {
                self.reached_columns.push(edge.column);
            }
            self.column_distance[column] = reach;
            self.arrival[column] = (item, at as u32);
            if self.load[column] < self.problem.capacities[column] {
                *room = Some((reach, edge.column));
            } else {
                self.queue.push(Reverse((reach, edge.column)));
            }
        }
    }

    /// Shifts the duals so that the walk to the room, at `distance`, costs nothing.
    fn update_duals(&mut self, distance: Cost) {
        for &row in &self.reached_rows {
            self.duals[row as usize] += distance - self.row_distance[row as usize];
        }
        for &column in &self.reached_columns {
            let reached = self.column_distance[column as usize];
            if reached < distance {
                self.prices[column as usize] -= distance - reached;
            }
        }
    }

    /// Moves every item on the walk to the column with room one step on.
    fn shift(&mut self, room: u32) {
        self.load[room as usize] += 1;
        let mut column = room;
        loop {
            let (item, edge) = self.arrival[column as usize];
            let left = self.leave(item);
            self.choices[item as usize] = edge;
            self.enter(item, column);
            match left {
                Some(left) => column = left,
                None => return,
            }
        }
    }

    /// The column an item lies in, if it lies in one.
    fn column_of(&self, item: u32) -> Option<u32> {
        let row = self.row_of[item as usize] as usize;
        let edges = &self.problem.rows[row].edges;
        let edge = edges.get(self.choices[item as usize] as usize)?;
        Some(edge.column)
    }

    fn enter(&mut self, item: u32, column: u32) {
        self.next[item as usize] = self.first[column as usize];
        self.first[column as usize] = item;
    }

    /// Takes an item out of the column it lies in, if it lies in one.
    fn leave(&mut self, item: u32) -> Option<u32> {
        let column = self.column_of(item)?;
        let after = self.next[item as usize];
        if self.first[column as usize] == item {
            self.first[column as usize] = after;
        } else {
            let mut before = self.first[column as usize];
            while self.next[before as usize] != item {
                before = self.next[before as usize];
            }
            self.next[before as usize] = after;
        }
        Some(column)
    }

    fn forget(&mut self) {
        for row in self.reached_rows.drain(..) {
            self.row_distance[row as usize] = Cost::MAX;
        }
        for column in self.reached_columns.drain(..) {
            self.column_distance[column as usize] = Cost::MAX;
        }
        self.queue.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(supply: u32, edges: &[(u32, bool, f32)]) -> Row {
        let edge = |&(column, moves, distance): &(u32, bool, f32)| Edge {
            column,
            fare: Fare {
                moves: moves.into(),
                distance,
            },
        };
        let mut edges: Vec<Edge> = edges.iter().map(edge).collect();
        edges[1..].sort_by(|a, b| {
            let by_distance = a.fare.distance.total_cmp(&b.fare.distance);
            a.fare.moves.cmp(&b.fare.moves).then(by_distance)
        });
        Row {
            supply,
            edges,
            beyond: None,
        }
    }

    #[test]
    fn the_walk_to_room_moves_items_on_the_way() {
        // Both rows would rather have column 0; row 0 has less to lose.
        let rows = [
            row(1, &[(0, false, 1.0), (1, false, 2.0)]),
            row(1, &[(0, false, 1.0), (1, false, 8.0)]),
        ];
        let problem = Transport::new(&rows, &[1, 1]);
        let plan = problem.solve(None);
        assert_eq!((plan.choices(0), plan.choices(1)), (&[1][..], &[0][..]));
        assert_eq!(problem.slack(&plan), 0.0);
    }

    #[test]
    fn moves_come_before_distance() {
        let rows = [row(1, &[(0, false, 9.0), (1, true, 0.0)])];
        let plan = Transport::new(&rows, &[1, 1]).solve(None);
        assert_eq!(plan.choices(0), [0]);
    }

    #[test]
    fn rows_without_room_are_named_and_go_on_with_more_edges() {
        let mut rows = [
            row(2, &[(0, false, 1.0), (2, false, 1.0)]),
            row(2, &[(1, false, 1.0)]),
            row(1, &[(1, false, 1.0)]),
        ];
        let plan = Transport::new(&rows, &[1, 2, 1]).solve(None);
        assert_eq!(plan.unplaced(), [2]);
        assert_eq!(
            (plan.choices(0), plan.choices(1)),
            (&[0, 1][..], &[0, 0][..])
        );

        rows[2] = row(1, &[(1, false, 1.0), (2, false, 1.5), (3, false, 1.75)]);
        let problem = Transport::new(&rows, &[1, 2, 1, 1]);
        let plan = problem.solve(Some(plan));
        assert_eq!(plan.choices(2), [2]);
        assert_eq!(problem.slack(&plan), 0.0);
    }

    #[test]
    fn a_dear_choice_asks_for_unlisted_edges() {
        let mut rows = [row(2, &[(0, false, 1.0), (1, false, 5.0)])];
        let beyond = |distance| {
            let moves = 0;
            Some(Fare { moves, distance })
        };
        for (distance, unproven) in [(4.0, vec![0]), (5.0, vec![])] {
            rows[0].beyond = beyond(distance);
            let problem = Transport::new(&rows, &[1, 1]);
            let plan = problem.solve(None);
            assert_eq!(problem.unproven(&plan), unproven);
            assert_eq!(problem.slack(&plan) > 0.0, !unproven.is_empty());
        }
    }

    /// Up to five items in rows, each with edges to some of three columns.
    fn problems() -> impl Strategy<Value = (Vec<Row>, Vec<u32>)> {
        let edge = (0u32..3, any::<bool>(), (0u8..10).prop_map(f32::from));
        let edges = prop::collection::vec(edge, 1..5);
        let rows = prop::collection::vec((1u32..3, edges), 1..4);
        let rows = rows.prop_map(|rows| rows.iter().map(|(n, edges)| row(*n, edges)).collect());
        (rows, prop::collection::vec(1u32..3, 3))
    }

    /// The least cost by trying every edge for every item.
    fn least(problem: &Transport, items: &[usize], room: &mut [u32]) -> Option<Cost> {
        let Some((&row, rest)) = items.split_first() else {
            return Some(Cost::ZERO);
        };
        let mut least = None;
        for edge in &problem.rows[row].edges {
            let column = edge.column as usize;
            if room[column] > 0 {
                room[column] -= 1;
                let cost =
                    self::least(problem, rest, room).map(|cost| cost + problem.price(edge.fare));
                room[column] += 1;
                least = [least, cost].into_iter().flatten().min();
            }
        }
        least
    }

    proptest! {
        #[test]
        fn plans_cost_what_brute_force_costs(
            (rows, capacities) in problems(),
            prices in prop::collection::vec((-2i64..2, -(1i64 << 30)..1 << 30), 3),
        ) {
            let problem = Transport::new(&rows, &capacities);
            let supply = |row: usize| std::iter::repeat_n(row, rows[row].supply as usize);
            let items: Vec<usize> = (0..rows.len()).flat_map(supply).collect();
            let least = least(&problem, &items, &mut capacities.clone());
            let mut plan = problem.solve(None);
            prop_assert_eq!(plan.unplaced().is_empty(), least.is_some());
            if plan.unplaced().is_empty() {
                prop_assert_eq!(Some(problem.cost(&plan)), least);
                prop_assert_eq!(Some(problem.bound(&plan)), least);
                // No prices whatever prove more than is true.
                plan.prices = prices.iter().map(|&(moves, distance)| Cost { moves, distance }).collect();
                prop_assert!(Some(problem.bound(&plan)) <= least);
            }
        }
    }
}
