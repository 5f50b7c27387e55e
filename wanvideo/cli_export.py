"""`python -m wanvideo export FILE --format webm|gif|png`: a finished video in another form."""

import argparse
import time
from pathlib import Path

from wanvideo.cli_answer import Answer, Console
from wanvideo.library.export import export_video
from wanvideo.library.formats import FORMATS


def add_export_flags(parser: argparse.ArgumentParser) -> None:
    """What `export` takes beside the flags of every command."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the video")
    parser.add_argument(
        "--format",
        required=True,
        choices=FORMATS,
        help="webm (vp9, opus), gif (loops, no sound) or png (a zip of pictures, and the sound)",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the file to make, else beside FILE")


def run_export(arguments: argparse.Namespace, console: Console) -> Answer:
    """Write it. Raises UserError for what is no video and for a wrong name, Cancelled when it is stopped."""
    begun = time.perf_counter()
    with console.watch() as progress:
        made = export_video(arguments.file, arguments.format, arguments.output, progress)
    seconds = time.perf_counter() - begun
    values = {"output": str(made), "seconds": round(seconds, 3), "bytes": made.stat().st_size}
    return Answer(lines=(str(made), f"{seconds:.1f} seconds"), values=values)
