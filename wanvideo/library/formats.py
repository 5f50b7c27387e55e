"""The forms that a finished video can be written in: what ffmpeg is told, and what is probed afterwards.

Loads no torch.
"""

import math
import shutil
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wanvideo.library.settings import comment_of
from wanvideo.media.ffmpeg import REPRODUCIBLE, run_ffmpeg, watch_ffmpeg
from wanvideo.media.input_file import CONTAINER_OPTIONS
from wanvideo.media.probe import VideoFacts, probe_sound, probe_video
from wanvideo.media.video import read_metadata

OPUS_PACKET = 0.02  # seconds: the sound of a webm ends with a whole packet
GIF_HEAD, COMMENT_BLOCK = 13, 255  # bytes before a gif's colours, and of one piece of its comment

# In luma about 46 dB of the mp4, in about as many bytes.
_VP9 = (
    *("-c:v", "libvpx-vp9", "-b:v", "0", "-crf", "16", "-pix_fmt", "yuv420p"),
    *("-deadline", "good", "-cpu-used", "2", "-row-mt", "1"),
)
_OPUS = ("-c:a", "libopus", "-b:a", "128k")
_EXACT = "scale=flags=bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"  # how 4:2:0 becomes RGB
# An mp4's own marks, which would become tags of another container.
_UNMARKED = tuple(
    text
    for name in ("major_brand", "minor_version", "compatible_brands")
    for text in ("-metadata", f"{name}=")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """`write` makes and probes the file in the scratch folder. `passes`: how often all pictures are gone
    through. `bytes_per_pixel`: what a pixel of a frame takes at most, by experience. `fastest`: frames a
    second; a faster video loses some.
    """

    name: str
    suffix: str
    write: Callable[["Work"], Path]
    passes: int
    bytes_per_pixel: float
    fastest: float = math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One export. `tell` is given the pass, from 0, and the frames written in it."""

    source: Path
    facts: VideoFacts
    format: Format
    scratch: Path
    tell: Callable[[int, int], None]

    @property
    def fps(self) -> float:
        return min(self.facts.fps, self.format.fastest)

    def run(self, number: int, *arguments: str) -> None:
        """One pass of ffmpeg over the source."""
        watch_ffmpeg([*_input(self.source), *arguments], lambda frames: self.tell(number, frames))


def _input(source: Path) -> list[str]:
    options = [text for name, value in CONTAINER_OPTIONS.items() for text in (f"-{name}", value)]
    return [*options, "-i", f"file:{source}"]


def _write_webm(work: Work) -> Path:
    made = work.scratch / "made.webm"
    streams = ["-map", "0:V:0", "-map", "0:a:0?", *_UNMARKED, "-fps_mode", "passthrough"]
    coding = [*_VP9, *_OPUS, *REPRODUCIBLE]
    work.run(0, *streams, *coding, "-f", "webm", f"file:{made}")
    _check(work, probe_video(made))
    if work.facts.has_sound:
        _check_sound(work, made)
    return made


def _write_gif(work: Work) -> Path:
    """256 colours chosen from the whole video; it plays for ever, and at most as fast as viewers show it."""
    palette, made = work.scratch / "palette.png", work.scratch / "made.gif"
    rate = f"fps={work.fps:g}," if work.fps < work.facts.fps else ""
    one = ["-map", "0:V:0", "-vf", f"{rate}{_EXACT},palettegen", "-frames:v", "1", "-update", "1"]
    work.run(0, *one, "-f", "image2", f"file:{palette}")
    two = ["-i", f"file:{palette}", "-lavfi", f"[0:V:0]{rate}{_EXACT}[v];[v][1:v:0]paletteuse"]
    loop = ["-fps_mode", "passthrough", "-map_metadata", "-1", "-loop", "0", *REPRODUCIBLE]
    work.run(1, *two, *loop, "-f", "gif", f"file:{made}")
    commented = _with_comment(made, comment_of(read_metadata(work.source)))
    _check(work, probe_video(commented))
    return commented


def _with_comment(gif: Path, text: str) -> Path:
    """The same with a comment ahead of its pictures, where readers look (GIF89a, 18 and 24)."""
    content, commented = text.encode(), gif.with_stem("commented")
    pieces = [content[at : at + COMMENT_BLOCK] for at in range(0, len(content), COMMENT_BLOCK)]
    if not pieces:
        return gif
    with gif.open("rb") as old, commented.open("wb") as new:
        head = old.read(GIF_HEAD)
        has_colours, bits = head[10] >> 7, (head[10] & 7) + 1
        new.write(head + old.read(has_colours * 3 << bits))
        new.write(b"!\xfe" + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0")
        shutil.copyfileobj(old, new)
    return commented


def _write_pictures(work: Work) -> Path:
    """000001.png and so on, sound.wav where there is sound, and settings.json where there are settings."""
    made, pictures = work.scratch / "made.zip", work.scratch / "pictures"
    pictures.mkdir()
    coding = ["-map", "0:V:0", "-fps_mode", "passthrough", "-vf", _EXACT, "-pix_fmt", "rgb24", "-c:v", "png"]
    work.run(0, *coding, *REPRODUCIBLE, "-f", "image2", f"file:{pictures / '%06d.png'}")
    with zipfile.ZipFile(made, "w", strict_timestamps=False) as archive:
        for number, picture in enumerate(sorted(pictures.iterdir()), start=1):
            archive.write(picture, picture.name)
            picture.unlink()  # the room for all of them is needed once
            work.tell(1, number)
        if work.facts.has_sound:
            archive.write(_write_sound(work), "sound.wav", zipfile.ZIP_DEFLATED)
        if comment := comment_of(read_metadata(work.source)):
            archive.writestr("settings.json", comment)
    _check_zip(work, made)
    return made


def _write_sound(work: Work) -> Path:
    """As 16-bit samples."""
    sound = work.scratch / "sound.wav"
    run_ffmpeg([*_input(work.source), "-vn", "-map", "0:a:0", "-c:a", "pcm_s16le", f"file:{sound}"])
    _check_sound(work, sound)
    return sound


def _check_zip(work: Work, made: Path) -> None:
    with zipfile.ZipFile(made) as archive:
        names = archive.namelist()
        if damaged := archive.testzip():
            raise RuntimeError(f"{damaged} in the zip is damaged")
    frames = sum(name.endswith(".png") for name in names)
    if frames != work.facts.frames:
        raise RuntimeError(f"the zip holds {frames} pictures instead of {work.facts.frames}")


def _check(work: Work, made: VideoFacts) -> None:
    """RuntimeError unless all frames are there, in their size, and as long to within one of them."""
    source, loses_some = work.facts, work.fps < work.facts.fps
    wanted = round(source.seconds * work.fps) if loses_some else source.frames
    if abs(made.frames - wanted) > loses_some:
        raise RuntimeError(f"the new file holds {made.frames} frames instead of {wanted}")
    if (made.width, made.height) != (source.width, source.height):
        raise RuntimeError(f"the new file shows {made.width} x {made.height} pixels")
    if abs(made.seconds - source.seconds) > 1 / work.fps + 1e-6:
        raise RuntimeError(f"the new file lasts {made.seconds} seconds instead of {source.seconds}")


def _check_sound(work: Work, made: Path) -> None:
    seconds, wanted = probe_sound(made).seconds, probe_sound(work.source).seconds
    if abs(seconds - wanted) > 1 / work.fps + OPUS_PACKET:
        raise RuntimeError(f"the sound of the new file lasts {seconds} seconds instead of {wanted}")


FORMATS: Mapping[str, Format] = {
    row.name: row
    for row in (
        Format(name="webm", suffix=".webm", write=_write_webm, passes=1, bytes_per_pixel=0.3),
        Format(name="gif", suffix=".gif", write=_write_gif, passes=2, bytes_per_pixel=1.0, fastest=50.0),
        Format(name="png", suffix=".zip", write=_write_pictures, passes=2, bytes_per_pixel=2.5),
    )
}
