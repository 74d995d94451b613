"""Masks of allowed tokens: grammar engines at the sizes that they take, on one thread."""

from __future__ import annotations

import contextlib
import pathlib
import statistics
from collections.abc import Iterator

from contestant import Answer, Contestant, Refused

ENGINES = ["semid", "xgrammar", "llguidance", "outlines-core"]
#: Rounds of filling, and the seconds that a grammar may take to compile.
ROUNDS, LIMIT = 5, 60


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row an engine and catalogue: milliseconds to fill the masks of all rows, microseconds to
    follow one beam to its next level; or why it refused."""
    for items in [200] if quick else [1_000, 10_000, 100_000]:
        for engine in ENGINES:
            row = {"contestant": engine, "items": items}
            try:
                yield row | run(engine, items)
            except Refused as reason:
                yield row | {"refused": str(reason)}


def run(engine: str, items: int) -> Answer:
    racer = Contestant("grammars.py", threads=1, build_limit=LIMIT, engine=engine, items=items)
    with contextlib.closing(racer):
        rounds = [racer.ask() for _ in range(1 + ROUNDS)]
    return {
        "build_seconds": racer.built["seconds"],
        "grown": rounds[-1]["grown"],
        "exact": all(told["exact"] for told in rounds),
        **{key: statistics.median(told[key] for told in rounds[1:]) for key in ("fill", "move")},
    }
