"""Decoding: each decoder's step of a beam search, timed in turn and checked by brute force."""

from __future__ import annotations

import contextlib
import json
import pathlib
import statistics
import subprocess
from collections.abc import Iterator
from typing import Any

import catalogue
from contestant import Answer, Contestant

#: Name in `decoders.py`, and in the tables.
DECODERS = {
    "unconstrained": "`generate`'s step without a constraint",
    "dict": "the same with a dict trie",
    "marisa": "the same with GENRE's `marisa-trie`",
    "processor": "the same with `semid.hf`'s processor",
    "static": "transition matrix (STATIC)",
    "flashrec": "`flashrec`",
    "flashrec-all": "`flashrec`, all tokens of a level",
    "torch": "`semid.torch`",
    "semid": "`semid.BeamSearch`",
}
RUST = "`semid`, in Rust"
#: These find the normalizer together with the rest.
UNDIVIDED = {DECODERS["torch"]}
ROUNDS = 3


class Rust:
    """`semid bench decode`, which draws its own catalogue and logits of the same shapes."""

    def __init__(self, semid: pathlib.Path, items: int, threads: int) -> None:
        self.command = [semid, "bench", "decode", "--json", "--items", items, "--threads", threads]
        self.built: Answer = {}

    def ask(self, question: str, beams: int, normalized: bool = False) -> Answer:
        if question == "check":
            return {}
        command = [*self.command, "--beams", beams]
        out = subprocess.run(list(map(str, command)), capture_output=True, check=True).stdout
        report = json.loads(out)
        steps = report["step_seconds"]["constraint" if normalized else "full_vocab"]
        tree = report["bytes_per_item"] * report["items"] / 1e6
        self.built = {"seconds": report["build_seconds"], "held": tree}
        return {"step": 1e3 * statistics.mean(steps[1:])}

    def close(self) -> None:
        pass


def race(semid: pathlib.Path, quick: bool) -> Iterator[Answer]:
    """A row a decoder, catalogue, number of threads and of beams; milliseconds and megabytes."""
    if quick:
        yield from heat(semid, items=2_000, threads=1, beams=[5])
        return
    for items in (100_000, 1_000_000):
        for threads in (1, 2):
            yield from heat(semid, items, threads, beams=[20, 50])


def heat(semid: pathlib.Path, items: int, threads: int, beams: list[int]) -> Iterator[Answer]:
    with contextlib.ExitStack() as stack:
        racers: dict[str, Any] = {RUST: Rust(semid, items, threads)}
        for decoder, name in DECODERS.items():
            racer = Contestant("decoders.py", threads, decoder=decoder, items=items)
            racers[name] = stack.enter_context(contextlib.closing(racer))
        rows = [row for count in beams for row in timed(racers, count, threads)]
        # Last, as it takes memory of its own; and threads change nothing.
        for row in rows:
            check = checked(racers[row["contestant"]], row["beams"]) if threads == 1 else {}
            yield {"items": items, "vocabulary": catalogue.VOCABULARY} | row | check


def timed(racers: dict[str, Any], beams: int, threads: int) -> Iterator[Answer]:
    whole = turns(racers, beams=beams, normalized=False)
    apart = {}
    if threads == 1:
        divided = {name: racer for name, racer in racers.items() if name not in UNDIVIDED}
        apart = turns(divided, beams=beams, normalized=True)
    for name, racer in racers.items():
        yield {
            "contestant": name, "requests": catalogue.REQUESTS, "beams": beams, "threads": threads,
            "build_seconds": racer.built["seconds"], "held": racer.built["held"],
            "grown": whole[name].get("grown"), "step": whole[name]["step"],
            "constraint": apart.get(name, {}).get("step"),
        }


def turns(racers: dict[str, Any], **question: Any) -> dict[str, Answer]:
    """All in turn, once to warm up and then `ROUNDS` times; the median."""
    ask = lambda racer: racer.ask(question="turn", **question)
    rounds = [{name: ask(racer) for name, racer in racers.items()} for _ in range(1 + ROUNDS)]
    return {
        name: last | {"step": statistics.median(told[name]["step"] for told in rounds[1:])}
        for name, last in rounds[-1].items()
    }


def checked(racer: Any, beams: int) -> Answer:
    told = racer.ask(question="check", beams=beams)
    return {key: told[key] for key in ("found", "exact") if key in told}
