"""The same index as on one machine, from a cluster of two workers."""

import json
import os
import signal
import struct

import numpy
import pytest
from pyspark.errors import PythonException
from pyspark.sql import functions as F
from test_encoder import write_model

import semid
from semid import spark as on_spark

from cluster import executors

ITEMS, DIM, LEVELS, CODES = 3000, 8, 3, 16


def embeddings(items=ITEMS, seed=5):
    """Clustered, with copies, so that items collide."""
    rng = numpy.random.default_rng(seed)
    centres = rng.normal(size=(40, DIM))
    points = centres[rng.integers(0, 40, items)] + 0.05 * rng.normal(size=(items, DIM))
    points[::7] = points[0]
    return points.astype(numpy.float32)


def keys(items=ITEMS):
    """In no order."""
    return [f"item-{row * 7919 % 100_003}" for row in range(items)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("model"), LEVELS, CODES, DIM)


def catalogue(spark, points, names, rows=True):
    given = [
        (name, row, point.tolist()) for row, (name, point) in enumerate(zip(names, points))
    ]
    df = spark.createDataFrame(given, "key string, row long, embedding array<float>")
    return df if rows else df.drop("row")


def reference(model, points, names):
    """What one machine makes of it."""
    encoder = semid.Encoder(model)
    assignment = semid.assign(encoder, points, names)
    return assignment, semid.Index.build(names, assignment.codes, encoder.sizes)


def tensors(data):
    """Everything behind the header."""
    (length,) = struct.unpack("<Q", data[:8])
    names = json.loads(data[8 : 8 + length])
    names.pop("__metadata__")
    return names, data[8 + length :]


def built(df, model, path):
    assigned = on_spark.assign(on_spark.encode(df, model), model)
    digest = on_spark.write_index(assigned, path)
    index = semid.Index(path)
    assert index.digest == digest
    return assigned, index


@pytest.mark.parametrize("partitions", [1, 7, 64])
def test_the_index_is_that_of_one_machine(spark, model, tmp_path, partitions):
    points, names = embeddings(), keys()
    assignment, expected = reference(model, points, names)
    assert assignment.moved > 300, "items collide, and groups are overfull"
    df = catalogue(spark, points, names).orderBy(F.rand(3)).repartition(partitions)
    spark.conf.set("spark.sql.shuffle.partitions", partitions)
    try:
        assigned, index = built(df, model, tmp_path / "index.safetensors")
    finally:
        spark.conf.set("spark.sql.shuffle.partitions", 4)
    assert tensors(index.to_bytes()) == tensors(expected.to_bytes())
    proof, whole = on_spark.certificate(assigned), json.loads(assignment.certificate)
    assert proof["optimal"] and proof["stages"] == ["prefix", "overfull"] == whole["stages"]
    for name in ("moves", "moves_bound"):
        assert proof[name] == whole[name]
    for name in ("cost", "lower_bound"):
        assert proof[name] == pytest.approx(whole[name])
    assigned.unpersist()


def test_items_without_rows_are_placed_by_key(spark, model, tmp_path):
    points, names = embeddings(500), keys(500)
    order = sorted(range(500), key=names.__getitem__)
    _, expected = reference(model, points[order], [names[row] for row in order])
    _, index = built(catalogue(spark, points, names, rows=False), model, tmp_path / "i.safetensors")
    assert tensors(index.to_bytes()) == tensors(expected.to_bytes())


def test_half_of_all_items_under_one_code(spark, model, tmp_path):
    points, names = embeddings(2000), keys(2000)
    points[:1000] = points[0]
    _, expected = reference(model, points, names)
    _, index = built(catalogue(spark, points, names), model, tmp_path / "index.safetensors")
    assert tensors(index.to_bytes()) == tensors(expected.to_bytes())


@pytest.mark.parametrize(("dtype", "width"), [("<f2", 2), ("<f4", 4)])
def test_embeddings_may_be_bytes(spark, model, dtype, width):
    points = embeddings(200).astype(dtype)
    given = [(name, point.tobytes()) for name, point in zip(keys(200), points)]
    df = spark.createDataFrame(given, "key string, embedding binary")
    encoded = {row.key: row.codes for row in on_spark.encode(df, model).collect()}
    codes, _ = semid.Encoder(model).encode(points.astype(numpy.float32))
    assert encoded == dict(zip(keys(200), codes.tolist()))


def test_a_driver_goes_on_from_a_table(spark, model, tmp_path):
    points, names = embeddings(400), keys(400)
    _, expected = reference(model, points, names)
    table = str(tmp_path / "encoded")
    on_spark.encode(catalogue(spark, points, names), model).write.parquet(table)
    encoded = spark.read.parquet(table)
    assigned = str(tmp_path / "assigned")
    on_spark.assign(encoded, model).write.parquet(assigned)
    on_spark.write_index(spark.read.parquet(assigned), tmp_path / "index.safetensors")
    index = semid.Index(tmp_path / "index.safetensors")
    assert tensors(index.to_bytes()) == tensors(expected.to_bytes())


def test_a_sample_is_the_same_whatever_the_partitions(spark):
    df = spark.range(20_000).select(F.col("id").cast("string").alias("key"))
    drawn = [
        sorted(row.key for row in on_spark.sample(df.repartition(parts), 2000).collect())
        for parts in (1, 5)
    ]
    assert drawn[0] == drawn[1] and 1800 < len(drawn[0]) < 2200
    assert on_spark.sample(df, 10**6).count() == 20_000
    with pytest.raises(semid.SemidError, match="items: got 0"):
        on_spark.sample(df, 0)


def test_what_cannot_be_encoded_is_named(spark, model):
    points = embeddings(30).tolist()

    def fails(rows, schema, words):
        with pytest.raises(PythonException, match=words):
            on_spark.encode(spark.createDataFrame(rows, schema), model).collect()

    schema = "key string, embedding array<float>"
    named = [(f"k{row}", point) for row, point in enumerate(points)]
    fails([*named, ("bad", None)], schema, "'bad': got no embedding")
    fails([*named, (None, points[0])], schema, "got no key")
    fails([*named, ("bad", points[0][:3])], schema, "'bad': got 3 numbers, expected .* of 8")
    fails([*named, ("bad", [float("nan")] * DIM)], schema, "'bad': got a number that is not finite")
    fails([("bad", b"123")], "key string, embedding binary", "'bad': got 3 bytes")
    with pytest.raises(semid.SemidError, match="beams"):
        on_spark.encode(spark.createDataFrame(named, schema), model, beams=0)
    with pytest.raises(FileNotFoundError):
        on_spark.encode(spark.createDataFrame(named, schema), "nowhere")


def test_what_makes_no_index_is_named(spark, tmp_path):
    def fails(rows, words, schema="key string, row long, codes array<int>", sizes=[4, 4]):
        table = spark.createDataFrame(rows, schema).repartition(3)
        with pytest.raises(semid.SemidError, match=words):
            on_spark.write_index(table, tmp_path / "index.safetensors", sizes=sizes)
        assert list(tmp_path.iterdir()) == [], "nothing is left behind"

    fails([("a", 0, [0, 1]), ("a", 1, [0, 2])], "the key 'a'")
    fails([("a", 0, [0, 1]), ("b", 2, [0, 2])], "row: got 2 where 1 comes")
    fails([("a", 0, [0, 1]), ("b", 0, [0, 2])], "row: got 0 where 1 comes")
    fails([("a", 0, [0, 1]), ("b", 1, [0, 1])], "holds 2 items")
    fails([("a", 0, [0, 1]), ("b", 1, [0, 9])], "outside the codebook")
    fails([("a", 0, [0, 1]), ("b", 1, [0])], "expected 2 codes")
    fails([("a", 0, [0, 1])], "sizes of its codebooks", sizes=None)
    fails([], "no items")


def test_an_executor_may_die(spark, model, tmp_path):
    points, names = embeddings(), keys()
    _, expected = reference(model, points, names)
    encoded = on_spark.encode(catalogue(spark, points, names).repartition(16), model)
    assigned = on_spark.assign(encoded, model)
    victim = executors(spark)[0]
    os.kill(victim, signal.SIGKILL)
    on_spark.write_index(assigned, tmp_path / "index.safetensors")
    index = semid.Index(tmp_path / "index.safetensors")
    assert tensors(index.to_bytes()) == tensors(expected.to_bytes())
    assert victim not in executors(spark)
