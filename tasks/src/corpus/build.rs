use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::mpsc::sync_channel;

use rayon::prelude::*;

use super::{Corpus, Counts, Scratch};
use crate::{CorpusFolder, Error, Folder, Part, Result, RowWriter, shard_name};

/// Places of a block: what one thread makes at a time.
const BLOCK: u64 = 2048;

/// Blocks that wait for the file.
const WAITING: usize = 2;

impl Corpus<'_> {
    /// Writes all rows as shards of so many places each, and says after every block how many
    /// places it was; shards that an earlier run has finished are passed over. An error of
    /// `progress` stops it; the finished shards are kept, and a later run goes on behind them.
    ///
    /// Rows are made on all threads of the pool, and written in order by one: the bytes do not
    /// depend on the number of threads. Memory: some blocks of rows.
    ///
    /// # Errors
    ///
    /// Those of [`Corpus::rows`], of `progress` and of the files; a row that does not fit the
    /// format, which is told before the first file is made.
    pub fn write<F: Folder>(
        &self,
        part: Part,
        rows: &RowWriter,
        places_per_shard: u64,
        folder: &mut CorpusFolder<F>,
        progress: &(dyn Fn(u64) -> Result<()> + Sync),
    ) -> Result<()> {
        self.check_rows(rows)?;
        let shards = self.len().div_ceil(places_per_shard);
        for shard in 0..shards {
            let name = shard_name(
                part,
                shard as usize,
                Some(shards as usize),
                rows.container(),
            );
            let first = shard * places_per_shard;
            let end = self.len().min(first + places_per_shard);
            let mut passed = true;
            folder.shard(&name, rows, |writer| {
                passed = false;
                let mut counts = Counts::default();
                self.blocks(first..end, rows, |block| {
                    writer.write(&block.bytes, block.rows)?;
                    counts.add(&block.counts);
                    progress(block.places)
                })?;
                Ok(counts.named())
            })?;
            if passed {
                progress(end - first)?;
            }
        }
        Ok(())
    }

    /// The rows at some places as they are written, in order. Made on all threads of the pool, and
    /// held in memory.
    ///
    /// # Errors
    ///
    /// Those of [`Corpus::rows`]; a row that does not fit the format.
    pub fn bytes(&self, places: Range<u64>, rows: &RowWriter) -> Result<Vec<u8>> {
        let blocks = self.made(places, rows).into_iter();
        let blocks = blocks.map(|block| Ok(block?.bytes));
        Ok(blocks.collect::<Result<Vec<_>>>()?.concat())
    }

    /// Makes blocks of rows on all threads of the pool, and gives them to `take` in order, on a
    /// thread of its own.
    fn blocks(
        &self,
        places: Range<u64>,
        rows: &RowWriter,
        mut take: impl FnMut(Block) -> Result<()> + Send,
    ) -> Result<()> {
        let group = BLOCK * rayon::current_num_threads() as u64 * 8;
        std::thread::scope(|scope| {
            let (send, receive) = sync_channel::<Vec<Result<Block>>>(WAITING);
            let taker = scope.spawn(move || {
                let mut blocks = receive.iter().flatten();
                blocks.try_for_each(|block| take(block?))
            });
            for first in places.clone().step_by(group as usize) {
                let blocks = self.made(first..places.end.min(first + group), rows);
                if send.send(blocks).is_err() {
                    break; // the taker has failed, and says why
                }
            }
            drop(send);
            taker.join().expect("writing blocks does not panic")
        })
    }

    /// The blocks of some places.
    fn made(&self, places: Range<u64>, rows: &RowWriter) -> Vec<Result<Block>> {
        let firsts: Vec<u64> = places.clone().step_by(BLOCK as usize).collect();
        let block = |scratch: &mut Scratch, &first: &u64| {
            self.block(first..places.end.min(first + BLOCK), rows, scratch)
        };
        let blocks = firsts.par_iter().map_init(Scratch::default, block);
        blocks.collect()
    }

    fn block(&self, places: Range<u64>, rows: &RowWriter, scratch: &mut Scratch) -> Result<Block> {
        let mut block = Block {
            // Most rows are shorter; growing a block copies it.
            bytes: Vec::with_capacity((places.end - places.start) as usize * 512),
            rows: 0,
            places: places.end - places.start,
            counts: Counts::default(),
        };
        let (bytes, written) = (&mut block.bytes, &mut block.rows);
        block.counts = self.rows(places, scratch, |row| {
            *written += rows.write(row, bytes)?;
            Ok(())
        })?;
        Ok(block)
    }

    /// Holds that a row of each task fits the format.
    fn check_rows(&self, rows: &RowWriter) -> Result<()> {
        for lot in 0..self.lots.len() {
            let mut scratch = Scratch::default();
            let mut checked = false;
            for row in 0..self.lots[lot].rows {
                self.row((0, lot, row), None, &mut scratch, &mut |row| {
                    checked = true;
                    rows.write(row, &mut Vec::new()).map(|_| ())
                })?
                .ok();
                if checked {
                    break;
                }
            }
            if !checked {
                let task = self.lots[lot].task.name;
                return Err(Error::Recipe(format!(
                    "no sample of task {task:?} gives a row; leave it out, or look at what its \
                     templates need"
                )));
            }
        }
        Ok(())
    }
}

/// Some rows as bytes.
struct Block {
    bytes: Vec<u8>,
    rows: u64,
    places: u64,
    counts: Counts,
}

impl Counts {
    /// All counts by name, as `rows.sequential`, `skipped.no-id` or `truncation.items_dropped`.
    pub fn named(&self) -> BTreeMap<String, u64> {
        let of = |what: &'static str| {
            move |(name, count): (&&'static str, &u64)| (format!("{what}.{name}"), *count)
        };
        let truncation = [
            ("items_dropped", self.truncation.items_dropped),
            ("sentences_dropped", self.truncation.sentences_dropped),
            ("rows_shortened", self.truncation.rows_shortened),
        ];
        (self.rows.iter().map(of("rows")))
            .chain(self.skipped.iter().map(of("skipped")))
            .chain(
                truncation
                    .iter()
                    .map(|(name, count)| (name, count))
                    .map(of("truncation")),
            )
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}
