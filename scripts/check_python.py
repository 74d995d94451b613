"""Builds the wheel, installs it into a folder of its own, and runs its tests, manuals and types.

The packages of torch_environment.txt go into a virtual environment in the user's cache; the Rust
code is compiled into target/python.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

import torch_environment

torch_environment.enter()

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINDINGS = ROOT / "bindings" / "python"
BUILT = ROOT / "target" / "python"
PYTHON = [sys.executable, "-B"]


def run(*arguments: object, **variables: str) -> None:
    print("python:", *arguments, file=sys.stderr)
    subprocess.run(list(map(str, arguments)), check=True, cwd=BINDINGS, env=os.environ | variables)


BUILT.mkdir(parents=True, exist_ok=True)
with tempfile.TemporaryDirectory(dir=BUILT) as scratch:
    site = pathlib.Path(scratch, "site")
    maturin = [*PYTHON, "-m", "maturin", "build", "--release", "--locked", "--quiet"]
    run(*maturin, "--out", scratch, "--target-dir", BUILT)
    (wheel,) = pathlib.Path(scratch).glob("semid-*.whl")
    run(*PYTHON, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel)
    # The folder beside `tests` is no package, so that the tests import what was installed.
    installed = {"PYTHONPATH": str(site)}
    lazily = torch_environment.LAZY + "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-p", "no:cacheprovider", "--doctest-modules", "--doctest-glob=*.md"]
    manuals = ["README.md", ROOT / "README.md"]
    run(*PYTHON, "-c", lazily, *options, "tests", site / "semid", *manuals, **installed)
    run(*PYTHON, "-m", "mypy.stubtest", "semid._semid", MYPYPATH=str(site), **installed)
    run(*PYTHON, "-m", "mypy", "--strict", "--cache-dir", BUILT / "mypy", site / "semid", **installed)
