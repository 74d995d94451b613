"""The catalogue and the logits of the race, random by seed: the same in every process."""

from __future__ import annotations

import numpy

LEVELS, CODES, VOCABULARY, REQUESTS = 4, 256, 33_024, 8
#: The token of code 0 of each level: the codes are the last tokens of the vocabulary.
FIRSTS = [VOCABULARY - (LEVELS - level) * CODES for level in range(LEVELS)]
#: Logits that steps read in turn, so that none is in a cache that the last one left.
READY = 1 << 26


def codes(items: int) -> numpy.ndarray:
    """Distinct random IDs, `[N, L]`, sorted."""
    random = numpy.random.default_rng(0)
    packed = numpy.unique(random.integers(0, CODES**LEVELS, items + items // 8 + 64))
    packed = numpy.sort(random.choice(packed, items, replace=False))
    return (packed[:, None] >> 8 * numpy.arange(LEVELS)[::-1] & 255).astype(numpy.uint16)


def tokens(codes: numpy.ndarray) -> numpy.ndarray:
    """The tokens of IDs, `[N, L]`."""
    return codes.astype(numpy.int64) + FIRSTS


def logits() -> numpy.ndarray:
    """`READY` of them, distributed as those of `semid bench decode`."""
    random = numpy.random.default_rng(1)
    return -8 * (random.random(READY, numpy.float32) + random.random(READY, numpy.float32))
