"""A program in a process of its own, asked by lines of JSON: its memory and threads are its own.

The contestant calls `serve`; who races it makes a `Contestant`. All have prepared before they are
timed, and are then asked in turn.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

# torch for CUDA on a machine without it finds its libraries when they are called, so never.
sys.setdlopenflags(os.RTLD_LAZY)

Answer = dict[str, Any]
HERE = pathlib.Path(__file__).resolve().parent
SETTINGS = {
    # Freed memory is kept, where the pages of each large array would be asked for anew.
    "MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "-1", "MALLOC_TOP_PAD_": "67108864",
    # Threads of OpenMP spin for microseconds: much longer, and a machine with other work crawls.
    "GOMP_SPINCOUNT": "1000",
}


class Refused(Exception):
    """Why a contestant gave no answer, in a few words."""


class Contestant:
    """The process of `program`, a file beside this one; `built` is what its building took."""

    def __init__(self, program: str, threads: int, build_limit: float = 600, **settings: Any):
        self.errors = tempfile.TemporaryFile()
        libraries = ("OMP", "MKL", "OPENBLAS", "RAYON")
        count = {f"{name}_NUM_THREADS": str(threads) for name in libraries}
        self.process = subprocess.Popen(
            [sys.executable, "-B", HERE / program],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors,
            env=os.environ | count | SETTINGS,
        )
        self.built = self.ask(build_limit, threads=threads, **settings)

    def ask(self, limit: float = 600, **question: Any) -> Answer:
        """The answer; raises Refused if there is none after `limit` seconds."""
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin and stdout
        try:
            stdin.write(json.dumps(question).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError:
            pass
        if not select.select([stdout], [], [], limit)[0]:
            self.close()
            raise Refused(f"timeout after {limit:.0f} s")
        line = stdout.readline()
        if not line:
            self.close()
            raise Refused(f"fails: {self.last_words()}")
        return json.loads(line)

    def last_words(self) -> str:
        self.errors.seek(0)
        lines = self.errors.read().decode(errors="replace").splitlines()
        errors = [line for line in lines if "Error: " in line]
        return errors[-1][:200] if errors else f"exit status {self.process.returncode}"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def serve(prepare: Callable[..., Any], build: Callable[[Any], Callable[..., Answer]]) -> None:
    """Prepares, builds and answers until nobody asks any more.

    `prepare(**settings)` makes the inputs, which are not counted, and `build(inputs)` what answers
    questions. Told are the seconds of building and the megabytes that it holds, and with each
    answer the peak of the process since before it was built: all of it, and what it has grown by.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    tell = lambda answer: print(json.dumps(answer), file=answers, flush=True)

    inputs = prepare(**json.loads(sys.stdin.readline()))
    free_unused()
    pathlib.Path("/proc/self/clear_refs").write_text("5")  # The peak begins anew, proc(5).
    before = megabytes("VmRSS")
    start = time.perf_counter()
    answer = build(inputs)
    seconds = time.perf_counter() - start
    free_unused()
    tell({"seconds": seconds, "held": megabytes("VmRSS") - before})
    for line in sys.stdin:
        told = answer(**json.loads(line))
        peak = megabytes("VmHWM")
        tell(told | {"peak": peak, "grown": peak - before})


def free_unused() -> None:
    """Gives memory that was freed back to the system."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


def megabytes(name: str) -> float:
    """Of this process: `VmRSS` now, `VmHWM` at its peak."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    (kibibytes,) = [line.split()[1] for line in lines if line.startswith(f"{name}:")]
    return int(kibibytes) * 1024 / 1e6
