"""Opens the report of `semid check` in headless Chromium: python3 check_report.py SEMID [SCREENSHOTS]

A small catalogue is checked with all inputs and with the index alone. Both pages are opened wide
and narrow, light and dark: no error, no request, no sideways scrolling, charts that drew something,
and a title where the pointer is. Titles are hostile. Without a Chromium this says so and passes.
"""

import itertools
import json
import math
import pathlib
import struct
import subprocess
import sys
import tempfile

import chromium

ITEMS, CODES, DIM = 400, 16, 8
HOSTILE = "</script><script>document.title = 'taken'</script><img src=x onerror=\"document.title = 'taken'\">"


def say(message: str) -> None:
    print(f"report: {message}", file=sys.stderr)


def title(item: int) -> str:
    return f"Thing {item} {HOSTILE}" if item % 2 else f"Thing {item}, which has quite a long title"


def write_catalogue(folder: pathlib.Path) -> None:
    """Items of eight kinds, whose first code, embedding and users follow the kind."""
    kind = lambda item: item % 8
    codes = [f"{item},{kind(item) + 8 * (item % 3 == 0)},{item // 16},{item % 16}" for item in range(ITEMS)]
    (folder / "codes.csv").write_text("\n".join(["key,c0,c1,c2", *codes]))
    items = ({"id": str(item), "title": title(item), "categories": f"Kind {kind(item)}"} for item in range(ITEMS))
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    events = (
        {"user_id": user, "item_id": str((user + 8 * (step * step + user // 8)) % ITEMS), "timestamp": step}
        for user, step in itertools.product(range(200), range(6))
    )
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    rows = [math.sin(2.3 * kind(item) + d) + 0.2 * math.sin(item * (d + 1)) for item in range(ITEMS) for d in range(DIM)]
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({ITEMS}, {DIM}), }}".ljust(117) + "\n"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()
    (folder / "emb.npy").write_bytes(npy + struct.pack(f"<{len(rows)}f", *rows))


def write_pages(semid: pathlib.Path, folder: pathlib.Path) -> dict[str, pathlib.Path]:
    write_catalogue(folder)
    run = lambda *arguments: subprocess.run([semid, "--quiet", *arguments], cwd=folder, check=True, capture_output=True)
    run("import", "codes.csv", "--codes", str(CODES * 2), "--out", "index")
    inputs = ["--embeddings", "emb.npy", "--items", "items.jsonl", "--interactions", "events.jsonl"]
    run("check", "index", *inputs, "--report", "full.html")
    run("check", "index", "--report", "bare.html")
    return {name: folder / f"{name}.html" for name in ("full", "bare")}


def look(browser, page_file: pathlib.Path, name: str, size: str, scheme: str, screenshots: pathlib.Path | None) -> None:
    with chromium.page(browser, size, scheme) as (page, problems, requests):
        page.goto(page_file.as_uri())
        page.wait_for_selector(".cell")
        count = lambda selector: page.locator(selector).count()

        assert not problems, problems
        assert requests == [page_file.as_uri()], requests
        chromium.check_style(page, size, scheme)
        assert "taken" not in page.title()
        assert count(".use rect") >= CODES
        assert count(".bars .track i") >= (20 if name == "full" else 0)

        page.locator(".cell").first.hover()
        tip = page.locator("#tip")
        assert tip.is_visible()
        assert ("Thing" if name == "full" else "items") in tip.inner_text(), tip.inner_text()
        box = tip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= chromium.SIZES[size][0], box
        if screenshots:
            page.screenshot(path=screenshots / f"{name}-{size}-{scheme}-tip.png")
        page.locator(".cell.open").first.click()
        assert count("#trail button") == 2
        assert not problems, problems
        if screenshots:
            page.mouse.move(0, 0)
            page.screenshot(path=screenshots / f"{name}-{size}-{scheme}.png", full_page=True)


def main(semid: str, screenshots: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as scratch, chromium.browser() as browser:
        pages = write_pages(pathlib.Path(semid).resolve(), pathlib.Path(scratch))
        looks = list(itertools.product(pages.items(), chromium.SIZES, chromium.SCHEMES))
        for (name, file), size, scheme in looks:
            look(browser, file, name, size, scheme, screenshots and pathlib.Path(screenshots))
        say(f"{len(looks)} looks at the page in Chromium {browser.version}: it is drawn, and asks for nothing")


main(*sys.argv[1:])
