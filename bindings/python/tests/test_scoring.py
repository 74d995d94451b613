import math

import numpy
import pytest

import semid
from semid import metrics
from semid.rewards import reward_function


def test_rewards_in_the_signature_of_trl(index):
    truth, miss, near = index.text(7), index.text(8), index.text(7)[:-5] + "<c_9>"
    rule = reward_function(index)
    prompts, completions = ["p"] * 3 + ["q"] * 2, [miss, truth, "words", truth, truth + "\n"]
    answers = [truth] * 3 + [[miss, truth]] * 2
    assert rule(prompts=prompts, completions=completions, answer=answers) == [0, 1, 0, 1, 1]
    messages = [[{"role": "assistant", "content": text}] for text in completions]
    assert rule(prompts=prompts, completions=messages, answer=answers) == [0, 1, 0, 1, 1]
    # A group with a hit costs its misses something, one without does not.
    penalty = reward_function(index, "rank-penalty", column="truth")
    discount = [1 / math.log2(rank + 2) for rank in range(3)]
    expected = [-discount[0] / sum(discount), 1, -discount[2] / sum(discount), 0, 0]
    got = penalty(prompts=prompts, completions=completions, truth=[truth] * 3 + ["<a_0>"] * 2)
    assert got[:3] == pytest.approx(expected[:3]) and got[3:] == [0, 0]
    ladder = reward_function(index, "prefix", rungs=[1, 10], exact=100)
    assert ladder(prompts=["p"] * 2, completions=[near, truth], answer=[truth] * 2) == [10, 100]
    reasoned = reward_function(index, reasoned=True)
    thought = f"<think>hm</think><answer>{truth}</answer>"
    assert reasoned(prompts=["p"] * 2, completions=[thought, truth], answer=[truth] * 2) == [1, 0]


def test_rewards_that_cannot_be(index):
    call = {"prompts": ["p"], "completions": ["x"]}
    with pytest.raises(semid.SemidError, match="reward: got"):
        reward_function(index, "best")(**call, answer=[index.text(0)])
    with pytest.raises(KeyError, match="no column 'answer'"):
        reward_function(index)(**call)
    with pytest.raises(semid.SemidError):
        reward_function(index)(**call, answer=["a lamp"])
    with pytest.raises(ValueError):
        reward_function(index)(prompts=["p"], completions=["x"], answer=[])


def test_metrics_are_those_of_a_plain_loop():
    rng = numpy.random.default_rng(0)
    lists = [rng.permutation(30)[:10].tolist() for _ in range(50)]
    targets = [[int(rng.integers(30))] for _ in lists]
    found = metrics.evaluate(lists, targets, cutoffs=[3, 10])
    ranks = [own.index(t[0]) if t[0] in own else None for own, t in zip(lists, targets)]
    for k in (3, 10):
        hits = [rank for rank in ranks if rank is not None and rank < k]
        assert found[f"hr@{k}"] == pytest.approx(len(hits) / 50)
        assert found[f"ndcg@{k}"] == pytest.approx(sum(1 / math.log2(r + 2) for r in hits) / 50)
        assert found[f"mrr@{k}"] == pytest.approx(sum(1 / (r + 1) for r in hits) / 50)
    assert metrics.evaluate([[-1, 4]], [[4]], cutoffs=[1, 2])["hr@1"] == 0
    assert metrics.evaluate([], []) == {}
    with pytest.raises(semid.SemidError, match="targets of 1 users, expected 2"):
        metrics.scores([[1], [2]], [[1]], [1])


def test_the_gain_of_codes_that_tell_the_next_item():
    """Items 0 to 3 have code 0, items 4 to 7 code 1; users stay with the code they began with."""
    codes = numpy.array([[row // 4, row % 4] for row in range(8)], dtype=numpy.uint16)
    histories = [
        [user % 2 * 4 + (user // 2 + at * at) % 4 for at in range(6)] for user in range(200)
    ]
    gain = metrics.held_out_gain(codes, histories)
    assert gain["per_level"][0] > 0.95 and gain["pairs"] == 200
    with pytest.raises(semid.SemidError):
        metrics.held_out_gain(codes, [[99, 100, 101]])
