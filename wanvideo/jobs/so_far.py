"""The video so far of a job: its finished windows with their sound, joined without encoding pictures again.

Made by whoever wants to watch, once per window. Loads no torch: the page asks for it.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from wanvideo.jobs.job import Job
from wanvideo.media.ffmpeg import FfmpegError, run_ffmpeg
from wanvideo.media.probe import probe_video
from wanvideo.media.sound import Sound, recorded_sound
from wanvideo.request import REQUEST_FIELDS, read_request

log = logging.getLogger(__name__)


def video_so_far(job: Job) -> Path | None:
    """An mp4 beside the finished windows; None before the first. Once all windows are there the finished
    video is being made, and the last one that was asked for stays. Raises UserError when the disk is full.
    """
    windows = job.windows
    if not windows:
        return None
    folder = windows[0].parent
    whole = folder / f"so_far_{len(windows):04d}.mp4"
    made = sorted(folder.glob("so_far_*.mp4"))
    if whole in made:
        return whole
    if len(windows) >= job.progress.get("windows", len(windows) + 1):
        return made[-1] if made else None
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix="watch_") as scratch:
            _join(windows, _sound(job, windows), Path(scratch) / "joined.mp4").replace(whole)
    except (FfmpegError, OSError):
        if windows[0].exists():
            raise
        return None  # the job has ended meanwhile
    _forget(made)
    return whole


def _sound(job: Job, windows: Sequence[Path]) -> Sound | None:
    """That of the file that will be made, as long as these windows."""
    request = read_request(job.request)
    if not request.audio or not REQUEST_FIELDS["audio"].is_for(request.task):
        return None
    seconds = sum(probe_video(window).seconds for window in windows)
    return recorded_sound(request.audio, request.audio_order, request.audio_start, seconds)  # type: ignore[arg-type]


def _join(windows: Sequence[Path], sound: Sound | None, target: Path) -> Path:
    listing = target.with_name("windows.txt")
    # Relative to the list: names of folders may hold quotes, those of windows do not.
    lines = [f"file '../{window.name}'\n" for window in windows]
    listing.write_text("".join(lines), encoding="utf-8")
    inputs = ["-f", "concat", "-safe", "0", "-i", f"file:{listing.absolute()}"]
    maps, samples = ["-map", "0:v:0", "-c:v", "copy"], None
    if sound is not None:
        channels = sound.samples.shape[1]
        inputs += ["-f", "f32le", "-ar", str(sound.rate), "-ac", str(channels), "-i", "pipe:0"]
        maps += ["-map", "1:a:0", "-c:a", "aac", "-b:a", "128k", "-shortest"]
        samples = sound.samples.tobytes()
    run_ffmpeg([*inputs, *maps, "-movflags", "+faststart", f"file:{target.absolute()}"], stdin=samples)
    return target


def _forget(older: Sequence[Path]) -> None:
    """What is shorter than the newest; one that is being played may stay until the folder goes."""
    for path in older:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.info("%s stays: %s", path.name, error)
