//! Encoding of a catalogue that goes on where it was when it was killed.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use indicatif::ProgressBar;
use rq_vae::Encoder;
use semantic_id::{Code, CodeMatrix};
use serde_json::Value;

use crate::artefact::EmbeddingFile;

/// Rows encoded at a time.
const ROWS: usize = 1 << 15;

/// The native path and its squared distance of every row, `[N, L]` and `[N]`. `journal` holds what
/// is done; one that was begun with other `inputs` is begun again.
pub(crate) fn encode(
    encoder: &Encoder,
    file: &EmbeddingFile,
    beams: usize,
    (journal, inputs): (&Path, &Value),
    bar: &ProgressBar,
) -> anyhow::Result<(CodeMatrix, Vec<f32>)> {
    let levels = encoder.quantizer().space().levels();
    let rows = file.embeddings.len();
    let mut done = match rows > ROWS {
        true => Done::resume(journal, inputs, levels)?,
        false => Done::new(levels),
    };
    while done.costs.len() < rows {
        let start = done.costs.len();
        bar.set_position(start as u64);
        let chunk = file.embeddings.rows(start..rows.min(start + ROWS))?;
        let (paths, costs) = encoder.encode(chunk.view(), beams)?;
        done.push(&paths, &costs)?;
    }
    Ok((CodeMatrix::new(done.codes, levels)?, done.costs))
}

/// Removes the journal of an encoding whose result is safe.
pub(crate) fn forget(journal: &Path) {
    let _ = fs::remove_file(journal);
}

/// The first rows, encoded.
struct Done {
    codes: Vec<Code>,
    costs: Vec<f32>,
    levels: usize,
    /// A line of JSON that says what is encoded, then for each row its codes (u16) and its
    /// squared distance (f32), little-endian.
    journal: Option<(File, PathBuf)>,
}

impl Done {
    fn new(levels: usize) -> Self {
        Self {
            codes: Vec::new(),
            costs: Vec::new(),
            levels,
            journal: None,
        }
    }

    fn resume(path: &Path, inputs: &Value, levels: usize) -> anyhow::Result<Self> {
        let mut done = Self::new(levels);
        done.open(path, inputs)
            .with_context(|| format!("cannot keep {}", path.display()))?;
        Ok(done)
    }

    fn open(&mut self, path: &Path, inputs: &Value) -> std::io::Result<()> {
        let header = format!("{inputs}\n");
        let mut file = (File::options().read(true).write(true).create(true))
            .truncate(false)
            .open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        match bytes.strip_prefix(header.as_bytes()) {
            Some(records) => self.read(records),
            None => {
                file.set_len(0)?;
                file.rewind()?;
                file.write_all(header.as_bytes())?;
            }
        }
        // A record that was cut short is written again.
        let whole = header.len() + self.costs.len() * self.record();
        file.set_len(whole as u64)?;
        file.seek(SeekFrom::End(0))?;
        self.journal = Some((file, path.to_owned()));
        Ok(())
    }

    /// Bytes of a row.
    fn record(&self) -> usize {
        2 * self.levels + 4
    }

    fn read(&mut self, records: &[u8]) {
        for record in records.chunks_exact(self.record()) {
            let (codes, cost) = record.split_at(2 * self.levels);
            let codes = codes.as_chunks().0.iter();
            self.codes
                .extend(codes.map(|&code| Code(u16::from_le_bytes(code))));
            self.costs
                .extend(cost.first_chunk().map(|&cost| f32::from_le_bytes(cost)));
        }
    }

    fn push(&mut self, paths: &CodeMatrix, costs: &[f32]) -> anyhow::Result<()> {
        if let Some((file, path)) = &mut self.journal {
            let mut records = Vec::new();
            for (codes, cost) in paths.rows().zip(costs) {
                records.extend(codes.iter().flat_map(|code| code.0.to_le_bytes()));
                records.extend(cost.to_le_bytes());
            }
            file.write_all(&records)
                .and_then(|()| file.sync_data())
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        self.codes.extend(paths.rows().flatten());
        self.costs.extend(costs);
        Ok(())
    }
}
