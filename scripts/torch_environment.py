"""The virtual environment of the checks that need PyTorch."""

import os
import pathlib
import re
import subprocess
import sys

import cached_environment

REQUIREMENTS = pathlib.Path(__file__).resolve().with_suffix(".txt")
# torch is the build with CUDA, the only one on PyPI, without most of CUDA. Its symbols are looked
# up when they are called, so never.
LAZY = "import os, sys; sys.setdlopenflags(os.RTLD_LAZY); "


def enter(name: str = "torch", *more: pathlib.Path) -> None:
    """Returns if this script runs in it already, else starts the script again in it.

    One of another name has more requirements.
    """
    os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    cached_environment.enter(name, REQUIREMENTS, *more, finish=stub_cuda)
    sys.setdlopenflags(os.RTLD_LAZY)


def stub_cuda(python: pathlib.Path) -> None:
    """Puts an empty library in the place of each that torch links and does not find."""
    (lib,) = python.parent.parent.glob("lib/python*/site-packages/torch/lib")
    while True:
        run = subprocess.run([python, "-c", LAZY + "import torch"], capture_output=True, text=True)
        if run.returncode == 0:
            return
        missing = re.search(r"(lib\S+\.so\S*): cannot open shared object file", run.stderr)
        if not missing or (lib / missing[1]).exists():
            sys.exit(f"torch cannot be imported:\n{run.stderr}")
        compiler = os.environ.get("CC", "cc")
        stub = [compiler, "-shared", "-x", "c", "/dev/null", "-o", lib / missing[1]]
        subprocess.run(stub, check=True)
