"""The Rust part of semid. Errors are SemidError with the words of the Rust crates, KeyError for keys
that an index does not have, and IndexError for rows. Long calls release the GIL.

Arrays are read and written where they lie: those of numpy, and those of whoever speaks DLPack, as torch
and jax do, if they lie on the CPU. What is returned is numpy's, which speaks DLPack itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal, Protocol, TypeAlias, final

import numpy
from numpy.typing import NDArray

class _SupportsDLPack(Protocol):
    def __dlpack__(self, *, stream: Any = None) -> Any: ...
    def __dlpack_device__(self) -> tuple[Any, Any]: ...

_Codes: TypeAlias = NDArray[numpy.uint16] | _SupportsDLPack
_Vectors: TypeAlias = NDArray[numpy.float32] | _SupportsDLPack
_Masks: TypeAlias = NDArray[numpy.int32] | _SupportsDLPack
_Tokens: TypeAlias = NDArray[numpy.int64] | _SupportsDLPack

__all__ = [
    "Assignment",
    "BeamSearch",
    "Cursor",
    "Cursors",
    "DecodeSession",
    "Encoder",
    "EventTable",
    "Filter",
    "Hit",
    "Index",
    "IndexWriter",
    "Outcome",
    "SemidError",
    "ShareRows",
    "Step",
    "TokenMap",
    "RecipeRows",
    "Trie",
    "assign",
    "assign_latents",
    "audit_rows",
    "build_corpus",
    "check",
    "held_out_gain",
    "recipe_files",
    "reward",
    "row_keys",
    "scores",
    "share_counts",
]

class SemidError(ValueError):
    """What was got, what was expected, where, and what to do."""

@final
class Index:
    """Items and their semantic IDs. An item is named by its key, or by its row, from 0."""

    def __new__(cls, path: str | PathLike[str], *, trusted: bool = False) -> Index:
        """Opens an index file by memory map. Checks all of it, at over 1 GB/s, unless it is
        `trusted`; then later calls check what they read."""

    @staticmethod
    def from_bytes(data: bytes) -> Index:
        """An index file in memory."""

    @staticmethod
    def build(
        keys: Sequence[str],
        codes: _Codes,
        sizes: Sequence[int],
        *,
        capacity: int = 1,
    ) -> Index:
        """An index of `codes` `[N, L]`, each below its level's size; at most `capacity` items on
        one path."""

    def __len__(self) -> int:
        """Items, removed ones included."""

    @property
    def levels(self) -> int:
        """Codes of an ID."""

    @property
    def sizes(self) -> list[int]:
        """Codes to choose from, by level."""

    @property
    def digest(self) -> str:
        """The BLAKE3 hash of the content."""

    def __contains__(self, key: str, /) -> bool: ...
    def __iter__(self) -> Iterator[str]:
        """The keys, row by row."""

    def __getitem__(self, key: str, /) -> list[int]:
        """The codes of an item."""

    def row(self, key: str) -> int: ...
    def key(self, row: int) -> str: ...
    def codes(self, row: int) -> list[int]: ...
    def text(self, row: int) -> str:
        """The ID as text, `<a_12><b_7>`."""

    def tokens(self, level: int) -> list[str]:
        """The tokens of all codes of a level."""

    def is_alive(self, row: int) -> bool:
        """Whether the item was not removed."""

    def items_of(self, prefix: Sequence[int]) -> list[int]:
        """Rows of the items below a prefix of codes, in order of their codes."""

    def keys(self) -> list[str]: ...
    def to_numpy(self) -> NDArray[numpy.uint16]:
        """All codes, `[N, L]`."""

    def changed(
        self,
        *,
        add: Mapping[str, Sequence[int]] | None = None,
        remove: Sequence[str] = ...,
        capacity: int = 1,
    ) -> Index:
        """The next generation, in memory: new items with their codes; removed ones keep their
        codes and are not given any more."""

    def to_bytes(self) -> bytes:
        """The index file, which is a safetensors file."""

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the index file; one that is there is replaced when the new one is whole."""

    def __reduce__(self) -> tuple[Any, ...]: ...

@final
class Cursor:
    """A place in a trie: a prefix of codes."""

    @property
    def depth(self) -> int: ...
    @property
    def node(self) -> int: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Cursors:
    """The places of many beams, without an object each."""

    def __new__(cls, cursors: Sequence[Cursor] | Cursors) -> Cursors: ...
    def __len__(self) -> int: ...
    def __getitem__(self, at: int, /) -> Cursor: ...
    @property
    def depths(self) -> NDArray[numpy.uint32]: ...
    @property
    def nodes(self) -> NDArray[numpy.uint32]: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...

@final
class Trie:
    """Which codes may follow a prefix. It reads the index in place and takes no memory of its own."""

    def __new__(cls, index: Index) -> Trie: ...
    @property
    def index(self) -> Index: ...
    @property
    def levels(self) -> int: ...
    def __len__(self) -> int: ...
    @property
    def root(self) -> Cursor: ...
    def find(self, prefix: Sequence[int]) -> Cursor | None: ...
    def child(self, cursor: Cursor, code: int) -> Cursor | None: ...
    def children(self, cursor: Cursor) -> NDArray[numpy.uint16]:
        """The codes that may come next, ascending."""

    def leaf_count(self, cursor: Cursor) -> int:
        """Items below."""

    def items_below(self, cursor: Cursor) -> NDArray[numpy.uint32]:
        """Rows of the items below, in order of their codes."""

    def descend(
        self,
        cursors: Sequence[Cursor] | Cursors,
        parents: NDArray[numpy.uint32] | _SupportsDLPack,
        codes: _Codes,
    ) -> Cursors:
        """The next beams: at place `i` the child of beam `parents[i]` by the code `codes[i]`."""

    def fill_masks(
        self,
        tokens: TokenMap,
        cursors: Sequence[Cursor] | Cursors,
        out: _Masks,
        filter: Filter | None = None,
    ) -> None:
        """Fills `out` `[cursors, ceil(V / 32)]` in the layout of xgrammar and vLLM: bit `t % 32` of
        word `t / 32` is 1 if token `t` may come next."""

    def continuations(
        self,
        tokens: TokenMap,
        sequences: _Tokens,
        *,
        start: int = 0,
        trigger: Sequence[int] = ...,
        end: int | None = None,
        filter: Filter | None = None,
    ) -> tuple[NDArray[numpy.int64], NDArray[numpy.int64], NDArray[numpy.int64]]:
        """The tokens that may come after each of `sequences` `[R, S]`, as pairs: their rows, the
        tokens; and the rows after which any may. An ID begins at `start`, or after the last
        `trigger`; a complete one can only be followed by `end`."""

@final
class Filter:
    """The items that a request may be given; `&`, `|` and `~` combine filters of one trie."""

    @staticmethod
    def all(trie: Trie) -> Filter: ...
    @staticmethod
    def allow(trie: Trie, items: Iterable[str] | Iterable[int]) -> Filter: ...
    @staticmethod
    def deny(trie: Trie, items: Iterable[str] | Iterable[int]) -> Filter: ...
    def __and__(self, other: Filter, /) -> Filter: ...
    def __rand__(self, other: Filter, /) -> Filter: ...
    def __or__(self, other: Filter, /) -> Filter: ...
    def __ror__(self, other: Filter, /) -> Filter: ...
    def __invert__(self) -> Filter: ...
    def __len__(self) -> int:
        """Items that are allowed."""

@final
class TokenMap:
    """Which token of a language model stands for which code of which level."""

    @staticmethod
    def ranges(index: Index, firsts: Sequence[int], vocabulary: int) -> TokenMap:
        """The token of code `c` of level `l` is `firsts[l] + c`; `vocabulary` is the width of the
        model's logits."""

    @staticmethod
    def table(
        index: Index, tables: Sequence[Sequence[int | None]], vocabulary: int
    ) -> TokenMap:
        """The token of code `c` of level `l` is `tables[l][c]`; None for one that no item has."""

    @staticmethod
    def from_tokenizer(trie: Trie, json: str, vocabulary: int) -> TokenMap:
        """The tokens of the index, as a Hugging Face `tokenizer.json` numbers them."""

    def between(self, begin: int | None = None, end: int | None = None) -> TokenMap:
        """The same with a token before and one after each ID."""

    @property
    def vocabulary(self) -> int: ...
    @property
    def levels(self) -> int: ...
    @property
    def end(self) -> int | None: ...
    def token(self, level: int, code: int) -> int | None: ...
    def code(self, level: int, token: int) -> int | None: ...

@final
class Step:
    """Prefixes whose next code is to be scored, a row each."""

    @property
    def ids(self) -> list[int]:
        """The number of each row among all of this search."""

    @property
    def requests(self) -> list[int]: ...
    @property
    def parents(self) -> list[int | None]:
        """The earlier row whose prefix each continues, whose cache can be gone on with; None at
        the root."""

    @property
    def prefixes(self) -> list[list[int]]: ...
    def __len__(self) -> int: ...

@final
class Hit:
    """An item that was found."""

    @property
    def row(self) -> int: ...
    @property
    def key(self) -> str: ...
    @property
    def codes(self) -> list[int]: ...
    @property
    def score(self) -> float: ...

@final
class Outcome:
    """The items of a request, best first."""

    @property
    def hits(self) -> list[Hit]: ...
    @property
    def exact(self) -> bool:
        """Whether these are proven to be the best of all items."""

    @property
    def gap(self) -> float | None:
        """By how much an item that was missed can be better than the last one, at most."""

    @property
    def rows(self) -> int:
        """Rows that were scored."""

@final
class BeamSearch:
    """A search for the best items by a model that scores prefixes."""

    def __new__(
        cls,
        trie: Trie,
        tokens: TokenMap | None = None,
        *,
        k: int = 10,
        beams: int | Sequence[int] | None = None,
        normalizer: Literal[
            "full-vocab", "semantic-id-vocab", "level", "valid-children"
        ] = "full-vocab",
        length_penalty: float = 0.0,
        row_budget: int | None = None,
    ) -> BeamSearch:
        """`beams` is `2 k`, one number, or one a level. With `tokens` the scorer gives logits of
        the whole vocabulary, without those of the level. A `row_budget` goes on until the answer is
        proven exact or so many rows have been scored."""

    def run(
        self,
        scorer: Callable[[Step], Any],
        filters: Sequence[Filter | None] | None = None,
    ) -> list[Outcome]:
        """Answers requests, one a filter (one without, if there are none).

        `scorer(step)` gives logits `[rows, V]` or `[rows, K]`, float32, or a pair of these and
        `[rows]` sums `log(sum(exp))` that the model found itself. What it raises is raised. The
        arrays must not be written to before the next call."""

    def step(
        self,
        cursors: Sequence[Cursor] | Cursors,
        scores: _Vectors,
        logits: _Vectors,
        width: int,
        filter: Filter | None = None,
    ) -> tuple[
        Cursors, NDArray[numpy.float32], NDArray[numpy.uint16], NDArray[numpy.uint32]
    ]:
        """One level, for a loop of your own: the best `width` continuations of one request's
        beams, best first, as cursors, scores, codes, and the places of the beams they continue.

        The beams are given by their cursors, their scores `[beams]` and the logits that follow
        them, `[beams, V]` or `[beams, K]`, float32. The first step is that of `trie.root` with the
        score 0; after the last, `Trie.items_below` has the items. IDs must be of one length."""

@final
class DecodeSession:
    """Beams of one request, for a server that owns the loop."""

    def __new__(
        cls,
        trie: Trie,
        tokens: TokenMap,
        *,
        filter: Filter | None = None,
        trigger: Sequence[int] | None = None,
        end: Sequence[int] | None = None,
        rollback: int = 64,
    ) -> DecodeSession: ...
    @property
    def phases(self) -> list[str]:
        """"inactive" (in free text), "active" (in an item) or "done", of each beam."""

    @property
    def words(self) -> int:
        """Words of a mask row, `ceil(V / 32)`."""

    def fill_masks(self, out: _Masks) -> None:
        """Fills `[beams, words]` as `Trie.fill_masks` does."""

    def advance(self, parents: Sequence[int], tokens: Sequence[int]) -> None:
        """The new beam `i` is the old beam `parents[i]` with `tokens[i]` after it. On an error
        nothing has changed."""

    def rollback(self, steps: int) -> None:
        """Takes back the last steps."""

    def fork(self) -> DecodeSession:
        """A copy that goes its own way."""

    def finish(self) -> list[list[int]]:
        """Rows of the items of each beam; none for one that is not done."""

@final
class Encoder:
    """A trained model: embeddings in, codes out. It needs no libtorch."""

    def __new__(cls, folder: str | PathLike[str]) -> Encoder:
        """Reads a model folder of `semid train`."""

    @staticmethod
    def from_files(model: bytes, config: bytes) -> Encoder:
        """The same from the bytes of `model.safetensors` and `config.json`."""

    def __reduce__(self) -> tuple[Any, ...]: ...
    @property
    def dim(self) -> int:
        """Dimension of the embeddings."""

    @property
    def sizes(self) -> list[int]: ...
    def codebooks(self) -> list[NDArray[numpy.float32]]:
        """The centroids of each level, `[K, d]`."""

    def encode(
        self, embeddings: _Vectors, *, beams: int = 8
    ) -> tuple[NDArray[numpy.uint16], NDArray[numpy.float32]]:
        """The nearest codes `[n, L]` that a beam search finds for `[n, D]`, and their squared
        distances `[n]`. Items may share codes; `assign` makes them distinct."""

    def latents(self, embeddings: _Vectors) -> NDArray[numpy.float32]:
        """Where embeddings `[n, D]` are between the codebooks, `[n, d]`."""

    def quantize(
        self, latents: _Vectors, *, beams: int = 8
    ) -> tuple[NDArray[numpy.uint16], NDArray[numpy.float32]]:
        """What `encode` gives for the embeddings of these latents."""

    def reconstruct(self, codes: _Codes) -> NDArray[numpy.float32]:
        """The embeddings `[n, D]` that codes stand for."""

@final
class Assignment:
    """Distinct codes for each item, and the proof of how good they are."""

    @property
    def codes(self) -> NDArray[numpy.uint16]:
        """`[N, L]`."""

    @property
    def moved(self) -> int:
        """Items that did not keep their native codes."""

    @property
    def added_distance(self) -> float: ...
    @property
    def optimal(self) -> bool: ...
    @property
    def certificate(self) -> str | None:
        """The certificate, as JSON."""

    @property
    def gap(self) -> float | None: ...

def assign_latents(
    encoder: Encoder,
    latents: _Vectors,
    codes: _Codes,
    distances: NDArray[numpy.float32],
    keys: list[str],
    *,
    taken: _Codes | None = None,
) -> Assignment:
    """Distinct codes for items that were encoded before: their latents `[n, d]`, native codes
    `[n, L]` and squared distances `[n]`. Items that hold the codes `taken` `[m, L]` keep them."""

def recipe_files(recipe: str | PathLike[str]) -> str:
    """The files that a recipe names, as JSON: items, index, others; and `samples_per_shard`."""

@final
class EventTable:
    """Events in columns, all of a user behind each other: of users and items the bytes of all
    keys, and where each begins and ends; times are numbers as files have them."""

    def __new__(
        cls,
        users: tuple[bytes, NDArray[numpy.int32]],
        items: tuple[bytes, NDArray[numpy.int32]],
        times: NDArray[numpy.float64] | None = None,
        ratings: NDArray[numpy.float32] | None = None,
    ) -> EventTable: ...

def share_counts(
    recipe: str | PathLike[str],
    files: Mapping[str, str | PathLike[str]],
    events: list[EventTable],
) -> tuple[str, NDArray[numpy.uint32]]:
    """Samples of the users of a share, as JSON, and the events of training of each item. `files`
    are local copies, by the names that the recipe has for them."""

def audit_rows(
    lines: bytes,
    recipe: str | PathLike[str] | None = None,
    files: Mapping[str, str | PathLike[str]] = ...,
    events: list[EventTable] = ...,
) -> str:
    """What is wrong with rows, as JSON: held against the events of their users, or, without a
    recipe, against each other."""

def row_keys(lines: bytes) -> tuple[list[str | None], NDArray[numpy.uint64]]:
    """The user of each row, if it has one, and a hash of its prompt."""

@final
class ShareRows:
    """The rows of the users of a share, in no order, each with its place among all."""

    def __new__(
        cls,
        recipe: str | PathLike[str],
        files: Mapping[str, str | PathLike[str]],
        events: list[EventTable],
        standing: str,
        popularity: NDArray[numpy.uint32],
        seed: int | None = None,
    ) -> ShareRows: ...
    def parts(self) -> list[tuple[str, int, int]]:
        """The parts, how many samples the share has of each, and how many places the whole."""

    def rows(
        self, part: str, first: int, end: int
    ) -> tuple[NDArray[numpy.uint64], NDArray[numpy.int64], bytes, dict[str, int]]:
        """Of some samples the places of their rows, where each row's bytes end, the bytes, and
        counts by name."""

@final
class IndexWriter:
    """An index file that is written from runs, none of which is held. Its spools lie beside it."""

    def __new__(
        cls,
        path: str | PathLike[str],
        sizes: list[int],
        *,
        command: str,
        configuration: dict[str, Any],
    ) -> IndexWriter: ...
    def ranks(self, codes: _Codes, rows: NDArray[numpy.uint32]) -> None:
        """The rows of the next items in the order of IDs, and their codes `[n, L]`."""

    def keys(self, keys: list[str]) -> None:
        """The keys of the next rows."""

    def key_order(self, rows: NDArray[numpy.uint32]) -> None:
        """The rows of the next items in the order of keys."""

    def __enter__(self) -> IndexWriter: ...
    def __exit__(self, *_args: object) -> None:
        """What was not finished is removed."""

    def finish(self) -> str:
        """Puts the file in its place. Returns its digest."""

def assign(
    encoder: Encoder,
    embeddings: _Vectors,
    keys: Sequence[str],
    *,
    beams: int = 8,
) -> Assignment:
    """Distinct codes for all items: the fewest moves, then the least added distance."""

def check(
    index: str | PathLike[str],
    *,
    embeddings: str | PathLike[str] | None = None,
    keys: str | PathLike[str] | None = None,
    model: str | PathLike[str] | None = None,
    interactions: str | PathLike[str] | None = None,
    items: str | PathLike[str] | None = None,
    report: str | PathLike[str] | None = None,
    gate: Sequence[str] = ...,
    gates: str | PathLike[str] | None = None,
    without: Sequence[str] = ...,
    seed: int = 0,
) -> str:
    """`semid.check`, as JSON."""

def build_corpus(
    recipe: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    seed: int | None = None,
) -> str:
    """`semid.tasks.build`, as JSON."""

@final
class RecipeRows:
    """The rows of `semid.tasks.Corpus`, as JSON."""

    def __new__(
        cls, recipe: str | PathLike[str], part: str, seed: int | None = None
    ) -> RecipeRows: ...
    def __len__(self) -> int: ...
    def lines(self, first: int, end: int) -> bytes:
        """The rows at some places, a line each."""

def reward(
    index: Index,
    name: str,
    answers: Sequence[str],
    truths: Sequence[str],
    *,
    reasoned: bool = False,
    rungs: Sequence[float] | None = None,
    exact: float = 1.0,
) -> list[float]:
    """The rewards of one group of answers; `semid.rewards` says what the names mean."""

def scores(
    lists: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], cutoffs: Sequence[int]
) -> tuple[list[str], NDArray[numpy.float64]]:
    """Names of metrics, and what each gives every user, `[users, metrics]`."""

def held_out_gain(
    codes: _Codes, histories: Sequence[Sequence[int] | NDArray[numpy.uint32]], *, seed: int = 0
) -> dict[str, Any]:
    """By how many bits the last item's codes make the next item's more predictable than popularity
    does, beside a shuffled control: what `semid check --interactions` reports. `histories` are rows
    of `codes` `[N, L]`, oldest first; the last two events of each are held out."""
