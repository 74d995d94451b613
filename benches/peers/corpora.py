"""Corpora: a plain Python generator beside `semid tasks build`, which keep no rows."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Iterator

from contestant import Answer, Contestant

ROUNDS = 3
#: The classes of `tasks_plain.py` and the tasks that make the same rows.
TASKS = {
    "Sequential": "sequential", "Fusion": "fusion",
    "TextToItem": "text-to-item", "ItemToText": "item-to-text",
}
KINDS = ["inter", "item", "index"]


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row a generator: rows of a corpus, and how many a second."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(scratch)
        name = catalogue(folder, quick)
        recipe = write_recipe(semid, folder)
        ours = lambda threads: lambda: build(semid, recipe, threads)
        with contextlib.closing(Contestant("tasks_plain.py", 1, folder=scratch)) as plain:
            racers: dict[str, Callable[[], Answer]] = {
                "plain Python": lambda: told(plain.ask()),
                "`semid tasks build`, one thread": ours(1),
                "`semid tasks build`, two threads": ours(2),
            }
            rounds = [{who: ask() for who, ask in racers.items()} for _ in range(ROUNDS)]
    for who in racers:
        answers = [answers[who] for answers in rounds]
        speed = statistics.median(answer["rows_a_second"] for answer in answers)
        yield {"contestant": who, "catalogue": name} | answers[-1] | {"rows_a_second": speed}


def told(answer: Answer) -> Answer:
    rows = {TASKS[kind]: count for kind, count in answer["rows"].items()}
    speed = sum(rows.values()) / (answer["listing"] + answer["making"])
    return {"rows": rows, "rows_a_second": speed, "peak": answer["peak"]}


def build(semid: pathlib.Path, recipe: pathlib.Path, threads: int) -> Answer:
    """Both count from the inputs that were read to the last row."""
    command = [str(semid), "tasks", "build", str(recipe), "--dry-run", "--json", "--quiet"]
    command += ["--threads", str(threads)]
    report = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    speed = sum(report["rows"].values()) / (report["seconds"] - report["seconds_reading"])
    return {"rows": report["rows"], "rows_a_second": speed, "peak": report["peak_rss"] / 1e6}


def write_recipe(semid: pathlib.Path, folder: pathlib.Path) -> pathlib.Path:
    index = folder / "index.safetensors"
    convert = [semid, "import", folder / "all.index.json", "--out", index, "--quiet"]
    subprocess.run(list(map(str, convert)), check=True, stdout=subprocess.DEVNULL)
    recipe = folder / "recipe.toml"
    inputs = ["[inputs]", 'items = "all.item.json"', 'interactions = "all.inter.json"']
    tasks = [f'[[tasks]]\ntask = "{task}"' for task in TASKS.values()]
    recipe.write_text("\n".join([*inputs, 'index = "index.safetensors"', *tasks]))
    return recipe


def catalogue(folder: pathlib.Path, quick: bool) -> str:
    """Puts `all.inter.json`, `all.item.json` and `all.index.json` into the folder; their name."""
    data = os.environ.get("SEMID_DATA")
    if data and not quick:
        for kind in KINDS:
            games = pathlib.Path(data, "games", f"Games.{kind}.json").resolve()
            (folder / f"all.{kind}.json").symlink_to(games)
        return "Games"
    for kind, content in zip(KINDS, generated(*((300, 500) if quick else (10_000, 30_000)))):
        (folder / f"all.{kind}.json").write_text(json.dumps(content))
    return "generated"


def generated(items: int, users: int) -> tuple[dict, dict, dict]:
    """Histories of 5 to 14 events, titles of 8 words, descriptions of 60, and codes at random."""
    chance = random.Random(0)
    word = lambda: "".join(chance.choices("aeilmnorst", k=6))
    words = lambda count: " ".join(word() for _ in range(count))
    codes = chance.sample(range(256**3), items)
    return (
        {user: chance.choices(range(items), k=chance.randint(5, 14)) for user in range(users)},
        {item: {"title": words(8), "description": words(60)} for item in range(items)},
        {item: [f"<{level}_{code >> 8 * at & 255}>" for at, level in enumerate("abc")]
         for item, code in enumerate(codes)},
    )
