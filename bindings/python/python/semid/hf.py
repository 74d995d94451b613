"""Constrained generation with Hugging Face transformers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy
import torch
import transformers

from . import BeamSearch, Encoder, Filter, Index, Outcome, Step, TokenMap, Trie

Normalizer = Literal["full-vocab", "semantic-id-vocab", "level", "valid-children"]

__all__ = [
    "SemanticIdLogitsProcessor",
    "extend_tokenizer",
    "generate_items",
    "modules_to_save",
    "prefix_allowed_tokens_fn",
]


class SemanticIdLogitsProcessor(transformers.LogitsProcessor):
    """Leaves the tokens that lead to an item; all others get negative infinity.

    An ID begins behind the prompt, `prompt_length` tokens (padding included), or wherever the
    tokens of `trigger` were last; text before them is free. A finished ID can only be followed by
    `end`, the tokenizer's end of sequence for one. It holds no state, so beams may be reordered.
    """

    def __init__(
        self,
        trie: Trie,
        tokens: TokenMap,
        *,
        prompt_length: int | None = None,
        trigger: Sequence[int] = (),
        end: int | None = None,
        filter: Filter | None = None,
    ) -> None:
        if (prompt_length is None) == (len(trigger) == 0):
            raise ValueError("expected prompt_length or a trigger, one of both")
        self.trie, self.tokens, self.filter = trie, tokens, filter
        self.start, self.trigger, self.end = prompt_length or 0, list(trigger), end

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if scores.shape[-1] < self.tokens.vocabulary:
            raise ValueError(
                f"got scores of {scores.shape[-1]} tokens, but the token map is for a vocabulary "
                f"of {self.tokens.vocabulary}"
            )
        rows, columns, free = (
            torch.from_numpy(part).to(scores.device)
            for part in self.trie.continuations(
                self.tokens,
                input_ids.numpy(force=True),
                start=self.start,
                trigger=self.trigger,
                end=self.end,
                filter=self.filter,
            )
        )
        allowed = torch.full_like(scores, -torch.inf)
        allowed[rows, columns] = scores[rows, columns]
        if len(free):
            allowed[free] = scores[free]
        return allowed


def prefix_allowed_tokens_fn(
    trie: Trie,
    tokens: TokenMap,
    *,
    prompt_length: int,
    end: int | None = None,
    filter: Filter | None = None,
) -> Callable[[int, torch.Tensor], list[int]]:
    """The function that `generate(prefix_allowed_tokens_fn=...)` takes: a call a row and step, so
    slower than `SemanticIdLogitsProcessor`, which allows the same."""

    def allowed(batch_id: int, input_ids: torch.Tensor) -> list[int]:
        sequences = input_ids.numpy(force=True)[None]
        _, columns, _ = trie.continuations(
            tokens, sequences, start=prompt_length, end=end, filter=filter
        )
        return [int(token) for token in columns]

    return allowed


@torch.inference_mode()
def generate_items(
    model: transformers.PreTrainedModel,
    inputs: Mapping[str, torch.Tensor],
    k: int = 10,
    *,
    trie: Trie,
    tokens: TokenMap,
    beams: int | Sequence[int] | None = None,
    normalizer: Normalizer = "full-vocab",
    length_penalty: float = 0.0,
    row_budget: int | None = None,
    filters: Sequence[Filter | None] | None = None,
) -> list[Outcome]:
    """The best `k` items of each prompt, by constrained beam search.

    `inputs` is what the tokenizer gives: `input_ids` `[B, S]` and, where prompts were padded,
    `attention_mask`. Each prompt is read once; its keys and values are shared by all beams, of
    which a step adds one position each. `beams` is `2 k` unless it is given, as one number or one a
    level. With "full-vocab" scores are those of `model.generate(num_beams=...)` with a trie
    callback and a length penalty of 0; with "level" and "valid-children" the head computes a
    level's rows only. A `row_budget` goes on until the answer is proven exact, or so many rows
    have been scored. `filters` has one entry a prompt.
    """
    prompts = len(inputs["input_ids"])
    if filters is not None and len(filters) != prompts:
        raise ValueError(f"got {len(filters)} filters, expected {prompts}, one a prompt")
    whole = normalizer in ("full-vocab", "semantic-id-vocab")
    search = BeamSearch(
        trie,
        tokens if whole else None,
        k=k,
        beams=beams if beams is None or isinstance(beams, int) else list(beams),
        normalizer=normalizer,
        length_penalty=length_penalty,
        row_budget=row_budget,
    )
    scorer = EncoderDecoder if model.config.is_encoder_decoder else TreeDecoder
    return search.run(scorer(model, inputs, trie, tokens, whole), filters or [None] * prompts)


def check_width(model: Any, tokens: TokenMap) -> None:
    """A normalizer sums over all logits, so the map must be for as many as there are."""
    width = model.get_output_embeddings().weight.shape[0]
    if width != tokens.vocabulary:
        raise ValueError(
            f"the model has {width} logits, but the token map is for a vocabulary of "
            f"{tokens.vocabulary}; extend the model's embeddings (extend_tokenizer), or make the "
            "map for all of its logits"
        )


def prompts_of(
    model: Any, inputs: Mapping[str, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token IDs and attention mask, both `[B, S]`, where the model is."""
    ids = inputs["input_ids"].to(model.device)
    mask = inputs.get("attention_mask")
    mask = torch.ones_like(ids) if mask is None else mask.to(model.device)
    if not bool(mask.any(1).all()):
        raise ValueError("a prompt is empty: its attention mask is 0 everywhere")
    return ids, mask


class Head:
    """Logits of hidden states: of the whole vocabulary, or of a level's codes only."""

    def __init__(self, model: Any, trie: Trie, tokens: TokenMap, whole: bool) -> None:
        self.of, self.whole = model.get_output_embeddings(), whole
        check_width(model, tokens)
        for name in ("final_logit_softcapping", "logit_scale", "logits_scaling"):
            if getattr(model.config.get_text_config(), name, None) not in (None, 1, 1.0):
                raise ValueError(f"the model rescales its logits ({name}), which is not supported")
        if not whole:
            self.columns = [
                torch.tensor([tokens.token(level, code) or 0 for code in range(size)])
                for level, size in enumerate(trie.index.sizes)
            ]

    def __call__(self, hidden: torch.Tensor, depths: Sequence[int]) -> torch.Tensor:
        """Logits `[rows, V]`, or `[rows, K]` of each row's level, of hidden states `[rows, D]`."""
        if self.whole:
            logits: torch.Tensor = self.of(hidden)
            return logits
        width = max(map(len, self.columns))
        logits = hidden.new_full((len(hidden), width), -torch.inf)
        for depth in sorted(set(depths)):
            rows = torch.tensor([row for row, own in enumerate(depths) if own == depth])
            columns = self.columns[depth].to(hidden.device)
            bias = None if self.of.bias is None else self.of.bias[columns]
            level = torch.nn.functional.linear(hidden[rows], self.of.weight[columns], bias)
            logits[rows, : level.shape[1]] = level
        return logits


class TreeDecoder:
    """Scores prefixes with a causal model.

    All prefixes of a prompt lie behind it in one sequence, as a tree: each token sees the prompt,
    its ancestors and itself. So nothing is copied when beams change, and a step is one pass over
    `[B, new tokens]`.
    """

    def __init__(
        self,
        model: Any,
        inputs: Mapping[str, torch.Tensor],
        trie: Trie,
        tokens: TokenMap,
        whole: bool,
    ) -> None:
        self.model, self.tokens = model, tokens
        self.head = Head(model, trie, tokens, whole)
        ids, mask = prompts_of(model, inputs)
        out = model.get_decoder()(
            input_ids=ids,
            attention_mask=mask,
            position_ids=(mask.cumsum(1) - 1).clamp(min=0),
            use_cache=True,
        )
        last = (mask * torch.arange(ids.shape[1], device=ids.device)).argmax(1)
        self.prompts = out.last_hidden_state[torch.arange(len(ids)), last]
        self.cache, self.mask, self.lengths = out.past_key_values, mask.bool(), mask.sum(1)
        #: Cache positions that a row sees, itself included, behind the prompt.
        self.paths: dict[int | None, list[int]] = {}
        self.filled = ids.shape[1]

    def __call__(self, step: Step) -> numpy.ndarray:
        depths = [len(prefix) for prefix in step.prefixes]
        hidden = self.prompts[step.requests]
        begun = [row for row, depth in enumerate(depths) if depth]
        if begun:
            hidden[begun] = self.extend(step, begun)
        return self.head(hidden, depths).float().numpy(force=True)

    def extend(self, step: Step, rows: Sequence[int]) -> torch.Tensor:
        """Hidden states `[rows, D]` of the last token of some prefixes."""
        requests = [step.requests[row] for row in rows]
        paths = [self.paths.get(step.parents[row], []) for row in rows]
        # As a rule one code a row; more where those before needed no model.
        new = [step.prefixes[row][len(path) :] for row, path in zip(rows, paths, strict=True)]
        widths = [0] * len(self.lengths)
        ends: list[int] = []
        for request, codes in zip(requests, new, strict=True):
            widths[request] += len(codes)
            ends.append(widths[request])
        shape = (len(widths), max(widths))
        ids = torch.zeros(shape, dtype=torch.long)
        depths = torch.zeros(shape, dtype=torch.long)
        seen = torch.zeros((*shape, self.filled + shape[1]), dtype=torch.bool)
        seen[:, :, : self.mask.shape[1]] = self.mask[:, None].cpu()
        for row, request, path, codes, end in zip(rows, requests, paths, new, ends, strict=True):
            for place, code in enumerate(codes, end - len(codes)):
                depth = len(path)
                path = [*path, self.filled + place]
                seen[request, place, path] = True
                ids[request, place] = self.tokens.token(depth, code) or 0
                depths[request, place] = depth
            self.paths[step.ids[row]] = path
        device, dtype = self.model.device, self.model.dtype
        mask = torch.zeros(seen.shape, dtype=dtype, device=device)
        mask.masked_fill_(~seen.to(device), torch.finfo(dtype).min)
        out = self.model.get_decoder()(
            input_ids=ids.to(device),
            attention_mask=mask[:, None],
            position_ids=self.lengths[:, None] + depths.to(device),
            past_key_values=self.cache,
            use_cache=True,
        )
        self.filled += shape[1]
        hidden: torch.Tensor = out.last_hidden_state
        return hidden[requests, [end - 1 for end in ends]]


class EncoderDecoder:
    """Scores prefixes with an encoder-decoder model: a prompt is encoded once, and the few tokens
    of each prefix are decoded anew."""

    def __init__(
        self,
        model: Any,
        inputs: Mapping[str, torch.Tensor],
        trie: Trie,
        tokens: TokenMap,
        whole: bool,
    ) -> None:
        if not whole:
            raise ValueError('encoder-decoder models take the normalizer "full-vocab"')
        check_width(model, tokens)
        self.model, self.tokens = model, tokens
        ids, self.mask = prompts_of(model, inputs)
        encoder = model.get_encoder()
        self.states = encoder(input_ids=ids, attention_mask=self.mask).last_hidden_state

    def __call__(self, step: Step) -> numpy.ndarray:
        logits = numpy.empty((len(step), self.tokens.vocabulary), dtype=numpy.float32)
        for depth in sorted({len(prefix) for prefix in step.prefixes}):
            rows = [row for row, prefix in enumerate(step.prefixes) if len(prefix) == depth]
            requests = [step.requests[row] for row in rows]
            start = self.model.config.decoder_start_token_id
            spelled = [
                [start, *map(self.tokens.token, range(depth), step.prefixes[row])]
                for row in rows
            ]
            out = self.model(
                encoder_outputs=(self.states[requests],),
                attention_mask=self.mask[requests],
                decoder_input_ids=torch.tensor(spelled, device=self.model.device),
                use_cache=False,
            )
            own = out.logits[:, -1].float()
            logits[rows] = own.numpy(force=True)
        return logits


def extend_tokenizer(
    tokenizer: transformers.PreTrainedTokenizerBase,
    model: Any,
    index: Index,
    encoder: Encoder | None = None,
) -> TokenMap:
    """Adds a token for each code of each level, used or not, and makes room in the model.

    New embeddings are the mean of the old ones (a draw around it, as transformers does). With the
    `encoder` of the index they lie around that mean as the centroids of its codebooks lie around
    theirs, as far away as the old ones do on average: codes for similar items begin similar. Tied
    heads stay tied. Returns the map from codes to tokens. A second call adds nothing.

    Tune the new rows too: with LoRA, by `modules_to_save`.
    """
    names = [index.tokens(level) for level in range(index.levels)]
    known = len(tokenizer)
    added = tokenizer.add_tokens([name for level in names for name in level])
    if model.get_input_embeddings().weight.shape[0] < len(tokenizer):
        model.resize_token_embeddings(len(tokenizer))
    if encoder is not None and added:
        if encoder.sizes != index.sizes:
            raise ValueError(f"got codebooks of {encoder.sizes} codes, expected {index.sizes}")
        for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
            lay_as_centroids(embeddings.weight, known, tokenizer, names, encoder)
    vocabulary = model.get_output_embeddings().weight.shape[0]
    tables = [[token(tokenizer, name) for name in level] for level in names]
    return TokenMap.table(index, tables, vocabulary)


def modules_to_save(model: Any) -> list[str]:
    """The modules that LoRA must tune whole, as new codes have their rows there: the embeddings
    and, unless it is tied to them, the head.

    They are for `peft.LoraConfig(modules_to_save=..., ensure_weight_tying=True)`.
    """
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    whole = [embeddings] if head.weight is embeddings.weight else [embeddings, head]
    names = {id(module): name for name, module in model.named_modules()}
    return [names[id(module)].rpartition(".")[2] for module in whole]


@torch.no_grad()
def lay_as_centroids(
    weight: torch.Tensor,
    known: int,
    tokenizer: transformers.PreTrainedTokenizerBase,
    names: list[list[str]],
    encoder: Encoder,
) -> None:
    """Sets the rows of all codes; the first `known` rows are the words that were there before."""
    words = weight[:known].float()
    mean = words.mean(0)
    spread = (words - mean).square().mean().sqrt()
    for level, codebook in zip(names, encoder.codebooks(), strict=True):
        centroids = torch.from_numpy(codebook)
        # A random projection keeps distances (Johnson and Lindenstrauss), the same one for all.
        generator = torch.Generator().manual_seed(0)
        projection = torch.randn(centroids.shape[1], weight.shape[1], generator=generator)
        around = (centroids - centroids.mean(0)) @ projection
        around *= spread.cpu() / around.square().mean().sqrt().clamp(min=1e-12)
        rows = [token(tokenizer, name) for name in level]
        weight[rows] = (mean + around.to(mean.device)).to(weight.dtype)


def token(tokenizer: transformers.PreTrainedTokenizerBase, name: str) -> int:
    found = tokenizer.encode(name, add_special_tokens=False)
    if len(found) != 1:
        raise ValueError(f"the tokenizer splits {name!r} into {found}; expected one token a code")
    return int(found[0])
