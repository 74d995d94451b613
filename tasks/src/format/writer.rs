use super::json::Json;
use super::{ChatTemplate, Container, RowFormat};
use crate::{Error, Provenance, Result, Row, SequenceItem};

/// Turns rows into bytes.
///
/// ```
/// use semid_tasks::{Container, Part, Provenance, Row, RowFormat, RowWriter};
///
/// let provenance = Provenance {
///     task: "item-to-text".into(),
///     template: "en/item-to-text/title-1".into(),
///     part: Part::Train,
///     epoch: 0,
///     sample: 7,
///     user: None,
///     reads: None,
///     target: None,
///     horizon: None,
///     made_at: None,
/// };
/// let row = Row {
///     system: None,
///     prompt: "Which game is <a_1><b_2>?",
///     answer: "Tetris",
///     rejected: &[],
///     target: None,
///     sequence: None,
///     fields: None,
///     provenance: &provenance,
/// };
/// let writer = RowWriter::new(RowFormat::PromptCompletion, Container::Jsonl, 42)?;
/// let mut block = Vec::new();
/// assert_eq!(writer.write(&row, &mut block)?, 1);
/// assert!(block.starts_with(br#"{"prompt":"Which game is <a_1><b_2>?","completion":"Tetris","#));
///
/// let error = RowFormat::TrlDpo.check(&row).unwrap_err();
/// assert!(error.to_string().contains("lack rejected answers"));
/// # Ok::<(), semid_tasks::Error>(())
/// ```
#[derive(Debug)]
pub struct RowWriter {
    format: RowFormat,
    container: Container,
    seed: u64,
    chat: Option<ChatTemplate>,
}

impl RowWriter {
    /// A writer of rows; `seed` is the recipe's, for IDs of rows that must be theirs alone.
    ///
    /// # Errors
    ///
    /// [`Error::Container`] if the format's readers do not take the container.
    pub fn new(format: RowFormat, container: Container, seed: u64) -> Result<Self> {
        if !format.containers().contains(&container) {
            return Err(Error::Container { format, container });
        }
        let chat = None;
        Ok(Self {
            format,
            container,
            seed,
            chat,
        })
    }

    /// The template of the model that is to read [`RowFormat::Text`].
    pub fn chat(self, template: ChatTemplate) -> Self {
        let chat = Some(template);
        Self { chat, ..self }
    }

    /// Which columns it writes.
    pub fn format(&self) -> RowFormat {
        self.format
    }

    /// For which kind of file.
    pub fn container(&self) -> Container {
        self.container
    }

    /// Appends a row to a block, and gives the number of rows that it became: one, but for
    /// [`RowFormat::TrlDpo`].
    ///
    /// Blocks of JSON are lines also for Parquet, which [`ShardWriter`](super::ShardWriter) makes
    /// of them.
    ///
    /// # Errors
    ///
    /// [`Error::RowFormat`] if the row lacks what the format needs, [`Error::Chat`] if the chat
    /// template refuses it.
    pub fn write(&self, row: &Row<'_>, block: &mut Vec<u8>) -> Result<u64> {
        self.format.check(row)?;
        if self.format == RowFormat::MiniOneRec {
            write_csv(row, block);
            return Ok(1);
        }
        let mut rest = row.rejected;
        let mut rows = 0;
        loop {
            let mut json = Json(block);
            json.raw("{");
            self.columns(row, rest, &mut json)?;
            json.key("provenance");
            self.provenance(row.provenance, &mut json);
            json.raw("}\n");
            rows += 1;
            rest = rest.get(1..).unwrap_or_default();
            if self.format != RowFormat::TrlDpo || rest.is_empty() {
                return Ok(rows);
            }
        }
    }

    /// All columns but `provenance`; `rejected` are those not yet written.
    fn columns(&self, row: &Row<'_>, rejected: &[String], json: &mut Json<'_>) -> Result<()> {
        match self.format {
            RowFormat::PromptCompletion => {
                prompt(row, json.key("prompt"));
                json.key("completion").text(row.answer);
            }
            RowFormat::Messages => messages(turns(row, ROLES), json.key("messages")),
            RowFormat::Text => {
                let chat = self.chat.as_ref().ok_or_else(|| {
                    Error::Chat("the format text needs a model's chat template".to_owned())
                })?;
                json.key("text").text(&chat.conversation(row)?);
                json.key("prompt_text").text(&chat.prompt(row)?);
            }
            RowFormat::Alpaca | RowFormat::LlamaFactory => {
                json.key("instruction").text(row.prompt);
                json.key("input").text("");
                json.key("output").text(row.answer);
                json.key("system").text(row.system.unwrap_or_default());
            }
            RowFormat::Sharegpt => {
                let turns = turns(row, ["system", "human", "gpt"]);
                json.key("conversations")
                    .list(turns, |json, (from, value)| {
                        json.object(|json| {
                            json.key("from").text(from);
                            json.key("value").text(value);
                        });
                    });
            }
            RowFormat::TrlDpo | RowFormat::SDpo => {
                prompt(row, json.key("prompt"));
                json.key("chosen").text(row.answer);
                json.key("rejected");
                match self.format {
                    RowFormat::SDpo => json.list(rejected, |json, text| json.text(text)),
                    _ => json.text(&rejected[0]),
                }
            }
            RowFormat::TrlGrpo => {
                let target = row.target.expect("checked");
                let Provenance {
                    task,
                    epoch,
                    sample,
                    ..
                } = row.provenance;
                prompt(row, json.key("prompt"));
                json.key("ground_truth").text(target.id);
                json.key("target_codes")
                    .list(target.codes, |json, code| json.number(code.0.into()));
                json.key("sample_id")
                    .text(&format!("{task}/{epoch}/{sample}"));
            }
            RowFormat::Verl => verl(row, json),
            RowFormat::OpenOneRec => self.open_one_rec(row, json),
            RowFormat::Fields => {
                let fields = |json: &mut Json<'_>| {
                    json.object(|json| {
                        for (name, value) in row.fields.expect("checked") {
                            json.key(name).text(value);
                        }
                    });
                };
                json.key("fields");
                match self.container.nests() {
                    true => fields(json),
                    false => json.quoted(fields),
                }
            }
            RowFormat::MiniOneRec => unreachable!("is CSV"),
        }
        Ok(())
    }

    fn provenance(&self, provenance: &Provenance<'_>, json: &mut Json<'_>) {
        match self.container.nests() {
            true => json.value(provenance),
            false => json.quoted(|json| json.value(provenance)),
        }
    }

    fn open_one_rec(&self, row: &Row<'_>, json: &mut Json<'_>) {
        json.key("uuid").text(&self.uuid(row.provenance));
        json.key("source").text(&row.provenance.task);
        json.key("metadata").quoted(|json| extra_info(row, json));
        json.key("messages").quoted(|json| {
            json.list(turns(row, ROLES), |json, (role, text)| {
                json.object(|json| {
                    json.key("role").text(role);
                    json.key("content").list([text], |json, text| {
                        json.object(|json| {
                            json.key("type").text("text");
                            json.key("text").text(text);
                        });
                    });
                });
            });
        });
    }

    /// A UUID (of version 8) that depends on the seed and the row's provenance alone.
    fn uuid(&self, provenance: &Provenance<'_>) -> String {
        let mut name = self.seed.to_le_bytes().to_vec();
        Json(&mut name).value(provenance);
        let hash = blake3::hash(&name);
        let bits = u128::from_be_bytes(*hash.as_bytes().first_chunk().expect("32 bytes"));
        let bits = bits & !(0xf << 76 | 0b11 << 62) | 0x8 << 76 | 0b10 << 62;
        let hex = format!("{bits:032x}");
        [
            &hex[..8],
            &hex[8..12],
            &hex[12..16],
            &hex[16..20],
            &hex[20..],
        ]
        .join("-")
    }
}

const ROLES: [&str; 3] = ["system", "user", "assistant"];

/// What the system, the user and the model say, each with its name.
fn turns<'r>(
    row: &Row<'r>,
    [system, user, model]: [&'r str; 3],
) -> impl Iterator<Item = (&'r str, &'r str)> {
    let system = row.system.map(|text| (system, text));
    system
        .into_iter()
        .chain([(user, row.prompt), (model, row.answer)])
}

fn messages<'r>(turns: impl Iterator<Item = (&'r str, &'r str)>, json: &mut Json<'_>) {
    json.list(turns, |json, (role, text)| {
        json.object(|json| {
            json.key("role").text(role);
            json.key("content").text(text);
        });
    });
}

/// The prompt as one string: where there are no roles, what the system says comes before.
fn prompt(row: &Row<'_>, json: &mut Json<'_>) {
    match row.system {
        None => json.text(row.prompt),
        Some(system) => json.text(&[system, "\n\n", row.prompt].concat()),
    }
}

fn verl(row: &Row<'_>, json: &mut Json<'_>) {
    json.key("data_source").text(&row.provenance.task);
    let asked = row.system.iter().count() + 1;
    messages(turns(row, ROLES).take(asked), json.key("prompt"));
    json.key("ability").text("recommendation");
    json.key("reward_model").object(|json| {
        json.key("style").text("rule");
        json.key("ground_truth")
            .text(row.target.map_or(row.answer, |target| target.id));
    });
    extra_info(row, json.key("extra_info"));
}

fn extra_info(row: &Row<'_>, json: &mut Json<'_>) {
    let Provenance {
        task, part, sample, ..
    } = row.provenance;
    json.object(|json| {
        json.key("split").text(&part.to_string());
        json.key("index").number(*sample);
        json.key("task").text(task);
    });
}

/// MiniOneRec's columns, each in quotes, as its readers `eval` them.
fn write_csv(row: &Row<'_>, block: &mut Vec<u8>) {
    let (target, history) = row.sequence.and_then(<[_]>::split_last).expect("checked");
    let list = |of: fn(&SequenceItem<'_>) -> String| {
        let items: Vec<String> = history.iter().map(of).collect();
        format!("[{}]", items.join(", "))
    };
    let mut provenance = Vec::new();
    Json(&mut provenance).value(row.provenance);
    let cells = [
        row.provenance.user.as_deref().expect("checked"),
        &list(|item| python(item.title)),
        target.title,
        &list(|item| python_key(item.key)),
        target.key,
        &list(|item| python(item.id)),
        target.id,
        std::str::from_utf8(&provenance).expect("JSON is UTF-8"),
    ];
    let cells = cells.map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
    block.extend_from_slice(cells.join(",").as_bytes());
    block.push(b'\n');
}

/// A string as Python's `eval` reads it.
fn python(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for char in text.chars() {
        match char {
            '\'' | '\\' => literal.extend(['\\', char]),
            '\0'..' ' | '\x7f' => literal.push_str(&format!("\\x{:02x}", char as u32)),
            _ => literal.push(char),
        }
    }
    literal.push('\'');
    literal
}

/// MiniOneRec's keys are integers: those that are stay so.
fn python_key(key: &str) -> String {
    match key.parse::<u64>() {
        Ok(number) if number.to_string() == key => key.to_owned(),
        _ => python(key),
    }
}
