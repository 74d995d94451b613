//! JSON as it is written, without a tree of values.

use serde::Serialize;

/// Appends JSON to a buffer.
pub(super) struct Json<'o>(pub(super) &'o mut Vec<u8>);

impl Json<'_> {
    pub(super) fn raw(&mut self, json: &str) -> &mut Self {
        self.0.extend_from_slice(json.as_bytes());
        self
    }

    pub(super) fn text(&mut self, text: &str) {
        json_escape_simd::escape_into(text, self.0);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.raw(itoa::Buffer::new().format(number));
    }

    pub(super) fn value(&mut self, value: &impl Serialize) {
        serde_json::to_writer(&mut *self.0, value).expect("memory takes what is plain data");
    }

    /// A key of the innermost open object; it needs no escapes.
    pub(super) fn key(&mut self, name: &str) -> &mut Self {
        let first = self.0.last() == Some(&b'{');
        self.raw(if first { "\"" } else { ",\"" })
            .raw(name)
            .raw("\":")
    }

    pub(super) fn object(&mut self, fill: impl FnOnce(&mut Self)) {
        self.raw("{");
        fill(self);
        self.raw("}");
    }

    pub(super) fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.raw("[");
        for (at, item) in items.into_iter().enumerate() {
            if at > 0 {
                self.raw(",");
            }
            each(self, item);
        }
        self.raw("]");
    }

    /// What `fill` writes, as a string.
    pub(super) fn quoted(&mut self, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        fill(self);
        let json = self.0.split_off(start);
        self.text(std::str::from_utf8(&json).expect("JSON is written from strings"));
    }
}
