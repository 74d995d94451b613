"""Corpora: each user's rows are made where the user's events are."""

from __future__ import annotations

import contextlib
import json
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.parquet
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from .._semid import EventTable, SemidError, ShareRows, recipe_files, share_counts
from .files import local, ship
from .index import RUN, Batches, FilePath, by_key, bytes_of, partition, runs, table_of, tables

__all__ = ["Corpus", "build_corpus"]

# Samples whose rows are made at a time.
SAMPLES = 4096
# Bytes of rows that are put in order at a time.
HELD = 1 << 26
# Rows that are written as one text.
ROWS = 1 << 13

# What holds any number below 2^64.
DECIMAL = "decimal(38, 0)"


class Corpus(NamedTuple):
    """The rows of a corpus, and how many there are of each task, and why others are not there.

    `rows` are in their order: `part`; `shard`, the range of places that a partition has, as
    `000000200000-000000400000`; `place`; and `row`, a line of JSON."""

    rows: DataFrame
    counts: dict[str, int]
    # The same with many rows in one text: `part`, `shard`, `first`, `rows`.
    texts: DataFrame

    def write(self, path: str) -> None:
        """Writes the rows as lines of text, a shard a folder, named by its range of places:
        `path/part=train/shard=000000200000-000000400000/`. In the order of their names the files of
        a part are those of `semid tasks build`."""
        ordered = self.texts.sortWithinPartitions("part", "shard", "first").drop("first")
        ordered.write.partitionBy("part", "shard").text(path)


def build_corpus(
    items: DataFrame,
    events: DataFrame,
    index: FilePath,
    recipe: FilePath,
    *,
    seed: int | None = None,
    partitions: int | None = None,
) -> Corpus:
    """The rows that `semid tasks build` makes of a recipe, of tables in place of its files of items
    and interactions, and of this index.

    `items` has a `key`, the fields that templates name, and maybe `row`, its place in the
    catalogue; without it items are placed by their keys. `events` has `user`, `item`, and maybe
    `time`, `rating`, and `order`, which tells which of events with the same time comes first.

    The rows are made at once, and kept on the executors' disks as long as the session. A task has
    all items, the index, and the events of its users, of which there are so many `partitions` as
    asked for; then a shard, of the recipe's `output.samples_per_shard`.
    """
    bundle = Bundle.of(items, index, recipe)
    counted = counted_of(by_user(events, partitions), bundle).persist(StorageLevel.DISK_ONLY)
    try:
        return made_of(counted, bundle, seed)
    finally:
        counted.unpersist()


def counted_of(shares: DataFrame, bundle: Bundle) -> DataFrame:
    """Users who are shared out: for each partition how many samples they have and how often they
    met each item, and their events as `log`."""

    def count(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        events = []
        for table in tables(batches, RUN):
            events.append(event_table(table))
            yield batch_of(schema, log=[bytes_of(table)])
        if not events:
            return
        samples, popularity = share_counts(*bundle.files(), events)
        met = numpy.flatnonzero(popularity).astype(numpy.uint32)
        yield batch_of(
            schema,
            partition=[partition()],
            samples=[samples],
            items=[met.tobytes()],
            events=[popularity[met].tobytes()],
        )

    schema = pyarrow.schema({
        "partition": pyarrow.int32(),
        "samples": pyarrow.string(),
        "items": pyarrow.binary(),
        "events": pyarrow.binary(),
        "log": pyarrow.binary(),
    })
    return shares.mapInArrow(count, from_arrow_schema(schema))


def made_of(counted: DataFrame, bundle: Bundle, seed: int | None) -> Corpus:
    """The rows of users who were counted."""
    known = counted.where(F.col("samples").isNotNull()).drop("log").collect()
    if not known:
        raise SemidError("the table of events is empty")
    popularity = numpy.zeros(bundle.items, numpy.uint32)
    for share in known:
        met = numpy.frombuffer(share.items, numpy.uint32)
        popularity[met] += numpy.frombuffer(share.events, numpy.uint32)
    standing = standings({share.partition: json.loads(share.samples) for share in known}, bundle)
    broadcast = counted.sparkSession.sparkContext.broadcast((standing, popularity))

    def make(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        logs = (batch["log"].drop_null() for batch in batches)
        events = [event_table(table_of(log)) for batch in logs for log in batch]
        if not events:
            return
        standing, popularity = broadcast.value
        share = ShareRows(*bundle.files(), events, standing[partition()], popularity, seed)
        counts: dict[str, int] = {}
        for part, samples, _ in share.parts():
            for rows in made(share, part, samples, counts):
                yield from blocks(part, rows)
        places = {part: places for part, _, places in share.parts()}
        account = json.dumps({"counts": counts, "places": places})
        yield batch_of(schema, account=[account])

    def blocks(part: str, rows: pyarrow.Table) -> Iterator[pyarrow.RecordBatch]:
        """Rows that are in order, a value for each shard."""
        shards = rows["place"].to_numpy() // bundle.shard
        starts = numpy.flatnonzero(numpy.diff(shards, prepend=-1))
        lengths = numpy.diff(starts, append=len(shards))
        yield batch_of(
            schema,
            part=[part] * len(starts),
            shard=shards[starts],
            rows=[bytes_of(rows.slice(*of)) for of in zip(starts, lengths)],
        )

    schema = pyarrow.schema({
        "part": pyarrow.string(),
        "shard": pyarrow.int64(),
        "rows": pyarrow.binary(),
        "account": pyarrow.string(),
    })
    blocked = counted.mapInArrow(make, from_arrow_schema(schema)).persist(StorageLevel.DISK_ONLY)
    told = blocked.where(F.col("account").isNotNull()).select("account").collect()
    accounts = [json.loads(row.account) for row in told]
    counts: dict[str, int] = {}
    for account in accounts:
        add(counts, account["counts"])
    return shards_of(blocked, counts, accounts[0]["places"], bundle.shard)


def made(
    share: ShareRows, part: str, samples: int, counts: dict[str, int]
) -> Iterator[pyarrow.Table]:
    """Rows of a part, some MiB at a time, each of these in the order of places."""
    held: list[pyarrow.RecordBatch] = []
    size = 0
    for first in range(0, samples, SAMPLES):
        places, ends, lines, own = share.rows(part, first, min(first + SAMPLES, samples))
        add(counts, own)
        held.append(rows_of(places, ends, lines))
        size += len(lines)
        if size >= HELD:
            yield in_order(held)
            held, size = [], 0
    if any(rows.num_rows for rows in held):
        yield in_order(held)


def shards_of(
    blocked: DataFrame, counts: dict[str, int], places: dict[str, int], size: int
) -> Corpus:
    """All rows in their order, of blocks that each have some of a shard's."""
    first: dict[str, int] = {}
    partitions = 0
    for part in sorted(places):
        first[part] = partitions
        partitions += -(-places[part] // size)
    number = F.create_map(*(F.lit(told) for of in first.items() for told in of))[F.col("part")]
    shards = blocked.where(F.col("account").isNull()).drop("account")
    shards = shards.repartitionById(partitions, (number + F.col("shard")).cast("int"))

    def merged(batches: Batches) -> Iterator[tuple[dict[str, str], pyarrow.Table]]:
        """The shard that a partition has, if any of its samples has a row."""
        blocks = [batch for batch in batches if batch.num_rows > 0]
        if blocks:
            part, shard = (blocks[0][name][0].as_py() for name in ("part", "shard"))
            start, end = shard * size, min((shard + 1) * size, places[part])
            rows = in_order([table_of(block) for batch in blocks for block in batch["rows"]])
            yield {"part": part, "shard": f"{start:012}-{end:012}"}, rows

    def rows(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        for shard, rows in merged(batches):
            for batch in rows.to_batches(ROWS):
                named = {name: [of] * batch.num_rows for name, of in shard.items()}
                yield pyarrow.record_batch(named | dict(zip(rows.column_names, batch.columns)))

    def texts(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        for shard, rows in merged(batches):
            for batch in rows.to_batches(ROWS):
                lines = pyarrow.ListArray.from_arrays([0, batch.num_rows], batch["row"])
                yield pyarrow.record_batch({
                    **{name: [of] for name, of in shard.items()},
                    "first": batch["place"][:1],
                    "rows": pyarrow.compute.binary_join(lines, "\n"),
                })

    return Corpus(
        shards.mapInArrow(rows, "part string, shard string, place long, row string"),
        counts,
        shards.mapInArrow(texts, "part string, shard string, first long, rows string"),
    )


class Bundle(NamedTuple):
    """What each task needs."""

    # The recipe, the catalogue, the index and the files that the recipe names.
    archive: str
    # Where each of these files lies in it, by its name in the recipe.
    places: dict[str, str]
    # How many items there are.
    items: int
    # Places of a shard.
    shard: int

    @classmethod
    def of(cls, items: DataFrame, index: FilePath, recipe: FilePath) -> Bundle:
        """Sends all that a recipe needs to the executors."""
        named = json.loads(recipe_files(recipe))
        places = {named["items"]: "items.parquet", named["index"]: "index.safetensors"}
        with tempfile.TemporaryDirectory() as scratch:
            table = pathlib.Path(scratch, "items.parquet")
            written = write_items(items, table)
            sent = {"recipe.toml": recipe, "items.parquet": table, "index.safetensors": index}
            for number, other in enumerate(named["others"]):
                path = pathlib.Path(recipe).parent / other
                places[other] = f"{number}/{path.name}"
                for file in path.rglob("*") if path.is_dir() else [path]:
                    sent[f"{number}/{file.relative_to(path.parent)}"] = file
            archive = ship(items.sparkSession, sent)
        return cls(archive, places, written, named["samples_per_shard"])

    def files(self) -> tuple[str, dict[str, str]]:
        """The recipe, and the files that it names on this executor."""
        files = {name: local(self.archive, place) for name, place in self.places.items()}
        return local(self.archive, "recipe.toml"), files


def write_items(items: DataFrame, path: pathlib.Path) -> int:
    """Writes the catalogue in the order of its rows; holds a few MiB of it."""
    fields = [name for name in items.columns if name != "row"]
    placed = items if "row" in items.columns else by_key(items)
    written = 0
    with contextlib.ExitStack() as stack:
        writer: pyarrow.parquet.ParquetWriter | None = None
        for run in runs(placed, ["row"], fields):
            if writer is None:
                writer = stack.enter_context(pyarrow.parquet.ParquetWriter(path, run.schema))
            writer.write_table(run)
            written += run.num_rows
    if written == 0:
        raise SemidError("the table of items is empty")
    return written


def by_user(events: DataFrame, partitions: int | None) -> DataFrame:
    """Events in the order of their users, which is that of `semid`: by number if all users are
    numbers, else by bytes; and all of a user in one partition, in the order of time."""
    casts = {"user": "string", "item": "string", "time": "double", "rating": "float"}
    optional = [name for name in ("time", "order", "rating") if name in events.columns]
    columns = [name for name in casts if name in ("user", "item", *optional)]
    given = events.withColumns({name: F.col(name).cast(casts[name]) for name in columns})
    users = ["user"]
    if given.where(~is_number(F.col("user"))).isEmpty():
        users = ["number", "user"]
        given = given.withColumn("number", number(F.col("user")))
    parted = given.select(*users, "item", *optional)
    parted = parted.repartitionByRange(*([partitions] if partitions else []), *users)
    # By all columns: which of two events comes first must not be chance.
    ties = [name for name in ("time", "order", "item", "rating") if name in (*optional, "item")]
    return parted.sortWithinPartitions(*users, *ties).select(*columns)


def is_number(user: Column) -> Column:
    """Whether a key is a number below 2^64."""
    digits = user.rlike(r"^\+?0*[0-9]{1,20}$")
    return digits & ((F.length(user) < 19) | (decimal(user) < F.lit(str(1 << 64)).cast(DECIMAL)))


def number(user: Column) -> Column:
    """A key's number, less 2^63: Spark has no unsigned numbers, and sorts decimals slowly."""
    least = -1 << 63
    large = (decimal(user) + F.lit(str(least)).cast(DECIMAL)).cast("long")
    return F.coalesce(user.try_cast("long") + F.lit(least), large)


def decimal(user: Column) -> Column:
    return user.try_cast(DECIMAL)


def event_table(events: pyarrow.Table) -> EventTable:
    """Events for what reads them."""

    def texts(name: str) -> tuple[bytes, NDArray[numpy.int32]]:
        column = events[name].cast(pyarrow.string()).combine_chunks()
        _, offsets, data = column.buffers()
        ends = numpy.frombuffer(offsets, numpy.int32)[column.offset :][: len(column) + 1]
        first, last = int(ends[0]), int(ends[-1])
        return data.slice(first, last - first).to_pybytes() if data else b"", ends - ends[0]

    times, ratings = (
        events[name].cast(kind).to_numpy() if name in events.column_names else None
        for name, kind in (("time", pyarrow.float64()), ("rating", pyarrow.float32()))
    )
    return EventTable(texts("user"), texts("item"), times, ratings)


def standings(counted: dict[int, dict[str, Any]], bundle: Bundle) -> dict[int, str]:
    """Where each partition's samples stand among all, as JSON."""
    order = sorted(counted)
    samples = {number: counted[number]["samples"] for number in order}
    totals = {
        part: [None if None in of else sum(of) for of in zip(*(s[part] for s in samples.values()))]
        for part in samples[order[0]]
    }
    firsts = {part: [0] * len(of) for part, of in totals.items()}
    told = {}
    for at, number in enumerate(order):
        start, end = (bundle.items * place // len(order) for place in (at, at + 1))
        standing = {
            part: [
                [start, bundle.items] if total is None else [first, total]
                for first, total in zip(firsts[part], of)
            ]
            for part, of in totals.items()
        }
        told[number] = json.dumps({"items": {"start": start, "end": end}, "samples": standing})
        for part, of in samples[number].items():
            firsts[part] = [first + (own or 0) for first, own in zip(firsts[part], of)]
    return told


def rows_of(
    places: NDArray[numpy.uint64], ends: NDArray[numpy.int64], lines: bytes
) -> pyarrow.RecordBatch:
    offsets = numpy.concatenate([[0], ends]).astype(numpy.int32)
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(lines)]
    return pyarrow.record_batch({
        "place": pyarrow.array(places.astype(numpy.int64)),
        "row": pyarrow.Array.from_buffers(pyarrow.string(), len(ends), buffers),
    })


def in_order(rows: list[pyarrow.RecordBatch] | list[pyarrow.Table]) -> pyarrow.Table:
    """Rows together, in the order of their places."""
    parts = [part if isinstance(part, pyarrow.Table) else pyarrow.table(part) for part in rows]
    table = pyarrow.concat_tables(parts).combine_chunks()
    return table.take(numpy.argsort(table["place"].to_numpy()))


def batch_of(schema: pyarrow.Schema, **columns: Any) -> pyarrow.RecordBatch:
    """Some columns of a schema; the others have nothing."""
    nothing = [None] * len(next(iter(columns.values())))
    given = [pyarrow.array(columns.get(field.name, nothing), field.type) for field in schema]
    return pyarrow.record_batch(given, schema=schema)


def add(sums: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        sums[name] = sums.get(name, 0) + count
