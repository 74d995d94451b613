//! Names and types of the columns of each format, for those that must know them beforehand.

use super::{Container, RowFormat};

/// A column of a table, or a field of an object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Column(pub(super) &'static str, pub(super) Kind);

/// What a column holds; any may be null.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Text,
    Integer,
    Texts,
    Integers,
    Object(&'static [Column]),
    Objects(&'static [Column]),
}

use Kind::{Integer, Integers, Object, Objects, Text, Texts};

const MESSAGES: Kind = Objects(&[Column("role", Text), Column("content", Text)]);

const ALPACA: &[Column] = &[
    Column("instruction", Text),
    Column("input", Text),
    Column("output", Text),
    Column("system", Text),
];

/// The fields of [`Provenance`](crate::Provenance).
const PROVENANCE: Kind = Object(&[
    Column("task", Text),
    Column("template", Text),
    Column("part", Text),
    Column("epoch", Integer),
    Column("sample", Integer),
    Column("user", Text),
    Column("reads", Integers),
    Column("target", Integer),
    Column("horizon", Integer),
    Column("made_at", Integer),
]);

impl RowFormat {
    /// The columns in their order, `provenance` last; none where rows of different tasks have
    /// different ones.
    pub(super) fn columns(self, container: Container) -> Option<Vec<Column>> {
        let columns: &[Column] = match self {
            Self::PromptCompletion => &[Column("prompt", Text), Column("completion", Text)],
            Self::Messages => &[Column("messages", MESSAGES)],
            Self::Text => &[Column("text", Text), Column("prompt_text", Text)],
            Self::Alpaca | Self::LlamaFactory => ALPACA,
            Self::Sharegpt => &[Column(
                "conversations",
                Objects(&[Column("from", Text), Column("value", Text)]),
            )],
            Self::TrlDpo => &[
                Column("prompt", Text),
                Column("chosen", Text),
                Column("rejected", Text),
            ],
            Self::SDpo => &[
                Column("prompt", Text),
                Column("chosen", Text),
                Column("rejected", Texts),
            ],
            Self::TrlGrpo => &[
                Column("prompt", Text),
                Column("ground_truth", Text),
                Column("target_codes", Integers),
                Column("sample_id", Text),
            ],
            Self::Verl => &[
                Column("data_source", Text),
                Column("prompt", MESSAGES),
                Column("ability", Text),
                Column(
                    "reward_model",
                    Object(&[Column("style", Text), Column("ground_truth", Text)]),
                ),
                Column(
                    "extra_info",
                    Object(&[
                        Column("split", Text),
                        Column("index", Integer),
                        Column("task", Text),
                    ]),
                ),
            ],
            Self::OpenOneRec => &[
                Column("uuid", Text),
                Column("source", Text),
                Column("metadata", Text),
                Column("messages", Text),
            ],
            Self::MiniOneRec => &[
                Column("user_id", Text),
                Column("history_item_title", Text),
                Column("item_title", Text),
                Column("history_item_id", Text),
                Column("item_id", Text),
                Column("history_item_sid", Text),
                Column("item_sid", Text),
            ],
            Self::Fields if container == Container::Parquet => &[Column("fields", Text)],
            Self::Fields => return None,
        };
        let provenance = match container.nests() {
            true => PROVENANCE,
            false => Text,
        };
        Some([columns, &[Column("provenance", provenance)]].concat())
    }
}

impl Container {
    /// Whether `provenance` is an object, not JSON in a string.
    pub(super) fn nests(self) -> bool {
        matches!(self, Self::Jsonl | Self::JsonlZst)
    }
}
