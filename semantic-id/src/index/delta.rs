use serde::{Deserialize, Serialize};

use super::{Change, ItemIndex};
use crate::{Digest, Error, Manifest, Result};

/// What a copy of an index needs to become the next generation, byte for byte.
///
/// A file of JSON, as `docs/formats.md` specifies; it is in proportion to the change, not to the
/// catalogue.
///
/// ```
/// # use semantic_id::{Change, Code, CodeMatrix, CodeSpace, Delta, IndexInfo, ItemIndex, ItemKeys};
/// # use semantic_id::{Manifest, TokenFormat};
/// # let space = CodeSpace::uniform(2, 4)?;
/// # let codes = CodeMatrix::new([3, 1, 0, 2].map(Code).to_vec(), 2)?;
/// # let keys = ItemKeys::new(["lamp", "desk"])?;
/// # let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("doc", ().into()));
/// # let first = ItemIndex::build(&space, &codes, &keys, 1, info)?;
/// # let manifest = || Manifest::new("doc", ().into());
/// let change = Change { removed: vec!["lamp".into()], ..Change::default() };
/// let second = first.changed(&change, 1, manifest())?;
///
/// let file = Delta::new(change, 1, &second)?.to_json();
/// let served = Delta::from_json(&file)?.apply(&first)?;
/// assert_eq!(served.bytes(), second.bytes());
/// assert!(Delta::from_json(&file)?.apply(&second).is_err(), "it is there already");
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    format: String,
    version: u32,
    parent: Digest,
    child: Digest,
    generation: u64,
    per_path: usize,
    #[serde(flatten)]
    change: Change,
    manifest: Manifest,
}

const FORMAT: &str = "semid.delta";
const VERSION: u32 = 1;

impl Delta {
    /// The way to `child`, which [`ItemIndex::changed`] made with this change.
    ///
    /// # Errors
    ///
    /// [`Error::Delta`] if the child is a first generation.
    pub fn new<D: AsRef<[u8]>>(
        change: Change,
        per_path: usize,
        child: &ItemIndex<D>,
    ) -> Result<Self> {
        let orphan = || Error::Delta("a first generation has no parent to start from".to_owned());
        let info = child.info();
        Ok(Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            parent: info.parent.ok_or_else(orphan)?,
            child: child.digest(),
            generation: info.generation,
            per_path,
            change,
            manifest: info.manifest.clone(),
        })
    }

    /// The generation before, by its [`ItemIndex::digest`].
    pub fn parent(&self) -> Digest {
        self.parent
    }

    /// The generation that it leads to.
    pub fn child(&self) -> Digest {
        self.child
    }

    /// What changes.
    pub fn change(&self) -> &Change {
        &self.change
    }

    /// The child of `parent`: its very bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Delta`] if this is the delta of another parent, or what comes out is not the
    /// child; those of [`ItemIndex::changed`].
    pub fn apply<D: AsRef<[u8]>>(&self, parent: &ItemIndex<D>) -> Result<ItemIndex<Vec<u8>>> {
        if parent.digest() != self.parent {
            return Err(Error::Delta(format!(
                "it starts from {} (generation {}), but the index is {} (generation {})",
                self.parent,
                self.generation.saturating_sub(1),
                parent.digest(),
                parent.info().generation
            )));
        }
        let child = parent.changed(&self.change, self.per_path, self.manifest.clone())?;
        if child.digest() == self.child {
            return Ok(child);
        }
        Err(Error::Delta(format!(
            "it should lead to {}, but leads to {}; one of the files was changed",
            self.child,
            child.digest()
        )))
    }

    /// The file.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec(self).expect("plain data serialises");
        json.push(b'\n');
        json
    }

    /// Reads the file.
    ///
    /// # Errors
    ///
    /// [`Error::Delta`] if it is no delta of this version.
    pub fn from_json(bytes: &[u8]) -> Result<Self> {
        let delta: Self =
            serde_json::from_slice(bytes).map_err(|error| Error::Delta(error.to_string()))?;
        if delta.format != FORMAT || delta.version != VERSION {
            return Err(Error::Delta(format!(
                "got format {:?} version {}, expected {FORMAT:?} version {VERSION}",
                delta.format, delta.version
            )));
        }
        Ok(delta)
    }
}
