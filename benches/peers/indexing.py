"""Indexing: semantic IDs of one catalogue by each tool, and `semid check` of them all."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Iterator
from typing import Any

from contestant import Answer, Contestant, Refused

import numpy

#: Threads, and the seconds that a rival may take.
THREADS, LIMIT = 2, 300
#: Name in `quantizers.py`, and in the tables.
QUANTIZERS = {
    "faiss": "`faiss-cpu` ResidualQuantizer",
    "vq": "`vector-quantize-pytorch` ResidualVQ",
    "semantic-id": "`semantic-id` RQKMeans",
    "lc-rec": "LC-Rec's RQ-VAE in PyTorch",
}
PRESETS = ["rk-means", "default", "lc-rec"]


class Catalogue:
    """Embeddings, and who did what if that is known."""

    def __init__(self, folder: pathlib.Path, quick: bool) -> None:
        data = os.environ.get("SEMID_DATA")
        self.name, self.interactions = "generated", None
        self.embeddings = folder / "embeddings.npy"
        if data and not quick:
            scientific = pathlib.Path(data, "scientific")
            self.name, self.interactions = "Scientific", scientific / "Scientific.inter.json"
            self.embeddings = scientific / "Scientific.emb-minilm-td.npy"
        else:
            numpy.save(self.embeddings, generated(600 if quick else 5_000))


def generated(items: int, dim: int = 128) -> numpy.ndarray:
    """Kinds, kinds of kinds and items, each a normal step from the one above it; the n-th kind is
    taken as often as Zipf's law says, and one item in fifty is a copy of another."""
    random = numpy.random.default_rng(0)
    x = numpy.zeros((1, dim))
    for kinds in (40, 25):
        x = (x[:, None] + random.normal(size=(len(x), kinds, dim))).reshape(-1, dim)
    share = 1 / numpy.arange(1, len(x) + 1)
    kind = random.permutation(len(x))[random.choice(len(x), items, p=share / share.sum())]
    x = x[kind] + random.normal(size=(items, dim))
    x[::50] = x[random.integers(items, size=len(x[::50]))]
    return (x / numpy.linalg.norm(x, axis=1, keepdims=True)).astype(numpy.float32)


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row a tool, with what `semid check` says of its final IDs."""
    epochs = 2 if quick else 20
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        catalogue = Catalogue(folder, quick)
        about = {"catalogue": catalogue.name, "items": len(numpy.load(catalogue.embeddings))}
        for quantizer, name in QUANTIZERS.items():
            row = rival(semid, catalogue, folder, quantizer, epochs)
            yield about | {"contestant": name} | row
        for preset in PRESETS:
            row = ours(semid, catalogue, folder, preset, epochs)
            yield about | {"contestant": f"`semid`, `{preset}`"} | row


def rival(
    semid: pathlib.Path, catalogue: Catalogue, folder: pathlib.Path, quantizer: str, epochs: int
) -> Answer:
    out = str(folder / quantizer)
    try:
        racer = Contestant(
            "quantizers.py", THREADS, quantizer=quantizer, embeddings=str(catalogue.embeddings),
            epochs=epochs, out=out,
        )
        with contextlib.closing(racer):
            told = racer.ask(limit=LIMIT)
    except Refused as reason:
        return {"refused": str(reason)}
    final = "repaired" if told["repaired"] else "native"
    native, checked = (check(semid, catalogue, f"{out}.{kind}.csv") for kind in ("native", final))
    row = {"seconds": told["seconds"], "peak": told["peak"], "shared_native": native["shared"]}
    return row | checked | ({} if told["repaired"] else {"unrepaired": True})


def ours(
    semid: pathlib.Path, catalogue: Catalogue, folder: pathlib.Path, preset: str, epochs: int
) -> Answer:
    model, index = folder / preset, folder / f"{preset}.safetensors"
    few = ["--epochs", epochs] if preset == "lc-rec" else []
    train = run(semid, "train", catalogue.embeddings, "--preset", preset, "--out", model, *few)
    repair = run(semid, "index", catalogue.embeddings, "--model", model, "--out", index)
    return {
        "seconds": train["wall"] + repair["wall"],
        "peak": max(train["peak_rss"], repair["peak_rss"]) / 1e6,
        "shared_native": train["items"] - repair["unique_before"],
        **measures(semid, catalogue, index),
    }


def check(semid: pathlib.Path, catalogue: Catalogue, codes: str) -> Answer:
    index = f"{codes}.safetensors"
    run(semid, "import", codes, "--out", index)
    return measures(semid, catalogue, index)


def measures(semid: pathlib.Path, catalogue: Catalogue, index: pathlib.Path | str) -> Answer:
    """Codebooks are fitted to the codes by least squares, so that all errors are measured alike."""
    behaviour = ["--interactions", catalogue.interactions] if catalogue.interactions else []
    told = run(semid, "check", index, "--embeddings", catalogue.embeddings, *behaviour, gates=True)
    gain = told["held_out_gain"] or {}
    return {
        "levels": len(told["levels_stats"]),
        "shared": told["items"] - told["unique"],
        "error": told["reconstruction_mse"],
        "perplexity": told["levels_stats"][0]["perplexity"],
        "recall": told["prefix_neighbour_recall"],
        "gain": {key: gain[key] for key in ("bits", "shuffled")} if gain else None,
    }


def run(semid: pathlib.Path, *arguments: object, gates: bool = False) -> Any:
    """What a command reports, and its seconds; a check whose `gates` fail reports all the same."""
    command = [semid, *arguments, "--json", "--quiet", "--threads", THREADS]
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), capture_output=True)
    if done.returncode not in ((0, 1) if gates else (0,)):
        raise RuntimeError(f"{command} failed: {done.stderr.decode()}")
    return json.loads(done.stdout) | {"wall": time.perf_counter() - start}
