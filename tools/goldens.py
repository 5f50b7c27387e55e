"""Check the engine against golden files: `python tools/goldens.py DIR`.

Each *.safetensors file of DIR is recognised by its name. Prints file, tensor, error and limit; the exit code
is 1 when an error is over its limit, a file is of an unknown kind, or something it needs is missing.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run by path, the project is not on the path

from tools.golden_files.golden import Golden, Missing, Row  # noqa: E402
from tools.golden_files.loops import check_inputs, check_loop  # noqa: E402
from tools.golden_files.networks import (  # noqa: E402
    check_audio_projection,
    check_block,
    check_forward,
    check_image_encoder,
    check_text_encoder,
    check_vae,
    check_weights,
)
from tools.golden_files.schedules import check_schedules  # noqa: E402
from tools.golden_files.sound import check_audio_pipeline  # noqa: E402
from wanvideo.errors import UserError  # noqa: E402

Check = Callable[[Golden], Iterator[Row]]

KINDS: tuple[tuple[str, Check], ...] = (
    ("*_weights*", check_weights),
    ("wan_vae_io", check_vae),
    ("wan_*_io", check_forward),
    ("infinitetalk_*_io", check_forward),
    ("infinitetalk_block", check_block),
    ("audio_proj", check_audio_projection),
    ("audio_pipeline*", check_audio_pipeline),
    ("clip_visual_*", check_image_encoder),
    ("umt5_*", check_text_encoder),
    ("schedulers", check_schedules),
    ("loop_inputs", check_inputs),
    ("loop_*", check_loop),
)


def check_folder(folder: Path) -> Iterator[tuple[str, Row]]:
    """(file name without suffix, row) for all of `folder`; a file that can't be checked gives a bad row."""
    for path in sorted(folder.glob("*.safetensors")):
        check = next((check for pattern, check in KINDS if fnmatch(path.stem, pattern)), None)
        if check is None:
            yield path.stem, Row(tensor="unknown kind of file", error=math.inf)
            continue
        try:
            for row in check(Golden(path)):
                yield path.stem, row
        except (Missing, UserError) as problem:
            yield path.stem, Row(tensor=str(problem), error=math.inf)
        except KeyError as missing:
            yield path.stem, Row(tensor=f"{missing} is not in the file", error=math.inf)


def main(arguments: list[str] | None = None) -> int:
    """Print the table of a folder; the exit code."""
    parser = argparse.ArgumentParser(
        description="Check the engine against golden files of the official code."
    )
    parser.add_argument("folder", type=Path, help="folder with golden *.safetensors files")
    folder = parser.parse_args(arguments).folder
    if not folder.is_dir():
        parser.error(f"{folder} is not a folder")
    rows = []
    for file, row in check_folder(folder):
        rows.append(row)
        print(_line(file, row), flush=True)
    misses = sum(not row.good for row in rows)
    skipped = sum(bool(row.skipped) for row in rows)
    print(f"{len(rows) - skipped} compared, {misses} missed, {skipped} skipped")
    return 1 if misses or not rows else 0


def _line(file: str, row: Row) -> str:
    verdict = f"skipped: {row.skipped}" if row.skipped else f"{row.error:9.2e}  {row.limit:7.0e}"
    return f"{file:28}  {row.tensor:42}  {verdict}{'' if row.good else '  MISS'}"


if __name__ == "__main__":
    sys.exit(main())
