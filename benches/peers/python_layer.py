"""What Python costs: calls of the wheel beside the same work from Rust, and beside torch's own."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
from collections.abc import Iterator

import numpy

import catalogue
from contestant import Answer, Contestant
from indexing import Catalogue, run

THREADS, ROUNDS = 2, 3
ROWS = catalogue.REQUESTS * 50


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row a measure: ours, theirs, in one unit."""
    items = 2_000 if quick else 1_000_000
    with tempfile.TemporaryDirectory() as scratch, contextlib.closing(
        Contestant("layer.py", THREADS, items=items, rows=ROWS)
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
        yield masks(racer, semid, pathlib.Path(scratch, "index.safetensors"))
        yield from encoding(racer, semid, pathlib.Path(scratch), quick)


def masks(racer: Contestant, semid: pathlib.Path, index: pathlib.Path) -> Answer:
    """`Trie.fill_masks` in turn with the same in Rust, examples/masks.rs of trie-decode."""
    rust = [semid.parent / "examples" / "masks", index, ROWS, catalogue.VOCABULARY]
    command, threads = list(map(str, rust)), {"RAYON_NUM_THREADS": str(THREADS)}
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(racer.ask(measure="masks", path=str(index))["milliseconds"])
        told = subprocess.run(command, check=True, capture_output=True, env=os.environ | threads)
        theirs.append(json.loads(told.stdout))
    median = lambda times: statistics.median(map(statistics.mean, times))
    row = {"what": f"`Trie.fill_masks`, {ROWS} rows", "beside": "in Rust", "unit": "ms"}
    return row | {"ours": median(ours), "theirs": median(theirs)}


def encoding(
    racer: Contestant, semid: pathlib.Path, folder: pathlib.Path, quick: bool
) -> Iterator[Answer]:
    """The wheel in turn with `semid index`, which tells the seconds of both parts."""
    data, model = Catalogue(folder, quick).embeddings, folder / "model"
    run(semid, "train", data, "--preset", "rk-means", "--out", model)
    index = ["index", data, "--model", model, "--out", folder / "index"]
    ours: list[list[float]] = []
    theirs: list[list[float]] = []
    for _ in range(ROUNDS):
        told = racer.ask(measure="encode", model=str(model), embeddings=str(data))
        rust = run(semid, *index)
        ours.append([told["encode"], told["assign"]])
        theirs.append([rust["seconds_encode"], rust["seconds_encode"] + rust["seconds_assign"]])
    items = f"{len(numpy.load(data, mmap_mode='r')):,} items"
    for part, what in enumerate([f"`Encoder.encode`, {items}", f"`assign`, {items}"]):
        median = lambda times: 1e3 * statistics.median(time[part] for time in times)
        row = {"what": what, "beside": "`semid index`", "unit": "ms"}
        yield row | {"ours": median(ours), "theirs": median(theirs)}
