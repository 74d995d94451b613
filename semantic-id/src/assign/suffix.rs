use super::{Assigner, Assignment, by_path, check_keys};
use crate::{Code, CodeMatrix, CodeSpace, Draft, Error, ItemKeys, Result};

/// One more level, whose code counts the items of a path: TIGER's way.
///
/// Rajput et al., *Recommender Systems with Generative Retrieval*, NeurIPS 2023, section 3.1.
/// No item moves, but IDs are longer by a code that means nothing. The new level has as many
/// codes as the most crowded path has items, given out in order of the keys.
///
/// # Errors
///
/// [`Error::CodeSpace`] if a path holds more than [`CodeSpace::MAX_CODES`] items, or the draft
/// has [`CodeSpace::MAX_LEVELS`] levels already. Takes `O(N log N)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SuffixAssigner;

impl Assigner for SuffixAssigner {
    fn assign(&self, draft: &Draft, keys: &ItemKeys) -> Result<Assignment> {
        check_keys(draft, keys)?;
        let native = draft.paths();
        let mut suffixes = vec![0; native.len()];
        let mut largest = 0;
        for crowd in by_path(native, keys).chunk_by(|&a, &b| native.row(a) == native.row(b)) {
            for (suffix, item) in crowd.iter().enumerate() {
                suffixes[item.index()] = suffix;
            }
            largest = largest.max(crowd.len());
        }
        let sizes = draft.space().sizes().iter().copied();
        let space = CodeSpace::new(sizes.chain([suffix_codes(largest)?]).collect())?;
        let codes = native
            .rows()
            .zip(suffixes)
            .flat_map(|(path, suffix)| path.iter().copied().chain([Code(suffix as u16)]));
        let paths = CodeMatrix::new(codes.collect(), space.levels())?;
        Assignment::new(space, paths, 1)
    }
}

fn suffix_codes(largest: usize) -> Result<u32> {
    u32::try_from(largest)
        .ok()
        .filter(|&codes| codes <= CodeSpace::MAX_CODES)
        .ok_or_else(|| {
            Error::CodeSpace(format!(
                "{largest} items share a path, expected at most {} to tell apart by a suffix; \
                 use the optimal assigner",
                CodeSpace::MAX_CODES
            ))
        })
}
