//! k-means in full passes: greedy k-means++ seeds, Lloyd iterations, optional balance.

use ndarray::{Array2, ArrayView2, Axis};
use pulp::{Simd, WithSimd};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::matmul::Packed;
use crate::quantizer::{Codebook, squared_norms};

/// Rows whose distances to all centroids are held at once by one thread.
const CHUNK: usize = 192;

/// Points of a [`Block`].
const BLOCK: usize = 1024;

/// Candidates among which a seed is chosen. Arthur and Vassilvitskii (2007) advise
/// `2 + ln K`, 7.5 for 256 codes.
const SEED_CANDIDATES: usize = 8;

/// How k-means is run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KMeans {
    /// Number of centroids `K`.
    pub(crate) codes: usize,
    /// Lloyd iterations at most; it ends earlier when no point changes its centroid.
    pub(crate) iterations: usize,
    /// 0: nearest centroid. 1: as nearly equal shares as prices reach.
    pub(crate) balance: f32,
}

/// A point's nearest centroid and its squared distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Nearest {
    pub(crate) code: u32,
    pub(crate) distance: f32,
}

impl KMeans {
    /// Clusters `points` `[N, d]`. `O(iterations N K d)`.
    ///
    /// With fewer distinct points than codes, some codes repeat a centroid; ties go to the
    /// lower code, so the repeats stay unused.
    pub(crate) fn fit(&self, points: ArrayView2<'_, f32>, rng: &mut impl Rng) -> Codebook {
        let norms = squared_norms(points);
        let mut centroids = seeds(points, &norms, self.codes, rng);
        let mut before = Vec::new();
        for _ in 0..self.iterations {
            let nearest = self.assign(points, &norms, centroids.view());
            let codes: Vec<u32> = nearest.iter().map(|n| n.code).collect();
            if codes == before {
                break;
            }
            move_centroids(points, &nearest, &mut centroids);
            before = codes;
        }
        Codebook(centroids)
    }

    fn assign(
        &self,
        points: ArrayView2<'_, f32>,
        norms: &[f32],
        centroids: ArrayView2<'_, f32>,
    ) -> Vec<Nearest> {
        let prices = vec![0.0; self.codes];
        let nearest = nearest(points, norms, centroids, &prices);
        if self.balance == 0.0 {
            return nearest;
        }
        let prices = balancing_prices(points, norms, centroids, nearest, self.balance);
        self::nearest(points, norms, centroids, &prices)
    }
}

/// The centroid with the least squared distance plus price for each point; ties go to the
/// lower code. The distance returned has no price in it.
pub(crate) fn nearest(
    points: ArrayView2<'_, f32>,
    norms: &[f32],
    centroids: ArrayView2<'_, f32>,
    prices: &[f32],
) -> Vec<Nearest> {
    let lengths = squared_norms(centroids);
    let offers: Vec<f32> = lengths
        .iter()
        .zip(prices)
        .map(|(c, price)| c + price)
        .collect();
    // Costs less the |x|^2 that all codes share.
    let costs_of = Packed::new((&centroids * -2.0).view()).starting_from(&offers);
    let scratch = || Array2::zeros((CHUNK, offers.len()));
    let mut nearest = vec![
        Nearest {
            code: 0,
            distance: 0.0
        };
        points.nrows()
    ];
    points
        .axis_chunks_iter(Axis(0), CHUNK)
        .into_par_iter()
        .zip(norms.par_chunks(CHUNK))
        .zip(nearest.par_chunks_mut(CHUNK))
        .for_each_init(scratch, |scratch, ((points, norms), nearest)| {
            let mut costs = scratch.slice_mut(ndarray::s![..points.nrows(), ..]);
            costs_of.product_here(points, costs.view_mut());
            for ((costs, norm), nearest) in costs.outer_iter().zip(norms).zip(nearest) {
                let costs = costs.to_slice().expect("row-major");
                let (code, cost) = pulp::Arch::new().dispatch(Least(costs));
                let distance = (norm + cost - prices[code]).max(0.0);
                *nearest = Nearest {
                    code: code as u32,
                    distance,
                };
            }
        });
    nearest
}

/// The place of the first of the least costs, and that cost.
struct Least<'a>(&'a [f32]);

impl WithSimd for Least<'_> {
    type Output = (usize, f32);

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> (usize, f32) {
        // Two passes over values in cache vectorise; one with an index does not.
        let mut lanes = [f32::INFINITY; 16];
        for costs in self.0.chunks(16) {
            for (lane, &cost) in lanes.iter_mut().zip(costs) {
                *lane = if cost < *lane { cost } else { *lane };
            }
        }
        let least = lanes.into_iter().fold(f32::INFINITY, f32::min);
        (
            self.0.iter().position(|&cost| cost <= least).unwrap_or(0),
            least,
        )
    }
}

/// Greedy k-means++: each seed is the best of a few drawn with probability proportional to
/// the squared distance to the seeds so far (Arthur and Vassilvitskii, 2007, section 7).
fn seeds(
    points: ArrayView2<'_, f32>,
    norms: &[f32],
    codes: usize,
    rng: &mut impl Rng,
) -> Array2<f32> {
    let mut blocks: Vec<Block> = points
        .axis_chunks_iter(Axis(0), BLOCK)
        .into_par_iter()
        .zip(norms.par_chunks(BLOCK))
        .map(|(points, norms)| Block::new(points, norms))
        .collect();
    let mut centroids = Array2::zeros((codes, points.ncols()));
    // All distances are infinite before the first seed, so that the first is drawn evenly.
    let mut candidates = vec![rng.random_range(0..points.nrows())];
    for mut centroid in centroids.outer_iter_mut() {
        let seeds = points.select(Axis(0), &candidates);
        let norms: Vec<f32> = candidates.iter().map(|&row| norms[row]).collect();
        blocks
            .par_iter_mut()
            .for_each(|block| block.offer(seeds.view(), &norms));
        let potential =
            |at: usize| -> f64 { blocks.iter().map(|block| block.potentials[at]).sum() };
        let best = (0..candidates.len())
            .min_by(|&a, &b| potential(a).total_cmp(&potential(b)))
            .expect("there are candidates");
        centroid.assign(&seeds.row(best));
        blocks.iter_mut().for_each(|block| block.accept(best));
        candidates = draw(&blocks, rng);
    }
    centroids
}

/// Points that one thread measures against the candidates for a seed.
struct Block {
    /// `|x|^2 - 2 x.s` of the points, as a product with a seed `s`.
    points: Packed,
    /// Squared distance of each point to the nearest seed so far, and their sum.
    distances: Vec<f32>,
    total: f64,
    /// By candidate: the same distances and sum if it became a seed.
    closer: Array2<f32>,
    potentials: Vec<f64>,
}

impl Block {
    fn new(points: ArrayView2<'_, f32>, norms: &[f32]) -> Self {
        Self {
            points: Packed::new((&points * -2.0).view()).starting_from(norms),
            distances: vec![f32::INFINITY; points.nrows()],
            total: f64::INFINITY,
            closer: Array2::zeros((SEED_CANDIDATES, points.nrows())),
            potentials: Vec::new(),
        }
    }

    fn offer(&mut self, seeds: ArrayView2<'_, f32>, norms: &[f32]) {
        let mut closer = self.closer.slice_mut(ndarray::s![..seeds.nrows(), ..]);
        self.points.product_here(seeds, closer.view_mut());
        self.potentials.clear();
        for (mut closer, &norm) in closer.outer_iter_mut().zip(norms) {
            let closer = closer.as_slice_mut().expect("row-major");
            for (to, &now) in closer.iter_mut().zip(&self.distances) {
                *to = (*to + norm).max(0.0).min(now);
            }
            self.potentials.push(sum(closer));
        }
    }

    fn accept(&mut self, candidate: usize) {
        let closer = self.closer.row(candidate);
        self.distances
            .copy_from_slice(closer.to_slice().expect("row-major"));
        self.total = self.potentials[candidate];
    }
}

/// The sum of non-negative numbers, in order.
fn sum(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value)).sum()
}

/// Points drawn with probability proportional to their distance; uniformly if all are zero.
fn draw(blocks: &[Block], rng: &mut impl Rng) -> Vec<usize> {
    let points = blocks.iter().map(|block| block.distances.len()).sum();
    let total: f64 = blocks.iter().map(|block| block.total).sum();
    let one = |_| match total > 0.0 {
        // Rounding may lead past the end.
        true => reach(blocks, rng.random::<f64>() * total).min(points - 1),
        false => rng.random_range(0..points),
    };
    (0..SEED_CANDIDATES).map(one).collect()
}

/// The point at which the running sum of the distances exceeds `sum`.
fn reach(blocks: &[Block], mut sum: f64) -> usize {
    let mut passed = 0;
    for block in blocks {
        if sum >= block.total {
            sum -= block.total;
            passed += block.distances.len();
            continue;
        }
        let exceeds = |&distance: &f32| {
            sum -= f64::from(distance);
            sum < 0.0
        };
        let within = block.distances.iter().position(exceeds);
        return passed + within.unwrap_or(block.distances.len());
    }
    passed
}

/// Moves each centroid to the mean of its points. A code without points takes the point
/// farthest from its centroid, so that no code stays dead while points differ.
fn move_centroids(points: ArrayView2<'_, f32>, nearest: &[Nearest], centroids: &mut Array2<f32>) {
    let members = members(nearest, centroids.nrows());
    centroids
        .axis_iter_mut(Axis(0))
        .into_par_iter()
        .zip(&members)
        .filter(|(_, members)| !members.is_empty())
        .for_each(|(mut centroid, members)| {
            // One thread a centroid, rows in order: the sum has one value on any machine.
            let mut sum = vec![0.0_f64; centroid.len()];
            for &row in members {
                let point = points.row(row as usize);
                sum.iter_mut()
                    .zip(point.to_slice().expect("row-major"))
                    .for_each(|(sum, &x)| *sum += f64::from(x));
            }
            let count = members.len() as f64;
            centroid
                .iter_mut()
                .zip(sum)
                .for_each(|(c, sum)| *c = (sum / count) as f32);
        });
    let dead: Vec<usize> = (0..members.len())
        .filter(|&code| members[code].is_empty())
        .collect();
    if dead.is_empty() {
        return;
    }
    let mut farthest: Vec<usize> = (0..nearest.len()).collect();
    farthest.sort_by(|&a, &b| {
        nearest[b]
            .distance
            .total_cmp(&nearest[a].distance)
            .then(a.cmp(&b))
    });
    for (code, row) in dead.into_iter().zip(farthest) {
        centroids.row_mut(code).assign(&points.row(row));
    }
}

/// The rows of each code, ascending.
fn members(nearest: &[Nearest], codes: usize) -> Vec<Vec<u32>> {
    let mut members = vec![Vec::new(); codes];
    for (row, nearest) in nearest.iter().enumerate() {
        members[nearest.code as usize].push(row as u32);
    }
    members
}

/// Prices that even out the shares of the codes: rounds of an auction in which codes above
/// their fair share grow dearer and codes below it cheaper, scaled by `balance`.
fn balancing_prices(
    points: ArrayView2<'_, f32>,
    norms: &[f32],
    centroids: ArrayView2<'_, f32>,
    mut assigned: Vec<Nearest>,
    balance: f32,
) -> Vec<f32> {
    const ROUNDS: usize = 10;
    let codes = centroids.nrows();
    let mean = assigned.iter().map(|n| f64::from(n.distance)).sum::<f64>() / points.nrows() as f64;
    let fair = points.nrows() as f32 / codes as f32;
    let mut prices = vec![0.0_f32; codes];
    for round in 0..ROUNDS {
        let step = mean as f32 * 0.5 / (1.0 + round as f32).sqrt();
        for (price, members) in prices.iter_mut().zip(members(&assigned, codes)) {
            let share = (members.len() as f32 + 1.0) / (fair + 1.0);
            *price += step * share.ln().clamp(-2.0, 2.0);
        }
        assigned = nearest(points, norms, centroids, &prices);
    }
    prices.iter_mut().for_each(|price| *price *= balance);
    prices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generator;

    const PLAIN: KMeans = KMeans {
        codes: 4,
        iterations: 25,
        balance: 0.0,
    };

    /// Four clumps around the corners of a square; the first is three times as large.
    fn clumps() -> Array2<f32> {
        let mut rng = generator(7, "clumps", 0);
        let corners = [[0.0, 0.0], [9.0, 0.0], [0.0, 9.0], [9.0, 9.0]];
        Array2::from_shape_fn((600, 2), |(row, column)| {
            let corner = corners[(row % 6).saturating_sub(2)];
            corner[column] + rng.random_range(-0.5..0.5)
        })
    }

    #[test]
    fn finds_the_clumps() {
        let book = PLAIN.fit(clumps().view(), &mut generator(1, "test", 0));
        let mut centres: Vec<_> = book
            .0
            .outer_iter()
            .map(|c| (c[0].round() as i32, c[1].round() as i32))
            .collect();
        centres.sort_unstable();
        assert_eq!(centres, [(0, 0), (0, 9), (9, 0), (9, 9)]);
    }

    #[test]
    fn nearest_agrees_with_plain_distances() {
        let points = clumps();
        let centroids = points.slice(ndarray::s![..37;5, ..]);
        let prices = vec![0.0; centroids.nrows()];
        let found = nearest(
            points.view(),
            &squared_norms(points.view()),
            centroids,
            &prices,
        );
        for (point, found) in points.outer_iter().zip(found) {
            let plain = |c: ndarray::ArrayView1<'_, f32>| (&point - &c).mapv(|x| x * x).sum();
            let least = centroids
                .outer_iter()
                .map(plain)
                .fold(f32::INFINITY, f32::min);
            let own = plain(centroids.row(found.code as usize));
            assert!(
                own <= least + 1e-4,
                "{own} is not the least distance {least}"
            );
            assert!((own - found.distance).abs() < 1e-4);
        }
    }

    #[test]
    fn fewer_points_than_codes_leave_codes_unused() {
        let points = ndarray::array![[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]];
        let book = PLAIN.fit(points.view(), &mut generator(1, "test", 0));
        assert_eq!(book.len(), 4);
        assert!(book.0.iter().all(|x| x.is_finite()));
    }

    #[test]
    fn balance_evens_out_the_shares() {
        let points = clumps();
        let largest = |balance| {
            let kmeans = KMeans {
                codes: 6,
                balance,
                ..PLAIN
            };
            let norms = squared_norms(points.view());
            let book = kmeans.fit(points.view(), &mut generator(1, "test", 0));
            let nearest = kmeans.assign(points.view(), &norms, book.0.view());
            members(&nearest, 6)
                .iter()
                .map(Vec::len)
                .max()
                .expect("six codes")
        };
        assert!(largest(1.0) < largest(0.0));
    }

    #[test]
    fn threads_change_nothing() {
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("a small pool")
                .install(|| PLAIN.fit(clumps().view(), &mut generator(3, "test", 0)))
        };
        assert_eq!(fit(1), fit(3));
    }
}
