/// How many texts were changed while a catalogue was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cleaning {
    /// Texts in which HTML entities (`&eacute;`, `&#39;`) were decoded.
    pub entities_decoded: usize,
    /// Texts whose white space was made single spaces.
    pub space_normalized: usize,
    /// Fields of an item of which a nested object was left out.
    pub nested_skipped: usize,
}

impl Cleaning {
    /// The clean form of a text; empty if it says nothing.
    pub(super) fn clean(&mut self, text: &str) -> String {
        let decoded = html_escape::decode_html_entities(text);
        let clean = decoded.split_whitespace().collect::<Vec<_>>().join(" ");
        self.entities_decoded += usize::from(decoded != text);
        self.space_normalized += usize::from(clean != decoded);
        match clean.bytes().all(|byte| byte == b'.' || byte == b' ') {
            true => String::new(),
            false => clean,
        }
    }
}
