use semantic_id::{Code, ItemId, ItemIndex};

use crate::{Catalogue, Histories, Result, UserId};

/// A text for each of many rows, as one string: rows without one cost 8 bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    pub(crate) fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    /// The text of a row; `None` if it is empty.
    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        let text = &self.text[start..self.ends[row]];
        (!text.is_empty()).then_some(text)
    }
}

/// The semantic IDs of a catalogue's items, as texts and as codes.
#[derive(Debug, Clone)]
pub struct Ids {
    texts: Texts,
    codes: Vec<Code>,
    ends: Vec<usize>,
    missing: usize,
}

impl Ids {
    /// Looks up every item of a catalogue by its key. Items that the index lacks have no ID, and
    /// [`Ids::missing`] counts them; what the index has beyond the catalogue does not matter.
    ///
    /// # Errors
    ///
    /// If the index is damaged. `O(N log N)`.
    pub fn new<D: AsRef<[u8]>>(catalogue: &Catalogue, index: &ItemIndex<D>) -> Result<Self> {
        let mut ids = Self {
            texts: Texts::default(),
            codes: Vec::new(),
            ends: Vec::with_capacity(catalogue.len()),
            missing: 0,
        };
        for key in catalogue.keys().iter() {
            match index.find(key)? {
                Some(item) if index.is_alive(item)? => {
                    let id = index.semantic_id(item)?;
                    ids.texts.push(&index.token_format().text(&id));
                    ids.codes.extend_from_slice(&id);
                }
                _ => {
                    ids.texts.push("");
                    ids.missing += 1;
                }
            }
            ids.ends.push(ids.codes.len());
        }
        Ok(ids)
    }

    /// The ID of an item as text, as `<a_1><b_2>`.
    pub fn text(&self, item: ItemId) -> Option<&str> {
        self.texts.get(item.index())
    }

    /// The codes of an item, without padding; none if it has no ID.
    pub fn codes(&self, item: ItemId) -> &[Code] {
        let row = item.index();
        let start = row.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.codes[start..self.ends[row]]
    }

    /// Items of the catalogue that the index lacks.
    pub fn missing(&self) -> usize {
        self.missing
    }
}

/// The IDs of users, for systems that index users as they do items.
#[derive(Debug, Clone)]
pub struct UserTexts(Texts);

impl UserTexts {
    /// Looks up every user of some histories in an index whose keys are users.
    ///
    /// # Errors
    ///
    /// If the index is damaged.
    pub fn new<D: AsRef<[u8]>>(histories: &Histories, index: &ItemIndex<D>) -> Result<Self> {
        let mut texts = Texts::default();
        for user in histories.users() {
            match index.find(histories.key(user))? {
                Some(item) => texts.push(&index.text(item)?),
                None => texts.push(""),
            }
        }
        Ok(Self(texts))
    }

    /// The ID of a user as text; `None` if the index lacks the user.
    pub fn get(&self, user: UserId) -> Option<&str> {
        self.0.get(user.index())
    }
}
