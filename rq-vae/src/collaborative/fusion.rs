use std::collections::HashMap;

use ndarray::{Array1, Array2, ArrayView2, Axis, concatenate};
use safetensors::SafeTensors;
use serde::{Deserialize, Serialize};

use super::CollaborativeVectors;
use super::pca::PrincipalAxes;
use super::ridge::Ridge;
use crate::embeddings::check_finite;
use crate::encoder::{standard, standardize};
use crate::matmul::Packed;
use crate::tensors::{Tensors, serialize, tensor};
use crate::{Error, Result};

/// Events that the ridge's guess of an item's collaborative vector weighs as much as.
const GUESS: f32 = 4.0;

/// Penalty of the ridge, in items, where all dimensions of the embeddings vary evenly.
const PENALTY: f64 = 100.0;

/// Embeddings from one source, of a catalogue's items, and how much they count.
#[derive(Debug, Clone, Copy)]
pub struct FusionSource<'a> {
    /// `[N, D]`.
    pub embeddings: ArrayView2<'a, f32>,
    /// How much of the common space it is given; only ratios to other weights matter.
    pub weight: f32,
}

/// The space in which sources and histories are fused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FusedSpace {
    /// So many of the directions in which all of them together vary most, or as many as there
    /// are.
    Principal(usize),
    /// The columns of each source after those of the one before, those of the histories last:
    /// what separate codebooks need ([`RqVaeParams::blocks`](crate::RqVaeParams::blocks)).
    SideBySide,
}

/// Embeddings and collaborative vectors in one space, before quantization.
///
/// ```text
/// sources    t = [w_1 standard(x_1) | w_2 standard(x_2) | ...]
/// histories  c = (n u + 4 ridge(t)) / (n + 4)       n events of the item, u its vector
/// fused      PCA of [t | weight standard(c)], or these columns as they are
/// ```
///
/// `standard` centres, and scales to a mean squared length of 1. An item with few events is drawn
/// towards what its embeddings make one expect, found by ridge regression over items that have
/// events; for a cold item, `n = 0`, that is all there is. So new items need only embeddings: for
/// them the fusion is one affine map, which is what is kept and saved.
///
/// ```
/// use ndarray::Array2;
/// use rq_vae::{CollaborativeVectors, FusedSpace, Fusion, FusionSource};
/// use semantic_id::ItemId;
///
/// let texts = Array2::from_shape_fn((6, 4), |(item, at)| ((item * (at + 2)) as f32).sin());
/// let histories = [[ItemId(0), ItemId(1), ItemId(2)], [ItemId(3), ItemId(4), ItemId(3)]];
/// let training: Vec<&[ItemId]> = histories.iter().map(|items| &items[..]).collect();
/// let vectors = CollaborativeVectors::learn(&training, 6, 3, 2, 0)?;
///
/// let sources = [FusionSource { embeddings: texts.view(), weight: 1.0 }];
/// let space = FusedSpace::Principal(4);
/// let (fusion, fused) = Fusion::learn(&sources, &vectors, 1.0, space)?;
/// assert_eq!(fused.dim(), (6, 4));
/// let new_item = texts.slice(ndarray::s![..1, ..]);
/// assert_eq!(fusion.apply(&[new_item])?.dim(), (1, 4));
/// # Ok::<(), rq_vae::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Fusion {
    /// Dimension of each source.
    dims: Vec<usize>,
    /// Mean of the sources' columns, `[D_1 + D_2 + ...]`.
    mean: Array1<f32>,
    /// From centred sources to the common space, `[D', D_1 + D_2 + ...]`.
    map: Array2<f32>,
    /// `[D']`.
    bias: Array1<f32>,
    /// The share of the variance that the common space keeps.
    pub explained: f64,
}

/// What a fusion's file says of itself: JSON, the one value of its metadata.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    version: u32,
    dims: Vec<usize>,
    explained: f64,
}

const FORMAT: &str = "semid.fusion";
const VERSION: u32 = 1;

impl Fusion {
    /// Fuses the items of a catalogue, `weight` to 1 between histories and sources. Returns the
    /// way to fuse new items, and the fused embeddings `[N, D']`, which do not depend on threads.
    ///
    /// `O(N D^2 + D^3)` for `D` dimensions of sources and vectors together; holds three matrices
    /// `[N, D]`.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if sources and vectors are not of the same items; [`Error::Empty`] without
    /// sources; [`Error::Setting`] for a weight that is negative or not finite, if no source has
    /// one above 0, or for a space of no dimensions;
    /// [`Error::NotFinite`] for a value that is not finite, or not after centring.
    pub fn learn(
        sources: &[FusionSource<'_>],
        vectors: &CollaborativeVectors,
        weight: f32,
        space: FusedSpace,
    ) -> Result<(Self, Array2<f32>)> {
        check(sources, vectors.len(), weight, space)?;
        let text = Block::of_sources(sources);
        check_finite(text.rows.view(), 0)?;
        let ridge = fit(&text, vectors);
        let guess = product(text.rows.view(), &ridge.weights, &ridge.intercept);
        let expected = Block::standard(blend(vectors, guess).view(), weight);
        let all = side_by_side(&[text.rows.view(), expected.rows.view()]);
        let (axes, explained) = space.axes(all.view());
        let fused = product(all.view(), &axes, &Array1::zeros(axes.nrows()));

        // For an item of whom only `x` is known: `axes [t | f (ridge(t) - m)]`, `t = f' (x - m')`.
        let (of_text, of_vectors) = axes.view().split_at(Axis(1), text.rows.ncols());
        let of_vectors = &of_vectors * &expected.factors;
        let fusion = Self {
            dims: dims(sources),
            map: (&of_text + &of_vectors.dot(&ridge.weights)) * &text.factors,
            bias: of_vectors.dot(&(ridge.intercept - expected.mean)),
            mean: text.mean,
            explained,
        };
        Ok((fusion, fused))
    }

    /// Fuses embeddings of several sources where there are no histories; otherwise as
    /// [`Fusion::learn`].
    ///
    /// # Errors
    ///
    /// Those of [`Fusion::learn`].
    pub fn of_sources(
        sources: &[FusionSource<'_>],
        space: FusedSpace,
    ) -> Result<(Self, Array2<f32>)> {
        let items = sources.first().map_or(0, |first| first.embeddings.nrows());
        check(sources, items, 0.0, space)?;
        let text = Block::of_sources(sources);
        check_finite(text.rows.view(), 0)?;
        let (axes, explained) = space.axes(text.rows.view());
        let bias = Array1::zeros(axes.nrows());
        let fused = product(text.rows.view(), &axes, &bias);
        let fusion = Self {
            dims: dims(sources),
            map: axes * &text.factors,
            bias,
            mean: text.mean,
            explained,
        };
        Ok((fusion, fused))
    }

    /// Fuses items that the histories do not know, `[n, D_1]`, `[n, D_2]`, ... in the order of
    /// [`Fusion::learn`], to `[n, D']`. A row depends on its item alone.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for another number of sources, another dimension, or sources that
    /// disagree on the number of items.
    pub fn apply(&self, sources: &[ArrayView2<'_, f32>]) -> Result<Array2<f32>> {
        expect("number of sources to fuse", sources.len(), self.dims.len())?;
        for (source, &dim) in sources.iter().zip(&self.dims) {
            let what = "dimension of the embeddings (the fusion was learnt on another)";
            expect(what, source.ncols(), dim)?;
            let what = "items of a source to fuse (the first has others)";
            expect(what, source.nrows(), sources[0].nrows())?;
        }
        let all = side_by_side(sources);
        let centred = standardize(all.view(), &self.mean, 1.0);
        Ok(product(centred.view(), &self.map, &self.bias))
    }

    /// Dimension of each source, in the order in which [`Fusion::apply`] takes them.
    pub fn sources(&self) -> &[usize] {
        &self.dims
    }

    /// Dimension `D'` of the fused embeddings.
    pub fn dim(&self) -> usize {
        self.bias.len()
    }

    /// The fusion as a `.safetensors` file: `mean`, `map`, `bias`, and in its metadata, as JSON,
    /// the dimensions of the sources.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (dim, sources) = self.map.dim();
        let header = Header {
            version: VERSION,
            dims: self.dims.clone(),
            explained: self.explained,
        };
        let header = serde_json::to_string(&header).expect("plain data serialises");
        let metadata = HashMap::from([(FORMAT.to_owned(), header)]);
        let tensors = [
            ("mean", tensor(&[sources], self.mean.iter())),
            ("map", tensor(&[dim, sources], self.map.iter())),
            ("bias", tensor(&[dim], self.bias.iter())),
        ];
        let tensors = tensors.map(|(name, tensor)| (name.to_owned(), tensor));
        serialize(&tensors.into(), Some(metadata))
    }

    /// Reads the file of a fusion; its bytes are treated as hostile.
    ///
    /// # Errors
    ///
    /// [`Error::Model`] says what is missing, of another shape, or not finite.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |problem: String| Error::Model(format!("the fusion: {problem}"));
        let unreadable = |error: safetensors::SafeTensorError| bad(error.to_string());
        let file = SafeTensors::deserialize(bytes).map_err(unreadable)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(unreadable)?;
        let metadata = metadata.metadata().as_ref();
        let Some(header) = metadata.and_then(|metadata| metadata.get(FORMAT)) else {
            return Err(bad(format!(
                "there is no {FORMAT:?} in its metadata; expected the file that `semid fuse` \
                 writes beside the embeddings"
            )));
        };
        let header: Header =
            serde_json::from_str(header).map_err(|error| bad(error.to_string()))?;
        if header.version != VERSION {
            return Err(bad(format!(
                "got version {}, expected {VERSION}",
                header.version
            )));
        }
        let tensors = Tensors(&file);
        let fusion = Self {
            mean: tensors.vector("mean")?,
            map: tensors.matrix("map")?,
            bias: tensors.vector("bias")?,
            explained: header.explained,
            dims: header.dims,
        };
        let total = fusion
            .dims
            .iter()
            .try_fold(0_usize, |sum, &dim| sum.checked_add(dim));
        let fits = total == Some(fusion.mean.len())
            && !fusion.dims.contains(&0)
            && fusion.map.dim() == (fusion.bias.len(), fusion.mean.len());
        match fits {
            true => Ok(fusion),
            false => Err(bad(format!(
                "sources {:?}, mean {}, map {:?} and bias {} do not fit together",
                fusion.dims,
                fusion.mean.len(),
                fusion.map.dim(),
                fusion.bias.len()
            ))),
        }
    }
}

impl FusedSpace {
    /// Its axes `[D', D]` for centred rows `[n, D]`, and the share of their variance that it keeps.
    fn axes(self, rows: ArrayView2<'_, f32>) -> (Array2<f32>, f64) {
        match self {
            Self::Principal(dim) => {
                let found = PrincipalAxes::of(rows, dim);
                (found.axes, found.explained)
            }
            Self::SideBySide => (Array2::eye(rows.ncols()), 1.0),
        }
    }
}

fn dims(sources: &[FusionSource<'_>]) -> Vec<usize> {
    sources
        .iter()
        .map(|source| source.embeddings.ncols())
        .collect()
}

/// Centred and scaled columns: `rows = (x - mean) * factors`.
struct Block {
    rows: Array2<f32>,
    mean: Array1<f32>,
    /// What each column is multiplied by, `[D]`.
    factors: Array1<f32>,
}

impl Block {
    /// Rows with a mean squared length of `weight^2`.
    fn standard(x: ArrayView2<'_, f32>, weight: f32) -> Self {
        let (mean, scale) = standard(x);
        let factor = weight / (scale * (x.ncols() as f32).sqrt());
        let mut rows = standardize(x, &mean, 1.0);
        rows *= factor;
        Self {
            factors: Array1::from_elem(mean.len(), factor),
            rows,
            mean,
        }
    }

    /// All sources side by side, with a mean squared length of 1 in all.
    fn of_sources(sources: &[FusionSource<'_>]) -> Self {
        let total = sources.iter().map(|s| s.weight.powi(2)).sum::<f32>().sqrt();
        let block =
            |source: &FusionSource<'_>| Self::standard(source.embeddings, source.weight / total);
        let blocks: Vec<Self> = sources.iter().map(block).collect();
        let views = |of: fn(&Self) -> &Array1<f32>| -> Array1<f32> {
            blocks
                .iter()
                .flat_map(|block| of(block).iter().copied())
                .collect()
        };
        let rows: Vec<_> = blocks.iter().map(|block| block.rows.view()).collect();
        Self {
            rows: side_by_side(&rows),
            mean: views(|block| &block.mean),
            factors: views(|block| &block.factors),
        }
    }
}

/// The ridge from embeddings to collaborative vectors, over the items that have events.
fn fit(text: &Block, vectors: &CollaborativeVectors) -> Ridge {
    let known = |&row: &usize| vectors.events[row] > 0;
    let known: Vec<usize> = (0..vectors.len()).filter(known).collect();
    let (x, y) = (
        text.rows.select(Axis(0), &known),
        vectors.vectors.select(Axis(0), &known),
    );
    // The columns' mean square is 1 / D.
    Ridge::fit(x.view(), y.view(), PENALTY / x.ncols() as f64)
}

/// `(n u + 4 guess) / (n + 4)`, by item.
fn blend(vectors: &CollaborativeVectors, mut guess: Array2<f32>) -> Array2<f32> {
    let own = vectors.vectors.outer_iter().zip(&vectors.events);
    for (mut row, (own, &events)) in guess.outer_iter_mut().zip(own) {
        let events = events as f32;
        row *= GUESS / (events + GUESS);
        row.scaled_add(events / (events + GUESS), &own);
    }
    guess
}

/// The columns of all blocks, row-major.
fn side_by_side(blocks: &[ArrayView2<'_, f32>]) -> Array2<f32> {
    let all = concatenate(Axis(1), blocks).expect("numbers of items were compared");
    all.as_standard_layout().into_owned()
}

/// `x map^T + bias`, each row by itself.
fn product(x: ArrayView2<'_, f32>, map: &Array2<f32>, bias: &Array1<f32>) -> Array2<f32> {
    let mut out = Array2::zeros((x.nrows(), map.nrows()));
    Packed::new(map.view())
        .starting_from(bias)
        .product(x, out.view_mut());
    out
}

fn check(sources: &[FusionSource<'_>], items: usize, weight: f32, space: FusedSpace) -> Result<()> {
    if sources.is_empty() {
        return Err(Error::Empty);
    }
    for source in sources {
        let what = "items of a source to fuse (the histories or the first source have others)";
        expect(what, source.embeddings.nrows(), items)?;
        check_finite(source.embeddings.as_standard_layout().view(), 0)?;
    }
    let weights = || sources.iter().map(|source| source.weight);
    let setting = |name, got: String, expected: &str| Error::Setting {
        name,
        got,
        expected: expected.to_owned(),
    };
    if let Some(bad) = weights()
        .chain([weight])
        .find(|w| !(w.is_finite() && *w >= 0.0))
    {
        return Err(setting(
            "weight",
            bad.to_string(),
            "a finite number, at least 0",
        ));
    }
    if weights().all(|weight| weight == 0.0) {
        return Err(setting("weight", "0 for all sources".into(), "one above 0"));
    }
    if space == FusedSpace::Principal(0) {
        return Err(setting("dim", "0".into(), "at least 1"));
    }
    Ok(())
}

fn expect(what: &'static str, got: usize, expected: usize) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => Err(Error::Shape {
            what,
            got,
            expected,
        }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use semantic_id::ItemId;

    use super::*;

    const ITEMS: usize = 40;

    fn texts() -> Array2<f32> {
        Array2::from_shape_fn((ITEMS, 6), |(item, at)| {
            ((item % 8 * (at + 2)) as f32).sin() + 0.1 * ((item * (at + 5)) as f32).cos()
        })
    }

    /// Users who stay within a group of items; the last ten items meet nobody.
    fn vectors() -> CollaborativeVectors {
        let history =
            |user: u32| (0..5).map(move |at| ItemId(user % 6 * 5 + (user / 6 + at * at) % 5));
        let histories: Vec<Vec<ItemId>> = (0..60).map(|user| history(user).collect()).collect();
        let views: Vec<&[ItemId]> = histories.iter().map(Vec::as_slice).collect();
        CollaborativeVectors::learn(&views, ITEMS, 3, 8, 1).expect("there are pairs")
    }

    fn learn(weight: f32, dim: usize) -> (Fusion, Array2<f32>) {
        let texts = texts();
        let source = FusionSource {
            embeddings: texts.view(),
            weight: 1.0,
        };
        let space = FusedSpace::Principal(dim);
        Fusion::learn(&[source], &vectors(), weight, space).expect("one source")
    }

    fn distance(x: &Array2<f32>, a: usize, b: usize) -> f32 {
        (&x.row(a) - &x.row(b)).mapv(|x| x * x).sum()
    }

    #[test]
    fn company_brings_items_together() {
        let share = |weight| {
            let (_, fused) = learn(weight, 14);
            // Items 0 and 1 are of one group, items 0 and 9 of two.
            distance(&fused, 0, 1) / distance(&fused, 0, 9)
        };
        assert!(share(2.0) < 0.5 * share(0.0));
    }

    #[test]
    fn cold_items_are_fused_as_new_ones_are() {
        let (fusion, fused) = learn(1.0, 9);
        assert_eq!(vectors().cold(), 10);
        let cold = texts().slice(ndarray::s![30.., ..]).to_owned();
        let applied = fusion.apply(&[cold.view()]).expect("dimensions agree");
        let error = &applied - &fused.slice(ndarray::s![30.., ..]);
        assert!(error.iter().all(|e| e.abs() < 1e-5), "{error}");
        let alone = fusion.apply(&[cold.slice(ndarray::s![3..4, ..])]);
        assert_eq!(alone.expect("one item").row(0), applied.row(3));
    }

    #[test]
    fn without_weight_the_geometry_of_the_text_is_left() {
        let (fusion, fused) = learn(0.0, 6);
        assert!((fusion.explained - 1.0).abs() < 1e-6);
        let (_, scale) = standard(texts().view());
        for (a, b) in [(0, 1), (3, 17), (20, 39)] {
            let expected = distance(&texts(), a, b) / (6.0 * scale * scale);
            assert!((distance(&fused, a, b) - expected).abs() < 1e-4);
        }
    }

    #[test]
    fn two_sources_of_the_same_weigh_as_much_as_one() {
        let texts = texts();
        let source = FusionSource {
            embeddings: texts.view(),
            weight: 0.3,
        };
        let space = FusedSpace::Principal(20);
        let (fusion, two) = Fusion::learn(&[source; 2], &vectors(), 0.0, space).expect("they fit");
        assert_eq!((fusion.sources(), fusion.dim()), (&[6, 6][..], 20));
        let (_, one) = learn(0.0, 6);
        assert!((distance(&two, 0, 9) - distance(&one, 0, 9)).abs() < 1e-4);
        // Without histories there are no columns of theirs.
        let (fusion, two) = Fusion::of_sources(&[source; 2], space).expect("they fit");
        assert_eq!(fusion.dim(), 12);
        assert!((distance(&two, 0, 9) - distance(&one, 0, 9)).abs() < 1e-4);
    }

    #[test]
    fn sources_side_by_side_keep_their_columns() {
        let (texts, images) = (texts(), texts().mapv(|x| (5.0 * x).cos()));
        let source = |embeddings, weight| FusionSource { embeddings, weight };
        let sources = [source(texts.view(), 3.0), source(images.view(), 4.0)];
        let (fusion, fused) =
            Fusion::of_sources(&sources, FusedSpace::SideBySide).expect("they fit");
        assert_eq!((fusion.dim(), fusion.explained), (12, 1.0));
        for (of, columns, weight) in [(&texts, 0..6, 0.6), (&images, 6..12, 0.8)] {
            let own = fused.slice(ndarray::s![.., columns]).to_owned();
            let (mean, scale) = standard(of.view());
            let expected = standardize(of.view(), &mean, scale) * (weight / 6.0_f32.sqrt());
            assert!((&own - &expected).iter().all(|e| e.abs() < 1e-5));
        }
        let again = fusion
            .apply(&[texts.view(), images.view()])
            .expect("the same");
        assert!((again - &fused).iter().all(|e| e.abs() < 1e-5));
        let all = Fusion::learn(&sources, &vectors(), 0.5, FusedSpace::SideBySide);
        let (fusion, with_histories) = all.expect("they fit");
        assert_eq!(fusion.dim(), 12 + vectors().view().ncols());
        let own = with_histories.slice(ndarray::s![.., ..12]);
        assert!((&own - &fused).iter().all(|e| e.abs() < 1e-5));
    }

    #[test]
    fn threads_change_no_bit() {
        let bytes = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.expect("a small pool").install(|| {
                let (fusion, fused) = learn(1.0, 10);
                (fusion.to_bytes(), fused)
            })
        };
        assert_eq!(bytes(1), bytes(2));
        assert_eq!(bytes(1), bytes(5));
    }

    #[test]
    fn what_cannot_be_fused_is_refused() {
        let (texts, vectors) = (texts(), vectors());
        let source = |weight| FusionSource {
            embeddings: texts.view(),
            weight,
        };
        let refused = |sources: &[FusionSource<'_>], weight, dim| {
            let error = Fusion::learn(sources, &vectors, weight, FusedSpace::Principal(dim))
                .expect_err("refused");
            error.to_string()
        };
        assert!(refused(&[], 1.0, 4).contains("no rows"));
        assert!(refused(&[source(0.0)], 1.0, 4).contains("0 for all sources"));
        assert!(refused(&[source(1.0)], f32::NAN, 4).contains("`weight`: got NaN"));
        assert!(refused(&[source(1.0)], 1.0, 0).contains("`dim`"));
        let short = FusionSource {
            embeddings: texts.slice(ndarray::s![..7, ..]),
            weight: 1.0,
        };
        assert!(refused(&[short], 1.0, 4).contains("got 7, expected 40"));
        let mut infinite = texts.clone();
        infinite[[7, 2]] = f32::INFINITY;
        let infinite = FusionSource {
            embeddings: infinite.view(),
            weight: 1.0,
        };
        assert!(refused(&[infinite], 1.0, 4).contains("must be finite"));
        let (fusion, _) = learn(1.0, 4);
        assert!(fusion.apply(&[]).is_err());
        assert!(fusion.apply(&[Array2::zeros((3, 5)).view()]).is_err());
    }

    #[test]
    fn a_file_gives_back_the_fusion() {
        let (fusion, _) = learn(1.0, 7);
        let read = Fusion::from_bytes(&fusion.to_bytes()).expect("our own file");
        assert_eq!(read, fusion);
        let other = Fusion::from_bytes(&crate::npy(texts().view())).expect_err("no fusion");
        assert!(other.to_string().contains("the fusion"), "{other}");
    }

    proptest! {
        /// Whatever the bytes: a fusion that can be applied, or an error.
        #[test]
        fn hostile_bytes_do_not_panic(at in 0_usize..2000, byte: u8, cut in 0_usize..40) {
            let mut bytes = learn(1.0, 3).0.to_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            bytes.truncate(bytes.len() - cut / 8);
            if let Ok(fusion) = Fusion::from_bytes(&bytes) {
                let items = fusion.sources().iter().map(|&dim| Array2::zeros((2, dim)));
                let items: Vec<_> = items.collect();
                let views: Vec<_> = items.iter().map(|items| items.view()).collect();
                fusion.apply(&views).expect("the sources that it asks for");
            }
        }
    }
}
