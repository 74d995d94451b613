use ndarray::{Array2, ArrayView2, s};

use crate::quantizer::{Codebook, ResidualQuantizer};
use crate::{Error, ResidualKMeans, Result, RqVaeConfig};

/// Residual k-means on `points` `[n, d]`, of each block of columns by itself if the configuration
/// has [blocks](crate::RqVaeParams::blocks), telling `progress` after each level.
///
/// A block's centroids are zero in all other columns: a path's point is that of each block side
/// by side, and every search and every assigner works as it does without blocks.
pub(crate) fn by_blocks(
    config: &RqVaeConfig,
    points: ArrayView2<'_, f32>,
    mut progress: impl FnMut(usize),
) -> Result<ResidualQuantizer> {
    let whole = ResidualKMeans::of(config);
    if config.blocks.is_empty() {
        return whole.fit(points, progress);
    }
    let dims = config.blocks.iter().map(|&(dim, _)| dim);
    let dims = dims.fold(0, usize::saturating_add);
    if dims != points.ncols() {
        return Err(Error::Shape {
            what: "dimensions of all blocks",
            got: dims,
            expected: points.ncols(),
        });
    }
    let mut codebooks = Vec::with_capacity(config.levels);
    let mut start = 0;
    for &(dim, levels) in &config.blocks {
        let columns = start..start + dim;
        let done = codebooks.len();
        let block = ResidualKMeans { levels, ..whole };
        let own = points.slice(s![.., columns.clone()]);
        let quantizer = block.fit(own, |level| progress(done + level))?;
        codebooks.extend(quantizer.codebooks().iter().map(|codebook| {
            let mut wide = Array2::zeros((codebook.len(), dims));
            wide.slice_mut(s![.., columns.clone()]).assign(&codebook.0);
            Codebook(wide)
        }));
        start += dim;
    }
    ResidualQuantizer::new(codebooks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BEAMS, Encoder, Preset, RqVaeParams};

    fn params(blocks: Vec<(usize, usize)>) -> RqVaeParams {
        RqVaeParams {
            levels: 3,
            codes: 8,
            standardize: false,
            blocks,
            ..RqVaeParams::preset(Preset::RkMeans)
        }
    }

    fn encoder(x: ArrayView2<'_, f32>, params: RqVaeParams) -> Result<Encoder> {
        Encoder::residual_kmeans(&params.check()?, x, |_level| ())
    }

    /// What one source tells does not touch the codes of the other.
    #[test]
    fn each_block_is_quantized_as_if_it_were_alone() {
        let x = Array2::from_shape_fn((300, 7), |(row, column)| {
            ((row * (column + 2)) as f32 * 0.37).sin()
        });
        let both = encoder(x.view(), params(vec![(4, 2), (3, 1)])).expect("seven dimensions");
        let (paths, _) = both.encode(x.view(), BEAMS).expect("dimensions agree");
        for (columns, levels) in [(0..4, 0..2), (4..7, 2..3)] {
            let own = x.slice(s![.., columns]);
            let levels_alone = RqVaeParams {
                levels: levels.len(),
                ..params(Vec::new())
            };
            let alone = encoder(own, levels_alone).expect("sound settings");
            let (expected, _) = alone.encode(own, BEAMS).expect("dimensions agree");
            for (path, expected) in paths.rows().zip(expected.rows()) {
                assert_eq!(&path[levels.clone()], expected);
            }
        }
    }

    #[test]
    fn blocks_that_do_not_fit_are_refused() {
        let x = Array2::zeros((10, 7));
        let refused = |blocks| {
            encoder(x.view(), params(blocks))
                .expect_err("refused")
                .to_string()
        };
        assert!(refused(vec![(4, 2), (4, 1)]).contains("got 8, expected 7"));
        assert!(refused(vec![(4, 2), (3, 2)]).contains("3 levels in all"));
        assert!(refused(vec![(7, 3), (0, 0)]).contains("at least a dimension"));
        let networks = RqVaeParams {
            epochs: 1,
            ..params(vec![(7, 3)])
        };
        assert!(networks.check().is_err());
    }
}
