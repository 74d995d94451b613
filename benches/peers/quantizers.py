"""The quantizers beside `semid train`: quantizers.py serves one, which `indexing.py` asks."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import contestant

import faiss
import numpy
import semantic_id
import torch
import vector_quantize_pytorch

import rqvae

LEVELS, CODES, ITERATIONS = 4, 256, 25


class Codes(NamedTuple):
    """Codes of all items, `[N, L]`."""

    native: numpy.ndarray
    #: None if the rival has no way to tell items apart.
    repaired: numpy.ndarray | None = None


def by_faiss(x: numpy.ndarray, epochs: int) -> Codes:
    """ResidualQuantizer with its default, progressive training."""
    quantizer = faiss.ResidualQuantizer(x.shape[1], LEVELS, 8)
    quantizer.max_beam_size = 1
    quantizer.cp.min_points_per_centroid = 1  # No warnings about small catalogues.
    quantizer.cp.niter = ITERATIONS
    quantizer.train(x)
    return Codes(quantizer.compute_codes(x))


def by_vector_quantize(x: numpy.ndarray, epochs: int) -> Codes:
    """ResidualVQ with codebooks of k-means, then moving averages over the whole catalogue."""
    torch.manual_seed(0)
    options = {"kmeans_init": True, "kmeans_iters": ITERATIONS}
    model = vector_quantize_pytorch.ResidualVQ(
        dim=x.shape[1], num_quantizers=LEVELS, codebook_size=CODES, **options
    )
    batch = torch.from_numpy(x)[None]
    with torch.no_grad():
        for _ in range(ITERATIONS):
            model(batch)
        return Codes(model.eval()(batch)[1][0].numpy())


def by_semantic_id(x: numpy.ndarray, epochs: int) -> Codes:
    """RQKMeans with one start of k-means, as the others have; its resolver adds a number to
    colliding IDs, a further code here."""
    options = {"n_init": 1, "random_state": 0}
    encoder = semantic_id.RQKMeans(n_levels=LEVELS, n_clusters=CODES, **options)
    engine = semantic_id.SemanticIdEngine(encoder=encoder)
    engine.fit(x)
    native = encoder.encode(x)
    ids = [[int(code) for code in text.split("-")] for text in engine.unique_ids(x)]
    longer = numpy.array([path + [0] * (LEVELS + 1 - len(path)) for path in ids])
    return Codes(native, longer)


def by_lc_rec(x: numpy.ndarray, epochs: int) -> Codes:
    """An RQ-VAE, whose last level is then balanced within each group that collides."""
    embeddings = torch.from_numpy(x)
    model = rqvae.train(embeddings, LEVELS, CODES, epochs)
    native = rqvae.encode(model, embeddings)
    return Codes(native.numpy(), rqvae.resolve(model, embeddings, native).numpy())


QUANTIZERS: dict[str, Callable[[numpy.ndarray, int], Codes]] = {
    "faiss": by_faiss, "vq": by_vector_quantize, "semantic-id": by_semantic_id, "lc-rec": by_lc_rec,
}


def prepare(quantizer: str, embeddings: str, epochs: int, out: str, threads: int):
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    return quantizer, numpy.load(embeddings).astype(numpy.float32), epochs, out


def build(inputs) -> Callable[..., contestant.Answer]:
    name, x, epochs, out = inputs

    def fit() -> contestant.Answer:
        """Writes the codes to `out`, a CSV file each, and tells the seconds that it took."""
        start = time.perf_counter()
        codes = QUANTIZERS[name](x, epochs)
        seconds = time.perf_counter() - start
        for kind, table in codes._asdict().items():
            if table is not None:
                write(f"{out}.{kind}.csv", table)
        return {"seconds": seconds, "repaired": codes.repaired is not None}

    return fit


def write(path: str, codes: numpy.ndarray) -> None:
    header = ",".join(["key", *(f"c{level}" for level in range(codes.shape[1]))])
    numbered = numpy.column_stack([numpy.arange(len(codes)), codes])
    numpy.savetxt(path, numbered, fmt="%d", delimiter=",", header=header, comments="")


if __name__ == "__main__":
    contestant.serve(prepare, build)
