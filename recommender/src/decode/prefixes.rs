use tch::{Kind, Tensor};

use crate::model::{Attend, Dropout, Llama, Remembered, heads_first};

/// What a model has read: some prompts, each once, and behind them the prefixes of beams, as a
/// tree. A prefix attends to its prompt and to its own tokens; beams share both.
///
/// ```text
/// prompt ─┬─ a_3 ─┬─ b_0 ── c_7        a node is one token behind a prompt,
///         │       └─ b_5               its keys and values are computed once
///         └─ a_8 ─── b_1
/// ```
#[derive(Debug)]
pub(crate) struct Prefixes<'a> {
    model: &'a Llama,
    /// Keys and values of the prompts, one pair a layer, `[B, G, P, d]`.
    prompts: Vec<(Tensor, Tensor)>,
    /// 0 where a prompt has a token, else negative infinity, `[B, 1, 1, P]`.
    padding: Tensor,
    /// Tokens of each prompt.
    lengths: Vec<i64>,
    nodes: Vec<Node>,
    /// Keys and values of the nodes, one pair a layer, `[capacity, G, d]`.
    kept: Vec<(Tensor, Tensor)>,
}

/// A token behind a prompt.
#[derive(Debug, Clone, Copy)]
struct Node {
    prompt: usize,
    parent: Option<usize>,
    depth: i64,
}

/// A token that is to be read behind a node, or behind a prompt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NewToken {
    pub(crate) prompt: usize,
    pub(crate) parent: Option<usize>,
    pub(crate) token: u32,
}

impl<'a> Prefixes<'a> {
    /// Reads prompts, none of them empty. Gives the hidden states of their last tokens, `[B, D]`.
    pub(crate) fn read(model: &'a Llama, prompts: &[Vec<u32>]) -> (Self, Tensor) {
        let device = model.device();
        let lengths: Vec<i64> = prompts.iter().map(|prompt| prompt.len() as i64).collect();
        let longest = lengths.iter().max().copied().unwrap_or(0) as usize;
        let padded = prompts.iter().flat_map(|prompt| {
            let tokens = prompt.iter().map(|&token| i64::from(token));
            tokens.chain(std::iter::repeat_n(0, longest - prompt.len()))
        });
        let tokens = Tensor::from_slice(&padded.collect::<Vec<i64>>());
        let tokens = tokens.view([-1, longest as i64]).to_device(device);
        let positions = Tensor::arange(longest as i64, (Kind::Int64, device));

        // What fills up a prompt is behind it, where none of its tokens looks.
        let mut remembered = Remembered::default();
        let hidden = model.forward(&tokens, &positions, &mut remembered, Dropout::default());
        let ends = Tensor::from_slice(&lengths).to_device(device);
        let last = (&ends - 1)
            .view([-1, 1, 1])
            .expand([-1, 1, hidden.size()[2]], false);
        let beyond = positions.unsqueeze(0).ge_tensor(&ends.unsqueeze(1));
        let padding = beyond
            .zeros_like()
            .to_kind(Kind::Float)
            .masked_fill(&beyond, f64::NEG_INFINITY);
        let last = hidden.gather(1, &last, false).squeeze_dim(1);
        let prefixes = Self {
            model,
            prompts: remembered.layers,
            padding: padding.unsqueeze(1).unsqueeze(1),
            lengths,
            nodes: Vec::new(),
            kept: Vec::new(),
        };
        (prefixes, last)
    }

    /// Reads one token a prefix, in one pass; gives their hidden states, `[tokens, D]`. They are
    /// nodes numbered from the number of those before.
    pub(crate) fn extend(&mut self, tokens: &[NewToken]) -> Tensor {
        let first = self.nodes.len();
        for new in tokens {
            let depth = new.parent.map_or(0, |parent| self.nodes[parent].depth + 1);
            self.nodes.push(Node {
                prompt: new.prompt,
                parent: new.parent,
                depth,
            });
        }
        let added = &self.nodes[first..];
        let device = self.model.device();
        let numbers = |numbers: Vec<i64>| Tensor::from_slice(&numbers).to_device(device);
        let positions = added
            .iter()
            .map(|node| self.lengths[node.prompt] + node.depth);
        let positions = numbers(positions.collect());
        let tokens = numbers(tokens.iter().map(|new| new.token.into()).collect());
        let model = self.model;
        model.forward(
            &tokens,
            &positions,
            &mut self.pass(first),
            Dropout::default(),
        )
    }

    /// Number of nodes so far.
    pub(crate) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// What the nodes from `first` on attend to.
    fn pass(&mut self, first: usize) -> Pass<'_> {
        let added = &self.nodes[first..];
        let mut places = Vec::with_capacity(added.len());
        let mut counts = vec![0; self.lengths.len()];
        for node in added {
            places.push((node.prompt, counts[node.prompt]));
            counts[node.prompt] += 1;
        }
        let width = counts.iter().max().copied().unwrap_or(0);
        let places = places
            .iter()
            .map(|&(prompt, at)| (prompt * width + at) as i64);

        let depth = added.iter().map(|node| node.depth + 1).max().unwrap_or(0) as usize;
        let mut chains = Vec::with_capacity(added.len() * depth);
        let mut absent = Vec::with_capacity(added.len() * depth);
        for number in first..self.nodes.len() {
            let mut at = Some(number);
            for _ in 0..depth {
                chains.push(at.unwrap_or(number) as i64);
                absent.push(if at.is_some() {
                    0.0_f32
                } else {
                    f32::NEG_INFINITY
                });
                at = at.and_then(|at| self.nodes[at].parent);
            }
        }
        let device = self.model.device();
        Pass {
            places: Tensor::from_slice(&places.collect::<Vec<i64>>()).to_device(device),
            chains: Tensor::from_slice(&chains).to_device(device),
            absent: Tensor::from_slice(&absent)
                .view([-1, 1, 1, depth as i64])
                .to_device(device),
            width: width as i64,
            prompts: &self.prompts,
            padding: &self.padding,
            kept: &mut self.kept,
            first: first as i64,
            depth: depth as i64,
        }
    }
}

/// One forward pass over new nodes `[n]`.
struct Pass<'p> {
    prompts: &'p [(Tensor, Tensor)],
    padding: &'p Tensor,
    kept: &'p mut Vec<(Tensor, Tensor)>,
    /// Where each node is among the nodes of all prompts, as many a prompt, `[n]`.
    places: Tensor,
    /// New nodes of the prompt with the most of them.
    width: i64,
    /// Each node and its ancestors, `[n * depth]`.
    chains: Tensor,
    /// 0 where there is an ancestor, else negative infinity, `[n, 1, 1, depth]`.
    absent: Tensor,
    first: i64,
    depth: i64,
}

impl Attend for Pass<'_> {
    fn attend(&mut self, layer: usize, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor {
        let (rows, heads, dim) = queries.size3().expect("[n, H, d]");
        let groups = keys.size()[1];
        self.keep(layer, &keys, &values);
        let queries = (queries * (dim as f64).powf(-0.5)).view([rows, groups, heads / groups, dim]);
        let (prompt, prompt_sum) = self.prompt(layer, &queries);
        let (own, own_sum) = self.own(layer, &queries);
        // Two softmaxes over parts are one over all, if each part has its share of the sum.
        let share = (prompt_sum - own_sum).sigmoid();
        let found = Tensor::lerp_tensor(&own, &prompt, &share);
        found.view([rows, heads, dim])
    }
}

impl Pass<'_> {
    /// Adds the new nodes' keys and values to those that are kept.
    fn keep(&mut self, layer: usize, keys: &Tensor, values: &Tensor) {
        let added = keys.size()[0];
        let needed = self.first + added;
        if self.kept.len() == layer {
            let empty = || {
                keys.new_empty(
                    [0, keys.size()[1], keys.size()[2]],
                    (keys.kind(), keys.device()),
                )
            };
            self.kept.push((empty(), empty()));
        }
        let (kept_keys, kept_values) = &mut self.kept[layer];
        for (kept, new) in [(kept_keys, keys), (kept_values, values)] {
            if kept.size()[0] < needed {
                // Doubled, so that long searches copy each node a few times only.
                let mut size = kept.size();
                size[0] = needed.max(2 * self.first);
                let larger = kept.new_empty(&*size, (kept.kind(), kept.device()));
                larger
                    .narrow(0, 0, self.first)
                    .copy_(&kept.narrow(0, 0, self.first));
                *kept = larger;
            }
            kept.narrow(0, self.first, added).copy_(new);
        }
    }

    /// What queries `[n, G, g, d]` find in the prompts, and the logarithm of their sum,
    /// `[n, G, g, 1]`.
    fn prompt(&self, layer: usize, queries: &Tensor) -> (Tensor, Tensor) {
        let (keys, values) = &self.prompts[layer];
        let (prompts, groups, _, dim) = keys.size4().expect("[B, G, P, d]");
        let each = queries.size()[2];
        // [n, G, g, d] -> [B * width, G, g, d] -> [B, G, width * g, d]
        let size = [prompts * self.width, groups, each, dim];
        let spread = queries.new_zeros(size, (queries.kind(), queries.device()));
        let spread = spread.index_copy(0, &self.places, queries);
        let spread = spread.view([prompts, self.width, groups, each, dim]);
        let spread = spread.transpose(1, 2).reshape([prompts, groups, -1, dim]);
        let scores = spread.matmul(&keys.transpose(2, 3)) + self.padding;
        let sums = scores.logsumexp([-1_i64], true);
        let found = (scores - &sums).exp().matmul(values);
        let back = |tensor: &Tensor| {
            let tensor = tensor
                .view([prompts, groups, self.width, each, -1])
                .transpose(1, 2);
            let flat = tensor.reshape([prompts * self.width, groups, each, -1]);
            flat.index_select(0, &self.places)
        };
        (back(&found), back(&sums))
    }

    /// The same of the nodes' own tokens.
    fn own(&self, layer: usize, queries: &Tensor) -> (Tensor, Tensor) {
        let rows = queries.size()[0];
        let (keys, values) = &self.kept[layer];
        // [n * depth, G, d] -> [n, G, depth, d]
        let gathered = |kept: &Tensor| {
            let chains = kept.index_select(0, &self.chains);
            heads_first(&chains.unflatten(0, [rows, self.depth]))
        };
        let scores = queries.matmul(&gathered(keys).transpose(2, 3)) + &self.absent;
        let sums = scores.logsumexp([-1_i64], true);
        ((scores - &sums).exp().matmul(&gathered(values)), sums)
    }
}
