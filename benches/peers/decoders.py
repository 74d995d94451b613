"""The decoders that race: decoders.py serves one of them, which `decode.py` asks."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import contestant

import numpy
import semid
import torch
import transformers
from flashrec.search import expand, trie as flashrec_trie
from semid import hf
from semid.torch import DeviceTrie

import catalogue
import prefix_callbacks
import search
from catalogue import CODES, FIRSTS, LEVELS, REQUESTS, VOCABULARY
from search import Decoder, Found, Model, StepDecoder
from transition_matrix import Transitions

#: Requests of the check, which a brute force answers too.
CHECKED = 2
#: A turn is one search or more, until so many seconds have gone.
TURN = 0.3


class Dense(StepDecoder):
    """A step of `generate` of transformers: a logits processor, then the best of `M V` scores."""

    def __init__(self, processor: Callable[[int], Callable[..., torch.Tensor]]) -> None:
        self.processor = processor

    def begin(self, requests: int, beams: int) -> None:
        # The least prompt there is.
        self.input_ids = torch.zeros(requests, 1, dtype=torch.long)

    def step(self, level, log_softmax, scores, beams):
        requests, rows, vocabulary = log_softmax.shape
        allowed = self.processor(rows)(self.input_ids, log_softmax.flatten(0, 1))
        total = allowed + scores.view(-1, 1)
        best, at = total.view(requests, -1).topk(beams)
        parents, tokens = at // vocabulary, at % vocabulary
        chosen = (parents + rows * torch.arange(requests)[:, None]).flatten()
        self.input_ids = torch.cat([self.input_ids[chosen], tokens.view(-1, 1)], 1)
        return best, tokens, parents


def callback(allowed: prefix_callbacks.Allowed) -> Dense:
    return Dense(lambda rows: transformers.PrefixConstrainedLogitsProcessor(allowed, rows))


class FlashRec(StepDecoder):
    """flashrec's own functions in its scheduler's order: the best tokens of each beam among those
    of the level, and of these the best `M` that the trie allows. It takes `2 M` a beam, so that
    what a model thinks likely but no item has crowds out items; all of a level are exact."""

    def __init__(self, codes: numpy.ndarray, candidates: int | None = None) -> None:
        self.candidates = candidates
        self.trie = flashrec_trie.build_trie_from_sequences(catalogue.tokens(codes).tolist())
        # Else built by the first step.
        self.trie._ensure_gpu_cache(torch.device("cpu"))

    def step(self, level, log_softmax, scores, beams):
        first = FIRSTS[level]
        tokens = torch.arange(first, first + CODES)
        rows = log_softmax[..., first : first + CODES]
        candidates = self.candidates or 2 * beams
        if level == 0:
            prompts = [1] * len(rows)
            self.lists = expand.init_from_prefill_batch(
                rows[:, 0], beams, candidates, LEVELS, prompts, self.trie, tokens
            )
            parents = torch.zeros(len(rows), beams, dtype=torch.long)
        else:
            values, at = rows.topk(candidates)
            each = zip(self.lists, tokens[at], values, strict=True)
            expanded = [expand.expand_step(*request, beams, self.trie) for request in each]
            parents = torch.stack(expanded)
        kept = [(request.cum_logprobs, request.last_tokens) for request in self.lists]
        best, chosen = map(torch.stack, zip(*kept))
        return best, chosen, parents


def index(codes: numpy.ndarray) -> semid.Index:
    return semid.Index.build([str(row) for row in range(len(codes))], codes, [CODES] * LEVELS)


def token_map(of: semid.Index) -> semid.TokenMap:
    return semid.TokenMap.ranges(of, FIRSTS, VOCABULARY)


class Semid:
    """`semid.BeamSearch`."""

    def __init__(self, codes: numpy.ndarray) -> None:
        self.trie = semid.Trie(index(codes))
        self.tokens = token_map(self.trie.index)

    def search(
        self, model: Model, requests: int, beams: int, normalized: bool
    ) -> Callable[[], Found]:
        beam_search = semid.BeamSearch(self.trie, self.tokens, k=beams, beams=beams)
        sums = numpy.zeros(requests * beams, numpy.float32)

        def scorer(step: semid.Step) -> Any:
            logits = model(len(step), lambda: step.prefixes)
            return (logits, sums[: len(step)]) if normalized else logits

        outcomes = beam_search.run(scorer, [None] * requests)

        def found() -> Found:
            hits = [outcome.hits for outcome in outcomes]
            items = [[tuple(hit.codes) for hit in of] for of in hits]
            return items, [[hit.score for hit in of] for of in hits]

        return found


class SemidTorch(StepDecoder):
    """`semid.torch.DeviceTrie`, which finds the log-softmax itself."""

    def __init__(self, codes: numpy.ndarray) -> None:
        built = index(codes)
        self.trie = DeviceTrie(built, token_map(built))

    def search(self, model, requests, beams, normalized):
        # StepDecoder leaves normalized logits as they are.
        return super().search(model, requests, beams, normalized=True)

    def begin(self, requests: int, beams: int) -> None:
        self.state = self.trie.root(requests)

    def step(self, level, logits, scores, beams):
        found = self.trie.step(level, logits, self.state, scores, beams)
        self.state = found.state
        return found.scores, found.tokens, found.parents


def semid_processor(codes: numpy.ndarray) -> Dense:
    built = index(codes)
    processor = hf.SemanticIdLogitsProcessor(semid.Trie(built), token_map(built), prompt_length=1)
    return Dense(lambda rows: processor)


DECODERS: dict[str, Callable[[numpy.ndarray], Decoder]] = {
    "unconstrained": lambda codes: Dense(lambda rows: lambda input_ids, scores: scores),
    "dict": lambda codes: callback(prefix_callbacks.dict_trie(catalogue.tokens(codes), prompt=1)),
    "marisa": lambda codes: callback(prefix_callbacks.marisa(catalogue.tokens(codes), prompt=1)),
    "static": Transitions,
    "flashrec": FlashRec,
    "flashrec-all": lambda codes: FlashRec(codes, CODES),
    "processor": semid_processor,
    "torch": SemidTorch,
    "semid": Semid,
}


def prepare(decoder: str, items: int, threads: int) -> tuple[str, numpy.ndarray, numpy.ndarray]:
    torch.set_num_threads(threads)
    return decoder, catalogue.codes(items), catalogue.logits()


def build(inputs: tuple[str, numpy.ndarray, numpy.ndarray]) -> Callable[..., contestant.Answer]:
    name, codes, logits = inputs
    decoder, stopwatch = DECODERS[name](codes), search.Stopwatch(logits)

    def check(beams: int) -> contestant.Answer:
        model = search.Lookup(logits, CHECKED)
        found = decoder.search(model, CHECKED, beams, normalized=False)
        return search.compare(found(), search.brute_force(codes, model, CHECKED, beams))

    def turn(beams: int, normalized: bool) -> contestant.Answer:
        once = lambda model: decoder.search(model, REQUESTS, beams, normalized)
        end = time.perf_counter() + TURN
        steps = [stopwatch.step(once)]
        while time.perf_counter() < end:
            steps.append(stopwatch.step(once))
        return {"step": statistics.median(steps)}

    return lambda question, **settings: (check if question == "check" else turn)(**settings)


if __name__ == "__main__":
    contestant.serve(prepare, build)
