//! What the figures of a report must be.

use std::fmt;
use std::fs;
use std::path::Path;
use std::str::FromStr;

use anyhow::{Context, anyhow, bail, ensure};
use serde::Serialize;
use serde_json::Value;
use toml::Table;

/// The gates that are there unless they are switched off. What was not measured passes them.
const DEFAULTS: [(&str, &str); 3] = [
    ("unique", "unique >= items"),
    (
        "recall",
        "prefix_neighbour_recall.value > prefix_neighbour_recall.shuffled",
    ),
    ("gain", "held_out_gain.bits > held_out_gain.shuffled"),
];

/// How alike a known name must be to an unknown one to be offered in its place, 0 to 1.
const ALIKE: f64 = 0.8;

/// What a report is held to.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Gates {
    /// Default gates that are switched off.
    pub(super) without: Vec<String>,
    /// The gates beyond the default ones.
    pub(super) limits: Vec<Limit>,
}

/// What a figure of the report must be, by its name there: `levels_stats.0.perplexity`.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    figure: String,
    must: Must,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Must {
    AtLeast,
    AtMost,
    Above,
    Below,
}

#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Number(f64),
    /// Another figure.
    Figure(String),
}

/// What became of a gate.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Gate {
    pub(super) name: String,
    pub(super) value: f64,
    must: Must,
    pub(super) limit: f64,
    pub(super) ok: bool,
}

impl Gates {
    /// Reads the table `[gates]` of a TOML file.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let file = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {file}"))?;
        Self::parse(&text).with_context(|| file.to_string())
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let mut gates = Self::default();
        for (name, value) in &text.parse::<Table>()? {
            ensure!(name == "gates", "{name}: expected the table [gates] alone");
            let table = value.as_table().context("gates: expected a table")?;
            gates.enter("", table)?;
        }
        Ok(gates)
    }

    /// Enters the gates on the figures whose names begin with `prefix`.
    fn enter(&mut self, prefix: &str, table: &Table) -> anyhow::Result<()> {
        for (key, value) in table {
            let name = match prefix {
                "" => key.clone(),
                _ => format!("{prefix}.{key}"),
            };
            if let (Some(must), false) = (Must::named(key), prefix.is_empty()) {
                let bound = Bound::of(value);
                self.limits.push(Limit {
                    figure: prefix.to_owned(),
                    must,
                    bound: bound.with_context(|| {
                        format!("gates.{name}: got a {}, expected a limit", value.type_str())
                    })?,
                });
            } else if let Some(table) = value.as_table() {
                self.enter(&name, table)?;
            } else if let (Some(wanted), true) = (value.as_bool(), is_default(&name)) {
                self.without.extend((!wanted).then_some(name));
            } else {
                bail!(
                    "gates.{name}: got a {}, expected a table of at_least, at_most, above or below; \
                     `false` switches a default gate off: {}",
                    value.type_str(),
                    DEFAULTS.map(|(name, _)| name).join(", ")
                );
            }
        }
        Ok(())
    }

    /// Holds that what is switched off would be there.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let unknown = self.without.iter().find(|name| !is_default(name));
        ensure!(
            unknown.is_none(),
            "without: got {:?}, expected one of {}",
            unknown.map_or("", String::as_str),
            DEFAULTS.map(|(name, _)| name).join(", ")
        );
        Ok(())
    }

    /// Holds the default gates and these to a report.
    pub(super) fn hold(&self, report: &Value) -> anyhow::Result<Vec<Gate>> {
        let mut held = Vec::new();
        for (name, limit) in DEFAULTS {
            if self.without.iter().any(|without| without == name) {
                continue;
            }
            let limit: Limit = limit.parse().map_err(|problem: String| anyhow!(problem))?;
            held.extend(limit.hold(name, report)?);
        }
        for limit in &self.limits {
            let gate = limit.hold(&limit.figure, report)?.with_context(|| {
                format!(
                    "gate {}: it was not measured; --embeddings, --items and --interactions \
                     bring more figures",
                    limit.figure
                )
            })?;
            held.push(gate);
        }
        Ok(held)
    }
}

/// Whether a gate of this name is there by default.
fn is_default(name: &str) -> bool {
    DEFAULTS.iter().any(|(default, _)| *default == name)
}

impl Limit {
    /// `None` if one of its figures was not measured.
    fn hold(&self, name: &str, report: &Value) -> anyhow::Result<Option<Gate>> {
        let value = figure(report, &self.figure)?;
        let limit = match &self.bound {
            Bound::Number(number) => Some(*number),
            Bound::Figure(name) => figure(report, name)?,
        };
        let (Some(value), Some(limit)) = (value, limit) else {
            return Ok(None);
        };
        Ok(Some(Gate {
            name: name.to_owned(),
            value,
            must: self.must,
            limit,
            ok: self.must.holds(value, limit),
        }))
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six decimals, as far as they say something.
        let [value, limit] = [self.value, self.limit].map(|x| (x * 1e6).round() / 1e6);
        let must = self.must.word().replace('_', " ");
        write!(f, "{}: {value}, expected {must} {limit}", self.name)
    }
}

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut split = Must::ALL.iter().filter_map(|&(must, _, sign)| {
            let (figure, bound) = text.split_once(sign)?;
            Some((must, figure.trim(), bound.trim()))
        });
        match split.next() {
            Some((must, figure, bound)) if !figure.is_empty() && !bound.is_empty() => Ok(Self {
                figure: figure.to_owned(),
                must,
                bound: Bound::from(bound),
            }),
            _ => Err("expected NAME>=LIMIT, or <=, >, < between them".to_owned()),
        }
    }
}

impl Must {
    /// Each with its word and its sign; no sign begins with one before it.
    const ALL: [(Self, &str, &str); 4] = [
        (Self::AtLeast, "at_least", ">="),
        (Self::AtMost, "at_most", "<="),
        (Self::Above, "above", ">"),
        (Self::Below, "below", "<"),
    ];

    fn named(word: &str) -> Option<Self> {
        let named = Self::ALL.iter().find(|(_, known, _)| *known == word);
        named.map(|&(must, ..)| must)
    }

    fn word(self) -> &'static str {
        let word = Self::ALL.iter().find(|(must, ..)| *must == self);
        word.expect("all are listed").1
    }

    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::AtLeast => value >= limit,
            Self::AtMost => value <= limit,
            Self::Above => value > limit,
            Self::Below => value < limit,
        }
    }
}

impl Bound {
    fn of(value: &toml::Value) -> Option<Self> {
        match value {
            toml::Value::Integer(number) => Some(Self::Number(*number as f64)),
            toml::Value::Float(number) => Some(Self::Number(*number)),
            toml::Value::String(text) => Some(Self::from(&**text)),
            _ => None,
        }
    }
}

impl From<&str> for Bound {
    fn from(text: &str) -> Self {
        match text.parse() {
            Ok(number) => Self::Number(number),
            Err(_) => Self::Figure(text.to_owned()),
        }
    }
}

/// A number of the report; `None` if it was not measured.
fn figure(report: &Value, name: &str) -> anyhow::Result<Option<f64>> {
    let mut at = Some(report);
    for part in name.split('.') {
        at = match at {
            Some(Value::Null) => return Ok(None),
            Some(Value::Array(entries)) => part.parse().ok().and_then(|at: usize| entries.get(at)),
            Some(value) => value.get(part),
            None => None,
        };
    }
    if at.is_some_and(Value::is_null) {
        return Ok(None);
    }
    at.and_then(Value::as_f64).map(Some).ok_or_else(|| {
        let alike = |known: &String| strsim::jaro_winkler(known, name);
        let mut known = Vec::new();
        figures(report, "", &mut known);
        let nearest = known
            .into_iter()
            .max_by(|a, b| alike(a).total_cmp(&alike(b)));
        match nearest.filter(|nearest| alike(nearest) > ALIKE) {
            Some(nearest) => anyhow!("gate {name}: no such figure; is it {nearest}?"),
            None => anyhow!("gate {name}: no such figure; --json prints all that there are"),
        }
    })
}

/// The names of all numbers below a value.
fn figures(value: &Value, name: &str, names: &mut Vec<String>) {
    let mut below = |key: &str, value| match name {
        "" => figures(value, key, names),
        _ => figures(value, &format!("{name}.{key}"), names),
    };
    match value {
        Value::Object(fields) => fields.iter().for_each(|(key, value)| below(key, value)),
        Value::Array(entries) => {
            let entries = entries.iter().enumerate();
            entries.for_each(|(at, value)| below(&at.to_string(), value));
        }
        Value::Number(_) => names.push(name.to_owned()),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report() -> Value {
        json!({
            "items": 4, "unique": 4, "levels_stats": [{"perplexity": 2.5}],
            "prefix_neighbour_recall": {"value": 0.3, "shuffled": 0.1},
            "held_out_gain": null,
        })
    }

    fn verdicts(toml: &str) -> anyhow::Result<Vec<(String, bool)>> {
        let gates = Gates::parse(toml)?.hold(&report())?;
        Ok(gates.into_iter().map(|gate| (gate.name, gate.ok)).collect())
    }

    #[test]
    fn limits_are_numbers_or_other_figures() -> anyhow::Result<()> {
        let toml = r#"
            [gates]
            unique = false
            "levels_stats.0.perplexity" = { at_least = 2, below = 2.5 }
            prefix_neighbour_recall.value = { above = "prefix_neighbour_recall.shuffled" }
        "#;
        let verdicts = verdicts(toml)?;
        let expected = [
            ("recall", true),
            ("levels_stats.0.perplexity", true),
            ("levels_stats.0.perplexity", false),
            ("prefix_neighbour_recall.value", true),
        ];
        assert_eq!(verdicts, expected.map(|(name, ok)| (name.to_owned(), ok)));

        let typed: Limit = "levels_stats.0.perplexity >= 2".parse().expect("a limit");
        assert_eq!(Gates::parse(toml)?.limits[0], typed);
        for bad in ["unique", "unique=4", ">=4", "unique<="] {
            bad.parse::<Limit>().expect_err(bad);
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_held_is_told() {
        for (toml, part) in [
            ("[gates]\nitem = { at_least = 1 }", "is it items?"),
            (
                "[gates]\nlevels_stats.0.perplexty = { above = 1 }",
                "is it levels_stats.0.perplexity?",
            ),
            (
                "[gates]\nlevels_stats.7.perplexity = { above = 1 }",
                "no such figure",
            ),
            ("[gates]\nzzz = { above = 1 }", "--json prints all"),
            ("[gates]\nlevels_stats = { above = 1 }", "no such figure"),
            (
                "[gates]\nheld_out_gain.bits = { above = 1 }",
                "was not measured",
            ),
            (
                "[gates]\nitems = false",
                "got a boolean, expected a table of at_least",
            ),
            (
                "[gates]\nitems = { at_least = true }",
                "gates.items.at_least: got a boolean",
            ),
            (
                "[gates]\nitems = { atleast = 4 }",
                "gates.items.atleast: got a integer",
            ),
            (
                "[gate]\nitems = { at_least = 4 }",
                "gate: expected the table [gates] alone",
            ),
            ("gates = 3", "gates: expected a table"),
            ("gates", "expected"),
        ] {
            let error = verdicts(toml).expect_err(toml);
            assert!(format!("{error:#}").contains(part), "{toml}: {error:#}");
        }
    }
}
