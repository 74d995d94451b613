"""results.json as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

Row = dict[str, Any]
OURS = "`semid.BeamSearch`"


def markdown(results: Row) -> str:
    parts = results["parts"]
    return "\n".join(
        [
            "# semid beside its peers",
            "",
            "Written by `make peers`; [peers/README.md](peers/README.md) says how all is measured.",
            f"{results['machine']}; {', '.join(results['versions'])}.",
            *(["", "**Small sizes: these figures mean nothing.**"] if results["quick"] else []),
            *(line for part in parts for line in ["", *PARTS[part](parts[part])]),
            "",
        ]
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [list(header), ["---"] * len(header), *map(list, rows)]
    return ["| " + " | ".join(line) + " |" for line in lines]


def number(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return ""
    if value and abs(value) < 1:
        return f"{value:.3g}".replace("0.", ".", 1)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(value: float | None, to: float | None) -> str:
    return "" if value is None or not to else f"{number(value / to)}"


def decode(rows: list[Row]) -> Iterator[str]:
    yield "## Decoding"
    yield ""
    some = rows[0]
    yield (
        f"![time of a step](figures/decode.svg)\n\n{some['requests']} requests, 4 levels of 256 "
        f"codes, a vocabulary of {some['vocabulary']:,}, f32; milliseconds a step, mean over the "
        f"levels after the first. Ratios are to {OURS}."
    )
    for items, threads in dict.fromkeys((row["items"], row["threads"]) for row in rows):
        heat = [row for row in rows if (row["items"], row["threads"]) == (items, threads)]
        yield f"\n{items:,} items, {threads} thread{'s' * (threads > 1)}:\n"
        yield from heat_table(heat, apart=threads == 1)


def heat_table(rows: list[Row], apart: bool) -> list[str]:
    beams = list(dict.fromkeys(row["beams"] for row in rows))
    cells = {(row["contestant"], row["beams"]): row for row in rows}
    header, lines = ["", "built, s", "index, MB", "peak, MB"], []
    for count in beams:
        header += [f"{count} beams", "ratio"]
        header += ["without the log-softmax", "ratio", "items found"] if apart else []
    for name in dict.fromkeys(row["contestant"] for row in rows):
        last = cells[name, beams[-1]]
        line = [name, *(number(last[key]) for key in ("build_seconds", "held", "grown"))]
        for count in beams:
            row, ours = cells[name, count], cells[OURS, count]
            line += [number(row["step"]), ratio(row["step"], ours["step"])]
            if apart:
                line += [number(row["constraint"]), ratio(row["constraint"], ours["constraint"])]
                line.append(found(row))
        lines.append(line)
    return table(header, lines)


def found(row: Row) -> str:
    if "exact" not in row:
        return ""
    return "exact" if row["exact"] else f"{row['found']:.0%}"


def masks(rows: list[Row]) -> Iterator[str]:
    yield "## Masks for servers"
    yield ""
    yield (
        "![seconds to compile](figures/masks.svg)\n\nMasks of 160 rows over 33,024 tokens, one "
        "thread, mean over the levels after the first."
    )
    yield ""
    header = ["items", "", "compiled, s", "memory, MB"]
    header += ["masks, ms", "to the next level, us a beam", "masks"]
    lines = []
    for row in rows:
        begin = [f"{row['items']:,}", row["contestant"]]
        if "refused" in row:
            lines.append([*begin, row["refused"], "", "", "", ""])
            continue
        values = (number(row[key]) for key in ("build_seconds", "grown", "fill", "move"))
        lines.append([*begin, *values, "exact" if row["exact"] else "**wrong**"])
    yield from table(header, lines)


def layer(rows: list[Row]) -> Iterator[str]:
    yield "## What Python costs"
    yield ""
    header = ["", "", "beside", "", "ratio"]
    yield from table(
        header,
        (
            [
                row["what"], f"{number(row['ours'])} {row['unit']}", row.get("beside", ""),
                number(row.get("theirs")), ratio(row["ours"], row.get("theirs")),
            ]
            for row in rows
        ),
    )


def index(rows: list[Row]) -> Iterator[str]:
    yield "## Indexing"
    yield ""
    some = rows[0]
    yield (
        f"![seconds to all IDs](figures/index.svg)\n\n{some['catalogue']}, {some['items']:,} "
        "items, 4 levels of 256 codes, two threads. Shared: items less distinct IDs, before and "
        "after the tool's own repair. The other measures are those of `semid check`, after it."
    )
    yield ""
    header = [
        "", "seconds", "peak, MB", "shared before", "after", "error", "level-0 perplexity",
        "neighbours with the first code", "held-out gain, bits",
    ]
    yield from table(header, map(index_line, rows))


def index_line(row: Row) -> list[str]:
    if "refused" in row:
        return [row["contestant"], row["refused"], *[""] * 7]
    after = "no repair" if row.get("unrepaired") else f"{row['shared']:,}"
    after += f" ({row['levels']} levels)" if row["levels"] != 4 else ""
    pair = lambda of, key: f"{number(of[key])} (shuffled {number(of['shuffled'])})" if of else ""
    return [
        row["contestant"], number(row["seconds"]), number(row["peak"]), f"{row['shared_native']:,}",
        after, number(row["error"]), number(row["perplexity"]), pair(row["recall"], "value"),
        pair(row["gain"], "bits"),
    ]


def corpora(rows: list[Row]) -> Iterator[str]:
    yield "## Corpora"
    yield ""
    yield f"{rows[0]['catalogue']}: one epoch of the sequential, fusion and item-text families."
    yield ""
    plain = rows[0]["rows_a_second"]
    yield from table(
        ["", "rows", "rows a second", "ratio", "peak, MB"],
        (
            [
                row["contestant"], f"{sum(row['rows'].values()):,}", f"{row['rows_a_second']:,.0f}",
                ratio(row["rows_a_second"], plain), number(row["peak"]),
            ]
            for row in rows
        ),
    )


def transformers(rows: list[Row]) -> Iterator[str]:
    yield "## Generation with transformers"
    yield ""
    some, ours = rows[0], rows[1]
    yield (
        f"![seconds and megabytes](figures/transformers.svg)\n\nA Llama of SmolLM2-135M's shape "
        f"({some['layers']} layers) with random weights, {some['prompts']} prompts of "
        f"{some['length']} tokens, {some['beams']} beams, 10 results, {some['items']:,} items, two "
        "threads."
    )
    yield ""
    yield from table(
        ["", "seconds", "ratio", "peak of the process, MB", "ratio"],
        (
            [
                row["contestant"], number(row["seconds"]), ratio(row["seconds"], ours["seconds"]),
                number(row["peak"]), ratio(row["peak"], ours["peak"]),
            ]
            for row in rows
        ),
    )
    compared = [row for row in rows if "exact" in row]
    same = "the same" if all(row["exact"] for row in compared) else "**not the same**"
    within = f"{max(row['score_difference'] for row in compared):.0e}"
    yield f"\nThe items are {same} as those of `generate`, scores within {within}."


PARTS: dict[str, Callable[[list[Row]], Iterator[str]]] = {
    "decode": decode, "masks": masks, "layer": layer,
    "index": index, "corpora": corpora, "transformers": transformers,
}
