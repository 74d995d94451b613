use semantic_id::ItemId;

/// One field of all items, as one string with the offsets of those who have it:
/// a field that a single item has costs no more than its text.
#[derive(Debug, Clone)]
pub(super) struct Column {
    name: String,
    /// Items with a text, ascending.
    items: Vec<ItemId>,
    /// Where in `text` each of them ends.
    ends: Vec<usize>,
    text: String,
}

impl Column {
    pub(super) fn new(name: String) -> Self {
        Self {
            name,
            items: Vec::new(),
            ends: Vec::new(),
            text: String::new(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Adds the text of an item beyond all earlier ones.
    pub(super) fn push(&mut self, item: ItemId, text: &str) {
        self.text.push_str(text);
        self.items.push(item);
        self.ends.push(self.text.len());
    }

    pub(super) fn get(&self, item: ItemId) -> Option<&str> {
        let at = self.items.binary_search(&item).ok()?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.text[start..self.ends[at]])
    }
}
