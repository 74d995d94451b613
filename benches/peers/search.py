"""A beam search by any decoder: what asks it, what times it, and what it must find."""

from __future__ import annotations

import heapq
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy
import torch

from catalogue import FIRSTS, LEVELS, VOCABULARY

Prefixes = Callable[[], Sequence[Sequence[int]]]
#: The items found for each request, as codes, and their scores, both best first.
Found = tuple[list[list[tuple[int, ...]]], list[list[float]]]


class Model(Protocol):
    def __call__(self, rows: int, prefixes: Prefixes) -> numpy.ndarray:
        """Logits `[rows, V]`; the rows of a request follow one another."""


class Decoder(Protocol):
    def search(
        self, model: Model, requests: int, beams: int, normalized: bool
    ) -> Callable[[], Found]:
        """Asks the model once a level. Its logits may be `normalized`: log-probabilities. What was
        found is spelled when it is asked for, which is not timed."""


class Stopwatch:
    """Gives ready logits, and notes the time between its calls: that of a step."""

    def __init__(self, logits: numpy.ndarray) -> None:
        self.logits, self.at, self.left = logits, 0, 0.0
        self.times: list[float] = []

    def __call__(self, rows: int, prefixes: Prefixes) -> numpy.ndarray:
        self.times.append(time.perf_counter() - self.left)
        if self.at + rows * VOCABULARY > len(self.logits):
            self.at = 0
        ready = self.logits[self.at :][: rows * VOCABULARY].reshape(rows, VOCABULARY)
        self.at += ready.size
        self.left = time.perf_counter()
        return ready

    def step(self, search: Callable[[Stopwatch], Any]) -> float:
        """Milliseconds a step, the mean over the levels after the first."""
        self.times = []
        search(self)
        self.times.append(time.perf_counter() - self.left)
        return 1e3 * statistics.mean(self.times[2:])


class Lookup:
    """Gives each prefix of each request logits of its own, in whatever order beams stand."""

    def __init__(self, logits: numpy.ndarray, requests: int) -> None:
        rows = len(logits) // VOCABULARY
        self.pool = logits[: rows * VOCABULARY].reshape(rows, VOCABULARY)
        self.requests = requests

    def __call__(self, rows: int, prefixes: Prefixes) -> numpy.ndarray:
        named = enumerate(prefixes())
        keys = [hash((row * self.requests // rows, *map(int, prefix))) for row, prefix in named]
        return self.pool[numpy.array(keys) % len(self.pool)]


def brute_force(codes: numpy.ndarray, model: Model, requests: int, beams: int) -> Found:
    """All children of all beams, scored in double precision."""
    best: list[list[tuple[float, tuple[int, ...]]]] = [[(0.0, ())] for _ in range(requests)]
    for level, first in enumerate(FIRSTS):
        prefixes = [prefix for request in best for _, prefix in request]
        logits = model(len(prefixes), lambda: prefixes).astype(numpy.float64)
        rows = iter(logits - numpy.log(numpy.exp(logits).sum(1, keepdims=True)))
        for request, kept in enumerate(best):
            candidates = []
            for (score, prefix), row in zip(kept, rows):
                below = codes[(codes[:, :level] == prefix).all(1), level]
                for code in numpy.unique(below).tolist():
                    candidates.append((score + row[first + code], (*prefix, code)))
            best[request] = heapq.nlargest(beams, candidates)
    items = [[item for _, item in kept] for kept in best]
    return items, [[score for score, _ in kept] for kept in best]


def compare(found: Found, truth: Found) -> dict[str, Any]:
    """The share of the true items that were found, and whether their scores are right."""
    known = [set(items) for items in truth[0]]
    hits = sum(len(known & set(items)) for known, items in zip(known, found[0], strict=True))
    share = hits / sum(map(len, known))
    same = share == 1 and numpy.allclose(found[1], truth[1], rtol=0, atol=1e-3)
    return {"found": share, "exact": bool(same)}


class StepDecoder:
    """A decoder that is asked level by level for the next beams, as a server's loop does."""

    def begin(self, requests: int, beams: int) -> None:
        """Forgets the last search."""

    def step(
        self, level: int, log_softmax: torch.Tensor, scores: torch.Tensor, beams: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Scores, tokens and parents of the next beams, `[B, M]`, of log-probabilities
        `[B, m, V]` and scores `[B, m]`."""
        raise NotImplementedError

    def search(
        self, model: Model, requests: int, beams: int, normalized: bool
    ) -> Callable[[], Found]:
        scores = torch.zeros(requests, 1)
        steps: list[list[torch.Tensor]] = []
        codes = lambda: spelled(requests, steps)
        self.begin(requests, beams)
        for level in range(LEVELS):
            logits = torch.from_numpy(model(scores.numel(), lambda: codes().flatten(0, 1).tolist()))
            log_softmax = logits if normalized else logits.log_softmax(-1)
            scores, *step = self.step(level, log_softmax.view(*scores.shape, -1), scores, beams)
            steps.append(step)
        return lambda: ([list(map(tuple, items)) for items in codes().tolist()], scores.tolist())


def spelled(requests: int, steps: list[list[torch.Tensor]]) -> torch.Tensor:
    """The codes of all beams, `[B, M, level]`."""
    codes = torch.empty(requests, 1, 0, dtype=torch.long)
    for first, (tokens, parents) in zip(FIRSTS, steps):
        kept = codes.gather(1, parents[..., None].expand(-1, -1, codes.shape[-1]))
        codes = torch.cat([kept, tokens[..., None] - first], -1)
    return codes
