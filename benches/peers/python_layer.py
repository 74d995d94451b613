"""What Python costs: calls of the wheel beside the same work from Rust, and beside torch's own."""

from __future__ import annotations

import contextlib
import pathlib
import statistics
import tempfile
from collections.abc import Iterator

import numpy

from contestant import Answer, Contestant
from indexing import Catalogue, run

THREADS, ROUNDS = 2, 3


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row a measure: ours, theirs, in one unit."""
    items = 2_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(
        Contestant("layer.py", THREADS, items=items)
    ) as racer:
        calls = racer.ask(measure="children")["microseconds"]
        yield {"what": "a call of `Trie.children`", "unit": "us", "ours": calls}
        for measure, what, beside in [
            ("processor", "`SemanticIdLogitsProcessor`", "adding a mask that is ready"),
            ("step", "a step of `semid.torch`", "a transition matrix"),
        ]:
            for level in (1, 2, 3):
                told = racer.ask(measure=measure, level=level)
                row = {"what": f"{what}, level {level}", "beside": beside, "unit": "ms"}
                yield row | {key: told[key] for key in ("ours", "theirs")}
        yield from encoding(racer, semid, pathlib.Path(scratch), quick)


def encoding(
    racer: Contestant, semid: pathlib.Path, folder: pathlib.Path, quick: bool
) -> Iterator[Answer]:
    """The wheel in turn with `semid index`, which tells the seconds of both parts."""
    catalogue, model = Catalogue(folder, quick), folder / "model"
    run(semid, "train", catalogue.embeddings, "--preset", "rk-means", "--out", model)
    index = ["index", catalogue.embeddings, "--model", model, "--out", folder / "index"]
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(ROUNDS):
        told = racer.ask(measure="encode", model=str(model), embeddings=str(catalogue.embeddings))
        rust = run(semid, *index)
        ours.append([told["encode"], told["assign"]])
        theirs.append([rust["seconds_encode"], rust["seconds_encode"] + rust["seconds_assign"]])
    items = f"{len(numpy.load(catalogue.embeddings, mmap_mode='r')):,} items"
    for part, what in enumerate([f"`Encoder.encode`, {items}", f"`assign`, {items}"]):
        median = lambda times: 1e3 * statistics.median(time[part] for time in times)
        row = {"what": what, "beside": "`semid index`", "unit": "ms"}
        yield row | {"ours": median(ours), "theirs": median(theirs)}
