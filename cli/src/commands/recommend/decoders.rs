//! Ways from a model to items, by name.

use std::fmt;
use std::fs;
use std::num::NonZeroUsize;

use anyhow::Context;
use clap::{Args, ValueEnum};
use semid_recommender::{
    Certified, Generative, Grounded, GroundingParams, HEAD_FILE, Headed, ItemHead, Proofs, Ranker,
};
use serde::Serialize;
use trie_decode::Exact;

use super::folder::{Folder, Source};
use crate::map::Bytes;

/// How to come from a model to items.
#[derive(Debug, Clone, Args)]
pub(super) struct Decoders {
    /// How items are found, between commas. The first one is compared with all others, and with
    /// the baselines
    #[arg(
        long = "decoder",
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "beam"
    )]
    names: Vec<Decoder>,
    /// Prefixes kept after each level
    #[arg(long, value_name = "N", default_value = "50")]
    beams: NonZeroUsize,
    /// Rows that `exact` may score for a user, those of its beams included
    #[arg(long, value_name = "N", default_value = "2000")]
    row_budget: NonZeroUsize,
    /// How much popularity counts for `ground`: distances are divided by (1 + p)^GAMMA, where p is
    /// 1 for the most popular item
    #[arg(long, value_name = "GAMMA", default_value_t = GroundingParams::default().gamma)]
    gamma: f64,
}

/// A way from a model to items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Decoder {
    /// Beam search over the index; `generative` in reports
    Beam,
    /// The same, and then best first until the answer is proven or the row budget is used up
    Exact,
    /// No search: the item head scores all items (`semid recommend train --item-head`)
    Head,
    /// What the model writes without an index, and the items nearest to it (BIGRec)
    Ground,
}

impl Decoder {
    /// What reports call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Decoder::Beam => "generative",
            Decoder::Exact => "exact",
            Decoder::Head => "head",
            Decoder::Ground => "ground",
        }
    }
}

impl Decoders {
    /// Those that were asked for, each once, in their order.
    pub(super) fn distinct(&self) -> Vec<Decoder> {
        let mut distinct = Vec::new();
        for &name in &self.names {
            if !distinct.contains(&name) {
                distinct.push(name);
            }
        }
        distinct
    }

    /// The item head, if one of them needs it.
    pub(super) fn head(
        &self,
        folder: &Folder,
        source: &Source,
    ) -> anyhow::Result<Option<ItemHead>> {
        if !self.names.contains(&Decoder::Head) {
            return Ok(None);
        }
        let path = source.model.join(HEAD_FILE);
        let bytes = fs::read(&path).with_context(|| {
            format!(
                "the decoder `head` needs {}: train the model with `semid recommend train \
                 --item-head`",
                path.display()
            )
        })?;
        let head = ItemHead::from_bytes(folder.recommender.model(), &bytes);
        Ok(Some(head.with_context(|| path.display().to_string())?))
    }

    /// A decoder that is ready; `events` has how often each item occurs in training.
    pub(super) fn open<'a>(
        &self,
        decoder: Decoder,
        folder: &'a Folder,
        head: Option<&'a ItemHead>,
        events: &[u64],
    ) -> anyhow::Result<Opened<'a>> {
        let (model, reader) = (folder.recommender.model(), folder.recommender.reader());
        let (trie, beams) = (&folder.trie, self.beams.get());
        let certified = |exact| {
            let generative = Generative {
                model,
                reader,
                trie,
                beams,
            };
            Opened::Search(Certified::new(generative, exact))
        };
        Ok(match decoder {
            Decoder::Beam => certified(None),
            Decoder::Exact => certified(Some(Exact {
                row_budget: self.row_budget.get(),
            })),
            Decoder::Head => {
                let head = head.context("the item head was not read")?;
                Opened::Other(Box::new(Headed::new(model, reader, trie, head)?))
            }
            Decoder::Ground => {
                let gamma = self.gamma;
                let params = GroundingParams { beams, gamma };
                let grounded = Grounded::new(model, reader, trie, events, params);
                Opened::Other(Box::new(grounded.map_err(crate::usage_error)?))
            }
        })
    }
}

/// A decoder that can be asked.
pub(super) enum Opened<'a> {
    Search(Certified<'a, Bytes>),
    Other(Box<dyn Ranker + 'a>),
}

impl Opened<'_> {
    pub(super) fn ranker(&self) -> &dyn Ranker {
        match self {
            Opened::Search(search) => search,
            Opened::Other(other) => &**other,
        }
    }

    /// What it proved of its answers so far, if it is one that proves.
    pub(super) fn proven(&self) -> Option<Proven> {
        match self {
            Opened::Search(search) => Some(search.proofs().into()),
            Opened::Other(_) => None,
        }
    }
}

/// What a search proved of its answers.
#[derive(Debug, Serialize)]
pub(super) struct Proven {
    /// The share of answers that are proven to be the best.
    pub(super) share: f64,
    /// By how much, in nats, an item that was missed may be better than the last one of an answer
    /// that is not proven; a mean.
    pub(super) mean_gap: Option<f64>,
    /// Rows scored for an answer; a mean.
    pub(super) mean_rows: f64,
}

impl From<Proofs> for Proven {
    fn from(proofs: Proofs) -> Self {
        Self {
            share: proofs.share(),
            mean_gap: proofs.mean_gap(),
            mean_rows: proofs.mean_rows(),
        }
    }
}

impl fmt::Display for Proven {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} % of answers proven to be the best, with {:.0} rows scored for one",
            100.0 * self.share,
            self.mean_rows
        )?;
        match self.mean_gap {
            Some(gap) => write!(f, "; in the others a missed item may be better by {gap:.3}"),
            None => Ok(()),
        }
    }
}
