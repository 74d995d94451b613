"""What the Python layer costs: layer.py serves its measures, which `python_layer.py` asks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import contestant

import numpy
import semid
import torch
from semid import hf
from semid.torch import DeviceTrie

import catalogue
import decoders
from catalogue import FIRSTS, LEVELS, REQUESTS, VOCABULARY
from transition_matrix import Transitions


def median(of: Callable[[], Any], rounds: int = 15) -> float:
    """Seconds of a call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        of()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def prepare(items: int, rows: int, threads: int) -> tuple[numpy.ndarray, int]:
    torch.set_num_threads(threads)
    return catalogue.codes(items), rows


def build(inputs: tuple[numpy.ndarray, int]) -> Callable[..., contestant.Answer]:
    codes, rows = inputs
    index = decoders.index(codes)
    trie, tokens = semid.Trie(index), decoders.token_map(index)

    paths, beams = codes[:: len(codes) // rows][:rows], rows // REQUESTS

    def find(prefix: numpy.ndarray) -> semid.Cursor:
        cursor = trie.find(prefix.tolist())
        assert cursor is not None
        return cursor

    def children() -> contestant.Answer:
        """Microseconds of one call of `Trie.children`."""
        cursor, calls = find(paths[0, :2]), 20_000
        seconds = median(lambda: [trie.children(cursor) for _ in range(calls)])
        return {"microseconds": seconds / calls * 1e6}

    def masks(path: str) -> contestant.Answer:
        """Milliseconds of filling the masks of all rows, by level; the index is saved to `path`."""
        index.save(path)
        out = numpy.zeros((rows, -(-VOCABULARY // 32)), numpy.int32)
        times = []
        for level in range(1, LEVELS):
            cursors = semid.Cursors(list(map(find, paths[:, :level])))
            times.append(1e3 * median(lambda: trie.fill_masks(tokens, cursors, out), 301))
        return {"milliseconds": times}

    def processor(level: int) -> contestant.Answer:
        """The logits processor beside the addition of a mask that is ready; milliseconds."""
        words = torch.zeros(rows, 8, dtype=torch.long)
        spelled = torch.from_numpy(catalogue.tokens(paths)[:, :level])
        sequences, scores = torch.cat([words, spelled], 1), torch.randn(rows, VOCABULARY)
        process = hf.SemanticIdLogitsProcessor(trie, tokens, prompt_length=8)
        mask = torch.where(process(sequences, scores).isfinite(), 0.0, -torch.inf)
        ours, add = median(lambda: process(sequences, scores)), median(lambda: scores + mask)
        return {"ours": 1e3 * ours, "theirs": 1e3 * add}

    def step(level: int) -> contestant.Answer:
        """A step of `semid.torch` beside one of a transition matrix; milliseconds."""
        device, matrix = DeviceTrie(index, tokens), Transitions(codes)
        nodes = [find(path).node for path in paths[:, :level]]
        state = torch.tensor(nodes).view(REQUESTS, beams)
        logits, scores = torch.randn(*state.shape, VOCABULARY), torch.randn(state.shape)

        def theirs() -> torch.Tensor:
            matrix.state = state + matrix.states[level]
            return matrix.step(level, logits.log_softmax(-1), scores, beams)[0]

        ours = lambda: device.step(level, logits, state, scores, beams).scores
        torch.testing.assert_close(ours(), theirs())
        return {"ours": 1e3 * median(ours), "theirs": 1e3 * median(theirs)}

    def encode(model: str, embeddings: str) -> contestant.Answer:
        """Seconds of encoding a catalogue, and of doing so and telling its items apart."""
        encoder, x = semid.Encoder(model), numpy.load(embeddings)
        keys = [str(row) for row in range(len(x))]
        return {
            "encode": median(lambda: encoder.encode(x), rounds=5),
            "assign": median(lambda: semid.assign(encoder, x, keys), rounds=5),
        }

    measures = (children, masks, processor, step, encode)
    named: dict[str, Callable[..., contestant.Answer]] = {of.__name__: of for of in measures}
    return lambda measure, **settings: named[measure](**settings)


if __name__ == "__main__":
    contestant.serve(prepare, build)
