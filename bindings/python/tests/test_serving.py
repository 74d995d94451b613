"""What requests to a server may wish for. The servers themselves are in `ecosystem`."""

import os

import numpy
import pytest
import tokenizers

import semid
from semid.serving import Constraint, catalogues

WORDS = ["</s>", "<s>", "think", "so"]


@pytest.fixture
def shop(index, tmp_path, monkeypatch):
    """A server that has the index of these tests."""
    index.save(tmp_path / "shop.safetensors")
    words = WORDS + [name for level in range(index.levels) for name in index.tokens(level)]
    model = tokenizers.models.WordLevel({word: token for token, word in enumerate(words)})
    tokenizers.Tokenizer(model).save(str(tmp_path / "tokenizer.json"))
    monkeypatch.setenv("SEMID_INDEX", str(tmp_path / "shop.safetensors"))
    monkeypatch.setenv("SEMID_TOKENIZER", str(tmp_path / "tokenizer.json"))
    return catalogues()["shop"]


def allowed(constraint, logits):
    """The tokens of its mask; `None` where any may come."""
    mask = numpy.zeros((1, -(-logits // 32)), dtype=numpy.int32)
    if not constraint.fill(mask):
        assert not mask.any()
        return None
    bits = numpy.unpackbits(mask.view(numpy.uint8), bitorder="little")
    return bits.nonzero()[0].tolist()


@pytest.mark.parametrize("logits", [None, 100])
@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"semid_allow": ["item-1", "item-2", "item-50"]},
        {"semid_deny": [f"item-{row}" for row in range(50)]},
        {"semid_allow": ["item-1", "item-2"], "semid_deny": ["item-2"]},
        {"semid_trigger": [2, 3]},
    ],
)
def test_a_constraint_allows_what_continuations_do(shop, wishes, logits):
    rng = numpy.random.default_rng(0)
    allow, deny = wishes.get("semid_allow"), wishes.get("semid_deny", [])
    filter = semid.Filter.deny(shop.trie, deny)
    if allow is not None:
        filter &= semid.Filter.allow(shop.trie, allow)
    trigger = wishes.get("semid_trigger", [])
    for _ in range(50):
        constraint = Constraint.of({"semid": "shop", **wishes}, [0], logits)
        output = []
        for _ in range(8):
            sequence = numpy.array([output], dtype=numpy.int64).reshape(1, -1)
            _, columns, free = shop.trie.continuations(
                shop.tokens, sequence, trigger=trigger, end=0, filter=filter
            )
            tokens = allowed(constraint.fork(), logits or shop.tokens.vocabulary)
            assert tokens == (None if len(free) else sorted(columns.tolist()))
            lost = rng.random() < 0.1
            output.append(int(rng.integers(1, 4) if lost or tokens is None else rng.choice(tokens)))
            constraint.read(output[-1:])
        assert constraint.seen == 8


def test_requests_without_wishes_are_left_alone(shop):
    assert Constraint.of(None, [0]) is None
    assert Constraint.of({"kv_transfer_params": {}}, [0]) is None


def test_what_follows_an_item(shop, index):
    item = [shop.tokens.token(level, code) for level, code in enumerate(index["item-7"])]

    def after(stops, **wishes):
        constraint = Constraint.of({"semid": "shop", **wishes}, stops)
        constraint.read(item)
        return allowed(constraint, shop.tokens.vocabulary)

    assert after([0, 1]) == [0, 1]
    assert after([0], semid_end=[3]) == [3]
    assert after([0], semid_end=[]) is None
    assert after([]) is None
    # Not a token of this tokenizer: it cannot come.
    assert after([0, 9999]) == [0]


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({"semid": "shoes"}, "got 'shoes' as `semid`, expected the name of an index: 'shop'"),
        ({"semid": ["shop"]}, "as `semid`, expected the name of an index"),
        ({"semid_deny": ["item-0"]}, "got None as `semid`"),
        ({"semid": "shop", "semid_allw": []}, "got semid_allw; a request may have semid, "),
        ({"semid": "shop", "semid_deny": ["item-99"]}, "'shop' has no item 'item-99'"),
        ({"semid": "shop", "semid_deny": "item-9"}, "got item-9 as semid_deny, expected a list"),
        ({"semid": "shop", "semid_deny": [3]}, "as semid_deny, expected a list of str"),
        ({"semid": "shop", "semid_allow": []}, "none of the 60 items is allowed"),
        ({"semid": "shop", "semid_allow": [], "semid_deny": ["item-0"]}, "none of the 60 items"),
        ({"semid": "shop", "semid_trigger": [99]}, "got the token 99 in semid_trigger, expected 0"),
        ({"semid": "shop", "semid_end": [-1]}, "got the token -1 in semid_end"),
        ({"semid": "shop", "semid_end": [4]}, "4"),
    ],
)
def test_bad_wishes(shop, wishes, words):
    with pytest.raises(ValueError) as problem:
        Constraint.of(wishes, [0])
    assert words in str(problem.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("SEMID_INDEX", "", "expected paths of index files in the environment variable"),
        ("SEMID_INDEX", "nowhere.safetensors", "nowhere.safetensors"),
        ("SEMID_INDEX", os.pathsep.join(["shop.safetensors"] * 2), "two files of the name 'shop'"),
        ("SEMID_TOKENIZER", "nowhere.json", "nowhere.json"),
    ],
)
def test_a_server_that_cannot_start(shop, monkeypatch, tmp_path, name, value, words):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, value)
    with pytest.raises((OSError, ValueError)) as problem:
        catalogues()
    assert words in str(problem.value)


def test_a_model_of_few_logits(shop):
    with pytest.raises(ValueError, match="the model has 16 logits, but .* numbers tokens up to 21"):
        catalogues(16)
