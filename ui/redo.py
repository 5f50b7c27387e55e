"""The settings that make a finished video anew from one of its windows on."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ui.film import Film, Span, film_of
from ui.restore import job_settings
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.jobs.job import Job
from wanvideo.library.settings import VideoSettings
from wanvideo.request import RANDOM_SEED


def redone_settings(job: Job, index: int, video: Path) -> VideoSettings:
    """Those of a video that keeps the job's own, the file `video`, up to its window `index` and goes on with
    another seed to the same end. Raises UserError where that can't be.
    """
    film = film_of(job)
    spans = (*film.parts, film.rest) if film else ()
    span = next((part for part in spans if part and part.index == index), None)
    if film is None or span is None or not film.can_redo:
        raise UserError(say("redo_not"))
    settings = job_settings(job)
    asked = {**settings.request, "seed": RANDOM_SEED, "count": 1}
    if span.first:
        asked |= _going_on(asked, film, span)
        asked["extends"] = str(video)
    return replace(settings, request=asked)


def _going_on(asked: Mapping[str, Any], film: Film, span: Span) -> dict[str, Any]:
    """What is cut off is cut off the speech and the prompts too."""
    over = (span.first - film.before) / film.fps
    prompts = str(asked.get("prompt", "")).split("|")
    changed = {
        "extends_from": span.first / film.fps,
        "seconds": (film.frames - span.first) / film.fps,
        "num_frames": None,
        "prompt": "|".join(prompts[span.index :] or prompts[-1:]).strip(),
    }
    heard = {"audio_start": asked.get("audio_start", 0.0) + over} if asked.get("audio") else {}
    return {**changed, **heard}
