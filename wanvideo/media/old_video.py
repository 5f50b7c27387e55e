"""A finished video that another one goes on from: whether it can be, and its pictures as a piece to join to.

Loads no torch: the planner asks.
"""

import tempfile
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import Path

import numpy as np

from wanvideo.errors import UserError
from wanvideo.geometry import SIZE_STEP
from wanvideo.media.encoding import time_scale, write_segment
from wanvideo.media.ffmpeg import REPRODUCIBLE, run_ffmpeg
from wanvideo.media.frames import Frame, read_frames, read_last_frames
from wanvideo.media.input_file import CONTAINER_OPTIONS, VIDEOS, open_container, refusal
from wanvideo.media.probe import VideoFacts, probe_sound, probe_video, video_stream

LARGEST, FASTEST = 4096, 120  # pixels a side, frames a second: the most that can be asked for
UNEVEN = 0.4  # of a frame's time: a frame farther from its place is not one of an even rate

Coding = tuple[str, bytes, int]  # codec, parameter sets, rotation in degrees


@dataclass(frozen=True, slots=True, kw_only=True)
class OldVideo:
    """`facts` are those of the part that is kept, from its begin on; `is_cut`: the file is longer.
    `is_like_ours`: its pictures are coded as this program codes them, parameter by parameter, so that new
    ones join them as they are.
    """

    path: Path
    facts: VideoFacts
    is_like_ours: bool
    is_cut: bool = False

    def last_frames(self, count: int) -> list[Frame]:
        """The last `count` frames (height, width, 3) of the part that is kept. Raises UserError."""
        return read_last_frames(self.path, count, self.facts.seconds if self.is_cut else None)


def probe_old_video(path: str | Path, seconds: float | None = None) -> OldVideo:
    """A video that can be gone on from, or its first `seconds`, rounded to whole frames: legal size, even
    rate, readable sound if any. Raises UserError.
    """
    path = Path(path)
    facts = probe_video(path)
    sides = (facts.width, facts.height)
    if any(side % SIZE_STEP or side > LARGEST for side in sides):
        found = f"a longer one keeps its size, {facts.width} x {facts.height} pixels"
        raise refusal(path, "video", found, f"width and height in multiples of {SIZE_STEP} up to {LARGEST}")
    there = _count_even_frames(path, facts.fps)
    if facts.has_sound:
        probe_sound(path)
    frames = there if seconds is None else _kept_frames(path, seconds, facts.fps, there)
    facts = replace(facts, frames=frames, seconds=frames / facts.fps)
    ours = _our_coding(facts.width, facts.height, facts.fps)
    return OldVideo(path=path, facts=facts, is_like_ours=_coding(path) == ours, is_cut=frames < there)


def write_old_pictures(old: OldVideo, target: Path) -> None:
    """The pictures that are kept as a segment without sound: the very same, or encoded once more where they
    are coded in another way. Raises UserError when it can't be read, RuntimeError when frames are lost.
    """
    if old.is_like_ours:
        options = [text for name, value in CONTAINER_OPTIONS.items() for text in (f"-{name}", value)]
        source = [*options, "-i", f"file:{old.path.absolute()}", "-map", "0:V:0", "-map_metadata", "-1"]
        scale = ["-video_track_timescale", time_scale(old.facts.fps), "-f", "mp4"]
        # Our coding has no B-frames: the first packets are the first pictures.
        first = ["-frames:v", str(old.facts.frames)]
        run_ffmpeg([*source, "-c", "copy", *first, *REPRODUCIBLE, *scale, f"file:{target.absolute()}"])
    else:
        kept = islice(read_frames(old.path, old.facts.fps), old.facts.frames)
        write_segment(kept, target, fps=old.facts.fps)
    written = probe_video(target).frames
    if written != old.facts.frames:
        raise RuntimeError(f"{old.path.name} gave {written} frames instead of {old.facts.frames}")


def _kept_frames(path: Path, seconds: float, fps: float, there: int) -> int:
    """Raises UserError where the video is shorter, or nothing is kept."""
    frames = round(seconds * fps)
    if not 1 <= frames <= there:
        what = f"{path.name} can't be kept up to there"
        raise UserError(what, value=f"{seconds:g} s", allowed=f"{1 / fps:.2f} to {there / fps:.2f} seconds")
    return frames


def _count_even_frames(path: Path, fps: float) -> int:
    """How many frames there are. Raises UserError unless each comes when a constant rate has it."""
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        packets = [packet for packet in container.demux(stream) if packet.size and not packet.is_discard]
        times = sorted(packet.pts for packet in packets if packet.pts is not None)
        tick = float(stream.time_base or 0)
    even = np.arange(len(packets)) / fps
    seconds = (np.array(times) - times[0]) * tick if times else np.zeros(0)
    is_even = len(times) == len(packets) and bool((np.abs(seconds - even) <= UNEVEN / fps).all())
    if not is_even or not 1 <= fps <= FASTEST:
        found = f"its frames do not come at one even rate (about {fps:.3g} a second)"
        raise refusal(path, "video", found, f"a constant rate of 1 to {FASTEST} frames a second")
    return len(packets)


def _coding(path: Path) -> Coding:
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        first = next(container.decode(stream))
        context = stream.codec_context
        return context.name, bytes(context.extradata or b""), first.rotation


@lru_cache(maxsize=8)
def _our_coding(width: int, height: int, fps: float) -> Coding:
    """That of every video of this program in this size and rate, as its ffmpeg writes one here."""
    with tempfile.TemporaryDirectory() as scratch:
        sample = Path(scratch) / "sample.mp4"
        write_segment(np.zeros((1, height, width, 3), np.uint8), sample, fps=fps)
        return _coding(sample)
