"""The measured tables as markdown, and their place in docs/quality.md."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from tools.pocket.quality.figures import MachineTable
from tools.pocket.quality.measure import Row

BEGIN, END = "<!-- quality: begin -->", "<!-- quality: end -->"
MOST_LOST = 0.05  # of lip-sync, against the exact row of the same machine

Titles = Mapping[tuple[str, str], str]


def table(rows: Iterable[Row], titles: Titles) -> str:
    """Markdown, the exact row first, then a row for each (option, name) of `titles`, which says what to call
    it. An option that the machine can't run says what ran instead; one that was not measured says so.
    """
    exact, *others = rows
    measured = {(row.option, row.name): row for row in others}
    lines = ["| option | mode | PSNR (dB) | SSIM | lip-sync | |", "|---|---|---|---|---|---|"]
    lines.append(_line(exact, exact.name))
    for (option, name), title in titles.items():
        row = measured.get((option, name), Row(option=option, name=name, effective=""))
        lines.append(_line(row, title))
    return "\n".join(lines)


def losers(rows: Iterable[Row]) -> list[tuple[Row, float]]:
    """(row, lip-sync lost) of the rows that lose more than the limit; the exact row is the first."""
    exact, *others = rows
    if exact.lip_sync is None:
        return []
    losses = [(row, exact.lip_sync - row.lip_sync) for row in others if row.lip_sync is not None]
    return [(row, lost) for row, lost in losses if lost > MOST_LOST]


def verdict(rows: Iterable[Row], titles: Titles) -> str:
    """The limit, and who is over it."""
    over = [f"{titles.get((row.option, row.name), row.name)} ({lost:.3f})" for row, lost in losers(rows)]
    limit = f"Limit: no mode loses more than {MOST_LOST} of lip-sync against the exact row of its machine."
    return f"{limit} Over it: {', '.join(over)}." if over else f"{limit} Every measured row keeps it."


def section(figures: MachineTable, titles: Titles) -> str:
    """How a machine's figures came about, its table, and the limit."""
    head = (
        f"{figures.clips} clips on {figures.machine}, torch {figures.torch}, {figures.dtype}: "
        f"`python -m tools.pocket.quality --clips {figures.clips} --docs`"
    )
    return f"{head}\n\n{table(figures.rows, titles)}\n\n{verdict(figures.rows, titles)}"


def write_page(path: Path, tables: Iterable[MachineTable], titles: Titles) -> None:
    """Put the tables between the marks of the page; what stands around them stays."""
    text = path.read_text(encoding="utf-8")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    sections = "\n\n".join(section(figures, titles) for figures in tables)
    path.write_text(f"{before}{BEGIN}\n\n{sections}\n\n{END}{after}", encoding="utf-8")


def _line(row: Row, title: str) -> str:
    figures = [_shown(row.psnr, ".1f"), _shown(row.ssim, ".3f"), _shown(row.lip_sync, ".3f")]
    return f"| {row.option} | {title} | {' | '.join(figures)} | {_note(row)} |"


def _note(row: Row) -> str:
    if row.effective not in ("", row.name):
        return f"not on this machine: {row.effective} runs instead"
    return "" if any(value is not None for value in (row.psnr, row.ssim, row.lip_sync)) else "not measured"


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
