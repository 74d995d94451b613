use std::collections::BTreeMap;

use super::Lengths;

/// Rows packed whole into sequences of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Packing {
    /// Tokens that fit into a sequence.
    pub context: u32,
    /// Sequences that are needed.
    pub sequences: u64,
    /// Tokens of the rows that were packed; rows longer than the context are not.
    pub tokens: u64,
}

impl Packing {
    /// Packs best-fit decreasing: longest rows first, each into the fullest sequence that still
    /// has room (Johnson 1973; at most 11/9 of the fewest sequences there can be, and 4).
    ///
    /// Works on counts: rows of one length that go into sequences of one room are placed at once,
    /// so time and memory grow with the number of different lengths.
    pub fn best_fit(rows: &Lengths, context: u32) -> Self {
        // Sequences by the room that is left in them.
        let mut open: BTreeMap<u32, u64> = BTreeMap::new();
        let (mut sequences, mut tokens) = (0, 0);
        let fitting = |&(length, _): &(u32, u64)| 0 < length && length <= context;
        for (length, mut count) in rows.counts().filter(fitting).rev() {
            tokens += u64::from(length) * count;
            while count > 0 {
                let (room, there) = match open.range(length..).next() {
                    Some((&room, &there)) => (room, there),
                    None => {
                        let new = count.div_ceil(u64::from(context / length));
                        sequences += new;
                        (context, new)
                    }
                };
                open.remove(&room);
                // Some take as many rows as they can, one the rest, the others none.
                let each = u64::from(room / length);
                let full = there.min(count / each);
                let rest = if full < there { count % each } else { 0 };
                let last = u64::from(rest > 0);
                for (rows, sequences) in [(each, full), (rest, last), (0, there - full - last)] {
                    if sequences > 0 {
                        *open.entry(room - length * rows as u32).or_default() += sequences;
                    }
                }
                count -= full * each + rest;
            }
        }
        Self {
            context,
            sequences,
            tokens,
        }
    }

    /// The share of the sequences' places that hold a token; 1 without sequences.
    pub fn used(&self) -> f64 {
        match self.sequences {
            0 => 1.0,
            sequences => self.tokens as f64 / (sequences as f64 * f64::from(self.context)),
        }
    }
}

/// Next-fit: rows in their order, a new sequence whenever the next row does not fit.
#[derive(Debug, Clone)]
pub struct NextFit {
    packing: Packing,
    room: u32,
}

impl NextFit {
    /// Begins with no sequence.
    pub fn new(context: u32) -> Self {
        Self {
            packing: Packing {
                context,
                sequences: 0,
                tokens: 0,
            },
            room: 0,
        }
    }

    /// Packs the next row; one longer than the context is left out.
    pub fn add(&mut self, length: usize) {
        let Ok(length) = u32::try_from(length) else {
            return;
        };
        if length > self.packing.context {
            return;
        }
        if length > self.room {
            self.packing.sequences += 1;
            self.room = self.packing.context;
        }
        self.room -= length;
        self.packing.tokens += u64::from(length);
    }

    /// Adds what was packed apart: its sequences stay its own.
    pub fn merge(&mut self, other: &Self) {
        self.packing.sequences += other.packing.sequences;
        self.packing.tokens += other.packing.tokens;
        self.room = other.room;
    }

    /// What came out.
    pub fn packing(&self) -> Packing {
        self.packing
    }
}
