"""Pictures that move: is it the motion that was asked for, and does the clip keep to the pictures given."""

from dataclasses import dataclass

from torch import Tensor

from tools.pocket.dataset import Clips
from tools.pocket.heldout.bench import Bench, Made, make, save_picture
from tools.pocket.heldout.judging import ceiling, judge_all, noted
from tools.pocket.heldout.results import Figure, Result, ShownClip, mean, seconds_figure
from tools.pocket.training_run import psnr
from wanvideo.request import IMAGE_TO_VIDEO


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    """A clip made towards an end picture, and how near (dB) it and the one made without come to it."""

    with_end: float
    without_end: float
    shown: ShownClip


def measure(bench: Bench) -> Result:
    """Acts of characters and shapes from their first frame; half of them again with an end picture."""
    clips = bench.draw("motion", bench.clips)
    made = [_move(bench, clips, index) for index in range(bench.clips)]
    judged = judge_all(clips.captions, [item.video for item in made])
    drawn = ceiling(bench, clips)
    ended = [_ended(bench, clips, index, made[index]) for index in range(bench.share(1 / 2))]
    pairs = list(zip(made, clips.video, strict=True))
    figures = (
        Figure(what="right motion, by the judge", value=judged.share("motion")),
        Figure(what="right motion of the drawn clips", value=drawn.share("motion")),
        Figure(
            what="first frame against the picture, PSNR",
            value=mean(psnr(item.video[None, :, 0], true[None, :, 0]) for item, true in pairs),
            unit="dB",
        ),
        Figure(
            what="colour error, per frame, against the drawn clip",
            value=mean(_colour_error(item.video, true) for item, true in pairs),
        ),
        Figure(
            what="last frame against the end picture, PSNR", value=mean(e.with_end for e in ended), unit="dB"
        ),
        Figure(
            what="the same without giving an end picture", value=mean(e.without_end for e in ended), unit="dB"
        ),
        seconds_figure([item.seconds for item in made]),
    )
    shown = [
        noted(item.name, text, row) for item, text, row in zip(made, clips.captions, judged.rows, strict=True)
    ]
    return Result(figures=figures, shown=(*shown, *(item.shown for item in ended)))


def _move(bench: Bench, clips: Clips, index: int, end: str | None = None) -> Made:
    """One clip from its first frame; `end` is the path of an end picture."""
    name = f"motion/{index}" if end is None else f"motion/{index}_end"
    asked = {
        "task": IMAGE_TO_VIDEO,
        "image": save_picture(bench, f"{name}.png", clips.video[index, :, 0]),
        "end_image": end,
        "prompt": clips.captions[index],
        "seed": index,
    }
    return make(bench, f"{name}.mp4", asked)


def _ended(bench: Bench, clips: Clips, index: int, without: Made) -> _Ended:
    wanted, target = clips.video[index, :, -1], f"motion/{index}_target.png"
    made = _move(bench, clips, index, save_picture(bench, target, wanted))
    reached, unguided = (psnr(item.video[None, :, -1], wanted[None]) for item in (made, without))
    note = f"last frame {reached:.1f} dB, without an end picture {unguided:.1f} dB"
    return _Ended(
        with_end=reached,
        without_end=unguided,
        shown=ShownClip(file=made.name, caption=clips.captions[index], note=note, target=target),
    )


def _colour_error(video: Tensor, true: Tensor) -> float:
    """Mean distance in [0, 1] of each frame's mean colour, videos (3, F, H, W) in [-1, 1]."""
    return float((video.mean((-1, -2)) - true.mean((-1, -2))).abs().mean()) / 2
