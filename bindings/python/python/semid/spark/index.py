"""Indexes: embeddings to codes, codes to distinct ones, and these to an index file."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray
from pyspark import StorageLevel, TaskContext
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from .._semid import Encoder, IndexWriter, SemidError, assign_latents

__all__ = ["Certificate", "assign", "certificate", "encode", "sample", "write_index"]

FilePath = str | os.PathLike[str]
Certificate = dict[str, Any]
Batches = Iterable[pyarrow.RecordBatch]

# Bytes of rows, but for those of one group, that are assigned at a time.
CHUNK = 1 << 24
# Bytes of a run that come to the driver at a time: the JVM holds some copies of each.
RUN = 1 << 22


def sample(df: DataFrame, items: int, *, key: str = "key", seed: int = 42) -> DataFrame:
    """About so many rows of a table, drawn uniformly: what `semid train` needs of a large one.

    Whether a row is drawn depends on its key, the seed and the number of rows, not on partitions.
    """
    if items < 1:
        raise SemidError(f"items: got {items}, expected at least 1")
    return drawn(df, key, items / max(1, df.count()), seed)


def drawn(df: DataFrame, key: str, share: float, seed: int) -> DataFrame:
    """The rows of a share of all keys."""
    # The upper 53 bits of the hash, as a number from 0 to 1.
    chance = F.shiftrightunsigned(F.xxhash64(F.lit(seed), F.col(key)), 11) / float(1 << 53)
    return df.where(chance < share)


def encode(
    df: DataFrame,
    model: FilePath,
    *,
    key: str = "key",
    embedding: str = "embedding",
    beams: int = 8,
) -> DataFrame:
    """The nearest codes that a beam search finds for each item, and their squared distance.

    Embeddings are arrays of floats, or binary: little-endian f32, or f16 where they are half as
    long. The model is a folder of `semid train`, which the driver reads and broadcasts.

    Gives `key`, `codes`, `distance`, and `latent`, which `assign` needs; and `row`, if there is
    one: the place of an item in the index, from 0. Without it items are placed by their keys.
    """
    encoder = Encoder(model)
    if beams < 1:
        raise SemidError(f"beams: got {beams}, expected at least 1")
    broadcast = df.sparkSession.sparkContext.broadcast(encoder)
    rows = [F.col("row").cast("long").alias("row")] if "row" in df.columns else []
    keys = F.col(key).cast("string").alias("key")
    given = df.select(keys, *rows, F.col(embedding).alias("given"))

    def run(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        encoder = broadcast.value
        for batch in batches:
            vectors = matrix_of(batch, encoder.dim)
            latents = encoder.latents(vectors)
            codes, distances = encoder.quantize(latents, beams=beams)
            columns = {name: batch.column(name) for name in batch.schema.names if name != "given"}
            columns["codes"] = lists_of(codes)
            columns["distance"] = pyarrow.array(distances)
            columns["latent"] = blobs_of(latents)
            yield pyarrow.record_batch(columns)

    schema = T.StructType([
        field for field in given.schema if field.name != "given"
    ] + [
        T.StructField("codes", T.ArrayType(T.IntegerType(), False), False),
        T.StructField("distance", T.FloatType(), False),
        T.StructField("latent", T.BinaryType(), False),
    ])
    return with_sizes(given.mapInArrow(run, schema), encoder.sizes)


def assign(df: DataFrame, model: FilePath) -> DataFrame:
    """Distinct codes for all items of `encode`: those that `semid index` would give them, whatever
    the partitions. The result is cached; `unpersist` frees it.

    Items are grouped by all codes but the last. A group that fits the last level's codebook is
    settled inside an executor; all others come to the driver and are settled together, beside the
    codes of all items that are.

    Gives `key`, `row` if there is one, `codes`, `moved`, and `account`, of which `certificate` is
    the sum.
    """
    encoder = Encoder(model)
    spark = df.sparkSession
    broadcast = spark.sparkContext.broadcast(encoder)
    size, levels = encoder.sizes[-1], len(encoder.sizes)
    rows = ["row"] if "row" in df.columns else []
    columns = ["key", *rows, "codes", "distance", "latent"]
    prefix = F.slice("codes", 1, levels - 1)
    groups = df.select(*columns).repartition(prefix).sortWithinPartitions("codes", "key")

    def settle(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        for table, fits in by_prefix(batches, levels - 1, size):
            if fits:
                yield from settled(broadcast.value, table).to_batches()
            else:
                yield from waiting(table).to_batches()

    schema = T.StructType([
        *[field for field in groups.schema if field.name in ("key", "row")],
        T.StructField("codes", T.ArrayType(T.IntegerType(), False), False),
        T.StructField("moved", T.BooleanType(), True),
        T.StructField("account", T.StringType(), True),
        T.StructField("distance", T.FloatType(), True),
        T.StructField("latent", T.BinaryType(), True),
    ])
    placed = groups.mapInArrow(settle, schema).persist(StorageLevel.DISK_ONLY)
    done = placed.where(F.col("moved").isNotNull()).drop("distance", "latent")
    left = list(runs(placed.where(F.col("moved").isNull()), ["key"], columns))
    if left:
        rest = settled(encoder, pyarrow.concat_tables(left), taken=all_codes(done, levels))
        rest = rest.drop_columns(["distance", "latent"])
        done = done.unionByName(spark.createDataFrame(rest, schema=done.schema))
    return with_sizes(done, encoder.sizes)


def certificate(assigned: DataFrame) -> Certificate:
    """How good the result of `assign` is, and for which problem: the sums over all its groups."""
    parts = assigned.where(F.col("account").isNotNull()).select("account")
    proofs = [json.loads(part.account) for part in parts.toLocalIterator()]
    if not proofs:
        raise SemidError("there is no account in this table; is it the result of `assign`?")
    summed = ("moves", "moves_bound", "cost", "lower_bound")
    total: Certificate = {name: sum(proof[name] for proof in proofs) for name in summed}
    cost = total["cost"]
    total["gap"] = (cost - total["lower_bound"]) / cost if cost > 0 else 0.0
    total["optimal"] = all(proof["optimal"] for proof in proofs)
    beside = {proof["beside"] for proof in proofs}
    stages = [("prefix", False), ("overfull", True)]
    total["stages"] = [stage for stage, of_driver in stages if of_driver in beside]
    return total


def write_index(df: DataFrame, path: FilePath, *, sizes: list[int] | None = None) -> str:
    """Writes the index of `key`, `codes` and, if there is one, `row`, and returns its digest.

    The driver holds none of it: the executors sort the items by code, by row and by key, and the
    driver puts the runs behind each other as they come, in files beside `path`. Its tensors are
    those of `semid index`, byte for byte.

    `sizes` are those of the codebooks; the results of `encode` and `assign` know them.
    """
    sizes = sizes or sizes_of(df)
    columns = ["key", "codes"] + (["row"] if "row" in df.columns else [])
    table = df.select(*columns).persist(StorageLevel.DISK_ONLY)
    writer = IndexWriter(path, sizes, command="spark write_index", configuration={"sizes": sizes})
    try:
        with writer:
            return write_runs(table if "row" in df.columns else by_key(table), writer, len(sizes))
    finally:
        table.unpersist()


def write_runs(df: DataFrame, writer: IndexWriter, levels: int) -> str:
    for run in runs(df, ["codes", "key"], ["codes", "row"]):
        writer.ranks(codes_of(run, levels), rows_of(run))
    end = 0
    for run in runs(df, ["row"], ["key", "row"]):
        rows = rows_of(run)
        strange = numpy.flatnonzero(rows != numpy.arange(end, end + len(rows)))
        if len(strange) > 0:
            got, expected = rows[strange[0]], end + strange[0]
            raise SemidError(f"row: got {got} where {expected} comes, expected each from 0 once")
        end += len(rows)
        writer.keys(run["key"].to_pylist())
    for run in runs(df, ["key"], ["key", "row"], distinct):
        writer.key_order(rows_of(run))
    return writer.finish()


def by_key(df: DataFrame) -> DataFrame:
    """Rows for items that have none, by the order of keys."""
    ordered = df.repartitionByRange("key").sortWithinPartitions("key")
    ordered = ordered.persist(StorageLevel.DISK_ONLY)

    def count(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        rows = sum(batch.num_rows for batch in batches)
        yield pyarrow.record_batch({"partition": [partition()], "rows": [rows]})

    counted = ordered.mapInArrow(count, "partition long, rows long").collect()
    first, starts = 0, {}
    for part in sorted(counted, key=lambda part: part.partition):
        starts[part.partition] = first
        first += part.rows

    def number(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        row = starts[partition()]
        for batch in batches:
            rows = pyarrow.array(range(row, row + batch.num_rows), pyarrow.int64())
            yield batch.append_column("row", rows)
            row += batch.num_rows

    schema = T.StructType([*ordered.schema, T.StructField("row", T.LongType(), False)])
    return ordered.mapInArrow(number, schema)


def partition() -> int:
    context = TaskContext.get()
    assert context is not None, "a task has a context"
    number: int = context.partitionId()
    return number


def runs(
    df: DataFrame,
    order: list[str],
    columns: list[str],
    check: Callable[[Iterator[pyarrow.Table]], Iterator[pyarrow.Table]] = iter,
) -> Iterator[pyarrow.Table]:
    """The rows of a table in some order, sorted by the executors, in tables of a few MiB."""

    def pack(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        # A problem is data here: raised in an executor, it would come as a trace of Java's.
        try:
            for table in check(tables(batches, RUN)):
                yield packed(bytes_of(table), None)
        except SemidError as problem:
            yield packed(None, str(problem))

    # Told how many, Spark does not put partitions together: one comes to the driver as one value.
    parts = int(df.sparkSession.conf.get("spark.sql.shuffle.partitions") or 200)
    ordered = df.repartitionByRange(parts, *order).sortWithinPartitions(*order).select(*columns)
    packs = ordered.mapInArrow(pack, "run binary, problem string")
    for part in packs.toLocalIterator(prefetchPartitions=True):
        if part.problem is not None:
            raise SemidError(part.problem)
        yield pyarrow.ipc.open_stream(part.run).read_all()


def bytes_of(table: pyarrow.Table) -> bytes:
    """A table as one value."""
    sink = pyarrow.BufferOutputStream()
    with pyarrow.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    value: bytes = sink.getvalue().to_pybytes()
    return value


def table_of(value: pyarrow.Scalar) -> pyarrow.Table:
    return pyarrow.ipc.open_stream(value.as_buffer()).read_all()


def packed(run: bytes | None, problem: str | None) -> pyarrow.RecordBatch:
    columns = [pyarrow.array([run], pyarrow.binary()), pyarrow.array([problem], pyarrow.string())]
    return pyarrow.record_batch(columns, names=["run", "problem"])


def tables(batches: Batches, size: int) -> Iterator[pyarrow.Table]:
    """Batches together, so many bytes at least but for the last ones."""
    held: list[pyarrow.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(batch.nbytes for batch in held) >= size:
            yield pyarrow.Table.from_batches(held)
            held = []
    if any(batch.num_rows for batch in held):
        yield pyarrow.Table.from_batches(held)


def distinct(run: Iterator[pyarrow.Table]) -> Iterator[pyarrow.Table]:
    """The same tables, if no two keys are the same; all of one key are in one partition."""
    before = None
    for table in run:
        keys = table["key"].to_pylist()
        for key in keys:
            if key == before:
                raise SemidError(f"two items have the key {key!r}; keys must be distinct")
            before = key
        yield table.drop_columns(["key"])


def by_prefix(
    batches: Batches, depth: int, size: int
) -> Iterator[tuple[pyarrow.Table, bool]]:
    """Rows that are sorted by codes, in whole groups of one prefix, and whether each of these has
    at most `size` rows. Of larger groups no more than a chunk is held."""
    held: pyarrow.Table | None = None
    full: NDArray[numpy.uint16] | None = None
    for table in itertools.chain(tables(batches, CHUNK), [None]):
        if table is not None:
            held = table if held is None else pyarrow.concat_tables([held, table])
        if held is None:
            return
        prefixes = codes_of(held)[:, :depth]
        changes = (prefixes[1:] != prefixes[:-1]).any(axis=1)
        starts = numpy.flatnonzero(numpy.concatenate([[True], changes]))
        counts = numpy.diff(starts, append=len(prefixes))
        fits = counts <= size
        if full is not None and (prefixes[0] == full).all():
            fits[0] = False
        # The last group may go on.
        waits = table is not None and bool(fits[-1])
        end = int(starts[-1]) if waits else len(prefixes)
        full = None if fits[-1] else prefixes[-1]
        chosen = numpy.repeat(fits, counts)[:end]
        for mask, fit in [(chosen, True), (~chosen, False)]:
            if mask.any():
                yield held.slice(0, end).filter(pyarrow.array(mask)), fit
        held = held.slice(end) if waits else None


def settled(
    encoder: Encoder, table: pyarrow.Table, taken: NDArray[numpy.uint16] | None = None
) -> pyarrow.Table:
    """Items with distinct codes."""
    native = codes_of(table)
    blobs = b"".join(table["latent"].to_pylist())
    assignment = assign_latents(
        encoder,
        numpy.frombuffer(blobs, numpy.float32).reshape(len(native), -1),
        native,
        table["distance"].to_numpy(),
        table["key"].to_pylist(),
        taken=taken,
    )
    proof = json.loads(assignment.certificate or "{}")
    account = json.dumps(proof | {"beside": taken is not None})
    return placed(table, assignment.codes, (assignment.codes != native).any(axis=1), account)


def waiting(table: pyarrow.Table) -> pyarrow.Table:
    """Items that find no place in their group."""
    columns = {name: table[name] for name in table.column_names if name in ("key", "row")}
    columns["codes"] = lists_of(codes_of(table))
    columns["moved"] = pyarrow.nulls(table.num_rows, pyarrow.bool_())
    columns["account"] = pyarrow.nulls(table.num_rows, pyarrow.string())
    return pyarrow.table(columns | {name: table[name] for name in ("distance", "latent")})


def placed(
    table: pyarrow.Table,
    codes: NDArray[numpy.uint16],
    moved: NDArray[numpy.bool_],
    account: str,
) -> pyarrow.Table:
    """Items with their codes, and what it took, which the first one tells."""
    rows = table.num_rows
    columns = {name: table[name] for name in table.column_names if name in ("key", "row")}
    columns["codes"] = lists_of(codes)
    columns["moved"] = pyarrow.array(moved)
    columns["account"] = pyarrow.array([account] + [None] * (rows - 1), pyarrow.string())
    columns["distance"] = pyarrow.nulls(rows, pyarrow.float32())
    columns["latent"] = pyarrow.nulls(rows, pyarrow.binary())
    return pyarrow.table(columns)


def all_codes(df: DataFrame, levels: int) -> NDArray[numpy.uint16]:
    """The codes of all items, `[N, L]`."""

    def pack(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        for table in tables(batches, RUN):
            yield pyarrow.record_batch({"codes": [codes_of(table).tobytes()]})

    packed = df.select("codes").mapInArrow(pack, "codes binary").toLocalIterator()
    blobs = b"".join(blob.codes for blob in packed)
    return numpy.frombuffer(blobs, numpy.uint16).reshape(-1, levels)


def matrix_of(batch: pyarrow.RecordBatch, dim: int) -> NDArray[numpy.float32]:
    """Embeddings `[n, D]`."""
    given, keys = batch.column("given"), batch.column("key")

    def bad(row: int, got: str) -> SemidError:
        item = f"item {keys[row].as_py()!r}"
        return SemidError(f"{item}: got {got}, expected an embedding of {dim} numbers")

    for column, what in [(keys, "no key"), (given, "no embedding")]:
        if column.null_count > 0:
            raise bad(column.is_null().to_pylist().index(True), what)
    if pyarrow.types.is_binary(given.type) or pyarrow.types.is_large_binary(given.type):
        lengths = pyarrow.compute.binary_length(given).to_numpy()
        width = int(lengths[0]) // dim if len(lengths) > 0 else 4
        wrong = lengths != dim * width if width in (2, 4) else lengths >= 0
        values = b"".join(given.to_pylist()) if not wrong.any() else b""
        vectors = numpy.frombuffer(values, {2: "<f2"}.get(width, "<f4"))
        unit = "bytes"
    else:
        lengths = pyarrow.compute.list_value_length(given).to_numpy()
        wrong = lengths != dim
        vectors = given.flatten().to_numpy(zero_copy_only=False)
        unit = "numbers"
    if wrong.any():
        row = int(numpy.flatnonzero(wrong)[0])
        raise bad(row, f"{lengths[row]} {unit}")
    matrix = vectors.astype(numpy.float32).reshape(-1, dim)
    strange = ~numpy.isfinite(matrix).all(axis=1)
    if strange.any():
        raise bad(int(numpy.flatnonzero(strange)[0]), "a number that is not finite")
    return matrix


def codes_of(table: pyarrow.Table, levels: int | None = None) -> NDArray[numpy.uint16]:
    """Codes `[n, L]` of at least one row, each `L` long."""
    column = table["codes"].combine_chunks()
    lengths = pyarrow.compute.list_value_length(column).to_numpy(zero_copy_only=False)
    levels = levels or int(lengths[0])
    if (lengths != levels).any():
        row = int(numpy.flatnonzero(lengths != levels)[0])
        raise SemidError(f"codes: got {column[row].as_py()}, expected {levels} codes")
    flat = column.flatten().to_numpy(zero_copy_only=False)
    codes: NDArray[numpy.uint16] = flat.astype(numpy.uint16)
    return codes.reshape(-1, levels)


def rows_of(table: pyarrow.Table) -> NDArray[numpy.uint32]:
    rows: NDArray[numpy.int64] = table["row"].to_numpy()
    outside = (rows < 0) | (rows > 0xFFFFFFFF)
    if outside.any():
        raise SemidError(f"row: got {rows[outside][0]}, expected one from 0 to 2^32 - 1")
    return rows.astype(numpy.uint32)


def lists_of(codes: NDArray[numpy.uint16]) -> pyarrow.Array:
    offsets = numpy.arange(len(codes) + 1, dtype=numpy.int32) * codes.shape[1]
    return pyarrow.ListArray.from_arrays(offsets, pyarrow.array(codes.ravel().astype(numpy.int32)))


def blobs_of(vectors: NDArray[numpy.float32]) -> pyarrow.Array:
    """Each row as bytes."""
    width = vectors.itemsize * vectors.shape[1]
    offsets = numpy.arange(len(vectors) + 1, dtype=numpy.int32) * width
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(vectors)]
    return pyarrow.Array.from_buffers(pyarrow.binary(), len(vectors), buffers)


def with_sizes(df: DataFrame, sizes: list[int]) -> DataFrame:
    return df.withMetadata("codes", {"sizes": sizes})


def sizes_of(df: DataFrame) -> list[int]:
    sizes: list[int] | None = df.schema["codes"].metadata.get("sizes")
    if sizes is None:
        raise SemidError("the table does not tell the sizes of its codebooks; give sizes=[...]")
    return sizes
