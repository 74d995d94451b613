//! The beam search of [`ResidualQuantizer`].

use pulp::{Simd, WithSimd};
use semantic_id::Code;

use crate::ResidualQuantizer;

/// Costs that are looked at together; the compiler makes vectors of them.
const LANES: usize = 16;

/// A partial path.
#[derive(Debug, Clone, Copy)]
struct Beam {
    /// Squared distance less `|x|^2`.
    cost: f32,
    /// Place among the beams of the level before.
    parent: u32,
    code: u16,
}

/// Working memory of one search, kept from item to item.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Surviving beams of each level, nearest first.
    levels: Vec<Vec<Beam>>,
    /// Costs of the children of all beams of one level, in order of (beam, code).
    costs: Vec<f32>,
    /// Least costs of interleaved groups of children.
    least: Vec<f32>,
}

impl Search {
    /// Finds the `width` nearest paths of an item from its `|c|^2 - 2 x.c` with all centroids.
    pub(crate) fn run(&mut self, quantizer: &ResidualQuantizer, products: &[f32], width: usize) {
        pulp::Arch::new().dispatch(Run {
            search: self,
            quantizer,
            products,
            width: width.max(1),
        });
    }

    /// Paths found.
    pub(crate) fn len(&self) -> usize {
        self.levels.last().map_or(0, Vec::len)
    }

    /// The path of a place among those found, nearest first.
    pub(crate) fn path(&self, place: usize, path: &mut [Code]) {
        let codes = codes(&self.levels, place);
        path.iter_mut()
            .rev()
            .zip(codes)
            .for_each(|(slot, code)| *slot = code);
    }

    /// The costs of all children of the last level's beams: child `c` of a beam costs the beam's
    /// cost, its own `|c|^2 - 2 x.c`, and twice its products with the centroids on the path.
    #[inline(always)]
    fn offer(&mut self, quantizer: &ResidualQuantizer, products: &[f32]) {
        let level = self.levels.len();
        let own = &products[quantizer.columns(level)];
        self.costs.clear();
        let Some(parents) = self.levels.last() else {
            self.costs.extend_from_slice(own);
            return;
        };
        for (place, parent) in parents.iter().enumerate() {
            let path = (0..level).rev().zip(codes(&self.levels, place));
            let mut rows = path.map(|(before, code)| quantizer.cross(before, code, level));
            let first = rows.next().expect("a parent has a code");
            let start = self.costs.len();
            let costs = own.iter().zip(first);
            self.costs
                .extend(costs.map(|(own, row)| own + parent.cost + row));
            rows.for_each(|row| add(&mut self.costs[start..], row));
        }
    }

    /// A cost that at least `width` children do not exceed, and few more do not: the `width`-th
    /// of the least costs of interleaved groups of children, two groups a beam or more.
    #[inline(always)]
    fn limit(&mut self, width: usize) -> f32 {
        let groups = (2 * width).next_multiple_of(2 * LANES);
        self.least.clear();
        for first in (0..groups).step_by(2 * LANES) {
            let mut least = [f32::INFINITY; 2 * LANES];
            for costs in self.costs.chunks_exact(groups) {
                for (least, &cost) in least.iter_mut().zip(&costs[first..][..2 * LANES]) {
                    *least = if cost < *least { cost } else { *least };
                }
            }
            self.least.extend_from_slice(&least);
        }
        let (_, limit, _) = (self.least).select_nth_unstable_by(width - 1, f32::total_cmp);
        *limit
    }

    /// Keeps the `width` nearest of the children that were offered. Ties go to the first.
    #[inline(always)]
    fn keep(&mut self, children: usize, width: usize) {
        let limit = self.limit(width);
        let mut nearest = Vec::with_capacity(width.min(self.costs.len()));
        for (parent, costs) in self.costs.chunks(children).enumerate() {
            for (block, costs) in costs.chunks(LANES).enumerate() {
                // Most blocks hold nothing near enough.
                if !costs.iter().fold(false, |any, &cost| any | (cost <= limit)) {
                    continue;
                }
                let codes = (block * LANES) as u16..;
                for (code, &cost) in codes.zip(costs).filter(|(_, cost)| **cost <= limit) {
                    let parent = parent as u32;
                    insert(&mut nearest, Beam { cost, parent, code }, width);
                }
            }
        }
        if nearest.is_empty() {
            // All costs overflowed: none is nearer than another, and the first stands for all.
            nearest.push(Beam {
                cost: f32::INFINITY,
                parent: 0,
                code: 0,
            });
        }
        self.levels.push(nearest);
    }
}

/// The codes of a beam of the last level, from there up to the first.
#[inline(always)]
fn codes(levels: &[Vec<Beam>], beam: usize) -> impl Iterator<Item = Code> {
    let mut beam = beam;
    levels.iter().rev().map(move |level| {
        let here = level[beam];
        beam = here.parent as usize;
        Code(here.code)
    })
}

#[inline(always)]
fn add(sums: &mut [f32], values: &[f32]) {
    sums.iter_mut()
        .zip(values)
        .for_each(|(sum, value)| *sum += value);
}

/// Inserts behind what costs as much. The few beams are moved faster than a heap compares them.
#[inline(always)]
fn insert(nearest: &mut Vec<Beam>, beam: Beam, width: usize) {
    if nearest.len() == width {
        if nearest[width - 1].cost <= beam.cost {
            return;
        }
        nearest.pop();
    }
    let place = nearest.iter().rposition(|kept| kept.cost <= beam.cost);
    nearest.insert(place.map_or(0, |place| place + 1), beam);
}

/// The search as a call for [`pulp::Arch::dispatch`], compiled for each instruction set.
struct Run<'a> {
    search: &'a mut Search,
    quantizer: &'a ResidualQuantizer,
    products: &'a [f32],
    width: usize,
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        self.search.levels.clear();
        for level in 0..self.quantizer.space().levels() {
            self.search.offer(self.quantizer, self.products);
            let children = self.quantizer.columns(level).len();
            self.search.keep(children, self.width);
        }
    }
}
