"""Runs a script in a virtual environment of its own, which is kept in the user's cache."""

import collections.abc
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import venv

Finish = collections.abc.Callable[[pathlib.Path], None]


def enter(name: str, *requirements: pathlib.Path, finish: Finish = lambda python: None) -> None:
    """Returns if this is that environment already, else starts the script again in it.

    An environment that is not there yet gets the requirements, which list all they need, and what
    `finish` does with its Python.
    """
    if pathlib.Path(sys.prefix).parent.name == "semid":
        return
    python = environment(name, requirements, finish)
    os.execv(python, [python, "-B", *sys.argv])


def environment(
    name: str, requirements: collections.abc.Sequence[pathlib.Path], finish: Finish
) -> pathlib.Path:
    """The Python of the environment."""
    home = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
    content = b"".join(file.read_bytes() for file in requirements)
    version = hashlib.sha256(content).hexdigest()[:12]
    folder = home / "semid" / f"{name}-{version}"
    python = folder / "bin" / "python"
    done = folder / "done"
    if not done.exists():
        names = " and ".join(file.name for file in requirements)
        print(f"{name}: installing {names} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        venv.create(folder, with_pip=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:"]
        for file in requirements:
            pip += ["-r", file]
        subprocess.run(pip, check=True, stdout=sys.stderr)
        finish(python)
        done.touch()
    return python
