"""How a long video is cut into windows that overlap by the motion frames. Pure arithmetic (InfiniteTalk's
streaming).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One run of the model over `frames` pixel frames from frame `start` of the video.

    The first `skip` frames repeat the end of the window before, or of the video that goes on; the next `keep`
    are new and wanted, the rest runs past the end. `is_tail`: the last window, unless nothing came before it,
    where speech that ends inside is continued by its mirror image.
    """

    index: int
    start: int
    frames: int
    skip: int
    keep: int
    is_tail: bool


def plan_windows(
    total_frames: int, window_frames: int, motion_frames: int, lead_frames: int = 0
) -> tuple[Window, ...]:
    """Windows covering `total_frames`; each one after the first starts `window_frames - motion_frames`
    later. With `lead_frames` the first one, too, repeats so many frames, which come before those wanted.
    """
    stride, end = window_frames - motion_frames, lead_frames + total_frames
    count = 1 + max(0, -(-(end - window_frames) // stride))
    skips = [lead_frames, *[motion_frames] * (count - 1)]
    return tuple(
        Window(
            index=index,
            start=index * stride,
            frames=window_frames,
            skip=skip,
            keep=min(window_frames, end - index * stride) - skip,
            is_tail=skip > 0 and index == count - 1,
        )
        for index, skip in enumerate(skips)
    )
