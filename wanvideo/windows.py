"""How a long video is cut into windows that overlap by the motion frames. Pure arithmetic (InfiniteTalk's
streaming).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One run of the model over `frames` pixel frames from frame `start` of the video.

    The first `skip` frames repeat the end of the window before; the next `keep` are new and wanted, the rest
    runs past the end. `is_tail`: the last of several windows, where speech that ends inside is continued by
    its mirror image.
    """

    index: int
    start: int
    frames: int
    skip: int
    keep: int
    is_tail: bool


def plan_windows(total_frames: int, window_frames: int, motion_frames: int) -> tuple[Window, ...]:
    """Windows covering `total_frames`; each one after the first starts `window_frames - motion_frames`
    later.
    """
    stride = window_frames - motion_frames
    count = 1 + max(0, -(-(total_frames - window_frames) // stride))
    return tuple(
        Window(
            index=index,
            start=index * stride,
            frames=window_frames,
            skip=motion_frames if index else 0,
            keep=min(index * stride + window_frames, total_frames)
            - index * stride
            - (motion_frames if index else 0),
            is_tail=0 < index == count - 1,
        )
        for index in range(count)
    )
