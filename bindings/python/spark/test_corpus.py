"""The same corpora and figures as on one machine, from a cluster of two workers."""

import json
import os
import signal

import numpy
import pyarrow
import pytest
from pyspark.errors import PythonException
from pyspark.sql import functions as F

import semid
from semid import metrics, tasks
from semid import spark as on_spark
from semid._semid import audit_rows
from semid.spark.corpus import event_table

from cluster import executors

ITEMS, USERS = 240, 150

RECIPE = """
epochs = 2
[inputs]
items = "items.jsonl"
interactions = "events.jsonl"
index = "index.safetensors"
side_texts = ["side.jsonl"]
[interactions]
duplicates = "consecutive"
core = [3, 0]
[[tasks]]
task = "sequential"
[[tasks]]
task = "ranking"
rows = 333
[[tasks]]
task = "item-to-text"
weight = 1.7
[[tasks]]
task = "intention"
[[tasks]]
task = "text-to-item"
stage = 2
[[tasks]]
task = "sequential"
part = "valid"
held_out = true
[[tasks]]
task = "sequential"
part = "test"
"""


class Shop:
    """A catalogue, its index and what its users did, in files."""

    def __init__(self, folder, users, recipe=RECIPE):
        rng = numpy.random.default_rng(7)
        self.folder = folder
        self.keys = [f"i{row * 7919 % 1009}" for row in range(ITEMS)]
        self.items = [
            {"id": key, "title": f"Item {key}", "brand": f"b{row % 9}"}
            for row, key in enumerate(self.keys)
        ]
        codes = [[row // 64, row // 8 % 8, row % 8] for row in range(ITEMS)]
        self.index = folder / "index.safetensors"
        semid.Index.build(self.keys, numpy.array(codes, numpy.uint16), [8] * 3).save(self.index)
        self.events = [
            {"user": user, "item": self.keys[rng.integers(ITEMS) % 97], "time": int(time)}
            for user in users
            for time in rng.choice(10**6, rng.integers(1, 12), replace=False)
        ]
        rng.shuffle(self.events)
        side = {user: {"kind": "intention", "user": user, "target": 2, "made_at": 3, "text": f"For {user}"}
                for user in users[::3]}
        for name, lines in [("items", self.items), ("events", self.events), ("side", side.values())]:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            (folder / f"{name}.jsonl").write_text(text)
        self.recipe = folder / "recipe.toml"
        self.recipe.write_text(recipe)

    def tables(self, spark, partitions=3, rows=True):
        items = [(item["id"], row, item["title"], item["brand"]) for row, item in enumerate(self.items)]
        items = spark.createDataFrame(items, "key string, row long, title string, brand string")
        events = [(event["user"], event["item"], event["time"]) for event in self.events]
        events = spark.createDataFrame(events, "user string, item string, time long")
        events = events.repartition(partitions)
        return (items if rows else items.drop("row")), events

    def expected(self):
        """The lines of one machine's corpus, by part."""
        report = tasks.build(self.recipe, self.folder / "corpus")
        lines = {}
        for shard in sorted((self.folder / "corpus").glob("*/*.jsonl")):
            lines.setdefault(shard.parent.name, []).extend(shard.read_text().splitlines())
        return lines, report


NAMED = [f"u{user}" for user in range(USERS)]
NUMBERED = [str(user * 37) for user in range(USERS)]


@pytest.fixture(scope="module", params=[NAMED, NUMBERED], ids=["names", "numbers"])
def shop(request, tmp_path_factory):
    return Shop(tmp_path_factory.mktemp("shop"), request.param)


@pytest.mark.parametrize("partitions", [1, 7, 50])
def test_the_rows_are_those_of_one_machine(spark, shop, partitions):
    expected, report = shop.expected()
    items, events = shop.tables(spark, partitions)
    corpus = on_spark.build_corpus(items, events, shop.index, shop.recipe, partitions=partitions)
    for part in ("train", "valid", "test"):
        rows = corpus.rows.where(F.col("part") == part).collect()
        assert [row.row for row in rows] == expected[part]
    rows = {name: count for name, count in corpus.counts.items() if name.startswith("rows.")}
    assert sum(rows.values()) == sum(len(lines) for lines in expected.values())
    told = {f"{kind}.{name}": count for kind in ("rows", "skipped") for name, count in report[kind].items()}
    assert corpus.counts == told


def test_shards_are_named_by_what_they_have(spark, tmp_path):
    shop = Shop(tmp_path, NAMED, RECIPE + "[output]\nsamples_per_shard = 300\n")
    expected, _ = shop.expected()
    items, events = shop.tables(spark)
    corpus = on_spark.build_corpus(items, events, shop.index, shop.recipe)
    corpus.write(str(tmp_path / "written"))
    for part, lines in expected.items():
        folders = sorted((tmp_path / "written" / f"part={part}").glob("shard=*"))
        names = [folder.name.removeprefix("shard=") for folder in folders]
        starts = [f"{first:012}" for first in range(0, 300 * len(names), 300)]
        assert [name.split("-")[0] for name in names] == starts
        assert [name.split("-")[1] for name in names][:-1] == starts[1:]
        files = [sorted(folder.glob("part-*")) for folder in folders]
        assert all(len(of_shard) == 1 for of_shard in files)
        written = "".join(file.read_text() for (file,) in files)
        assert written.splitlines() == lines
        ordered = corpus.rows.where(F.col("part") == part).select("shard").distinct().collect()
        assert sorted(row.shard for row in ordered) == names
    assert len(expected["train"]) > 600


def test_an_executor_may_die(spark, shop):
    expected, _ = shop.expected()
    items, events = shop.tables(spark)
    corpus = on_spark.build_corpus(items, events, shop.index, shop.recipe, partitions=5)
    for victim in executors(spark):
        os.kill(victim, signal.SIGKILL)
    rows = corpus.rows.where(F.col("part") == "train").collect()
    assert [row.row for row in rows] == expected["train"]


@pytest.mark.parametrize("time", ["string", "timestamp", "double"])
def test_times_are_of_any_type(spark, shop, time):
    expected, _ = shop.expected()
    items, events = shop.tables(spark)
    typed = events.withColumn("time", F.col("time").cast(time))
    corpus = on_spark.build_corpus(items, typed, shop.index, shop.recipe)
    rows = corpus.rows.where(F.col("part") == "test").collect()
    assert [row.row for row in rows] == expected["test"]


def test_users_may_be_the_largest_numbers(spark, tmp_path):
    users = [str(number) for number in (0, 7, 10**18, 2**63 - 1, 2**63, 2**64 - 1)] + ["007", "+8"]
    shop = Shop(tmp_path, users)
    expected, _ = shop.expected()
    items, events = shop.tables(spark)
    corpus = on_spark.build_corpus(items, events, shop.index, shop.recipe, partitions=3)
    rows = corpus.rows.where(F.col("part") == "train").collect()
    assert [row.row for row in rows] == expected["train"]


def test_another_seed_gives_other_rows(spark, shop):
    items, events = shop.tables(spark)
    one, other = (
        on_spark.build_corpus(items, events, shop.index, shop.recipe, seed=seed).rows.collect()
        for seed in (1, 2)
    )
    assert len(one) > 0 and one != other


@pytest.mark.parametrize(
    ("line", "instead", "message"),
    [
        ("core = [3, 0]", "core = [3, 3]", "filter the table, and"),
        ("[interactions]", "[split]\nby = \"ratio\"\nshares = [8, 1, 1]\n[interactions]", "take the two times"),
        ("rows = 333", "tokens = 1000", "tokens"),
        ("task = \"ranking\"", "task = \"rankling\"", "there is no task"),
    ],
)
def test_a_recipe_that_shares_cannot_follow_is_refused(spark, tmp_path, line, instead, message):
    shop = Shop(tmp_path, NAMED[:5], RECIPE.replace(line, instead))
    with pytest.raises((semid.SemidError, PythonException), match=message):
        on_spark.build_corpus(*shop.tables(spark), shop.index, shop.recipe)


def test_events_that_are_none_are_named(spark, shop):
    items, events = shop.tables(spark)
    strange = events.union(spark.createDataFrame([("u7", "nothing", 5)], events.schema))
    with pytest.raises(PythonException, match='the item "nothing" is not in the catalogue'):
        on_spark.build_corpus(items, strange, shop.index, shop.recipe)
    without = events.withColumn("user", F.when(F.col("time") > 500_000, F.col("user")))
    with pytest.raises(PythonException, match="user"):
        on_spark.build_corpus(items, without, shop.index, shop.recipe)
    with pytest.raises(semid.SemidError, match="the table of events is empty"):
        on_spark.build_corpus(items, events.limit(0), shop.index, shop.recipe)


def test_the_gain_is_that_of_one_machine(spark, shop):
    _, events = shop.tables(spark, 7)
    histories = {}
    for event in sorted(shop.events, key=lambda event: event["time"]):
        histories.setdefault(event["user"], []).append(shop.keys.index(event["item"]))
    index = semid.Index(shop.index)
    expected = metrics.held_out_gain(index.to_numpy(), list(histories.values()), seed=3)
    strange = events.union(spark.createDataFrame([("u7", "nothing", 5)], events.schema))
    gain = on_spark.held_out_gain(strange, shop.index, seed=3)
    assert gain.pop("unknown_items_skipped") == 1
    assert gain.keys() == expected.keys()
    for name, value in expected.items():
        assert gain[name] == pytest.approx(value)
    some = on_spark.held_out_gain(events, shop.index, users=75, seed=3)
    assert 0 < some["pairs"] < expected["pairs"]


def test_an_audit_is_that_of_one_machine(spark, shop):
    items, events = shop.tables(spark)
    rows = on_spark.build_corpus(items, events, shop.index, shop.recipe).rows
    report = on_spark.audit(rows, items, events, shop.index, shop.recipe, partitions=5)
    lines = [row.row for part in ("test", "train", "valid") for row in rows.where(F.col("part") == part).collect()]
    ordered = sorted(shop.events, key=lambda event: event["user"])
    alone = event_table(pyarrow.Table.from_pylist(ordered))
    expected = audit_rows("\n".join(lines).encode(), shop.recipe, {}, [alone])
    assert report == json.loads(expected)
    assert report["rows"] == len(lines) and report["duplicates"]["rows"] > 0
    assert not any(rule["findings"] for rule in report["rules"])

    # A row that reads what it must predict.
    horizon = F.regexp_replace("row", r'"reads":\[(\d+),\d+\]', r'"reads":[$1,99]')
    leaks = (F.col("part") == "test") & F.col("place").isin(3, 4)
    broken = rows.withColumn("row", F.when(leaks, horizon).otherwise(F.col("row")))
    report = on_spark.audit(broken, items, events, shop.index, shop.recipe)
    rule = next(rule for rule in report["rules"] if rule["rule"] == "horizon")
    assert rule["findings"] == 2
    assert [(found["file"], found["place"]) for found in rule["places"]] == [
        ("test", "place 3"), ("test", "place 4")
    ]


def test_rows_of_users_without_events_are_an_error(spark, shop):
    items, events = shop.tables(spark)
    rows = on_spark.build_corpus(items, events, shop.index, shop.recipe).rows
    few = events.where(F.col("user") == events.first().user)
    with pytest.raises(PythonException, match="who has no events"):
        on_spark.audit(rows, items, few, shop.index, shop.recipe)
