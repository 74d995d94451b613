import multiprocessing
import pathlib
import pickle
import resource
import signal
import threading

import numpy
import pytest

import semid

from conftest import CODES, ITEMS, LEVELS, random_codes


def test_an_index_tells_items_and_codes(index, codes):
    assert (len(index), index.levels, index.sizes) == (ITEMS, LEVELS, [CODES] * LEVELS)
    assert (index.to_numpy() == codes).all()
    assert index["item-7"] == codes[7].tolist()
    assert "item-7" in index and "nobody" not in index
    assert index.key(7) == "item-7" and index.row("item-7") == 7
    assert index.items_of(codes[7].tolist()) == [7]
    assert list(index) == index.keys() == [f"item-{row}" for row in range(ITEMS)]
    assert dict(zip(index, index.to_numpy().tolist()))["item-7"] == codes[7].tolist()
    assert index.text(7) == "".join(f"<{'abc'[level]}_{code}>" for level, code in enumerate(codes[7]))
    assert index.tokens(1)[3] == "<b_3>"
    with pytest.raises(KeyError, match="nobody"):
        index["nobody"]
    with pytest.raises(IndexError, match="got row 60, expected one below 60"):
        index.key(60)


def test_an_index_survives_the_disk_and_pickling(index, tmp_path):
    path = tmp_path / "items.safetensors"
    index.save(path)
    opened = semid.Index(path)
    assert opened.digest == index.digest
    for one in (index, opened):
        again = pickle.loads(pickle.dumps(one))
        assert again.digest == index.digest and again.keys() == index.keys()
    # Replaced on the disk while it is open: what was opened goes on.
    index.changed(remove=["item-0"]).save(path)
    assert opened.is_alive(0) and not semid.Index(path).is_alive(0)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(semid.SemidError):
        semid.Index(path)
    with pytest.raises(FileNotFoundError):
        semid.Index(tmp_path / "none")
    with pytest.raises(IsADirectoryError):
        semid.Index(tmp_path)


def test_items_come_and_go(index, codes):
    taken = {tuple(path) for path in codes.tolist()}
    free = next(path for path in numpy.ndindex(*[CODES] * LEVELS) if path not in taken)
    changed = index.changed(add={"new": list(free)}, remove=["item-3"])
    assert changed["new"] == list(free) and not changed.is_alive(3) and len(index) == ITEMS
    with pytest.raises(semid.SemidError):
        index.changed(add={"item-1": list(free)})
    with pytest.raises(semid.SemidError):
        index.changed(remove=["nobody"])


def test_ids_that_differ_in_length():
    """Where one ends, `codes` of the index has the code behind the last of the level."""
    padded = numpy.array([[0, 2], [1, 0]], dtype=numpy.uint16)
    index = semid.Index.build(["a", "b"], padded, [2, 2])
    assert (index["a"], index.codes(1), index.text(0)) == ([0], [1, 0], "<a_0>")
    assert (index.to_numpy() == padded).all()
    assert index.changed(add={"c": [1]}, remove=["b"])["c"] == [1]


def test_children_are_those_of_a_plain_loop(trie, codes):
    for depth in range(LEVELS):
        for prefix in {tuple(path[:depth]) for path in codes.tolist()}:
            below = [path for path in codes.tolist() if tuple(path[:depth]) == prefix]
            cursor = trie.find(list(prefix))
            assert cursor.depth == depth
            assert trie.children(cursor).tolist() == sorted({path[depth] for path in below})
            assert trie.leaf_count(cursor) == len(below)
            found = codes[trie.items_below(cursor)].tolist()
            assert sorted(found) == sorted(below)
    assert trie.find([9, 9, 9]) is None
    assert trie.child(trie.root, 5) == trie.find([5])
    assert len({trie.root, trie.root, trie.find([5]), trie.find([5])}) == 2


def test_a_cursor_of_another_trie_is_refused(trie):
    other = semid.Trie(semid.Index.build(["a"], random_codes(1, seed=5), [CODES] * LEVELS))
    with pytest.raises(semid.SemidError, match="another trie"):
        trie.children(other.root)


def test_filters_are_sets(trie):
    few, many = semid.Filter.allow(trie, ["item-1", "item-2"]), semid.Filter.deny(trie, [2, 3])
    assert (len(few), len(many), len(few & many), len(few | many)) == (2, 58, 1, 59)
    assert len(~few) == 58 and len(semid.Filter.all(trie)) == ITEMS
    with pytest.raises(KeyError, match="nobody"):
        semid.Filter.allow(trie, ["nobody"])
    with pytest.raises(TypeError, match="one string"):
        semid.Filter.allow(trie, "item-1")
    with pytest.raises(TypeError, match="keys and rows"):
        semid.Filter.allow(trie, ["item-1", 2])


def bits(mask, vocabulary):
    """Tokens that a row of an xgrammar bitmask allows."""
    words = mask.view(numpy.uint32)
    return [token for token in range(vocabulary) if words[token // 32] >> (token % 32) & 1]


def test_masks_allow_the_children(trie, tokens):
    cursors = [trie.root, trie.child(trie.root, int(trie.children(trie.root)[0]))]
    out = numpy.full((2, (tokens.vocabulary + 31) // 32), -1, dtype=numpy.int32)
    trie.fill_masks(tokens, cursors, out)
    for level, cursor in enumerate(cursors):
        expected = [tokens.token(level, int(code)) for code in trie.children(cursor)]
        assert bits(out[level], tokens.vocabulary) == expected
    for bad in (out[:1], out[:, :0], out.astype(numpy.int64), out[::-1]):
        with pytest.raises((semid.SemidError, TypeError, ValueError)):
            trie.fill_masks(tokens, cursors, bad)


def test_many_beams_move_at_once(trie, tokens, codes):
    root = semid.Cursors([trie.root])
    firsts = codes[:20, 0]
    beams = trie.descend(root, numpy.zeros(20, dtype=numpy.uint32), firsts)
    assert list(beams) == [trie.find([int(code)]) for code in firsts]
    below = trie.descend(beams, numpy.arange(20, dtype=numpy.uint32), codes[:20, 1])
    assert below.depths.tolist() == [2] * 20 and len(below) == 20
    assert below.nodes.tolist() == [trie.find(path.tolist()).node for path in codes[:20, :2]]
    many, few = numpy.zeros((2, 20, 1), dtype=numpy.int32)
    trie.fill_masks(tokens, below, many)
    trie.fill_masks(tokens, list(below), few)
    assert (many == few).all() and many.any()
    assert below[-1] == below[19] and semid.Cursors(list(below)) == below
    for at in (20, -21):
        with pytest.raises(IndexError, match="of 20 cursors"):
            below[at]
    one = numpy.ones(1, dtype=numpy.uint32)
    with pytest.raises(IndexError, match="the parent 1 of 1 beams"):
        trie.descend(root, one, firsts[:1])
    with pytest.raises(semid.SemidError, match="no item goes on with the code 9"):
        trie.descend(root, one * 0, numpy.array([9], dtype=numpy.uint16))
    with pytest.raises(semid.SemidError, match="1 parents and 2 codes"):
        trie.descend(root, one, firsts[:2])


def test_a_session_leads_to_an_item(trie, tokens, codes):
    session = semid.DecodeSession(trie, tokens, trigger=[4, 5], end=[0])
    session.advance([0, 0], [4, 9])
    assert session.phases == ["inactive", "inactive"]
    session.advance([0], [5])
    spelled = [tokens.token(level, int(code)) for level, code in enumerate(codes[7])]
    fork = session.fork()
    for token in spelled:
        session.advance([0], [token])
    assert session.phases == ["done"] and session.finish() == [[7]]
    mask = numpy.zeros((1, session.words), dtype=numpy.int32)
    session.fill_masks(mask)
    assert bits(mask[0], tokens.vocabulary) == [0]
    for bad in (mask[:0], mask[:, :0], numpy.zeros((2, 1), dtype=numpy.int32)):
        with pytest.raises(semid.SemidError, match="expected \\[1, 1\\]"):
            session.fill_masks(bad)
    session.rollback(1)
    assert session.phases == fork.phases == ["active"]
    with pytest.raises(semid.SemidError):
        fork.advance([0], [9])
    with pytest.raises(IndexError):
        fork.advance([3], spelled[:1])


def table_scorer(logits):
    """Full-vocabulary logits that depend on the prefix alone."""
    return lambda step: numpy.stack([logits(tuple(prefix)) for prefix in step.prefixes])


def seeded(vocabulary):
    def logits(prefix):
        seed = sum((code + 1) * 31**level for level, code in enumerate(prefix))
        return numpy.random.default_rng(seed).normal(size=vocabulary).astype(numpy.float32)

    return logits


def ranking(codes, tokens, logits):
    """Every item with its score, best first."""
    scored = []
    for row, path in enumerate(codes.tolist()):
        score = 0.0
        for level, code in enumerate(path):
            values = logits(tuple(path[:level])).astype(numpy.float64)
            score += values[tokens.token(level, code)] - numpy.log(numpy.exp(values).sum())
        scored.append((row, score))
    return sorted(scored, key=lambda item: -item[1])


def test_wide_beams_give_the_ranking(trie, tokens, codes):
    logits, steps = seeded(tokens.vocabulary), []
    search = semid.BeamSearch(trie, tokens, k=10, beams=ITEMS)
    (outcome,) = search.run(lambda step: steps.append(step) or table_scorer(logits)(step))
    prefixes = {at: prefix for step in steps for at, prefix in zip(step.ids, step.prefixes)}
    assert sorted(prefixes) == list(range(outcome.rows))
    for step in steps[1:]:
        assert [prefixes[at] for at in step.parents] == [prefix[:-1] for prefix in step.prefixes]
    expected = ranking(codes, tokens, logits)[:10]
    assert [hit.row for hit in outcome.hits] == [row for row, _ in expected]
    numpy.testing.assert_allclose(
        [hit.score for hit in outcome.hits], [score for _, score in expected], rtol=1e-5
    )
    assert outcome.exact and outcome.hits[0].key == f"item-{expected[0][0]}"

    denied = semid.Filter.deny(trie, [row for row, _ in expected[:3]])
    filtered, free = search.run(table_scorer(logits), [denied, None])
    assert [hit.row for hit in filtered.hits[:7]] == [row for row, _ in expected[3:]]
    assert [hit.row for hit in free.hits] == [row for row, _ in expected]


def test_steps_make_up_a_search(trie, tokens, codes):
    logits = seeded(tokens.vocabulary)
    search = semid.BeamSearch(trie, tokens, k=8, beams=8)
    (outcome,) = search.run(table_scorer(logits))
    cursors, scores = [trie.root], numpy.zeros(1, dtype=numpy.float32)
    prefixes = [()]
    for _ in range(LEVELS):
        rows = numpy.stack([logits(prefix) for prefix in prefixes])
        cursors, scores, found, parents = search.step(cursors, scores, rows, 8)
        prefixes = [(*prefixes[at], int(code)) for at, code in zip(parents, found)]
    assert [list(prefix) for prefix in prefixes] == [hit.codes for hit in outcome.hits]
    assert scores.tolist() == [hit.score for hit in outcome.hits]
    assert [int(trie.items_below(at)[0]) for at in cursors] == [hit.row for hit in outcome.hits]
    with pytest.raises(semid.SemidError, match="got 1 cursors, 8 scores and 1 rows"):
        search.step([trie.root], scores, rows[:1], 8)
    with pytest.raises(semid.SemidError, match="complete ID"):
        search.step(cursors, scores, rows, 8)


def test_an_exact_search_proves_its_answer(trie, tokens, codes):
    logits = seeded(tokens.vocabulary)
    search = semid.BeamSearch(trie, tokens, k=5, beams=[2, 2, 5], row_budget=10_000)
    (outcome,) = search.run(table_scorer(logits))
    assert outcome.exact
    expected = ranking(codes, tokens, logits)[:5]
    assert [hit.row for hit in outcome.hits] == [row for row, _ in expected]


def test_scorers_that_go_wrong(trie, tokens):
    search = semid.BeamSearch(trie, tokens, k=2)

    def failing(step):
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        search.run(failing)
    with pytest.raises(KeyboardInterrupt):
        search.run(lambda step: signal.raise_signal(signal.SIGINT))
    for answer, words in [
        (numpy.zeros(3), "expected \\[rows, columns\\]"),
        (numpy.zeros((7, tokens.vocabulary)), "7 rows of logits, expected 1"),
        (numpy.zeros((1, 3)), "expected"),
        (numpy.full((1, tokens.vocabulary), numpy.nan), "got the logit NaN"),
        ("no logits", "could not convert"),
    ]:
        with pytest.raises((semid.SemidError, ValueError), match=words):
            search.run(lambda step, answer=answer: answer)
    with pytest.raises(semid.SemidError, match="normalizer"):
        semid.BeamSearch(trie, tokens, normalizer="softmax")
    with pytest.raises(semid.SemidError):
        semid.BeamSearch(trie, tokens, k=0)


def test_a_search_in_many_threads(trie, tokens, codes):
    logits = seeded(tokens.vocabulary)
    search = semid.BeamSearch(trie, tokens, k=5, beams=20)
    expected = [hit.row for hit in search.run(table_scorer(logits))[0].hits]
    found = []

    def work():
        for _ in range(5):
            found.append([hit.row for hit in search.run(table_scorer(logits))[0].hits])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 40


def resident():
    """Bytes of memory that this process holds."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.mark.skipif(not pathlib.Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
def test_nothing_is_kept_of_what_is_gone(index, codes, tmp_path):
    """A leak of one index, trie, mask or answer a round would be a hundred times as much."""
    path = tmp_path / "items.safetensors"
    many = random_codes(20_000, levels=4, codes=16)
    semid.Index.build([str(row) for row in range(len(many))], many, [16] * 4).save(path)

    def work():
        index = pickle.loads(pickle.dumps(semid.Index.from_bytes(path.read_bytes())))
        trie = semid.Trie(index)
        tokens = semid.TokenMap.ranges(index, [0, 16, 32, 48], 64)
        denied = semid.Filter.deny(trie, range(5_000))
        logits = seeded(64)
        semid.BeamSearch(trie, tokens, k=20).run(table_scorer(logits), [denied])
        semid.DecodeSession(trie, tokens, filter=denied).fork().advance([0], [int(many[-1, 0])])
        trie.continuations(tokens, numpy.zeros((50, 2), dtype=numpy.int64), start=1)

    for _ in range(20):
        work()
    before = resident()
    for _ in range(100):
        work()
    assert resident() - before < 4 * path.stat().st_size


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_of_a_data_loader(tmp_path, method):
    """Threads of the parent have been at work: a forked process does not have them."""
    index, trie, expected = big_search(tmp_path)
    with multiprocessing.get_context(method).Pool(2) as pool:
        found = pool.map_async(search_in_worker, [index] * 4).get(timeout=120)
    assert found == [expected] * 4


def big_search(folder):
    codes = random_codes(20_000, levels=4, codes=16)
    path = folder / "items.safetensors"
    semid.Index.build([str(row) for row in range(len(codes))], codes, [16] * 4).save(path)
    index = semid.Index(path)
    return index, semid.Trie(index), search_in_worker(index)


def search_in_worker(index):
    trie = semid.Trie(index)
    tokens = semid.TokenMap.ranges(index, [0, 16, 32, 48], 4096)
    outcomes = semid.BeamSearch(trie, tokens, k=20).run(table_scorer(seeded(4096)), [None] * 8)
    masks = numpy.zeros((2000, 128), dtype=numpy.int32)
    trie.fill_masks(tokens, [trie.root] * 2000, masks)
    return [[hit.row for hit in outcome.hits] for outcome in outcomes]


def test_a_token_map_has_a_token_for_each_code_in_use():
    index = semid.Index.build(["a"], numpy.array([[0, 2]], dtype=numpy.uint16), [4, 4])
    tokens = semid.TokenMap.table(index, [[7, None, None, None], [None, None, 9, None]], 10)
    assert (tokens.token(1, 2), tokens.code(1, 9), tokens.token(1, 0)) == (9, 2, None)
    assert tokens.end is None and tokens.between(end=8).end == 8
    with pytest.raises(semid.SemidError, match="level 1 code 2"):
        semid.TokenMap.table(index, [[7, None, None, None], [None] * 4], 10)


def test_continuations_of_sequences(trie, tokens, codes):
    spelled = [tokens.token(level, int(code)) for level, code in enumerate(codes[7])]
    rows = numpy.array([[1, 2, *spelled], [1, 2, 9, 9, 9]])
    found = trie.continuations(tokens, rows, start=2, end=0)
    assert [part.tolist() for part in found] == [[0, 1], [0, 0], []]
    rows, columns, free = trie.continuations(tokens, rows[:, :3], start=2)
    children = trie.children(trie.find(codes[7][:1].tolist()))
    assert rows.tolist() == [0] * len(children)
    assert columns.tolist() == [tokens.token(1, int(code)) for code in children]
    _, _, free = trie.continuations(tokens, numpy.array([[1, 2], [2, 3]]), trigger=[2, 3])
    assert free.tolist() == [0]
    with pytest.raises(semid.SemidError, match="start: got 3, expected at most 2"):
        trie.continuations(tokens, numpy.array([[1, 2]]), start=3)
