"""Corpora that teach a model what the IDs mean, made of a recipe.

docs/recipes.md has every table and key of recipes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Literal

from . import _semid
from .quality import Path

__all__ = ["Corpus", "build"]

Part = Literal["train", "valid", "test"]


def build(recipe: Path, out: Path | None = None, *, seed: int | None = None) -> dict[str, Any]:
    """Builds a corpus as `semid tasks build` does: the same bytes. Returns what was made.

    Without `out` all rows are made and none is written. A build that was stopped, by Ctrl-C or a
    kill, goes on where it was when it is called again.
    """
    report: dict[str, Any] = json.loads(_semid.build_corpus(recipe, out, seed=seed))
    return report


class Corpus:
    """The rows of one part of a corpus, made when they are asked for and never written.

    They are those of the shards that `build` writes, in their order. Any of them can be made
    alone, so that workers may share the places, `range(len(corpus))`, as they like. A place has no
    row where a sample lacks what its task needs, and several rows where a format has one a pair.
    """

    def __init__(self, recipe: Path, part: Part = "train", *, seed: int | None = None) -> None:
        self.opened = os.path.abspath(recipe), part, seed
        self.made = _semid.RecipeRows(*self.opened)

    def __reduce__(self) -> tuple[Any, ...]:
        recipe, part, seed = self.opened
        return reopened, (recipe, part, seed)

    def __len__(self) -> int:
        """Places of rows."""
        return len(self.made)

    def rows(self, first: int, end: int) -> list[dict[str, Any]]:
        """The rows at the places `first` to `end`, without the latter."""
        return [json.loads(line) for line in self.made.lines(first, end).splitlines()]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All rows, made some thousands at a time."""
        places, some = len(self), 8192
        for first in range(0, places, some):
            yield from self.rows(first, min(first + some, places))


def reopened(recipe: str, part: Part, seed: int | None) -> Corpus:
    return Corpus(recipe, part, seed=seed)
