"""results.json as figures: bars with their figures, the best first."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import matplotlib

matplotlib.use("svg")
# Text stays text, and equal results give equal files.
matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "peers", "font.size": 9})

from matplotlib import pyplot

from tables import OURS, Row, number

#: A bar: its label, its length, what is written at its end.
Bar = tuple[str, float, str]


def bars(path: pathlib.Path, panels: dict[str, list[Bar]], log: bool = True) -> None:
    """A panel a title, one below the other."""
    heights = [0.3 * len(panel) + 0.6 for panel in panels.values()]
    options: dict[str, Any] = {"height_ratios": heights, "squeeze": False, "layout": "constrained"}
    figure, axes = pyplot.subplots(len(panels), 1, figsize=(7.5, sum(heights)), **options)
    for axis, (title, panel) in zip(axes[:, 0], panels.items(), strict=True):
        panel = sorted(panel, key=lambda bar: bar[1])
        labels, lengths, written = zip(*[(name.replace("`", ""), *rest) for name, *rest in panel])
        colors = ["#0a7d6c" if "semid" in label else "#b8bec6" for label in labels]
        drawn = axis.barh(labels, lengths, color=colors)
        axis.bar_label(drawn, written, padding=3)
        if log:
            axis.set_xscale("log")
            axis.set_xlim(min(lengths) / 2, max(lengths) * 5)
        else:
            axis.set_xlim(0, max(lengths) * 1.2)
        axis.set_title(f"{title} (logarithmic)" if log else title, loc="left", fontsize=10)
        axis.invert_yaxis()
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
        return [
            (full(row["contestant"]), row[key], f"{number(row[key])} ms, {number(row[key] / ours[key])}x")
            for row in timed
        ]

    titles = {"step": "whole step", "constraint": "without the log-softmax"}
    panels = {f"{title}, {items:,} items, {beams} beams": panel(key) for key, title in titles.items()}
    bars(path, panels)


def masks(rows: list[Row], path: pathlib.Path) -> None:
    panels: dict[str, list[Bar]] = {}
    for items in dict.fromkeys(row["items"] for row in rows):
        told = [row for row in rows if row["items"] == items]
        refused = [f"; {row['contestant']} {row['refused'].split(':')[0]}" for row in told if "refused" in row]
        compiled = [(row["contestant"], row["build_seconds"]) for row in told if "refused" not in row]
        title = f"seconds to compile {items:,} items{''.join(refused)}"
        panels[title] = [(name, seconds, f"{number(seconds)} s") for name, seconds in compiled]
    bars(path, panels)


def index(rows: list[Row], path: pathlib.Path) -> None:
    def written(row: Row) -> str:
        shared = row["shared"]
        return f"{number(row['seconds'])} s, " + (f"{shared:,} share an ID" if shared else "all IDs differ")

    panel = [(row["contestant"], row["seconds"], written(row)) for row in rows if "seconds" in row]
    bars(path, {f"seconds to the IDs of {rows[0]['items']:,} items": panel})


def transformers(rows: list[Row], path: pathlib.Path) -> None:
    panel = lambda key, unit: [
        (row["contestant"].split(" as `")[0], row[key], f"{number(row[key])} {unit}") for row in rows
    ]
    bars(path, {"seconds": panel("seconds", "s"), "peak memory": panel("peak", "MB")}, log=False)


FIGURES: dict[str, Callable[[list[Row], pathlib.Path], None]] = {
    "decode": decode, "masks": masks, "index": index, "transformers": transformers,
}


def draw(results: Row, folder: pathlib.Path) -> None:
    """A file for each part that has a figure."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in results["parts"].keys() & FIGURES.keys():
        FIGURES[part](results["parts"][part], folder / f"{part}.svg")
