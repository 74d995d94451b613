use std::fmt;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use npyz::WriterBuilder;
use semantic_id::{Digest, Manifest};
use semid_tasks::{Catalogue, ItemFormat, ItemOptions};
use serde::Serialize;
use serde_json::json;

use crate::artefact::{beside, name};
use crate::console::Console;
use crate::encoder::SentenceEncoder;
use crate::output::OutputFile;
use crate::{map, progress, usage_error};

/// The fields that make an item's text unless `--fields` names others.
const USUAL_FIELDS: [&str; 3] = ["title", "description", "categories"];

/// Texts in memory at a time; sorting so many by length leaves little padding.
const WINDOW: usize = 8192;

/// Turn item texts into embeddings
///
/// Writes EMB, a .npy of f32 [items, dim] whose rows follow the items, and
/// beside it EMB.keys.json, the items' keys in that order, and
/// EMB.manifest.json, which says how it was made.
#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// The items: JSONL, Parquet, CSV, LC-Rec *.item.json or RecBole .item
    items: PathBuf,
    /// Folder of a BERT sentence encoder in Hugging Face form
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The .npy file to write
    #[arg(long, value_name = "EMB")]
    out: PathBuf,
    /// Fields that make an item's text, in this order [default: those of
    /// title, description and categories that there are]
    #[arg(long, value_delimiter = ',')]
    fields: Vec<String>,
    /// Tokens after which a text is cut
    #[arg(long, value_name = "N", default_value = "128")]
    max_tokens: NonZeroUsize,
    /// Texts that go through the model at once; changes speed and memory only
    #[arg(long, value_name = "N", default_value = "32")]
    batch: NonZeroUsize,
    /// Field that holds the items' keys [default: item_id, id, asin, ...]
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// Format of ITEMS: jsonl, parquet, csv, lc-rec, recbole [default: told by content]
    #[arg(long)]
    format: Option<ItemFormat>,
}

/// What `embed` reports; times in seconds.
#[derive(Debug, Serialize)]
struct Report {
    items: usize,
    dim: usize,
    fields: Vec<String>,
    without_text: usize,
    truncated: usize,
    entities_decoded: usize,
    space_normalized: usize,
    seconds: f64,
    out: PathBuf,
}

impl Embed {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let start = Instant::now();
        if self.out.extension().is_none_or(|ending| ending != "npy") {
            return Err(usage_error("--out must end in .npy"));
        }
        let mut output = OutputFile::create(&self.out)?;
        let items = map::open(&self.items)?;
        let catalogue = self.catalogue(&items)?;
        let fields = self.fields(&catalogue)?;
        console.note(format_args!("texts are made of {}", fields.join(", ")));
        let encoder = SentenceEncoder::open(&self.model, self.max_tokens.get())?;

        let counts = self.write_rows(&encoder, &catalogue, &fields, &mut output, console)?;
        let cleaning = catalogue.cleaning();
        let report = Report {
            items: catalogue.len(),
            dim: encoder.dim(),
            fields,
            without_text: counts.without_text,
            truncated: counts.truncated,
            entities_decoded: cleaning.entities_decoded,
            space_normalized: cleaning.space_normalized,
            seconds: start.elapsed().as_secs_f64(),
            out: self.out.clone(),
        };
        let rows = Digest::from(output.commit()?);
        let keys = self.write_keys(&catalogue)?;
        self.write_manifest(&items, [rows, keys], &report)?;
        console.report(&report)
    }

    fn catalogue(&self, bytes: &[u8]) -> anyhow::Result<Catalogue> {
        let options = ItemOptions {
            format: self.format,
            key: self.key.clone(),
            ..ItemOptions::default()
        };
        let file = self.items.display().to_string();
        Ok(Catalogue::read(&file, bytes, &options)?)
    }

    /// The fields that were asked for, else the usual ones as far as there are any.
    fn fields(&self, catalogue: &Catalogue) -> anyhow::Result<Vec<String>> {
        if !self.fields.is_empty() {
            return Ok(self.fields.clone());
        }
        let usual = USUAL_FIELDS
            .into_iter()
            .filter(|field| catalogue.has_field(field));
        let usual: Vec<String> = usual.map(str::to_owned).collect();
        if usual.is_empty() {
            let known: Vec<&str> = catalogue.fields().collect();
            return Err(usage_error(format!(
                "the items have no title, description or categories; \
                 choose with --fields among: {}",
                known.join(", ")
            )));
        }
        Ok(usual)
    }

    /// Writes the embeddings, a window of items at a time.
    fn write_rows(
        &self,
        encoder: &SentenceEncoder,
        catalogue: &Catalogue,
        fields: &[String],
        output: &mut OutputFile,
        console: &Console,
    ) -> anyhow::Result<Counts> {
        let bar = progress::bar(console, "embedding", catalogue.len());
        let mut npy = npyz::WriteOptions::<f32>::new()
            .default_dtype()
            .shape(&[catalogue.len() as u64, encoder.dim() as u64])
            .writer(output)
            .begin_nd()?;
        let mut counts = Counts::default();
        let mut texts = catalogue.texts(fields)?;
        loop {
            let window: Vec<String> = texts.by_ref().take(WINDOW).collect();
            if window.is_empty() {
                break;
            }
            let done = |texts| bar.inc(texts as u64);
            let encoded = encoder.encode(&window, self.batch.get(), done)?;
            npy.extend(encoded.rows.into_iter().flatten())?;
            counts.truncated += encoded.truncated;
            counts.without_text += window.iter().filter(|text| text.is_empty()).count();
        }
        npy.finish()?;
        Ok(counts)
    }

    fn write_keys(&self, catalogue: &Catalogue) -> anyhow::Result<Digest> {
        let mut file = OutputFile::create(&beside(&self.out, "keys.json"))?;
        let keys: Vec<&str> = catalogue.keys().iter().collect();
        serde_json::to_writer(&mut file, &keys)?;
        Ok(file.commit()?.into())
    }

    fn write_manifest(
        &self,
        items: &[u8],
        [rows, keys]: [Digest; 2],
        report: &Report,
    ) -> anyhow::Result<()> {
        let configuration = json!({
            "fields": report.fields,
            "max_tokens": self.max_tokens,
            "key": self.key,
            "format": self.format.map(|format| format.to_string()),
        });
        let mut manifest = Manifest::new("embed", configuration);
        manifest.inputs.insert(name(&self.items), Digest::of(items));
        for file in SentenceEncoder::FILES {
            let path = self.model.join(file);
            if path.exists() {
                let digest = Digest::of(&map::open(&path)?);
                manifest.inputs.insert(format!("model/{file}"), digest);
            }
        }
        manifest.outputs.insert(name(&self.out), rows);
        manifest
            .outputs
            .insert(name(&beside(&self.out, "keys.json")), keys);
        for (what, count) in [
            ("items", report.items),
            ("dim", report.dim),
            ("without_text", report.without_text),
            ("truncated", report.truncated),
            ("entities_decoded", report.entities_decoded),
            ("space_normalized", report.space_normalized),
        ] {
            manifest.counts.insert(what.to_owned(), count as u64);
        }
        let mut file = OutputFile::create(&beside(&self.out, "manifest.json"))?;
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.write_all(b"\n")?;
        file.commit()?;
        Ok(())
    }
}

#[derive(Default)]
struct Counts {
    without_text: usize,
    truncated: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: {} items x {} dimensions from {}, in {:.1} s",
            self.out.display(),
            self.items,
            self.dim,
            self.fields.join(", "),
            self.seconds
        )?;
        write!(
            f,
            "{} cut at the token limit, {} without any text",
            self.truncated, self.without_text
        )
    }
}
