use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Error, Result};

/// What made an artefact: enough to make it again, to the byte, and to check
/// that it has not changed since.
///
/// Indexes, models, embeddings and corpora share this form. Nothing in it
/// depends on the clock or on the machine unless the caller puts it there.
///
/// ```
/// use semantic_id::{Digest, Manifest};
///
/// let mut manifest = Manifest::new("index", serde_json::json!({ "capacity": 1 }));
/// manifest.seed = Some(42);
/// manifest.inputs.insert("model.safetensors".into(), Digest::of(b"weights"));
/// manifest.check("model.safetensors", Digest::of(b"weights"))?;
/// assert!(manifest.check("model.safetensors", Digest::of(b"others")).is_err());
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Name and version of the tool, `semid 0.1.0`.
    pub tool: String,
    /// The command that ran, `index`.
    pub command: String,
    /// Every setting of the command, defaults included.
    #[serde(default)]
    pub configuration: Value,
    /// The seed, where chance played a part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Hash of each input, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Digest>,
    /// Hash of each file beside the manifest, by name. An index holds its manifest
    /// inside itself, and its own hash beside it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, Digest>,
    /// Counts worth knowing without opening the artefact: items, levels, rows.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub counts: BTreeMap<String, u64>,
    /// Figures that the command reported and that later commands ask for. Like all of this,
    /// they do not depend on the clock.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub results: Value,
}

impl Manifest {
    /// The manifest of `command` run by this version with `configuration`.
    pub fn new(command: impl Into<String>, configuration: Value) -> Self {
        Self {
            tool: concat!("semid ", env!("CARGO_PKG_VERSION")).to_owned(),
            command: command.into(),
            configuration,
            seed: None,
            inputs: BTreeMap::new(),
            outputs: BTreeMap::new(),
            counts: BTreeMap::new(),
            results: Value::Null,
        }
    }

    /// Compares a file's hash with the one recorded for that output or input.
    ///
    /// # Errors
    ///
    /// [`Error::Unlisted`] if the manifest does not name the file,
    /// [`Error::Changed`] if the hashes differ.
    pub fn check(&self, name: &str, got: Digest) -> Result<()> {
        let listed = self.outputs.get(name).or_else(|| self.inputs.get(name));
        match listed {
            None => Err(Error::Unlisted(name.to_owned())),
            Some(&expected) if expected != got => Err(Error::Changed {
                name: name.to_owned(),
                got,
                expected,
            }),
            Some(_) => Ok(()),
        }
    }
}

/// A blake3 hash, written as 64 lowercase hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(blake3::Hash);

impl Digest {
    /// The hash of some bytes, on all threads when there are many.
    pub fn of(bytes: &[u8]) -> Self {
        Self(blake3::Hasher::new().update_rayon(bytes).finalize())
    }
}

impl From<blake3::Hash> for Digest {
    fn from(hash: blake3::Hash) -> Self {
        Self(hash)
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(digits: &str) -> Result<Self> {
        match blake3::Hash::from_hex(digits) {
            Ok(hash) if hash.to_hex().as_str() == digits => Ok(Self(hash)),
            _ => Err(Error::Digest(digits.to_owned())),
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(digits: String) -> Result<Self> {
        digits.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}
