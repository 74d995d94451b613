"""Uses the page of `semid recommend serve` in headless Chromium: python3 check_serve.py SEMID [SCREENSHOTS]

Somebody types a title, takes an item by keyboard and one by mouse, denies what is recommended first, and takes back
what was done: each time the answer changes, and the page shows each item's way through the tree. Titles are hostile.
Nothing goes wrong on the page, and all it asks for is its own service. Without a Chromium this says so and passes.
"""

import contextlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import chromium

ITEMS = 240
HOSTILE = "</script><img src=x onerror=\"document.title = 'taken'\">"


def title(item: int) -> str:
    return f"Thing {item} {HOSTILE if item % 2 else 'of a long and winding title that has many words'}"


@contextlib.contextmanager
def service(semid: pathlib.Path, folder: pathlib.Path):
    """The address of a service whose users stay among items of a kind, of which there are eight."""
    codes = [f"{item},{item % 8},{item // 16},{item % 16}" for item in range(ITEMS)]
    (folder / "codes.csv").write_text("\n".join(["key,c0,c1,c2", *codes]))
    items = ({"id": str(item), "title": title(item)} for item in range(ITEMS))
    (folder / "items.jsonl").write_text("\n".join(map(json.dumps, items)))
    events = (
        {"user_id": user, "item_id": str((user + 8 * (step * step + user // 8)) % ITEMS), "timestamp": step}
        for user, step in itertools.product(range(200), range(6))
    )
    (folder / "events.jsonl").write_text("\n".join(map(json.dumps, events)))
    run = lambda *arguments: subprocess.run([semid, "--quiet", *arguments], cwd=folder, check=True, capture_output=True)
    run("import", "codes.csv", "--codes", "16", "--out", "index")
    inputs = ["--interactions", "events.jsonl", "--items", "items.jsonl", "--index", "index"]
    run("recommend", "train", *inputs, "--width", "32", "--layers", "1", "--epochs", "3", "--out", "model")
    command = [semid, "recommend", "serve", "model", "--addr", "127.0.0.1:0", "--json"]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)
    try:
        yield "http://" + json.loads(process.stdout.readline())["address"]
    finally:
        process.terminate()
        assert process.wait() == 0, process.returncode


def use(browser, address: str, size: str, scheme: str, screenshots: pathlib.Path | None) -> None:
    with chromium.page(browser, size, scheme) as (page, problems, requests):
        page.goto(address)
        texts = lambda selector: page.locator(selector).all_inner_texts()
        answered = lambda: page.wait_for_function("document.querySelectorAll('#results > li').length == 10")
        names = lambda: texts("#results .row > div:first-child")

        def changed(before: list[str]) -> list[str]:
            page.wait_for_function("(before) => document.querySelector('#results').innerText != before", arg=before)
            return names()

        shown = lambda: page.locator("#results").inner_text()
        answered()
        at_first = names()
        counts = texts("#results > li:first-child .path small")
        assert len(counts) == 3 and counts[0] == "30" and counts[2] == "1", counts

        # The keyboard: the second that is found, and nothing for what nobody is called.
        before = shown()
        page.keyboard.type("thing 1")
        page.wait_for_selector("#found li")
        assert len(texts("#found li")) == 20
        if screenshots:
            page.screenshot(path=screenshots / f"serve-{size}-{scheme}-typing.png")
        page.keyboard.press("ArrowDown")
        second = texts("#found li")[1]
        assert page.locator("#query").get_attribute("aria-activedescendant") == "found-1"
        page.keyboard.press("Enter")
        after_one = changed(before)
        assert texts("#history .row > div:first-child") == [second]
        assert page.locator("#query").evaluate("query => query === document.activeElement && query.value === ''")
        page.keyboard.type("nobody is called so")
        page.wait_for_timeout(300)
        assert texts("#found li") == []
        page.locator("#query").fill("thing 33")
        before = shown()
        page.locator("#found li").first.click()
        after_two = changed(before)
        assert len(texts("#history .row")) == 2

        # Denied, it is not there; taken back, it is.
        before = shown()
        page.locator("#results > li").first.get_by_role("button", name="Deny").click()
        denied = changed(before)
        key = lambda name: name.split("\n")[0]
        assert key(after_two[0]) not in map(key, denied) and len(denied) == 10
        before = shown()
        page.locator("#denied button").press("Enter")
        assert changed(before) == after_two
        before = shown()
        page.locator("#history button").nth(1).click()
        assert changed(before) == after_one
        before = shown()
        page.locator("#history button").click()
        assert changed(before) == at_first

        page.locator("#results > li").first.get_by_role("button", name="Add").click()
        page.wait_for_selector("#history button")
        chromium.check_style(page, size, scheme)
        assert "generation 0" in page.locator("#status").inner_text()
        assert page.title() == "What next?" and page.locator("img").count() == 0
        assert not problems, problems
        assert all(url.startswith(address) for url in requests), requests
        if screenshots:
            page.screenshot(path=screenshots / f"serve-{size}-{scheme}.png", full_page=True)


def main(semid: str, screenshots: str | None = None) -> None:
    with tempfile.TemporaryDirectory() as scratch, chromium.browser() as browser:
        with service(pathlib.Path(semid).resolve(), pathlib.Path(scratch)) as address:
            looks = list(itertools.product(chromium.SIZES, chromium.SCHEMES))
            for size, scheme in looks:
                use(browser, address, size, scheme, screenshots and pathlib.Path(screenshots))
            say = f"serve: {len(looks)} people used the page in Chromium {browser.version}"
            print(say, file=sys.stderr)


main(*sys.argv[1:])
