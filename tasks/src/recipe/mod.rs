//! What a corpus is made of and how, in one file of TOML.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::corpus::{Amount, HistoryStyle, Order, TaskPlan};
use crate::generators::{NegativeSource, Negatives, Task, TaskOptions};
use crate::{
    CleaningSteps, Container, Duplicates, Error, EventFormat, Filter, Histories, ItemFormat, Part,
    Result, RowFormat, Split, UnknownItems,
};

/// A recipe as it was typed; [`check`](Self::check) makes a [`Recipe`] of it.
///
/// Every table and key is in `docs/recipes.md`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecipeParams {
    /// What all chance is keyed by.
    #[serde(default)]
    pub seed: u64,
    /// Passes over the samples, each with its own draws.
    #[serde(default = "one")]
    pub epochs: u32,
    /// The language of the templates.
    #[serde(default = "english")]
    pub locale: String,
    /// A folder of templates that stand in place of the builtin ones, task by task.
    #[serde(default)]
    pub templates: Option<String>,
    /// The files.
    pub inputs: Inputs,
    /// How items are read.
    #[serde(default)]
    pub items: ItemsTable,
    /// How interactions are read, and which are left out.
    #[serde(default)]
    pub interactions: InteractionsTable,
    /// Which events are of training, validation and test.
    #[serde(default)]
    pub split: SplitTable,
    /// How histories are written.
    #[serde(default)]
    pub history: HistoryTable,
    /// Which files come out.
    #[serde(default)]
    pub output: OutputTable,
    /// How long rows may be.
    #[serde(default)]
    pub tokens: Option<TokensTable>,
    /// The tasks.
    #[serde(default)]
    pub tasks: Vec<TaskTable>,
}

fn one() -> u32 {
    1
}

fn english() -> String {
    "en".to_owned()
}

/// Files, named from the recipe's folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inputs {
    /// The items.
    pub items: String,
    /// The interactions: one file or several, or one of each part.
    pub interactions: Interactions,
    /// The index.
    pub index: String,
    /// An index of the users, for templates that name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<String>,
    /// Files of side texts.
    #[serde(default)]
    pub side_texts: Vec<String>,
    /// A file with a model's answers, for negatives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub beams: Option<String>,
}

/// Where interactions are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Interactions {
    /// In one file.
    One(String),
    /// In several.
    Several(Vec<String>),
    /// In a file for each part: the split is given.
    Parts(BTreeMap<Part, String>),
}

impl Interactions {
    /// The files, each with its part where the split is given.
    pub fn files(&self) -> Vec<(Option<Part>, &str)> {
        match self {
            Self::One(file) => vec![(None, file.as_str())],
            Self::Several(files) => files.iter().map(|file| (None, file.as_str())).collect(),
            Self::Parts(files) => {
                let files = files.iter();
                files
                    .map(|(part, file)| (Some(*part), file.as_str()))
                    .collect()
            }
        }
    }
}

/// How items are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ItemsTable {
    /// The format; told by content and ending if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The field with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Whether HTML entities are decoded.
    pub decode_entities: bool,
    /// Whether white space is made single spaces.
    pub single_spaces: bool,
    /// Characters taken off both ends of titles, as LC-Rec's ".!?,;:`".
    pub trim_titles: String,
    /// Whether items without a semantic ID are an error or left out.
    pub without_id: Policy,
}

impl Default for ItemsTable {
    fn default() -> Self {
        Self {
            format: None,
            key: None,
            decode_entities: true,
            single_spaces: true,
            trim_titles: String::new(),
            without_id: Policy::Error,
        }
    }
}

/// What becomes of what does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// The build stops.
    #[default]
    Error,
    /// It is left out, and counted.
    Skip,
}

/// How interactions are read, and which are left out.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InteractionsTable {
    /// The format; told by content and ending if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// Whether events of items that are not in the catalogue are an error or left out.
    pub unknown_items: Policy,
    /// What becomes of an item that a user meets again: `keep`, `first`, `consecutive`.
    pub duplicates: DuplicatesName,
    /// Users and items with fewer events are left out, until there are none: `[5, 5]`.
    pub core: [u32; 2],
    /// Only so many of a user's most recent events are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<usize>,
}

/// What becomes of an item that a user meets again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicatesName {
    /// It stays.
    #[default]
    Keep,
    /// Only the first event with it stays.
    First,
    /// Of several in succession the first stays.
    Consecutive,
}

/// Which events are of training, validation and test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "kebab-case", deny_unknown_fields)]
pub enum SplitTable {
    /// Each user's last event is of the test, the one before of validation; the given split,
    /// where the interactions are in a file for each part.
    #[default]
    LeaveOneOut,
    /// Two times, in seconds since 1970.
    Time {
        /// From when on events are of validation.
        valid_from: i64,
        /// From when on events are of the test.
        test_from: i64,
    },
    /// Shares of all targets, in the order of time.
    Ratio {
        /// Training, validation and test, as `[8, 1, 1]`.
        shares: [u32; 3],
    },
    /// Shares of each user's own events.
    UserRatio {
        /// Training, validation and test, as `[8, 1, 1]`.
        shares: [u32; 3],
    },
}

/// How histories are written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HistoryTable {
    /// Most recent items shown.
    pub max_items: usize,
    /// What stands between two items.
    pub separator: String,
    /// Whether items are numbered.
    pub numbered: bool,
    /// What stands before and after a title.
    pub quotes: [String; 2],
}

impl Default for HistoryTable {
    fn default() -> Self {
        let style = HistoryStyle::default();
        Self {
            max_items: style.max_items,
            separator: style.separator,
            numbered: style.numbered,
            quotes: style.quotes,
        }
    }
}

/// Which files come out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputTable {
    /// The columns of a row.
    pub format: RowFormat,
    /// The kind of files; the usual one of the format if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    /// The chat template, for the format `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ChatTable>,
    /// Samples of a shard.
    pub samples_per_shard: u64,
    /// The order of the rows of a stage.
    pub order: OrderName,
}

impl Default for OutputTable {
    fn default() -> Self {
        Self {
            format: RowFormat::PromptCompletion,
            container: None,
            chat: None,
            samples_per_shard: 200_000,
            order: OrderName::Mixed,
        }
    }
}

/// How a model renders conversations.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatTable {
    /// The model's `tokenizer_config.json`.
    pub config: String,
    /// The model's `chat_template.jinja`, where the configuration does not hold the template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The time that a template is told which asks for it, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<i64>,
}

/// The order of the rows of a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderName {
    /// Task after task.
    Tasks,
    /// All shuffled.
    #[default]
    Mixed,
}

/// How long rows may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokensTable {
    /// The model's `tokenizer.json`.
    pub tokenizer: String,
    /// Tokens of a row at most: system, prompt and answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_row: Option<usize>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskTable {
    /// Its name.
    pub task: String,
    /// For which part; training if not given.
    #[serde(default = "train")]
    pub part: Part,
    /// Rows of an epoch, as a multiple of the samples. 1, if nothing is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Rows of an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// As many rows of an epoch as have so many tokens together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Which stage of a curriculum it is of.
    #[serde(default)]
    pub stage: u32,
    /// Names of the templates to take; all if empty.
    #[serde(default)]
    pub templates: Vec<String>,
    /// Whether to take the templates that are held out of training, for tests with unseen words.
    #[serde(default)]
    pub held_out: bool,
    /// How negatives are chosen.
    #[serde(default)]
    pub negatives: NegativesTable,
    /// Ratings from here on mean that the user likes the item.
    #[serde(default = "four")]
    pub liked_from: f32,
}

fn train() -> Part {
    Part::Train
}

fn four() -> f32 {
    4.0
}

/// How negatives are chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NegativesTable {
    /// How many for a sample.
    pub count: usize,
    /// Where they come from.
    pub from: NegativesName,
    /// For `tree`: how many codes they share with the item.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub depth: Option<usize>,
}

impl Default for NegativesTable {
    fn default() -> Self {
        Self {
            count: Negatives::default().count,
            from: NegativesName::Popularity,
            depth: None,
        }
    }
}

/// Where negatives come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NegativesName {
    /// All items alike.
    Uniform,
    /// By how often items occur.
    Popularity,
    /// Items near in the tree of semantic IDs.
    Tree,
    /// A model's answers.
    Beams,
}

/// A recipe that holds together.
#[derive(Debug, Clone, PartialEq)]
pub struct Recipe(RecipeParams);

impl RecipeParams {
    /// Reads a recipe.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] with line and column.
    pub fn parse(text: &str) -> Result<Self> {
        toml::from_str(text).map_err(|error| Error::Recipe(error.to_string()))
    }

    /// # Errors
    ///
    /// [`Error::Recipe`] for no task, an unknown one, several amounts for one task, an amount
    /// that is none, negatives without their settings, a container that the format's readers do
    /// not take, or a setting without another that it needs.
    pub fn check(self) -> Result<Recipe> {
        let bad = |problem: String| Err(Error::Recipe(problem));
        if self.tasks.is_empty() {
            return bad("there are no tasks: add a [[tasks]] table".to_owned());
        }
        if self.epochs == 0 {
            return bad("epochs: got 0, expected at least 1".to_owned());
        }
        if self.history.max_items == 0 {
            return bad("history.max_items: got 0, expected at least 1".to_owned());
        }
        if self.output.samples_per_shard == 0 {
            return bad("output.samples_per_shard: got 0, expected at least 1".to_owned());
        }
        let (format, containers) = (self.output.format, self.output.format.containers());
        if let Some(container) = self.output.container.filter(|c| !containers.contains(c)) {
            return Err(Error::Container { format, container });
        }
        if (format == RowFormat::Text) != self.output.chat.is_some() {
            return bad("output.chat goes with the format `text`, and only with it".into());
        }
        self.tasks.iter().try_for_each(|task| task.check(&self))?;
        Ok(Recipe(self))
    }
}

impl TaskTable {
    fn check(&self, recipe: &RecipeParams) -> Result<()> {
        let bad = |problem: String| Err(Error::Recipe(format!("task {:?}: {problem}", self.task)));
        Task::named(&self.task)?;
        let amounts = [
            self.weight.is_some(),
            self.rows.is_some(),
            self.tokens.is_some(),
        ];
        if amounts.iter().filter(|given| **given).count() > 1 {
            return bad("more than one of weight, rows and tokens".to_owned());
        }
        if self
            .weight
            .is_some_and(|weight| !(weight > 0.0 && weight <= 1e6))
        {
            let weight = self.weight.unwrap_or_default();
            return bad(format!(
                "weight: got {weight}, expected more than 0, at most 1e6"
            ));
        }
        if self.rows == Some(0) || self.tokens == Some(0) {
            return bad("rows, tokens: got 0, expected at least 1".to_owned());
        }
        if self.tokens.is_some() && recipe.tokens.is_none() {
            return bad("a budget of tokens needs [tokens] tokenizer".to_owned());
        }
        if self.negatives.count == 0 {
            return bad("negatives.count: got 0, expected at least 1".to_owned());
        }
        let tree = self.negatives.from == NegativesName::Tree;
        if tree != self.negatives.depth.is_some() {
            return bad("negatives.depth goes with from = \"tree\", and only with it".to_owned());
        }
        if self.negatives.from == NegativesName::Beams && recipe.inputs.beams.is_none() {
            return bad("negatives from beams need inputs.beams".to_owned());
        }
        Ok(())
    }
}

impl Recipe {
    /// What was typed.
    pub fn params(&self) -> &RecipeParams {
        &self.0
    }

    /// How texts are cleaned.
    pub fn cleaning(&self) -> CleaningSteps {
        CleaningSteps {
            entities: self.0.items.decode_entities,
            space: self.0.items.single_spaces,
        }
    }

    /// The format of the items, if it is given.
    ///
    /// # Errors
    ///
    /// If there is no such format.
    pub fn item_format(&self) -> Result<Option<ItemFormat>> {
        let format = self.0.items.format.as_deref();
        format.map(str::parse).transpose().map_err(Error::Recipe)
    }

    /// The format of the interactions, if it is given.
    ///
    /// # Errors
    ///
    /// If there is no such format.
    pub fn event_format(&self) -> Result<Option<EventFormat>> {
        let format = self.0.interactions.format.as_deref();
        format.map(str::parse).transpose().map_err(Error::Recipe)
    }

    /// What becomes of events with unknown items.
    pub fn unknown_items(&self) -> UnknownItems {
        match self.0.interactions.unknown_items {
            Policy::Error => UnknownItems::Error,
            Policy::Skip => UnknownItems::Skip,
        }
    }

    /// What is left out of the histories.
    pub fn filter(&self) -> Filter {
        Filter {
            duplicates: match self.0.interactions.duplicates {
                DuplicatesName::Keep => Duplicates::Keep,
                DuplicatesName::First => Duplicates::First,
                DuplicatesName::Consecutive => Duplicates::Consecutive,
            },
            core: self.0.interactions.core,
            window: self.0.interactions.window,
        }
    }

    /// The split of some histories.
    ///
    /// # Errors
    ///
    /// Those of [`Split`].
    pub fn split(&self, histories: &Histories) -> Result<Split> {
        match &self.0.split {
            _ if matches!(self.0.inputs.interactions, Interactions::Parts(_)) => {
                Split::given(histories)
            }
            SplitTable::LeaveOneOut => Ok(Split::leave_one_out(histories)),
            SplitTable::Time {
                valid_from,
                test_from,
            } => Split::at_times(histories, *valid_from, *test_from),
            SplitTable::Ratio { shares } => Split::by_time(histories, *shares),
            SplitTable::UserRatio { shares } => Split::by_user(histories, *shares),
        }
    }

    /// How histories are written.
    pub fn style(&self) -> HistoryStyle {
        let HistoryTable {
            max_items,
            separator,
            numbered,
            quotes,
        } = self.0.history.clone();
        HistoryStyle {
            max_items,
            separator,
            numbered,
            quotes,
            trim_titles: self.0.items.trim_titles.clone(),
        }
    }

    /// The kind of files.
    pub fn container(&self) -> Container {
        let usual = self.0.output.format.containers()[0];
        self.0.output.container.unwrap_or(usual)
    }

    /// The order of the rows of a stage.
    pub fn order(&self) -> Order {
        match self.0.output.order {
            OrderName::Tasks => Order::Tasks,
            OrderName::Mixed => Order::Mixed,
        }
    }

    /// The parts that rows are made for, in order.
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let wanted = |part: &Part| self.0.tasks.iter().any(|task| task.part == *part);
        Part::ALL.into_iter().filter(wanted)
    }

    /// The tasks of a part; `beams` are a model's answers, where negatives are chosen from those.
    pub fn plans(&self, part: Part, beams: &crate::generators::Beams) -> Vec<TaskPlan> {
        let tasks = self.0.tasks.iter().filter(|task| task.part == part);
        let plan = |task: &TaskTable| TaskPlan {
            task: task.task.clone(),
            part,
            amount: match (task.rows, task.tokens) {
                (Some(rows), _) => Amount::Rows(rows),
                (_, Some(tokens)) => Amount::Tokens(tokens),
                _ => Amount::Weight(task.weight.unwrap_or(1.0)),
            },
            stage: task.stage,
            templates: task.templates.clone(),
            held_out: task.held_out,
            options: TaskOptions {
                negatives: Negatives {
                    count: task.negatives.count,
                    from: match task.negatives.from {
                        NegativesName::Uniform => NegativeSource::Uniform,
                        NegativesName::Popularity => NegativeSource::Popularity,
                        NegativesName::Tree => NegativeSource::Tree {
                            depth: task.negatives.depth.unwrap_or(1),
                        },
                        NegativesName::Beams => NegativeSource::Beams(beams.clone()),
                    },
                },
                liked_from: task.liked_from,
            },
        };
        tasks.map(plan).collect()
    }
}
