"""The wheel `semid`, built from the sources that are here."""

import collections.abc
import contextlib
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINDINGS = ROOT / "bindings" / "python"
BUILT = ROOT / "target" / "python"
PYTHON = [sys.executable, "-B"]


def run(*arguments: object, folder: pathlib.Path = BINDINGS, **variables: str) -> None:
    """Runs a command in a folder, with more variables in its environment."""
    print("python:", *arguments, file=sys.stderr)
    subprocess.run(list(map(str, arguments)), check=True, cwd=folder, env=os.environ | variables)


@contextlib.contextmanager
def installed() -> collections.abc.Iterator[pathlib.Path]:
    """A folder for PYTHONPATH that has the wheel alone, while it is used.

    The Python that runs this has maturin; the Rust code is compiled into target/python.
    """
    BUILT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILT) as scratch:
        site = pathlib.Path(scratch, "site")
        maturin = [*PYTHON, "-m", "maturin", "build", "--release", "--locked", "--quiet"]
        run(*maturin, "--out", scratch, "--target-dir", BUILT)
        (wheel,) = pathlib.Path(scratch).glob("semid-*.whl")
        run(*PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
        yield site
