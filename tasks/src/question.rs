use serde::{Deserialize, Serialize};

use crate::corpus::HistoryStyle;
use crate::{Error, Result, Slot, Templates, Text, Values};

/// What a language model is asked after a history, in words that it was taught with.
///
/// ```
/// use semid_tasks::corpus::HistoryStyle;
/// use semid_tasks::{Question, Templates};
///
/// let style = HistoryStyle { numbered: true, ..HistoryStyle::default() };
/// let question = Question::of(&Templates::builtin("en")?, &[], &style)?;
/// let asked = question.ask(&["<a_1><b_0>", "<a_4><b_2>"])?;
/// assert!(asked.contains(": 1. <a_1><b_0>, 2. <a_4><b_2>. Which item comes next?"));
/// # Ok::<(), semid_tasks::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// What the model is told beforehand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// A template with the slot `history`.
    pub prompt: String,
    /// What stands between two items.
    pub separator: String,
    /// Whether items are numbered.
    pub numbered: bool,
}

impl Question {
    /// The first wording of the task `sequential` that needs nothing but the IDs of a history, is
    /// answered by nothing but the ID of an item, and is not held out from training; one with a
    /// name of `names`, unless these are none.
    ///
    /// # Errors
    ///
    /// [`Error::Recipe`] if there is none.
    pub fn of(templates: &Templates, names: &[String], style: &HistoryStyle) -> Result<Self> {
        let mut wordings = templates.of("sequential").iter();
        let wording = wordings.find(|wording| {
            let system = wording.system.as_ref().map_or(&[][..], Text::slots);
            !wording.held_out
                && (names.is_empty() || names.contains(&wording.name))
                && system.is_empty()
                && *wording.prompt.slots() == [Slot::History]
                && *wording.answer.slots() == [Slot::Item]
                && wording.answer.source().trim() == "{{ item }}"
        });
        let wording = wording.ok_or_else(|| {
            Error::Recipe(
                "no template of the task `sequential` needs `history` alone and answers \
                 `{{ item }}`, so the model could not be asked; add one"
                    .to_owned(),
            )
        })?;
        Ok(Self {
            system: wording.system.as_ref().map(|text| text.source().to_owned()),
            prompt: wording.prompt.source().to_owned(),
            separator: style.separator.clone(),
            numbered: style.numbered,
        })
    }

    /// The prompt about a history, whose IDs are given as they are written, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Render`] if the template is none.
    pub fn ask<S: AsRef<str>>(&self, ids: &[S]) -> Result<String> {
        let broken = |error: minijinja::Error| Error::Render(error.to_string());
        let prompt = Text::compile("question", &self.prompt).map_err(broken)?;
        let mut asked = String::new();
        let style = HistoryStyle {
            separator: self.separator.clone(),
            numbered: self.numbered,
            ..HistoryStyle::default()
        };
        prompt.render(&History { ids, style }, &mut asked)?;
        Ok(asked)
    }
}

/// The one value of a question.
struct History<'a, S> {
    ids: &'a [S],
    style: HistoryStyle,
}

impl<S: AsRef<str>> Values for History<'_, S> {
    fn has(&self, slot: &Slot) -> bool {
        *slot == Slot::History
    }

    fn write(&self, slot: &Slot, out: &mut String) {
        if *slot == Slot::History {
            let ids = self.ids.iter();
            self.style
                .write(ids, out, |id, out| out.push_str(id.as_ref()));
        }
    }
}
