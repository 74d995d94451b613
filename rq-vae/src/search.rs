//! The beam search of [`ResidualQuantizer`].

use pulp::{Simd, WithSimd, bytemuck};
use semantic_id::Code;

use crate::ResidualQuantizer;

/// A partial path.
#[derive(Debug, Clone, Copy)]
struct Beam {
    /// Squared distance less `|x|^2`.
    cost: f32,
    /// Place among the beams of the level before.
    parent: u32,
    code: u16,
}

/// A beam whose children are offered.
#[derive(Default)]
struct Parent<'a> {
    place: u32,
    cost: f32,
    /// Twice the products of each of its centroids with those of the children's level.
    rows: Vec<&'a [f32]>,
}

/// Working memory of one search, kept from item to item.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Surviving beams of each level, nearest first.
    levels: Vec<Vec<Beam>>,
}

impl Search {
    /// Finds the `width` nearest paths of an item from its `|c|^2 - 2 x.c` with all centroids.
    pub(crate) fn run(&mut self, quantizer: &ResidualQuantizer, products: &[f32], width: usize) {
        pulp::Arch::new().dispatch(Run {
            search: self,
            quantizer,
            products,
            width,
        });
    }

    #[inline(always)]
    fn run_inlined<S: Simd>(
        &mut self,
        simd: S,
        quantizer: &ResidualQuantizer,
        products: &[f32],
        width: usize,
    ) {
        self.levels.clear();
        let mut parent = Parent::default();
        for level in 0..quantizer.space().levels() {
            let own = &products[quantizer.columns(level)];
            let mut nearest = Nearest::new(width);
            for place in 0..self.levels.last().map_or(1, Vec::len) {
                parent.rows.clear();
                if let Some(parents) = self.levels.last() {
                    parent.place = place as u32;
                    parent.cost = parents[place].cost;
                    for (before, code) in (0..level).rev().zip(self.codes(level - 1, place)) {
                        parent.rows.push(quantizer.cross(before, code, level));
                    }
                }
                nearest.offer(simd, &parent, own);
            }
            self.levels.push(nearest.sorted());
        }
    }

    /// Paths found.
    pub(crate) fn len(&self) -> usize {
        self.levels.last().map_or(0, Vec::len)
    }

    /// The path of a place among those found, nearest first.
    pub(crate) fn path(&self, place: usize, path: &mut [Code]) {
        for (slot, code) in path
            .iter_mut()
            .rev()
            .zip(self.codes(self.levels.len() - 1, place))
        {
            *slot = code;
        }
    }

    /// The codes of a beam, from its own level up to the first.
    #[inline(always)]
    fn codes(&self, level: usize, beam: usize) -> impl Iterator<Item = Code> {
        let mut beam = beam;
        (0..=level).rev().map(move |level| {
            let here = self.levels[level][beam];
            beam = here.parent as usize;
            Code(here.code)
        })
    }
}

/// A call of [`Search::run_inlined`] for [`pulp::Arch::dispatch`].
struct Run<'a> {
    search: &'a mut Search,
    quantizer: &'a ResidualQuantizer,
    products: &'a [f32],
    width: usize,
}

impl WithSimd for Run<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.search
            .run_inlined(simd, self.quantizer, self.products, self.width);
    }
}

/// The `width` nearest children so far, nearest first.
struct Nearest {
    width: usize,
    kept: Vec<Beam>,
    /// A child that costs this much or more is not among the `width` nearest.
    limit: f32,
}

impl Nearest {
    fn new(width: usize) -> Self {
        Self {
            width: width.max(1),
            kept: Vec::new(),
            limit: f32::INFINITY,
        }
    }

    /// Offers all children of one parent: child `c` costs `own[c] + cost + sum of rows[..][c]`.
    ///
    /// Children come in the order of (parent, code), so an equal cost never displaces.
    #[inline(always)]
    fn offer<S: Simd>(&mut self, simd: S, parent: &Parent<'_>, own: &[f32]) {
        let (vectors, rest) = S::as_simd_f32s(own);
        for (at, &own) in vectors.iter().enumerate() {
            let mut costs = simd.add_f32s(own, simd.splat_f32s(parent.cost));
            for row in &parent.rows {
                costs = simd.add_f32s(costs, S::as_simd_f32s(row).0[at]);
            }
            // Most vectors hold nothing near enough.
            let near = simd.less_than_f32s(costs, simd.splat_f32s(self.limit));
            if simd.first_true_m32s(near) < S::F32_LANES {
                let costs: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&costs));
                for (lane, &cost) in costs.iter().enumerate() {
                    self.take(parent.place, at * S::F32_LANES + lane, cost);
                }
            }
        }
        for (at, own) in (own.len() - rest.len()..).zip(rest) {
            let cost = parent
                .rows
                .iter()
                .fold(own + parent.cost, |cost, row| cost + row[at]);
            self.take(parent.place, at, cost);
        }
    }

    #[inline(always)]
    fn take(&mut self, parent: u32, code: usize, cost: f32) {
        if cost < self.limit {
            self.push(Beam {
                cost,
                parent,
                code: code as u16,
            });
        }
    }

    /// Inserts behind what costs as much. A heap would do less for hundreds of beams, but the
    /// usual few are moved faster than compared.
    #[inline(always)]
    fn push(&mut self, beam: Beam) {
        if self.kept.len() == self.width {
            self.kept.pop();
        }
        let place = self.kept.iter().rposition(|kept| kept.cost <= beam.cost);
        self.kept.insert(place.map_or(0, |place| place + 1), beam);
        if self.kept.len() == self.width {
            self.limit = self.kept[self.width - 1].cost;
        }
    }

    fn sorted(mut self) -> Vec<Beam> {
        if self.kept.is_empty() {
            // All costs overflowed: none is nearer than another, and the first stands for all.
            self.kept.push(Beam {
                cost: f32::INFINITY,
                parent: 0,
                code: 0,
            });
        }
        self.kept
    }
}
