use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Code, Error, Result, SemanticId};

/// How codes are spelled as tokens of a language model.
///
/// Each level has a template with one `{code}`, where the code stands as a plain decimal number;
/// a whole semantic ID may be put between a begin and an end token.
///
/// ```
/// use semantic_id::{Code, TokenFormat};
///
/// let format = TokenFormat::lc_rec(3);
/// let text = format.text(&[Code(12), Code(3), Code(201)]);
/// assert_eq!(text, "<a_12><b_3><c_201>");
/// assert_eq!(format.parse(&text)?[1], Code(3));
///
/// let format = TokenFormat::new(&["<s_a_{code}>", "<s_b_{code}>"])?
///     .between("<|sid_begin|>", "<|sid_end|>")?;
/// assert_eq!(format, TokenFormat::open_one_rec(2));
/// # Ok::<(), semantic_id::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Spelled")]
pub struct TokenFormat {
    #[serde(skip_serializing_if = "String::is_empty")]
    begin: String,
    levels: Vec<Template>,
    #[serde(skip_serializing_if = "String::is_empty")]
    end: String,
}

impl TokenFormat {
    /// One template a level, such as `<a_{code}>`.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] if a template lacks `{code}` or has it twice, or if
    /// a code's digits could run into what follows them.
    pub fn new<S: AsRef<str>>(templates: &[S]) -> Result<Self> {
        let levels = templates
            .iter()
            .map(|template| template.as_ref().parse())
            .collect::<Result<_>>()?;
        Self {
            begin: String::new(),
            levels,
            end: String::new(),
        }
        .checked()
    }

    /// The same tokens with `begin` before and `end` after each semantic ID.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] if the last code's digits could run into `end`.
    pub fn between(self, begin: &str, end: &str) -> Result<Self> {
        Self {
            begin: begin.to_owned(),
            levels: self.levels,
            end: end.to_owned(),
        }
        .checked()
    }

    /// LC-Rec's spelling, `<a_12><b_3>`; the levels after `z` are `aa`, `ab`, ...
    pub fn lc_rec(levels: usize) -> Self {
        Self::lettered("<", levels)
    }

    /// OpenOneRec's spelling, `<|sid_begin|><s_a_340><s_b_6566><|sid_end|>`.
    pub fn open_one_rec(levels: usize) -> Self {
        Self {
            begin: "<|sid_begin|>".to_owned(),
            end: "<|sid_end|>".to_owned(),
            ..Self::lettered("<s_", levels)
        }
    }

    fn lettered(start: &str, levels: usize) -> Self {
        let template = |level| Template {
            prefix: format!("{start}{}_", letters(level)),
            suffix: ">".to_owned(),
        };
        Self {
            begin: String::new(),
            levels: (0..levels).map(template).collect(),
            end: String::new(),
        }
    }

    /// Number of levels `L`.
    pub fn levels(&self) -> usize {
        self.levels.len()
    }

    /// The token before each semantic ID; may be empty.
    pub fn begin(&self) -> &str {
        &self.begin
    }

    /// The token after each semantic ID; may be empty.
    pub fn end(&self) -> &str {
        &self.end
    }

    /// The token of one code.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    pub fn token(&self, level: usize, code: Code) -> String {
        let Template { prefix, suffix } = &self.levels[level];
        format!("{prefix}{code}{suffix}")
    }

    /// The code of one token.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] if the token is not spelled as this level's are.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    pub fn parse_token(&self, level: usize, token: &str) -> Result<Code> {
        let template = &self.levels[level];
        match template.strip(token) {
            Some((code, "")) => Ok(code),
            _ => Err(template.mismatch(level, token)),
        }
    }

    /// A semantic ID as text, with its begin and end.
    ///
    /// # Panics
    ///
    /// If there are more codes than levels.
    pub fn text(&self, codes: &[Code]) -> String {
        let mut text = self.begin.clone();
        for (level, &code) in codes.iter().enumerate() {
            text.push_str(&self.token(level, code));
        }
        text + &self.end
    }

    /// The semantic ID that [`TokenFormat::text`] wrote; shorter ones than `L` are read too.
    ///
    /// # Errors
    ///
    /// [`Error::Token`] names the first token that is not as expected.
    pub fn parse(&self, text: &str) -> Result<SemanticId> {
        let unexpected = |got: &str, expected: &str| Error::Token {
            token: excerpt(got),
            expected: format!("{expected:?}"),
        };
        let mut rest = text
            .strip_prefix(&*self.begin)
            .ok_or_else(|| unexpected(text, &self.begin))?;
        let mut codes = Vec::new();
        for (level, template) in self.levels.iter().enumerate() {
            if rest == self.end {
                break;
            }
            let (code, after) = template
                .strip(rest)
                .ok_or_else(|| template.mismatch(level, rest))?;
            codes.push(code);
            rest = after;
        }
        if rest != self.end {
            return Err(unexpected(rest, &self.end));
        }
        Ok(codes.into_iter().collect())
    }

    /// The semantic IDs in a text, in order: from each token of level 0 as many as follow in the
    /// order of levels, so one that was cut short has fewer codes than `L`.
    ///
    /// ```
    /// use semantic_id::{Code, TokenFormat};
    ///
    /// let format = TokenFormat::lc_rec(2);
    /// let ids: Vec<_> = format.find_all("After <a_1><b_7>, <a_9> comes.").collect();
    /// assert_eq!((&*ids[0], &*ids[1]), (&[Code(1), Code(7)][..], &[Code(9)][..]));
    /// ```
    pub fn find_all<'t>(&'t self, text: &'t str) -> impl Iterator<Item = SemanticId> + 't {
        let mut rest = text;
        std::iter::from_fn(move || {
            let first = self.levels.first()?;
            loop {
                rest = &rest[rest.find(&first.prefix)?..];
                let mut after = rest;
                let codes = self.levels.iter().map_while(|template| {
                    let (code, next) = template.strip(after)?;
                    after = next;
                    Some(code)
                });
                let id: SemanticId = codes.collect();
                let step = rest.chars().next().map_or(0, char::len_utf8);
                rest = &rest[step.max(rest.len() - after.len())..];
                match (id.is_empty(), step) {
                    (false, _) => return Some(id),
                    (true, 0) => return None,
                    (true, _) => {}
                }
            }
        })
    }

    /// Holds what makes text readable again: no digit follows a code's digits.
    fn checked(self) -> Result<Self> {
        for (level, template) in self.levels.iter().enumerate() {
            let after = |next: &str| template.suffix.bytes().chain(next.bytes()).next();
            let next = self.levels.get(level + 1);
            let into_next = next
                .is_some_and(|next| after(&next.prefix).is_none_or(|first| first.is_ascii_digit()));
            if into_next || after(&self.end).is_some_and(|first| first.is_ascii_digit()) {
                return Err(Error::Template {
                    template: template.to_string(),
                    problem: format!(
                        "the digits of level {level} run into what follows them; \
                         put a character that is no digit after {{code}}"
                    ),
                });
            }
        }
        Ok(self)
    }
}

/// `a` to `z`, then `aa`, `ab`, ..., as spreadsheets name their columns.
fn letters(level: usize) -> String {
    let last = char::from(b'a' + (level % 26) as u8);
    match level / 26 {
        0 => last.to_string(),
        rest => letters(rest - 1) + &last.to_string(),
    }
}

/// The start of a text that may be long, for an error message.
fn excerpt(text: &str) -> String {
    text.chars().take(40).collect()
}

/// What is written of a [`TokenFormat`], before it is checked.
#[derive(Deserialize)]
struct Spelled {
    #[serde(default)]
    begin: String,
    levels: Vec<Template>,
    #[serde(default)]
    end: String,
}

impl TryFrom<Spelled> for TokenFormat {
    type Error = Error;

    fn try_from(Spelled { begin, levels, end }: Spelled) -> Result<Self> {
        Self { begin, levels, end }.checked()
    }
}

/// The text around a code, written as `prefix{code}suffix`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
struct Template {
    prefix: String,
    suffix: String,
}

impl Template {
    /// Takes this template's token off the front of `text`: its code, and the rest.
    fn strip<'t>(&self, text: &'t str) -> Option<(Code, &'t str)> {
        let text = text.strip_prefix(&*self.prefix)?;
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (digits, text) = text.split_at(digits);
        Some((plain_decimal(digits)?, text.strip_prefix(&*self.suffix)?))
    }

    fn mismatch(&self, level: usize, token: &str) -> Error {
        Error::Token {
            token: excerpt(token),
            expected: format!("level {level}'s {self} with a code from 0 to {}", u16::MAX),
        }
    }
}

/// A code without sign, blanks or leading zeros: the one way it is written.
fn plain_decimal(digits: &str) -> Option<Code> {
    let code: u16 = digits.parse().ok()?;
    (code.to_string() == digits).then_some(Code(code))
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(template: &str) -> Result<Self> {
        match template.split_once("{code}") {
            Some((prefix, suffix)) if !suffix.contains("{code}") => Ok(Self {
                prefix: prefix.to_owned(),
                suffix: suffix.to_owned(),
            }),
            _ => Err(Error::Template {
                template: template.to_owned(),
                problem: "expected {code} exactly once, as in <a_{code}>".to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for Template {
    type Error = Error;

    fn try_from(template: String) -> Result<Self> {
        template.parse()
    }
}

impl From<Template> for String {
    fn from(template: Template) -> Self {
        template.to_string()
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{{code}}{}", self.prefix, self.suffix)
    }
}

/// Learns the spelling of each level from a file's tokens: the last number
/// of a level's first token is the code, and what surrounds it the template,
/// which all later tokens of the level must share.
#[derive(Debug, Default)]
pub(crate) struct Spelling {
    levels: Vec<Template>,
}

impl Spelling {
    /// Reads a token of `level`, at most one level beyond those seen.
    pub(crate) fn code(&mut self, level: usize, token: &str) -> Result<Code> {
        if level == self.levels.len() {
            self.levels.push(surroundings(level, token)?);
        }
        let template = &self.levels[level];
        match template.strip(token) {
            Some((code, "")) => Ok(code),
            _ => Err(template.mismatch(level, token)),
        }
    }

    /// The spelling of all levels seen. Bare numbers are no tokens: a file of
    /// nothing else gets LC-Rec's spelling.
    pub(crate) fn finish(self) -> Result<TokenFormat> {
        let bare = |t: &Template| t.prefix.is_empty() && t.suffix.is_empty();
        if self.levels.iter().all(bare) {
            return Ok(TokenFormat::lc_rec(self.levels.len()));
        }
        let templates: Vec<String> = self.levels.iter().map(Template::to_string).collect();
        TokenFormat::new(&templates)
    }
}

/// What surrounds the last number of a token.
fn surroundings(level: usize, token: &str) -> Result<Template> {
    let digit = |c: char| c.is_ascii_digit();
    let end = token.rfind(digit).ok_or_else(|| Error::Token {
        token: excerpt(token),
        expected: format!("a token of level {level} with a decimal number, as in <a_12>"),
    })?;
    let (front, suffix) = token.split_at(end + 1);
    format!("{}{{code}}{suffix}", front.trim_end_matches(digit)).parse()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tutorial() {
        let format = TokenFormat::lc_rec(30);
        assert_eq!(format.token(0, Code(12)), "<a_12>");
        assert_eq!(format.token(25, Code(0)), "<z_0>");
        assert_eq!(format.token(26, Code(0)), "<aa_0>");
        assert_eq!(format.parse_token(29, "<ad_65535>").unwrap(), Code(65535));

        let format = TokenFormat::open_one_rec(3);
        let id = [340, 6566, 5603].map(Code);
        let text = "<|sid_begin|><s_a_340><s_b_6566><s_c_5603><|sid_end|>";
        assert_eq!(format.text(&id), text);
        assert_eq!(*format.parse(text).unwrap(), id);
        assert_eq!(
            *format.parse("<|sid_begin|><s_a_340><|sid_end|>").unwrap(),
            id[..1]
        );

        let json = serde_json::to_string(&format).unwrap();
        assert_eq!(
            json,
            r#"{"begin":"<|sid_begin|>","levels":["<s_a_{code}>","<s_b_{code}>","<s_c_{code}>"],"end":"<|sid_end|>"}"#
        );
        assert_eq!(serde_json::from_str::<TokenFormat>(&json).unwrap(), format);
    }

    #[test]
    fn errors_name_the_token_and_what_was_expected() {
        let format = TokenFormat::lc_rec(2);
        for text in [
            "<a_1><c_2>",
            "<a_1><b_02>",
            "<a_1><b_+2>",
            "<a_1><b_65536>",
            "<a_1><b_2",
        ] {
            let error = format.parse(text).unwrap_err().to_string();
            let expected = format!(
                "got token {:?}, expected level 1's <b_{{code}}>",
                &text[5..]
            );
            assert!(error.starts_with(&expected), "{error}");
        }
        let error = format.parse("<a_1><b_2><c_3>").unwrap_err().to_string();
        assert_eq!(error, r#"got token "<c_3>", expected """#);
        let error = TokenFormat::open_one_rec(1)
            .parse("<s_a_1>")
            .unwrap_err()
            .to_string();
        assert_eq!(error, r#"got token "<s_a_1>", expected "<|sid_begin|>""#);
    }

    #[test]
    fn templates_that_cannot_be_read_back_are_refused() {
        for templates in [
            &["<a>"][..],
            &["{code}{code}"],
            &["{code}", "{code}"],
            &["a{code}", "1{code}"],
            &["a{code}9"],
        ] {
            assert!(TokenFormat::new(templates).is_err(), "{templates:?}");
        }
        assert!(TokenFormat::new(&["{code}"]).is_ok());
        assert!(
            TokenFormat::new(&["{code}"])
                .unwrap()
                .between("", "0")
                .is_err()
        );
        assert!(serde_json::from_str::<TokenFormat>(r#"{"levels":["x{code}","{code}"]}"#).is_err());
    }

    #[test]
    fn spelling_is_learnt_from_the_last_number() {
        let mut spelling = Spelling::default();
        assert_eq!(spelling.code(0, "<|l0_17|>").unwrap(), Code(17));
        assert_eq!(spelling.code(1, "b3").unwrap(), Code(3));
        assert_eq!(spelling.code(0, "<|l0_5|>").unwrap(), Code(5));
        assert!(spelling.code(1, "c3").is_err());
        let learnt = spelling.finish().unwrap();
        assert_eq!(
            learnt,
            TokenFormat::new(&["<|l0_{code}|>", "b{code}"]).unwrap()
        );
    }

    proptest! {
        #[test]
        fn text_is_read_back(
            templates in prop::collection::vec("[a1<{}]{0,3}\\{code\\}[b2>]{0,2}", 1..5),
            brackets in ("[b<1]{0,3}", "[b>1]{0,3}"),
            codes in prop::collection::vec(any::<u16>(), 0..5),
        ) {
            let format = TokenFormat::new(&templates)
                .and_then(|format| format.between(&brackets.0, &brackets.1));
            if let Ok(format) = format {
                let codes: Vec<Code> = codes.into_iter().take(format.levels()).map(Code).collect();
                prop_assert_eq!(&*format.parse(&format.text(&codes))?, &*codes);
            }
        }
    }
}
