"""Semantic IDs for generative recommenders: indexes, constrained decoding, encoding.

>>> import numpy, semid
>>> codes = numpy.array([[0, 1], [0, 2], [3, 0]], dtype=numpy.uint16)
>>> index = semid.Index.build(["lamp", "shade", "kettle"], codes, sizes=[4, 4])
>>> index["shade"]
[0, 2]
>>> trie = semid.Trie(index)
>>> trie.children(trie.root).tolist()
[0, 3]

Nothing here imports torch; `semid.hf` does.
"""

from ._semid import (
    Assignment,
    BeamSearch,
    Cursor,
    Cursors,
    DecodeSession,
    Encoder,
    Filter,
    Hit,
    Index,
    Outcome,
    SemidError,
    Step,
    TokenMap,
    Trie,
    assign,
)
from .quality import check

__all__ = [
    "Assignment",
    "BeamSearch",
    "Cursor",
    "Cursors",
    "DecodeSession",
    "Encoder",
    "Filter",
    "Hit",
    "Index",
    "Outcome",
    "SemidError",
    "Step",
    "TokenMap",
    "Trie",
    "assign",
    "check",
]
