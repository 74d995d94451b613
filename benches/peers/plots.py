"""results.json as figures: bars with their figures, the best first."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy

matplotlib.use("svg")
# Text stays text, and equal results give equal files.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "peers", "font.size": 9})

from matplotlib import pyplot

from tables import OURS, Row, number

#: A bar: its label, its length, not a number for none, and what is written at its end.
Bar = tuple[str, float, str]


def bars(path: pathlib.Path, panels: dict[str, list[Bar]], log: bool = True) -> None:
    """A panel a title, one below the other."""
    heights = [0.3 * len(panel) + 0.6 for panel in panels.values()]
    options: dict[str, Any] = {"height_ratios": heights, "squeeze": False, "layout": "constrained"}
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(7.5, sum(heights)), **options)
    for axis, (title, panel) in zip(axes[:, 0], panels.items(), strict=True):
        panel = sorted(panel, key=lambda bar: (math.isnan(bar[1]), bar[1]))
        labels, lengths, written = zip(*[(name.replace("`", ""), *rest) for name, *rest in panel])
        colors = ["#0a7d6c" if "semid" in label else "#b8bec6" for label in labels]
        drawn = axis.barh(labels, lengths, color=colors)
        axis.bar_label(drawn, written, padding=3)
        if log:
            axis.set_xscale("log")
            axis.set_xlim(numpy.nanmin(lengths) / 2, numpy.nanmax(lengths) * 5)
        else:
            axis.set_xlim(0, numpy.nanmax(lengths) * 1.2)
        axis.set_title(f"{title} (logarithmic)" if log else title, loc="left", fontsize=10)
        axis.set_ylim(len(panel) - 0.5, -0.5)
        axis.spines[["top", "right", "bottom", "left"]].set_visible(False)
        axis.tick_params(left=False, bottom=False, labelbottom=False)
        axis.minorticks_off()
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def decode(rows: list[Row], path: pathlib.Path) -> None:
    """The largest catalogue and the most beams, on one thread."""
    rows = [row for row in rows if row["threads"] == 1]
    items, beams = max(row["items"] for row in rows), max(row["beams"] for row in rows)
    rows = [row for row in rows if (row["items"], row["beams"]) == (items, beams)]
    (ours,) = [row for row in rows if row["contestant"] == OURS]

    def panel(key: str) -> list[Bar]:
        full = lambda name: name.replace("the same", "generate's step")
        timed = [row for row in rows if row[key] is not None]
        written = lambda value: f"{number(value)} ms, {number(value / ours[key])}x"
        return [(full(row["contestant"]), row[key], written(row[key])) for row in timed]

    setting = f"{items:,} items, {beams} beams"
    whole, apart = panel("step"), panel("constraint")
    bars(path, {f"whole step, {setting}": whole, f"without the log-softmax, {setting}": apart})


def masks(rows: list[Row], path: pathlib.Path) -> None:
    panels: dict[str, list[Bar]] = {}
    for items in dict.fromkeys(row["items"] for row in rows):
        panel: list[Bar] = []
        for row in (row for row in rows if row["items"] == items):
            if "refused" in row:
                reason = row["refused"].split(":")[0]
                panel.append((f"{row['contestant']}: {reason}", math.nan, ""))
            else:
                seconds = row["build_seconds"]
                panel.append((row["contestant"], seconds, f"{number(seconds)} s"))
        panels[f"seconds to compile {items:,} items"] = panel
    bars(path, panels)


def index(rows: list[Row], path: pathlib.Path) -> None:
    def written(row: Row) -> str:
        unique = f"{row['shared']:,} IDs are missing" if row["shared"] else "all IDs differ"
        return f"{number(row['seconds'])} s, {unique}"

    panel = [(row["contestant"], row["seconds"], written(row)) for row in rows if "seconds" in row]
    bars(path, {f"seconds to the IDs of {rows[0]['items']:,} items": panel})


def transformers(rows: list[Row], path: pathlib.Path) -> None:
    short = lambda row: row["contestant"].split(" as `")[0]
    panel = lambda key, unit: [(short(row), row[key], f"{number(row[key])} {unit}") for row in rows]
    bars(path, {"seconds": panel("seconds", "s"), "peak memory": panel("peak", "MB")}, log=False)


FIGURES: dict[str, Callable[[list[Row], pathlib.Path], None]] = {
    "decode": decode, "masks": masks, "index": index, "transformers": transformers,
}


def draw(results: Row, folder: pathlib.Path) -> None:
    """A file for each part that has a figure."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in results["parts"].keys() & FIGURES.keys():
        FIGURES[part](results["parts"][part], folder / f"{part}.svg")
