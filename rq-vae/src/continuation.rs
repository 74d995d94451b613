use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use semantic_id::{Code, CodeMatrix, ItemId, Relabelling};

use crate::{Codebook, Encoder, Error, ResidualQuantizer, Result};

/// Rounds of encoding and refitting, at most.
const ROUNDS: usize = 20;
/// Passes over the levels in a refit.
const SWEEPS: usize = 4;
/// A round that gains less than this share is the last.
const ENOUGH: f64 = 1e-3;

/// A retrained model that speaks the codes of the model before it.
///
/// The networks are those of the new model. Its codebooks are fitted anew, such that as many
/// items as possible keep the paths they had; the dial is how much larger the total squared
/// distance of the items to their paths may be than without old paths.
///
/// 1. The new model's codes get the names of the old ones ([`Relabelling`]).
/// 2. They are fitted freely: in turns, items are encoded, and each centroid becomes the mean of
///    what the other levels leave over of its items (least squares by coordinate descent). The
///    total that this ends with, and the dial, set the limit.
/// 3. From codebooks that are fitted to the old paths of all items, the turns are taken again. An
///    item's *regret* is how much farther its old path is than the nearest. In order of regret, the
///    least first, items keep their old paths, as long as the total stays within the limit; all
///    others take their nearest. That is the most items that can keep theirs with these centroids.
///
/// Where no turn is within the limit, as the new latents are too different, they start from the
/// codebooks of step 2, which are within it before anything is kept.
#[derive(Debug)]
pub struct Continuation {
    /// The new model with the fitted codebooks.
    pub encoder: Encoder,
    /// The path of every item: the one it had, where it may keep that, else the nearest; `[N, L]`.
    /// Those that were not kept may collide.
    pub paths: CodeMatrix,
    /// Whether an item keeps its path, `[N]`.
    pub kept: Vec<bool>,
    /// Mean squared distance of the latents to their nearest paths, with codebooks fitted freely.
    pub free_distance: f64,
    /// And to `paths`, with the codebooks that keep those.
    pub distance: f64,
}

/// The items that had paths: their rows among the latents, and those paths `[M, L]`.
#[derive(Debug, Clone, Copy)]
pub struct OldPaths<'a> {
    /// Rows, distinct.
    pub rows: &'a [usize],
    /// One path a row.
    pub paths: &'a CodeMatrix,
}

impl Continuation {
    /// Fits the codebooks of `encoder` to the latents `[N, d]` it made of a catalogue, some items of
    /// which had paths before. `tolerance` is the dial, 0.02 for 2 %; items are encoded by a
    /// search of `beams`.
    ///
    /// Holds a copy of the latents besides them; a round takes about as long as encoding.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if rows and paths disagree or the latents have another dimension; those of
    /// [`CodeMatrix::check`] for a path that is none of the model's space.
    pub fn fit(
        encoder: &Encoder,
        latents: ArrayView2<'_, f32>,
        old: OldPaths<'_>,
        tolerance: f64,
        beams: usize,
    ) -> Result<Self> {
        if old.rows.len() != old.paths.len() {
            return Err(Error::Shape {
                what: "number of old paths",
                got: old.paths.len(),
                expected: old.rows.len(),
            });
        }
        let latents = latents.as_standard_layout();
        let latents = latents.view();
        let (own, _) = encoder.quantizer().encode(latents, beams);
        let names = names(&own, old, encoder.quantizer())?;
        let renamed = renamed(encoder.quantizer(), &names)?;
        let free = Free::fit(renamed, latents, beams)?;
        let search = Search {
            latents,
            old,
            beams,
            limit: free.total * (1.0 + tolerance),
        };
        let mut started = free.paths;
        old.write(|_| true, &mut started);
        let found = match search.run(refit(&free.quantizer, latents, &started)?)? {
            Some(found) => found,
            None => search.run(free.quantizer)?.ok_or(Error::Empty)?,
        };
        let items = latents.nrows().max(1) as f64;
        Ok(Self {
            encoder: encoder.with_quantizer(found.quantizer),
            paths: found.paths,
            kept: found.kept,
            free_distance: free.total / items,
            distance: found.total / items,
        })
    }
}

impl OldPaths<'_> {
    /// Writes the old paths that are wanted, by their place in the list.
    fn write(&self, wanted: impl Fn(usize) -> bool, paths: &mut CodeMatrix) {
        for (at, path) in self.paths.rows().enumerate() {
            if wanted(at) {
                let item = ItemId(self.rows[at] as u32);
                paths.row_mut(item).copy_from_slice(path);
            }
        }
    }
}

/// Codebooks that are fitted without regard to old paths.
struct Free {
    quantizer: ResidualQuantizer,
    paths: CodeMatrix,
    total: f64,
}

impl Free {
    /// Takes turns for as long as the total falls.
    fn fit(
        quantizer: ResidualQuantizer,
        latents: ArrayView2<'_, f32>,
        beams: usize,
    ) -> Result<Self> {
        let encoded = |quantizer: ResidualQuantizer| {
            let (paths, costs) = quantizer.encode(latents, beams);
            let total = total(&costs);
            Self {
                quantizer,
                paths,
                total,
            }
        };
        let mut best = encoded(quantizer);
        for _ in 0..ROUNDS {
            let next = encoded(refit(&best.quantizer, latents, &best.paths)?);
            if next.total >= best.total {
                break;
            }
            let falls = best.total - next.total > ENOUGH * best.total;
            best = next;
            if !falls {
                break;
            }
        }
        Ok(best)
    }
}

/// What all rounds share.
struct Search<'a> {
    latents: ArrayView2<'a, f32>,
    old: OldPaths<'a>,
    beams: usize,
    /// The largest total squared distance.
    limit: f64,
}

/// Codebooks, and paths within the limit.
struct Found {
    quantizer: ResidualQuantizer,
    paths: CodeMatrix,
    kept: Vec<bool>,
    count: usize,
    total: f64,
}

impl Search<'_> {
    /// Takes turns from some codebooks on; the best that is within the limit.
    fn run(&self, mut quantizer: ResidualQuantizer) -> Result<Option<Found>> {
        let mut best: Option<Found> = None;
        for _ in 0..ROUNDS {
            let found = self.keep(quantizer)?;
            quantizer = refit(&found.quantizer, self.latents, &found.paths)?;
            if found.total > self.limit {
                continue;
            }
            let before = best.as_ref().map_or(0, |best| best.count);
            let gained = found.count.saturating_sub(before);
            let is_first = best.is_none();
            if is_first || gained > 0 {
                best = Some(found);
            }
            if !is_first && (gained as f64) < ENOUGH * self.old.rows.len() as f64 {
                break;
            }
        }
        Ok(best)
    }

    /// The most old paths that these codebooks can keep within the limit.
    fn keep(&self, quantizer: ResidualQuantizer) -> Result<Found> {
        let (mut paths, costs) = quantizer.encode(self.latents, self.beams);
        let mut total = total(&costs);
        let regret = |at: usize| {
            let row = self.old.rows[at];
            let old = self.old.paths.row(ItemId(at as u32));
            let latent = self.latents.row(row);
            let latent = latent.to_slice().expect("`fit` made them row-major");
            f64::from(quantizer.distance(latent, old)) - f64::from(costs[row])
        };
        let mut regrets: Vec<(f64, usize)> = (0..self.old.rows.len())
            .into_par_iter()
            .map(|at| (regret(at), at))
            .collect();
        regrets.par_sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut kept = vec![false; paths.len()];
        let mut wanted = vec![false; self.old.rows.len()];
        let mut count = 0;
        for (regret, at) in regrets {
            if regret > 0.0 && total + regret > self.limit {
                break;
            }
            total += regret;
            (kept[self.old.rows[at]], wanted[at]) = (true, true);
            count += 1;
        }
        self.old.write(|at| wanted[at], &mut paths);
        Ok(Found {
            quantizer,
            paths,
            kept,
            count,
            total,
        })
    }
}

/// The names that bring the model's own paths nearest to the old ones.
fn names(
    own: &CodeMatrix,
    old: OldPaths<'_>,
    quantizer: &ResidualQuantizer,
) -> Result<Relabelling> {
    let rows = old.rows.iter().map(|&row| own.row(ItemId(row as u32)));
    let own = CodeMatrix::new(rows.flatten().copied().collect(), own.levels())?;
    Ok(Relabelling::of(old.paths, &own, quantizer.space())?)
}

/// The same centroids under other names.
fn renamed(quantizer: &ResidualQuantizer, names: &Relabelling) -> Result<ResidualQuantizer> {
    let books = quantizer.codebooks().iter().zip(names.names());
    let rename = |(book, names): (&Codebook, &Vec<Code>)| {
        let mut renamed = book.0.clone();
        for (centroid, name) in book.0.outer_iter().zip(names) {
            renamed.row_mut(name.index()).assign(&centroid);
        }
        Codebook(renamed)
    };
    ResidualQuantizer::new(books.map(rename).collect())
}

/// Codebooks whose sums along `paths` are nearer to the latents, level after level: each centroid
/// becomes the mean of its items less their centroids of all other levels. Codes without items
/// stay where they are.
fn refit(
    quantizer: &ResidualQuantizer,
    latents: ArrayView2<'_, f32>,
    paths: &CodeMatrix,
) -> Result<ResidualQuantizer> {
    let mut books: Vec<Array2<f32>> = quantizer.codebooks().iter().map(|b| b.0.clone()).collect();
    let mut left = &latents - &quantizer.decode(paths);
    let members: Vec<Vec<Vec<usize>>> = (0..books.len())
        .map(|level| members(paths, level, books[level].nrows()))
        .collect();
    for _ in 0..SWEEPS {
        for (book, members) in books.iter_mut().zip(&members) {
            let shifts: Vec<Option<Vec<f32>>> = members
                .par_iter()
                .map(|items| mean(left.view(), items))
                .collect();
            for ((mut centroid, shift), items) in book.outer_iter_mut().zip(shifts).zip(members) {
                let Some(shift) = shift else { continue };
                let shift = ndarray::ArrayView1::from(&shift);
                centroid += &shift;
                for &item in items {
                    let mut left = left.row_mut(item);
                    left -= &shift;
                }
            }
        }
    }
    ResidualQuantizer::new(books.into_iter().map(Codebook).collect())
}

/// The items of each code of a level.
fn members(paths: &CodeMatrix, level: usize, codes: usize) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); codes];
    for (item, path) in paths.rows().enumerate() {
        members[path[level].index()].push(item);
    }
    members
}

/// The mean of some rows, summed in their order; none of no rows.
fn mean(x: ArrayView2<'_, f32>, rows: &[usize]) -> Option<Vec<f32>> {
    if rows.is_empty() {
        return None;
    }
    let mut sum = vec![0.0_f64; x.ncols()];
    for &row in rows {
        for (sum, &x) in sum.iter_mut().zip(x.row(row)) {
            *sum += f64::from(x);
        }
    }
    let count = rows.len() as f64;
    Some(sum.into_iter().map(|sum| (sum / count) as f32).collect())
}

fn total(costs: &[f32]) -> f64 {
    costs.iter().map(|&cost| f64::from(cost)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BEAMS, Preset, RqVaeParams};

    /// Residual k-means of some clustered points.
    fn model(points: ArrayView2<'_, f32>, seed: u64) -> Encoder {
        let params = RqVaeParams {
            levels: 3,
            codes: 12,
            seed,
            ..RqVaeParams::preset(Preset::RkMeans)
        };
        Encoder::residual_kmeans(&params.check().expect("in range"), points, |_| ())
            .expect("points")
    }

    fn points() -> Array2<f32> {
        Array2::from_shape_fn((600, 6), |(item, at)| {
            let (cluster, own) = ((item % 30) as f32, item as f32);
            3.0 * (2.3 * cluster + 1.1 * at as f32).sin() + (1.7 * own + 0.9 * at as f32).sin()
        })
    }

    #[test]
    fn a_retrained_model_keeps_most_paths_at_little_more_error() {
        let points = points();
        let (before, after) = (model(points.view(), 0), model(points.view(), 1));
        let (old, _) = before
            .encode(points.view(), BEAMS)
            .expect("dimensions agree");
        let latents = after.latents(points.view()).expect("dimensions agree");
        let rows: Vec<usize> = (0..500).collect();
        let codes = old.rows().take(500).flatten().copied().collect();
        let paths = CodeMatrix::new(codes, 3).expect("whole rows");
        let old = OldPaths {
            rows: &rows,
            paths: &paths,
        };

        let fit = Continuation::fit(&after, latents.view(), old, 0.02, BEAMS).expect("they fit");
        let kept = fit.kept.iter().filter(|kept| **kept).count();
        assert!(kept > 250, "{kept} of 500");
        assert!(
            fit.kept[500..].iter().all(|kept| !kept),
            "new items had none"
        );
        assert!(fit.distance <= 1.021 * fit.free_distance, "{fit:?}");
        for (row, kept) in fit.kept.iter().take(500).enumerate() {
            let item = ItemId(row as u32);
            assert!(!kept || fit.paths.row(item) == paths.row(item));
        }

        // The less is allowed, the fewer are kept.
        let kept = |tolerance| {
            let fit = Continuation::fit(&after, latents.view(), old, tolerance, BEAMS);
            let fit = fit.expect("they fit");
            assert!(fit.distance <= (1.0 + tolerance) * fit.free_distance * 1.000_001);
            fit.kept.iter().filter(|kept| **kept).count()
        };
        assert!(kept(0.0) < kept(0.05) && kept(0.05) <= kept(0.9));
        assert_eq!(kept(0.9), 500);
    }
}
