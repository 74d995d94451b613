"""`prefix_allowed_tokens_fn` of `generate`, as people write it."""

from __future__ import annotations

from collections.abc import Callable

import marisa_trie
import numpy
import torch

Allowed = Callable[[int, torch.Tensor], list[int]]


def dict_trie(tokens: numpy.ndarray, prompt: int) -> Allowed:
    """A dict of dicts over IDs of tokens `[N, L]`, which come after a prompt of so many."""
    root: dict = {}
    for path in tokens.tolist():
        node = root
        for token in path:
            node = node.setdefault(token, {})

    def allowed(batch_id: int, input_ids: torch.Tensor) -> list[int]:
        node = root
        for token in input_ids[prompt:].tolist():
            node = node.get(token, {})
        return list(node) or [0]

    return allowed


def marisa(tokens: numpy.ndarray, prompt: int) -> Allowed:
    """GENRE's way (De Cao et al., arXiv 2010.00904): a character a token, the completions of a
    prefix listed; those of the empty one only once."""
    spell = lambda path: "".join(map(chr, path))
    trie = marisa_trie.Trie(map(spell, tokens.tolist()))
    first = numpy.unique(tokens[:, 0]).tolist()

    def allowed(batch_id: int, input_ids: torch.Tensor) -> list[int]:
        prefix = spell(input_ids[prompt:].tolist())
        if not prefix:
            return first
        return list({ord(key[len(prefix)]) for key in trie.keys(prefix)})

    return allowed
