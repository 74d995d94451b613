"""Rewards for training by reinforcement, in the signature of TRL.

>>> import numpy, semid
>>> codes = numpy.array([[1, 7, 0], [1, 2, 3]], dtype=numpy.uint16)
>>> index = semid.Index.build(["lamp", "shade"], codes, sizes=[8, 8, 8])
>>> reward = reward_function(index, "prefix")
>>> completions = ["<a_1><b_7><c_0>", "<a_1><b_2><c_3>", "a lamp"]
>>> reward(prompts=["buy"] * 3, completions=completions, answer=["<a_1><b_2><c_3>"] * 3)
[0.5, 1.0, 0.0]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any, Literal

from ._semid import Index, reward

__all__ = ["Name", "reward_function"]

Name = Literal["rule", "prefix", "rank-penalty", "rank-hit", "rank-dcg", "format"]


def reward_function(
    index: Index,
    name: Name = "rule",
    *,
    column: str = "answer",
    reasoned: bool = False,
    rungs: Sequence[float] | None = None,
    exact: float = 1.0,
) -> Callable[..., list[float]]:
    """A reward function for TRL's `GRPOTrainer` and its like.

    The data set's `column` holds the true ID as text, or a list of true ones. Answers of equal
    prompts in a row are one group, whose order is its ranking. "rule" gives 1 for a true ID,
    "prefix" `rungs[d - 1]` for `d` codes that agree (GREAM's .5, .707, .866, .95) and `exact` for
    all, "rank-penalty" a penalty to each miss of a group with a hit (ReRe's), "rank-hit" and
    "rank-dcg" rewards to the places of a list (Rank-GRPO's), "format" 1 for any ID. With `reasoned`
    an answer is `<think>...</think><answer>ID</answer>`.
    """

    def rewards(
        prompts: Sequence[Any], completions: Sequence[Any], **columns: Any
    ) -> list[float]:
        if column not in columns:
            raise KeyError(f"the data set has no column {column!r}, expected the true IDs there")
        given = zip(prompts, completions, columns[column], strict=True)
        scored: list[float] = []
        for _, rows in groupby(given, key=lambda row: row[0]):
            group = list(rows)
            truths = group[0][2]
            scored += reward(
                index,
                name,
                [text_of(completion) for _, completion, _ in group],
                [truths] if isinstance(truths, str) else list(truths),
                reasoned=reasoned,
                rungs=None if rungs is None else list(rungs),
                exact=exact,
            )
        return scored

    rewards.__name__ = f"semid_{name.replace('-', '_')}"
    return rewards


def text_of(completion: Any) -> str:
    """A completion is a text, or the messages of a conversation."""
    return str(completion if isinstance(completion, str) else completion[-1]["content"])
