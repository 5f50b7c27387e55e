"""A sentence for each field that was set but can have no effect in this request. Pure arithmetic."""

from collections.abc import Iterator

import numpy as np

from wanvideo.request import REQUEST_FIELDS, GenerationRequest
from wanvideo.sampling.samplers import find_sampler
from wanvideo.settings import TRAINED_FRAMES, Settings, may_start_from_video


def idle_fields(request: GenerationRequest, settings: Settings, windows: int) -> Iterator[str]:
    """The sentences, without a full stop. `windows` is how many the video has."""
    for name, row in REQUEST_FIELDS.items():
        if not row.is_for(request.task) and getattr(request, name) != row.default:
            yield f"{name} has no effect in {request.task}"
    yield from _idle_guidance(request, settings)
    yield from _idle_source(request, settings)
    yield from _idle_numbers(request, settings)
    yield from _idle_in_few_windows(request, windows)
    if REQUEST_FIELDS["audio"].is_for(request.task):
        yield from _idle_speech(request)


def _idle_guidance(request: GenerationRequest, settings: Settings) -> Iterator[str]:
    is_plain = set(settings.guidance_scale) == {1.0}
    if request.negative_prompt and is_plain:
        yield "negative_prompt has no effect at guidance 1"
    is_single_pass = is_plain and settings.audio_guidance_scale == 1
    if request.apg and is_single_pass and REQUEST_FIELDS["apg"].is_for(request.task):
        yield "apg has no effect at guidance 1 and audio guidance 1"


def _idle_source(request: GenerationRequest, settings: Settings) -> Iterator[str]:
    strength, steps = request.denoise_strength, settings.num_inference_steps
    has_strength = REQUEST_FIELDS["denoise_strength"].is_for(request.task)
    if has_strength and strength < 1 and request.video is None:
        yield "denoise_strength has no effect without a source video"
    has_cut = REQUEST_FIELDS["extends_from"].is_for(request.task) and request.extends_from is not None
    if has_cut and request.extends is None:
        yield "extends_from has no effect without a video to go on from"
    if may_start_from_video(request) and settings.steps.start == 0:
        rounded = "" if strength == 1 else f": of {steps} steps that is all"
        yield f"video has no effect at denoise_strength {strength:g}{rounded}"


def _idle_numbers(request: GenerationRequest, settings: Settings) -> Iterator[str]:
    sampler, steps, shift = find_sampler(settings.sampler), settings.num_inference_steps, settings.flow_shift
    if request.flow_shift is not None:
        same, other = (sampler.schedule(steps, value).sigmas for value in (shift, 2 * shift))
        if np.array_equal(same, other):
            yield f"flow_shift has no effect on the {steps} steps of {sampler.name}"
    if request.riflex_freq_index and not settings.riflex_freq_index:
        yield f"riflex_freq_index has no effect on {TRAINED_FRAMES} frames or fewer at a time"


def _idle_in_few_windows(request: GenerationRequest, windows: int) -> Iterator[str]:
    prompts = request.prompt.split("|")
    if any(prompt.strip() for prompt in prompts[windows:]):
        later = "" if windows + 1 == len(prompts) else " and later"
        yield f"no effect: prompt {windows + 1}{later}; | parts the prompts of windows, here {windows}"
    has_motion = REQUEST_FIELDS["motion_frames"].is_for(request.task) and request.motion_frames is not None
    if has_motion and windows == 1 and request.extends is None:
        yield "motion_frames has no effect in a single window"


def _idle_speech(request: GenerationRequest) -> Iterator[str]:
    if not request.audio:
        if request.extends is None:
            yield "no speech given: the mouth stays still and the video is silent"
        else:
            yield "no speech given: the mouth stays still and the new part is silent"
        if request.separate_vocals:
            yield "separate_vocals has no effect without speech"
        if request.audio_start:
            yield "audio_start has no effect without speech"
    if len(request.audio) < 2:
        alone = {"speaker_boxes": request.speaker_boxes, "audio_order": request.audio_order == "sequence"}
        yield from (f"{name} has no effect with one speaker" for name, is_set in alone.items() if is_set)
