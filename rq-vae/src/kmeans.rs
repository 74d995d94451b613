//! k-means in full passes: greedy k-means++ seeds, Lloyd iterations, optional balance.

use ndarray::{Array2, ArrayView2, Axis};
use pulp::{Simd, WithSimd};
use rand::{Rng, RngExt};
use rayon::prelude::*;

use crate::matmul::Packed;
use crate::quantizer::{Codebook, squared_norms};

/// Rows whose distances to all centroids are held at once by one thread.
const CHUNK: usize = 192;

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
        .for_each(|((points, norms), nearest)| {
            let mut costs = Array2::zeros((points.nrows(), offers.len()));
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
    let mut centroids = Array2::zeros((codes, points.ncols()));
    let first = rng.random_range(0..points.nrows());
    centroids.row_mut(0).assign(&points.row(first));
    let mut distances = squared_distances(points, norms, &[first]).remove(0);
    for code in 1..codes {
        let candidates = draw(&distances, rng);
        let closer = squared_distances(points, norms, &candidates)
            .into_iter()
            .map(|mut to| {
                to.iter_mut()
                    .zip(&distances)
                    .for_each(|(to, &now)| *to = to.min(now));
                to
            })
            .collect::<Vec<_>>();
        let total = |d: &Vec<f32>| d.iter().map(|&d| f64::from(d)).sum::<f64>();
        let potentials: Vec<f64> = closer.par_iter().map(total).collect();
        let best = (0..candidates.len())
            .min_by(|&a, &b| potentials[a].total_cmp(&potentials[b]))
            .expect("there are candidates");
        centroids
            .row_mut(code)
            .assign(&points.row(candidates[best]));
        distances = closer.into_iter().nth(best).expect("best is one of them");
    }
    centroids
}

/// Rows drawn with probability proportional to their distance; uniformly if all are zero.
fn draw(distances: &[f32], rng: &mut impl Rng) -> Vec<usize> {
    let sums: Vec<f64> = distances
        .iter()
        .scan(0.0, |sum, &d| {
            *sum += f64::from(d);
            Some(*sum)
        })
        .collect();
    let total = sums.last().copied().unwrap_or(0.0);
    (0..SEED_CANDIDATES)
        .map(|_| {
            if total > 0.0 {
                let at = rng.random::<f64>() * total;
                sums.partition_point(|&sum| sum <= at)
                    .min(distances.len() - 1)
            } else {
                rng.random_range(0..distances.len())
            }
        })
        .collect()
}

/// Squared distances of all points to some of them: one list a target.
fn squared_distances(
    points: ArrayView2<'_, f32>,
    norms: &[f32],
    targets: &[usize],
) -> Vec<Vec<f32>> {
    let chosen = points.select(Axis(0), targets);
    let mut products = Array2::zeros((points.nrows(), targets.len()));
    Packed::new(chosen.view()).product(points, products.view_mut());
    (targets.par_iter().enumerate())
        .map(|(column, &target)| {
            (products.column(column).iter().zip(norms))
                .map(|(product, norm)| (norm + norms[target] - 2.0 * product).max(0.0))
                .collect()
        })
        .collect()
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
                    .zip(point)
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
