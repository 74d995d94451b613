use std::cmp::Ordering;
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};

use blake3::Hasher;
use safetensors::Dtype;

use super::IndexInfo;
use super::build::{Tensor, Values, header, seal};
use super::layout::first_child_name;
use super::tree::check_path;
use crate::{Code, CodeMatrix, CodeSpace, Digest, Error, ItemId, Result};

/// Writes the index file of a catalogue that may be larger than memory, of three lists that come
/// in order: the items by rank, the keys by row, the items by key.
///
/// Everything goes through spools, files as a rule; what is held is a few MiB, and while
/// [`finish`](Self::finish) inverts the ranks 256 MiB. The file has the bytes that
/// [`ItemIndex::build`](super::ItemIndex::build) would give it.
///
/// ```
/// use std::io::Cursor;
/// use semantic_id::{Code, CodeMatrix, CodeSpace, IndexInfo, IndexWriter, ItemId, ItemIndex};
/// use semantic_id::{ItemKeys, Manifest, TokenFormat};
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let info = IndexInfo::new(TokenFormat::lc_rec(2), Manifest::new("doc", ().into()));
/// let spool = || Ok(Cursor::new(Vec::new()));
/// let mut writer = IndexWriter::new(space.clone(), info.clone(), 1, spool)?;
/// let ranked = CodeMatrix::new([0, 2, 3, 1].map(Code).to_vec(), 2)?;
/// writer.ranks(&ranked, &[ItemId(1), ItemId(0)])?;
/// writer.keys(["lamp", "desk"])?;
/// writer.key_order(&[ItemId(1), ItemId(0)])?;
/// let mut file = Cursor::new(Vec::new());
/// writer.finish(&mut file)?;
///
/// let codes = CodeMatrix::new([3, 1, 0, 2].map(Code).to_vec(), 2)?;
/// let keys = ItemKeys::new(["lamp", "desk"])?;
/// let built = ItemIndex::build(&space, &codes, &keys, 1, info)?;
/// assert_eq!(file.into_inner(), built.bytes());
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug)]
pub struct IndexWriter<S: Write> {
    space: CodeSpace,
    info: IndexInfo,
    per_path: usize,
    levels: Vec<Nodes<S>>,
    rank_to_item: Spool<S>,
    item_to_rank: Spool<S>,
    key_order: Spool<S>,
    key_offsets: Spool<S>,
    key_text: Spool<S>,
    /// The path of the last rank, and how many have it.
    path: Vec<Code>,
    shared: usize,
    /// Rows whose ranks are held at a time.
    window: usize,
}

/// The nodes of one level.
#[derive(Debug)]
struct Nodes<S: Write> {
    /// In two bytes each, whatever the file will have.
    codes: Spool<S>,
    first_child: Spool<S>,
    largest: Code,
}

/// Bytes that are written, then read.
#[derive(Debug)]
struct Spool<S: Write> {
    file: BufWriter<S>,
    bytes: usize,
}

impl<S: Read + Write + Seek> IndexWriter<S> {
    /// A writer that makes its spools by `spool`: places for bytes that can be read again. At
    /// most `per_path` items may share a path.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the token format has other levels than the space; [`Error::Io`].
    pub fn new(
        space: CodeSpace,
        info: IndexInfo,
        per_path: usize,
        mut spool: impl FnMut() -> io::Result<S>,
    ) -> Result<Self> {
        if info.token_format.levels() != space.levels() {
            return Err(Error::Shape {
                what: "levels of the token format",
                got: info.token_format.levels(),
                expected: space.levels(),
            });
        }
        let mut spool = || spool().map(Spool::new);
        let mut nodes = || {
            Ok::<_, io::Error>(Nodes {
                codes: spool()?,
                first_child: spool()?,
                largest: Code(0),
            })
        };
        let levels: Vec<_> = (0..space.levels())
            .map(|_| nodes())
            .collect::<io::Result<_>>()?;
        let mut writer = Self {
            path: vec![Code(0); space.levels()],
            shared: 0,
            window: 1 << 26,
            space,
            info,
            per_path,
            levels,
            rank_to_item: spool()?,
            item_to_rank: spool()?,
            key_order: spool()?,
            key_offsets: spool()?,
            key_text: spool()?,
        };
        writer.key_offsets.put(&0_u64.to_le_bytes())?;
        Ok(writer)
    }

    /// The items of the next ranks and their paths `[n, L]`, which ascend; where paths are equal,
    /// the keys do.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if there is not one path an item; [`Error::CodeOutOfRange`] and
    /// [`Error::Padding`] for a path that is none; [`Error::Parts`] if paths do not ascend,
    /// [`Error::Crowded`] if too many items share one; [`Error::Io`].
    pub fn ranks(&mut self, codes: &CodeMatrix, items: &[ItemId]) -> Result<()> {
        for (what, got, expected) in [
            ("levels of the codes", codes.levels(), self.space.levels()),
            ("rows of codes", codes.len(), items.len()),
        ] {
            if got != expected {
                return Err(Error::Shape {
                    what,
                    got,
                    expected,
                });
            }
        }
        let mut pairs = codes.rows().zip(items);
        pairs.try_for_each(|(path, &item)| self.rank(path, item))
    }

    fn rank(&mut self, path: &[Code], item: ItemId) -> Result<()> {
        check_path(&self.space, path, item)?;
        let rank = self.rank_to_item.len::<u32>();
        let next = u32::try_from(rank + 1).map_err(|_| Error::Shape {
            what: "number of items",
            got: rank + 1,
            expected: u32::MAX as usize,
        })?;
        let same = match path.cmp(&self.path) {
            _ if rank == 0 => 0,
            Ordering::Less => {
                return Err(Error::Parts(format!(
                    "path {path:?} at rank {rank} comes after {:?}, expected ascending ones",
                    self.path
                )));
            }
            _ => self
                .path
                .iter()
                .zip(path)
                .take_while(|(a, b)| a == b)
                .count(),
        };
        self.shared = if same == path.len() {
            self.shared + 1
        } else {
            1
        };
        if self.shared > self.per_path {
            return Err(Error::Crowded {
                path: path.iter().map(|code| code.0).collect(),
                items: self.shared,
                capacity: self.per_path,
            });
        }
        for (level, &code) in path.iter().enumerate().skip(same) {
            // Its first child, or rank, is what comes next there.
            let below = self.levels.get(level + 1);
            let first_child = below.map_or(next - 1, |nodes| nodes.codes.len::<u16>() as u32);
            let nodes = &mut self.levels[level];
            nodes.first_child.put(&first_child.to_le_bytes())?;
            nodes.codes.put(&code.0.to_le_bytes())?;
            nodes.largest = nodes.largest.max(code);
        }
        self.path.copy_from_slice(path);
        Ok(self.rank_to_item.put(&item.0.to_le_bytes())?)
    }

    /// The keys of the next rows.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn keys<K: AsRef<str>>(&mut self, keys: impl IntoIterator<Item = K>) -> Result<()> {
        for key in keys {
            self.key_text.put(key.as_ref().as_bytes())?;
            let end = self.key_text.bytes as u64;
            self.key_offsets.put(&end.to_le_bytes())?;
        }
        Ok(())
    }

    /// The items of the next keys, by the order of all keys.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn key_order(&mut self, items: &[ItemId]) -> Result<()> {
        for item in items {
            self.key_order.put(&item.0.to_le_bytes())?;
        }
        Ok(())
    }

    /// Puts the file together, from where `out` is. Returns [`ItemIndex::digest`] of it.
    ///
    /// Keys are not compared: [`ItemIndex::validate`] finds one that is there twice, or out of
    /// order.
    ///
    /// [`ItemIndex::digest`]: super::ItemIndex::digest
    /// [`ItemIndex::validate`]: super::ItemIndex::validate
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without items; [`Error::Parts`] if the lists are not as long as each
    /// other, or a row has no rank or two; [`Error::Io`].
    pub fn finish(mut self, out: &mut (impl Write + Seek)) -> Result<Digest> {
        let items = self.rank_to_item.len::<u32>();
        if items == 0 {
            return Err(Error::Empty);
        }
        let keys = self.key_offsets.len::<u64>() - 1;
        for (what, got) in [
            ("keys", keys),
            ("keys in order", self.key_order.len::<u32>()),
        ] {
            if got != items {
                return Err(Error::Parts(format!("got {got} {what}, expected {items}")));
            }
        }
        let leaves = self.levels.len();
        let ends: Vec<usize> = (self.levels[1..].iter())
            .map(|nodes| nodes.codes.len::<u16>())
            .chain([items])
            .collect();
        let shared = self.levels[leaves - 1].codes.len::<u16>() < items;
        let mut tensors = Vec::new();
        for ((level, mut nodes), end) in self.levels.into_iter().enumerate().zip(ends) {
            let (dtype, kept) = match nodes.largest.0 {
                0..256 => (Dtype::U8, Kept::LowBytes),
                _ => (Dtype::U16, Kept::All),
            };
            let name = format!("level.{level}.code");
            tensors.push(Tensor::new(&name, dtype, nodes.codes.stored(kept)?));
            if level + 1 < leaves || shared {
                nodes.first_child.put(&(end as u32).to_le_bytes())?;
                let stored = nodes.first_child.stored(Kept::All)?;
                tensors.push(Tensor::new(
                    &first_child_name(level, leaves),
                    Dtype::U32,
                    stored,
                ));
            }
        }
        let mut ranks = self.rank_to_item.stored(Kept::All)?;
        invert(&mut ranks, items, self.window, &mut self.item_to_rank)?;
        tensors.push(Tensor::new("rank_to_item", Dtype::U32, ranks));
        for (name, dtype, spool) in [
            ("item_to_rank", Dtype::U32, self.item_to_rank),
            ("item_key.order", Dtype::U32, self.key_order),
            ("item_key.offset", Dtype::U64, self.key_offsets),
            ("item_key.bytes", Dtype::U8, self.key_text),
        ] {
            tensors.push(Tensor::new(name, dtype, spool.stored(Kept::All)?));
        }

        let start = out.stream_position()?;
        let mut header = header(&self.space, &self.info, &mut tensors);
        let mut hash = Hasher::new();
        let mut put = |bytes: &[u8]| {
            hash.update_rayon(bytes);
            Ok(out.write_all(bytes)?)
        };
        put(&header)?;
        for tensor in &mut tensors {
            tensor.values.each_block(&mut put)?;
        }
        let digest = hash.finalize().into();
        seal(&mut header, digest);
        let end = out.stream_position()?;
        out.seek(SeekFrom::Start(start))?;
        out.write_all(&header)?;
        out.seek(SeekFrom::Start(end))?;
        Ok(digest)
    }
}

impl<S: Read + Write + Seek> Spool<S> {
    fn new(file: S) -> Self {
        Self {
            file: BufWriter::with_capacity(BLOCK, file),
            bytes: 0,
        }
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes += bytes.len();
        self.file.write_all(bytes)
    }

    /// How many values of a type it holds.
    fn len<T>(&self) -> usize {
        self.bytes / size_of::<T>()
    }

    fn stored(self, kept: Kept) -> Result<Stored<S>> {
        let file = self
            .file
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(Stored {
            file,
            bytes: self.bytes,
            kept,
        })
    }
}

/// What was written, to be read.
struct Stored<S> {
    file: S,
    bytes: usize,
    kept: Kept,
}

/// What the file has of the stored bytes.
#[derive(Clone, Copy)]
enum Kept {
    All,
    /// Of numbers of two bytes the lower one.
    LowBytes,
}

/// Bytes that are read at a time; whole numbers of any type.
const BLOCK: usize = 1 << 18;

impl<S: Read + Seek> Stored<S> {
    fn each_block(&mut self, visit: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        let mut block = vec![0; BLOCK.min(self.bytes)];
        let mut left = self.bytes;
        while left > 0 {
            let block = &mut block[..BLOCK.min(left)];
            self.file.read_exact(block)?;
            left -= block.len();
            match self.kept {
                Kept::All => visit(block)?,
                Kept::LowBytes => {
                    let low: Vec<u8> = block.iter().copied().step_by(2).collect();
                    visit(&low)?;
                }
            }
        }
        Ok(())
    }
}

impl<S> Values for Stored<S> {
    fn bytes(&self) -> usize {
        match self.kept {
            Kept::All => self.bytes,
            Kept::LowBytes => self.bytes / 2,
        }
    }
}

/// Writes the rank of each item, from the item of each rank: `window` items at a time, each of
/// which costs a look at all ranks.
fn invert<S: Read + Write + Seek>(
    rank_to_item: &mut Stored<S>,
    items: usize,
    window: usize,
    item_to_rank: &mut Spool<S>,
) -> Result<()> {
    const NONE: u32 = u32::MAX;
    for start in (0..items).step_by(window) {
        let mut ranks = vec![NONE; window.min(items - start)];
        let mut rank = 0;
        rank_to_item.each_block(&mut |block| {
            for item in block.as_chunks().0 {
                let item = u32::from_le_bytes(*item) as usize;
                if item >= items {
                    let problem = format!("rank {rank} has row {item}, expected one below {items}");
                    return Err(Error::Parts(problem));
                }
                if let Some(own) = item.checked_sub(start).and_then(|at| ranks.get_mut(at)) {
                    if *own != NONE {
                        let problem = format!("row {item} has ranks {own} and {rank}");
                        return Err(Error::Parts(problem));
                    }
                    *own = rank;
                }
                rank += 1;
            }
            Ok(())
        })?;
        for rank in ranks {
            item_to_rank.put(&rank.to_le_bytes())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    #[test]
    fn ranks_are_inverted_in_windows_of_any_size() {
        let order: Vec<u32> = (0..50).map(|rank| rank * 27 % 50).collect();
        for window in [1, 7, 50, 64] {
            let spool = || Spool::new(Cursor::new(Vec::new()));
            let (mut forth, mut back) = (spool(), spool());
            for item in &order {
                forth.put(&item.to_le_bytes()).expect("memory");
            }
            let mut forth = forth.stored(Kept::All).expect("memory");
            invert(&mut forth, order.len(), window, &mut back).expect("a permutation");
            let bytes = back.stored(Kept::All).expect("memory").file.into_inner();
            let back: Vec<u32> = bytes
                .as_chunks()
                .0
                .iter()
                .map(|b| u32::from_le_bytes(*b))
                .collect();
            assert!(
                order
                    .iter()
                    .enumerate()
                    .all(|(rank, &item)| back[item as usize] == rank as u32)
            );
        }
    }
}
