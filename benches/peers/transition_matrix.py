"""The method of STATIC (arXiv 2602.22647), written from its description: the trie as a sparse
matrix of transitions, in compressed sparse rows, and a step by operations on whole tensors."""

from __future__ import annotations

import numpy
import torch

from catalogue import FIRSTS, LEVELS
from search import StepDecoder


class Transitions(StepDecoder):
    """The rows of a level are read as wide as the widest of them. States are numbered level by
    level, so that an edge leads to the state after its own number, which need not be stored."""

    def __init__(self, codes: numpy.ndarray) -> None:
        packed = numpy.sort(codes.astype(numpy.int64) @ (1 << 8 * numpy.arange(LEVELS)[::-1]))
        tokens, rows, self.branches, self.states = [], [], [], [0]
        for level, first in enumerate(FIRSTS):
            prefixes = numpy.unique(packed >> 8 * (LEVELS - 1 - level))
            tokens.append(first + (prefixes & 255))
            rows.append(numpy.unique(prefixes >> 8, return_counts=True)[1])
            self.branches.append(int(rows[-1].max()))
            self.states.append(self.states[-1] + len(rows[-1]))
        ends = numpy.cumsum(numpy.concatenate([[0], *rows]))
        self.tokens = torch.from_numpy(numpy.concatenate(tokens).astype(numpy.int32))
        self.ends = torch.from_numpy(ends.astype(numpy.int32))

    def begin(self, requests: int, beams: int) -> None:
        self.state = torch.zeros(requests, 1, dtype=torch.long)

    def step(self, level, log_softmax, scores, beams):
        child = torch.arange(self.branches[level])
        edge = self.ends[self.state][..., None] + child
        real = edge < self.ends[self.state + 1][..., None]
        edge = edge.clamp(max=len(self.tokens) - 1)
        token = self.tokens[edge].long()
        total = scores[..., None] + log_softmax.gather(-1, token).masked_fill(~real, -torch.inf)
        best, at = total.flatten(1).topk(beams)
        self.state = edge.flatten(1).gather(1, at) + 1
        return best, token.flatten(1).gather(1, at), at // len(child)
