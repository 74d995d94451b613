import concurrent.futures
import json
import os
import pickle
import signal
import threading
import time

import numpy
import pytest
import semid
from semid import tasks

from test_encoder import write_model

ITEMS, USERS = 40, 30


@pytest.fixture
def recipe(tmp_path):
    """Items, histories and an index, and a recipe for two tasks."""
    index = semid.Index.build(
        [f"i{item}" for item in range(ITEMS)],
        numpy.array([[item // 8, item % 8] for item in range(ITEMS)], dtype=numpy.uint16),
        [5, 8],
    )
    index.save(tmp_path / "index.safetensors")
    items = [{"id": f"i{item}", "title": f"The {item}th thing"} for item in range(ITEMS)]
    (tmp_path / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    events = ["user_id,item_id,timestamp"]
    for user in range(USERS):
        events += [f"u{user},i{(user * 7 + at * 11) % ITEMS},{1000 + at}" for at in range(5 + user % 6)]
    (tmp_path / "events.csv").write_text("\n".join(events))
    return write_recipe(tmp_path)


def write_recipe(folder, name="recipe.toml", epochs=1, output=""):
    (folder / name).write_text(f"""
        epochs = {epochs}
        [inputs]
        items = "items.jsonl"
        interactions = "events.csv"
        index = "index.safetensors"
        [[tasks]]
        task = "sequential"
        [[tasks]]
        task = "item-to-text"
        {output}
    """)
    return folder / name


def test_rows_are_those_that_a_build_writes(recipe, tmp_path):
    report = tasks.build(recipe, tmp_path / "corpus")
    (shard,) = (tmp_path / "corpus" / "train").iterdir()
    written = [json.loads(line) for line in shard.read_text().splitlines()]
    corpus = tasks.Corpus(recipe)
    assert list(corpus) == written and sum(report["rows"].values()) == len(written)
    assert {row["provenance"]["task"] for row in written} == {"sequential", "item-to-text"}
    assert tasks.build(recipe)["rows"] == report["rows"]
    assert list(tasks.Corpus(recipe, seed=7)) != written


def test_workers_share_the_places(recipe):
    corpus = tasks.Corpus(recipe)
    halves = [(0, len(corpus) // 2), (len(corpus) // 2, len(corpus))]
    assert [row for half in halves for row in corpus.rows(*half)] == list(corpus)
    again = pickle.loads(pickle.dumps(corpus))
    assert again.rows(*halves[1]) == corpus.rows(*halves[1])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda at: corpus.rows(at, at + 1), range(len(corpus))))
    assert [row for part in parts for row in part] == list(corpus)
    if hasattr(os, "fork"):
        reader, writer = os.pipe()
        if (child := os.fork()) == 0:
            os.write(writer, str(len(list(corpus))).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert int(os.read(reader, 20)) == len(list(corpus))


def test_bad_recipes_and_places(recipe, tmp_path):
    with pytest.raises(semid.SemidError, match="got the places 0..10000, expected some of"):
        tasks.Corpus(recipe).rows(0, 10_000)
    with pytest.raises(semid.SemidError, match="has no task for the part valid"):
        tasks.Corpus(recipe, "valid")
    with pytest.raises(semid.SemidError, match="the parts are train, valid, test"):
        tasks.Corpus(recipe, "training")
    with pytest.raises(semid.SemidError, match="none.toml"):
        tasks.build(tmp_path / "none.toml")
    csv = write_recipe(tmp_path, "csv.toml", output='[output]\nformat = "minionerec"')
    with pytest.raises(semid.SemidError, match="no JSON"):
        tasks.Corpus(csv)


def interrupt_when(begun):
    """Presses Ctrl-C as soon as a condition holds."""

    def watch():
        while not begun():
            time.sleep(0.001)
        signal.raise_signal(signal.SIGINT)

    threading.Thread(target=watch, daemon=True).start()


def test_a_build_that_is_stopped_goes_on(recipe, tmp_path):
    """Ctrl-C is heard at once; the same build then gives what it would have given."""
    many = write_recipe(tmp_path, "many.toml", 3000, "[output]\nsamples_per_shard = 100000")
    out = tmp_path / "corpus"
    interrupt_when((out / "journal.json").exists)
    with pytest.raises(KeyboardInterrupt):
        tasks.build(many, out)
    assert not (out / "manifest.json").exists()
    report = tasks.build(many, out)
    whole = tasks.build(many, tmp_path / "whole")
    assert report["rows"] == whole["rows"]
    for file in (tmp_path / "whole" / "train").iterdir():
        assert file.read_bytes() == (out / "train" / file.name).read_bytes()


def test_embeddings_are_checked(recipe, tmp_path):
    """The items file names the rows; a model's own error is not that of fitted codebooks."""
    embeddings = numpy.random.default_rng(0).normal(size=(ITEMS, 8)).astype(numpy.float32)
    numpy.save(tmp_path / "emb.npy", embeddings)
    files = {"embeddings": tmp_path / "emb.npy", "keys": tmp_path / "items.jsonl"}
    fitted = semid.check(tmp_path / "index.safetensors", **files)
    assert fitted["least_squares"] and 0 < fitted["reconstruction_mse"] < 1
    other = semid.check(tmp_path / "index.safetensors", **files, seed=1)
    shuffled = [report["prefix_neighbour_recall"]["shuffled"] for report in (fitted, other)]
    assert shuffled[0] != shuffled[1]
    with pytest.raises(semid.SemidError, match="the model has 8 x 8 codes, the index 5 x 8"):
        model = write_model(tmp_path, levels=2, codes=8, dim=8)
        semid.check(tmp_path / "index.safetensors", **files, model=model)


def test_a_check_that_is_stopped_writes_no_page(tmp_path):
    """Ctrl-C is heard before all is measured."""
    rng = numpy.random.default_rng(0)
    codes = numpy.unique(rng.integers(0, 64, (200_000, 4), dtype=numpy.uint16), axis=0)
    index = semid.Index.build([str(row) for row in range(len(codes))], codes, [64] * 4)
    index.save(tmp_path / "index.safetensors")
    numpy.save(tmp_path / "emb.npy", rng.normal(size=(len(codes), 64)).astype(numpy.float32))
    page = tmp_path / "page.html"
    interrupt_when(lambda: any(tmp_path.glob(".semid-*")))
    with pytest.raises(KeyboardInterrupt):
        semid.check(tmp_path / "index.safetensors", embeddings=tmp_path / "emb.npy", report=page)
    assert not page.exists()


def test_an_index_is_checked(recipe, tmp_path):
    index = tmp_path / "index.safetensors"
    report = semid.check(index, interactions=tmp_path / "events.csv", items=tmp_path / "items.jsonl")
    assert report["items"] == report["unique"] == ITEMS
    assert report["levels_stats"][0]["used"] == 5 and report["interactions"]["users"] == USERS
    gated = semid.check(index, gate=["levels_stats.0.perplexity>=128"], report=tmp_path / "page.html")
    assert not gated["ok"] and "<html" in (tmp_path / "page.html").read_text()
    (tmp_path / "gates.toml").write_text("[gates]\nlevels_stats.0.used = { at_least = 6 }")
    gated = semid.check(index, gates=tmp_path / "gates.toml", without=["unique"])
    assert [gate["name"] for gate in gated["gates"]] == ["levels_stats.0.used"] and not gated["ok"]
    with pytest.raises(semid.SemidError, match='without: got "uniqe", expected one of unique'):
        semid.check(index, without=["uniqe"])
    with pytest.raises(semid.SemidError, match="got model without embeddings"):
        semid.check(index, model=tmp_path)
    with pytest.raises(semid.SemidError, match="levels_stats.0.nothing"):
        semid.check(index, gate=["levels_stats.0.nothing>1"])
    with pytest.raises(semid.SemidError, match="none.safetensors"):
        semid.check(tmp_path / "none.safetensors")
