"""A finished video in another form: a webm, a gif, or its pictures and its sound in a zip. Loads no torch."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from wanvideo.downloads.catalog import words_for_bytes
from wanvideo.errors import UserError
from wanvideo.library.formats import FORMATS, Format, Work
from wanvideo.media.encoding import flush
from wanvideo.media.ffmpeg import disk_error
from wanvideo.media.probe import VideoFacts, probe_video
from wanvideo.media.video import publish
from wanvideo.request import ProgressEvent, ignore_progress

KEPT_FREE_BYTES = 200 << 20  # of the disk: the queue and a running job write there too


def export_video(
    video: str | Path,
    format_name: str,
    output: Path | None = None,
    progress: Callable[[ProgressEvent], None] = ignore_progress,
) -> Path:
    """Write the video in that format of FORMATS, beside it unless `output` says where; returns the name that
    the file got.

    An existing file is never touched, and the name appears when the file was probed: as many frames, as long
    to within one of them. Sound and settings go along where the format can carry them. `progress` stops the
    work by raising; nothing is left then. Raises UserError (no video, wrong name, no room) or RuntimeError.
    """
    video = Path(video).absolute()
    form, facts = _known(format_name), probe_video(video)
    target = _target(form, video, output)
    steps = form.passes * facts.frames

    def tell(number: int, frames: int) -> None:
        done = number * facts.frames + min(frames, facts.frames)
        progress(ProgressEvent(stage=f"export {form.name}", step=done, steps=steps))

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_room(target.parent, facts, form)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".partial_") as scratch:
            work = Work(source=video, facts=facts, format=form, scratch=Path(scratch), tell=tell)
            made = form.write(work)
            tell(form.passes - 1, facts.frames)
            flush(made)
            return publish(made, target)
    except OSError as error:
        raise disk_error(error) from error


def _known(name: str) -> Format:
    if name not in FORMATS:
        raise UserError("unknown format", value=name, allowed=FORMATS)
    return FORMATS[name]


def _target(form: Format, video: Path, output: Path | None) -> Path:
    if output is None:
        return video.with_suffix(form.suffix)
    if output.suffix.lower() != form.suffix:
        raise UserError(f"the output must be named {form.suffix}", value=output.name)
    return output.absolute()


def _check_room(folder: Path, facts: VideoFacts, form: Format) -> None:
    needed = int(facts.width * facts.height * facts.frames * form.bytes_per_pixel)
    free = shutil.disk_usage(folder).free
    if needed + KEPT_FREE_BYTES > free:
        sizes = f"{words_for_bytes(needed)} needed, {words_for_bytes(free)} free"
        raise UserError(
            f"not enough space on the disk of {folder}: {sizes}",
            fix="Free some space or choose another output folder.",
        )
