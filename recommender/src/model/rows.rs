use tch::Tensor;

/// A row a token, `[V, D]`: an embedding, or a head.
#[derive(Debug)]
pub(super) struct Rows {
    /// The first rows, where they stay as they are.
    frozen: Option<Tensor>,
    rest: Tensor,
}

impl Rows {
    pub(super) fn new(rows: Tensor) -> Self {
        let frozen = None;
        Self { frozen, rest: rows }
    }

    /// All rows as one tensor, a copy where some are frozen.
    pub(super) fn whole(&self) -> Tensor {
        match &self.frozen {
            None => self.rest.shallow_clone(),
            Some(frozen) => Tensor::cat(&[frozen, &self.rest], 0),
        }
    }

    /// The rows of tokens `[...]`, `[..., D]`.
    pub(super) fn of(&self, tokens: &Tensor) -> Tensor {
        Tensor::embedding(&self.whole(), tokens, -1, false, false)
    }

    /// What each row has in common with hidden states `[..., D]`: `[..., V]`.
    pub(super) fn logits(&self, hidden: &Tensor) -> Tensor {
        let logits = hidden.linear::<&Tensor>(&self.rest, None);
        match &self.frozen {
            None => logits,
            Some(frozen) => Tensor::cat(&[hidden.linear::<&Tensor>(frozen, None), logits], -1),
        }
    }

    /// Freezes the rows before `first`.
    pub(super) fn freeze(&mut self, first: usize) {
        let rows = self.whole().detach();
        let first = first as i64;
        let rest = rows.narrow(0, first, rows.size()[0] - first);
        *self = Self {
            frozen: (first > 0).then(|| rows.narrow(0, 0, first).copy()),
            rest: rest.copy().set_requires_grad(true),
        };
    }

    /// One tensor again.
    pub(super) fn merge(&mut self) {
        *self = Self::new(self.whole().detach().set_requires_grad(true));
    }

    /// The tensors there are.
    pub(super) fn parts(&self, name: &str) -> Vec<(String, Tensor)> {
        let frozen = self.frozen.iter();
        let frozen = frozen.map(|frozen| (format!("{name}.frozen"), frozen.shallow_clone()));
        frozen
            .chain([(name.to_owned(), self.rest.shallow_clone())])
            .collect()
    }
}
