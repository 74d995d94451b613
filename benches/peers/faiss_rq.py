"""faiss's ResidualQuantizer beside `semid train --preset rk-means`: python3 faiss_rq.py SEMID EMB.npy...

Needs numpy and faiss-cpu. Both get 4 x 256 codes, 25 iterations, two threads, and take turns;
faiss trains and encodes, semid trains, encodes and writes its model.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time

import faiss
import numpy as np

ROUNDS = 3
THREADS = 2


def by_faiss(x: np.ndarray, beam: int) -> tuple[float, float]:
    """Seconds and mean squared error of a ResidualQuantizer."""
    start = time.perf_counter()
    quantizer = faiss.ResidualQuantizer(x.shape[1], 4, 8)
    quantizer.max_beam_size = beam
    quantizer.cp.min_points_per_centroid = 1  # no warnings about small catalogues
    quantizer.cp.niter = 25
    quantizer.train(x)
    decoded = quantizer.decode(quantizer.compute_codes(x))
    return time.perf_counter() - start, float(((x - decoded) ** 2).mean())


def by_semid(semid: str, path: str) -> tuple[float, float]:
    """Seconds and mean squared error that `semid train` reports."""
    with tempfile.TemporaryDirectory() as folder:
        command = [semid, "train", path, "--out", f"{folder}/model", "--preset", "rk-means"]
        command += ["--threads", str(THREADS), "--json"]
        start = time.perf_counter()
        report = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        return time.perf_counter() - start, report["reconstruction_mse"]


def main(semid: str, paths: list[str]) -> None:
    faiss.omp_set_num_threads(THREADS)
    for path in paths:
        x = np.load(path)
        rows = {"semid rk-means": [], "faiss, beam 1": [], "faiss, beam 5": []}
        for _ in range(ROUNDS):
            rows["semid rk-means"].append(by_semid(semid, path))
            rows["faiss, beam 1"].append(by_faiss(x, 1))
            rows["faiss, beam 5"].append(by_faiss(x, 5))
        print(f"{path.rsplit('/', 1)[-1]} {x.shape}, {THREADS} threads, median of {ROUNDS} rounds in turn")
        for name, results in rows.items():
            seconds, errors = zip(*results)
            print(f"  {name:15} {statistics.median(seconds):6.2f} s  mse {statistics.median(errors):.6f}")


main(sys.argv[1], sys.argv[2:])
