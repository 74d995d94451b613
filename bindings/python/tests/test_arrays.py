import numpy
import pytest
import torch

import semid

from test_core import bits


def test_arrays_of_others_are_used_in_place(index, trie, tokens, codes):
    """Torch's tensors come and go by DLPack."""
    again = semid.Index.build(index.keys(), torch.tensor(codes), index.sizes)
    assert (again.to_numpy() == codes).all()
    mask = torch.zeros((1, (tokens.vocabulary + 31) // 32), dtype=torch.int32)
    trie.fill_masks(tokens, [trie.root], mask)
    assert bits(mask[0].numpy(), tokens.vocabulary) == [
        tokens.token(0, int(code)) for code in trie.children(trie.root)
    ]
    children = trie.children(trie.root)
    assert torch.from_dlpack(children).data_ptr() == children.ctypes.data


def test_arrays_that_do_not_fit_are_named(index, trie, tokens):
    expected = "expected an array of int32 of 2 dimensions"
    for given, got in [
        (numpy.zeros((1, 1)), "got float64 of 2 dimensions"),
        (numpy.zeros(1, dtype=numpy.int32), "got int32 of 1 dimensions"),
        (torch.zeros((1, 1), dtype=torch.int64), "got int64 of 2 dimensions"),
        ([[0]], "got <class 'list'>"),
    ]:
        with pytest.raises(TypeError, match=f"{got}, {expected}"):
            trie.fill_masks(tokens, [trie.root], given)
    with pytest.raises((ValueError, BufferError)):
        trie.fill_masks(tokens, [trie.root], torch.zeros((1, 1), dtype=torch.int32, device="meta"))
    shared = numpy.zeros((1, 1), dtype=numpy.int32)
    shared.flags.writeable = False
    with pytest.raises(TypeError, match="not writeable"):
        trie.fill_masks(tokens, [trie.root], shared)
