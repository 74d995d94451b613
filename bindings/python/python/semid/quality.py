"""How good an index is."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

from . import _semid

__all__ = ["check"]

Path = str | os.PathLike[str]


def check(
    index: Path,
    *,
    embeddings: Path | None = None,
    keys: Path | None = None,
    model: Path | None = None,
    interactions: Path | None = None,
    items: Path | None = None,
    report: Path | None = None,
    gate: Sequence[str] = (),
    gates: Path | None = None,
    without: Sequence[str] = (),
    seed: int = 0,
) -> dict[str, Any]:
    """Tells how good an index is, as `semid check --json` does; `semid check --help` is its manual.

    The files are those of the command's options. `gate` has limits as
    "levels_stats.0.perplexity>=128"; `["ok"]` tells whether all hold. `report` names an HTML page
    to write.
    """
    told: dict[str, Any] = json.loads(
        _semid.check(
            index,
            embeddings=embeddings,
            keys=keys,
            model=model,
            interactions=interactions,
            items=items,
            report=report,
            gate=gate,
            gates=gates,
            without=without,
            seed=seed,
        )
    )
    return told
