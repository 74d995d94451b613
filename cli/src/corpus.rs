//! The rows of a recipe, made when they are asked for.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context as _, ensure};
use self_cell::self_cell;
use semid_tasks::corpus::{Context, Corpus, CorpusOptions};
use semid_tasks::tokens::Tokenizer;
use semid_tasks::{ChatTemplate, Part, RowFormat, RowWriter};

use crate::console::Console;
use crate::map;
use crate::materials::Materials;

/// A recipe, all that it names, and what its rows are written with.
pub(crate) struct CorpusSource {
    pub(crate) materials: Materials,
    pub(crate) writer: RowWriter,
    pub(crate) seed: u64,
    count: Option<Counter>,
}

type Counter = Box<dyn Fn(&str) -> semid_tasks::Result<usize> + Send + Sync>;

impl CorpusSource {
    /// Reads a recipe and all that it names. The `seed` is used in place of its own.
    pub(crate) fn open(
        recipe: &Path,
        seed: Option<u64>,
        console: &Console,
    ) -> anyhow::Result<Self> {
        Self::of(Materials::read(recipe, console)?, seed)
    }

    /// What is made of materials. The `seed` is used in place of the recipe's own.
    pub(crate) fn of(materials: Materials, seed: Option<u64>) -> anyhow::Result<Self> {
        let params = materials.recipe.params();
        let seed = seed.unwrap_or(params.seed);
        let count = params.tokens.as_ref().map(|tokens| {
            let tokenizer = tokenizer(&materials.path(&tokens.tokenizer))?;
            anyhow::Ok(Box::new(move |text: &str| tokenizer.count(text)) as Counter)
        });
        Ok(Self {
            count: count.transpose()?,
            writer: writer(&materials, seed)?,
            seed,
            materials,
        })
    }

    pub(crate) fn corpus<'a>(
        &'a self,
        context: &'a Context<'a>,
        part: Part,
    ) -> anyhow::Result<Corpus<'a>> {
        let (recipe, templates) = (&self.materials.recipe, &self.materials.templates);
        let plans = recipe.plans(part, &self.materials.beams);
        Ok(Corpus::new(context, templates, &plans, self.options())?)
    }

    pub(crate) fn options(&self) -> CorpusOptions<'_> {
        let recipe = &self.materials.recipe;
        let params = recipe.params();
        CorpusOptions {
            seed: self.seed,
            epochs: params.epochs,
            order: recipe.order(),
            need: self.writer.format().needs(),
            count: self.count.as_ref().map(|count| count as _),
            tokens_per_row: params.tokens.as_ref().and_then(|tokens| tokens.per_row),
        }
    }

    /// Holds that its rows are lines of JSON.
    pub(crate) fn check_json(&self) -> anyhow::Result<()> {
        ensure!(
            self.writer.format() != RowFormat::MiniOneRec,
            "the rows of this format are no JSON; build the corpus, and read its files"
        );
        Ok(())
    }
}

fn writer(materials: &Materials, seed: u64) -> anyhow::Result<RowWriter> {
    let output = &materials.recipe.params().output;
    let rows = RowWriter::new(output.format, materials.recipe.container(), seed)?;
    let Some(chat) = &output.chat else {
        return Ok(rows);
    };
    let read = |file: &String| {
        fs::read_to_string(materials.path(file)).with_context(|| format!("cannot read {file}"))
    };
    let template = chat.template.as_ref().map(read).transpose()?;
    let chat = ChatTemplate::read(&read(&chat.config)?, template.as_deref(), chat.now)?;
    Ok(rows.chat(chat))
}

pub(crate) fn tokenizer(path: &Path) -> anyhow::Result<Tokenizer> {
    let bytes = map::open(path)?;
    Ok(Tokenizer::read(&path.display().to_string(), &bytes)?)
}

self_cell!(
    struct Prepared {
        owner: CorpusSource,
        #[covariant]
        dependent: Context,
    }
);

self_cell!(
    struct Planned {
        owner: Prepared,
        #[covariant]
        dependent: Corpus,
    }
);

/// The rows of one part of a corpus: any of them can be made alone, in any order.
///
/// They are those that `semid tasks build` writes, byte for byte.
pub struct RecipeRows(Planned);

impl RecipeRows {
    /// Reads a recipe and all that it names. The `seed` is used in place of its own.
    ///
    /// # Errors
    ///
    /// Those of the recipe and of its inputs; the part has no task; the rows are no JSON
    /// (MiniOneRec's).
    pub fn open(recipe: &Path, part: Part, seed: Option<u64>) -> anyhow::Result<Self> {
        let source = CorpusSource::open(recipe, seed, &Console::silent())?;
        let has_part = (source.materials.recipe.parts()).any(|known| known == part);
        ensure!(
            has_part,
            "{} has no task for the part {part}",
            recipe.display(),
        );
        source.check_json()?;
        let prepared = Prepared::new(source, |source| source.materials.context());
        let planned = Planned::try_new(prepared, |prepared| {
            prepared.with_dependent(|source, context| source.corpus(context, part))
        })?;
        Ok(Self(planned))
    }

    /// Places of rows. Some have no row, as where a sample lacks what the task needs; those of
    /// pairs may have several.
    pub fn len(&self) -> u64 {
        self.0.borrow_dependent().len()
    }

    /// Whether no row is asked for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows at some places, in order, a line of JSON each. Made on all threads of the pool.
    ///
    /// # Errors
    ///
    /// Places beyond the last one; a row that does not fit the format.
    pub fn lines(&self, places: Range<u64>) -> anyhow::Result<Vec<u8>> {
        let places_of_all = self.len();
        ensure!(
            places.start <= places.end && places.end <= places_of_all,
            "got the places {places:?}, expected some of 0..{places_of_all}"
        );
        let writer = &self.0.borrow_owner().borrow_owner().writer;
        Ok(self.0.borrow_dependent().bytes(places, writer)?)
    }
}

impl fmt::Debug for RecipeRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecipeRows")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
