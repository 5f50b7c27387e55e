"""What the model hears: the speech of a job as one embedding per speaker, along the time of its windows."""

import math
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wanvideo.defaults import SPEECH_FPS
from wanvideo.lending import JobModels
from wanvideo.media.old_video import OldVideo
from wanvideo.media.sound import (
    SPEECH_RATE,
    Samples,
    arrange_speakers,
    last_speech,
    load_sound,
    normalise_loudness,
    speech_samples,
)
from wanvideo.models.speech_encoder import encode_speech
from wanvideo.models.vocal_separator import vocals_as_speech
from wanvideo.plan import GenerationPlan
from wanvideo.stage_clock import reporter

Track: TypeAlias = npt.NDArray[np.float64]  # (n,) at 16 kHz

SPEECH_MARGIN = 3  # frames past the last window: the speech around its last frame
SAMPLES_PER_FRAME = int(SPEECH_RATE / SPEECH_FPS)


def speech_of_job(plan: GenerationPlan, models: JobModels) -> tuple[Tensor, ...]:
    """One embedding (frames, layers, channels) per speaker, as long as the windows need.

    Speech shorter than the video, or than one window, is continued by silence; of longer speech the rest is
    not read.
    """
    last = plan.windows[-1]
    seconds = (last.start + last.frames + SPEECH_MARGIN) / SPEECH_FPS
    heard = plan.request.audio_start + seconds
    tracks = [normalise_loudness(samples, SPEECH_RATE) for samples in _heard(plan, heard, models)]
    tracks, _ = arrange_speakers(tracks or [np.zeros(1)], plan.request.audio_order)  # type: ignore[arg-type]
    tracks = _from_first_window(plan, tracks)
    shortest = max(last.start + last.skip + last.keep, plan.windows[0].frames) * SAMPLES_PER_FRAME
    longest = math.ceil(seconds * SPEECH_RATE)
    with models.speech_encoder() as speech_encoder:
        embeddings = []
        for track in tracks:
            samples = np.pad(track[:longest], (0, max(0, shortest - len(track)))).astype(np.float32)
            frames = len(samples) // SAMPLES_PER_FRAME
            embeddings.append(encode_speech(speech_encoder, torch.from_numpy(samples), frames))
    return tuple(embeddings)


def _from_first_window(plan: GenerationPlan, tracks: Sequence[Track]) -> list[Track]:
    """The tracks from where the first window begins. While it repeats frames of an old video the speech
    before `audio_start` is heard if it is long enough, else what `_speech_before` tells.
    """
    start = round(plan.request.audio_start * SPEECH_RATE)
    lead = plan.windows[0].skip * SAMPLES_PER_FRAME
    if plan.old is None or start >= lead:
        return [track[start - lead :] for track in tracks]
    before = _speech_before(plan, plan.old)
    return [np.concatenate([before, track[start:]]) for track in tracks]


def _speech_before(plan: GenerationPlan, old: OldVideo) -> Samples:
    """What is heard while the first window repeats frames of the old video: its own sound, or silence where
    it has none, has another rate, or two speakers would have to be told apart.
    """
    count = plan.windows[0].skip * SAMPLES_PER_FRAME
    if plan.speakers > 1 or not old.facts.has_sound or round(plan.settings.fps) != SPEECH_FPS:
        return np.zeros(count, np.float32)
    return last_speech(old.path, count, old.facts.seconds)


def _heard(plan: GenerationPlan, seconds: float, models: JobModels) -> list[Samples]:
    """At most the first `seconds` of each speaker at 16 kHz: the sound of the file, or the voice in it."""
    if not plan.separates_vocals:
        return [speech_samples(path, seconds) for path in plan.request.audio]
    report = reporter(models.say, "separating the vocals", "pieces")
    with models.vocal_separator() as separator:
        return [vocals_as_speech(separator, load_sound(path, seconds), report) for path in plan.request.audio]
