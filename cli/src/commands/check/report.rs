//! The figures of an index.

use std::fmt;

use rq_vae::PrefixNeighbourRecall;
use semantic_id::{Collisions, HeldOutGain, LevelStatistics, Popularity, Purity};
use serde::Serialize;

use super::gates::Gate;
use super::inputs::{Events, Inputs};
use super::samples::{Sample, samples};
use super::texts::Texts;
use crate::tree::LevelShape;

/// What `check` reports; what was not given or cannot be told is null.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) items: usize,
    /// Distinct paths that the quantizer proposed, as far as the manifest tells.
    pub(super) unique_before: Option<u64>,
    pub(super) unique: usize,
    pub(super) moved: Option<u64>,
    collision_rate: f64,
    items_in_collisions: f64,
    pub(super) reconstruction_mse: Option<f64>,
    /// Whether the codebooks are those of a model, or fitted here.
    pub(super) least_squares: bool,
    pub(super) added_distance: Option<f64>,
    pub(super) levels_stats: Vec<LevelStatistics>,
    /// Codes of each level that no item has.
    dead_codes: Vec<usize>,
    /// How the prefixes before each level go on there.
    fan_out: Vec<LevelShape>,
    /// How far the items of a prefix are of one category, by the length of the prefix.
    pub(super) purity: Option<Vec<Purity>>,
    /// The first of `prefix_neighbour_recall_by_depth`.
    pub(super) prefix_neighbour_recall: Option<PrefixNeighbourRecall>,
    pub(super) prefix_neighbour_recall_by_depth: Option<Vec<PrefixNeighbourRecall>>,
    pub(super) held_out_gain: Option<HeldOutGain>,
    pub(super) interactions: Option<Interactions>,
    pub(super) popularity: Option<Popularity>,
    /// Items of the index that the items file does not have.
    pub(super) items_without_text: Option<usize>,
    pub(super) sample_prefixes: Vec<Sample>,
    pub(super) gates: Vec<Gate>,
    pub(super) ok: bool,
}

/// The events that were read.
#[derive(Debug, Serialize)]
pub(super) struct Interactions {
    pub(super) users: usize,
    pub(super) events: usize,
    /// Users with too few events to hold one out.
    pub(super) users_without_test: usize,
    /// Events left out because the index does not have their item.
    pub(super) unknown_items_skipped: u64,
}

impl Report {
    /// Measures what the inputs allow. Holds it to no gate yet.
    pub(super) fn of(inputs: &Inputs, seed: u64) -> anyhow::Result<Self> {
        let Inputs {
            index,
            paths,
            texts,
            embedded,
            events,
            ..
        } = inputs;
        let (space, manifest) = (index.space(), &index.info().manifest);
        let collisions = Collisions::of(paths);
        let levels_stats = LevelStatistics::of(paths, space);
        let sizes = space.sizes().iter().zip(&levels_stats);
        let dead =
            |(&size, level): (&u32, &LevelStatistics)| (size as usize).saturating_sub(level.used);
        let category = texts.as_ref().and_then(Texts::category);
        let purity = category.map(|category| Purity::of(paths, category, seed));
        let recall = embedded.as_ref().filter(|_| index.items() > 1);
        let recall = recall.map(|embedded| {
            PrefixNeighbourRecall::by_depth(embedded.embeddings.view(), paths, seed)
        });
        let recall = recall.transpose()?;
        // Without a user of three events nothing is held out.
        let gain = events
            .as_ref()
            .filter(|events| events.split.without_test() < events.histories.len());
        let gain = gain.map(|events| HeldOutGain::of(paths, &events.rows(), seed));
        let popularity = |events: &Events| Popularity::of(paths, space, &events.training);
        Ok(Self {
            items: index.items(),
            unique_before: manifest.counts.get("unique_before").copied(),
            unique: collisions.unique,
            moved: manifest.counts.get("moved").copied(),
            collision_rate: collisions.rate,
            items_in_collisions: collisions.items,
            reconstruction_mse: embedded.as_ref().map(|embedded| embedded.mse),
            least_squares: embedded
                .as_ref()
                .is_some_and(|embedded| embedded.least_squares),
            added_distance: manifest.results["added_distance"].as_f64(),
            dead_codes: sizes.map(dead).collect(),
            levels_stats,
            fan_out: LevelShape::all(index)?,
            purity: purity.transpose()?,
            prefix_neighbour_recall: recall.as_ref().and_then(|depths| depths.first().copied()),
            prefix_neighbour_recall_by_depth: recall,
            held_out_gain: gain.transpose()?,
            interactions: events.as_ref().map(Interactions::of),
            popularity: events.as_ref().map(popularity).transpose()?,
            items_without_text: texts.as_ref().map(|texts| texts.missing),
            sample_prefixes: samples(inputs)?,
            gates: Vec::new(),
            ok: true,
        })
    }
}

impl Interactions {
    fn of(events: &Events) -> Self {
        Self {
            users: events.histories.len(),
            events: events.histories.events(),
            users_without_test: events.split.without_test(),
            unknown_items_skipped: events.histories.unknown_skipped(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} items, {} distinct IDs; {:.2} % of the items share theirs",
            self.items,
            self.unique,
            100.0 * self.items_in_collisions
        )?;
        match self.unique_before {
            Some(before) => writeln!(f, " ({before} distinct before assignment)")?,
            None => writeln!(f)?,
        }
        writeln!(
            f,
            "level   used   dead  perplexity   gini  fan-out    max  single"
        )?;
        for (level, stats) in self.levels_stats.iter().enumerate() {
            let (dead, shape) = (self.dead_codes[level], &self.fan_out[level]);
            writeln!(
                f,
                "{level:>5} {:>6} {dead:>6} {:>11.1} {:>6.3} {:>8.2} {:>6} {:>5.1} %",
                stats.used,
                stats.perplexity,
                stats.gini,
                shape.mean_fan_out,
                shape.max_fan_out,
                100.0 * shape.single_child
            )?;
        }
        self.embedding_lines(f)?;
        self.interaction_lines(f)?;
        for gate in &self.gates {
            let verdict = if gate.ok { "ok  " } else { "FAIL" };
            writeln!(f, "{verdict} {gate}")?;
        }
        f.write_str(if self.ok {
            "all gates passed"
        } else {
            "not good enough"
        })
    }
}

impl Report {
    fn embedding_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(mse) = self.reconstruction_mse {
            let by = if self.least_squares {
                "least-squares codebooks"
            } else {
                "the model"
            };
            writeln!(f, "reconstruction error {mse:.6} by {by}")?;
        }
        if let Some(added) = self.added_distance {
            writeln!(f, "squared distance added by the assignment {added:.4}")?;
        }
        if let Some(depths) = &self.prefix_neighbour_recall_by_depth {
            let pairs = depths.iter().map(|depth| (depth.value, depth.shuffled));
            shares(f, "neighbours that share the first codes", pairs)?;
        }
        if let Some(depths) = &self.purity {
            let pairs = depths.iter().map(|depth| (depth.value, depth.shuffled));
            shares(f, "items of their prefix's main category", pairs)?;
        }
        Ok(())
    }

    fn interaction_lines(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Some(read), Some(popularity)) = (&self.interactions, &self.popularity) else {
            return Ok(());
        };
        let (events, users, unknown) = (read.events, read.users, read.unknown_items_skipped);
        write!(f, "{events} events of {users} users")?;
        match unknown {
            0 => writeln!(f)?,
            _ => writeln!(
                f,
                "; {unknown} more are with items that the index does not have"
            )?,
        }
        let [head, tail, cold] =
            [popularity.head, popularity.tail, popularity.cold].map(|share| 100.0 * share);
        writeln!(
            f,
            "training events of the top fifth of the items {head:.1} %, of the lower half \
             {tail:.1} %; {cold:.1} % of the items have none"
        )?;
        let Some(gain) = &self.held_out_gain else {
            return Ok(());
        };
        let levels: Vec<String> = gain
            .per_level
            .iter()
            .map(|bits| format!("{bits:.2}"))
            .collect();
        write!(
            f,
            "held-out gain {:.3} bits, shuffled {:.3}; by level {}",
            gain.bits,
            gain.shuffled,
            levels.join(", ")
        )?;
        match gain.unseen_bits {
            Some(bits) => writeln!(f, "; on targets absent from training {bits:.3}"),
            None => writeln!(f),
        }
    }
}

/// Writes a share and its control for each depth.
fn shares(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    pairs: impl Iterator<Item = (f64, f64)>,
) -> fmt::Result {
    let (values, controls): (Vec<_>, Vec<_>) = pairs
        .map(|(value, control)| {
            (
                format!("{:.1}", 100.0 * value),
                format!("{:.1}", 100.0 * control),
            )
        })
        .unzip();
    writeln!(
        f,
        "{what}: {} %, shuffled {} %",
        values.join(", "),
        controls.join(", ")
    )
}
