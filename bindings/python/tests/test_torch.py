import numpy
import pytest

import semid

torch = pytest.importorskip("torch")
from semid.torch import DeviceTrie

from conftest import CODES, ITEMS, LEVELS
from test_core import seeded, table_scorer

REQUESTS, BEAMS = 3, 7


@pytest.fixture
def device_trie(index, tokens):
    return DeviceTrie(index, tokens)


def search(trie, tokens, counts=None, step=None):
    """The rows and scores that a search by steps finds, `[B, M]`."""
    step = step or trie.step
    logits = seeded(tokens.vocabulary)
    state, scores = trie.root(REQUESTS), torch.zeros(REQUESTS, 1)
    prefixes = [[()] for _ in range(REQUESTS)]
    for level in range(LEVELS):
        values = [[logits(prefix) for prefix in beams] for beams in prefixes]
        beams = step(level, torch.tensor(numpy.array(values)), state, scores, BEAMS, counts)
        state, scores = beams.state, beams.scores
        prefixes = [
            [
                (*old[parent], tokens.code(level, token))
                for parent, token in zip(parents, chosen, strict=True)
            ]
            for old, parents, chosen in zip(
                prefixes, beams.parents.tolist(), beams.tokens.tolist(), strict=True
            )
        ]
    return trie.items(state), scores


def expected(trie, tokens, filters):
    search = semid.BeamSearch(trie, tokens, k=BEAMS, beams=BEAMS)
    return search.run(table_scorer(seeded(tokens.vocabulary)), filters)


def assert_equal(found, outcomes):
    for rows, scores, outcome in zip(*found, outcomes, strict=True):
        hits = len(outcome.hits)
        assert rows.tolist() == [hit.row for hit in outcome.hits] + [-1] * (BEAMS - hits)
        theirs = torch.tensor([hit.score for hit in outcome.hits])
        torch.testing.assert_close(scores[:hits], theirs, atol=1e-4, rtol=0)


def test_steps_find_what_the_core_finds(device_trie, trie, tokens):
    assert_equal(search(device_trie, tokens), expected(trie, tokens, [None] * REQUESTS))


def test_filters_and_removed_items(index, tokens):
    index = index.changed(remove=["item-2", "item-9"])
    trie, device_trie = semid.Trie(index), DeviceTrie(index, tokens)
    assert_equal(search(device_trie, tokens), expected(trie, tokens, [None] * REQUESTS))
    allowed = [[1, 2, 3], list(range(30)), None]
    filters = [rows and semid.Filter.allow(trie, rows) for rows in allowed]
    assert_equal(
        search(device_trie, tokens, device_trie.allow(allowed)), expected(trie, tokens, filters)
    )
    denied = [[1], [], list(range(50))]
    filters = [semid.Filter.deny(trie, rows) for rows in denied]
    assert_equal(
        search(device_trie, tokens, device_trie.deny(denied)), expected(trie, tokens, filters)
    )


def test_a_step_is_one_graph(device_trie, trie, tokens):
    """No operation needs the values of a tensor on the host."""
    step = torch.compile(device_trie.step, fullgraph=True, dynamic=False, backend="eager")
    assert_equal(search(device_trie, tokens, step=step), expected(trie, tokens, [None] * REQUESTS))


def test_what_has_no_form_on_a_device_is_refused(index, tokens):
    codes = numpy.array([[0, 0], [0, 0]], dtype=numpy.uint16)
    shared = semid.Index.build(["a", "b"], codes, [2, 2], capacity=2)
    with pytest.raises(ValueError, match="share IDs"):
        DeviceTrie(shared, semid.TokenMap.ranges(shared, [0, 2], 4))
    few = semid.Index.build(["a"], codes[:1], [2, 2])
    tokens = semid.TokenMap.table(few, [[0, None], [1, None]], 2)
    more = semid.Index.build(["a", "b"], codes + numpy.array([[0, 0], [0, 1]], "uint16"), [2, 2])
    with pytest.raises(ValueError, match="no token for some codes"):
        DeviceTrie(more, tokens)
