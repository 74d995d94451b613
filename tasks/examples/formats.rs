//! A small corpus in every format and container: `cargo run --example formats -- FOLDER`.
//!
//! `scripts/check_corpora.py` loads them with the tools that they are for. Rows are made here by
//! hand; `semid tasks build` makes them of catalogues and histories.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use semantic_id::{Code, CodeSpace, Digest, Manifest, TokenFormat};
use semid_tasks::{
    ChatTemplate, Container, CorpusFolder, DatasetCard, Folder, Part, Provenance, Row, RowFormat,
    RowWriter, SequenceItem, Target, dataset_info, new_tokens, shard_name,
};

const TITLES: [&str; 4] = [
    "Pokémon \"Blue\"",
    "Tetris",
    "任天堂\\Switch's",
    "Line\nbreak",
];
const SHARDS: usize = 2;
const ROWS: u64 = 6;

/// The folder of the disk. (That of `semid` also survives power cuts.)
struct Disk(PathBuf);

impl Folder for Disk {
    type File = BufWriter<File>;

    fn create(&self, name: &str) -> io::Result<Self::File> {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap_or(&self.0))?;
        File::create(path).map(BufWriter::new)
    }

    fn finish(&self, _: &str, mut file: Self::File) -> io::Result<()> {
        file.flush()
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        fs::read(self.0.join(name))
            .map(Some)
            .or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(None),
                _ => Err(error),
            })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.0.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let out = std::env::args()
        .nth(1)
        .ok_or("usage: formats FOLDER [MODELS]")?;
    let out = Path::new(&out);
    for format in RowFormat::ALL {
        for &container in format.containers() {
            build(
                &out.join(format!("{format}.{container}")),
                format,
                container,
                None,
            )?;
        }
    }
    // Each folder holds a model's `tokenizer_config.json`.
    if let Some(models) = std::env::args().nth(2) {
        for model in fs::read_dir(models)? {
            let model = model?;
            let config = fs::read_to_string(model.path().join("tokenizer_config.json"))?;
            let name = format!("chat-{}", model.file_name().display());
            build(
                &out.join(name),
                RowFormat::Text,
                Container::Jsonl,
                Some(&config),
            )?;
        }
    }
    Ok(())
}

/// What a template without a model looks like.
const PLAIN: &str = r#"{"chat_template": "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"}"#;

fn build(
    out: &Path,
    format: RowFormat,
    container: Container,
    chat: Option<&str>,
) -> Result<(), Box<dyn Error>> {
    let chat = ChatTemplate::read(chat.unwrap_or(PLAIN), None, None)?;
    let writer = RowWriter::new(format, container, 42)?.chat(chat);
    let mut corpus = CorpusFolder::open(Disk(out.to_owned()), Digest::of(b"by hand"))?;
    for part in Part::ALL {
        for shard in 0..SHARDS {
            let name = shard_name(part, shard, Some(SHARDS), container);
            corpus.shard(&name, &writer, |file| {
                let mut block = Vec::new();
                let mut counts = BTreeMap::<String, u64>::new();
                for sample in shard as u64 * ROWS..(shard as u64 + 1) * ROWS {
                    block.clear();
                    with_row(part, sample, format, |row| {
                        let rows = writer.write(row, &mut block)?;
                        *counts.entry(row.provenance.task.to_string()).or_default() += rows;
                        file.write(&block, rows)
                    })?;
                }
                Ok(counts)
            })?;
        }
    }
    let title = "A small corpus";
    let shards = corpus.shards();
    let card = DatasetCard {
        title,
        format,
        container,
        shards,
    }
    .to_string();
    let info = serde_json::to_vec(&dataset_info("small", shards))?;
    corpus.file("README.md", card.as_bytes())?;
    if format == RowFormat::LlamaFactory {
        let tokens = new_tokens(&TokenFormat::lc_rec(2), &CodeSpace::uniform(2, 4)?);
        corpus.file("dataset_info.json", &info)?;
        corpus.file("new_tokens.json", &serde_json::to_vec(&tokens)?)?;
    }
    corpus.finish(Manifest::new("tasks build", serde_json::json!({})))?;
    Ok(())
}

/// A row of one of two tasks in turn, so that columns are null in some rows.
fn with_row<T>(part: Part, sample: u64, format: RowFormat, take: impl FnOnce(&Row<'_>) -> T) -> T {
    let codes: Vec<[Code; 2]> = (0..4).map(|item| [Code(item), Code(3 - item)]).collect();
    let ids: Vec<String> = codes
        .iter()
        .map(|codes| TokenFormat::lc_rec(2).text(codes))
        .collect();
    let keys = ["B01", "17", "B03", "B04"];
    let item = |at: usize| SequenceItem {
        key: keys[at],
        id: &ids[at],
        title: TITLES[at],
    };
    let target = (sample as usize + 3) % 4;
    let sequence = [
        item(sample as usize % 4),
        item((sample as usize + 1) % 4),
        item(target),
    ];
    let sequential = sample % 2 == 1 || format == RowFormat::MiniOneRec;
    let (prompt, answer) = match sequential {
        true => (
            format!("After {}, {}?", sequence[0].id, sequence[1].id),
            ids[target].clone(),
        ),
        false => (
            format!("What is {}?", ids[target]),
            TITLES[target].to_owned(),
        ),
    };
    let user = format!("u{sample}");
    take(&Row {
        system: (sample != 3).then_some("You recommend."),
        prompt: &prompt,
        answer: &answer,
        rejected: &[
            ids[sample as usize % 4].clone(),
            ids[(sample as usize + 1) % 4].clone(),
        ],
        target: Some(Target {
            key: keys[target],
            id: &ids[target],
            codes: &codes[target],
        }),
        sequence: Some(&sequence),
        fields: Some(&[("item", &ids[target]), ("title", TITLES[target])]),
        provenance: &Provenance {
            task: if sequential {
                "sequential"
            } else {
                "item-to-text"
            }
            .into(),
            template: "en/by-hand".into(),
            part,
            epoch: 0,
            sample,
            user: sequential.then(|| user.into()),
            reads: sequential.then_some([0, 2]),
            target: sequential.then_some(2),
            horizon: sequential.then_some(2),
            made_at: None,
            stage: None,
            place: None,
        },
    })
}
