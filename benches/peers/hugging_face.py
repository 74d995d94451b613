"""`semid.hf.generate_items` beside `generate` of transformers with a trie callback.

Each way runs in a process of its own, so that its peak is its own: that of the whole process, with
the libraries and the model.
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from contestant import Answer, Contestant

THREADS = 2
WAYS = {
    "generate": "`generate` with a dict trie as `prefix_allowed_tokens_fn`",
    "full-vocab": "`semid.hf.generate_items`",
    "level": '`semid.hf.generate_items`, normalizer "level"',
    "rust": "semid-recommender's `Generator`, without Python",
    "prefill": "reading the prompts once, the least there is to do",
}


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row a way: seconds, megabytes, and whether items and scores are those of `generate`."""
    shape = {"items": 100_000, "beams": 20, "prompts": 4, "length": 256, "layers": 30}
    if quick:
        shape = {"items": 1_000, "beams": 10, "prompts": 2, "length": 16, "layers": 2}
    truth: Answer = {}
    for way, name in WAYS.items():
        with contextlib.closing(Contestant("generation.py", THREADS, way=way, **shape)) as racer:
            told = racer.ask()
        truth = truth or told
        row = {"contestant": name, "seconds": told["seconds"], **shape}
        row["peak"] = told.get("own_peak", told["peak"])
        if way in ("full-vocab", "rust"):
            pairs = zip(told["scores"], truth["scores"], strict=True)
            row["score_difference"] = max(abs(ours - theirs) for ours, theirs in pairs)
            row["exact"] = told["found"] == truth["found"]
        yield row
