"""Grammar engines and the masks they fill: grammars.py serves one of them, which `masks.py` asks.

A catalogue is a grammar in which each prefix with several continuations is a rule of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import contestant

import llguidance
import llguidance.torch
import numpy
import outlines_core
import outlines_core.kernels.torch
import semid
import torch
import xgrammar

import catalogue
from catalogue import CODES, FIRSTS, LEVELS, VOCABULARY
from decoders import index, token_map

ROWS, END = 160, 0
#: What the tokens spell: no other token begins as those of the codes do.
WORDS = ["</s>"] + [f"w{token}" for token in range(1, FIRSTS[0])]
WORDS += [f"<{'abcd'[level]}_{code}>" for level in range(LEVELS) for code in range(CODES)]


class Engine(Protocol):
    """States of a grammar, of which beams hold one each."""

    def root(self) -> Any: ...
    def next(self, state: Any, path: Sequence[int]) -> Any:
        """The state after the last token of `path`; that of the others is `state`."""

    def fill(self, states: Sequence[Any], masks: torch.Tensor) -> None:
        """Sets the bits of the tokens that may come next, `[rows, ceil(V / 32)]`."""


Tree = dict[int, "Tree"]


def tree(paths: numpy.ndarray) -> Tree:
    root: Tree = {}
    for path in paths.tolist():
        node = root
        for token in path:
            node = node.setdefault(token, {})
    return root


def rules(node: Tree, spell: Callable[[int], str], join: str, name: str) -> Iterator[str]:
    """The rules of a tree, that of its root last."""
    branches = []
    for number, (token, below) in enumerate(node.items()):
        spelled = [spell(token)]
        while len(below) == 1:
            ((token, below),) = below.items()
            spelled.append(spell(token))
        if below:
            inner = f"{name}_{number}"
            yield from rules(below, spell, join, inner)
            spelled.append(inner)
        branches.append(" ".join(spelled))
    yield name + join + " | ".join(branches)


class XGrammar:
    def __init__(self, paths: numpy.ndarray, threads: int) -> None:
        told = xgrammar.TokenizerInfo(WORDS, vocab_size=VOCABULARY, stop_token_ids=[END])
        compiler = xgrammar.GrammarCompiler(told, max_threads=threads)
        text = "\n".join(rules(tree(paths), lambda token: f'"{WORDS[token]}"', " ::= ", "root"))
        self.grammar = compiler.compile_grammar(text)
        self.batch = xgrammar.BatchGrammarMatcher(max_threads=threads)

    def root(self) -> xgrammar.GrammarMatcher:
        return xgrammar.GrammarMatcher(self.grammar)

    def next(self, state: xgrammar.GrammarMatcher, path: Sequence[int]) -> xgrammar.GrammarMatcher:
        forked = state.fork()
        assert forked.accept_token(path[-1])
        return forked

    def fill(self, states: Sequence[xgrammar.GrammarMatcher], masks: torch.Tensor) -> None:
        self.batch.batch_fill_next_token_bitmask(list(states), masks)


class LLGuidance:
    def __init__(self, paths: numpy.ndarray, threads: int) -> None:
        class Words:
            eos_token_id, bos_token_id = END, None
            tokens = [word.encode() for word in WORDS]

            def __call__(self, text: bytes) -> list[int]:
                return [1]

        tokenizer = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Words()))
        text = "\n".join(rules(tree(paths), lambda token: f"<[{token}]>", ": ", "start"))
        grammar = llguidance.LLMatcher.grammar_from_lark(text)
        self.matcher = llguidance.LLMatcher(tokenizer, grammar)
        if self.matcher.is_error():
            raise RuntimeError(self.matcher.get_error())
        self.executor = llguidance.LLExecutor(num_threads=threads)

    def root(self) -> llguidance.LLMatcher:
        return self.matcher.deep_copy()

    def next(self, state: llguidance.LLMatcher, path: Sequence[int]) -> llguidance.LLMatcher:
        forked = state.deep_copy()
        assert forked.consume_token(path[-1])
        return forked

    def fill(self, states: Sequence[llguidance.LLMatcher], masks: torch.Tensor) -> None:
        numbered = [(state, row) for row, state in enumerate(states)]
        llguidance.torch.fill_next_token_bitmask_par(self.executor, numbered, masks)


class Outlines:
    """A regular expression; a guide cannot be forked, so that it reads its path anew."""

    def __init__(self, paths: numpy.ndarray, threads: int) -> None:
        vocabulary = outlines_core.Vocabulary(END, {word: [i] for i, word in enumerate(WORDS) if i})
        self.index = outlines_core.Index(expression(tree(paths)), vocabulary)

    def root(self) -> outlines_core.Guide:
        return outlines_core.Guide(self.index)

    def next(self, state: outlines_core.Guide, path: Sequence[int]) -> outlines_core.Guide:
        guide = self.root()
        for token in path:
            guide.advance(token, return_tokens=False)
        return guide

    def fill(self, states: Sequence[outlines_core.Guide], masks: torch.Tensor) -> None:
        for state, mask in zip(states, masks.split(1), strict=True):
            outlines_core.kernels.torch.fill_next_token_bitmask(state, mask)


def expression(node: Tree) -> str:
    rest = lambda below: expression(below) if below else ""
    branches = [WORDS[token] + rest(below) for token, below in node.items()]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


class Semid:
    def __init__(self, paths: numpy.ndarray, threads: int) -> None:
        self.trie = semid.Trie(index((paths - FIRSTS).astype(numpy.uint16)))
        self.tokens = token_map(self.trie.index)

    def root(self) -> semid.Cursor:
        return self.trie.root

    def next(self, state: semid.Cursor, path: Sequence[int]) -> semid.Cursor:
        child = self.trie.child(state, path[-1] - FIRSTS[len(path) - 1])
        assert child is not None
        return child

    def fill(self, states: Sequence[semid.Cursor], masks: torch.Tensor) -> None:
        self.trie.fill_masks(self.tokens, states, masks.numpy())


ENGINES: dict[str, Callable[[numpy.ndarray, int], Engine]] = {
    "xgrammar": XGrammar, "llguidance": LLGuidance, "outlines-core": Outlines, "semid": Semid,
}


def prepare(engine: str, items: int, threads: int) -> tuple[str, numpy.ndarray, int]:
    torch.set_num_threads(threads)
    return engine, catalogue.tokens(catalogue.codes(items)), threads


def build(inputs: tuple[str, numpy.ndarray, int]) -> Callable[..., contestant.Answer]:
    name, paths, threads = inputs
    engine = ENGINES[name](paths, threads)
    chosen = paths[numpy.random.default_rng(2).choice(len(paths), ROWS)].tolist()

    def race() -> contestant.Answer:
        """Microseconds a beam from one level to the next, and milliseconds for all masks."""
        states, moves, fills, right = [engine.root() for _ in chosen], [], [], True
        masks = torch.zeros(ROWS, -(-VOCABULARY // 32), dtype=torch.int32)
        for level in range(1, LEVELS):
            start = time.perf_counter()
            states = [
                engine.next(state, path[:level]) for state, path in zip(states, chosen, strict=True)
            ]
            moved = time.perf_counter()
            engine.fill(states, masks)
            moves.append((moved - start) / ROWS * 1e6)
            fills.append((time.perf_counter() - moved) * 1e3)
            right &= all(map(check, masks, (path[:level] for path in chosen)))
        return {"move": numpy.mean(moves), "fill": numpy.mean(fills), "exact": right}

    def check(mask: torch.Tensor, prefix: list[int]) -> bool:
        level = len(prefix)
        real = numpy.unique(paths[(paths[:, :level] == prefix).all(1), level])
        bits = numpy.unpackbits(mask.numpy().view(numpy.uint8), bitorder="little")
        return numpy.array_equal(numpy.flatnonzero(bits), real)

    return race


if __name__ == "__main__":
    contestant.serve(prepare, build)
