"""Builds the wheel, installs it into a folder of its own, and runs its tests, manuals and types.

The packages of torch_environment.txt go into a virtual environment in the user's cache; the Rust
code is compiled into target/python.
"""

import torch_environment

torch_environment.enter()

import wheel
from wheel import PYTHON, run

with wheel.installed() as site:
    # The folder beside `tests` is no package, so that the tests import what was installed.
    installed = {"PYTHONPATH": str(site)}
    lazily = torch_environment.LAZY + "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-p", "no:cacheprovider", "--doctest-modules", "--doctest-glob=*.md"]
    manuals = ["README.md", wheel.ROOT / "README.md"]
    run(*PYTHON, "-c", lazily, *options, "tests", site / "semid", *manuals, **installed)
    run(*PYTHON, "-m", "mypy.stubtest", "semid._semid", MYPYPATH=str(site), **installed)
    types = ["--strict", "--cache-dir", wheel.BUILT / "mypy", site / "semid"]
    run(*PYTHON, "-m", "mypy", *types, **installed)
