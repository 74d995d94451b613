"""What the codes of an index tell about behaviour."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy
import pyarrow
from numpy.typing import NDArray
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from .. import _semid
from .._semid import Index, SemidError
from .corpus import by_user
from .files import local, ship
from .index import RUN, Batches, FilePath, drawn, tables

__all__ = ["held_out_gain"]


def held_out_gain(
    events: DataFrame, index: FilePath, *, users: int = 100_000, seed: int = 0
) -> dict[str, Any]:
    """By how many bits the last item's codes make the next item's more predictable than popularity:
    `semid.metrics.held_out_gain` of about so many users, drawn uniformly, or of all if there are
    no more. Their histories come to the driver, at 4 bytes an event.

    `events` has the columns of `build_corpus`. Those of items that the index lacks are left out,
    and counted as `unknown_items_skipped`.
    """
    if users < 1:
        raise SemidError(f"users: got {users}, expected at least 1")
    found = events.agg(F.countDistinct("user").alias("users")).collect()[0].users
    archive = ship(events.sparkSession, {"index.safetensors": index})

    def pack(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        index, last = Index(local(archive, "index.safetensors")), None
        for table in tables(batches, RUN):
            users = table["user"].combine_chunks()
            rows, known = rows_in(index, table["item"].combine_chunks())
            codes = users.dictionary_encode().indices.to_numpy()
            starts = numpy.flatnonzero(numpy.diff(codes, prepend=-1))
            yield pyarrow.record_batch({
                # A history may go on in the next table.
                "continues": [users[0].as_py() == last],
                "lengths": [numpy.add.reduceat(known, starts).astype(numpy.uint32).tobytes()],
                "rows": [rows[known].tobytes()],
                "skipped": [int((~known).sum())],
            })
            last = users[-1].as_py()

    taken = by_user(drawn(events, "user", users / max(1, found), seed), None)
    packed = taken.mapInArrow(
        pack, "continues boolean, lengths binary, rows binary, skipped long"
    )
    histories: list[NDArray[numpy.uint32]] = []
    skipped = 0
    for run in packed.toLocalIterator():
        lengths = numpy.frombuffer(run.lengths, numpy.uint32)
        rows = numpy.frombuffer(run.rows, numpy.uint32)
        parts = numpy.split(rows, numpy.cumsum(lengths[:-1]))
        if run.continues:
            parts[0] = numpy.concatenate([histories.pop(), parts[0]])
        histories += parts
        skipped += run.skipped
    histories = [history for history in histories if len(history) > 0]
    gain = _semid.held_out_gain(Index(index).to_numpy(), histories, seed=seed)
    return gain | {"unknown_items_skipped": skipped}


def rows_in(
    index: Index, items: pyarrow.Array
) -> tuple[NDArray[numpy.uint32], NDArray[numpy.bool_]]:
    """The rows of items, and which of them the index has."""
    encoded = items.dictionary_encode()
    rows = [index.row(key) if key in index else -1 for key in encoded.dictionary.to_pylist()]
    found = numpy.array(rows, numpy.int64)[encoded.indices.to_numpy()]
    return found.astype(numpy.uint32), found >= 0
