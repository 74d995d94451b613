"""Load on `semid recommend serve`: python3 serve_load.py SEMID MODEL [--seconds 60] [--connections 64]

Each connection asks without a pause: random histories, five denied items. Every second another generation of the
index is written over the file that is served, and reloaded; ten times a second a client breaks off in the middle, or
sends nonsense. Every answer is looked at: as many items as asked for, all in the generation that it names, with the
IDs they have there, none twice, none denied or seen before, the best first. Prints one JSON object; ends with status
1 if any answer was wrong or any request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

WARM_UP = 5  # seconds, before memory is looked at and times are taken
RESULTS, DENIED, LONGEST = 10, 5, 15

Offered = dict[str, str]  # the ID of each item, by key


def generations(semid: str, model: pathlib.Path, folder: pathlib.Path) -> tuple[list[pathlib.Path], list[Offered]]:
    """Three generations of the model's index, and what each offers: a twentieth goes, and another."""

    def run(*arguments: object) -> None:
        subprocess.run([semid, "--quiet", *map(str, arguments)], check=True, stdout=subprocess.DEVNULL)

    indexes, offered = [model / "index.safetensors"], []
    for number in range(3):
        exported = folder / "exported.json"
        run("export", indexes[-1], "--format", "lc-rec", "--out", exported)
        offered.append({key: "".join(codes) for key, codes in json.loads(exported.read_text()).items()})
        if number < 2:
            gone = folder / "gone.txt"
            gone.write_text("\n".join(list(offered[-1])[number::20]))
            indexes.append(folder / f"{number + 1}.safetensors")
            run("remove", indexes[-2], "--keys", gone, "--out", indexes[-1])
    return indexes, offered


class Load:
    def __init__(self, address: str, offered: list[Offered]) -> None:
        self.host, self.port = address.rsplit(":", 1)
        self.offered, self.keys = offered, list(offered[0])
        self.times: list[float] = []
        self.errors: list[str] = []
        self.seen = [0] * len(offered)
        self.swaps = self.nuisances = 0
        self.running = True

    async def request(self, streams, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        reader, writer = streams
        writer.write(f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.split("content-length: ")[1].split("\r\n")[0])
        return int(head.split()[1]), await reader.readexactly(length)

    def connect(self):
        return asyncio.open_connection(self.host, int(self.port))

    async def user(self, seed: int) -> None:
        draw = random.Random(seed)
        streams = await self.connect()
        while self.running:
            history = draw.sample(self.keys, draw.randrange(LONGEST + 1))
            deny = draw.sample(self.keys, DENIED)
            body = json.dumps({"history": history, "deny": deny, "k": RESULTS}).encode()
            start = time.perf_counter()
            status, answer = await self.request(streams, "POST", "/v1/recommend", body)
            self.times.append(time.perf_counter() - start)
            if status != 200:
                self.errors.append(f"{status}: {answer.decode()}")
            else:
                self.look(json.loads(answer), {*history, *deny})

    def look(self, answer: dict, never: set[str]) -> None:
        items, offered = answer["items"], self.offered[answer["generation"]]
        self.seen[answer["generation"]] += 1
        keys, scores = [item["key"] for item in items], [item["score"] for item in items]
        right = (
            len(items) == RESULTS == len({*keys})
            and not never & {*keys}
            and all(offered.get(item["key"]) == item["id"] for item in items)
            and scores == sorted(scores, reverse=True)
        )
        if not right:
            self.errors.append(f"wrong: {answer}")

    async def swap(self, indexes: list[pathlib.Path], served: pathlib.Path) -> None:
        streams = await self.connect()
        while self.running:
            await asyncio.sleep(1)
            self.swaps += 1
            shutil.copyfile(indexes[self.swaps % len(indexes)], served)
            status, answer = await self.request(streams, "POST", "/v1/catalogue/reload")
            if status != 200:
                self.errors.append(f"reload {status}: {answer.decode()}")

    async def annoy(self) -> None:
        whole = b'POST /v1/recommend HTTP/1.1\r\nhost: x\r\ncontent-length: 15\r\n\r\n{"history": []}'
        for sent in self.nuisance(whole):
            await asyncio.sleep(0.1)
            self.nuisances += 1
            _, writer = await self.connect()
            writer.write(sent)
            await writer.drain()
            writer.transport.abort()

    def nuisance(self, whole: bytes):
        while self.running:
            yield from (whole, whole[:-5], whole[:30], b"\x16\x03\x01nonsense", whole.replace(b"[]", b"[1"))


def memory(process: int) -> float:
    """Resident MiB."""
    status = pathlib.Path(f"/proc/{process}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def computed(process: int) -> float:
    """Seconds of CPU so far."""
    fields = pathlib.Path(f"/proc/{process}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def run(arguments: argparse.Namespace, folder: pathlib.Path) -> bool:
    indexes, offered = generations(arguments.semid, arguments.model, folder)
    served = folder / "served.safetensors"
    shutil.copyfile(indexes[0], served)
    command = [arguments.semid, "recommend", "serve", arguments.model, "--index", served, "--addr", "127.0.0.1:0"]
    service = subprocess.Popen([*command, "--json", "--quiet"], stdout=subprocess.PIPE, text=True)
    try:
        load = Load(json.loads(service.stdout.readline())["address"], offered)
        users = [asyncio.create_task(load.user(seed)) for seed in range(arguments.connections)]
        tasks = [*users, asyncio.create_task(load.swap(indexes, served)), asyncio.create_task(load.annoy())]
        await asyncio.sleep(WARM_UP)
        before, cpu = memory(service.pid), computed(service.pid)
        load.times.clear()
        growth = []
        for _ in range(6):
            await asyncio.sleep(arguments.seconds / 6)
            growth.append(round(memory(service.pid) - before, 1))
        times, cpu = sorted(load.times), computed(service.pid) - cpu
        load.running = False
        await asyncio.gather(*tasks)
        status, metrics = await load.request(await load.connect(), "GET", "/metrics")
    finally:
        service.terminate()
        service.wait()
    count = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in metrics.decode().splitlines() if line[0] != "#"}
    at = lambda share: round(1000 * times[int(share * (len(times) - 1))], 1)
    print(json.dumps({
        "requests": len(times), "a_second": round(len(times) / arguments.seconds, 1),
        "cpu_ms_a_request": round(1000 * cpu / len(times), 2), "cores": round(cpu / arguments.seconds, 2),
        "p50_ms": at(0.5), "p99_ms": at(0.99), "max_ms": at(1),
        "mean_batch": round(count["semid_batch_size_sum"] / count["semid_batch_size_count"], 1),
        "answers_by_generation": load.seen, "swaps": load.swaps, "nuisances": load.nuisances,
        "rss_mib": round(before, 1), "growth_mib": growth,
        "wrong_or_failed": len(load.errors), "first_error": next(iter(load.errors), None),
        "exit_status": service.returncode,
    }))  # fmt: skip
    return not load.errors and service.returncode == 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("semid")
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--connections", type=int, default=64)
    with tempfile.TemporaryDirectory() as folder:
        sys.exit(not asyncio.run(run(parser.parse_args(), pathlib.Path(folder))))
