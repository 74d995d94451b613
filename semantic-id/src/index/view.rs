use std::ops::Range;

use crate::Code;

/// A little-endian `u32` tensor of an index file, read in place.
///
/// ```
/// use semantic_id::U32s;
///
/// let view = U32s::new(&[7, 0, 0, 0, 1, 1, 0, 0]);
/// assert_eq!(view.iter().collect::<Vec<_>>(), [7, 257]);
/// assert_eq!(view.get(2), None);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct U32s<'a>(&'a [[u8; 4]]);

impl<'a> U32s<'a> {
    /// A view of whole words; bytes after the last one are not seen.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.as_chunks().0)
    }

    /// The value at `at`, if there is one.
    #[inline]
    pub fn get(self, at: usize) -> Option<u32> {
        self.0.get(at).copied().map(u32::from_le_bytes)
    }

    /// Number of values.
    pub fn len(self) -> usize {
        self.0.len()
    }

    /// Whether there are no values.
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// All values.
    pub fn iter(self) -> impl ExactSizeIterator<Item = u32> + use<'a> {
        self.0.iter().copied().map(u32::from_le_bytes)
    }

    /// The interval `[self[at], self[at + 1])` of an offsets tensor.
    #[inline]
    pub fn interval(self, at: usize) -> Option<Range<u32>> {
        Some(self.get(at)?..self.get(at.checked_add(1)?)?)
    }
}

/// The codes of a level's nodes, one or two bytes each, read in place.
#[derive(Debug, Clone, Copy)]
pub enum Codes<'a> {
    /// Every code of the level is below 256.
    U8(&'a [u8]),
    /// Little-endian codes.
    U16(&'a [[u8; 2]]),
}

impl<'a> Codes<'a> {
    /// The code at `at`, if there is one.
    #[inline]
    pub fn get(self, at: usize) -> Option<Code> {
        match self {
            Self::U8(codes) => codes.get(at).map(|&code| Code(code.into())),
            Self::U16(codes) => codes.get(at).map(|&code| Code(u16::from_le_bytes(code))),
        }
    }

    /// Number of codes.
    pub fn len(self) -> usize {
        match self {
            Self::U8(codes) => codes.len(),
            Self::U16(codes) => codes.len(),
        }
    }

    /// Whether there are no codes.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The codes in `at`, if all of them exist: the children of one node.
    #[inline]
    pub fn slice(self, at: Range<usize>) -> Option<Self> {
        match self {
            Self::U8(codes) => codes.get(at).map(Self::U8),
            Self::U16(codes) => codes.get(at).map(Self::U16),
        }
    }

    /// All codes.
    pub fn iter(self) -> impl ExactSizeIterator<Item = Code> + use<'a> {
        (0..self.len()).map(move |at| self.get(at).expect("below the length"))
    }

    /// The position of `code` among ascending codes, in `O(log n)`.
    pub fn find(self, code: Code) -> Option<usize> {
        match self {
            Self::U8(codes) => codes.binary_search(&u8::try_from(code.0).ok()?).ok(),
            Self::U16(codes) => codes
                .binary_search_by_key(&code.0, |&code| u16::from_le_bytes(code))
                .ok(),
        }
    }
}

/// The nodes of one level, in lexicographic order of their prefixes.
#[derive(Debug, Clone, Copy)]
pub struct Level<'a> {
    /// The code of each node, ascending among the children of one parent, `[n_l]`.
    pub codes: Codes<'a>,
    /// Where each node's children begin, `[n_l + 1]`: nodes of the next level or, at the
    /// last level, ranks. `None` at the last level of an index in which every
    /// leaf holds one item: then leaf and rank are the same number.
    pub first_child: Option<U32s<'a>>,
}

impl Level<'_> {
    /// The children of `node` (at the last level: its ranks).
    #[inline]
    pub fn children(self, node: u32) -> Option<Range<u32>> {
        match self.first_child {
            Some(offsets) => offsets.interval(node as usize),
            None => Some(node..node.checked_add(1)?),
        }
    }

    /// The children of a run of nodes, which are a run too.
    pub(crate) fn descendants(self, nodes: &Range<u32>) -> Option<Range<u32>> {
        match self.first_child {
            Some(offsets) => {
                Some(offsets.get(nodes.start as usize)?..offsets.get(nodes.end as usize)?)
            }
            None => Some(nodes.clone()),
        }
    }
}

/// The offsets and text of the item keys, read in place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys<'a> {
    pub(crate) offsets: &'a [[u8; 8]],
    pub(crate) text: &'a [u8],
}

impl<'a> Keys<'a> {
    /// The bytes of one key; `None` if the row or its offsets are out of range.
    #[inline]
    pub(crate) fn get(self, row: usize) -> Option<&'a [u8]> {
        let (start, end) = (self.offset(row)?, self.offset(row.checked_add(1)?)?);
        self.text.get(start..end)
    }

    #[inline]
    pub(crate) fn offset(self, row: usize) -> Option<usize> {
        usize::try_from(u64::from_le_bytes(*self.offsets.get(row)?)).ok()
    }
}
