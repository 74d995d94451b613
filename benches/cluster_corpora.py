"""The corpus of Spark beside that of `semid tasks build`: the same rows, at which rates.

    python3 -B benches/cluster_corpora.py target/release/semid --users 200000

Generates a catalogue of 50,000 items and users with 20 events each, and starts a standalone cluster of two
workers of one core on loopback. A rate is rows a second and core: `semid tasks build --threads 1`, and
the cluster by its two cores; each writes its shards as text. Prints a line of JSON.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "bindings" / "python" / "spark")]

import spark_environment

spark_environment.enter()

import numpy
import pyarrow
import pyarrow.parquet

ITEMS, EVENTS = 50_000, 20

RECIPE = """
[inputs]
items = "items.parquet"
interactions = "events.parquet"
index = "index.safetensors"
[items]
key = "key"
[[tasks]]
task = "sequential"
[[tasks]]
task = "text-to-item"
[[tasks]]
task = "sequential"
part = "test"
"""


def generate(folder, users):
    import semid

    rng = numpy.random.default_rng(5)
    names = [f"item-{row}" for row in range(ITEMS)]
    titles = [f"A thing of kind {row % 997} and size {row // 997}" for row in range(ITEMS)]
    items = pyarrow.table({"key": names, "row": numpy.arange(ITEMS), "title": titles})
    pyarrow.parquet.write_table(items, folder / "items.parquet")
    rows = numpy.arange(ITEMS)
    codes = numpy.stack([rows // 4096, rows // 64 % 64, rows % 64], axis=1).astype(numpy.uint16)
    semid.Index.build(names, codes, [64] * 3).save(folder / "index.safetensors")
    events = pyarrow.table({
        "user": numpy.repeat(numpy.arange(users), EVENTS).astype(str),
        "item": pyarrow.array(names).take(rng.integers(0, ITEMS, users * EVENTS)),
        "time": rng.permutation(users * EVENTS),
    })
    pyarrow.parquet.write_table(events, folder / "events.parquet")
    (folder / "recipe.toml").write_text(RECIPE)


def lines(files):
    for file in files:
        with open(file, "rb") as shard:
            yield from shard


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("semid", type=pathlib.Path)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--partitions", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, spark_environment.wheel_installed():
        print(json.dumps(race(arguments, pathlib.Path(scratch))))


def race(arguments, folder):
    import cluster

    from semid import spark

    generate(folder, arguments.users)
    recipe, alone = folder / "recipe.toml", folder / "alone"
    command = [arguments.semid.resolve(), "tasks", "build", recipe, "--out", alone]
    command = [*map(str, command), "--threads", "1", "--json"]
    made = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    rows = sum(made["rows"].values())
    there = cluster.cluster(folder, memory="3g")
    with there as address, cluster.session(
        address,
        folder,
        memory="1g",
        spark_sql_shuffle_partitions=str(arguments.partitions),
        spark_driver_memory="2g",
        spark_ui_showConsoleProgress="false",
    ) as session:
        session.range(1000).repartition(2).mapInPandas(lambda parts: parts, "id long").count()
        items = session.read.parquet(str(folder / "items.parquet"))
        events = session.read.parquet(str(folder / "events.parquet"))
        start = time.perf_counter()
        index = folder / "index.safetensors"
        parts = arguments.partitions
        corpus = spark.build_corpus(items, events, index, recipe, partitions=parts)
        making = time.perf_counter() - start
        corpus.write(str(folder / "cluster"))
        seconds = time.perf_counter() - start
    same = all(
        all(
            one == other
            for one, other in zip(
                lines(sorted((alone / part).glob("*.jsonl"))),
                lines(sorted((folder / "cluster" / f"part={part}").glob("shard=*/part-*"))),
                strict=True,
            )
        )
        for part in ("train", "test")
    )
    rates = [rows / made["seconds"], rows / seconds / 2]
    return {
        "users": arguments.users,
        "rows": rows,
        "same_rows": same,
        "alone": {
            "seconds": made["seconds"],
            "seconds_reading": made["seconds_reading"],
            "rate": rates[0],
        },
        "cluster": {"seconds": seconds, "seconds_until_written": making, "rate": rates[1]},
        "ratio": rates[1] / rates[0],
    }


main()
