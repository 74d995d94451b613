//! What can be told of an index without any training.

use std::path::Path;
use std::sync::atomic::AtomicBool;

use semantic_id::{Error, HeldOutGain};
use serde::Serialize;
use serde_json::Value;

use super::contender::Contender;
use crate::commands::check::Check;

/// A cheap figure of an index that is thought to tell how well it can be learnt.
pub(super) struct Proxy {
    pub(super) name: &'static str,
    pub(super) good: Good,
    measure: fn(&Figures) -> Option<f64>,
}

/// Which end of a figure is thought to be the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Good {
    High,
    Low,
}

/// What there is to know of an index.
struct Figures {
    /// What `semid check --json` prints.
    check: Value,
    gain: Option<f64>,
}

/// All that are looked at, in the order of reports.
pub(super) const PROXIES: [Proxy; 7] = [
    // The share of distinct IDs.
    Proxy {
        name: "unique",
        good: Good::High,
        measure: |figures| figures.share_of_items("unique"),
    },
    // The same before the assignment.
    Proxy {
        name: "unique_before",
        good: Good::High,
        measure: |figures| figures.share_of_items("unique_before"),
    },
    // The share of codes that items have, mean over levels.
    Proxy {
        name: "utilisation",
        good: Good::High,
        measure: |figures| figures.share_of_codes("used"),
    },
    // The perplexity of a level's codes as a share of its codes, mean over levels.
    Proxy {
        name: "balance",
        good: Good::High,
        measure: |figures| figures.share_of_codes("perplexity"),
    },
    Proxy {
        name: "reconstruction_mse",
        good: Good::Low,
        measure: |figures| figures.check["reconstruction_mse"].as_f64(),
    },
    Proxy {
        name: "prefix_neighbour_recall",
        good: Good::High,
        measure: |figures| figures.check["prefix_neighbour_recall"]["value"].as_f64(),
    },
    // In bits, without the events of the test.
    Proxy {
        name: "held_out_gain",
        good: Good::High,
        measure: |figures| figures.gain,
    },
];

/// The value of each of [`PROXIES`]; `None` for what cannot be told.
pub(super) fn measure(
    contender: &Contender,
    embeddings: Option<&Path>,
    keys: Option<&Path>,
) -> anyhow::Result<Vec<Option<f64>>> {
    let check = Check {
        embeddings: embeddings.map(Path::to_owned),
        keys: keys.map(Path::to_owned),
        seed: super::DRAWS,
        ..Check::new(contender.path.clone())
    };
    let figures = Figures {
        check: check.measure(&AtomicBool::new(false))?,
        gain: gain(contender)?,
    };
    Ok(PROXIES
        .iter()
        .map(|proxy| (proxy.measure)(&figures))
        .collect())
}

/// How well an item's codes can be told from the item before, for validation's items.
fn gain(contender: &Contender) -> anyhow::Result<Option<f64>> {
    let histories = contender.interactions.before_test();
    let gain = HeldOutGain::of(&contender.index().codes()?, &histories, super::DRAWS);
    match gain {
        Ok(gain) => Ok(Some(gain.bits)),
        Err(Error::NoHeldOut { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Figures {
    fn share_of_items(&self, name: &str) -> Option<f64> {
        Some(self.check[name].as_f64()? / self.check["items"].as_f64()?)
    }

    fn share_of_codes(&self, name: &str) -> Option<f64> {
        let levels = self.check["levels_stats"].as_array()?;
        let dead = self.check["dead_codes"].as_array()?;
        let share = |(level, dead): (&Value, &Value)| {
            Some(level[name].as_f64()? / (level["used"].as_f64()? + dead.as_f64()?))
        };
        let shares: Option<Vec<f64>> = levels.iter().zip(dead).map(share).collect();
        let shares = shares.filter(|shares| !shares.is_empty())?;
        Some(shares.iter().sum::<f64>() / shares.len() as f64)
    }
}
