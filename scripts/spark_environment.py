"""The packages of spark_environment.txt, and the wheel beside them."""

import collections.abc
import contextlib
import os
import pathlib
import sys

import cached_environment

REQUIREMENTS = pathlib.Path(__file__).resolve().with_suffix(".txt")


def enter() -> None:
    """Starts the script again in an environment with Spark, unless this is one."""
    cached_environment.enter("spark", REQUIREMENTS)


@contextlib.contextmanager
def wheel_installed() -> collections.abc.Iterator[None]:
    """The wheel, built from the sources that are here, for this process and for executors."""
    import wheel

    with wheel.installed() as site:
        sys.path.insert(0, str(site))
        os.environ["PYTHONPATH"] = str(site)
        yield
