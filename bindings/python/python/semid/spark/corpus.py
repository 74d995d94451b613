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
import pyarrow.parquet
from numpy.typing import NDArray
from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .._semid import SemidError, ShareRows, recipe_files, share_counts
from .files import local, ship
from .index import Batches, FilePath, by_key, partition, runs

__all__ = ["Corpus", "build_corpus"]

# Samples whose rows are made at a time.
SAMPLES = 4096
# The largest user that is a number.
NUMBERS = (1 << 64) - 1


class Corpus(NamedTuple):
    """The rows of a corpus: `part`, `place` and `row`, a line of JSON, in their order within each
    part; and how many there are of each task, and why others are not there."""

    rows: DataFrame
    counts: dict[str, int]


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
    asked for.
    """
    bundle = Bundle.of(items, index, recipe)
    shares = by_user(events, partitions).persist(StorageLevel.DISK_ONLY)
    try:
        return made_of(shares, bundle, seed)
    finally:
        shares.unpersist()


def made_of(shares: DataFrame, bundle: Bundle, seed: int | None) -> Corpus:
    """The rows of users who are shared out: counted first, then made."""

    def count(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        with bundle.files(batches) as (recipe, files):
            if files is None:
                return
            samples, popularity = share_counts(recipe, files)
            met = numpy.flatnonzero(popularity).astype(numpy.uint32)
            yield pyarrow.record_batch({
                "partition": pyarrow.array([partition()], pyarrow.int32()),
                "samples": [samples],
                "items": [met.tobytes()],
                "events": [popularity[met].tobytes()],
            })

    counted = shares.mapInArrow(
        count, "partition int, samples string, items binary, events binary"
    ).collect()
    if not counted:
        raise SemidError("the table of events is empty")
    popularity = numpy.zeros(bundle.items, numpy.uint32)
    for share in counted:
        met = numpy.frombuffer(share.items, numpy.uint32)
        popularity[met] += numpy.frombuffer(share.events, numpy.uint32)
    standing = standings({share.partition: json.loads(share.samples) for share in counted}, bundle)
    broadcast = shares.sparkSession.sparkContext.broadcast((standing, popularity))

    def make(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        with bundle.files(batches) as (recipe, files):
            if files is None:
                return
            standing, popularity = broadcast.value
            share = ShareRows(recipe, files, standing[partition()], popularity, seed)
            total: dict[str, int] = {}
            for part, samples in share.samples():
                for first in range(0, samples, SAMPLES):
                    end = min(first + SAMPLES, samples)
                    places, ends, lines, counts = share.rows(part, first, end)
                    add(total, counts)
                    yield rows_of(part, places, ends, lines)
            yield account_of(total)

    made = shares.mapInArrow(make, "part string, place long, row string, account string")
    made = made.persist(StorageLevel.DISK_ONLY)
    total: dict[str, int] = {}
    for told in made.where(F.col("account").isNotNull()).select("account").collect():
        add(total, json.loads(told.account))
    rows = made.where(F.col("account").isNull()).drop("account")
    ordered = rows.repartitionByRange("part", "place").sortWithinPartitions("part", "place")
    return Corpus(ordered, total)


class Bundle(NamedTuple):
    """What each task needs."""

    # The recipe, the catalogue, the index and the files that the recipe names.
    archive: str
    # Where each of these files lies in it, by its name in the recipe.
    places: dict[str, str]
    # What the recipe calls the events.
    events: str
    # How many items there are.
    items: int

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
        return cls(archive, places, named["interactions"], written)

    @contextlib.contextmanager
    def files(self, events: Batches) -> Iterator[tuple[str, dict[str, str] | None]]:
        """The recipe, and the files that it names on this executor, these events among them; none
        if there are no events."""
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch, "events.parquet")
            sent = {name: local(self.archive, place) for name, place in self.places.items()}
            some = write_batches(events, path)
            files = sent | {self.events: str(path)} if some else None
            yield local(self.archive, "recipe.toml"), files


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


def write_batches(batches: Batches, path: pathlib.Path) -> bool:
    """Whether there were rows to write."""
    with contextlib.ExitStack() as stack:
        writer: pyarrow.parquet.ParquetWriter | None = None
        for batch in batches:
            if batch.num_rows == 0:
                continue
            if writer is None:
                opened = pyarrow.parquet.ParquetWriter(path, batch.schema, compression="none")
                writer = stack.enter_context(opened)
            writer.write_batch(batch)
    return writer is not None


def by_user(events: DataFrame, partitions: int | None) -> DataFrame:
    """Events in the order of their users, which is that of `semid`: by number if all users are
    numbers, else by bytes; and all of a user in one partition, in the order of time."""
    columns = ["user", "item", *(name for name in ("time", "rating") if name in events.columns)]
    ties = "order" if "order" in events.columns else "item"
    given = events.withColumns({name: F.col(name).cast("string") for name in ("user", "item")})
    digits = F.when(F.col("user").rlike(r"^\+?0*[0-9]{1,20}$"), F.col("user"))
    number = digits.cast("decimal(38, 0)")
    is_number = number.isNotNull() & (number <= F.lit(str(NUMBERS)).cast("decimal(38, 0)"))
    numbers = given.agg(F.min(is_number).alias("all")).collect()[0].all
    users = [number, F.col("user")] if numbers else [F.col("user")]
    order = [*users, *([F.col("time")] if "time" in columns else []), F.col(ties)]
    parted = given.repartitionByRange(*([partitions] if partitions else []), *users)
    return parted.sortWithinPartitions(*order).select(*columns)


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
    part: str, places: NDArray[numpy.uint64], ends: NDArray[numpy.int64], lines: bytes
) -> pyarrow.RecordBatch:
    offsets = numpy.concatenate([[0], ends]).astype(numpy.int32)
    buffers = [None, pyarrow.py_buffer(offsets), pyarrow.py_buffer(lines)]
    return pyarrow.record_batch({
        "part": pyarrow.array([part] * len(ends), pyarrow.string()),
        "place": pyarrow.array(places.astype(numpy.int64)),
        "row": pyarrow.Array.from_buffers(pyarrow.string(), len(ends), buffers),
        "account": pyarrow.nulls(len(ends), pyarrow.string()),
    })


def account_of(counts: dict[str, int]) -> pyarrow.RecordBatch:
    """A row that is none, and tells of all others."""
    return pyarrow.record_batch({
        "part": pyarrow.nulls(1, pyarrow.string()),
        "place": pyarrow.nulls(1, pyarrow.int64()),
        "row": pyarrow.nulls(1, pyarrow.string()),
        "account": pyarrow.array([json.dumps(counts)], pyarrow.string()),
    })


def add(sums: dict[str, int], counts: dict[str, int]) -> None:
    for name, count in counts.items():
        sums[name] = sums.get(name, 0) + count
