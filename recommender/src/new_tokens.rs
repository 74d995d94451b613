use std::collections::BTreeMap;

use semantic_id::{Code, CodeSpace, TokenFormat};
use semid_training::seeded;
use tch::{Device, Kind, Tensor};
use tokenizers::{AddedToken, Tokenizer};

use crate::{Error, Llama, Result};

/// The tokens of an index that a language model has to learn: one for every code of every level,
/// those that no item has included, and those before and after an ID.
///
/// ```
/// use semantic_id::{CodeSpace, TokenFormat};
/// use semid_recommender::{Llama, LlamaConfig, NewTokens};
/// use tokenizers::Tokenizer;
///
/// let json = r#"{"model": {"type": "WordLevel", "vocab": {"buy": 0, "?": 1}, "unk_token": "?"}}"#;
/// let mut tokenizer: Tokenizer = json.parse()?;
/// let mut model = Llama::new(LlamaConfig::small(2, 32, 16), tch::Device::Cpu, 42)?;
///
/// let space = CodeSpace::uniform(2, 4)?;
/// let tokens = NewTokens::add(&mut tokenizer, &TokenFormat::lc_rec(2), &space)?;
/// model.extend(&tokens, None, 42)?;
/// assert_eq!(model.config().vocab_size, 2 + 2 * 4);
/// assert_eq!(tokenizer.encode("<a_3><b_0>", false)?.get_ids(), [5, 6]);
/// # Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTokens {
    /// Those that the tokenizer had not, by number.
    tokens: BTreeMap<u32, Meaning>,
    /// Tokens of the tokenizer, all of them.
    vocabulary: usize,
    space: CodeSpace,
}

/// The level and the code that a token stands for; `None` for those around an ID.
type Meaning = Option<(usize, Code)>;

impl NewTokens {
    /// Adds those to a tokenizer that it has not yet, spelled as `format` does.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for a format of other levels than the codes'; [`Error::Model`] for a
    /// tokenizer that takes no more tokens.
    pub fn add(tokenizer: &mut Tokenizer, format: &TokenFormat, space: &CodeSpace) -> Result<Self> {
        equal(
            "levels of the token format",
            format.levels(),
            space.levels(),
        )?;
        let around = [format.begin(), format.end()].map(|token| (token.to_owned(), None));
        let codes = (0..space.levels()).flat_map(|level| {
            let codes = (0..space.size(level)).map(|code| Code(code as u16));
            codes.map(move |code| (format.token(level, code), Some((level, code))))
        });
        let mut new: Vec<(String, Meaning)> = around.into_iter().chain(codes).collect();
        new.retain(|(text, _)| !text.is_empty() && tokenizer.token_to_id(text).is_none());

        let added = new.iter().map(|(text, _)| text.as_str());
        let added = added.map(|text| AddedToken::from(text, false).normalized(false));
        let bad = |problem: String| Error::Model(format!("the tokenizer: {problem}"));
        tokenizer
            .add_tokens(added)
            .map_err(|error| bad(error.to_string()))?;
        let mut tokens = BTreeMap::new();
        for (text, meaning) in new {
            let id = tokenizer.token_to_id(&text);
            let id = id.ok_or_else(|| bad(format!("it does not take {text:?}")))?;
            // Levels may share a spelling.
            tokens.entry(id).or_insert(meaning);
        }
        // A vocabulary may have gaps.
        let end = tokens.keys().last().map_or(0, |&id| id as usize + 1);
        Ok(Self {
            tokens,
            vocabulary: end.max(tokenizer.get_vocab_size(true)),
            space: space.clone(),
        })
    }

    /// The first of them, as [`Lora::first_row`](crate::Lora::first_row) wants it; the size of
    /// the vocabulary if the tokenizer had all.
    pub fn first(&self) -> usize {
        let first = self.tokens.keys().next();
        first.map_or(self.vocabulary, |&id| id as usize)
    }

    /// In which direction from the mean each token begins, `[tokens, D]`, with a deviation of 1
    /// over the codes of a level: its centroid in a random projection, which keeps near what is
    /// near (Johnson and Lindenstrauss, 1984), or a little noise.
    fn directions(&self, centroids: Option<&[Tensor]>, width: i64) -> Result<Tensor> {
        let cpu = (Kind::Float, Device::Cpu);
        let mut directions = Tensor::randn([self.tokens.len() as i64, width], cpu) * NOISE;
        let Some(centroids) = centroids else {
            return Ok(directions);
        };
        equal("codebooks", centroids.len(), self.space.levels())?;
        for (level, centroids) in centroids.iter().enumerate() {
            let size = centroids.size();
            equal("dimensions of a codebook, `[K, d]`", size.len(), 2)?;
            equal(
                "centroids of a level",
                size[0] as usize,
                self.space.size(level),
            )?;
            let centroids = centroids.to_device(Device::Cpu).to_kind(Kind::Float);
            let centred = &centroids - centroids.mean_dim(0, true, Kind::Float);
            let projected = centred.matmul(&Tensor::randn([size[1], width], cpu));
            let spread = projected.std(true) + f64::from(f32::MIN_POSITIVE);
            let meanings = self.tokens.values().enumerate();
            let (places, codes): (Vec<i64>, Vec<i64>) = meanings
                .filter_map(|(place, meaning)| {
                    let (_, code) = meaning.filter(|&(of, _)| of == level)?;
                    Some((place as i64, i64::from(code.0)))
                })
                .unzip();
            let of_codes = (projected / spread).index_select(0, &Tensor::from_slice(&codes));
            let _ = directions.index_copy_(0, &Tensor::from_slice(&places), &of_codes);
        }
        Ok(directions)
    }
}

/// Deviation of tokens without a centroid, in deviations of the rows that there are.
const NOISE: f64 = 0.1;

impl Llama {
    /// Gives new tokens their rows in embedding and head. They begin around the mean of the
    /// rows that there are, spread as these are: where the codes' centroids are given, `[K, d]` a
    /// level, at their random projection, else close to the mean. Adapters are merged before.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] for centroids of other codes.
    pub fn extend(
        &mut self,
        tokens: &NewTokens,
        centroids: Option<&[Tensor]>,
        seed: i64,
    ) -> Result<()> {
        let _turn = seeded(seed);
        let width = self.config().hidden_size as i64;
        let directions = tokens
            .directions(centroids, width)?
            .to_device(self.device());
        let ids = tokens.tokens.keys().map(|&id| i64::from(id));
        let ids = Tensor::from_slice(&ids.collect::<Vec<_>>()).to_device(self.device());
        let known = tokens.first().min(self.config().vocab_size) as i64;
        let vocabulary = tokens.vocabulary.max(self.config().vocab_size);
        self.change_rows(vocabulary, |rows| {
            let old = rows.narrow(0, 0, known);
            let (spread, mean) = old.std_mean_dim(0, false, true);
            let more = vocabulary as i64 - rows.size()[0];
            let rows = Tensor::cat(&[rows, &mean.expand([more, width], false)], 0);
            rows.index_copy(0, &ids, &(&directions * spread + mean))
        });
        Ok(())
    }
}

fn equal(what: &'static str, got: usize, expected: usize) -> Result<()> {
    match got == expected {
        true => Ok(()),
        false => Err(Error::Shape {
            what,
            got,
            expected,
        }),
    }
}
