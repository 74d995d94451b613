"""Headless Chromium for the scripts that look at pages; without one they say so and end well.

The packages of check_report.txt (50 MB to fetch) go into a virtual environment in the user's cache.
"""

import contextlib
import pathlib
import shutil
import sys

import cached_environment

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SIZES = {"wide": (1280, 800), "narrow": (390, 844)}
SCHEMES = ("light", "dark")

PATH = next(filter(None, map(shutil.which, NAMES)), None)
if PATH is None:
    print(f"there is no Chromium here ({', '.join(NAMES)}): the page is not opened", file=sys.stderr)
    sys.exit()
cached_environment.enter("report", pathlib.Path(__file__).resolve().with_name("check_report.txt"))

import playwright.sync_api


@contextlib.contextmanager
def browser():
    with playwright.sync_api.sync_playwright() as play:
        # As root, which CI may be, Chromium has no sandbox.
        started = play.chromium.launch(executable_path=PATH, args=["--no-sandbox"])
        yield started
        started.close()


@contextlib.contextmanager
def page(browser, size: str, scheme: str):
    """A page, what goes wrong on it, and all that it asks for."""
    width, height = SIZES[size]
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=size == "narrow"
    )
    page, problems, requests = context.new_page(), [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page, problems, requests
    context.close()


def check_style(page, size: str, scheme: str) -> None:
    """No sideways scrolling, and dark where that is wished for."""
    scroll, room = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert scroll <= room == SIZES[size][0], f"{scroll} pixels in {room}"
    back = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) < 200) == (scheme == "dark"), back
