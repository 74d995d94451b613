//! The contrastive losses of LETTER (Wang et al., *Learnable Item Tokenization for Generative
//! Recommendation*, arXiv 2405.07314, section 3.2).

use ndarray::ArrayView2;
use rand::{Rng, RngExt};
use tch::{Device, Kind, Reduction, Tensor};

use crate::kmeans::{KMeans, nearest};
use crate::quantizer::squared_norms;

/// Lloyd iterations that group the codes of a level.
const ITERATIONS: usize = 10;

/// No partner: the class that a cross entropy ignores.
const NONE: i64 = -1;

/// What a batch has besides its embeddings, for the further losses of an
/// [`RqVae`](crate::RqVae).
#[derive(Debug, Default)]
pub struct Guidance {
    /// Collaborative vectors of its items, `[B, rank]`; rows of zeros are left out.
    pub vectors: Option<Tensor>,
    /// For each level, `[K]` i64: another code of the same group, -1 for none.
    pub partners: Option<Vec<Tensor>>,
}

/// How well each of `points` `[B, rank]` tells its own of `vectors` `[B, rank]` from the others
/// of the batch by their products: InfoNCE, in nats, over the rows that are not all zeros.
pub(super) fn alignment(points: &Tensor, vectors: &Tensor) -> Tensor {
    let known = vectors
        .abs()
        .sum_dim_intlist([1].as_slice(), false, Kind::Float);
    let known = known.nonzero().view(-1);
    let (points, vectors) = (
        points.index_select(0, &known),
        vectors.index_select(0, &known),
    );
    let own = Tensor::arange(known.size()[0], (Kind::Int64, known.device()));
    mean_cross_entropy(&points.matmul(&vectors.tr()), &own)
}

/// How well each chosen centroid `[B, d]` tells its code's partner from all other codes of the
/// `codebook` `[K, d]` by their products, in nats.
pub(super) fn diversity(
    centroids: &Tensor,
    chosen: &Tensor,
    codebook: &Tensor,
    partners: &Tensor,
) -> Tensor {
    let own = chosen.unsqueeze(1);
    let products = centroids.matmul(&codebook.tr());
    let others = products.scatter_value(1, &own, f64::NEG_INFINITY);
    mean_cross_entropy(&others, &partners.index_select(0, chosen))
}

/// 0 where nothing is left to tell apart.
fn mean_cross_entropy(logits: &Tensor, classes: &Tensor) -> Tensor {
    let weight = None::<Tensor>;
    let sum = logits.cross_entropy_loss(classes, weight, Reduction::Sum, NONE, 0.0);
    let count = classes.not_equal(NONE).sum(Kind::Float).clamp_min(1.0);
    sum / count
}

/// The codes of a level in groups of near centroids.
#[derive(Debug)]
pub(super) struct CodeGroups {
    /// The codes of each group.
    groups: Vec<Vec<i64>>,
    codes: usize,
}

impl CodeGroups {
    /// Groups a `codebook` `[K, d]` by k-means of even shares. `O(K groups d)`, where LETTER's
    /// code solves a constrained k-means on the CPU.
    pub(super) fn of(codebook: ArrayView2<'_, f32>, groups: usize, rng: &mut impl Rng) -> Self {
        let kmeans = KMeans {
            codes: groups,
            iterations: ITERATIONS,
            balance: 1.0,
        };
        let centres = kmeans.fit(codebook, rng);
        let norms = squared_norms(codebook);
        let nearest = nearest(codebook, &norms, centres.0.view(), &vec![0.0; groups]);
        let mut members = vec![Vec::new(); groups];
        for (code, nearest) in nearest.iter().enumerate() {
            members[nearest.code as usize].push(code as i64);
        }
        Self {
            groups: members,
            codes: codebook.nrows(),
        }
    }

    /// Draws for each code another of its group, as [`Guidance::partners`] has them.
    pub(super) fn partners(&self, rng: &mut impl Rng, device: Device) -> Tensor {
        let mut partners = vec![NONE; self.codes];
        for group in self.groups.iter().filter(|group| group.len() > 1) {
            for (at, &code) in group.iter().enumerate() {
                let ahead = rng.random_range(1..group.len());
                partners[code as usize] = group[(at + ahead) % group.len()];
            }
        }
        Tensor::from_slice(&partners).to_device(device)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::torch::{to_matrix, to_tensor};

    fn matrix(rows: usize, columns: usize) -> Array2<f32> {
        Array2::from_shape_fn((rows, columns), |(row, column)| {
            ((row * 7 + column * 3) as f32).sin()
        })
    }

    fn tensor(values: &Array2<f32>) -> Tensor {
        to_tensor(values.view(), Device::Cpu)
    }

    /// `-log(exp(scores[class]) / sum of exp)`.
    fn nats(scores: &[f32], class: usize) -> f32 {
        scores.iter().map(|score| score.exp()).sum::<f32>().ln() - scores[class]
    }

    #[track_caller]
    fn assert_close(got: &Tensor, expected: f32) {
        let got = got.double_value(&[]) as f32;
        assert!((got - expected).abs() < 1e-5, "{got} {expected}");
    }

    #[test]
    fn alignment_tells_an_items_vector_from_those_of_the_batch() {
        let (points, mut vectors) = (matrix(5, 3), matrix(5, 3).mapv(f32::cos));
        vectors.row_mut(2).fill(0.0);
        let known = [0, 1, 3, 4];
        let loss = |at: usize| {
            let score = |&other: &usize| points.row(known[at]).dot(&vectors.row(other));
            nats(&known.iter().map(score).collect::<Vec<_>>(), at)
        };
        let expected = (0..4).map(loss).sum::<f32>() / 4.0;
        assert_close(&alignment(&tensor(&points), &tensor(&vectors)), expected);
        assert_close(
            &alignment(&tensor(&points), &tensor(&Array2::zeros((5, 3)))),
            0.0,
        );
    }

    #[test]
    fn diversity_tells_a_codes_partner_from_the_other_codes() {
        let codebook = matrix(6, 3);
        let partners = [3, 2, 1, 0, NONE, NONE];
        let chosen = [0, 3, 2, 4];
        let loss = |&code: &usize| {
            let others: Vec<usize> = (0..6).filter(|&other| other != code).collect();
            let score = |&other: &usize| codebook.row(code).dot(&codebook.row(other));
            let partner = others
                .iter()
                .position(|&other| other as i64 == partners[code]);
            partner.map(|partner| nats(&others.iter().map(score).collect::<Vec<_>>(), partner))
        };
        let losses: Vec<f32> = chosen.iter().filter_map(loss).collect();
        assert_eq!(losses.len(), 3, "code 4 has no partner");
        let expected = losses.iter().sum::<f32>() / 3.0;

        let rows = Tensor::from_slice(&chosen.map(|code| code as i64));
        let codebook = tensor(&codebook);
        let centroids = codebook.index_select(0, &rows);
        let got = diversity(&centroids, &rows, &codebook, &Tensor::from_slice(&partners));
        assert_close(&got, expected);
    }

    #[test]
    fn partners_are_others_of_the_same_group() {
        // Three groups of codes, far from each other, and one code alone.
        let codebook = Array2::from_shape_fn((13, 2), |(code, axis)| {
            let centre = [[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [90.0, 90.0]][code.min(12) / 4];
            centre[axis] + (code as f32 + axis as f32).sin()
        });
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let groups = CodeGroups::of(codebook.view(), 4, &mut rng);
        let draw = |rng: &mut _| {
            let partners = groups.partners(rng, Device::Cpu);
            to_matrix(&partners.unsqueeze(0))
                .into_raw_vec_and_offset()
                .0
        };
        let (first, second) = (draw(&mut rng), draw(&mut rng));
        for partners in [&first, &second] {
            assert_eq!(partners[12], -1.0);
            for (code, &partner) in partners[..12].iter().enumerate() {
                assert_eq!(partner as usize / 4, code / 4);
                assert_ne!(partner as usize, code);
            }
        }
        assert_ne!(first, second);
    }
}
