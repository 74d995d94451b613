use crate::Place;

/// An item as a reader found it.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) place: Place,
    /// The key, where the format keeps it outside the fields.
    pub(super) outer_key: Option<String>,
    pub(super) fields: Vec<(String, Text)>,
}

/// A field's value: its texts (several in a list), and whether some of it was no text.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub(super) parts: Vec<String>,
    pub(super) has_nested: bool,
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self {
            parts: vec![text.to_owned()],
            has_nested: false,
        }
    }
}
