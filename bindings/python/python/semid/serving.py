"""What a request to a server may be given, for `semid.vllm` and `semid.sglang`.

A server's processes find their catalogues by two environment variables: `SEMID_INDEX` holds paths
of index files, with `os.pathsep` between them, and `SEMID_TOKENIZER` that of the model's
`tokenizer.json`. A request says what it wishes for:

- `semid`: the index, "shop" for `/srv/shop.safetensors`
- `semid_allow`, `semid_deny`: keys of items; only these, none of these
- `semid_trigger`: the ID begins after these tokens, and what is generated before them is free;
  unless given, after the begin token of the index if it has one, else at once
- `semid_end`: the tokens that may follow the ID, those that stop the request unless given; with `[]`
  any may

>>> import os, pathlib, tempfile, numpy, semid, tokenizers
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> codes = numpy.array([[0, 1], [0, 0], [1, 0]], dtype=numpy.uint16)
>>> index = semid.Index.build(["lamp", "shade", "kettle"], codes, sizes=[2, 2])
>>> index.save(folder / "shop.safetensors")
>>> words = ["</s>", *index.tokens(0), *index.tokens(1)]
>>> model = tokenizers.models.WordLevel({word: token for token, word in enumerate(words)})
>>> tokenizers.Tokenizer(model).save(str(folder / "tokenizer.json"))
>>> os.environ["SEMID_INDEX"] = str(folder / "shop.safetensors")
>>> os.environ["SEMID_TOKENIZER"] = str(folder / "tokenizer.json")

>>> constraint = Constraint.of({"semid": "shop", "semid_deny": ["lamp"]}, stops=[0])
>>> mask = numpy.zeros((1, 1), dtype=numpy.int32)
>>> def allowed():
...     constraint.fill(mask)
...     return [word for token, word in enumerate(words) if mask[0, 0] >> token & 1]
>>> allowed()
['<a_0>', '<a_1>']
>>> constraint.read([1])
>>> allowed()
['<b_0>']
>>> constraint.read([3])
>>> allowed()
['</s>']
"""

from __future__ import annotations

import copy
import functools
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy
import tokenizers
from numpy.typing import NDArray

from . import DecodeSession, Filter, Index, SemidError, TokenMap, Trie

__all__ = ["Catalogue", "Constraint", "catalogues", "constrain"]

WISHES = ["semid", "semid_allow", "semid_deny", "semid_end", "semid_trigger"]


class Catalogue(NamedTuple):
    """Items, and the tokens of their codes."""

    trie: Trie
    tokens: TokenMap


def catalogues(logits: int | None = None) -> Mapping[str, Catalogue]:
    """The catalogues of this server, by name, for a model of so many logits; for one of as many as
    its tokenizer has tokens, where that is not known. Each is opened once."""
    indexes, tokenizer = os.environ.get("SEMID_INDEX"), os.environ.get("SEMID_TOKENIZER")
    if not indexes or not tokenizer:
        raise ValueError(
            "expected paths of index files in the environment variable SEMID_INDEX and that of the "
            f"model's tokenizer.json in SEMID_TOKENIZER, got {indexes!r} and {tokenizer!r}"
        )
    return opened(indexes, tokenizer, logits)


@functools.cache
def opened(indexes: str, tokenizer: str, logits: int | None) -> Mapping[str, Catalogue]:
    json = pathlib.Path(tokenizer).read_text(encoding="utf-8")
    known = max(tokenizers.Tokenizer.from_str(json).get_vocab().values()) + 1
    if logits is not None and logits < known:
        raise ValueError(
            f"the model has {logits} logits, but {tokenizer} numbers tokens up to {known - 1}; "
            "extend the model's embeddings"
        )
    found: dict[str, Catalogue] = {}
    for path in map(pathlib.Path, indexes.split(os.pathsep)):
        if path.stem in found:
            raise ValueError(f"SEMID_INDEX has two files of the name {path.stem!r}")
        trie = Trie(Index(path))
        found[path.stem] = Catalogue(trie, TokenMap.from_tokenizer(trie, json, logits or known))
    return found


class Constraint:
    """Where a request is, and the tokens that it may be given next."""

    def __init__(
        self,
        catalogue: Catalogue,
        filter: Filter | None,
        trigger: list[int] | None,
        end: list[int],
    ) -> None:
        self.session = DecodeSession(
            catalogue.trie,
            catalogue.tokens,
            filter=filter,
            trigger=trigger,
            end=end,
            rollback=0,
        )
        self.end = end
        #: Tokens that were read.
        self.seen = 0
        #: Whether something else than the masks chose a token, which left the index.
        self.lost = False

    @classmethod
    def of(
        cls, wishes: Mapping[str, Any] | None, stops: Iterable[int], logits: int | None = None
    ) -> Constraint | None:
        """What a request wishes for that `stops` at these tokens; `None` if that is nothing of
        semid's, `ValueError` if it cannot be had."""
        own = {name: wish for name, wish in (wishes or {}).items() if name.startswith("semid")}
        if not own:
            return None
        if unknown := sorted(own.keys() - WISHES):
            raise ValueError(f"got {', '.join(unknown)}; a request may have {', '.join(WISHES)}")
        known = catalogues(logits)
        if own.get("semid") not in list(known):
            raise ValueError(
                f"got {own.get('semid')!r} as `semid`, expected the name of an index: "
                f"{', '.join(map(repr, known))}"
            )
        catalogue = known[own["semid"]]
        end = tokens(own, "semid_end", catalogue)
        if end is None:
            usual, vocabulary = {catalogue.tokens.end, *stops}, catalogue.tokens.vocabulary
            end = [token for token in usual if token is not None and token < vocabulary]
        trigger = tokens(own, "semid_trigger", catalogue)
        return cls(catalogue, wanted(own, catalogue.trie), trigger, end)

    def read(self, tokens: Iterable[int]) -> None:
        """Goes on by tokens that were generated after those read before."""
        for token in tokens:
            self.seen += 1
            try:
                if not self.lost:
                    self.session.advance([0], [token])
            except SemidError:
                self.lost = True

    def fork(self) -> Constraint:
        """A copy that goes its own way."""
        other = copy.copy(self)
        other.session = self.session.fork()
        return other

    def fill(self, mask: NDArray[numpy.int32]) -> bool:
        """Fills `mask` `[1, words]`, which holds zeros, as `Trie.fill_masks` does; where any token
        may come it stays as it is, and False is returned."""
        phase = "done" if self.lost else self.session.phases[0]
        if phase == "inactive" or (phase == "done" and not self.end):
            return False
        if self.lost:
            bits = mask[0].view(numpy.uint32)
            for token in self.end:
                bits[token // 32] |= numpy.uint32(1 << token % 32)
        else:
            self.session.fill_masks(mask)
        return True


def wanted(wishes: Mapping[str, Any], trie: Trie) -> Filter | None:
    filter = None
    for name, of in (("semid_allow", Filter.allow), ("semid_deny", Filter.deny)):
        keys = listed(wishes, name, str)
        if keys is not None:
            try:
                found = of(trie, keys)
            except KeyError as missing:
                raise ValueError(f"{wishes['semid']!r} has no item {missing}") from None
            filter = found if filter is None else filter & found
    return filter


def tokens(wishes: Mapping[str, Any], name: str, catalogue: Catalogue) -> list[int] | None:
    found = listed(wishes, name, int)
    vocabulary = catalogue.tokens.vocabulary
    if wrong := [token for token in found or [] if not 0 <= token < vocabulary]:
        raise ValueError(f"got the token {wrong[0]} in {name}, expected 0 to {vocabulary - 1}")
    return found


def listed(wishes: Mapping[str, Any], name: str, kind: type) -> list[Any] | None:
    wish = wishes.get(name)
    if wish is None:
        return None
    if not isinstance(wish, (list, tuple)) or any(type(one) is not kind for one in wish):
        raise ValueError(f"got {str(wish)[:80]} as {name}, expected a list of {kind.__name__}")
    return list(wish)


def constrain(logits: Any, constraints: Mapping[int, Constraint]) -> None:
    """Sets the logits of tokens that may not come to -inf, in these rows of `[R, V]`, in place."""
    # Servers have both; masks alone need neither.
    import torch
    import xgrammar

    masks = numpy.zeros((logits.shape[0], -(-logits.shape[1] // 32)), dtype=numpy.int32)
    rows = [row for row, own in constraints.items() if own.fill(masks[row : row + 1])]
    if rows:
        words = torch.from_numpy(masks).to(logits.device)
        xgrammar.apply_token_bitmask_inplace(logits, words, indices=rows)
