"""`models download NAME` and `models verify FILE...`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from wanvideo.checkpoint.folders import describe_folder
from wanvideo.cli_answer import Answer, Console
from wanvideo.downloads.catalog import KnownFile, words_for_bytes
from wanvideo.downloads.recipes import RECIPES, files_of
from wanvideo.downloads.state import recipe_states
from wanvideo.errors import Cancelled
from wanvideo.progress_bar import Progress
from wanvideo.request import ProgressEvent

CONFIRM_ABOVE = 100_000_000  # bytes; a tokenizer is not worth a question


def download_models(name: str, folders: Sequence[Path], console: Console, *, sure: bool) -> Answer:
    """Bring what a recipe lacks, or one known file, into the first of the model folders.

    Raises UserError, and Cancelled when the question is answered with no or the download is stopped.
    """
    wanted = _wanted(name, folders)
    folder, size = folders[0], sum(file.bytes for file in wanted)
    plan = [f"{file.words} -> {folder / file.folder}" for file in wanted]
    if not wanted:
        return Answer(lines=(f"{name} is complete.",), values=_values([], []))
    question = "\n".join([*plan, f"Download {words_for_bytes(size)} into {folder}?"])
    if size > CONFIRM_ABOVE and not sure and not console.ask(question):
        raise Cancelled("Nothing was downloaded.")
    from wanvideo.downloads.download import download  # the network's packages take a moment
    from wanvideo.downloads.progress import DownloadEvent

    with console.watch() as progress:

        def show(event: DownloadEvent) -> None:
            progress(ProgressEvent(stage=f"download {event.file}".rstrip(), message=event.words))

        done = download(wanted, folder, show)
    lines = [str(path) for path in done.brought] + [f"{path} was there already" for path in done.kept]
    return Answer(lines=tuple(lines), values=_values(done.brought, done.kept))


def verify_files(paths: Sequence[Path], console: Console, *, scans_numbers: bool) -> Answer:
    """Header, size, hash and, when asked, numbers of each file. Raises UserError for a file that is not
    there.
    """
    from wanvideo.downloads.verify import verify

    with console.watch() as progress:
        tell = _notes(progress)
        verdicts = [verdict for path in paths for verdict in verify(path, tell, scans_numbers=scans_numbers)]
    lines, values = [], []
    for verdict in verdicts:
        lines.append(f"{verdict.path}: {'NOT whole' if verdict.problems else 'ok'}")
        lines += [f"  {text}" for text in (*verdict.problems, *verdict.notes, f"sha256 {verdict.sha256}")]
        values.append(
            {
                "path": str(verdict.path),
                "ok": not verdict.problems,
                "bytes": verdict.bytes,
                "sha256": verdict.sha256,
                "problems": list(verdict.problems),
                "notes": list(verdict.notes),
            }
        )
    problem = next((text for verdict in verdicts for text in verdict.problems), "")
    return Answer(lines=tuple(lines), values={"files": values}, problem=problem.rstrip("."))


def _wanted(name: str, folders: Sequence[Path]) -> tuple[KnownFile, ...]:
    """What is to be fetched: of a recipe only what neither it nor a file of the same kind covers."""
    files = files_of(name)
    if name not in RECIPES:
        return files
    states = recipe_states(folders, describe_folder(folders)[0])
    return next(state.missing for state in states if state.recipe.name == name)


def _notes(progress: Progress) -> Callable[[str], None]:
    return lambda text: progress(ProgressEvent(stage="verify", message=text))


def _values(brought: Sequence[Path], kept: Sequence[Path]) -> dict[str, list[str]]:
    return {"brought": [str(path) for path in brought], "kept": [str(path) for path in kept]}
