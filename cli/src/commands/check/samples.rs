//! Some prefixes and what lies below them, for a person to judge.

use rq_vae::{SiblingPair, Siblings};
use semantic_id::{Code, ItemId};
use serde::Serialize;

use super::inputs::Inputs;

/// How many prefixes of one code and of two codes are shown.
const PREFIXES: [usize; 2] = [8, 4];

/// How many items of a prefix are shown.
const EXAMPLES: usize = 5;

/// How many items of a prefix are compared with each other.
const COMPARED: usize = 512;

/// A prefix and what lies below it.
#[derive(Debug, Serialize)]
pub(super) struct Sample {
    prefix: Vec<Code>,
    text: String,
    items: usize,
    examples: Vec<Named>,
    nearest: Option<Pair>,
    farthest: Option<Pair>,
}

/// Two items below a prefix.
#[derive(Debug, Serialize)]
struct Pair {
    items: [Named; 2],
    cosine: f32,
}

/// An item as a person knows it.
#[derive(Debug, Serialize)]
struct Named {
    key: String,
    title: Option<String>,
}

/// Prefixes of one and of two codes that have two items or more.
pub(super) fn samples(inputs: &Inputs) -> anyhow::Result<Vec<Sample>> {
    let mut samples = Vec::new();
    for (depth, count) in (1..=inputs.index.levels()).zip(PREFIXES) {
        for prefix in prefixes(inputs, depth, count)? {
            samples.push(Sample::of(inputs, prefix)?);
        }
    }
    Ok(samples)
}

/// The prefixes at equal steps along all items in the order of their IDs: large ones are the
/// likelier, and the same index shows the same ones.
fn prefixes(inputs: &Inputs, depth: usize, count: usize) -> anyhow::Result<Vec<&[Code]>> {
    let index = &inputs.index;
    let mut prefixes: Vec<&[Code]> = Vec::new();
    for step in 0..count {
        let [mut rank, end] = [step, step + 1].map(|step| index.items() * step / count);
        while rank < end {
            let prefix = &inputs.paths.row(index.item(rank as u32)?)[..depth];
            let ranks = index.ranks(prefix)?;
            if ranks.len() > 1 && prefixes.last() != Some(&prefix) {
                prefixes.push(prefix);
                break;
            }
            rank = ranks.end as usize;
        }
    }
    Ok(prefixes)
}

impl Sample {
    fn of(inputs: &Inputs, prefix: &[Code]) -> anyhow::Result<Self> {
        let index = &inputs.index;
        let ranks = index.ranks(prefix)?;
        let first = ranks.clone().take(COMPARED);
        let first: Vec<ItemId> = first
            .map(|rank| index.item(rank))
            .collect::<semantic_id::Result<_>>()?;
        let name = |item| Named::of(inputs, item);
        let pair = |pair: SiblingPair| Pair {
            items: pair.items.map(name),
            cosine: pair.cosine,
        };
        let siblings = inputs.embedded.as_ref();
        let siblings = siblings.and_then(|all| Siblings::of(all.embeddings.view(), &first));
        Ok(Self {
            prefix: prefix.to_vec(),
            text: index.token_format().text(index.space().unpadded(prefix)),
            items: ranks.len(),
            examples: first.iter().copied().take(EXAMPLES).map(name).collect(),
            nearest: siblings.map(|siblings| pair(siblings.nearest)),
            farthest: siblings.map(|siblings| pair(siblings.farthest)),
        })
    }
}

impl Named {
    fn of(inputs: &Inputs, item: ItemId) -> Self {
        let title = inputs.texts.as_ref().and_then(|texts| texts.title(item));
        Self {
            key: inputs.keys.get(item).to_owned(),
            title: title.map(str::to_owned),
        }
    }
}
