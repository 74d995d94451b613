use std::borrow::Cow;

/// Which steps of cleaning texts go through; all, unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleaningSteps {
    /// HTML entities (`&eacute;`, `&#39;`) are decoded.
    pub entities: bool,
    /// White space is made single spaces, with none at the ends.
    pub space: bool,
}

impl CleaningSteps {
    /// Texts as they are in the file.
    pub const NONE: Self = Self {
        entities: false,
        space: false,
    };
}

impl Default for CleaningSteps {
    fn default() -> Self {
        Self {
            entities: true,
            space: true,
        }
    }
}

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
    pub(super) fn clean(&mut self, text: &str, steps: CleaningSteps) -> String {
        let mut clean = Cow::Borrowed(text);
        if steps.entities {
            clean = html_escape::decode_html_entities(text);
            self.entities_decoded += usize::from(clean != text);
        }
        if steps.space {
            let spaced = clean.split_whitespace().collect::<Vec<_>>().join(" ");
            self.space_normalized += usize::from(spaced != clean);
            clean = spaced.into();
        }
        match clean.chars().all(|c| c == '.' || c.is_whitespace()) {
            true => String::new(),
            false => clean.into_owned(),
        }
    }
}
