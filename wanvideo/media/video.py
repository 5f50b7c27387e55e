"""The finished file: segments, the original sound and the metadata become one mp4."""

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from wanvideo.media.encoding import frame_rate
from wanvideo.media.ffmpeg import REPRODUCIBLE, disk_error, run_ffmpeg
from wanvideo.media.input_file import VIDEOS, open_container
from wanvideo.media.old_video import OldVideo, write_old_pictures
from wanvideo.media.probe import VideoFacts, probe_sound, probe_video, video_stream
from wanvideo.media.sound import Sound

logger = logging.getLogger(__name__)

Tags = Mapping[str, str]


def join_segments(
    segments: Sequence[Path],
    output: str | Path,
    *,
    fps: float,
    sound: Sound | None,
    metadata: Tags | Callable[[float | None], Tags],
    old: OldVideo | None = None,
) -> Path:
    """Writes the segments as one mp4 without encoding them again, `sound` as AAC; returns the path it got.

    The sound is padded with silence or cut to the length of the video. An existing file is never touched: the
    result takes the next free name. It appears under that name only after it was checked; on any failure
    nothing is left. `metadata` may be a function: it is given the length of the sound less that of the
    pictures, in seconds as measured (None without sound). The pictures of an `old` video come first; its
    sound is part of `sound`. Raises UserError (disk full, folder not writable) or RuntimeError.
    """
    output = Path(output).absolute()
    if not segments:
        raise ValueError("there are no segments to join")
    facts = [probe_video(segment) for segment in segments]
    frames = sum(segment.frames for segment in facts) + (old.facts.frames if old else 0)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".partial_") as scratch:
            before = [] if old is None else [_old_segment(old, Path(scratch))]
            seconds = float(frames / frame_rate(fps))
            joined = _mux([*before, *segments], Path(scratch), seconds, sound)
            tags = metadata if isinstance(metadata, Mapping) else metadata(_sound_difference(joined))
            tagged = _tag(joined, tags)
            _verify(tagged, replace(facts[0], frames=frames, fps=fps, has_sound=sound is not None))
            return publish(tagged, output)
    except OSError as error:
        raise disk_error(error) from error


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a video, as it was given to `join_segments`. UserError for a file that is no video."""
    with open_container(path, "video", VIDEOS) as container:
        return dict(container.metadata)


def free_path(path: str | Path) -> Path:
    """`path`, or the first of `name (2).mp4`, `name (3).mp4`, ... that does not exist."""
    path = Path(path)
    candidate, number = path, 2
    while candidate.exists() or candidate.is_symlink():
        candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        number += 1
    return candidate


def publish(finished: Path, wanted: Path) -> Path:
    """Gives the finished file its name, or the next free one if another process was faster; returns it."""
    while True:
        target = free_path(wanted)
        try:
            os.link(finished, target)  # unlike a rename, it fails when the name is taken
        except FileExistsError:
            continue
        except OSError:  # file systems without hard links (FAT, some network shares)
            finished.rename(target)
        logger.info("wrote %s", target.name)
        return target


def _old_segment(old: OldVideo, scratch: Path) -> Path:
    segment = scratch / "old.mp4"
    write_old_pictures(old, segment)
    return segment


def _mux(segments: Sequence[Path], scratch: Path, seconds: float, sound: Sound | None) -> Path:
    listing, joined = scratch / "segments.txt", scratch / "joined.mp4"
    listing.write_text("".join(_listed(segment) for segment in segments), encoding="utf-8")
    inputs = ["-f", "concat", "-safe", "0", "-i", f"file:{listing}"]
    maps, samples = ["-map", "0:v:0", "-map_metadata", "-1", "-c:v", "copy"], None
    if sound is not None:
        channels = sound.samples.shape[1]
        inputs += ["-f", "f32le", "-ar", str(sound.rate), "-ac", str(channels), "-i", "pipe:0"]
        maps += ["-map", "1:a:0", "-c:a", "aac", "-b:a", "192k"]
        samples = _fitted(sound, seconds)
    run_ffmpeg([*inputs, *maps, *REPRODUCIBLE, "-f", "mp4", f"file:{joined}"], stdin=samples)
    return joined


def _sound_difference(joined: Path) -> float | None:
    pictures = probe_video(joined)
    return probe_sound(joined).seconds - pictures.seconds if pictures.has_sound else None


def _tag(joined: Path, metadata: Tags) -> Path:
    """The same streams with the tags, in the order that plays before all is loaded."""
    tags, tagged = joined.with_name("tags.txt"), joined.with_name("tagged.mp4")
    tags.write_text(_ffmetadata(metadata), encoding="utf-8", newline="\n")
    inputs = ["-i", f"file:{joined}", "-f", "ffmetadata", "-i", f"file:{tags}"]
    maps = ["-map", "0", "-map_metadata", "1", "-c", "copy"]
    flags = ["-movflags", "+faststart+use_metadata_tags", "-f", "mp4"]
    run_ffmpeg([*inputs, *maps, *REPRODUCIBLE, *flags, f"file:{tagged}"])
    return tagged


def _fitted(sound: Sound, seconds: float) -> memoryview:
    """The samples as bytes, exactly as long as the video: ffmpeg's -shortest would drop frames instead."""
    length = round(seconds * sound.rate)
    fitted = np.zeros((length, sound.samples.shape[1]), np.float32)
    kept = sound.samples[:length]
    fitted[: len(kept)] = kept
    return fitted.data.cast("B")


def _listed(segment: Path) -> str:
    quoted = segment.absolute().as_posix().replace("'", r"'\''")
    return f"file 'file:{quoted}'\n"


def _ffmetadata(metadata: Mapping[str, str]) -> str:
    """The tags as a file of ffmpeg's own form: a command line has length limits and quoting of its own."""
    lines = [f"{_escaped(key)}={_escaped(value)}" for key, value in metadata.items()]
    return "\n".join([";FFMETADATA1", *lines, ""])


def _escaped(text: str) -> str:
    return "".join(f"\\{letter}" if letter in "=;#\\\n" else letter for letter in text)


def _verify(path: Path, wanted: VideoFacts) -> None:
    """RuntimeError unless the file holds exactly the frames of `wanted`, to the last byte and in that size,
    and sound as long to within one frame. The seconds of `wanted` do not count.
    """
    video, frames, fps = probe_video(path), wanted.frames, wanted.fps
    there = _readable_frames(path)
    if not video.frames == there == frames:
        raise RuntimeError(f"the finished file holds {there} of {video.frames} frames instead of {frames}")
    if (video.width, video.height) != (wanted.width, wanted.height):
        raise RuntimeError(f"the finished file shows {video.width} x {video.height} pixels")
    if video.has_sound != wanted.has_sound:
        raise RuntimeError(f"the finished file has {'no' if wanted.has_sound else 'unwanted'} sound")
    lengths = [video.seconds] + ([probe_sound(path).seconds] if wanted.has_sound else [])
    if any(abs(seconds - frames / fps) > 1 / fps + 1e-6 for seconds in lengths):
        raise RuntimeError(f"the finished file lasts {lengths} seconds (pictures, sound) for {frames} frames")


def _readable_frames(path: Path) -> int:
    """Frames whose bytes are there: the table of an mp4 also counts those that a full disk has cut off."""
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        return sum(1 for packet in container.demux(stream) if packet.size and not packet.is_corrupt)
