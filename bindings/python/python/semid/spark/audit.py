"""Proof that a corpus knows nothing it must not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import numpy
import pyarrow
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from .._semid import SemidError, audit_rows, row_keys
from .corpus import Bundle, add, by_user, event_table
from .index import Batches, FilePath

__all__ = ["audit"]

# Findings of a rule that a report shows with their places.
SHOWN = 5


def audit(
    rows: DataFrame,
    items: DataFrame,
    events: DataFrame,
    index: FilePath,
    recipe: FilePath,
    *,
    partitions: int | None = None,
) -> dict[str, Any]:
    """What `semid tasks audit --recipe` reports of a corpus: every row is held against the events of
    its user, and rows against each other.

    `rows` are those of `build_corpus`, or its table read again; the rest is what they were made
    of. Users and their rows are shared out over so many `partitions`, each of which is held in
    memory at once; that of `spark.sql.shuffle.partitions` if not given.
    """
    spark = rows.sparkSession
    shares = partitions or int(spark.conf.get("spark.sql.shuffle.partitions") or 200)
    bundle = Bundle.of(items, index, recipe)

    def keyed(batches: Batches) -> Iterator[pyarrow.RecordBatch]:
        for batch in batches:
            # Of pairs a row may have several lines: they are of one user, and have one prompt.
            lines = [line.split(b"\n", 1)[0] for line in batch["row"].cast("binary").to_pylist()]
            users, prompts = row_keys(b"\n".join(lines))
            batch = batch.append_column("user", pyarrow.array(users, pyarrow.string()))
            yield batch.append_column("prompt", pyarrow.array(prompts.astype(numpy.int64)))

    def against_events(rows: pyarrow.Table, events: pyarrow.Table) -> pyarrow.Table:
        lines, places = lines_of(rows)
        if events.num_rows == 0:
            user = next(user for user in rows["user"].to_pylist() if user is not None)
            raise SemidError(f"there are rows of the user {user!r}, who has no events")
        ordered = event_table(events.sort_by("number"))
        report = json.loads(audit_rows(lines, *bundle.files(), [ordered]))
        for rule in report["rules"]:
            for found in rule["places"]:
                found["file"], found["place"] = places[int(found["place"].split()[-1]) - 1]
        return pyarrow.table({"report": [json.dumps(report)]})

    def against_each_other(rows: pyarrow.Table) -> pyarrow.Table:
        return pyarrow.table({"report": [audit_rows(lines_of(rows)[0])]})

    def share(key: Column, of: int = shares) -> Column:
        return F.pmod(F.xxhash64(key), F.lit(of)).cast("int")

    events = by_user(events, None).withColumn("number", F.monotonically_increasing_id())
    events = events.withColumn("share", share(F.col("user")))
    present = [F.lit(found.share) for found in events.select("share").distinct().collect()]
    if not present:
        raise SemidError("the table of events is empty")
    schema = "part string, place long, row string, user string, prompt long"
    made = rows.select("part", "place", "row").mapInArrow(keyed, schema)
    # A row of no user is held against the index alone, by whoever has events.
    anyone = F.element_at(F.array(*present), share(F.col("place"), len(present)) + 1)
    of_user = F.when(F.col("user").isNotNull(), share(F.col("user"))).otherwise(anyone)
    by_events = made.withColumn("share", of_user).groupBy("share").cogroup(events.groupBy("share"))
    by_prompt = made.groupBy(share(F.col("prompt")).alias("share"))
    held = by_events.applyInArrow(against_events, "report string")
    repeated = by_prompt.applyInArrow(against_each_other, "report string")
    return total(*([json.loads(told.report) for told in df.collect()] for df in (held, repeated)))


def lines_of(rows: pyarrow.Table) -> tuple[bytes, list[tuple[str, str]]]:
    """Rows in their order, and the part and place of each line."""
    ordered = rows.select(["part", "place", "row"])
    ordered = ordered.sort_by([("part", "ascending"), ("place", "ascending")])
    parts, places, texts = (ordered[name].to_pylist() for name in ordered.column_names)
    told = []
    for part, place, text in zip(parts, places, texts):
        told += [(part, f"place {place}")] * (text.count("\n") + 1)
    return "\n".join(texts).encode(), told


def total(held: list[dict[str, Any]], repeated: list[dict[str, Any]]) -> dict[str, Any]:
    """One report of all shares' reports."""
    sums: dict[str, Any] = {
        name: sum(report[name] for report in held)
        for name in ("rows", "users", "chosen_again", "drawn")
    }
    sums["rules"] = [
        rules[0]
        | {name: sum(rule[name] for rule in rules) for name in ("checked", "findings")}
        | {"places": first(found for rule in rules for found in rule["places"])}
        for rules in zip(*(report["rules"] for report in held))
    ]
    for kind in ("contradictions", "duplicates"):
        counted: dict[str, Any] = {}
        by_task: dict[str, int] = {}
        for report in repeated:
            add(by_task, report[kind].pop("by_task"))
            add(counted, report[kind])
        counted["share"] = counted["rows"] / max(1, sums["rows"])
        sums[kind] = counted | {"by_task": by_task}
    return sums


def first(places: Iterable[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(places, key=lambda found: (found["file"], int(found["place"].split()[-1])))[:SHOWN]
