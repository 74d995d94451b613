//! From rows to files that trainers load.
//!
//! | format | columns, beside `provenance` | for |
//! |---|---|---|
//! | `prompt-completion` | `prompt, completion` | TRL's `SFTTrainer` |
//! | `messages` | `messages [{role, content}]` | TRL, axolotl, torchtune |
//! | `text` | `text`, `prompt_text`: rendered by a chat template | pretraining, plain decoding |
//! | `alpaca`, `llama-factory` | `instruction, input, output, system` | LLaMA-Factory, axolotl |
//! | `sharegpt` | `conversations [{from, value}]` | LLaMA-Factory |
//! | `trl-dpo` | `prompt, chosen, rejected`, a row for each rejected answer | TRL's `DPOTrainer` |
//! | `s-dpo` | the same, `rejected` a list | S-DPO |
//! | `trl-grpo` | `prompt, ground_truth, target_codes, sample_id` | TRL's `GRPOTrainer` |
//! | `verl` | `data_source, prompt, ability, reward_model, extra_info` | verl |
//! | `openonerec` | `uuid, source, metadata, messages` | OpenOneRec |
//! | `minionerec` | `user_id, history_item_title, item_title, ...`, Python lists | MiniOneRec, ReRe |
//! | `fields` | `fields`: the slots as they are | tests, other tools |
//!
//! A [`RowWriter`] turns rows into blocks of bytes, on any number of threads; a [`ShardWriter`]
//! takes the blocks in order and makes a file of them.

mod chat;
mod columns;
mod files;
mod folder;
mod json;
mod minionerec;
#[cfg(feature = "parquet")]
mod parquet;
mod shard;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Error, Result, Row};

pub use chat::ChatTemplate;
pub use files::{DatasetCard, dataset_info, new_tokens};
pub use folder::{CorpusFolder, Folder};
pub use shard::{Shard, ShardWriter, shard_name};
pub use writer::RowWriter;

/// Which columns a row gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RowFormat {
    /// TRL's strings for supervised fine-tuning.
    PromptCompletion,
    /// A conversation.
    Messages,
    /// A conversation as a model's chat template renders it, once whole and once up to where the
    /// answer begins.
    Text,
    /// Stanford Alpaca's columns.
    Alpaca,
    /// A conversation in ShareGPT's words.
    Sharegpt,
    /// Alpaca's columns, with `dataset_info.json` and `new_tokens.json` beside them.
    LlamaFactory,
    /// TRL's strings for preference pairs: as many rows as there are rejected answers.
    TrlDpo,
    /// Preference lists: one row with all rejected answers.
    SDpo,
    /// TRL's strings for reinforcement learning, with all that a reward needs.
    TrlGrpo,
    /// verl's columns for reinforcement learning.
    Verl,
    /// OpenOneRec's columns, JSON within strings.
    #[serde(rename = "openonerec")]
    OpenOneRec,
    /// MiniOneRec's columns, Python lists within CSV.
    #[serde(rename = "minionerec")]
    MiniOneRec,
    /// The slots of the templates, without any template's words.
    Fields,
}

/// What a format wants of a row beyond prompt and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Nothing.
    Nothing,
    /// [`Row::rejected`].
    Rejected,
    /// [`Row::target`].
    Target,
    /// [`Row::sequence`], and a user.
    Sequence,
    /// [`Row::fields`].
    Fields,
}

impl RowFormat {
    /// All formats.
    pub const ALL: [Self; 13] = [
        Self::PromptCompletion,
        Self::Messages,
        Self::Text,
        Self::Alpaca,
        Self::Sharegpt,
        Self::LlamaFactory,
        Self::TrlDpo,
        Self::SDpo,
        Self::TrlGrpo,
        Self::Verl,
        Self::OpenOneRec,
        Self::MiniOneRec,
        Self::Fields,
    ];

    /// What rows must have.
    pub fn needs(self) -> Need {
        match self {
            Self::TrlDpo | Self::SDpo => Need::Rejected,
            Self::TrlGrpo => Need::Target,
            Self::MiniOneRec => Need::Sequence,
            Self::Fields => Need::Fields,
            _ => Need::Nothing,
        }
    }

    /// The containers that its readers take, the usual one first.
    pub fn containers(self) -> &'static [Container] {
        use Container::{Csv, Jsonl, JsonlZst, Parquet};
        match self {
            Self::MiniOneRec => &[Csv],
            Self::OpenOneRec => &[Parquet],
            Self::Verl => &[Parquet, Jsonl, JsonlZst],
            Self::LlamaFactory => &[Jsonl, Parquet],
            _ => &[Jsonl, JsonlZst, Parquet],
        }
    }

    /// Holds that a row can be written: to be asked of a row of each task before the first
    /// file is made.
    ///
    /// # Errors
    ///
    /// [`Error::RowFormat`] names the task, the format and what is missing.
    pub fn check(self, row: &Row<'_>) -> Result<()> {
        let lacks = match self.needs() {
            Need::Rejected if row.rejected.is_empty() => "rejected answers",
            Need::Target if row.target.is_none() => "an item that is asked for",
            Need::Sequence if row.provenance.user.is_none() => "a user",
            Need::Sequence if row.sequence.is_none_or(<[_]>::is_empty) => "a sequence of items",
            Need::Fields if row.fields.is_none() => "fields",
            _ => return Ok(()),
        };
        Err(Error::RowFormat {
            format: self,
            task: row.provenance.task.to_string(),
            problem: format!("its rows lack {lacks}; leave the task out or take another format"),
        })
    }
}

impl fmt::Display for RowFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// Which kind of file holds the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Container {
    /// JSON, a row a line.
    #[serde(rename = "jsonl")]
    Jsonl,
    /// The same, compressed by zstd.
    #[serde(rename = "jsonl.zst")]
    JsonlZst,
    /// Parquet; what is an object in JSON is a string here where readers want it so.
    #[serde(rename = "parquet")]
    Parquet,
    /// CSV with a header.
    #[serde(rename = "csv")]
    Csv,
}

impl fmt::Display for Container {
    /// The ending of a file's name, `jsonl.zst`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}
