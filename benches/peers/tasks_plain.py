"""A plain Python generator of corpora, which `corpora.py` asks: one epoch of the sequential, fusion
and item-text families on one core, in the style of a `Dataset.__getitem__` that draws a template
and formats it, a JSON object a row.
"""

from __future__ import annotations

import json
import os
import pathlib
import random
import time
from collections.abc import Callable

import contestant

HISTORY = 20

SEQUENTIAL = [
    ("Someone bought {history} in this order. Name what comes next.", "{item}"),
    ("Here is a shopping history, oldest first: {history}. Which item follows?", "{item}"),
    ("Given the purchases {history}, predict the next one.", "{item}"),
    ("The basket so far: {history}. Continue it by one item.", "{item}"),
]
FUSION = [
    ("After {history}, what is the title of the next item?", "{title}"),
    ("A customer owns {history}. Write the title of what they buy next.", "{title}"),
    ("After {history}, describe the item that comes next.", "{description}"),
    ("A customer owns {history}. What is the product like that they take next?", "{description}"),
    ("The titles bought so far are {history_titles}. Which item is next?", "{item}"),
    ("Someone enjoyed {history_titles}, in this order. Name their next item.", "{item}"),
]
TEXT_TO_ITEM = [
    ("Which item is called \"{title}\"?", "{item}"),
    ("Find the item that fits this text: {description}", "{item}"),
    ("\"{title}\": {description} Which item is it?", "{item}"),
]
ITEM_TO_TEXT = [
    ("What is {item} called?", "{title}"),
    ("Describe {item}.", "{description}"),
    ("Give title and description of {item}.", "{title}\n\n{description}"),
]


class Sequential:
    """A user's history before each event of training, as IDs, and the event."""

    templates = SEQUENTIAL

    def __init__(self, histories: dict, items: dict, ids: dict):
        self.samples = []
        for user, events in histories.items():
            events = events[:-2]
            for target in range(1, len(events)):
                history = events[max(0, target - HISTORY) : target]
                self.samples.append(self.sample(user, history, events[target], items, ids))

    def sample(self, user: str, history: list, target: int, items: dict, ids: dict) -> dict:
        before = ", ".join(ids[item] for item in history)
        return {"user": user, "history": before, "item": ids[target]}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, at: int) -> dict:
        sample = self.samples[at]
        prompt, answer = random.choice(self.templates)
        return {"prompt": prompt.format(**sample), "completion": answer.format(**sample)}


class Fusion(Sequential):
    """The same with titles and descriptions."""

    templates = FUSION

    def sample(self, user: str, history: list, target: int, items: dict, ids: dict) -> dict:
        titles = ", ".join(f'"{items[item]["title"]}"' for item in history)
        texts = items[target]
        return super().sample(user, history, target, items, ids) | {
            "history_titles": titles, "title": texts["title"], "description": texts["description"],
        }


class TextToItem(Sequential):
    """An item by its texts."""

    templates = TEXT_TO_ITEM

    def __init__(self, _: dict, items: dict, ids: dict):
        self.samples = [
            {"item": ids[item], "title": texts["title"], "description": texts["description"]}
            for item, texts in items.items()
        ]


class ItemToText(TextToItem):
    """An item's texts."""

    templates = ITEM_TO_TEXT


def read(folder: pathlib.Path, ending: str) -> dict:
    (path,) = folder.glob(f"*.{ending}.json")
    return json.loads(path.read_text())


def prepare(folder: str, threads: int) -> tuple[dict, dict, dict]:
    """Histories, texts and IDs of a folder in LC-Rec's style: `*.inter.json`, `*.item.json` and
    `*.index.json`."""
    data = pathlib.Path(folder)
    items = {int(item): texts for item, texts in read(data, "item").items()}
    ids = {int(item): "".join(tokens) for item, tokens in read(data, "index").items()}
    return read(data, "inter"), items, ids


def build(inputs: tuple[dict, dict, dict]) -> Callable[..., contestant.Answer]:
    def write() -> contestant.Answer:
        """Seconds of listing the samples, and of making the rows, which nobody keeps."""
        random.seed(42)
        start = time.perf_counter()
        tasks = [kind(*inputs) for kind in (Sequential, Fusion, TextToItem, ItemToText)]
        listed = time.perf_counter()
        order = [(task, at) for task in tasks for at in range(len(task))]
        random.shuffle(order)
        with open(os.devnull, "w", encoding="utf-8") as file:
            for task, at in order:
                file.write(json.dumps(task[at], ensure_ascii=False) + "\n")
        rows = {type(task).__name__: len(task) for task in tasks}
        return {"rows": rows, "listing": listed - start, "making": time.perf_counter() - listed}

    return write


if __name__ == "__main__":
    contestant.serve(prepare, build)
