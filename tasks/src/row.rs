//! What a generator emits, whatever file it goes to.

use semantic_id::Code;
use serde::{Deserialize, Serialize};

use crate::Part;

/// One example of a corpus.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    /// What a model is told beforehand.
    pub system: Option<&'a str>,
    /// What a model is asked.
    pub prompt: &'a str,
    /// What it shall answer.
    pub answer: &'a str,
    /// What it shall not answer: for preference pairs and lists; else empty.
    pub rejected: &'a [String],
    /// The item that is asked for, where it is one.
    pub target: Option<Target<'a>>,
    /// The items of the history, oldest first, and then the target; only for a format that
    /// [asks for it](crate::RowFormat::needs).
    pub sequence: Option<&'a [SequenceItem<'a>]>,
    /// The slots that the template could have used, by name; only for a format that asks for it.
    pub fields: Option<&'a [(&'a str, &'a str)]>,
    /// Where the row comes from, and what it has read.
    pub provenance: &'a Provenance<'a>,
}

/// An item of a row's [`sequence`](Row::sequence).
#[derive(Debug, Clone, Copy)]
pub struct SequenceItem<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its semantic ID as text.
    pub id: &'a str,
    /// Its title; empty where it has none.
    pub title: &'a str,
}

/// The item that a row asks for.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// Its key.
    pub key: &'a str,
    /// Its semantic ID as text.
    pub id: &'a str,
    /// Its semantic ID, without padding.
    pub codes: &'a [Code],
}

/// Where a row comes from, and which events it has read: enough to make it again alone, and to
/// prove that it knows nothing it must not.
///
/// Ordinals count a user's events from 0, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance<'a> {
    /// The task, as `sequential`.
    #[serde(borrow)]
    pub task: std::borrow::Cow<'a, str>,
    /// The template, as `en/sequential/next-3`.
    #[serde(borrow)]
    pub template: std::borrow::Cow<'a, str>,
    /// For whom: training, validation or test.
    pub part: Part,
    /// Which pass over the samples, from 0.
    pub epoch: u32,
    /// Which of the task's samples, from 0.
    pub sample: u64,
    /// The key of the user, where there is one.
    #[serde(borrow, skip_serializing_if = "Option::is_none", default)]
    pub user: Option<std::borrow::Cow<'a, str>>,
    /// Ordinals `[first, end)` of the events that its texts were made of, the target not among them.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reads: Option<[u32; 2]>,
    /// The ordinal of the event it predicts.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub target: Option<u32>,
    /// The first ordinal that no text of the row may know.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub horizon: Option<u32>,
    /// The latest horizon at which a side text of the row was made.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub made_at: Option<u32>,
    /// The stage of a curriculum, where there are several.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stage: Option<u32>,
    /// The order of a curriculum: rows shall be met by ascending place.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub place: Option<u64>,
}
