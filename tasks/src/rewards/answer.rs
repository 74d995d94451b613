use semantic_id::{SemanticId, TokenFormat};

/// What some models write at the end of an answer.
const ENDS: [&str; 3] = ["<|im_end|>", "<|endoftext|>", "</s>"];

/// What a model's text has to look like to be the ID of an item.
///
/// ```
/// use semantic_id::TokenFormat;
/// use semid_tasks::rewards::AnswerFormat;
///
/// let tokens = TokenFormat::lc_rec(2);
/// let plain = AnswerFormat::plain(&tokens);
/// assert!(plain.read("<a_1> <b_2>\n").is_some());
/// assert!(plain.read("<a_1>").is_none(), "too short");
/// assert!(plain.read("I recommend <a_1><b_2>").is_none());
///
/// let reasoned = AnswerFormat::reasoned(&tokens);
/// assert!(reasoned.read("<think>A lamp?</think>\n<answer><a_1><b_2></answer>").is_some());
/// assert!(reasoned.read("<a_1><b_2>").is_none());
/// ```
#[derive(Debug, Clone, Copy)]
pub struct AnswerFormat<'t> {
    tokens: &'t TokenFormat,
    shortest: usize,
    reasoned: bool,
}

impl<'t> AnswerFormat<'t> {
    /// The tokens of an ID of all levels, and nothing else but white space and a token that ends
    /// the text.
    pub fn plain(tokens: &'t TokenFormat) -> Self {
        Self {
            tokens,
            shortest: tokens.levels(),
            reasoned: false,
        }
    }

    /// `<think>...</think><answer>ID</answer>`, GREAM's. `<think>` may be missing, as chat
    /// templates write it into the prompt.
    pub fn reasoned(tokens: &'t TokenFormat) -> Self {
        Self {
            reasoned: true,
            ..Self::plain(tokens)
        }
    }

    /// Lets IDs have no more than `codes` codes, for an index with shorter ones.
    pub fn at_least(self, codes: usize) -> Self {
        let shortest = codes;
        Self { shortest, ..self }
    }

    /// The ID of a text, or `None` if it is not of this format.
    pub fn read(&self, text: &str) -> Option<SemanticId> {
        let mut text = text.trim();
        while let Some(rest) = ENDS.iter().find_map(|end| text.strip_suffix(end)) {
            text = rest.trim_end();
        }
        if self.reasoned {
            text = answer(text)?;
        }
        let joined: String = text.split_whitespace().collect();
        let id = self
            .tokens
            .parse(text)
            .or_else(|_| self.tokens.parse(&joined));
        id.ok().filter(|id| id.len() >= self.shortest.max(1))
    }
}

/// What stands between the tags of an answer that follows a thought.
fn answer(text: &str) -> Option<&str> {
    let (_, answer) = text.split_once("</think>")?;
    let answer = answer.trim_start().strip_prefix("<answer>")?;
    Some(answer.strip_suffix("</answer>")?.trim())
}
