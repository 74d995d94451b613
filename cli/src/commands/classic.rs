use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};
use rq_vae::{ClassicIds, Cooccurrence, Ending, SpectralClustering};
use semantic_id::{Digest, IndexInfo, ItemId, ItemIndex, Manifest, TokenFormat};
use semid_tasks::{Catalogue, EventFormat, ItemOptions};
use serde::Serialize;
use serde_json::json;

use crate::artefact::{name, peak_rss};
use crate::console::Console;
use crate::interactions::Interactions;
use crate::output::OutputFile;
use crate::{map, usage_error};

/// Give items IDs by rule, without embeddings
///
/// The methods of "How to Index Item IDs for Recommendation Foundation Models" (arXiv
/// 2305.06569), as controls for learnt IDs. All IDs are unique; items of which a method knows
/// nothing get one too and are counted. Of users only training events are learnt from, all but
/// the last two.
#[derive(Debug, Args)]
pub(crate) struct Classic {
    /// How IDs are made
    method: Method,
    /// The items: JSONL, Parquet, CSV, LC-Rec *.item.json or RecBole .item
    #[arg(long, value_name = "ITEMS")]
    items: PathBuf,
    /// What users did, for `sequential` and `collaborative`: JSONL, Parquet, CSV, LC-Rec
    /// *.inter.json, RecBole .inter, Amazon reviews or MovieLens
    #[arg(long, value_name = "INTERACTIONS")]
    interactions: Option<PathBuf>,
    /// The index file to write
    #[arg(long, value_name = "INDEX")]
    out: PathBuf,
    /// Base in which items are counted, and with `collaborative` the items that a cluster may
    /// have; with `title` the words that have a code of their own [default: 256, titles 8192]
    #[arg(long, value_name = "K")]
    codes: Option<u32>,
    /// Parts into which a cluster is split, with `collaborative`
    #[arg(long, value_name = "N", default_value_t = 16)]
    clusters: u32,
    /// Items meet if they are at most so many places apart in a history, with `collaborative`
    #[arg(long, value_name = "N", default_value_t = 3)]
    window: usize,
    /// Words after which a title is cut, and categories after which their path is
    #[arg(long, value_name = "N", default_value_t = 12)]
    length: usize,
    /// Seed of all draws
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Format of the interactions [default: told by content and ending]
    #[arg(long)]
    format: Option<EventFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Method {
    /// Numbers in the order in which items first appear in users' histories
    Sequential,
    /// Clusters of items that users meet together, by recursive spectral clustering, then a
    /// counter
    Collaborative,
    /// The item's categories, from the first to the last, then a counter
    Semantic,
    /// The prefix of `collaborative`, or without --interactions that of `semantic`, then a code
    /// that no other item has
    Hybrid,
    /// The words of the item's title, then a counter where titles are equal
    Title,
    /// Numbers drawn at random: IDs that mean nothing
    Random,
}

/// What `classic` reports; times in seconds, sizes in bytes.
#[derive(Debug, Serialize)]
struct Report {
    out: PathBuf,
    method: Method,
    items: usize,
    /// Items of which the method knew nothing.
    unknown_items: usize,
    /// Events of items that the catalogue does not have; null without interactions.
    unknown_items_skipped: Option<u64>,
    levels: usize,
    codes: Vec<u32>,
    seconds: f64,
    peak_rss: Option<u64>,
}

impl Classic {
    pub(crate) fn run(&self, console: &Console) -> anyhow::Result<()> {
        let start = Instant::now();
        let mut output = OutputFile::create(&self.out)?;
        let bytes = map::open(&self.items)?;
        let file = self.items.display().to_string();
        let catalogue = Catalogue::read(&file, &bytes, &ItemOptions::default())?;
        let open = |path: &PathBuf| Interactions::open(path, self.format, catalogue.keys());
        let interactions = self.interactions.as_ref().map(open).transpose()?;
        let ids = self.ids(&catalogue, interactions.as_ref())?;

        let mut manifest = Manifest::new("classic", self.configuration());
        manifest.seed = Some(self.seed);
        manifest
            .inputs
            .insert(name(&self.items), Digest::of(&bytes));
        if let Some(interactions) = &interactions {
            interactions.enter(&mut manifest);
        }
        for (what, count) in [("items", ids.paths.len()), ("unknown_items", ids.unknown)] {
            manifest.counts.insert(what.to_owned(), count as u64);
        }
        let tokens = TokenFormat::lc_rec(ids.space.levels());
        let info = IndexInfo::new(tokens, manifest);
        let index = ItemIndex::build(&ids.space, &ids.paths, catalogue.keys(), 1, info)?;
        output.write_all(index.bytes())?;
        output.commit()?;
        let skipped = |interactions: Interactions| interactions.histories().unknown_skipped();
        console.report(&Report {
            out: self.out.clone(),
            method: self.method,
            items: ids.paths.len(),
            unknown_items: ids.unknown,
            unknown_items_skipped: interactions.map(skipped),
            levels: ids.space.levels(),
            codes: ids.space.sizes().to_vec(),
            seconds: start.elapsed().as_secs_f64(),
            peak_rss: peak_rss(),
        })
    }

    fn configuration(&self) -> serde_json::Value {
        json!({
            "method": self.method,
            "codes": self.codes(),
            "clusters": self.clusters,
            "window": self.window,
            "length": self.length,
            "format": self.format.map(|format| format.to_string()),
        })
    }

    fn codes(&self) -> u32 {
        let usual = if self.method == Method::Title {
            8192
        } else {
            256
        };
        self.codes.unwrap_or(usual)
    }

    fn ids(
        &self,
        catalogue: &Catalogue,
        interactions: Option<&Interactions>,
    ) -> anyhow::Result<ClassicIds> {
        let (items, codes) = (catalogue.len(), self.codes());
        let histories = || {
            let missing = || usage_error("this method learns from --interactions");
            Ok::<_, anyhow::Error>(interactions.ok_or_else(missing)?.training())
        };
        Ok(match self.method {
            Method::Sequential => ClassicIds::sequential(&histories()?, items, codes)?,
            Method::Random => ClassicIds::random(items, codes, self.seed)?,
            Method::Title => {
                let titles = texts(catalogue, "title")?;
                ClassicIds::title(&titles, codes, self.length)?
            }
            Method::Collaborative => {
                self.clustered(&histories()?, items, Ending::Counter(codes))?
            }
            Method::Hybrid if interactions.is_some() => {
                self.clustered(&histories()?, items, Ending::Number)?
            }
            Method::Hybrid => ClassicIds::semantic(&self.categories(catalogue)?, Ending::Number)?,
            Method::Semantic => {
                ClassicIds::semantic(&self.categories(catalogue)?, Ending::Counter(codes))?
            }
        })
    }

    fn clustered(
        &self,
        histories: &[&[ItemId]],
        items: usize,
        ending: Ending,
    ) -> anyhow::Result<ClassicIds> {
        let graph = Cooccurrence::count(histories, items, self.window)?;
        let clustering = SpectralClustering {
            clusters: self.clusters,
            codes: self.codes(),
            seed: self.seed,
        };
        Ok(ClassicIds::collaborative(&graph, &clustering, ending)?)
    }

    /// The first categories of each item. They are read as one text, in which commas part them.
    fn categories<'c>(&self, catalogue: &'c Catalogue) -> anyhow::Result<Vec<Vec<&'c str>>> {
        let split = |text: &'c str| -> Vec<&'c str> {
            let names = text.split(',').map(str::trim);
            let names = names.filter(|name| !name.is_empty());
            names.take(self.length).collect()
        };
        Ok(texts(catalogue, "categories")?
            .into_iter()
            .map(split)
            .collect())
    }
}

/// A field of each item, empty where it has none.
fn texts<'c>(catalogue: &'c Catalogue, field: &str) -> anyhow::Result<Vec<&'c str>> {
    if !catalogue.has_field(field) {
        let known: Vec<&str> = catalogue.fields().collect();
        return Err(anyhow::anyhow!("the items have {}", known.join(", ")))
            .with_context(|| format!("no item has the field `{field}`, which this method needs"));
    }
    let items = (0..catalogue.len() as u32).map(ItemId);
    Ok(items
        .map(|item| catalogue.text(item, field).unwrap_or_default())
        .collect())
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} items, all with IDs of their own in up to {} levels of {:?} codes, in {:.1} s\n\
             the method knew nothing of {} items",
            self.out.display(),
            self.items,
            self.levels,
            self.codes,
            self.seconds,
            self.unknown_items
        )?;
        match self.unknown_items_skipped {
            Some(skipped) => write!(f, "; {skipped} events of unknown items left out"),
            None => Ok(()),
        }
    }
}
