"""The index of Spark beside that of `semid index`: the same tensors, at which rates.

    python3 -B benches/cluster.py target/release/semid --items 2000000
    python3 -B benches/cluster.py target/release/semid --embeddings EMB.npy --model MODEL

Starts a standalone cluster of two workers of one core on loopback, as bindings/python/spark does. A
rate is rows a second and core: `semid index --threads 1`, and the cluster's rows by its two cores.
With --kill one executor is killed in the middle of each step. Prints a line of JSON.
"""

import argparse
import collections
import json
import os
import pathlib
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "bindings" / "python" / "spark")]

import spark_environment

spark_environment.enter()

import numpy
import pyarrow
import pyarrow.parquet

CHUNK = 100_000


def generate(path, items, dim):
    """Clusters of very different sizes, the largest with some 2 % of all items."""
    rng = numpy.random.default_rng(11)
    coarse = rng.normal(size=(4000, dim)).astype(numpy.float32)
    fine = 0.35 * rng.normal(size=(200, dim)).astype(numpy.float32)
    shape = (items, dim)
    out = numpy.lib.format.open_memmap(path, mode="w+", dtype=numpy.float16, shape=shape)
    for first in range(0, items, CHUNK):
        rows = min(CHUNK, items - first)
        centres = coarse[(4000 * rng.random(rows) ** 2).astype(int)] + fine[rng.integers(0, 200, rows)]
        noise = rng.standard_normal((rows, dim), dtype=numpy.float32)
        out[first : first + rows] = centres + 0.5 * noise
    out.flush()


def as_table(embeddings, folder):
    """The same as a table: `key` and `row` are the row's number, embeddings are bytes."""
    folder.mkdir()
    for first in range(0, len(embeddings), CHUNK):
        part = numpy.ascontiguousarray(embeddings[first : first + CHUNK])
        rows = numpy.arange(first, first + len(part))
        width = part.shape[1] * part.itemsize
        offsets = numpy.arange(len(part) + 1, dtype=numpy.int32) * width
        buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(part)]
        table = pyarrow.table({
            "key": pyarrow.array(rows.astype(str)),
            "row": pyarrow.array(rows),
            "embedding": pyarrow.Array.from_buffers(pyarrow.binary(), len(part), buffers),
        })
        pyarrow.parquet.write_table(table, folder / f"{first:012}.parquet", compression="none")


def tensors(path):
    """A hash of everything behind the header, and the header without the manifest."""
    import hashlib

    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        names = json.loads(file.read(length))
        names.pop("__metadata__")
        digest = hashlib.sha256()
        while block := file.read(1 << 24):
            digest.update(block)
    return names, digest.hexdigest()


def processes(folder):
    """Session, process, resident bytes and command line of those of the cluster's workers."""
    listed = subprocess.run(["ps", "-eo", "sid,pid,rss,args"], capture_output=True, text=True)
    lines = [line.split(maxsplit=3) for line in listed.stdout.splitlines()[1:]]
    workers = {
        sid for sid, _, _, args in lines if "worker.Worker" in args and str(folder) in args
    }
    return [(sid, int(pid), int(rss) << 10, args) for sid, pid, rss, args in lines if sid in workers]


class Killer:
    """Kills one executor, some seconds into a step."""

    def __init__(self, folder, after):
        self.folder, self.after, self.killed = folder, after, 0

    def __call__(self):
        time.sleep(self.after)
        for _, process, _, command in processes(self.folder):
            if "CoarseGrainedExecutorBackend" in command:
                os.kill(process, signal.SIGKILL)
                self.killed += 1
                return


class Memory:
    """The most that a worker and all that it started were resident at once, looked at each second.

    Pages that processes share count for each of them."""

    def __init__(self, folder):
        self.folder, self.peak, self.ends = folder, 0, threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.ends.wait(1):
            resident = collections.Counter()
            for session, _, size, _ in processes(self.folder):
                resident[session] += size
            self.peak = max(self.peak, *resident.values(), 0)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.thread.join()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("semid", type=pathlib.Path)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--embeddings", type=pathlib.Path)
    parser.add_argument("--model", type=pathlib.Path)
    parser.add_argument("--levels", default="4", help="of the model that is trained")
    parser.add_argument("--partitions", type=int, default=16)
    parser.add_argument("--worker-memory", default="3g")
    parser.add_argument("--executor-memory", default="1g")
    parser.add_argument("--kill", type=float, help="seconds into each step")
    parser.add_argument("--alone", action="store_true", help="no single machine beside it")
    parser.add_argument("--folder", type=pathlib.Path, help="for what is made; kept, and not made again")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, spark_environment.wheel_installed():
        folder = arguments.folder or pathlib.Path(scratch)
        folder.mkdir(exist_ok=True)
        print(json.dumps(race(arguments, folder.resolve())))


def race(arguments, folder):
    import cluster

    from semid import spark

    semid = [arguments.semid.resolve()]
    embeddings, model = arguments.embeddings, arguments.model
    if embeddings is None:
        embeddings = folder / f"{arguments.items}.npy"
        if not embeddings.exists():
            generate(embeddings, arguments.items, arguments.dim)
    if model is None:
        model = folder / "model"
        if not model.exists():
            train = ["train", embeddings, "--preset", "rk-means", "--set", "sample=200000"]
            train += ["--levels", arguments.levels]
            subprocess.run([*semid, *train, "--out", model, "--quiet"], check=True)
    given = numpy.load(embeddings, mmap_mode="r")
    told = {"items": len(given), "dim": given.shape[1], "partitions": arguments.partitions}

    alone = folder / "alone.safetensors"
    if not arguments.alone:
        command = ["index", embeddings, "--model", model, "--out", alone, "--threads", "1", "--json"]
        command = list(map(str, [*semid, *command]))
        made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        told["alone"] = {
            "encode_seconds": made["seconds_encode"],
            "encode_rate": len(given) / made["seconds_encode"],
            "assign_seconds": made["seconds_assign"],
            "moved": made["moved"],
            "peak_rss": made["peak_rss"],
        }

    table = folder / "items"
    if not table.exists():
        as_table(given, table)
    there = cluster.cluster(folder, memory=arguments.worker_memory)
    with there as address, Memory(folder) as memory, cluster.session(
        address,
        folder,
        memory=arguments.executor_memory,
        spark_sql_shuffle_partitions=str(arguments.partitions),
        spark_sql_files_maxPartitionBytes=str(32 << 20),
        spark_driver_memory="2g",
        spark_ui_showConsoleProgress="false",
    ) as session:
        session.range(1000).repartition(2).mapInPandas(lambda parts: parts, "id long").count()
        killed = 0

        def timed(step):
            nonlocal killed
            killer = Killer(folder, arguments.kill or 0)
            thread = threading.Thread(target=killer, daemon=True)
            start = time.perf_counter()
            if arguments.kill:
                thread.start()
            result = step()
            seconds = time.perf_counter() - start
            if arguments.kill:
                thread.join()
            killed += killer.killed
            return result, seconds

        def path(name):
            return str(folder / f"{name}-{arguments.partitions}.table")

        def write(df, name):
            df.write.mode("overwrite").parquet(path(name))

        items = session.read.parquet(str(table))
        encode = None
        if not pathlib.Path(path("encoded"), "_SUCCESS").exists():
            _, encode = timed(lambda: write(spark.encode(items, model), "encoded"))
        encoded = session.read.parquet(path("encoded"))
        assigned, assign = timed(lambda: spark.assign(encoded, model))
        _, settle = timed(lambda: write(assigned, "assigned"))
        proof = spark.certificate(assigned)
        assigned.unpersist()
        index = folder / f"cluster-{arguments.partitions}.safetensors"
        assigned = session.read.parquet(path("assigned"))
        digest, writing = timed(lambda: spark.write_index(assigned, index))
    told["cluster"] = {
        "encode_seconds": encode,
        "encode_rate": encode and len(given) / encode / 2,
        "assign_seconds": assign + settle,
        "write_seconds": writing,
        "moved": proof["moves"],
        "optimal": proof["optimal"],
        "digest": digest,
        "executors_killed": killed,
        "worker_peak_rss": memory.peak,
        "index_bytes": index.stat().st_size,
    }
    if not arguments.alone:
        if encode:
            told["encode_ratio"] = told["cluster"]["encode_rate"] / told["alone"]["encode_rate"]
        told["same_tensors"] = tensors(index) == tensors(alone)
    return told


main()
