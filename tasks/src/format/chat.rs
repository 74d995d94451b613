use hf_chat_template::{ChatTemplate as Template, FixedClock, Message, TokenizerConfig};

use crate::{Error, Result, Row};

/// A model's chat template, rendered to the byte as `apply_chat_template` of `transformers` does.
///
/// ```
/// use semid_tasks::ChatTemplate;
///
/// let config = r#"{
///     "bos_token": "<s>",
///     "chat_template": "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
/// }"#;
/// ChatTemplate::read(config, None, None)?;
///
/// let dated = Some("{{ strftime_now('%Y') }}");
/// assert!(ChatTemplate::read(config, dated, None).is_err());
/// ChatTemplate::read(config, dated, Some(1_800_000_000))?;
/// # Ok::<(), semid_tasks::Error>(())
/// ```
#[derive(Debug)]
pub struct ChatTemplate(Template);

impl ChatTemplate {
    /// Reads a model's `tokenizer_config.json` and, where it has one, its `chat_template.jinja`,
    /// which takes precedence. `now`, in seconds since 1970, is what a template is told that asks
    /// for the date: with the real one, tomorrow's corpus would have other bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Chat`] if a file cannot be read, if there is no template, or if it asks for the
    /// date and none is given.
    pub fn read(config: &str, template: Option<&str>, now: Option<i64>) -> Result<Self> {
        if now.is_none() && template.unwrap_or(config).contains("strftime_now") {
            let problem = "it writes the date into every row; say which one it shall be";
            return Err(Error::Chat(problem.to_owned()));
        }
        let config: TokenizerConfig = serde_json::from_str(config)
            .map_err(|error| Error::Chat(format!("tokenizer_config.json: {error}")))?;
        let builder = match template {
            Some(template) => Template::builder(template).special_tokens_from(&config),
            None => Template::builder_from_config(&config).map_err(refused)?,
        };
        let clock = FixedClock::from_unix_secs(now.unwrap_or_default());
        builder.clock(clock).build().map(Self).map_err(refused)
    }

    /// A conversation as a model is to read it: the whole of it or, without an answer, up to where
    /// the answer begins.
    ///
    /// # Errors
    ///
    /// [`Error::Chat`] if the template refuses it.
    pub fn render(
        &self,
        system: Option<&str>,
        prompt: &str,
        answer: Option<&str>,
    ) -> Result<String> {
        let system = system.map(Message::system);
        let turns = [Message::user(prompt)].into_iter();
        let turns = turns.chain(answer.map(Message::assistant));
        let messages: Vec<Message> = system.into_iter().chain(turns).collect();
        let rendered = self.0.render_messages(&messages, answer.is_none());
        rendered.map_err(refused)
    }

    /// The whole conversation of a row.
    pub(super) fn conversation(&self, row: &Row<'_>) -> Result<String> {
        self.render(row.system, row.prompt, Some(row.answer))
    }

    /// That up to where the answer begins.
    pub(super) fn prompt(&self, row: &Row<'_>) -> Result<String> {
        self.render(row.system, row.prompt, None)
    }
}

fn refused(error: hf_chat_template::Error) -> Error {
    Error::Chat(error.to_string())
}
