"""Builds the wheel, installs it into a folder of its own, and runs its tests, manuals and types.

The packages of torch_environment.txt go into a virtual environment in the user's cache; the Rust
code is compiled into target/python. What needs a server's packages is tested by test_ecosystem.py.
"""

import torch_environment

torch_environment.enter()

import wheel
from wheel import PYTHON, run

with wheel.installed() as site:
    installed = {"PYTHONPATH": str(site)}
    lazily = torch_environment.LAZY + "import pytest; sys.exit(pytest.main(sys.argv[1:]))"
    options = ["-p", "no:cacheprovider", "--doctest-modules", "--doctest-glob=*.md"]
    foreign = ["vllm.py", "sglang.py", "spark"]
    options += [f"--ignore={site / 'semid' / name}" for name in foreign]
    manuals = [wheel.BINDINGS / "README.md", wheel.ROOT / "README.md"]
    tested = [wheel.BINDINGS / "tests", site / "semid", *manuals]
    # Manuals write files where they are run.
    run(*PYTHON, "-c", lazily, *options, *tested, folder=site.parent, **installed)
    run(*PYTHON, "-m", "mypy.stubtest", "semid._semid", MYPYPATH=str(site), **installed)
    types = ["--strict", "--cache-dir", wheel.BUILT / "mypy", site / "semid"]
    run(*PYTHON, "-m", "mypy", *types, **installed)
