"""Tables of the measured rows, for the terminal and for docs/benchmarks.md, where each part has its place
between two markers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import REASON, Row, figures, read_report
from wanvideo.proof.versions import ABSENT, PACKAGES

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
BASES = {"cuDNN": "CUDNN_ATTENTION", "flash": "FLASH_ATTENTION"}  # that attention is compared with


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A heading, and what stands below it; all rows are given too, for ratios."""

    title: str
    cell: Callable[[Row, list[Row]], str]


def column(title: str, field: str, form: str = "") -> Column:
    """A field of the row; empty where it is missing or None."""
    return Column(title=title, cell=lambda row, _: _shown(row.get(field), form))


def _shown(value: Any, form: str = "") -> str:
    return "" if value is None else format(value, form)


def _ratio_to(provider: str) -> Callable[[Row, list[Row]], str]:
    """How many times as fast as that kernel of torch, on the same tensors."""

    def cell(row: Row, rows: list[Row]) -> str:
        same = {name: row[name] for name in ("tokens", "tensors")}
        base = next(figures(rows, provider=provider, **same), None)
        return "" if base is None else format(base["ms"] / row["ms"], ".2f")

    return cell


def _ratio_to_dense(row: Row, rows: list[Row]) -> str:
    """How many times as fast as with dense weights; of a linear with the same sizes, and not of its steps."""
    same = {name: row[name] for name in ("out", "in", "step") if name in row}
    base = next(figures(rows, dense=True, **same), None)
    return "" if base is None else format(base["ms"] / row["ms"], ".2f")


def _ratio_to_resident(row: Row, rows: list[Row]) -> str:
    """The time as a share of that of the same model with no block swapped."""
    same = {name: row.get(name) for name in ("model", "mode", "how")}
    base = next(figures(rows, swapped=0, **same), None)
    return "" if base is None else format(row["ms"] / base["ms"], ".3f")


def _stages(row: Row, _: list[Row]) -> str:
    return ", ".join(f"{name} {seconds:.1f}" for name, seconds in row["stages"].items())


def _passed(row: Row, _: list[Row]) -> str:
    if not row["inputs_unchanged"]:
        return "no: changes its inputs"
    return "yes" if row["passed"] else "no"


def _multiplies(row: Row, _: list[Row]) -> str:
    return ", ".join(f"{count} x {name}" for name, count in row["multiplies"].items())


TABLES: dict[str, tuple[Column, ...]] = {
    "attention": (
        column("attention", "backend"),
        column("by", "provider"),
        column("tokens", "tokens", ","),
        column("tensors", "tensors"),
        column("computed by", "computed_by"),
        column("relative L2", "relative_l2", ".2e"),
        column("limit", "limit", "g"),
        Column(title="passed", cell=_passed),
        column("cosine", "cosine", ".6f"),
        column("max abs", "max_abs", ".1e"),
        column("ms", "ms", ".2f"),
        column("TFLOP/s", "tflops", ".0f"),
        *(Column(title=f"x {name}", cell=_ratio_to(provider)) for name, provider in BASES.items()),
    ),
    "modes": (
        column("mode", "mode"),
        Column(title="multiplies with", cell=_multiplies),
        column("linears GiB", "linears_gib", ".2f"),
        column("model GiB", "model_gib", ".2f"),
        column("quantized in s", "seconds_to_quantize", ".1f"),
        column("peak building GiB", "peak_building_gib", ".1f"),
        column("peak forward GiB", "peak_forward_gib", ".1f"),
        column("ms a forward", "ms", ",.0f"),
        Column(title="x dense", cell=_ratio_to_dense),
        column("relative L2 of the output", "relative_l2", ".4f"),
        column("cosine", "cosine", ".6f"),
    ),
    "linear": (
        column("out", "out"),
        column("in", "in"),
        column("mode", "mode"),
        column("step", "step"),
        column("multiplies with", "multiply"),
        column("ms", "ms", ".3f"),
        column("TFLOP/s", "tflops", ".0f"),
        Column(title="x dense", cell=_ratio_to_dense),
        column("relative L2", "relative_l2", ".4f"),
        column("differs from ours", "differs_from_ours", ".1e"),
        column("elements equal", "equal_share", ".2%"),
    ),
}


def _figure(field: str) -> Callable[[Row, list[Row]], str]:
    """A number with its unit, three digits of it."""

    def cell(row: Row, _: list[Row]) -> str:
        value = row[field]
        if not isinstance(value, (int, float)):
            return _shown(value)
        digits = max(0, 2 - int(math.floor(math.log10(abs(value))))) if value else 0
        return f"{value:,.{min(digits, 3)}f} {row['unit']}"

    return cell


def _measured(row: Row, _: list[Row]) -> str:
    found = row["measured_gib"]
    return _shown(found, ".1f" if isinstance(found, float) else "")


def _met(row: Row, _: list[Row]) -> str:
    return {True: "yes", False: "no", None: ""}[row["met"]]


def _command(row: Row, _: list[Row]) -> str:
    return f"`{row['command']}`"


TABLES |= {
    "targets": (
        column("what", "target"),
        Column(title="figure", cell=_figure("value")),
        column("beside it", "peer_name"),
        Column(title="its figure", cell=_figure("peer")),
        column("ratio", "ratio", ".3f"),
        column("wanted", "goal"),
        Column(title="met", cell=_met),
        column("quality", "quality"),
        column("how", "how"),
        Column(title="command", cell=_command),
    ),
    "peaks": (
        column("mode", "mode"),
        column("size", "size"),
        column("frames", "frames"),
        column("tokens", "tokens", ","),
        column("steps GiB, forecast", "forecast_gib", ".1f"),
        Column(title="steps GiB, measured", cell=_measured),
        column("VAE GiB, forecast", "decode_gib", ".1f"),
        column("smallest card", "card"),
    ),
    "caches": (
        column("cache", "cache"),
        column("kept for a pass GiB", "kept_gib", ".2f"),
        column("a pass TFLOP", "computed_tflop", ",.0f"),
        column("left out TFLOP", "left_out_tflop", ",.2f"),
        column("a pass without a cache ms", "ms", ",.0f"),
        column("computed ms", "computed_ms", ",.0f"),
        column("left out ms", "left_out_ms", ",.1f"),
        column("computed of 40 steps", "steps"),
        column("x as fast", "faster", ".2f"),
    ),
    "kernels": (
        column("mode", "mode"),
        column("blocks run", "how"),
        column("kind", "kind"),
        column("kernel", "kernel"),
        column("calls", "calls", ","),
        column("ms", "ms", ",.1f"),
        column("of the pass", "share", ".1%"),
    ),
    "load": (
        column("what", "what"),
        column("mode", "mode"),
        column("file GB", "file_gb", ".2f"),
        column("model GB", "model_gb", ".2f"),
        column("first s", "first_seconds", ".2f"),
        column("s", "seconds", ".2f"),
        column("GB/s", "gb_per_second", ".1f"),
        column("of page-locked", "of_pinned", ".0%"),
        column("of pageable", "of_pageable", ".0%"),
        column("host GiB, own", "host_own_gib", ".2f"),
        column("host GiB, with the file", "host_whole_gib", ".2f"),
        column("card peak GiB", "peak_gib", ".2f"),
        column("page-locked GB/s", "pinned", ".1f"),
        column("pageable GB/s", "pageable", ".1f"),
        column("read by 1 GB/s", "read_by_one", ".1f"),
        column("read by all GB/s", "read_by_all", ".1f"),
    ),
    "swap": (
        column("model", "model"),
        column("mode", "mode"),
        column("blocks run", "how"),
        column("swapped", "swapped"),
        column("identical", "identical"),
        column("graphs", "graphs"),
        column("ms a forward", "ms", ",.0f"),
        Column(title="x resident", cell=_ratio_to_resident),
        column("card peak GiB", "peak_gib", ".1f"),
        column("to the card GB", "to_card_gb", ".2f"),
        column("to main memory MB", "to_host_mb", ".3f"),
        column("settled in s", "seconds_to_settle", ".1f"),
        column("host weights GiB", "host_weights_gib", ".1f"),
        column("host peak GiB", "host_peak_gib", ".1f"),
    ),
    "jobs": (
        column("job", "job"),
        column("what", "what"),
        column("cap GiB", "gib"),
        column("preset", "preset"),
        column("size", "size"),
        column("steps", "steps"),
        column("quantization", "quantization"),
        column("attention", "attention"),
        column("blocks swapped", "swapped"),
        column("at the end", "swapped_at_end"),
        column("text layers swapped", "text_layers_swapped"),
        column("tokens at a time", "chunk_tokens"),
        column("VAE tile", "decode_tile"),
        column("peak GiB", "peak_gib", ".2f"),
        column("forecast GiB", "forecast_gib", ".2f"),
        column("over forecast", "peak_to_forecast", "+.0%"),
        column("outside GiB", "outside_gib", ".2f"),
        column("host GiB, own", "host_own_gib", ".1f"),
        column("s", "seconds", ".1f"),
        Column(title="s per stage", cell=_stages),
        column("notes", "notes"),
        column("finite", "finite"),
    ),
    "twenty": (
        column("what", "what"),
        column("number", "index"),
        column("s", "seconds", ".1f"),
        column("finite", "finite"),
        column("host GiB, own", "host_own_gib", ".2f"),
        column("host GiB, with files", "host_whole_gib", ".2f"),
        column("card GiB", "card_gib", ".3f"),
        column("card reserved GiB", "card_reserved_gib", ".2f"),
        column("host grown GiB", "host_own_gib_grown", "+.3f"),
        column("card grown GiB", "card_gib_grown", "+.3f"),
    ),
}


def table(part: str, rows: list[Row]) -> str:
    """Markdown; rows without figures stand below it, each with its reason."""
    columns = TABLES[part]
    lines = [[item.title for item in columns], ["---"] * len(columns)]
    lines += [[item.cell(row, rows) for item in columns] for row in figures(rows)]
    text = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    reasons = list(dict.fromkeys(_without_figures(row) for row in rows if REASON in row))
    return "\n".join([text, *(["", "Not measured:", "", *reasons] if reasons else [])])


def _without_figures(row: Row) -> str:
    """Where the same reason holds for all shapes one line says it."""
    names = (
        *("target", "backend", "provider", "model", "mode", "step", "how", "swapped", "job", "what"),
        *("gib", "index", "size", "frames"),
    )
    return f"- {', '.join(str(row[name]) for name in names if row.get(name))}: {row[REASON]}"


def write_page(page: Path, folder: Path) -> None:
    """Put the tables of the folder's JSON files into the page; a part without a file keeps its table. A part
    that ran several times has PART_*.json beside PART.json: a table each, in the order of their names.
    """
    text = page.read_text(encoding="utf-8")
    for part in TABLES:
        files = [*folder.glob(f"{part}.json"), *sorted(folder.glob(f"{part}_*.json"))]
        if files:
            text = _replaced(text, part, [read_report(file) for file in files])
    page.write_text(text, encoding="utf-8")


def _replaced(text: str, part: str, reports: list[Row]) -> str:
    begin, end = (f"<!-- {part}: {edge} -->" for edge in ("begin", "end"))
    before, after = text.partition(begin)[0], text.partition(end)[2]
    runs = "\n\n".join(f"{_told(report)}\n\n{table(part, report['rows'])}" for report in reports)
    return f"{before}{begin}\n\n{runs}\n\n{end}{after}"


def _told(report: Row) -> str:
    """Where and when; the packages without the time of their installation."""
    versions = {name: text.partition(",")[0] for name, text in report["versions"].items()}
    packages = [f"{name} {versions[name]}" for name in PACKAGES if versions[name] != ABSENT]
    card = f" (sm {versions['compute capability']}, driver {versions['driver']})"
    facts = [
        report["device"] + (card if versions["GPU"] != "none" else ""),
        f"torch {versions['torch']}",
        f"Python {versions['python']}",
        *packages,
        report["date"],
        *(["tiny sizes"] if report["quick"] else []),
    ]
    return f"{', '.join(facts)}: `{report['command']}`"
