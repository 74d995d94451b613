//! The beam search of [`ResidualQuantizer`].

use pulp::{Simd, WithSimd};
use semantic_id::Code;

use crate::ResidualQuantizer;

/// Costs that are looked at together; the compiler makes vectors of them.
const LANES: usize = 16;

/// A partial path.
#[derive(Debug, Clone, Copy, Default)]
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
    /// How many there are; `costs` only grows.
    offered: usize,
    /// Least costs of interleaved groups of children.
    least: Vec<f32>,
    /// Children within a limit, as numbers in order of cost and then of place.
    near: Vec<u64>,
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
        let root = [Beam::default()];
        let parents = self.levels.last().map_or(&root[..], Vec::as_slice);
        self.offered = parents.len() * own.len();
        if self.costs.len() < self.offered {
            self.costs.resize(self.offered, 0.0);
        }
        let families = self.costs.chunks_exact_mut(own.len()).zip(parents);
        for (place, (costs, parent)) in families.enumerate() {
            let path = (0..level).rev().zip(codes(&self.levels, place));
            let mut rows = path.map(|(before, code)| quantizer.cross(before, code, level));
            match rows.next() {
                None => costs.copy_from_slice(own),
                Some(row) => {
                    for ((cost, own), row) in costs.iter_mut().zip(own).zip(row) {
                        *cost = own + parent.cost + row;
                    }
                }
            }
            for row in rows {
                for (cost, row) in costs.iter_mut().zip(row) {
                    *cost += row;
                }
            }
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
            for costs in self.costs[..self.offered].chunks_exact(groups) {
                for (least, &cost) in least.iter_mut().zip(&costs[first..][..2 * LANES]) {
                    *least = if cost < *least { cost } else { *least };
                }
            }
            self.least.extend_from_slice(&least);
        }
        if width > LANES {
            return *(self.least.select_nth_unstable_by(width - 1, f32::total_cmp)).1;
        }
        // Taking the least a few times is faster than sorting: it has no branches.
        for _ in 1..width {
            let first = least(&self.least);
            for cost in &mut self.least {
                *cost = if *cost > first { *cost } else { f32::INFINITY };
            }
        }
        least(&self.least)
    }

    /// Keeps the `width` nearest of the children that were offered. Ties go to the first.
    #[inline(always)]
    fn keep(&mut self, children: usize, width: usize) {
        let limit = self.limit(width);
        // Written to without a branch: which child is near enough cannot be predicted.
        if self.near.len() <= self.offered {
            self.near.resize(self.offered + 1, 0);
        }
        let (near, mut found) = (&mut self.near[..], 0);
        for (block, costs) in self.costs[..self.offered].chunks(LANES).enumerate() {
            // Most blocks hold nothing near enough.
            if !costs.iter().fold(false, |any, &cost| any | (cost <= limit)) {
                continue;
            }
            for (at, &cost) in (block * LANES..).zip(costs) {
                near[found] = at as u64;
                found += usize::from(cost <= limit);
            }
        }
        let near = &mut near[..found];
        for place in &mut *near {
            *place |= u64::from(ascending(self.costs[*place as usize])) << 32;
        }
        near.sort_unstable();
        let beam = |&key: &u64| {
            let at = key as u32 as usize;
            Beam {
                cost: self.costs[at],
                parent: (at / children) as u32,
                code: (at % children) as u16,
            }
        };
        let mut nearest: Vec<Beam> = near.iter().take(width).map(beam).collect();
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

#[inline(always)]
fn least(costs: &[f32]) -> f32 {
    let mut lanes = [f32::INFINITY; LANES];
    for costs in costs.chunks_exact(LANES) {
        for (lane, &cost) in lanes.iter_mut().zip(costs) {
            *lane = if cost < *lane { cost } else { *lane };
        }
    }
    lanes.into_iter().fold(f32::INFINITY, f32::min)
}

/// A number that grows with `cost`.
#[inline(always)]
fn ascending(cost: f32) -> u32 {
    // -0 costs as much as 0.
    let bits = (cost + 0.0).to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
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
