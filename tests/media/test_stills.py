"""Small pictures of a video at the begin of its windows."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.media.media_files import grey_frames
from wanvideo.errors import UserError
from wanvideo.media.encoding import write_segment
from wanvideo.media.stills import small_pictures
from wanvideo.media.video import join_segments

LENGTHS = (9, 4, 4, 1)


@pytest.mark.parametrize("fps", [25.0, 30000 / 1001])
def test_each_window_is_shown_by_its_first_frame(tmp_path: Path, fps: float) -> None:
    frames = grey_frames(sum(LENGTHS), 48, 96)
    begins = np.cumsum((0, *LENGTHS[:-1]))
    segments = []
    for number, (begin, length) in enumerate(zip(begins, LENGTHS, strict=True)):
        segments.append(tmp_path / f"{number}.mp4")
        write_segment(frames[begin : begin + length], segments[-1], fps=fps)
    video = join_segments(segments, tmp_path / "film.mp4", fps=fps, sound=None, metadata={})
    pictures = [Image.open(BytesIO(data)) for data in small_pictures(video, list(begins / fps), 40)]
    assert [(picture.format, picture.size) for picture in pictures] == [("JPEG", (40, 20))] * 4
    levels = [np.asarray(picture).mean() for picture in pictures]
    assert levels == pytest.approx([40 + 4 * begin for begin in begins], abs=1.9)


def test_what_is_no_video_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(UserError):
        small_pictures(tmp_path / "a.mp4", [0.0], 40)
