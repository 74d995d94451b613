"""semid beside what people use today: python3 run.py [--quick] [PART ...]

Builds the environment of requirements.txt and the wheel, runs the parts, all unless some are named,
and writes PEERS.md, figures/ and peers/results.json into benches. With --quick all sizes are small
and the files lie in target/peers: it shows that the race can be run, and its figures mean nothing.
"""

import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.append(str(ROOT / "scripts"))

import torch_environment

torch_environment.enter("peers", HERE / "requirements.txt")

import wheel

import corpora
import decode
import hugging_face
import indexing
import masks
import plots
import python_layer
import tables

PARTS = {
    "decode": decode.race,
    "masks": masks.race,
    "layer": python_layer.race,
    "index": indexing.race,
    "corpora": corpora.race,
    "transformers": hugging_face.race,
}
PACKAGES = [
    "torch", "transformers", "marisa-trie", "flashrec", "xgrammar", "llguidance", "outlines-core",
    "faiss-cpu", "vector-quantize-pytorch", "semantic-id",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="small sizes")
    parser.add_argument("--semid", type=pathlib.Path, default=ROOT / "target" / "release" / "semid")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    out = ROOT / "target" / "peers" if options.quick else ROOT / "benches"
    with wheel.installed() as site:
        os.environ["PYTHONPATH"] = str(site)
        race(options.parts or list(PARTS), options.semid.resolve(), options.quick, out)


def race(parts: list[str], semid: pathlib.Path, quick: bool, out: pathlib.Path) -> None:
    """Runs parts, and writes what is known after each; the last results of others are kept, if the
    machine and the packages are the same."""
    file = out / "peers" / "results.json"
    versions = [f"{name} {importlib.metadata.version(name)}" for name in PACKAGES]
    known = json.loads(file.read_text()) if file.exists() else {}
    same = known.get("machine") == machine() and known.get("versions") == versions
    done = known["parts"] if same else {}
    for part in parts:
        start, rows = time.perf_counter(), []
        for row in PARTS[part](semid, quick):
            rows.append(row)
            say(part, row)
        say(part, f"{time.perf_counter() - start:.0f} s")
        done[part] = rows
        results = {
            "machine": machine(), "quick": quick,
            "versions": versions,
            "parts": {part: done[part] for part in PARTS if part in done},
        }
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(results, indent=1) + "\n")
        (out / "PEERS.md").write_text(tables.markdown(results))
        plots.draw(results, out / "figures")
    say("peers", f"{out / 'PEERS.md'} is written")


def say(part: str, told: object) -> None:
    print(f"{part}:", told, file=sys.stderr, flush=True)


def machine() -> str:
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line.split(": ")[1] for line in lines if line.startswith("model name")), "?")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{name}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


if __name__ == "__main__":
    main()
