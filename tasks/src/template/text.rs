use std::collections::{BTreeMap, BTreeSet};

use minijinja::{AutoEscape, Environment, UndefinedBehavior, Value};

use super::slot::{Slot, Values};
use crate::{Error, Result};

type JinjaResult<T> = std::result::Result<T, minijinja::Error>;

/// What one text may cost: about a million steps, or 64 MB of text made.
const FUEL: u64 = 1_000_000;

/// Words that Jinja does not take for a variable, and `liked`, which it writes as `True`.
const RESERVED: [&str; 16] = [
    "true", "True", "false", "False", "none", "None", "and", "or", "not", "in", "is", "if", "else",
    "loop", "self", "liked",
];

/// A text with slots, compiled once.
///
/// Where the source is nothing but text and `{{ slot }}`, it is written piece by piece. All else
/// (`{% if liked %}`, filters) is Jinja, without macros, loading of other templates, and escapes;
/// a slot without a value is an error there, unless the template asks `is defined`.
#[derive(Debug, Clone)]
pub struct Text {
    source: String,
    slots: Vec<Slot>,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Plain(Vec<Piece>),
    Jinja(Box<Environment<'static>>),
}

#[derive(Debug, Clone)]
enum Piece {
    Literal(String),
    Slot(Slot),
}

impl Text {
    /// Compiles a source; `name` is for errors of Jinja.
    pub(crate) fn compile(name: &str, source: &str) -> JinjaResult<Self> {
        let (slots, form): (BTreeSet<_>, _) = match plain(source) {
            Some(pieces) => (slots_of(&pieces), Form::Plain(pieces)),
            None => {
                let jinja = jinja(name, source)?;
                let template = jinja.get_template(name)?;
                let slots = template.undeclared_variables(false);
                let slots = slots.iter().map(|name| Slot::from(name.as_str())).collect();
                (slots, Form::Jinja(Box::new(jinja)))
            }
        };
        Ok(Self {
            source: source.to_owned(),
            slots: slots.into_iter().collect(),
            form,
        })
    }

    /// The slots in it, each once.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The text as it was given.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether rendering is nothing but appending.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self.form, Form::Plain(_))
    }

    /// Appends the text with its slots filled.
    ///
    /// # Errors
    ///
    /// [`Error::Render`], from Jinja only. `O(text)`.
    pub fn render(&self, values: &impl Values, out: &mut String) -> Result<()> {
        match &self.form {
            Form::Plain(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Literal(text) => out.push_str(text),
                        Piece::Slot(slot) => values.write(slot, out),
                    }
                }
            }
            Form::Jinja(jinja) => {
                let text = self.render_jinja(jinja, values);
                out.push_str(&text.map_err(|error| Error::Render(error.to_string()))?);
            }
        }
        Ok(())
    }

    /// The text, if a trial with made-up values finds all filters and tests that it uses.
    pub(super) fn tried(self) -> JinjaResult<Self> {
        use minijinja::ErrorKind::{UnknownFilter, UnknownFunction, UnknownMethod, UnknownTest};

        let Form::Jinja(jinja) = &self.form else {
            return Ok(self);
        };
        for liked in ["true", "false"] {
            if let Err(error) = self.render_jinja(jinja, &MadeUp(liked))
                && let UnknownFilter | UnknownFunction | UnknownMethod | UnknownTest = error.kind()
            {
                return Err(error);
            }
        }
        Ok(self)
    }

    fn render_jinja(&self, jinja: &Environment<'_>, values: &impl Values) -> JinjaResult<String> {
        let known = self.slots.iter().filter(|slot| values.has(slot));
        let known = known.map(|slot| (slot.to_string(), value(slot, values)));
        let (_, template) = jinja.templates().next().expect("it has one template");
        template.render(Value::from_object(known.collect::<BTreeMap<_, _>>()))
    }
}

/// The pieces of a source that needs no Jinja; `None` if it does.
fn plain(source: &str) -> Option<Vec<Piece>> {
    if source.contains("{%") || source.contains("{#") {
        return None;
    }
    let source = source.strip_suffix('\n').unwrap_or(source);
    let mut rest = source.strip_suffix('\r').unwrap_or(source);
    let mut pieces = Vec::new();
    while let Some((literal, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}")?;
        let name = name.trim_ascii();
        if !is_name(name) {
            return None;
        }
        pieces.push(Piece::Literal(literal.to_owned()));
        pieces.push(Piece::Slot(Slot::from(name)));
        rest = after;
    }
    pieces.push(Piece::Literal(rest.to_owned()));
    Some(pieces)
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !RESERVED.contains(&name)
}

fn slots_of(pieces: &[Piece]) -> BTreeSet<Slot> {
    let slots = pieces.iter().filter_map(|piece| match piece {
        Piece::Slot(slot) => Some(slot.clone()),
        Piece::Literal(_) => None,
    });
    slots.collect()
}

fn jinja(name: &str, source: &str) -> JinjaResult<Environment<'static>> {
    let mut jinja = Environment::new();
    let globals: Vec<_> = jinja.globals().map(|(name, _)| name.to_owned()).collect();
    globals.iter().for_each(|name| jinja.remove_global(name));
    jinja.set_auto_escape_callback(|_| AutoEscape::None);
    jinja.set_undefined_behavior(UndefinedBehavior::Strict);
    jinja.set_recursion_limit(64);
    jinja.set_fuel(Some(FUEL));
    jinja.add_template_owned(name.to_owned(), source.to_owned())?;
    Ok(jinja)
}

/// `liked` as a boolean and `rating` as a number, so that templates can ask; else the text.
fn value(slot: &Slot, values: &impl Values) -> Value {
    let mut text = String::new();
    values.write(slot, &mut text);
    let number = || {
        let whole = text.parse::<i64>().map(Value::from);
        whole.or_else(|_| text.parse::<f64>().map(Value::from)).ok()
    };
    match slot {
        Slot::Liked => Value::from(text == "true"),
        Slot::Rating => number().unwrap_or_else(|| Value::from(text.as_str())),
        _ => Value::from(text),
    }
}

/// Every slot's value is its name, but for `liked` and `rating`.
struct MadeUp(&'static str);

impl Values for MadeUp {
    fn has(&self, _: &Slot) -> bool {
        true
    }

    fn write(&self, slot: &Slot, out: &mut String) {
        match slot {
            Slot::Liked => out.push_str(self.0),
            Slot::Rating => out.push('4'),
            _ => out.push_str(&slot.to_string()),
        }
    }
}
