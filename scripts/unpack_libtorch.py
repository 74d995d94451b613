"""Takes from the wheels in one folder what a CPU build of libtorch needs: python3 unpack_libtorch.py WHEELS OUT."""

import pathlib
import shutil
import sys
import zipfile

LIBRARIES = {"libtorch_cpu.so", "libc10.so", "libcudart.so.13", "libcupti.so.13"}


def target(name: str) -> str | None:
    """Where a wheel's file goes below OUT, or None if a CPU build does not need it."""
    base = name.rsplit("/", 1)[-1]
    if name.startswith("torch/include/"):
        return name.removeprefix("torch/")
    # libtorch_cpu needs the two CUDA libraries to load, even where there is no GPU.
    if base in LIBRARIES or base.startswith("libgomp"):
        return f"lib/{base}"
    return None


def main(wheels: pathlib.Path, out: pathlib.Path) -> None:
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                if name.endswith("/") or (place := target(name)) is None:
                    continue
                path = out / place
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as source, open(path, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)


main(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
