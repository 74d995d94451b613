"""Indexes and corpora on Apache Spark: the wheel at work in the executors of a cluster.

    encoded = spark.encode(items, "model")            # a candidate path an item, with its cost
    assigned = spark.assign(encoded, "model")         # distinct paths, as `semid index` gives them
    spark.write_index(assigned, "index.safetensors")  # the same tensors, byte for byte
    corpus = spark.build_corpus(items, events, "index.safetensors", "recipe.toml")
    corpus.rows                                       # the rows of `semid tasks build`, in order

Every step takes DataFrames and gives one, whatever their partitions; what is worth keeping is
written to a table in between, so that a driver that starts again goes on from there. Executors need
this wheel, numpy, pyarrow and pandas, and no libtorch. docs/cluster.md is the manual.
"""

from .audit import audit
from .corpus import Corpus, build_corpus
from .gain import held_out_gain
from .index import Certificate, assign, certificate, encode, sample, write_index

__all__ = [
    "Certificate",
    "Corpus",
    "assign",
    "audit",
    "build_corpus",
    "certificate",
    "encode",
    "held_out_gain",
    "sample",
    "write_index",
]
