"""Results as documents: the table of figures and the contact sheets of docs/pocket.md."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from PIL import Image

from tools.pocket.heldout.bench import read_video
from tools.pocket.heldout.results import Figure, Result, ShownClip, Track
from tools.pocket.heldout.tasks import TASKS
from tools.pocket.sheets import SheetRow, save_rows

BEGIN, END = "<!-- heldout: begin -->", "<!-- heldout: end -->"


def table(results: Mapping[str, Result]) -> str:
    """All figures as Markdown, tasks in their order; a limit that is missed is said in bold."""
    lines = ["| task | what | figure | limit | |", "|---|---|---|---|---|"]
    for name, task in TASKS.items():
        if name not in results:
            lines.append(f"| **{task.title}** | not measured | | | |")
            continue
        for index, figure in enumerate(results[name].figures):
            title = f"**{task.title}**" if index == 0 else ""
            lines.append(
                f"| {title} | {figure.what} | {_value(figure)} | {_limit(figure)} | {_met(figure)} |"
            )
    return "\n".join(lines)


def summary(results: Mapping[str, Result]) -> str:
    """How many limits there are, and how many are met."""
    verdicts = [figure.met for result in results.values() for figure in result.figures]
    limits = [met for met in verdicts if met is not None]
    return f"{sum(limits)} of {len(limits)} limits are met."


def write_page(page: Path, folder: Path, results: Mapping[str, Result], head: str) -> None:
    """Replace what stands between the two markers of `page` and draw the sheets beside it.

    `folder` is the run's, with the finished files. Raises ValueError for a page without the markers.
    """
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise ValueError(f"{page.name} needs one line {BEGIN} and one line {END}")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    parts = [head, summary(results), table(results), *_sheets(page.parent / "images", folder, results)]
    page.write_text(before + "\n\n".join([BEGIN, *parts, END]) + after, encoding="utf-8", newline="\n")


def chosen(shown: tuple[ShownClip, ...], most: int) -> list[ShownClip]:
    """At most `most` rows at even distances, from the first to the last: nobody picks the good ones."""
    if len(shown) <= most:
        return list(shown)
    return [shown[round(place * (len(shown) - 1) / (most - 1))] for place in range(most)]


def _sheets(images: Path, folder: Path, results: Mapping[str, Result]) -> Iterable[str]:
    """Draw each task's sheet; the section that shows it."""
    for name, task in TASKS.items():
        if name in results and results[name].shown:
            path = images / f"pocket_{name}.jpg"
            save_rows(path, sheet_rows(folder, chosen(results[name].shown, task.rows)))
            picture = f"![{task.title}](images/{path.name})"
            yield f"### {task.title}\n\n{task.explanation}\n\n{picture}"


def sheet_rows(folder: Path, shown: list[ShownClip]) -> list[SheetRow]:
    """Rows for the finished files; all mouths of a sheet to one scale, so that a shut one looks shut."""
    most = max((max(track.seen) for clip in shown for track in clip.tracks), default=0.0)
    return [_row(folder, clip, max(most, 1e-3)) for clip in shown]


def _row(folder: Path, shown: ShownClip, most: float) -> SheetRow:
    return SheetRow(
        caption=shown.caption,
        video=read_video(folder / shown.file),
        note=shown.note,
        target=None if shown.target is None else _pixels(folder / shown.target),
        curves=tuple(_curve(track, most) for track in shown.tracks),
        marks=shown.marks,
    )


def _curve(track: Track, most: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(track.true), torch.tensor(track.seen) / most


def _pixels(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        flat = torch.frombuffer(bytearray(image.convert("RGB").tobytes()), dtype=torch.uint8)
        return flat.view(image.height, image.width, 3).permute(2, 0, 1).float() / 127.5 - 1


def _value(figure: Figure) -> str:
    if figure.value is None:
        return "no clip to tell"
    if figure.unit == "clips":
        return f"{figure.value:.0f}"
    return f"{figure.value:.1f} {figure.unit}" if figure.unit else f"{round(figure.value, 3) + 0.0:.3f}"


def _limit(figure: Figure) -> str:
    unit = f" {figure.unit}" if figure.unit else ""
    bounds = (("at least", figure.at_least), ("at most", figure.at_most))
    return ", ".join(f"{word} {bound:g}{unit}" for word, bound in bounds if bound is not None)


def _met(figure: Figure) -> str:
    if figure.met is False and figure.value is None:
        return "**not measured**"
    return {None: "", True: "met", False: "**missed**"}[figure.met]
