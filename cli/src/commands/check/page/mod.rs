//! The report as one HTML page that needs nothing but a browser.
//!
//! `page.html` is the frame, `page.css` the looks and `page.js` the charts, drawn with d3
//! (`vendor/`). All that came from the checked files is text: escaped by the template, or in JSON
//! that cannot end its script.

mod legend;
mod treemap;

use anyhow::Context;
use minijinja::Environment;
use minijinja::value::Serde;
use semantic_id::LevelStatistics;
use serde::Serialize;

use super::inputs::Inputs;
use super::report::Report;
use legend::Legend;
use treemap::{Node, treemap};

/// Bars of a level, at most; of more codes some share a bar.
const BARS: usize = 256;

/// What the template fills in.
#[derive(Serialize)]
struct Page<'a> {
    name: &'a str,
    codes: String,
    /// How many gates failed.
    failed: usize,
    generation: u64,
    digest: String,
    tool: &'static str,
    report: &'a Report,
    tiles: Vec<Tile>,
    charts: Charts,
    style: &'static str,
    d3: &'static str,
    script: &'static str,
}

/// A figure and what to hold it to.
#[derive(Serialize)]
struct Tile {
    name: &'static str,
    value: String,
    unit: &'static str,
    note: String,
}

/// What the script draws.
#[derive(Serialize)]
struct Charts {
    legend: Legend,
    tree: Node,
    uses: Vec<Use>,
    bars: Vec<Bars>,
}

/// How many items the codes of a level have, the most used first.
#[derive(Serialize)]
struct Use {
    /// Means of equal numbers of codes.
    items: Vec<f64>,
    /// Codes of a bar.
    codes: usize,
    /// Items of a code if all had equally many.
    even: f64,
}

/// A few figures of one kind.
#[derive(Serialize)]
struct Bars {
    title: &'static str,
    lead: &'static str,
    unit: Unit,
    /// Whether each has a control beside it.
    shuffled: bool,
    bars: Vec<Bar>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Unit {
    Bits,
    Items,
    Share,
}

#[derive(Serialize)]
struct Bar {
    name: String,
    value: f64,
    shuffled: Option<f64>,
}

/// The page of a report on the index that is called `name`.
pub(super) fn page(name: &str, inputs: &Inputs, report: &Report) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    // The name's ending tells that values are escaped for HTML.
    environment.add_template("page.html", include_str!("page.html"))?;
    environment.add_filter("number", number);
    let legend = Legend::of(inputs);
    let page = Page {
        name,
        codes: inputs.index.space().to_string(),
        failed: report.gates.iter().filter(|gate| !gate.ok).count(),
        generation: inputs.index.info().generation,
        digest: inputs.index.digest().to_string(),
        tool: concat!("semid ", env!("CARGO_PKG_VERSION")),
        report,
        tiles: tiles(report),
        charts: Charts {
            tree: treemap(inputs, &legend),
            legend,
            uses: uses(inputs),
            bars: bars(report),
        },
        style: include_str!("page.css"),
        d3: include_str!("vendor/d3.js"),
        script: include_str!("page.js"),
    };
    let template = environment.get_template("page.html")?;
    template
        .render(Serde(page))
        .context("cannot write the page")
}

/// A number as people write it: `16,859`, `196.4`, `0.289`.
fn number(number: f64) -> String {
    let text = match number.abs() {
        0.0 => return "0".to_owned(),
        size if size < 1e-3 => return format!("{number:.2e}"),
        _ if number.fract() == 0.0 => format!("{number:.0}"),
        1e-3..1.0 => format!("{number:.3}"),
        1.0..100.0 => format!("{number:.2}"),
        _ => format!("{number:.1}"),
    };
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    let (sign, digits) = whole.split_at(whole.len() - whole.trim_start_matches('-').len());
    let mut grouped = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

fn tiles(report: &Report) -> Vec<Tile> {
    let count = |count: usize| number(count as f64);
    let percent = |share: f64| format!("{:.1}", 100.0 * share);
    let mut tiles = Vec::new();
    let mut add = |name, value, unit, note| {
        tiles.push(Tile {
            name,
            value,
            unit,
            note,
        });
    };
    let note = format!("{} distinct IDs", count(report.unique));
    add("Items", count(report.items), "", note);
    if let Some(gain) = &report.held_out_gain {
        let note = format!("shuffled {}", number(gain.shuffled));
        add("Held-out gain", number(gain.bits), "bits", note);
    }
    if let Some(recall) = &report.prefix_neighbour_recall {
        let note = format!("shuffled {} %", percent(recall.shuffled));
        add("Neighbours alike", percent(recall.value), "%", note);
    }
    if let Some(purity) = report.purity.as_ref().and_then(|levels| levels.first()) {
        let note = format!("shuffled {} %", percent(purity.shuffled));
        add("Level 0 purity", percent(purity.value), "%", note);
    }
    if let Some(level) = report.levels_stats.first() {
        let note = format!("{} codes used", count(level.used));
        add("Level 0 perplexity", number(level.perplexity), "", note);
    }
    if let Some(mse) = report.reconstruction_mse {
        let by = match report.least_squares {
            true => "mean squared, of codebooks fitted here",
            false => "mean squared, of the model",
        };
        add("Error", number(mse), "", by.to_owned());
    }
    if let (Some(moved), Some(added)) = (report.moved, report.added_distance) {
        let note = format!("squared distance added {}", number(added));
        add("Items moved", number(moved as f64), "", note);
    }
    tiles
}

fn uses(inputs: &Inputs) -> Vec<Use> {
    let space = inputs.index.space();
    let of = |level| {
        let counts = LevelStatistics::counts(&inputs.paths, space, level);
        let codes = counts.len().div_ceil(BARS);
        let mean = |codes: &[u64]| codes.iter().sum::<u64>() as f64 / codes.len() as f64;
        Use {
            even: mean(&counts),
            items: counts.chunks(codes).map(mean).collect(),
            codes,
        }
    };
    (0..space.levels()).map(of).collect()
}

fn bars(report: &Report) -> Vec<Bars> {
    let mut charts = Vec::new();
    if let Some(gain) = &report.held_out_gain {
        let levels = gain.per_level.iter().zip(&gain.shuffled_per_level);
        charts.push(Bars {
            title: "What the last item tells of the next",
            lead: "Bits that its ID saves on each code of the next item's ID, beyond popularity.",
            unit: Unit::Bits,
            shuffled: true,
            bars: per_level(
                |level| format!("level {level}"),
                levels.map(|(own, control)| (*own, *control)),
            ),
        });
    }
    if let Some(depths) = &report.prefix_neighbour_recall_by_depth {
        let depths = depths.iter().map(|depth| (depth.value, depth.shuffled));
        charts.push(Bars {
            title: "Neighbours begin alike",
            lead: "Of an item's 10 nearest by cosine, the share with its first codes.",
            unit: Unit::Share,
            shuffled: true,
            bars: per_level(codes, depths),
        });
    }
    if let Some(depths) = &report.purity {
        let depths = depths.iter().map(|depth| (depth.value, depth.shuffled));
        charts.push(Bars {
            title: "Prefixes are of one category",
            lead: "Items of the main category among those with the same first codes.",
            unit: Unit::Share,
            shuffled: true,
            bars: per_level(codes, depths),
        });
    }
    if let Some(before) = report.unique_before {
        let beyond = |unique: f64| report.items as f64 - unique;
        charts.push(Bars {
            title: "Collisions",
            lead: "Items beyond the first on their ID, as the quantizer proposed and as they are.",
            unit: Unit::Items,
            shuffled: false,
            bars: vec![
                Bar::new("before", beyond(before as f64)),
                Bar::new("after", beyond(report.unique as f64)),
            ],
        });
    }
    if let Some(popularity) = &report.popularity {
        charts.push(Bars {
            title: "Where the traffic falls",
            lead: "Shares of the training events, of the items and of the codes of level 0.",
            unit: Unit::Share,
            shuffled: false,
            bars: vec![
                Bar::new("events of the top fifth of items", popularity.head),
                Bar::new("events of the lower half", popularity.tail),
                Bar::new("items without events", popularity.cold),
                Bar::new("codes with half the events", popularity.codes_for_half),
                Bar::new("codes with four fifths", popularity.codes_for_most),
            ],
        });
    }
    charts
}

/// A bar for each level or, what is the same, for each length of a prefix.
fn per_level(name: impl Fn(usize) -> String, pairs: impl Iterator<Item = (f64, f64)>) -> Vec<Bar> {
    let bar = |(level, (value, shuffled))| Bar {
        name: name(level),
        value,
        shuffled: Some(shuffled),
    };
    pairs.enumerate().map(bar).collect()
}

/// The length of the prefix that ends at a level.
fn codes(level: usize) -> String {
    match level {
        0 => "1 code".to_owned(),
        _ => format!("{} codes", level + 1),
    }
}

impl Bar {
    fn new(name: &str, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            value,
            shuffled: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (value, text) in [
            (0.0, "0"),
            (16859.0, "16,859"),
            (-1234567.0, "-1,234,567"),
            (999.0, "999"),
            (1196.44, "1,196.4"),
            (0.28884, "0.289"),
            (-1.5, "-1.50"),
            (0.00055871, "5.59e-4"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
