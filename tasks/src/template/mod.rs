mod check;
mod file;
mod finding;
mod lint;
mod offer;
mod slot;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;

use crate::{Error, Result};
use offer::{LOCALES, OFFERS, Offer};

pub use finding::Finding;
pub use slot::{Side, Slot, Values};
pub use text::Text;

/// One wording of a task.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Template {
    /// The task, as `sequential`.
    pub task: &'static str,
    /// The name, unique in its task.
    pub name: String,
    /// The name in full, as `en/sequential/next-3`.
    pub path: String,
    /// What a model is told beforehand.
    pub system: Option<Text>,
    /// What a model is asked.
    pub prompt: Text,
    /// What it shall answer; empty in a request.
    pub answer: Text,
    /// All slots of the texts.
    pub slots: Vec<Slot>,
    /// The slots without which a sample never meets the template.
    pub needs: Vec<Slot>,
    /// Whether it is kept from training, for tests with unseen wording.
    pub held_out: bool,
    /// How often it is drawn, relative to the task's others.
    pub weight: f64,
    file: String,
    line: usize,
}

impl Template {
    /// Whether a sample has all that the template needs.
    pub fn suits(&self, values: &impl Values) -> bool {
        self.needs.iter().all(|slot| values.has(slot))
    }

    fn texts(&self) -> impl Iterator<Item = &Text> {
        (self.system.iter()).chain([&self.prompt, &self.answer])
    }

    fn finding(&self, problem: String) -> Finding {
        Finding {
            file: self.file.clone(),
            line: self.line,
            template: Some(self.name.clone()),
            problem,
        }
    }
}

/// The templates of one locale, by task.
///
/// Tasks are named as their files: `sequential.toml` holds `[[template]]`s, each with `name`,
/// `system` (optional), `prompt`, `answer`, `slots` (all that these use), and optionally `needs`
/// (default: all slots), `held_out` and `weight`. Requests to a teacher model are the tasks
/// `requests/preference` and so on, without `answer`.
///
/// ```
/// use semid_tasks::Templates;
///
/// let mut templates = Templates::builtin("en")?;
/// assert_eq!(templates.of("sequential").len(), 12);
///
/// let mine = r#"
///     [[template]]
///     name = "short"
///     slots = ["history", "item"]
///     prompt = "After {{ history }}?"
///     answer = "{{ item }}"
/// "#;
/// templates.overlay("sequential", "sequential.toml", mine)?;
/// assert_eq!(templates.of("sequential")[0].path, "en/sequential/short");
///
/// let typo = mine.replace("history }}", "histroy }}");
/// let error = templates.overlay("sequential", "sequential.toml", &typo).unwrap_err();
/// assert!(error.to_string().contains("unknown slot `histroy`"));
/// # Ok::<(), semid_tasks::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Templates {
    locale: String,
    tasks: BTreeMap<&'static str, Vec<Template>>,
}

impl Templates {
    /// The templates that come with this crate: locales `en` and `zh`.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownLocale`] for others.
    pub fn builtin(locale: &str) -> Result<Self> {
        let at = LOCALES.iter().position(|known| *known == locale);
        let at = at.ok_or_else(|| Error::UnknownLocale {
            locale: locale.to_owned(),
            known: LOCALES.join(", "),
        })?;
        let mut templates = Self {
            locale: locale.to_owned(),
            tasks: BTreeMap::new(),
        };
        for offer in OFFERS {
            let file = format!("{locale}/{}.toml", offer.task);
            templates.overlay(offer.task, &file, offer.builtin[at])?;
        }
        Ok(templates)
    }

    /// The tasks that there are, requests included.
    pub fn tasks() -> impl ExactSizeIterator<Item = &'static str> {
        OFFERS.iter().map(|offer| offer.task)
    }

    /// Replaces the templates of a task by those of a file; `file` is its name, for errors.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownTask`], or [`Error::Templates`] with all that is wrong in the file; the
    /// templates stay as they were then.
    pub fn overlay(&mut self, task: &str, file: &str, text: &str) -> Result<()> {
        let offer = Offer::of(task).ok_or_else(|| Error::UnknownTask {
            task: task.to_owned(),
            known: Self::tasks().collect::<Vec<_>>().join(", "),
        })?;
        let templates = file::read(&self.locale, offer, file, text).map_err(Error::Templates)?;
        self.tasks.insert(offer.task, templates);
        Ok(())
    }

    /// The templates of a task, in the order of their file; none for an unknown task.
    pub fn of(&self, task: &str) -> &[Template] {
        self.tasks.get(task).map_or(&[], Vec::as_slice)
    }

    /// The requests to a teacher model for one kind of side text; none for reviews.
    pub fn requests(&self, side: Side) -> &[Template] {
        self.of(&format!("requests/{side}"))
    }

    /// What is no error but doubtful: templates too alike, and white space at ends of lines.
    pub fn lint(&self) -> Vec<Finding> {
        let doubts = self.tasks.values().flat_map(|task| lint::doubts(task));
        doubts
            .map(|(template, problem)| template.finding(problem))
            .collect()
    }
}
