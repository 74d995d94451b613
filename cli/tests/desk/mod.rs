//! A folder with a small catalogue in it, and the binary to work on it.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use npyz::WriterBuilder;
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const ITEMS: usize = 120;
pub(crate) const DIM: usize = 16;

/// Holds `emb.npy` and `emb.npy.keys.json` of [`ITEMS`] items.
pub(crate) struct Desk {
    folder: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        let desk = Self {
            folder: tempfile::tempdir().expect("folder"),
        };
        desk.write_embeddings("emb.npy", &catalogue());
        desk.write_keys("emb.npy", (0..ITEMS).map(key));
        desk
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    pub(crate) fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).expect("UTF-8")
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).expect("write");
    }

    /// Writes `[rows, DIM]`, or as wide as the rows are.
    pub(crate) fn write_embeddings(&self, name: &str, rows: &[Vec<f32>]) {
        let dim = rows.first().map_or(DIM, Vec::len);
        let mut bytes = Vec::new();
        let mut npy = npyz::WriteOptions::<f32>::new()
            .default_dtype()
            .shape(&[rows.len() as u64, dim as u64])
            .writer(&mut bytes)
            .begin_nd()
            .expect("header");
        npy.extend(rows.concat()).expect("rows");
        npy.finish().expect("as many rows as the header tells");
        self.write(name, bytes);
    }

    pub(crate) fn write_keys(&self, embeddings: &str, keys: impl Iterator<Item = String>) {
        let keys: Value = keys.collect();
        self.write(&format!("{embeddings}.keys.json"), keys.to_string());
    }

    /// What lies in the folder, sorted.
    pub(crate) fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.folder).expect("folder");
        let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("UTF-8");
        let mut files: Vec<String> = entries.map(|e| name(e.expect("entry"))).collect();
        files.sort();
        files
    }

    /// `semid` with these arguments, between spaces, in this folder.
    pub(crate) fn semid(&self, arguments: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_semid"));
        command
            .current_dir(&self.folder)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, arguments: &str) -> Output {
        let output = self.semid(arguments).output().expect("it starts");
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(
            !message.contains("panicked"),
            "semid {arguments}: {message}"
        );
        output
    }

    /// What a command that must succeed prints.
    pub(crate) fn ok(&self, arguments: &str) -> String {
        let output = self.run(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "semid {arguments}: {message}");
        assert_eq!(message, "", "semid {arguments}: into a pipe goes no note");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// The object that a command prints with `--json`, and whether it succeeded.
    pub(crate) fn json(&self, arguments: &str) -> (Value, bool) {
        let output = self.run(&format!("{arguments} --json"));
        let report = serde_json::from_slice(&output.stdout);
        (report.expect("one object"), output.status.success())
    }

    /// What a command says that must fail with this exit status.
    pub(crate) fn fails(&self, status: i32, arguments: &str) -> String {
        let output = self.run(arguments);
        let message = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(
            output.status.code(),
            Some(status),
            "semid {arguments}: {message}"
        );
        assert!(message.starts_with("error: "), "{message}");
        message
    }

    /// Trains `model`, residual k-means of 3 levels, and makes `index.safetensors` with it.
    pub(crate) fn index(&self) {
        self.ok("train emb.npy --preset rk-means --levels 3 --codes 16 --out model");
        self.ok("index emb.npy --model model --out index.safetensors");
    }

    /// Writes `events.csv`, in which after one of 24 items comes mostly the one five behind it, and
    /// `items.jsonl` with titles that no page may take for HTML.
    pub(crate) fn histories(&self) {
        let mut csv = "user_id,item_id,timestamp\n".to_owned();
        for user in 0..150 {
            for at in 0..4 + user % 6 {
                let item = (user * 7 + 5 * at + usize::from(user % 13 == at)) % 24;
                csv += &format!("u{user},{},{at}\n", key(item));
            }
        }
        csv += "u0,unheard-of,99\n";
        self.write("events.csv", csv);
        let item = |item: usize| {
            let title = format!("Thing <b>{item}</b>");
            format!("{{\"item_id\":\"{}\",\"title\":\"{title}\"}}\n", key(item))
        };
        self.write("items.jsonl", (0..ITEMS).map(item).collect::<String>());
    }
}

pub(crate) fn key(item: usize) -> String {
    format!("item-{item}")
}

/// Eight clusters; every tenth item is embedded exactly as the one before it.
pub(crate) fn catalogue() -> Vec<Vec<f32>> {
    let row = |item: usize| {
        let item = if item % 10 == 9 { item - 1 } else { item };
        let (cluster, own) = ((item % 8) as f32, item as f32);
        let pace = 1.0 + (item % 5) as f32;
        let value = |d: usize| {
            let d = d as f32;
            3.0 * (2.3 * cluster + 1.1 * d).sin() + 0.3 * (1.7 * own + 0.9 * pace * d).sin()
        };
        (0..DIM).map(value).collect()
    };
    (0..ITEMS).map(row).collect()
}
