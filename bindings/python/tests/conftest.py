import signal

import numpy
import pytest

import semid

# A shell has its jobs in the background ignore Ctrl-C, which these tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)

LEVELS, CODES, ITEMS = 3, 6, 60


def random_codes(items=ITEMS, levels=LEVELS, codes=CODES, seed=0):
    """Distinct paths, `[items, levels]`."""
    rng = numpy.random.default_rng(seed)
    drawn = rng.choice(codes**levels, size=items, replace=False)
    return numpy.stack(numpy.unravel_index(drawn, [codes] * levels), 1).astype(numpy.uint16)


@pytest.fixture
def codes():
    return random_codes()


@pytest.fixture
def index(codes):
    return semid.Index.build([f"item-{row}" for row in range(len(codes))], codes, [CODES] * LEVELS)


@pytest.fixture
def trie(index):
    return semid.Trie(index)


@pytest.fixture
def tokens(index):
    """Codes follow a vocabulary of ten words."""
    firsts = [10 + level * CODES for level in range(LEVELS)]
    return semid.TokenMap.ranges(index, firsts, 10 + LEVELS * CODES)
