"""Two speakers in one picture: each mouth follows its own sound, and a silent speaker's stays shut."""

from dataclasses import dataclass

from torch import Tensor

from tools.pocket.dataset import Clips
from tools.pocket.heldout.bench import Bench, Made, make, save_picture, save_sound
from tools.pocket.heldout.results import Figure, Result, ShownClip, mean, seconds_figure
from tools.pocket.heldout.talking import OPEN_MOUTH, openness, shown_track, sync_of
from tools.pocket.measure import mouth_opening

LEAST_OWN, MOST_OTHER = 0.50, 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class _Heard:
    """Lip-sync of both mouths with their own and with the other's sound, and the silent mouth's share."""

    made: Made
    own: tuple[float | None, ...]
    other: tuple[float | None, ...]
    silent: float | None
    shown: ShownClip


def measure(bench: Bench) -> Result:
    """Pairs whose sounds run at the same time; the picture's halves are the speakers, as by default."""
    clips = bench.draw("pair", bench.clips)
    heard = [_heard(bench, clips, index) for index in range(len(clips.captions))]
    own = [value for item in heard for value in item.own if value is not None]
    figures = (
        Figure(what="lip-sync with the own speech", value=mean(own), at_least=LEAST_OWN),
        Figure(what="lip-sync with the own speech, worst mouth", value=min(own, default=None)),
        Figure(
            what="lip-sync with the other's speech",
            value=mean(value for item in heard for value in item.other),
            at_most=MOST_OTHER,
        ),
        Figure(
            what="opening of a silent mouth, as a share of the speaking one's",
            value=mean(item.silent for item in heard),
        ),
        seconds_figure([item.made.seconds for item in heard]),
    )
    return Result(figures=figures, shown=tuple(item.shown for item in heard))


def silent_share(video: Tensor, boxes: Tensor, tracks: Tensor) -> float | None:
    """How far the silent mouth opens, relative to the speaking one (means over the clip).

    video (3, F, H, W), boxes (2, 4), tracks (2, F).

    None unless exactly one of the two speaks, and where the speaking mouth never opens either.
    """
    speaks = tracks.amax(-1) > OPEN_MOUTH
    if bool(speaks[0] == speaks[1]):
        return None
    opening = mouth_opening(video.expand(2, -1, -1, -1, -1), boxes).mean(-1)
    talker = int(speaks[1])
    if float(opening[talker]) < 1e-4:
        return None
    return float(opening[1 - talker] / opening[talker])


def _heard(bench: Bench, clips: Clips, index: int) -> _Heard:
    assert clips.waves is not None and clips.mouth_boxes is not None
    name, waves, boxes = f"pairs/{index}", clips.waves[index], clips.mouth_boxes[index]
    made = make(
        bench,
        f"{name}.mp4",
        {
            "image": save_picture(bench, f"{name}.png", clips.reference[index]),
            "audio": [save_sound(bench, f"{name}_{side}.wav", waves[side]) for side in range(2)],
            "audio_order": "together",
            "prompt": clips.captions[index],
            "seed": index,
        },
    )
    tracks, video = openness(clips)[index], made.video
    own = tuple(sync_of(video, boxes[side], tracks[side]) for side in range(2))
    told = ["silent" if value is None else f"{round(value, 2) + 0.0:.2f}" for value in own]
    return _Heard(
        made=made,
        own=own,
        other=tuple(sync_of(video, boxes[side], tracks[1 - side]) for side in range(2)),
        silent=silent_share(video, boxes, tracks),
        shown=ShownClip(
            file=made.name,
            caption=clips.captions[index],
            note=f"lip-sync left {told[0]}, right {told[1]}",
            tracks=tuple(shown_track(video, boxes[side], tracks[side]) for side in range(2)),
        ),
    )
