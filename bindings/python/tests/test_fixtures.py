"""The searches of `fixtures/decode`, whose answers were found by plain arithmetic."""

import pathlib

import numpy
import pytest

import semid

tomllib = pytest.importorskip("tomllib")

FOLDER = pathlib.Path(__file__).resolve().parents[3] / "fixtures" / "decode"
CASES = sorted(FOLDER.glob("*.toml"))


def index_of(catalogue):
    sizes, ids = catalogue["sizes"], catalogue["ids"]
    # Shorter IDs are padded with the code behind the last of each level.
    codes = numpy.array([[*own, *sizes[len(own) :]] for own in ids], dtype=numpy.uint16)
    keys = catalogue.get("keys") or [f"{row:03}" for row in range(len(ids))]
    return semid.Index.build(keys, codes, sizes, capacity=catalogue["per_path"])


def token_map(case, index):
    if "tokens" not in case:
        return None
    own = case["tokens"]
    return semid.TokenMap.table(index, own["of_codes"], own["vocabulary"]).between(end=own.get("end"))


def filter_of(rules, trie):
    if "allow" in rules:
        return semid.Filter.allow(trie, rules["allow"])
    return semid.Filter.deny(trie, rules["deny"]) if "deny" in rules else None


def model(case):
    """Plays the model of the case; without tokens, columns are codes, the last that of the end."""
    sizes = case["catalogue"]["sizes"]

    def values(request, prefix):
        rows = [row for row in case["logits"] if row.get("request", request) == request]
        own = [row for row in rows if row.get("prefix") == prefix]
        level = [row for row in rows if row.get("level") == len(prefix)]
        return (own or level)[0]["values"]

    def scorer(step):
        width = max(sizes[len(prefix)] for prefix in step.prefixes)
        rows = []
        for request, prefix in zip(step.requests, step.prefixes, strict=True):
            row = values(request, prefix)
            if "tokens" not in case:
                size = sizes[len(prefix)]
                row = row[:size] + [-numpy.inf] * (width - size) + row[size:]
            rows.append(row)
        return numpy.array(rows)

    return scorer


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_answers_are_found(path):
    case = tomllib.loads(path.read_text())
    index = index_of(case["catalogue"])
    trie, asked = semid.Trie(index), case["search"]
    search = semid.BeamSearch(
        trie,
        token_map(case, index),
        k=asked["results"],
        beams=asked["beams"],
        normalizer=asked["normalizer"],
        length_penalty=asked["length_penalty"],
        row_budget=asked.get("row_budget"),
    )
    filters = [filter_of(rules, trie) for rules in case["requests"]]
    if "error" in case:
        with pytest.raises(semid.SemidError) as raised:
            search.run(model(case), filters)
        assert case["error"] in str(raised.value)
        return
    outcomes = search.run(model(case), filters)
    for outcome, expected in zip(outcomes, case["expected"], strict=True):
        assert [hit.row for hit in outcome.hits] == [hit["item"] for hit in expected["hits"]]
        assert [hit.codes for hit in outcome.hits] == [hit["codes"] for hit in expected["hits"]]
        scores = [hit["score"] for hit in expected["hits"]]
        assert [hit.score for hit in outcome.hits] == pytest.approx(scores, abs=2e-5)
        assert outcome.exact == expected["exact"]
        assert outcome.gap == pytest.approx(expected.get("gap"), abs=2e-5)


def test_all_cases_are_there():
    assert len(CASES) >= 18
