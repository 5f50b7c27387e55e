"""Long talk of four windows: seams, colours that drift, lip-sync to the end."""

from dataclasses import replace

import torch
from torch import Tensor

from tools.pocket.dataset import Clips
from tools.pocket.heldout.bench import FRAMES, Bench
from tools.pocket.heldout.results import Figure, Result, seconds_figure
from tools.pocket.heldout.talking import (
    LEAST_SYNC,
    MOST_COLOUR,
    speak_all,
    sync_figures,
    with_recordings,
)
from tools.pocket.measure import colour_distances, seam_jumps

WINDOWS, MOTION_FRAMES, MOST_JUMP = 4, 9, 1.0
OFTEN = 0.95  # the share of changes inside windows that the stricter figure compares with
STEP = FRAMES - MOTION_FRAMES
TOTAL = FRAMES + (WINDOWS - 1) * STEP
SEAMS = [FRAMES + window * STEP for window in range(WINDOWS - 1)]


def measure(bench: Bench) -> Result:
    """Four-window clips; the last of them speaks with a recording where the run uses these."""
    clips = bench.draw("talk", bench.share(1 / 4), frames=TOTAL)
    if bench.human:
        clips = _last_recorded(clips)
    spoken = speak_all(bench, "windows", clips)
    jumps, strict = (
        torch.cat([seam_jumps(item.made.video, SEAMS, share) for item in spoken]) for share in (1.0, OFTEN)
    )
    drifts = torch.stack(
        [window_drift(item.made.video, clips.reference[index]) for index, item in enumerate(spoken)]
    )
    growth = drifts[:, -1] - drifts[:, 0]
    figures = (
        *sync_figures(spoken, LEAST_SYNC),
        Figure(
            what="change at a seam / largest inside windows, worst seam",
            value=float(jumps.max()),
            at_most=MOST_JUMP,
        ),
        Figure(
            what="change at a seam / 95th percentile inside windows, mean of seams",
            value=float(strict.mean()),
            at_most=MOST_JUMP,
        ),
        Figure(
            what="change at a seam / 95th percentile inside windows, worst seam", value=float(strict.max())
        ),
        Figure(what="colour error of a window, largest", value=float(drifts.max()), at_most=MOST_COLOUR),
        Figure(what="colour error, growth from first to last window", value=float(growth.mean())),
        seconds_figure([item.made.seconds for item in spoken]),
    )
    shown = [
        replace(item.shown, note=f"{item.shown.note}, seams {_listed(own)}", marks=tuple(SEAMS))
        for item, own in zip(spoken, jumps.split(len(SEAMS)), strict=True)
    ]
    return Result(figures=figures, shown=tuple(shown))


def window_drift(video: Tensor, reference: Tensor) -> Tensor:
    """Distance in [0, 1] of each window's mean colour from the picture's: video (3, TOTAL, H, W) -> (4,)."""
    windows = video.tensor_split(SEAMS, dim=1)
    whole = [part.mean(1, keepdim=True) for part in windows]
    return torch.cat([colour_distances(part, reference) for part in whole])


def _last_recorded(clips: Clips) -> Clips:
    """The clips with a human recording as the sound of the last one."""
    recorded = with_recordings(clips)
    assert clips.waves is not None and clips.mouth is not None
    assert recorded.waves is not None and recorded.mouth is not None
    return replace(
        clips,
        waves=torch.cat([clips.waves[:-1], recorded.waves[-1:]]),
        mouth=torch.cat([clips.mouth[:-1], recorded.mouth[-1:]]),
    )


def _listed(jumps: Tensor) -> str:
    return " ".join(f"{jump:.2f}" for jump in jumps.tolist())
