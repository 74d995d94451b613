//! All that a recipe names, read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use semantic_id::{Digest, ItemId, ItemIndex};
use semid_tasks::corpus::{Context, HistoryStyle, Ids, UserTexts};
use semid_tasks::generators::Beams;
use semid_tasks::{
    Catalogue, Cleaning, EventOptions, Filtering, Histories, HistoriesBuilder, HistoryOptions,
    Input, ItemOptions, Part, Policy, Recipe, RecipeParams, SideTexts, Split, Templates, UserOrder,
};
use serde::Serialize;
use serde_json::json;

use crate::artefact::open_index;
use crate::console::Console;
use crate::events::EventTable;
use crate::map::{self, Bytes};

/// A recipe, where it lies, and what it names.
pub(crate) struct Materials {
    pub(crate) recipe: Recipe,
    /// The recipe as it was typed.
    pub(crate) text: String,
    files: Files,
    pub(crate) templates: Templates,
    pub(crate) catalogue: Catalogue,
    pub(crate) index: ItemIndex<Bytes>,
    pub(crate) histories: Histories,
    pub(crate) split: Split,
    pub(crate) ids: Ids,
    pub(crate) side: SideTexts,
    users: Option<UserTexts>,
    style: HistoryStyle,
    pub(crate) beams: Beams,
    /// Hash of each input that was read as a file, by name.
    pub(crate) inputs: BTreeMap<String, Digest>,
    pub(crate) done: Done,
}

/// Where the files are that a recipe names.
#[derive(Debug, Clone, Default)]
pub(crate) struct Files {
    /// What names are relative to.
    folder: PathBuf,
    /// Those that are elsewhere, by name: local copies.
    local: BTreeMap<String, PathBuf>,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        let local = self.local.get(name).cloned();
        local.unwrap_or_else(|| self.folder.join(name))
    }

    /// A table of a cluster in place of a file: its format is not the file's.
    fn is_copy(&self, name: &str) -> bool {
        self.local.contains_key(name)
    }
}

/// What was changed and left out while the inputs were read.
#[derive(Debug, Serialize)]
pub(crate) struct Done {
    items: usize,
    entities_decoded: usize,
    spaces_normalized: usize,
    nested_skipped: usize,
    items_without_id: usize,
    /// Items that the index has beyond the catalogue.
    ids_of_unknown_items: usize,
    users: usize,
    events: usize,
    unknown_items_skipped: u64,
    filtering: Filtering,
    users_without_test: usize,
    side_texts_of_unknown_users: usize,
}

impl Materials {
    pub(crate) fn read(path: &Path, console: &Console) -> anyhow::Result<Self> {
        Self::read_all(path, BTreeMap::new(), None, console)
    }

    /// The same, of local copies of files, by name, and of events in place of the interactions,
    /// whose users come in their order.
    pub(crate) fn read_share(
        path: &Path,
        local: BTreeMap<String, PathBuf>,
        events: &[&EventTable],
    ) -> anyhow::Result<Self> {
        Self::read_all(path, local, Some(events), &Console::silent())
    }

    fn read_all(
        path: &Path,
        local: BTreeMap<String, PathBuf>,
        events: Option<&[&EventTable]>,
        console: &Console,
    ) -> anyhow::Result<Self> {
        let (text, recipe) = read_recipe(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let files = Files { folder, local };
        let params = recipe.params();
        let mut inputs = BTreeMap::new();
        let mut enter = |path: &str| {
            let bytes = map::open(&files.path(path))?;
            // Whoever made a copy knows what it is of.
            if !files.is_copy(path) {
                inputs.insert(path.to_owned(), Digest::of(&bytes));
            }
            anyhow::Ok(bytes)
        };

        let templates = templates(&recipe, &files)?;
        let items = &params.inputs.items;
        let mut options = ItemOptions {
            format: recipe.item_format()?,
            key: params.items.key.clone(),
            cleaning: recipe.cleaning(),
        };
        if files.is_copy(items) {
            (options.format, options.key) = (None, Some("key".to_owned()));
        }
        let catalogue = Catalogue::read(items, &enter(items)?, &options)?;
        enter(&params.inputs.index)?;
        let index = open_index(&files.path(&params.inputs.index), false)?;
        let ids = Ids::new(&catalogue, &index)?;
        if params.items.without_id == Policy::Error {
            let lacking = (0..catalogue.len() as u32).map(ItemId);
            let lacking = lacking.filter(|&item| ids.text(item).is_none());
            let lacking = lacking.map(|item| catalogue.keys().get(item)).take(3);
            let lacking: Vec<_> = lacking.collect();
            ensure!(
                lacking.is_empty(),
                "{} of {} items have no semantic ID in {}, as {}; index them, or say \
                 `items.without_id = \"skip\"` in the recipe",
                ids.missing(),
                catalogue.len(),
                params.inputs.index,
                lacking.join(", ")
            );
        }

        console.note("reading interactions");
        let unknown_items = recipe.unknown_items();
        let mut builder = HistoriesBuilder::new(
            catalogue.keys(),
            HistoryOptions {
                unknown_items,
                users: match events {
                    Some(_) => UserOrder::AsTheyCome,
                    None => UserOrder::ByKey,
                },
                ..HistoryOptions::default()
            },
        );
        for event in events
            .unwrap_or_default()
            .iter()
            .flat_map(|table| table.iter())
        {
            builder.push(event?)?;
        }
        let given = match events {
            Some(_) => Vec::new(),
            None => params.inputs.interactions.files(),
        };
        for (part, file) in given {
            let path = files.path(file);
            let options = EventOptions {
                format: recipe.event_format()?,
                ..EventOptions::default()
            };
            let input = || File::open(&path).with_context(|| format!("cannot read {file}"));
            inputs.insert(file.to_owned(), digest(input()?)?);
            let input = Input::from(input()?);
            match part {
                None => builder.read(file, input, &options)?,
                Some(part) => builder.read_part(part, file, input, &options)?,
            }
        }
        let histories = builder.finish()?;
        let unknown_items_skipped = histories.unknown_skipped();
        let (histories, filtering) = histories.filter(&recipe.filter())?;
        let split = recipe.split(&histories)?;

        let mut enter = |path: &str| {
            let bytes = map::open(&files.path(path))?;
            // Whoever made a copy knows what it is of.
            if !files.is_copy(path) {
                inputs.insert(path.to_owned(), Digest::of(&bytes));
            }
            anyhow::Ok(bytes)
        };
        let mut side = SideTexts::default();
        for file in &params.inputs.side_texts {
            side.read(file, &enter(file)?, &histories)?;
        }
        let beams = match &params.inputs.beams {
            None => Beams::default(),
            Some(file) => Beams::read(file, &enter(file)?, &catalogue, &histories)?,
        };
        let users = match &params.inputs.users {
            None => None,
            Some(file) => {
                enter(file)?;
                let index = open_index(&files.path(file), false)?;
                Some(UserTexts::new(&histories, &index)?)
            }
        };
        let mut ids_of_unknown_items = 0;
        for item in index.living()? {
            let is_known = catalogue.keys().find(index.key(item)?).is_some();
            ids_of_unknown_items += usize::from(!is_known);
        }
        let Cleaning {
            entities_decoded,
            space_normalized,
            nested_skipped,
            ..
        } = catalogue.cleaning();
        let done = Done {
            items: catalogue.len(),
            entities_decoded,
            spaces_normalized: space_normalized,
            nested_skipped,
            items_without_id: ids.missing(),
            ids_of_unknown_items,
            users: histories.len(),
            events: histories.events(),
            unknown_items_skipped,
            filtering,
            users_without_test: split.without_test(),
            side_texts_of_unknown_users: side.unknown_users(),
        };
        Ok(Self {
            style: recipe.style(),
            recipe,
            text,
            templates,
            catalogue,
            index,
            histories,
            split,
            ids,
            side,
            users,
            beams,
            inputs,
            done,
            files,
        })
    }

    /// A file that the recipe names.
    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.files.path(file)
    }

    /// Writes a line for each user: how many events each part has, and the items that are held out.
    pub(crate) fn write_split(&self, out: &mut dyn Write) -> io::Result<()> {
        let (histories, split) = (&self.histories, &self.split);
        let keys = self.catalogue.keys();
        for user in histories.users() {
            let items = histories.items(user);
            let held_out = |part: Part| -> Vec<&str> {
                let targets = &items[split.targets(user, part)];
                targets.iter().map(|&item| keys.get(item)).collect()
            };
            let line = json!({
                "user": histories.key(user),
                "events": items.len(),
                "train_end": split.train_end(user),
                "valid_end": split.valid_end(user),
                "valid": held_out(Part::Valid),
                "test": held_out(Part::Test),
            });
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    pub(crate) fn context(&self) -> Context<'_> {
        Context::new(
            &self.catalogue,
            &self.histories,
            &self.split,
            &self.ids,
            &self.side,
            self.users.as_ref(),
            &self.style,
        )
    }
}

/// A recipe, and how it was typed.
pub(crate) fn read_recipe(path: &Path) -> anyhow::Result<(String, Recipe)> {
    let place = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(place)?;
    let recipe = RecipeParams::parse(&text).and_then(RecipeParams::check);
    Ok((text, recipe.with_context(place)?))
}

/// The hash of a file, in a stream: a map of it would count as memory.
fn digest(mut file: File) -> anyhow::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    std::io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finalize().into())
}

/// The builtin templates, and those of the recipe's own folder in their place.
fn templates(recipe: &Recipe, files: &Files) -> anyhow::Result<Templates> {
    let params = recipe.params();
    let mut templates = Templates::builtin(&params.locale)?;
    if let Some(own) = &params.templates {
        overlay(&mut templates, &files.path(own))?;
    }
    Ok(templates)
}

/// Puts the templates of a folder in place of the builtin ones.
pub(crate) fn overlay(templates: &mut Templates, folder: &Path) -> anyhow::Result<()> {
    let mut known = 0;
    for task in Templates::tasks() {
        let path = folder.join(format!("{task}.toml"));
        if !path.exists() {
            continue;
        }
        let file = path.display().to_string();
        let text = fs::read_to_string(&path).with_context(|| file.clone())?;
        templates.overlay(task, &file, &text)?;
        known += 1;
    }
    let tasks: Vec<_> = Templates::tasks().collect();
    ensure!(
        known > 0,
        "{} holds no templates: expected files named after tasks, as {}",
        folder.display(),
        tasks.join(".toml, ")
    );
    Ok(())
}
