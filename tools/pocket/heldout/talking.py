"""Single speakers: does the mouth follow the sound, and do the colours stay those of the picture."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from tools.pocket.dataset import AUDIO_MARGIN, Clips
from tools.pocket.heldout.bench import SEED, Bench, Made, make, save_picture, save_sound
from tools.pocket.heldout.results import Figure, Result, ShownClip, Track, mean, seconds_figure
from tools.pocket.measure import background_error, colour_distances, lip_sync, mouth_opening
from tools.pocket.sound import mouth_track

OPEN_MOUTH = 0.3  # speech that never opens the mouth further has no lip-sync to measure
LEAST_SYNC, LEAST_SYNC_HUMAN, MOST_SYNC_WRONG, MOST_COLOUR = 0.75, 0.60, 0.20, 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Spoken:
    """One talking video and its figures; lip-sync is None for speech that hardly opens a mouth.

    `wrong_sync` is taken against the next speech that does, None when there is no other.
    """

    made: Made
    sync: float | None
    wrong_sync: float | None
    colour: float
    colour_per_frame: float
    background: float | None
    shown: ShownClip


def measure_voices(bench: Bench) -> Result:
    """Synthetic voices: babble, and for half of the clips the voice bank of the run, if it has one."""
    return _result(speak_all(bench, "voices", bench.draw("talk", bench.clips)), LEAST_SYNC)


def measure_humans(bench: Bench) -> Result:
    """The same speakers with recordings of people. Raises FileNotFoundError when those are not installed."""
    clips = with_recordings(bench.draw("talk", bench.clips))
    return _result(speak_all(bench, "humans", clips), LEAST_SYNC_HUMAN)


def with_recordings(clips: Clips) -> Clips:
    """The clips with human speech in place of theirs; their drawn videos no longer fit the sound."""
    from tools.pocket.recordings import human_excerpts

    assert clips.waves is not None
    count, samples = clips.waves.shape
    waves = torch.as_tensor(human_excerpts(count, samples, SEED))
    return replace(clips, waves=waves, mouth=mouth_track(waves))


def openness(clips: Clips) -> Tensor:
    """How open the sound wants the mouth in each frame, without margins: (..., frames)."""
    assert clips.mouth is not None
    return clips.mouth[..., AUDIO_MARGIN:-AUDIO_MARGIN, 0]


def speak_all(bench: Bench, task: str, clips: Clips, asked: Mapping[str, Any] | None = None) -> list[Spoken]:
    """Make every clip talk; `asked` is added to each request."""
    return [_spoken(bench, task, clips, index, asked or {}) for index in range(len(clips.captions))]


def sync_figures(spoken: list[Spoken], least: float) -> list[Figure]:
    """Lip-sync with the own speech: mean and worst clip."""
    known = [item.sync for item in spoken if item.sync is not None]
    return [
        Figure(what="lip-sync", value=mean(known), at_least=least),
        Figure(what="lip-sync, worst clip", value=min(known, default=None)),
    ]


def shown_track(video: Tensor, box: Tensor, track: Tensor) -> Track:
    """The curve of a mouth for a contact sheet: video (3, F, H, W), box (4,), track (F,)."""
    seen = mouth_opening(video[None], box[None])[0]
    return Track(true=rounded(track), seen=rounded(seen))


def rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values.tolist())


def _result(spoken: list[Spoken], least: float) -> Result:
    figures = (
        *sync_figures(spoken, least),
        Figure(
            what="lip-sync with another clip's speech",
            value=mean(item.wrong_sync for item in spoken),
            at_most=MOST_SYNC_WRONG,
        ),
        Figure(what="clips with speech", value=sum(item.sync is not None for item in spoken), unit="clips"),
        Figure(
            what="colour error, whole clip", value=mean(item.colour for item in spoken), at_most=MOST_COLOUR
        ),
        Figure(
            what="colour error, per frame",
            value=mean(item.colour_per_frame for item in spoken),
            at_most=MOST_COLOUR,
        ),
        Figure(what="background error, per pixel", value=mean(item.background for item in spoken)),
        seconds_figure([item.made.seconds for item in spoken]),
    )
    return Result(figures=figures, shown=tuple(item.shown for item in spoken))


def _spoken(bench: Bench, task: str, clips: Clips, index: int, asked: Mapping[str, Any]) -> Spoken:
    assert clips.waves is not None and clips.mouth_boxes is not None
    name = f"{task}/{index}"
    request = {
        "image": save_picture(bench, f"{name}.png", clips.reference[index]),
        "audio": [save_sound(bench, f"{name}.wav", clips.waves[index])],
        "prompt": clips.captions[index],
        "seed": index,
    }
    made = make(bench, f"{name}.mp4", {**request, **asked})
    video, reference, box = made.video, clips.reference[index], clips.mouth_boxes[index]
    tracks = openness(clips)
    sync = sync_of(video, box, tracks[index])
    wrong = None if sync is None else _next_speech(tracks, index)
    colours = (video.mean((1, 2, 3)) - reference.mean((1, 2))).abs().mean() / 2
    return Spoken(
        made=made,
        sync=sync,
        wrong_sync=None if wrong is None else sync_of(video, box, wrong),
        colour=float(colours),
        colour_per_frame=float(colour_distances(video, reference).mean()),
        background=background_error(video, reference, clips.video[index]),
        shown=ShownClip(
            file=made.name,
            caption=clips.captions[index],
            note="no speech" if sync is None else f"lip-sync {sync:.2f}",
            tracks=(shown_track(video, box, tracks[index]),),
        ),
    )


def sync_of(video: Tensor, box: Tensor, track: Tensor) -> float | None:
    """Lip-sync of one mouth: video (3, F, H, W), box (4,), track (F,); None for a track that never opens."""
    if float(track.max()) <= OPEN_MOUTH:
        return None
    return float(lip_sync(video[None], box[None], track[None]))


def _next_speech(tracks: Tensor, index: int) -> Tensor | None:
    """The track after `index`, going round, of another clip that opens a mouth."""
    others = [*range(index + 1, len(tracks)), *range(index)]
    return next((tracks[other] for other in others if float(tracks[other].max()) > OPEN_MOUTH), None)
