"""From finished windows to one file: where a job keeps its windows, the sound that goes in, what the metadata
says.
"""

import hashlib
import json
import logging
import math
import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wanvideo import __version__
from wanvideo.media.segments import JobFolder
from wanvideo.media.sound import Sound, follow_sound, load_sound, recorded_sound
from wanvideo.media.video import join_segments
from wanvideo.plan import GenerationPlan
from wanvideo.quality.frames import QUALITY, WindowFigures, read_windows
from wanvideo.quality.report import QualityReport, quality_report
from wanvideo.request import to_mapping
from wanvideo.step_cache.window import PASSES

log = logging.getLogger(__name__)

WAYS = "ways"  # name of what `with_way` puts into the state of a window
PATH_FIELDS = ("image", "end_image", "video", "extends", "model")

# The old video in the report: a part to compare others with, itself not looked at.
UNMEASURED = WindowFigures(**dict.fromkeys((field.name for field in fields(WindowFigures)), math.nan))


def job_folder(plan: GenerationPlan) -> JobFolder:
    """The folder of the job's windows beside its output. Its name depends on all that shapes the frames, so
    that another plan for the same output never takes up these windows."""
    shaping = json.dumps(
        [to_mapping(plan.request), plan.shaping(), _stamps(plan), list(plan.prompts)], sort_keys=True
    )
    mark = hashlib.sha256(shaping.encode()).hexdigest()[:12]
    return JobFolder(plan.output.parent / ".work" / f"{plan.output.stem}_{mark}", fps=plan.settings.fps)


def join_windows(plan: GenerationPlan, folder: JobFolder, output: Path) -> tuple[Path, QualityReport]:
    """The windows in `folder` as one mp4 with the ORIGINAL sound, after the old video if they go on from one;
    returns the name it got (nothing is overwritten) and what was measured, which is in the metadata too.
    """
    segments = folder.segments()
    measured = folder.load_state(len(segments) - 1).get(QUALITY)
    figures = () if measured is None else read_windows(measured)  # none by a version that did not measure
    if plan.old is not None and figures:
        figures = (UNMEASURED, *figures)
    reports: list[QualityReport] = []

    def metadata(sound_difference: float | None) -> dict[str, str]:
        reports.append(quality_report(plan, figures, sound_difference))
        return {"comment": _comment(plan, reports[-1])}

    sound, fps = _whole_sound(plan), plan.settings.fps
    path = join_segments(segments, output, fps=fps, sound=sound, metadata=metadata, old=plan.old)
    return path, reports[-1]


def with_passes_of(plan: GenerationPlan, folder: JobFolder) -> GenerationPlan:
    """The plan with what computed the windows in `folder`, of which there is one at least, and how many
    passes a step cache left of them.
    """
    last = folder.load_state(folder.finished() - 1)
    counted = last.get(PASSES)
    rows = () if counted is None else tuple((computed, all_) for computed, all_ in counted.tolist())
    return replace(plan, computed_passes=rows, window_ways=read_ways(last.get(WAYS)))


def with_way(before: Tensor | None, plan: GenerationPlan) -> dict[str, Tensor]:
    """For the state of a window: what computed it and those before, as `read_ways` reads it. `before`: that
    of the window before.
    """
    written = json.dumps([*read_ways(before), f"{plan.attention}, {plan.quantization}"]).encode()
    return {WAYS: torch.tensor(list(written), dtype=torch.uint8)}


def read_ways(written: Tensor | None) -> tuple[str, ...]:
    """Attention and quantization of each window; none of a version that did not write them."""
    return () if written is None else tuple(json.loads(bytes(written.tolist())))


def clear_windows(folder: JobFolder) -> None:
    """Remove the windows of a job whose file is made, and the folder of all jobs when this was the last.

    What can't be removed is told and stays: it is no reason to fail a finished job.
    """
    try:
        shutil.rmtree(folder.path)
        if not any(folder.path.parent.iterdir()):
            folder.path.parent.rmdir()
    except OSError as error:
        log.warning("the windows in %s are left behind: %s", folder.path, error)


def keep_finished(plan: GenerationPlan) -> Path | None:
    """What a stopped job had finished, as `name_part.mp4`; None when no window was."""
    folder = job_folder(plan)
    if not folder.finished():
        return None
    told = with_passes_of(plan, folder)
    kept, _ = join_windows(told, folder, plan.output.with_stem(f"{plan.output.stem}_part"))
    clear_windows(folder)
    return kept


def _whole_sound(plan: GenerationPlan) -> Sound | None:
    """That of the old video, if there is one, and the original sound after it."""
    if plan.old is None:
        return _original_sound(plan)
    seconds = plan.old.facts.seconds
    before = load_sound(plan.old.path, seconds) if plan.old.facts.has_sound else None
    return follow_sound(before, seconds, _original_sound(plan))


def _original_sound(plan: GenerationPlan) -> Sound | None:
    if not plan.uses_speech:
        return None
    seconds = plan.total_frames / plan.settings.fps
    asked = plan.request
    return recorded_sound(asked.audio, asked.audio_order, asked.audio_start, seconds)  # type: ignore[arg-type]


def _comment(plan: GenerationPlan, quality: QualityReport) -> str:
    """The request, what really ran and by what, and how it came out, as JSON; file names without their
    folders.
    """
    written: dict[str, Any] = {
        "request": _without_folders(to_mapping(plan.request)),
        "effective": plan.effective(),
        "models": _model_files(plan),
        "notes": list(plan.notes),
        "quality": quality.as_mapping(),
        "version": __version__,
    }
    return json.dumps(written, ensure_ascii=False, sort_keys=True)


def _without_folders(request: dict[str, Any]) -> dict[str, Any]:
    bare: dict[str, Any] = {
        name: Path(value).name if name in PATH_FIELDS else value for name, value in request.items()
    }
    if "loras" in bare:
        bare["loras"] = [{**lora, "file": Path(lora["file"]).name} for lora in bare["loras"]]
    if "audio" in bare:
        bare["audio"] = [Path(path).name for path in bare["audio"]]
    return bare


def _stamps(plan: GenerationPlan) -> list[list[int]]:
    """Size and time of every file that is read: inputs and checkpoints."""
    request = plan.request
    inputs = [request.image, request.end_image, request.video, *request.audio]
    files = [Path(path) for path in inputs if path]
    files += [] if plan.old is None else [plan.old.path]
    files += [file for facts in plan.models.checkpoints for file in facts.files]
    files += [use.facts.path for use in plan.models.loras]
    return [[file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def _model_files(plan: GenerationPlan) -> dict[str, list[list[Any]]]:
    """Component -> [name, bytes] of each of its files; all LoRAs are one component."""
    files = {facts.component: list(facts.files) for facts in plan.models.checkpoints}
    if plan.models.loras:
        files["lora"] = [use.facts.path for use in plan.models.loras]
    return {
        component: [[file.name, file.stat().st_size] for file in paths] for component, paths in files.items()
    }
