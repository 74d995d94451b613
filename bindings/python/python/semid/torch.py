"""The trie as tensors on a device, and a step of beam search in torch operations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import safetensors.torch
import torch

from . import Index, TokenMap

__all__ = ["Beams", "DeviceTrie"]


class Beams(NamedTuple):
    """The best prefixes of each request after a step, best first, all `[B, M]`."""

    #: Their scores, float32; -inf where fewer prefixes can be.
    scores: torch.Tensor
    #: The token that each ends with.
    tokens: torch.Tensor
    #: The beam that each continues, for the key-value cache.
    parents: torch.Tensor
    #: Its node, to be given to the next step; -1 where there is none.
    state: torch.Tensor


class DeviceTrie(torch.nn.Module):
    """The trie of an index, as buffers: `.to(device)` moves them.

    A step has fixed shapes and never waits for the device, so that it can be compiled, a graph a level
    (`torch.compile(trie.step, dynamic=False)`), and captured.
    It takes `O(V)` a row for the normalizer and a gather a child. Ties are broken as
    `torch.topk` breaks them. IDs must be of one length and not shared.
    """

    alive: torch.Tensor
    all_counts: torch.Tensor
    item_to_rank: torch.Tensor
    rank_to_item: torch.Tensor

    def __init__(self, index: Index, tokens: TokenMap) -> None:
        super().__init__()
        self.levels = index.levels
        file = safetensors.torch.load(index.to_bytes())
        if "rank_offset" in file:
            raise ValueError("items share IDs in this index, which has no form on a device")
        items = len(file["rank_to_item"])
        #: The most children of a node of each level.
        self.branches: list[int] = []
        first_rank = torch.arange(items + 1)
        for level in reversed(range(self.levels)):
            codes = file[f"level.{level}.code"].long()
            if int(codes.max()) >= index.sizes[level]:
                raise ValueError("IDs of this index differ in length, which has no form on a device")
            table = [tokens.token(level, code) for code in range(index.sizes[level])]
            spelled = torch.tensor([-1 if token is None else token for token in table])[codes]
            if bool((spelled < 0).any()):
                raise ValueError(f"the token map has no token for some codes of level {level}")
            if level + 1 < self.levels:
                first_rank = first_rank[self.offsets(level + 1)]
            ends = file[f"level.{level - 1}.first_child"].long() if level else [0, len(codes)]
            self.register_buffer(f"token_{level}", spelled)
            self.register_buffer(f"first_child_{level}", torch.as_tensor(ends))
            self.register_buffer(f"first_rank_{level}", first_rank)
            self.branches.insert(0, int(self.offsets(level).diff().max()))
        alive = torch.ones(items, dtype=torch.bool)
        if "alive" in file:
            bits = file["alive"][:, None].int() >> torch.arange(8) & 1
            alive = bits.flatten()[:items].bool()
        self.has_removed = not bool(alive.all())
        self.register_buffer("alive", alive)
        self.register_buffer("all_counts", torch.nn.functional.pad(alive.cumsum(0), (1, 0)))
        self.register_buffer("item_to_rank", file["item_to_rank"].long())
        self.register_buffer("rank_to_item", file["rank_to_item"].long())

    def offsets(self, level: int) -> torch.Tensor:
        """Where the children, at this level, of each node of the level above begin, `[n + 1]`."""
        return self.get_buffer(f"first_child_{level}")

    def root(self, requests: int) -> torch.Tensor:
        """The state before the first step, `[B, 1]`."""
        return self.alive.new_zeros((requests, 1), dtype=torch.long)

    def allow(self, items: Sequence[Sequence[int] | None]) -> torch.Tensor:
        """A filter for each request, `[B, N + 1]`: only these rows of the index; None for all."""
        return self.counts(items, allowed=True)

    def deny(self, items: Sequence[Sequence[int]]) -> torch.Tensor:
        """A filter for each request, `[B, N + 1]`: all rows but these."""
        return self.counts(items, allowed=False)

    def counts(self, items: Sequence[Sequence[int] | None], allowed: bool) -> torch.Tensor:
        """How many items are allowed below each rank."""
        kept = self.alive.repeat(len(items), 1)
        for row, named in zip(kept, items, strict=True):
            if named is not None:
                ranks = self.item_to_rank[torch.as_tensor(named, device=row.device).long()]
                chosen = torch.zeros_like(row).index_fill_(0, ranks, True)
                row &= chosen if allowed else ~chosen
        return torch.nn.functional.pad(kept.cumsum(1), (1, 0))

    def step(
        self,
        level: int,
        logits: torch.Tensor,
        state: torch.Tensor,
        scores: torch.Tensor,
        beams: int,
        counts: torch.Tensor | None = None,
    ) -> Beams:
        """The best `beams` continuations of each request.

        `logits` `[B, M, V]` follow the prefixes `state` `[B, M]` of `level` codes, whose `scores`
        are `[B, M]`. A score is the sum of log-softmax values over all tokens. `counts` is a
        filter, `[B, N + 1]`; without it removed items are left out.
        """
        tokens, offsets = self.get_buffer(f"token_{level}"), self.offsets(level)
        parent = state.clamp(min=0)
        child = torch.arange(self.branches[level], device=state.device)
        node = offsets[parent][..., None] + child
        real = (node < offsets[parent + 1][..., None]) & (state >= 0)[..., None]
        node = node.clamp(max=len(tokens) - 1)
        if counts is not None or self.has_removed:
            real &= self.possible(level, node, counts)

        token = tokens[node]
        # Faster than a gather and a logsumexp, which torch computes in several passes.
        log_softmax = logits.float().log_softmax(-1).gather(-1, token)
        total = (scores[..., None] + log_softmax).masked_fill(~real, -torch.inf).flatten(1)
        missing = max(0, beams - total.shape[1])
        best, at = torch.nn.functional.pad(total, (0, missing), value=-torch.inf).topk(beams)
        at = at.clamp(max=total.shape[1] - 1)
        return Beams(
            scores=best,
            tokens=token.flatten(1).gather(1, at),
            parents=at // len(child),
            state=node.flatten(1).gather(1, at).masked_fill(best == -torch.inf, -1),
        )

    def possible(
        self, level: int, node: torch.Tensor, counts: torch.Tensor | None
    ) -> torch.Tensor:
        """Whether an allowed item lies below each node `[B, M, C]`."""
        ranks = self.get_buffer(f"first_rank_{level}")
        if counts is None:
            counts = self.all_counts.expand(len(node), -1)
        below = ranks[torch.stack((node, node + 1))].flatten(2)
        first, end = counts.gather(1, below[0]), counts.gather(1, below[1])
        return (end > first).view(node.shape)

    def items(self, state: torch.Tensor) -> torch.Tensor:
        """The rows of the items of complete IDs, -1 where there is none."""
        return self.rank_to_item[state.clamp(min=0)].masked_fill(state < 0, -1)
