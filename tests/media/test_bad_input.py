"""Whatever a user drops on the app is refused in one sentence that names the file."""

import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.media.media_files import picture, tone, write_sound
from wanvideo.errors import UserError
from wanvideo.media import frames, input_file
from wanvideo.media.pictures import load_picture
from wanvideo.media.probe import probe_picture, probe_sound, probe_video
from wanvideo.media.sound import load_sound, speech_samples
from wanvideo.media.video import read_metadata

READERS: dict[str, list[Callable[[Path], object]]] = {
    "picture": [probe_picture, load_picture],
    "sound": [probe_sound, load_sound, speech_samples],
    "video": [
        probe_video,
        lambda path: next(frames.read_frames(path)),
        lambda path: frames.read_frame_at(path, 0),
    ],
}
PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nother.mp4\n#EXT-X-ENDLIST\n"


def refused(kind: str, path: Path, words: str) -> None:
    for reader in READERS[kind]:
        with pytest.raises(UserError) as caught, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(path)
        text = str(caught.value)
        assert path.name in text and words in text and "allowed: " in text, text
        assert str(path.parent) not in text and "\n" not in text


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty (0 bytes)"),
        ("a letter, with späte Umlaute\n".encode() * 40, "looks like text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "looks like a PNG picture"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "looks like WAV sound"),
        (bytes(range(256)) * 8, "looks like unknown data"),
        (PLAYLIST, "looks like text"),
    ],
    ids=["empty", "text", "png", "wav", "noise", "playlist"],
)
@pytest.mark.parametrize(
    ("kind", "name"), [("picture", "a.png"), ("sound", "b.wav"), ("sound", "b.m4a"), ("video", "c.mp4")]
)
def test_content_of_another_kind(tmp_path: Path, kind: str, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(kind, tmp_path / name, words)


@pytest.mark.parametrize("kind", READERS)
def test_missing_file_and_folder(tmp_path: Path, kind: str) -> None:
    refused(kind, tmp_path / "missing.mp4", "no such file")
    (tmp_path / "folder.mp4").mkdir()
    refused(kind, tmp_path / "folder.mp4", "it is a folder")


def test_pictures_too_large_are_refused_from_the_header(tmp_path: Path) -> None:
    for width, height in ((20_000, 20_000), (16_000, 8_000), (20_000, 3_000), (8, 8), (1_000, 20)):
        header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
        chunks = [_chunk(b"IHDR", header), _chunk(b"IDAT", zlib.compress(b"\0")), _chunk(b"IEND", b"")]
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
        refused("picture", tmp_path / "bomb.png", "large" if width == height > 8 else f"{width} x {height}")


def test_truncated_pictures_are_refused(tmp_path: Path) -> None:
    for suffix in ("png", "jpg"):
        path = tmp_path / f"half.{suffix}"
        picture(400, 300).save(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused("picture", path, "damaged")


def test_sound_without_samples_or_with_bad_ones(tmp_path: Path) -> None:
    soundfile.write(str(tmp_path / "none.wav"), np.zeros((0, 1)), 16_000)
    refused("sound", tmp_path / "none.wav", "no samples")
    for value in (np.nan, np.inf):
        samples = tone()
        samples[5000] = value
        soundfile.write(str(tmp_path / "nan.wav"), samples, 22_050, subtype="FLOAT")
        refused("sound", tmp_path / "nan.wav", "not numbers")


def test_streams_that_are_missing(tmp_path: Path) -> None:
    picture(64, 64).save(tmp_path / "silent.gif", save_all=True, append_images=[picture(64, 64)])
    refused("sound", tmp_path / "silent.gif", "no sound")
    refused("video", write_sound(tmp_path / "voice.m4a"), "no pictures")


def test_too_long(tmp_path: Path) -> None:
    hours = 3.5
    soundfile.write(
        str(tmp_path / "long.wav"), np.zeros(int(hours * 3600 * 1000), np.uint8).astype("i2"), 1000
    )
    refused("sound", tmp_path / "long.wav", "3.5 hours")


def test_pictures_of_floats_are_refused(tmp_path: Path) -> None:
    Image.new("F", (64, 64), 0.5).save(tmp_path / "depth.tiff")
    refused("picture", tmp_path / "depth.tiff", "stored as F")


def test_metadata_of_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "note.mp4").write_text("words")
    with pytest.raises(UserError, match=r"note\.mp4"):
        read_metadata(tmp_path / "note.mp4")


def test_names_that_are_no_paths() -> None:
    with pytest.raises(UserError, match="cannot be opened"):
        input_file.require_file("a\0b.png", "picture", input_file.PICTURES)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
