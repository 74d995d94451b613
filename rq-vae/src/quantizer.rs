use std::borrow::Cow;
use std::fmt;

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;
use semantic_id::{Code, CodeMatrix, CodeSpace, Distances, ItemId, SemanticId};

use crate::matmul::Packed;
use crate::search::Search;
use crate::{Error, Result};

/// Items whose products with all centroids are held at once by one thread.
const CHUNK: usize = 48;

/// Bytes that the table of products between centroids of different levels may take.
const TABLE_LIMIT: u64 = 4 << 30;

/// The centroids of one level, `[K, d]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Codebook(pub Array2<f32>);

impl Codebook {
    /// Number of codes `K`.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a codebook has at least one code"
    )]
    pub fn len(&self) -> usize {
        self.0.nrows()
    }
}

/// Residual quantization: a path of codes stands for the sum of its centroids.
///
/// Encoding is a beam search over the levels. The squared distance of `x` to a path is
///
/// ```text
/// |x - c_0 - ... - c_l|^2 = |x|^2 + sum_i (|c_i|^2 - 2 x.c_i) + 2 sum_{i<j} c_i.c_j
/// ```
///
/// so one matrix product of the items with all centroids, and a table of the products
/// of centroids of different levels, give every distance by additions. Beam search
/// for residual quantization is described in Babenko and Lempitsky, "Additive
/// Quantization" (2014), and used by faiss.
///
/// Ties go to the nearer parent, then to the lower code. An item's path does not depend
/// on the batch, on threads or on the instruction set.
#[derive(Debug, Clone)]
pub struct ResidualQuantizer {
    codebooks: Vec<Codebook>,
    space: CodeSpace,
    /// `|c|^2 - 2 x.c` for all centroids, level after level, as a product with `x`.
    centroids: Packed,
    /// First centroid of each level, and their total.
    offsets: Vec<usize>,
    /// `2 c_i.c_j` for `c_i` in all levels before `l` (rows) and `c_j` in level `l`: `cross[l]`.
    cross: Vec<Array2<f32>>,
}

impl ResidualQuantizer {
    /// A quantizer with one codebook a level, all of the same dimension.
    ///
    /// Holds tables of `4 sum_{i<j} K_i K_j` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if dimensions differ, or if the tables would take more than 4 GiB; the
    /// errors of [`CodeSpace::new`].
    pub fn new(codebooks: Vec<Codebook>) -> Result<Self> {
        let sizes = codebooks.iter().map(|book| book.len() as u32).collect();
        let space = CodeSpace::new(sizes)?;
        let table = table_bytes(&space);
        if table > TABLE_LIMIT {
            return Err(Error::Shape {
                what: "bytes of the table of products between codebooks",
                got: table as usize,
                expected: TABLE_LIMIT as usize,
            });
        }
        let dim = codebooks[0].0.ncols();
        if let Some(book) = codebooks.iter().find(|book| book.0.ncols() != dim) {
            return Err(Error::Shape {
                what: "dimension of a codebook",
                got: book.0.ncols(),
                expected: dim,
            });
        }
        let views: Vec<_> = codebooks.iter().map(|book| book.0.view()).collect();
        let all = ndarray::concatenate(Axis(0), &views).expect("dimensions were compared");
        let norms = squared_norms(all.view());
        let offsets = std::iter::once(0)
            .chain(codebooks.iter().scan(0, |end, book| {
                *end += book.len();
                Some(*end)
            }))
            .collect::<Vec<_>>();
        let cross = (0..codebooks.len())
            .map(|level| {
                let before = all.slice(ndarray::s![..offsets[level], ..]);
                let mut table = Array2::zeros((offsets[level], codebooks[level].len()));
                Packed::new(views[level]).product(before, table.view_mut());
                table *= 2.0;
                table
            })
            .collect();
        let centroids = Packed::new((&all * -2.0).view()).starting_from(&norms);
        Ok(Self {
            space,
            centroids,
            offsets,
            cross,
            codebooks,
        })
    }

    /// The codebooks, one a level.
    pub fn codebooks(&self) -> &[Codebook] {
        &self.codebooks
    }

    /// The space of paths.
    pub fn space(&self) -> &CodeSpace {
        &self.space
    }

    /// Dimension `d` of the vectors that are quantized.
    pub fn dim(&self) -> usize {
        self.codebooks[0].0.ncols()
    }

    /// The nearest path that a beam search of width `beams` finds for each row of `latents`
    /// `[N, d]`, and its squared distance `[N]`. Runs on all threads of the pool.
    ///
    /// With one beam this is the greedy search: the nearest centroid at each level.
    ///
    /// # Panics
    ///
    /// If the latents have another dimension.
    pub fn encode(&self, latents: ArrayView2<'_, f32>, beams: usize) -> (CodeMatrix, Vec<f32>) {
        let latents = latents.as_standard_layout();
        let levels = self.space.levels();
        let scratch = || (Search::default(), self.no_products(CHUNK));
        let mut codes = vec![Code(0); latents.nrows() * levels];
        let mut distances = vec![0.0; latents.nrows()];
        latents
            .axis_chunks_iter(Axis(0), CHUNK)
            .into_par_iter()
            .zip(codes.par_chunks_mut(CHUNK * levels))
            .zip(distances.par_chunks_mut(CHUNK))
            .for_each_init(
                scratch,
                |(search, products), ((latents, codes), distances)| {
                    let mut products = products.slice_mut(ndarray::s![..latents.nrows(), ..]);
                    self.centroids.product_here(latents, products.view_mut());
                    for (item, path) in codes.chunks_exact_mut(levels).enumerate() {
                        let products = products.row(item);
                        search.run(
                            self,
                            products.as_slice().expect("rows are contiguous"),
                            beams,
                        );
                        search.path(0, path);
                        let latent = latents.row(item);
                        distances[item] =
                            self.distance(latent.to_slice().expect("row-major"), path);
                    }
                },
            );
        let codes = CodeMatrix::new(codes, levels).expect("whole rows");
        (codes, distances)
    }

    /// The sum of the centroids of each path, `[N, d]`.
    ///
    /// # Panics
    ///
    /// If a code is outside its codebook.
    pub fn decode(&self, paths: &CodeMatrix) -> Array2<f32> {
        let mut sums = Array2::zeros((paths.len(), self.dim()));
        for (mut sum, path) in sums.outer_iter_mut().zip(paths.rows()) {
            for (book, code) in self.codebooks.iter().zip(path) {
                sum += &book.0.row(code.index());
            }
        }
        sums
    }

    /// The `count` nearest paths of one latent that a beam search of that width finds.
    fn candidates(&self, latent: &[f32], count: usize) -> Vec<(SemanticId, f32)> {
        let view = ArrayView2::from_shape((1, latent.len()), latent).expect("one row");
        let mut products = self.no_products(1);
        self.centroids.product_here(view, products.view_mut());
        let mut search = Search::default();
        search.run(self, products.as_slice().expect("row-major"), count);
        let mut found: Vec<_> = (0..search.len())
            .map(|beam| {
                let mut path = vec![Code(0); self.space.levels()];
                search.path(beam, &mut path);
                let distance = self.distance(latent, &path);
                (SemanticId(path.into()), distance)
            })
            .collect();
        // The search ranks by sums in another order, which may differ in the last bit.
        found.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        found
    }

    /// The columns of a level among all centroids.
    pub(crate) fn columns(&self, level: usize) -> std::ops::Range<usize> {
        self.offsets[level]..self.offsets[level + 1]
    }

    /// Twice the products of the centroid `code` of the level `before` with those of `level`.
    pub(crate) fn cross(&self, before: usize, code: Code, level: usize) -> &[f32] {
        let row = self.cross[level].row(self.offsets[before] + code.index());
        row.to_slice().expect("row-major")
    }

    /// Room for `|c|^2 - 2 x.c` of some items with all centroids, `[n, sum K]`.
    fn no_products(&self, items: usize) -> Array2<f32> {
        Array2::zeros((items, self.offsets[self.codebooks.len()]))
    }

    /// Squared distance of a latent to a path, to full f32 precision.
    pub(crate) fn distance(&self, latent: &[f32], path: &[Code]) -> f32 {
        let (last, prefix) = path.split_last().expect("at least one level");
        let residual = self.residual(latent, prefix);
        let book = &self.codebooks[prefix.len()].0;
        let centroid = book.row(last.index());
        squared_distance(&residual, centroid.to_slice().expect("row-major"))
    }

    /// The latent less the centroids of a prefix.
    fn residual(&self, latent: &[f32], prefix: &[Code]) -> Vec<f32> {
        let mut residual = latent.to_vec();
        for (book, code) in self.codebooks.iter().zip(prefix) {
            let centroid = book.0.row(code.index());
            let centroid = centroid.to_slice().expect("row-major");
            residual.iter_mut().zip(centroid).for_each(|(r, c)| *r -= c);
        }
        residual
    }
}

/// `4 sum_{i<j} K_i K_j`.
fn table_bytes(space: &CodeSpace) -> u64 {
    let mut before = 0;
    let mut cells = 0;
    for &size in space.sizes() {
        cells += before * u64::from(size);
        before += u64::from(size);
    }
    4 * cells
}

/// `|x - y|^2`, summed in a fixed order: 16 interleaved partial sums, then those in order.
pub(crate) fn squared_distance(x: &[f32], y: &[f32]) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0_f32; LANES];
    for (x, y) in x.chunks(LANES).zip(y.chunks(LANES)) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += (x - y) * (x - y);
        }
    }
    sums.iter().sum()
}

/// `|x|^2` of each row, summed as in [`squared_distance`].
pub(crate) fn squared_norms(rows: ArrayView2<'_, f32>) -> Vec<f32> {
    let origin = vec![0.0; rows.ncols()];
    let norm = |row: ndarray::ArrayView1<'_, f32>| {
        squared_distance(row.to_slice().expect("row-major"), &origin)
    };
    rows.outer_iter().map(norm).collect()
}

/// The geometry behind a draft: a quantizer and the latents `[N, d]` of a catalogue.
pub struct LatentDistances<'a> {
    quantizer: &'a ResidualQuantizer,
    latents: Latents<'a>,
}

/// The latents of a catalogue, one an item.
enum Latents<'a> {
    /// `[N, d]`, row-major.
    Held(Array2<f32>),
    /// So many, each made when it is asked for.
    Asked(usize, Box<dyn Fn(ItemId) -> Vec<f32> + Sync + 'a>),
}

impl<'a> LatentDistances<'a> {
    /// # Errors
    ///
    /// [`Error::Shape`] if the latents have another dimension than the codebooks.
    pub fn new(quantizer: &'a ResidualQuantizer, latents: Array2<f32>) -> Result<Self> {
        if latents.ncols() != quantizer.dim() {
            return Err(Error::Shape {
                what: "dimension of the latents",
                got: latents.ncols(),
                expected: quantizer.dim(),
            });
        }
        let latents = Latents::Held(latents.as_standard_layout().into_owned());
        Ok(Self { quantizer, latents })
    }

    /// With `items` latents `[d]` that `latent` makes, the same whenever it is asked.
    pub(crate) fn asking(
        quantizer: &'a ResidualQuantizer,
        items: usize,
        latent: impl Fn(ItemId) -> Vec<f32> + Sync + 'a,
    ) -> Self {
        let latents = Latents::Asked(items, Box::new(latent));
        Self { quantizer, latents }
    }

    /// Squared distance of every latent to its path, `[N]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one path a latent; those of [`CodeMatrix::check`].
    pub fn costs(&self, paths: &CodeMatrix) -> Result<Vec<f32>> {
        let items = match &self.latents {
            Latents::Held(latents) => latents.nrows(),
            Latents::Asked(items, _) => *items,
        };
        if paths.len() != items {
            return Err(Error::Shape {
                what: "number of paths",
                got: paths.len(),
                expected: items,
            });
        }
        paths.check(&self.quantizer.space)?;
        let rows: Vec<_> = paths.rows().collect();
        let cost = |(item, path): (usize, &&[Code])| self.path(ItemId(item as u32), path);
        Ok(rows.par_iter().enumerate().map(cost).collect())
    }

    fn latent(&self, item: ItemId) -> Cow<'_, [f32]> {
        match &self.latents {
            Latents::Asked(_, latent) => latent(item).into(),
            Latents::Held(latents) => {
                let all = latents.as_slice().expect("row-major by construction");
                all[item.index() * latents.ncols()..][..latents.ncols()].into()
            }
        }
    }
}

impl fmt::Debug for LatentDistances<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LatentDistances").finish_non_exhaustive()
    }
}

impl Distances for LatentDistances<'_> {
    fn path(&self, item: ItemId, path: &[Code]) -> f32 {
        self.quantizer.distance(&self.latent(item), path)
    }

    fn last_level(&self, item: ItemId, prefix: &[Code], out: &mut [f32]) {
        let residual = self.quantizer.residual(&self.latent(item), prefix);
        let book = &self.quantizer.codebooks[prefix.len()].0;
        for (out, centroid) in out.iter_mut().zip(book.outer_iter()) {
            *out = squared_distance(&residual, centroid.to_slice().expect("row-major"));
        }
    }

    fn identical(&self, a: ItemId, b: ItemId) -> bool {
        self.latent(a) == self.latent(b)
    }

    fn candidates(&self, item: ItemId, count: usize) -> Vec<(SemanticId, f32)> {
        self.quantizer.candidates(&self.latent(item), count)
    }
}
