use super::json::Json;
use super::{ChatTemplate, Container, RowFormat, minionerec};
use crate::{Error, Provenance, Result, Row};

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
///     stage: None,
///     place: None,
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
    /// template refuses it; the block then ends in the middle of a row.
    pub fn write(&self, row: &Row<'_>, block: &mut Vec<u8>) -> Result<u64> {
        self.format.check(row)?;
        if self.format == RowFormat::MiniOneRec {
            minionerec::write(row, block);
            return Ok(1);
        }
        let mut rest = row.rejected;
        let mut rows = 0;
        loop {
            let mut json = Json(block);
            json.raw("{");
            self.columns(row, rest, &mut json)?;
            self.nested(json.key("provenance"), |json| json.value(row.provenance));
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
            RowFormat::Messages => {
                objects(turns(row, ROLES), MESSAGE, json.key("messages"));
            }
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
                objects(turns, ["from", "value"], json.key("conversations"));
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
                prompt(row, json.key("prompt"));
                json.key("ground_truth").text(target.id);
                json.key("target_codes")
                    .list(target.codes, |json, code| json.number(code.0.into()));
                let from = row.provenance;
                let id = format!("{}/{}/{}", from.task, from.epoch, from.sample);
                json.key("sample_id").text(&id);
            }
            RowFormat::Verl => verl(row, json),
            RowFormat::OpenOneRec => self.open_one_rec(row, json),
            RowFormat::Fields => self.nested(json.key("fields"), |json| {
                json.object(|json| {
                    for (name, value) in row.fields.expect("checked") {
                        json.key(name).text(value);
                    }
                });
            }),
            RowFormat::MiniOneRec => unreachable!("is CSV"),
        }
        Ok(())
    }

    /// JSON as it is, or in a string where the container does not nest.
    fn nested(&self, json: &mut Json<'_>, fill: impl FnOnce(&mut Json<'_>)) {
        match self.container.nests() {
            true => fill(json),
            false => json.quoted(fill),
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
                    let content = [("text", text)].into_iter();
                    objects(content, ["type", "text"], json.key("content"));
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
const MESSAGE: [&str; 2] = ["role", "content"];

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

/// A list of objects, each with two texts.
fn objects<'r>(
    texts: impl Iterator<Item = (&'r str, &'r str)>,
    [first, second]: [&str; 2],
    json: &mut Json<'_>,
) {
    json.list(texts, |json, texts| {
        json.object(|json| {
            json.key(first).text(texts.0);
            json.key(second).text(texts.1);
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
    objects(turns(row, ROLES).take(asked), MESSAGE, json.key("prompt"));
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
