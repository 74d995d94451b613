"""Metrics of recommended lists, item by item.

>>> evaluate([[3, 1, 2], [-1, 5, 0]], [[1], [0]], cutoffs=[1, 3])["hr@3"]
1.0
"""

from __future__ import annotations

from collections.abc import Sequence

from ._semid import held_out_gain, scores

__all__ = ["evaluate", "held_out_gain", "scores"]


def evaluate(
    lists: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    *,
    cutoffs: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Mean HR, NDCG and MRR at each cutoff, recall too where a user has several true items, and the
    ceiling that no better order could exceed. `lists` are rows of items, best first, a negative one
    for what is no item; `targets` the true rows of each user."""
    names, values = scores(lists, targets, cutoffs)
    return dict(zip(names, values.mean(0).tolist(), strict=True)) if len(values) else {}
